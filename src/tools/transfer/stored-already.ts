/**
 * What of an upload is in the cluster already, so that it need not be sent: the reason why a command that was interrupted goes
 * on where it stopped when it is given again.
 */
import { closeSync, constants, openSync, type BigIntStats } from "node:fs";
import { isDfsError } from "../../base/errors.ts";
import type { DfsClient, SetAttributes } from "../../client/api.ts";
import type { Attributes } from "../../protocol/messages/common.ts";
import { remoteOwner, removeOtherAttributes, sendAttributes, timesOf } from "./attributes.ts";
import type { TransferWish } from "./jobs.ts";
import { haveSameContent } from "./same-content.ts";

/** A local file, and the name in the cluster that it is compared with. */
interface Pair {
  readonly from: Uint8Array;
  readonly target: Uint8Array;
  readonly stats: BigIntStats;
}

/** The attributes of the complete copy at the target; undefined when there is none. */
export async function storedAlready(
  client: DfsClient,
  { skipping }: TransferWish,
  { from, target, stats }: Pair,
): Promise<Attributes | undefined> {
  if (skipping === "nothing" || !stats.isFile()) return undefined;
  const present = await statIfThere(client, target);
  if (present?.type !== "file" || BigInt(present.size) !== stats.size) return undefined;
  if (skipping === "sameTime") return present.mtimeNs === stats.mtimeNs ? present : undefined;
  const flags = constants.O_RDONLY | constants.O_NONBLOCK;
  const descriptor = openSync(Buffer.from(from), flags);
  try {
    const isSame = await haveSameContent(client, target, descriptor, present.size);
    return isSame ? present : undefined;
  } catch (error) {
    if (isDfsError(error, "notFound")) return undefined; // removed meanwhile
    throw error;
  } finally {
    closeSync(descriptor);
  }
}

/** Gives a copy that was not sent again what else a transfer keeps: the time of change, and with -p the rest. */
export async function bringUpToDate(
  client: DfsClient,
  { recursive, preserve }: TransferWish,
  { from, target, stats }: Pair,
  present: Attributes,
): Promise<void> {
  const change: { -readonly [Key in keyof SetAttributes]: SetAttributes[Key] } = {};
  const isOtherTime = present.mtimeNs !== stats.mtimeNs;
  if ((recursive || preserve) && isOtherTime) change.mtimeNs = stats.mtimeNs;
  if (preserve) {
    const { mode, uid, gid } = remoteOwner(stats, true);
    const isOther = present.mode !== mode || present.uid !== uid || present.gid !== gid;
    if (isOther) Object.assign(change, { mode, uid, gid });
    if (isOtherTime) change.atimeNs = timesOf(stats).atimeNs;
    await sendAttributes(client, from, target);
    await removeOtherAttributes(client, from, target);
  }
  if (Object.keys(change).length > 0) await client.setattr(target, change, { follow: false });
}

/** Attributes of a name itself, if something has it. */
export async function statIfThere(
  client: DfsClient,
  path: Uint8Array,
  follow = false,
): Promise<Attributes | undefined> {
  try {
    return await client.stat(path, { follow });
  } catch (error) {
    if (isDfsError(error, "notFound")) return undefined;
    throw error;
  }
}
