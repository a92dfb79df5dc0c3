/**
 * Which blocks a deletion is about: those named, by their ids or by ranges of ids, that are held, are being put, or may be held.
 */
import type { BlockId } from "../base/ids.ts";
import type { BlockIndex } from "./index.ts";
import type { IdRange } from "./types.ts";

/** What a deletion names. */
export interface NamedBlocks {
  readonly blocks: readonly BlockId[];
  readonly ranges: readonly IdRange[];
}

/** Those that are held, or whose put is `pending`. */
export function heldAmong(
  index: BlockIndex,
  pending: ReadonlyMap<BlockId, unknown>,
  { blocks, ranges }: NamedBlocks,
): Set<BlockId> {
  const held = new Set<BlockId>();
  for (const block of blocks) {
    if (index.get(block) !== undefined || pending.has(block)) held.add(block);
  }
  for (const { first, count } of ranges) {
    for (const block of index.idsIn(first, count)) held.add(block);
    const end = first + BigInt(count);
    for (const block of pending.keys()) if (block >= first && block < end) held.add(block);
  }
  return held;
}

/** Those of the `unsure`, of which nobody knows whether they are held, that are named and not among the `held`. */
export function unsureAmong(
  unsure: ReadonlySet<BlockId>,
  { blocks, ranges }: NamedBlocks,
  held: ReadonlySet<BlockId>,
): BlockId[] {
  if (unsure.size === 0) return [];
  const named = new Set(blocks);
  const isNamed = (block: BlockId): boolean =>
    named.has(block) ||
    ranges.some(({ first, count }) => block >= first && block < first + BigInt(count));
  return [...unsure].filter((block) => !held.has(block) && isNamed(block));
}
