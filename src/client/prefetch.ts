/**
 * Read-ahead for a handle whose reads follow one another: whole blocks are fetched before they are asked for.
 *
 * Blocks are immutable, so what is kept here by block id is right whatever is written meanwhile. It counts against the
 * memory budget and is dropped when somebody else needs the memory.
 */
import type { CancelSignal } from "../base/cancellation.ts";
import type { BlockId } from "../base/ids.ts";
import type { MappedExtent } from "../protocol/messages/common.ts";
import type { ByteBudget, Holder } from "./budget.ts";
import type { Segment } from "./file-map.ts";
import { joined, type FileReader } from "./file-reader.ts";
import { doneWith, readMemory } from "./read-memory.ts";

const FIRST_WINDOW_BYTES = 256 * 1024;
const MAX_WINDOW_BYTES = 4 * 1024 * 1024;

/** Blocks kept, where they are small. */
const MAX_KEPT = 64;

interface Kept {
  readonly extent: MappedExtent;
  readonly bytes: Promise<Uint8Array>;
  /** Who waits for the bytes, to copy a part of them. */
  readers: number;
  /** No reader will come any more: the memory is given back with the last one of those who wait. */
  dropped: boolean;
}

/** What an OpenInode reads stored bytes through. */
export interface StoredReader {
  /** @throws as `FileReader.range`. */
  range(offset: number, length: number, signal?: CancelSignal): Promise<Uint8Array>;
}

export class PrefetchingReader implements StoredReader {
  private readonly reader: FileReader;
  private readonly holder: Holder;
  private readonly kept = new Map<BlockId, Kept>();
  private readonly forgetReclaimer: () => void;
  /** Where the next read begins if it follows the last one. */
  private expected = -1;
  private windowBytes = 0;

  constructor(reader: FileReader, budget: ByteBudget) {
    this.reader = reader;
    this.holder = budget.holder();
    this.forgetReclaimer = budget.addReclaimer(() => this.dropAll());
  }

  async range(offset: number, length: number, signal?: CancelSignal): Promise<Uint8Array> {
    const follows = offset === this.expected;
    this.expected = offset + length;
    if (!follows) {
      this.windowBytes = 0;
      return this.reader.range(offset, length, signal);
    }
    this.windowBytes = Math.min(
      MAX_WINDOW_BYTES,
      Math.max(2 * this.windowBytes, FIRST_WINDOW_BYTES),
    );
    const segments = await this.reader.map.segments(offset, length + this.windowBytes);
    // Nothing is waited for from here to the last `part`: the next read, which may begin meanwhile, gives up what lies before it.
    this.fetchAhead(segments);
    const parts = this.parts(segments, offset, offset + length, signal);
    this.dropFar(offset);
    const bytes = await Promise.all(parts);
    const known = bytes.reduce((sum, part) => sum + part.length, 0);
    if (known === length) return joined(bytes, length);
    const rest = await this.reader.range(offset + known, length - known, signal);
    return joined([...bytes, rest], length);
  }

  /** Gives the memory back. */
  close(): void {
    this.forgetReclaimer();
    this.dropAll();
  }

  /** Asks for the blocks that are not here yet, as far as there is memory. */
  private fetchAhead(segments: readonly Segment[]): void {
    for (const { extent } of segments) {
      if (extent === undefined || this.kept.has(extent.block)) continue;
      if (this.kept.size >= MAX_KEPT || !this.holder.tryAcquire(extent.length)) return;
      this.fetch(extent);
    }
  }

  /** The bytes of `from` .. `to`, as far as the segments go. */
  private parts(
    segments: readonly Segment[],
    from: number,
    to: number,
    signal: CancelSignal | undefined,
  ): Promise<Uint8Array>[] {
    return segments
      .filter(({ offset, length }) => offset < to && offset + length > from)
      .map(({ offset, length, extent }) => {
        const start = Math.max(from, offset);
        const end = Math.min(to, offset + length);
        const part = this.part({ offset: start, length: end - start, extent }, signal);
        part.catch(() => undefined); // awaited by the caller; an earlier part may throw first
        return part;
      });
  }

  private fetch(extent: MappedExtent): void {
    const whole: Segment = { offset: extent.offset, length: extent.length, extent };
    const bytes = this.reader.segment(whole);
    const kept: Kept = { extent, bytes, readers: 0, dropped: false };
    this.kept.set(extent.block, kept);
    // The reader who gets there asks again and meets the error itself.
    bytes.catch(() => this.drop(kept));
  }

  private async part(segment: Segment, signal: CancelSignal | undefined): Promise<Uint8Array> {
    const kept = segment.extent === undefined ? undefined : this.kept.get(segment.extent.block);
    // The same block may be named by several extents, when its middle was written over.
    if (kept === undefined || kept.extent.offset !== segment.extent?.offset) {
      return this.reader.segment(segment, signal);
    }
    const from = segment.offset - kept.extent.offset;
    if (from === 0 && segment.length === kept.extent.length && kept.readers === 0) {
      this.forget(kept); // the reader may do with these bytes what it likes
      return kept.bytes;
    }
    kept.readers++;
    try {
      const whole = await kept.bytes;
      const copy = readMemory(segment.length);
      copy.set(whole.subarray(from, from + segment.length));
      return copy;
    } finally {
      kept.readers--;
      if (kept.dropped) giveBack(kept);
    }
  }

  /** Gives up what lies before a read, and what a reader that jumps has left far ahead. */
  private dropFar(offset: number): void {
    for (const kept of this.kept.values()) {
      const { extent } = kept;
      const passed = extent.offset + extent.length <= offset;
      if (passed || extent.offset > offset + 2 * MAX_WINDOW_BYTES) this.drop(kept);
    }
  }

  private dropAll(): void {
    for (const kept of this.kept.values()) this.drop(kept);
  }

  /** Nobody will ask for it any more. */
  private drop(kept: Kept): void {
    if (!this.forget(kept)) return;
    kept.dropped = true;
    giveBack(kept);
  }

  /** False when it was forgotten before. */
  private forget(kept: Kept): boolean {
    if (this.kept.get(kept.extent.block) !== kept) return false;
    this.kept.delete(kept.extent.block);
    this.holder.release(kept.extent.length);
    return true;
  }
}

/** Gives back the memory of a block that was dropped, when nobody waits for it. */
function giveBack({ bytes, readers }: Kept): void {
  if (readers > 0) return;
  void bytes.then(doneWith, () => undefined); // whoever asked for it has met the error
}
