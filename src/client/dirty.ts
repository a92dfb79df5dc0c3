/**
 * Bytes that were written into an open file and have not been sent yet.
 *
 * Invariants
 * - Ranges do not overlap, and each lies inside one block index, so that each becomes one block, without reading what
 *   is stored around it.
 * - The bytes are copies: the writer may use its buffer again.
 * - Long ranges lie in memory that is used again (protocol/frame-memory.ts): filling fresh memory took half of the time of a
 *   large write. It is given back only when nobody has a view of it.
 */
import { frameMemory } from "../protocol/frame-memory.ts";

/** Written bytes at an offset in the file. */
export interface DirtyRange {
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** Where the bytes lie, to be given back when nobody will look at them any more; that need not be done. */
  readonly memory?: Uint8Array;
}

/** Where bytes are in the file. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

interface GrowingRange {
  offset: number;
  /** Bytes of the range, with room behind them. */
  buffer: Uint8Array;
  length: number;
}

/** Smallest room that a range which grows is given. */
const FIRST_ROOM_BYTES = 4 * 1024;

export class DirtyRanges {
  private readonly blockSize: number;
  /** Ranges by block index, in the order in which the blocks were first written. */
  private readonly blocks = new Map<number, GrowingRange[]>();
  private heldBytes = 0;
  private rangeCount = 0;
  /** End of the last range; undefined when it has to be looked for. */
  private knownEnd: number | undefined = 0;

  constructor(blockSize: number) {
    this.blockSize = blockSize;
  }

  /** Memory taken, in bytes. */
  get bytes(): number {
    return this.heldBytes;
  }

  /** Number of ranges, each of which becomes a block. */
  get count(): number {
    return this.rangeCount;
  }

  /** End of the last range, or 0. */
  get end(): number {
    this.knownEnd ??= [...this.blocks.values()]
      .flat()
      .reduce((end, each) => Math.max(end, endOf(each)), 0);
    return this.knownEnd;
  }

  /** Takes a copy of `bytes`, written at `offset`. */
  write(offset: number, bytes: Uint8Array): void {
    if (bytes.length > 0) this.knownEnd = Math.max(this.end, offset + bytes.length);
    for (let at = 0; at < bytes.length;) {
      const index = Math.floor((offset + at) / this.blockSize);
      const blockEnd = (index + 1) * this.blockSize;
      const part = bytes.subarray(at, at + (blockEnd - (offset + at)));
      this.writeInBlock(index, blockEnd, offset + at, part);
      at += part.length;
    }
  }

  ranges(): Extent[] {
    return [...this.blocks.values()].flat().map(({ offset, length }) => ({ offset, length }));
  }

  /** Copies of the parts of ranges that lie in `offset` .. `offset + length`. */
  copiesIn(offset: number, length: number): DirtyRange[] {
    const ranges = this.near(offset, length).map((range) => ({
      offset: range.offset,
      bytes: range.buffer.subarray(0, range.length),
    }));
    return rangesIn(ranges, offset, length).map((part) => ({ ...part, bytes: part.bytes.slice() }));
  }

  /** Removes ranges, those written first first, until `maxBytes` or `maxRanges` is reached, and returns them. */
  take(maxBytes: number, maxRanges: number): DirtyRange[] {
    const taken: DirtyRange[] = [];
    let total = 0;
    this.knownEnd = undefined;
    for (const [index, ranges] of this.blocks) {
      if (total >= maxBytes || taken.length >= maxRanges) break;
      for (const range of ranges.splice(0, maxRanges - taken.length)) {
        this.forget(range);
        total += range.length;
        const bytes = range.buffer.subarray(0, range.length);
        taken.push({ offset: range.offset, bytes, memory: range.buffer });
      }
      if (ranges.length === 0) this.blocks.delete(index);
    }
    return taken;
  }

  /** Takes back ranges that could not be stored; what was written meanwhile stays on top. */
  putBack(ranges: readonly DirtyRange[]): void {
    for (const range of ranges) {
      const newer = this.copiesIn(range.offset, range.bytes.length);
      this.write(range.offset, range.bytes);
      for (const each of newer) this.write(each.offset, each.bytes);
    }
  }

  /** The ranges of the blocks that `offset` .. `offset + length` touches. */
  private near(offset: number, length: number): GrowingRange[] {
    const first = Math.floor(offset / this.blockSize);
    const last = Math.floor((offset + length) / this.blockSize);
    if (last - first >= this.blocks.size) return [...this.blocks.values()].flat();
    const found: GrowingRange[] = [];
    for (let index = first; index <= last; index++) found.push(...(this.blocks.get(index) ?? []));
    return found;
  }

  private remember(range: GrowingRange): GrowingRange {
    this.heldBytes += range.buffer.length;
    this.rangeCount++;
    return range;
  }

  private forget(range: GrowingRange): void {
    this.heldBytes -= range.buffer.length;
    this.rangeCount--;
  }

  private writeInBlock(index: number, blockEnd: number, offset: number, bytes: Uint8Array): void {
    const ranges = this.blocks.get(index) ?? [];
    const end = offset + bytes.length;
    const touched = ranges.filter((each) => each.offset <= end && offset <= endOf(each));
    const [first] = touched;
    if (first === undefined) {
      const buffer = frameMemory.take(bytes.length);
      buffer.set(bytes);
      ranges.push(this.remember({ offset, buffer, length: bytes.length }));
      this.blocks.set(index, ranges);
    } else if (touched.length === 1 && first.offset <= offset) {
      this.grow(first, Math.max(first.length, end - first.offset), blockEnd);
      first.buffer.set(bytes, offset - first.offset);
    } else {
      const merged = this.merge(touched, offset, bytes);
      this.blocks.set(index, [...ranges.filter((each) => !touched.includes(each)), merged]);
    }
  }

  private grow(range: GrowingRange, length: number, blockEnd: number): void {
    if (length > range.buffer.length) {
      const wanted = Math.max(length, 2 * range.buffer.length, FIRST_ROOM_BYTES);
      const buffer = frameMemory.take(Math.min(wanted, blockEnd - range.offset));
      buffer.set(range.buffer.subarray(0, range.length));
      this.heldBytes += buffer.length - range.buffer.length;
      frameMemory.giveBack(range.buffer);
      range.buffer = buffer;
    }
    range.length = length;
  }

  private merge(touched: readonly GrowingRange[], offset: number, bytes: Uint8Array): GrowingRange {
    const start = Math.min(offset, ...touched.map((each) => each.offset));
    const end = Math.max(offset + bytes.length, ...touched.map(endOf));
    const buffer = frameMemory.take(end - start);
    for (const each of touched) {
      buffer.set(each.buffer.subarray(0, each.length), each.offset - start);
      this.forget(each);
      frameMemory.giveBack(each.buffer);
    }
    buffer.set(bytes, offset - start);
    return this.remember({ offset: start, buffer, length: end - start });
  }
}

/** The parts of `ranges` that lie in `offset` .. `offset + length`, uncopied. */
export function rangesIn(
  ranges: Iterable<DirtyRange>,
  offset: number,
  length: number,
): DirtyRange[] {
  const found: DirtyRange[] = [];
  for (const range of ranges) {
    const from = Math.max(offset, range.offset);
    const to = Math.min(offset + length, range.offset + range.bytes.length);
    if (from < to) {
      found.push({
        offset: from,
        bytes: range.bytes.subarray(from - range.offset, to - range.offset),
      });
    }
  }
  return found;
}

function endOf(range: GrowingRange): number {
  return range.offset + range.length;
}
