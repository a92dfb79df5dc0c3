/**
 * What of a download is here already, so that it need not be fetched again: the reason why a command that was interrupted goes
 * on where it stopped when it is given again.
 */
import { closeSync, constants, lstatSync, openSync, readlinkSync } from "node:fs";
import { isDfsError } from "../../base/errors.ts";
import type { DfsClient } from "../../client/api.ts";
import type { Attributes } from "../../protocol/messages/common.ts";
import type { TransferWish } from "./jobs.ts";
import { haveSameContent } from "./same-content.ts";

/** A file or link in the cluster, and the local name that it is compared with. */
interface Pair {
  readonly from: Uint8Array;
  readonly place: Buffer;
  readonly attributes: Attributes;
}

/** True when a complete copy is at the local name. */
export async function fetchedAlready(
  client: DfsClient,
  { skipping, preserve }: TransferWish,
  { from, place, attributes }: Pair,
): Promise<boolean> {
  const present = lstatSync(place, { bigint: true, throwIfNoEntry: false });
  if (present === undefined || skipping === "nothing") return false;
  if (attributes.type === "symlink" && present.isSymbolicLink() && !preserve) {
    const target = readlinkSync(place, { encoding: "buffer" });
    return target.equals(await client.readlink(from));
  }
  if (attributes.type !== "file" || !present.isFile()) return false;
  if (present.size !== BigInt(attributes.size)) return false;
  if (skipping === "sameTime") return present.mtimeNs === attributes.mtimeNs;
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const descriptor = openSync(place, flags);
  try {
    return await haveSameContent(client, from, descriptor, attributes.size);
  } catch (error) {
    if (isDfsError(error, "notFound")) return false; // removed meanwhile: fetching will tell
    throw error;
  } finally {
    closeSync(descriptor);
  }
}
