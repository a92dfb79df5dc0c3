/**
 * Which segment compaction takes next, and how fast it goes.
 */
import type { SegmentLedger, SegmentState } from "./ledger.ts";

/** A segment with a larger share of dead bytes is compacted. */
const DEAD_SHARE = 0.4;

/** Bytes read from segments in a second, unless there is much to free. */
export const COMPACTION_BYTES_PER_S = 32 * 1024 * 1024;

/** What an attempt can change about a segment: while it is the same, a second attempt would end like the first. */
export function compactionMark({ livePuts, tombstones, damaged }: SegmentState): string {
  return `${livePuts},${tombstones},${damaged}`;
}

/**
 * The segment that frees most, among those that are dead enough. Suspects come first, however alive: their disk has
 * refused them once. `tried` holds the marks of those that could not be emptied.
 */
export function chooseSegment(
  ledger: SegmentLedger,
  tried: ReadonlyMap<number, string>,
): SegmentState | undefined {
  let best: SegmentState | undefined;
  let bestShare = DEAD_SHARE;
  const oldestDamaged = ledger.oldestDamaged();
  for (const state of ledger.states()) {
    if (!ledger.isClosed(state) || !holdsAnything(state)) continue;
    if (tried.get(state.number) === compactionMark(state)) continue;
    const isSuspect = state.end !== undefined;
    const share = isSuspect ? 1 : ledger.deadBytes(state, oldestDamaged) / state.bytes;
    if (share < bestShare) continue;
    best = state;
    bestShare = share;
  }
  return best;
}

/** True when the dead outweigh the living by so much that space matters more than what compaction takes from others. */
export function isUrgent(ledger: SegmentLedger, segmentBytes: number): boolean {
  return ledger.bytes - ledger.liveBytes > ledger.liveBytes + 2 * segmentBytes;
}

/** Whatever holds nothing is deleted without being read. */
function holdsAnything({ livePuts, damaged, tombstones }: SegmentState): boolean {
  return livePuts > 0 || damaged || tombstones;
}
