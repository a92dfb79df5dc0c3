/**
 * Which backups a data server need not keep any longer.
 *
 * Kept are the newest ones, and for some days back the newest of each day (UTC), so that a mistake that is noticed late can
 * be looked up. Which one is newer the position in the database tells, as it never goes back: a clock that was wrong for
 * some days must not make a backup that was just made the oldest. Those of another life of the database, which ended when an
 * older copy was accepted, are newer than that copy in what they know: they are kept for a month.
 */
import type { BackupManifest } from "../../../protocol/messages/backup.ts";

const NEWEST_KEPT = 3;
const DAYS_KEPT = 7;
const DAYS_FOREIGN_KEPT = 30;

const NS_PER_DAY = 86_400_000_000_000n;

export type Dated = Pick<BackupManifest, "backup" | "lsn" | "createdNs">;

/** Orders backups of one life of the database, the newest first. */
export function byAge(one: Omit<Dated, "backup">, other: Omit<Dated, "backup">): number {
  if (one.lsn !== other.lsn) return one.lsn < other.lsn ? 1 : -1;
  return one.createdNs < other.createdNs ? 1 : -1;
}

/** `own` and `foreign` are the backups on one server, of this life of the database and of others. */
export function surplusBackups(
  own: readonly Dated[],
  foreign: readonly Dated[],
  nowNs: bigint,
): bigint[] {
  const sorted = own.toSorted(byAge);
  const kept = new Set(sorted.slice(0, NEWEST_KEPT));
  const days = new Set<bigint>();
  for (const each of sorted) {
    const day = each.createdNs / NS_PER_DAY;
    if (days.has(day) || days.size === DAYS_KEPT) continue;
    days.add(day);
    kept.add(each);
  }
  const forgottenNs = nowNs - BigInt(DAYS_FOREIGN_KEPT) * NS_PER_DAY;
  return [
    ...sorted.filter((each) => !kept.has(each)),
    ...foreign.filter((each) => each.createdNs < forgottenNs),
  ].map((each) => each.backup);
}
