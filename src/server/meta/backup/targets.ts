/** Which data servers a backup goes to. */
import type { ServerId } from "../../../base/ids.ts";

/** Copies of a backup, where there are so many servers. */
export const BACKUP_COPIES = 3;

export interface Candidate {
  readonly server: ServerId;
  readonly zone: string;
  /** It takes no new blocks; it may still have room for a backup. */
  readonly full: boolean;
}

/**
 * The order in which servers are asked: first one of each zone, then another of each, and so on; full ones last. Within a
 * zone the ids decide, so that one backup after the other goes to the same servers and few hold many.
 */
export function backupOrder(candidates: readonly Candidate[]): ServerId[] {
  const seen = new Map<string, number>();
  const ranked = candidates
    .toSorted((one, other) => Number(one.full) - Number(other.full) || one.server - other.server)
    .map(({ server, zone, full }) => {
      const round = seen.get(zone) ?? 0;
      seen.set(zone, round + 1);
      return { server, full, round };
    });
  return ranked
    .toSorted((one, other) => Number(one.full) - Number(other.full) || one.round - other.round)
    .map(({ server }) => server);
}
