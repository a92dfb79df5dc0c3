/**
 * What was written into an open file and is not committed yet, and the way from there into the cluster.
 *
 * Written bytes gather in `dirty`. They leave it in batches; a batch is sent, committed in one transaction, and only
 * then forgotten. So whatever fails, the bytes are still here and the next flush tries again.
 *
 * Invariants
 * - Batches are committed in the order in which they were made, each after the one before it has been.
 * - When a batch fails, so do those behind it; their bytes return to `dirty`, the newer ones on top.
 * - `overlay` tells every written byte that is not committed, at every moment.
 */
import { DfsError, isDfsError } from "../base/errors.ts";
import { MAX_EXTENTS_PER_MESSAGE } from "../base/limits.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import type { BlockStore, StoredChunk, TargetFile } from "./block-store.ts";
import type { Holder } from "./budget.ts";
import { DirtyRanges, rangesIn, type DirtyRange, type Extent } from "./dirty.ts";
import { unlessAborted } from "./retry.ts";

/** Dirty bytes that start a batch by themselves, and the size of a batch. */
const BATCH_BYTES = 8 * 1024 * 1024;

/** Batches that are sent at the same time. */
const BATCHES_IN_FLIGHT = 2;

/** How often a batch is written again because the session expired under it. */
const MAX_SESSIONS = 3;

export interface WriteBackOptions {
  readonly file: TargetFile;
  readonly blockSize: number;
  readonly store: BlockStore;
  readonly holder: Holder;
  /** Frees memory that others hold and can do without. */
  readonly reclaim: () => void;
  /** Epoch of the present session. */
  readonly epoch: () => number;
  /** The time that a write is given. */
  readonly nowNs: () => bigint;
  /** Commits chunks that were reserved in the session of `epoch`, last written at `writtenNs`. */
  readonly commit: (
    chunks: readonly StoredChunk[],
    epoch: number,
    writtenNs: bigint,
  ) => Promise<Attributes>;
  /** Called when a batch has been committed, in the moment in which it leaves the overlay. */
  readonly onCommitted: (attributes: Attributes) => void;
}

interface Batch {
  readonly ranges: readonly DirtyRange[];
  readonly bytes: number;
  /** When the last of these bytes were written. */
  readonly writtenNs: bigint;
  readonly done: Promise<void>;
}

/** Bytes that are taken as a whole: a write of the kernel has no more. */
const MAX_PART_BYTES = 1024 * 1024;

export class WriteBack {
  private readonly options: WriteBackOptions;
  private readonly dirty: DirtyRanges;
  /** In the order in which they are committed. */
  private batches: Batch[] = [];
  /** When something that is in `dirty` was last written. */
  private dirtiedNs = 0n;
  private stop = new AbortController();
  private discarded: DfsError | undefined;
  /** Why the batches that are there cannot be committed. */
  private failure: { readonly error: unknown } | undefined;

  constructor(options: WriteBackOptions) {
    this.options = options;
    this.dirty = new DirtyRanges(options.blockSize);
  }

  /** End of what is not committed yet, or 0. */
  get end(): number {
    let { end } = this.dirty;
    for (const { ranges } of this.batches) {
      for (const range of ranges) end = Math.max(end, range.offset + range.bytes.length);
    }
    return end;
  }

  /** Memory that is taken by what is not committed yet: at least its bytes. */
  get heldBytes(): number {
    return this.batches.reduce((sum, batch) => sum + batch.bytes, this.dirty.bytes);
  }

  get clean(): boolean {
    return this.dirty.count === 0 && this.batches.length === 0;
  }

  /** When what is not committed yet was last written; undefined when all of it is. */
  get writtenNs(): bigint | undefined {
    if (this.dirty.count > 0) return this.dirtiedNs;
    return this.batches.at(-1)?.writtenNs;
  }

  /**
   * Takes a copy of `bytes`. Waits while the memory is full. Up to 1 MiB, or a block, is taken as a whole or not at all.
   * @throws DfsError what writing back failed with, when that was needed to make room; `cancelled` when `signal` is aborted
   * before there is room.
   */
  async write(offset: number, bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    const { blockSize, holder } = this.options;
    const step = Math.max(blockSize, MAX_PART_BYTES);
    for (let at = 0; at < bytes.length; at += step) {
      const part = bytes.subarray(at, at + step);
      while (!holder.tryAcquire(part.length)) await this.makeRoom(part.length, signal);
      if (this.discarded !== undefined) {
        this.account();
        throw this.discarded;
      }
      this.take(offset + at, part);
    }
  }

  /** Begins to send and commit what was written until now; a failure is met by the next flush. */
  startFlush(): void {
    this.seal();
  }

  /** Where bytes are that are not committed. */
  ranges(): Extent[] {
    const sealed = this.batches.flatMap((batch) => batch.ranges);
    return [
      ...sealed.map(({ offset, bytes }) => ({ offset, length: bytes.length })),
      ...this.dirty.ranges(),
    ];
  }

  /** Copies of what is not committed in `offset` .. `offset + length`, older first. */
  overlay(offset: number, length: number): DirtyRange[] {
    const sealed = this.batches.flatMap((batch) => rangesIn(batch.ranges, offset, length));
    return [...sealed, ...this.dirty.copiesIn(offset, length)];
  }

  /**
   * Sends and commits what was written until now.
   * @throws DfsError what that failed with. The bytes are kept, and the next flush tries again.
   */
  async flush(): Promise<void> {
    this.seal();
    await this.batches.at(-1)?.done;
  }

  /** Forgets what is not committed, for good: whoever waits for it is told `reason`. */
  discard(reason: DfsError): void {
    this.discarded = reason;
    this.stop.abort();
    this.dirty.cut(0);
    this.batches = [];
    this.account();
  }

  /** Puts bytes for which there is room into `dirty`. */
  private take(offset: number, bytes: Uint8Array): void {
    const { blockSize, nowNs } = this.options;
    for (let at = 0; at < bytes.length; at += blockSize) {
      this.dirtiedNs = nowNs();
      this.dirty.write(offset + at, bytes.subarray(at, at + blockSize));
      if (this.dirty.bytes >= BATCH_BYTES || this.dirty.count >= MAX_EXTENTS_PER_MESSAGE)
        this.seal();
    }
    this.account();
  }

  private async makeRoom(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    this.options.reclaim();
    if (this.options.holder.tryAcquire(bytes)) return this.options.holder.release(bytes);
    this.seal();
    const [oldest] = this.batches;
    if (oldest !== undefined) {
      return signal === undefined ? oldest.done : unlessAborted(oldest.done, signal);
    }
    // Nothing here holds memory: wait for other transfers.
    await this.options.holder.acquire(bytes, signal);
    this.options.holder.release(bytes);
  }

  /** Makes batches of everything that is dirty. */
  private seal(): void {
    while (this.dirty.count > 0) {
      const ranges = this.dirty.take(BATCH_BYTES, MAX_EXTENTS_PER_MESSAGE);
      const bytes = ranges.reduce((sum, range) => sum + range.bytes.buffer.byteLength, 0);
      const before = this.batches.at(-1)?.done;
      const slot = this.batches.at(-BATCHES_IN_FLIGHT)?.done;
      const writtenNs = this.dirtiedNs;
      const done = this.run(ranges, writtenNs, before, slot);
      const batch: Batch = { ranges, bytes, writtenNs, done };
      this.batches.push(batch);
      done.catch(() => this.restore(batch));
    }
    this.account();
  }

  private async run(
    ranges: readonly DirtyRange[],
    writtenNs: bigint,
    before: Promise<void> | undefined,
    slot: Promise<void> | undefined,
  ): Promise<void> {
    const { signal } = this.stop;
    try {
      await slot;
      await this.storeAndCommit(ranges, writtenNs, before, signal);
    } catch (error) {
      this.failure ??= { error };
      this.stop.abort(); // those behind this batch cannot be committed any more
      await before?.catch(() => undefined); // whichever failed first, its reason is the one to tell
      throw this.discarded ?? this.failure.error;
    }
  }

  private async storeAndCommit(
    ranges: readonly DirtyRange[],
    writtenNs: bigint,
    before: Promise<void> | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { commit, onCommitted, epoch } = this.options;
    for (let sessions = 1; ; sessions++) {
      const chunks = await this.storeAll(ranges, signal);
      await before;
      const reserved = chunks[0]!.epoch;
      try {
        const attributes = await commit(chunks, reserved, writtenNs);
        this.batches.shift();
        this.account();
        onCommitted(attributes);
        return;
      } catch (error) {
        const expired = isDfsError(error, "stale") && epoch() !== reserved;
        const again = expired || isDfsError(error, "outcomeUnknown");
        // Committing the same bytes a second time, as new blocks, does no harm.
        if (!again || sessions === MAX_SESSIONS) throw error;
      }
    }
  }

  /** Stores all ranges as blocks of one session. */
  private async storeAll(
    ranges: readonly DirtyRange[],
    signal: AbortSignal,
  ): Promise<readonly StoredChunk[]> {
    const { store, file, epoch } = this.options;
    let chunks = await Promise.all(ranges.map((range) => store.store(file, range, signal)));
    for (let sessions = 1; chunks.some((chunk) => chunk.epoch !== epoch()); sessions++) {
      if (sessions > MAX_SESSIONS)
        throw new DfsError("stale", "the session expired again and again");
      const now = epoch();
      chunks = await Promise.all(
        chunks.map(async (chunk, index) =>
          chunk.epoch === now ? chunk : store.store(file, ranges[index]!, signal),
        ),
      );
    }
    return chunks;
  }

  /** Takes back the bytes of failed batches, once the last of them has failed. */
  private restore(failed: Batch): void {
    if (this.batches.at(-1) !== failed) return;
    if (this.dirty.count === 0) this.dirtiedNs = failed.writtenNs;
    for (const { ranges } of this.batches.reverse()) this.dirty.putBack(ranges);
    this.batches = [];
    this.failure = undefined;
    this.stop = new AbortController();
    this.account();
  }

  private account(): void {
    this.options.holder.settle(this.heldBytes);
  }
}
