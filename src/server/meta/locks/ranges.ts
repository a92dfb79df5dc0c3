/**
 * The arithmetic of locked ranges: which locks exclude one another, and what an owner holds when a range of his changes.
 *
 * Invariant: what one owner holds of one file does not overlap, is in order, and is as few ranges as possible: two that touch
 * have different types.
 */
import { MAX_FILE_BYTES } from "../../../base/limits.ts";

/** Bytes from `start` to `end`, both inclusive. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

export interface HeldRange extends ByteRange {
  readonly type: "shared" | "exclusive";
  readonly pid: number;
}

export interface RangeChange extends ByteRange {
  readonly type: "none" | "shared" | "exclusive";
  readonly pid: number;
}

/** True for a range that has bytes and ends at the largest file's end at most. */
export function isRange({ start, end }: ByteRange): boolean {
  return start >= 0 && start <= end && end <= MAX_FILE_BYTES;
}

/** True when two locks of different owners cannot both be held. */
export function excludes(
  left: ByteRange & Pick<RangeChange, "type">,
  right: ByteRange & Pick<RangeChange, "type">,
): boolean {
  if (left.type === "none" || right.type === "none") return false;
  if (left.type === "shared" && right.type === "shared") return false;
  return left.start <= right.end && right.start <= left.end;
}

/** What an owner holds after a change, in order. */
export function changed(held: readonly HeldRange[], change: RangeChange): HeldRange[] {
  const left: HeldRange[] = [];
  for (const range of held) {
    const before = Math.min(range.end, change.start - 1);
    const after = Math.max(range.start, change.end + 1);
    if (range.start <= before) left.push({ ...range, end: before });
    if (after <= range.end) left.push({ ...range, start: after });
  }
  const { type } = change;
  if (type !== "none") left.push({ start: change.start, end: change.end, type, pid: change.pid });
  return joined(left.toSorted((one, other) => one.start - other.start));
}

/** Neighbours of the same type as one range. */
function joined(ranges: readonly HeldRange[]): HeldRange[] {
  const result: HeldRange[] = [];
  for (const range of ranges) {
    const last = result.at(-1);
    if (last !== undefined && last.type === range.type && last.end + 1 === range.start) {
      result[result.length - 1] = { ...last, end: range.end };
    } else {
      result.push(range);
    }
  }
  return result;
}
