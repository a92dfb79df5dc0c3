/**
 * The backups of the metadata in words: how old the newest one is, where it is, and what is wrong with that.
 */
import { backupName } from "../../base/backup.ts";
import type { BackupStatus } from "../../protocol/messages/backup.ts";
import { counted, durationText, isoTime, roughDuration, sizeText } from "./format.ts";

/** One line for `dfs status`, without its title. `nowNs` is the time of day. */
export function backupLine(status: BackupStatus, nowNs: bigint): string {
  const { newest, servers, wanted } = status;
  const untold = untoldWords(status);
  if (newest === null) {
    return untold === undefined
      ? "none yet; dfs meta backup makes one"
      : `${untold} what backups there are`;
  }
  const ageMs = Math.max(0, Number((nowNs - newest.createdNs) / 1_000_000n));
  const where = servers.length === 1 ? "data server" : "data servers";
  const isThin = servers.length < wanted;
  const lack =
    untold === undefined ? ` only (${wanted} should hold it)` : ` (${untold} whether it is there)`;
  const thin = isThin ? lack : "";
  return `${roughDuration(ageMs)} ago, on ${where} ${servers.join(", ")}${thin}, ${sizeText(newest.length)}`;
}

/** `data servers 2, 3 have not told yet`; undefined when all have. They do when they have registered with the service. */
function untoldWords({ untold }: BackupStatus): string | undefined {
  if (untold === null || untold.length === 0) return undefined;
  const who = untold.length === 1 ? "data server" : "data servers";
  return `${who} ${untold.join(", ")} ${untold.length === 1 ? "has" : "have"} not told yet`;
}

/** What about the backups is not as it should be: sentences without a full stop. */
export function backupTroubles(status: BackupStatus): string[] {
  const troubles: string[] = [];
  if (status.failure !== null) {
    troubles.push(`the metadata could not be backed up: ${status.failure.split("\n", 1)[0]}`);
  } else if (status.overdue) {
    const every = durationText(status.intervalMs);
    troubles.push(
      `the newest backup of the metadata lacks changes of long ago (it should be made every ${every})`,
    );
  }
  const { newest, servers, wanted } = status;
  // What is not known yet is no trouble, unless there are too few of those that may turn out to hold it.
  if (newest !== null && servers.length + (status.untold?.length ?? 0) < wanted) {
    troubles.push(
      `the newest backup of the metadata is on ${counted(servers.length, "data server")} instead of ${wanted}`,
    );
  }
  return troubles;
}

/** A line about blocks that metadata does not know; undefined when there are none. */
export function quarantineLine({ quarantined }: BackupStatus): string | undefined {
  if (quarantined === 0) return undefined;
  return `${counted(quarantined, "copy", "copies")} of blocks that metadata does not know; dfs meta quarantine lists them`;
}

/** The value under the key `backup` of `dfs status --json`. */
export function backupRow(status: BackupStatus): object {
  const { newest, servers, wanted, intervalMs, overdue, failure, quarantined, untold } = status;
  return {
    newest:
      newest === null
        ? null
        : {
            backup: backupName(newest.backup),
            created: isoTime(newest.createdNs),
            lsn: newest.lsn.toString(),
            bytes: newest.length,
            files: newest.files,
          },
    servers,
    wanted,
    intervalSeconds: intervalMs / 1000,
    overdue,
    failure,
    quarantinedCopies: quarantined,
    untold: untold ?? [],
  };
}
