/**
 * Read-ahead for a handle whose reads follow one another: whole blocks are fetched before they are asked for.
 *
 * Blocks are immutable, so what is kept here by block id is right whatever is written meanwhile. It counts against the
 * memory budget and is dropped when somebody else needs the memory.
 */
import type { BlockId } from "../base/ids.ts";
import type { MappedExtent } from "../protocol/messages/common.ts";
import type { ByteBudget, Holder } from "./budget.ts";
import type { Segment } from "./file-map.ts";
import type { FileReader } from "./file-reader.ts";

const FIRST_WINDOW_BYTES = 256 * 1024;
const MAX_WINDOW_BYTES = 4 * 1024 * 1024;

/** Blocks kept, where they are small. */
const MAX_KEPT = 64;

interface Kept {
  readonly extent: MappedExtent;
  readonly bytes: Promise<Uint8Array>;
}

/** What an OpenInode reads stored bytes through. */
export interface StoredReader {
  /** @throws as `FileReader.range`. */
  range(offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array>;
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

  async range(offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array> {
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
    await this.fetchAhead(offset, length + this.windowBytes);
    const result = new Uint8Array(length);
    for (let at = offset; at < offset + length;) {
      const [segment] = await this.reader.map.segments(at, offset + length - at);
      const bytes = await this.part(segment!, signal);
      result.set(bytes, at - offset);
      at += segment!.length;
    }
    return result;
  }

  /** Gives the memory back. */
  close(): void {
    this.forgetReclaimer();
    this.dropAll();
  }

  /** Asks for the blocks of a range that are not here yet, as far as there is memory. */
  private async fetchAhead(offset: number, length: number): Promise<void> {
    const segments = await this.reader.map.segments(offset, length);
    this.dropBehind(offset);
    for (const { extent } of segments) {
      if (extent === undefined || this.kept.has(extent.block)) continue;
      if (this.kept.size >= MAX_KEPT || !this.holder.tryAcquire(extent.length)) return;
      this.fetch(extent);
    }
  }

  private fetch(extent: MappedExtent): void {
    const whole: Segment = { offset: extent.offset, length: extent.length, extent };
    const bytes = this.reader.segment(whole);
    const kept: Kept = { extent, bytes };
    this.kept.set(extent.block, kept);
    // The reader who gets there asks again and meets the error itself.
    bytes.catch(() => this.drop(kept));
  }

  private async part(segment: Segment, signal: AbortSignal | undefined): Promise<Uint8Array> {
    const kept = segment.extent === undefined ? undefined : this.kept.get(segment.extent.block);
    // The same block may be named by several extents, when its middle was written over.
    if (kept === undefined || kept.extent.offset !== segment.extent?.offset) {
      return this.reader.segment(segment, signal);
    }
    const whole = await kept.bytes;
    const from = segment.offset - kept.extent.offset;
    return whole.subarray(from, from + segment.length);
  }

  private dropBehind(offset: number): void {
    for (const kept of this.kept.values()) {
      const { extent } = kept;
      const passed = extent.offset + extent.length <= offset;
      if (passed || extent.offset > offset + 2 * MAX_WINDOW_BYTES) this.drop(kept);
    }
  }

  private dropAll(): void {
    for (const kept of this.kept.values()) this.drop(kept);
  }

  private drop(kept: Kept): void {
    if (this.kept.get(kept.extent.block) !== kept) return;
    this.kept.delete(kept.extent.block);
    this.holder.release(kept.extent.length);
  }
}
