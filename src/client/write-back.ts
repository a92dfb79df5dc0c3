/**
 * What was written into an open file and is not committed yet, and the way from there into the cluster.
 *
 * Written bytes gather in layers. They leave them in batches; a batch is sent, committed in one transaction, and only
 * then forgotten. So whatever fails, the bytes are still here and the next flush tries again.
 *
 * A layer has either bytes that were written at a place, or bytes that were appended. Appended ones are committed only
 * where the file still ends at the moment of the commit: when somebody else has moved the end, they are moved behind it.
 *
 * Invariants
 * - Batches are committed in the order in which they were made, each after the one before it has been.
 * - When a batch fails, so do those behind it; their bytes become layers again, below the newer ones.
 * - What one call has appended is in one batch, as far as a batch can have it.
 * - Appended bytes whose commit was sent and not answered stay one batch, and are looked for in the file before they are
 *   committed again: however often that is tried, they are there once. Of all batches only the first can be in such doubt.
 * - `overlay` tells every written byte that is not committed, at every moment.
 */
import { Cancellation, type CancelSignal } from "../base/cancellation.ts";
import { DfsError, isDfsError } from "../base/errors.ts";
import { MAX_EXTENTS_PER_MESSAGE } from "../base/limits.ts";
import { frameMemory } from "../protocol/frame-memory.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import type { BlockStore, StoredChunk, TargetFile } from "./block-store.ts";
import type { Holder } from "./budget.ts";
import type { Mending } from "./copy-mender.ts";
import { DirtyRanges, rangesIn, type DirtyRange, type Extent } from "./dirty.ts";
import { layerOf, moved, placedAnew, type Layer, type StoredBatch } from "./layers.ts";
import { unlessAborted } from "./retry.ts";

/** Dirty bytes that start a batch by themselves, and the size of a batch. */
const BATCH_BYTES = 8 * 1024 * 1024;

/** Batches that are sent at the same time. */
const BATCHES_IN_FLIGHT = 2;

/** Layers that start a batch by themselves: a program that writes and appends by turns makes one with each turn. */
const MAX_LAYERS = 64;

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
  /** Size of the file as it is known to be stored. */
  readonly storedSize: () => number;
  /** Asks the service for the size. */
  readonly askSize: () => Promise<number>;
  readonly commit: (content: CommitContent) => Promise<Attributes>;
  /** Attributes of the file if any of these chunks is in it: then all have been committed. Undefined: none is. */
  readonly committed: (chunks: readonly StoredChunk[]) => Promise<Attributes | undefined>;
  /** Called when a batch has been committed, in the moment in which it leaves the overlay. */
  readonly onCommitted: (attributes: Attributes) => void;
}

/** What is to be committed. */
export interface CommitContent {
  readonly chunks: readonly StoredChunk[];
  /** Epoch of the session in which the chunks were reserved. */
  readonly epoch: number;
  readonly writtenNs: bigint;
  /** Refuse with `conflict` unless the file has this size. */
  readonly expectedSize: number | undefined;
}

interface Batch {
  /** Others when appended bytes have been moved. */
  ranges: readonly DirtyRange[];
  readonly appended: boolean;
  readonly bytes: number;
  /** When the last of these bytes were written. */
  readonly writtenNs: bigint;
  /** What was sent to be committed, when nobody knows whether it has been. */
  doubt: StoredBatch | undefined;
  done: Promise<void>;
}

/** Bytes that are taken as a whole: a write of the kernel has no more. */
const MAX_PART_BYTES = 1024 * 1024;

export class WriteBack {
  private readonly options: WriteBackOptions;
  /** Older first; the last one is written to. */
  private layers: Layer[] = [];
  /** In the order in which they are committed. */
  private batches: Batch[] = [];
  /** When something that is in a layer was last written. */
  private dirtiedNs = 0n;
  private stop = new Cancellation();
  private discarded: DfsError | undefined;
  /** Why the batches that are there cannot be committed. */
  private failure: { readonly error: unknown } | undefined;

  constructor(options: WriteBackOptions) {
    this.options = options;
  }

  /** End of what is not committed yet, or 0. */
  get end(): number {
    let end = Math.max(0, ...this.layers.map(({ dirty }) => dirty.end));
    for (const { ranges } of this.batches) {
      for (const range of ranges) end = Math.max(end, range.offset + range.bytes.length);
    }
    return end;
  }

  /** Memory that is taken by what is not committed yet: at least its bytes. */
  get heldBytes(): number {
    const sealed = this.batches.reduce((sum, batch) => sum + batch.bytes, 0);
    return this.layers.reduce((sum, { dirty }) => sum + dirty.bytes, sealed);
  }

  get clean(): boolean {
    return this.layers.length === 0 && this.batches.length === 0;
  }

  /** When what is not committed yet was last written; undefined when all of it is. */
  get writtenNs(): bigint | undefined {
    if (this.layers.length > 0) return this.dirtiedNs;
    return this.batches.at(-1)?.writtenNs;
  }

  /**
   * Takes a copy of `bytes`. Waits while the memory is full. Up to 1 MiB, or a block, is taken as a whole or not at all.
   * @throws DfsError what writing back failed with, when that was needed to make room; `cancelled` when `signal` is aborted
   * before there is room.
   */
  async write(offset: number, bytes: Uint8Array, signal?: CancelSignal): Promise<void> {
    for (const { at, part } of parts(bytes, this.options.blockSize)) {
      await this.room(part.length, signal);
      this.take(offset + at, part, this.layer(false));
    }
  }

  /**
   * As `write`, to the end of the file: where that is when the bytes are committed. Up to 1 MiB, or a block, is committed
   * as a whole, if that is fewer than 2,048 blocks. Returns where the first of the bytes are for the time being.
   */
  async append(bytes: Uint8Array, signal?: CancelSignal): Promise<number> {
    let first: number | undefined;
    for (const { part } of parts(bytes, this.options.blockSize)) {
      await this.room(part.length, signal);
      const offset = Math.max(this.end, this.options.storedSize());
      first ??= offset;
      this.take(offset, part, this.layerFor(offset, part.length));
    }
    return first ?? Math.max(this.end, this.options.storedSize());
  }

  /** What is not on its way yet counts as written at this time; returns when it was. Undefined: there is nothing. */
  date(timeNs: bigint): bigint | undefined {
    if (this.layers.length === 0) return undefined;
    const before = this.dirtiedNs;
    this.dirtiedNs = timeNs;
    return before;
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
      ...this.layers.flatMap(({ dirty }) => dirty.ranges()),
    ];
  }

  /** Copies of what is not committed in `offset` .. `offset + length`, older first. */
  overlay(offset: number, length: number): DirtyRange[] {
    const sealed = this.batches.flatMap((batch) => rangesIn(batch.ranges, offset, length));
    const copies = sealed.map((part) => ({ offset: part.offset, bytes: part.bytes.slice() }));
    return [...copies, ...this.layers.flatMap(({ dirty }) => dirty.copiesIn(offset, length))];
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
    this.layers = [];
    this.batches = [];
    this.account();
  }

  /** Waits until there is room. @throws DfsError as `write`. */
  private async room(bytes: number, signal: CancelSignal | undefined): Promise<void> {
    while (!this.options.holder.tryAcquire(bytes)) await this.makeRoom(bytes, signal);
    if (this.discarded === undefined) return;
    this.account();
    throw this.discarded;
  }

  /** The layer to be written to. */
  private layer(appended: boolean): Layer {
    const last = this.layers.at(-1);
    if (last?.appended === appended && last.doubt === undefined) return last;
    if (this.layers.length >= MAX_LAYERS) this.seal();
    const layer: Layer = { appended, dirty: new DirtyRanges(this.options.blockSize) };
    this.layers.push(layer);
    return layer;
  }

  /** The layer to append to: one that ends there and becomes one batch with what is added. */
  private layerFor(offset: number, bytes: number): Layer {
    const { blockSize } = this.options;
    const last = this.layers.at(-1);
    if (last?.appended === true && last.doubt === undefined) {
      // One range less than a commit can have: moved, the same bytes may lie in one block more.
      const ranges = last.dirty.count + Math.ceil(bytes / blockSize) + 1;
      const fits = last.dirty.bytes + bytes <= BATCH_BYTES && ranges < MAX_EXTENTS_PER_MESSAGE;
      if (!fits || last.dirty.end !== offset) this.seal();
    }
    return this.layer(true);
  }

  /** Puts bytes for which there is room into a layer. */
  private take(offset: number, bytes: Uint8Array, layer: Layer): void {
    const { blockSize, nowNs } = this.options;
    for (let at = 0; at < bytes.length; at += blockSize) {
      this.dirtiedNs = nowNs();
      layer.dirty.write(offset + at, bytes.subarray(at, at + blockSize));
      const full = layer.dirty.bytes >= BATCH_BYTES || layer.dirty.count >= MAX_EXTENTS_PER_MESSAGE;
      if (full && !layer.appended) {
        this.seal();
        layer = this.layer(false);
      }
    }
    if (layer.dirty.count === 0) this.layers.pop();
    this.account();
  }

  private async makeRoom(bytes: number, signal: CancelSignal | undefined): Promise<void> {
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
    for (const { dirty, appended, doubt } of this.layers) {
      if (doubt !== undefined) this.begin(dirty.take(Infinity, Infinity), appended, doubt);
      const extents = appended ? MAX_EXTENTS_PER_MESSAGE - 1 : MAX_EXTENTS_PER_MESSAGE;
      while (dirty.count > 0) this.begin(dirty.take(BATCH_BYTES, extents), appended);
    }
    this.layers = [];
    this.account();
  }

  private begin(ranges: readonly DirtyRange[], appended: boolean, doubt?: StoredBatch): void {
    const bytes = ranges.reduce((sum, range) => sum + range.bytes.buffer.byteLength, 0);
    const before = this.batches.at(-1)?.done;
    const slot = this.batches.at(-BATCHES_IN_FLIGHT)?.done;
    const writtenNs = this.dirtiedNs;
    const batch: Batch = { ranges, appended, bytes, writtenNs, doubt, done: Promise.resolve() };
    batch.done = this.run(batch, before, slot);
    this.batches.push(batch);
    batch.done.catch(() => this.restore(batch));
  }

  private async run(
    batch: Batch,
    before: Promise<void> | undefined,
    slot: Promise<void> | undefined,
  ): Promise<void> {
    const { stop } = this;
    try {
      await slot;
      await this.storeAndCommit(batch, before, stop);
    } catch (error) {
      this.failure ??= { error };
      this.stop.abort(); // those behind this batch cannot be committed any more
      await before?.catch(() => undefined); // whichever failed first, its reason is the one to tell
      throw this.discarded ?? this.failure.error;
    }
  }

  private async storeAndCommit(
    batch: Batch,
    before: Promise<void> | undefined,
    signal: CancelSignal,
  ): Promise<void> {
    const { commit, epoch } = this.options;
    let stored: StoredBatch | undefined;
    let mending: Mending | undefined;
    for (let sessions = 1; ;) {
      if (await this.wasCommitted(batch)) return;
      stored = await this.storeAll(batch.ranges, stored, signal);
      await before;
      if (stored.ranges !== batch.ranges) continue; // the one before it has been moved, and this one with it
      const { chunks } = stored;
      const reserved = chunks[0]!.epoch;
      const expectedSize = batch.appended ? batch.ranges[0]!.offset : undefined;
      try {
        const { writtenNs } = batch;
        this.finished(batch, await commit({ chunks, epoch: reserved, writtenNs, expectedSize }));
        return;
      } catch (error) {
        if (batch.appended && isDfsError(error, "conflict")) {
          await this.moveToEnd(batch, signal);
          continue;
        }
        if (isDfsError(error, "quorum")) {
          mending ??= this.options.store.mending();
          stored = await this.mended(mending, stored, error, signal);
          continue;
        }
        const expired = isDfsError(error, "stale") && epoch() !== reserved;
        // Time may be up while an answer is outstanding, whatever the last attempt has failed with.
        if (!expired) batch.doubt = stored;
        const goesOn = expired || isDfsError(error, "outcomeUnknown");
        if (!goesOn || sessions++ === MAX_SESSIONS) throw error;
      }
    }
  }

  /** Finishes the batch if it turns out to have been committed before. @throws DfsError when that cannot be learned. */
  private async wasCommitted(batch: Batch): Promise<boolean> {
    if (batch.doubt === undefined) return false;
    const attributes = await this.options.committed(batch.doubt.chunks);
    batch.doubt = undefined;
    if (attributes !== undefined) this.finished(batch, attributes);
    return attributes !== undefined;
  }

  /** The first batch has been committed. */
  private finished(batch: Batch, attributes: Attributes): void {
    this.batches.shift();
    this.account();
    this.options.onCommitted(attributes);
    // All copies are on their way or given up, and the overlay gives out copies: nobody looks at these any more.
    for (const { memory } of batch.ranges) {
      if (memory !== undefined) frameMemory.giveBack(memory);
    }
  }

  /** The batch with other copies in place of those that were lost before the commit; its bytes are all here. */
  private async mended(
    mending: Mending,
    { ranges, chunks }: StoredBatch,
    refusal: DfsError,
    signal: CancelSignal,
  ): Promise<StoredBatch> {
    const bytesOf = (index: number): Uint8Array => ranges[index]!.bytes;
    return { ranges, chunks: await mending.mend(chunks, refusal, signal, bytesOf) };
  }

  /** Somebody has moved the end of the file: this batch belongs there, and what has been appended after it is moved as well. */
  private async moveToEnd(batch: Batch, signal: CancelSignal): Promise<void> {
    const size = await this.options.askSize();
    if (signal.aborted) throw new DfsError("cancelled", "writing back was given up");
    const { blockSize } = this.options;
    const by = size - batch.ranges[0]!.offset;
    for (const each of this.batches.slice(this.batches.indexOf(batch))) {
      if (each.appended) each.ranges = moved(each.ranges, by, blockSize);
    }
    this.layers = this.layers.map(({ dirty, appended }) => {
      if (!appended) return { dirty, appended };
      return layerOf(moved(dirty.take(Infinity, Infinity), by, blockSize), appended, blockSize);
    });
  }

  /** Stores all ranges as blocks of one session. What has been stored of them already stays where its block may. */
  private async storeAll(
    ranges: readonly DirtyRange[],
    before: StoredBatch | undefined,
    signal: CancelSignal,
  ): Promise<StoredBatch> {
    const { store, file, epoch, blockSize } = this.options;
    const kept = before === undefined ? [] : placedAnew(before, ranges, blockSize);
    let chunks = await Promise.all(
      ranges.map(async (range, index) => kept[index] ?? store.store(file, range, signal)),
    );
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
    return { ranges, chunks };
  }

  /** Takes back the bytes of failed batches, once the last of them has failed. */
  private restore(failed: Batch): void {
    if (this.batches.at(-1) !== failed) return;
    if (this.layers.length === 0) this.dirtiedNs = failed.writtenNs;
    for (const { ranges, appended, doubt } of this.batches.reverse()) {
      const [next] = this.layers;
      // Appended bytes stay apart: put together they might be more than one batch, and torn.
      if (next?.appended === false && !appended)
        next.dirty.putBack(ranges); // twice does no harm there
      else this.layers.unshift(layerOf(ranges, appended, this.options.blockSize, doubt));
    }
    this.batches = [];
    this.failure = undefined;
    this.stop = new Cancellation();
    this.account();
  }

  private account(): void {
    this.options.holder.settle(this.heldBytes);
  }
}

/** `bytes` in parts that are taken as a whole. */
function* parts(
  bytes: Uint8Array,
  blockSize: number,
): Generator<{ readonly at: number; readonly part: Uint8Array }> {
  const step = Math.max(blockSize, MAX_PART_BYTES);
  for (let at = 0; at < bytes.length; at += step) yield { at, part: bytes.subarray(at, at + step) };
}
