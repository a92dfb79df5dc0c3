/**
 * Who really holds the newest backup of the metadata, and whether its bytes are right there: asked of the servers, because
 * what this process knows of them is what they said when they registered.
 */
import { messageOf } from "../../../base/errors.ts";
import type { ServerId } from "../../../base/ids.ts";
import { backupList, type BackupManifest } from "../../../protocol/messages/backup.ts";
import type { Engine } from "../engine.ts";
import type { Member } from "../members.ts";
import { sorted, type Holdings } from "./holdings.ts";
import { byAge } from "./retention.ts";

const LIST_TIMEOUT_MS = 60_000;

/** To read a whole backup. */
const VERIFY_TIMEOUT_MS = 600_000;

/** What was found; servers in order of id. */
export interface Inspection {
  /** The newest backup that some server holds or, being away, held; undefined: there is none. */
  readonly newest: BackupManifest | undefined;
  /** Servers that hold it, as far as was looked. */
  readonly good: readonly Member[];
  /** Servers whose bytes of it are not those that were written. */
  readonly bad: readonly Member[];
  /** Servers that said they hold it and cannot be asked now. */
  readonly away: readonly ServerId[];
  /** A newer one that servers held, and none does any more. */
  readonly vanished: BackupManifest | undefined;
  /** Servers that do not tell, and why. */
  readonly silent: readonly { readonly server: ServerId; readonly reason: string }[];
}

/**
 * Asks `members`, and notes in `holdings` what they hold; with `verify` every byte of the newest one is read there. `known` is
 * the newest backup that some server is known to have held.
 */
export async function inspectNewest(
  engine: Engine,
  holdings: Holdings,
  members: readonly Member[],
  known: BackupManifest | undefined,
  verify: boolean,
): Promise<Inspection> {
  const silent: { server: ServerId; reason: string }[] = [];
  const ask = async (member: Member): Promise<void> => {
    const { server, peer } = member;
    try {
      const { body } = await peer.request(
        backupList,
        { verify: false, backup: null },
        { timeoutMs: LIST_TIMEOUT_MS },
      );
      const manifests = body.backups.map(({ manifest }) => manifest);
      holdings.set(server, await engine.question(() => sorted(manifests, engine.durableLsn)));
    } catch (error) {
      silent.push({ server, reason: messageOf(error) });
    }
  };
  await Promise.all(members.map(ask));
  const newest = holdings.newest();
  const isVanished =
    known !== undefined &&
    (newest === undefined ||
      (newest.manifest.backup !== known.backup && byAge(known, newest.manifest) < 0));
  const holders = members.filter(
    ({ server }) =>
      newest?.servers.includes(server) === true && !silent.some((each) => each.server === server),
  );
  const states = await Promise.all(
    holders.map(async (member) =>
      verify && newest !== undefined ? isWhole(member, newest.manifest.backup) : true,
    ),
  );
  const asked = new Set(holders.map(({ server }) => server));
  return {
    newest: newest?.manifest,
    good: holders.filter((_, at) => states[at]),
    bad: holders.filter((_, at) => !states[at]),
    away: newest?.servers.filter((server) => !asked.has(server)) ?? [],
    vanished: isVanished ? known : undefined,
    silent,
  };
}

/** Reads a backup on its server, a second time when it seems damaged. @throws DfsError when the server cannot be asked. */
async function isWhole({ peer }: Member, backup: bigint): Promise<boolean> {
  for (let look = 0; look < 2; look++) {
    const body = { verify: true, backup };
    const answer = await peer.request(backupList, body, { timeoutMs: VERIFY_TIMEOUT_MS });
    const found = answer.body.backups.find(({ manifest }) => manifest.backup === backup);
    if (found?.state === "whole") return true;
  }
  return false;
}
