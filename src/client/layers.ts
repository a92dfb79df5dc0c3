/**
 * The layers in which written bytes gather, and what becomes of them when they are sealed, stored and moved.
 */
import type { StoredChunk } from "./block-store.ts";
import { DirtyRanges, type DirtyRange } from "./dirty.ts";

/** Bytes that were written at a place, or appended. */
export interface Layer {
  readonly dirty: DirtyRanges;
  readonly appended: boolean;
  /** These bytes as they were sent to be committed, when nobody knows whether they have been. Nothing is added to such a layer. */
  readonly doubt?: StoredBatch | undefined;
}

/** The ranges of a batch as blocks. */
export interface StoredBatch {
  readonly ranges: readonly DirtyRange[];
  readonly chunks: readonly StoredChunk[];
}

/** A layer of these ranges. */
export function layerOf(
  ranges: readonly DirtyRange[],
  appended: boolean,
  blockSize: number,
  doubt?: StoredBatch,
): Layer {
  const dirty = new DirtyRanges(blockSize);
  for (const { offset, bytes } of ranges) dirty.write(offset, bytes);
  return { dirty, appended, doubt };
}

/** The same bytes, `by` further on, cut at the borders of blocks. */
export function moved(ranges: readonly DirtyRange[], by: number, blockSize: number): DirtyRange[] {
  const there = ranges.map(({ offset, bytes }) => ({ offset: offset + by, bytes }));
  return layerOf(there, true, blockSize).dirty.take(Infinity, Infinity);
}

/** The blocks that can be used for `ranges`: all are cut in the same way, and the block lies at the same index of the file. */
export function placedAnew(
  stored: StoredBatch,
  ranges: readonly DirtyRange[],
  blockSize: number,
): (StoredChunk | undefined)[] {
  const isCutSo = ({ bytes }: DirtyRange, index: number): boolean =>
    stored.ranges[index]?.bytes.length === bytes.length;
  if (stored.ranges.length !== ranges.length || !ranges.every(isCutSo)) return [];
  return ranges.map(({ offset }, index) => {
    const chunk = stored.chunks[index]!;
    const before = Math.floor(chunk.extent.offset / blockSize);
    if (Math.floor(offset / blockSize) !== before) return undefined;
    return { ...chunk, extent: { ...chunk.extent, offset } };
  });
}
