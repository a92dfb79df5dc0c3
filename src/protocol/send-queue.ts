/**
 * What is waiting to be written to one stream.
 *
 * Frames that are queued in one turn leave in one write: they are copied into a staging buffer that is flushed by a
 * microtask. Bulk bytes over COPY_LIMIT_BYTES are not copied but written from the caller's buffer, in their place in
 * the order. Staging buffers are shared by all connections and held only while there is something to send.
 */
import { LENGTH_BYTES } from "./frame.ts";
import type { ByteStream } from "./transport.ts";

/** Up to this size copying bulk bytes behind their head costs less than a second write. Measured: bench/protocol.ts. */
export const COPY_LIMIT_BYTES = 128 * 1024;

const STAGING_BYTES = 256 * 1024;

/** Staging buffers kept for the next connection that has something to send. */
const MAX_SPARE_BUFFERS = 4;

const spareBuffers: Uint8Array[] = [];

/** Bulk bytes that were queued without a copy. */
export interface QueuedBulk {
  /** Makes the queue independent of the caller's buffer, by copying what is left to send. */
  detach(): void;
}

class Chunk implements QueuedBulk {
  bytes: Uint8Array;
  /** The part of `bytes` that is still to be sent. */
  start = 0;
  end: number;
  readonly staging: boolean;
  readonly sent: (() => void) | undefined;

  constructor(bytes: Uint8Array, end: number, staging: boolean, sent?: () => void) {
    this.bytes = bytes;
    this.end = end;
    this.staging = staging;
    this.sent = sent;
  }

  detach(): void {
    if (this.start === this.end) return;
    this.bytes = this.bytes.slice(this.start, this.end);
    this.end = this.bytes.length;
    this.start = 0;
  }
}

/** What the owner of a queue is told, never from inside `push`. */
export interface SendQueueEvents {
  /** The stream has accepted bytes. */
  onProgress(): void;
  /** The stream is full and bytes wait. */
  onBlocked(): void;
  /** More bytes wait (or fewer: negative). This one is told from inside `push`. */
  onBytes?(change: number): void;
}

export class SendQueue {
  private waitingBytes = 0;
  private readonly chunks: Chunk[] = [];
  private stream: ByteStream | undefined;
  private hasEnded = false;
  private flushPlanned = false;
  /** True while the stream is full: `writable` will be called. */
  private blocked = false;
  private readonly events: SendQueueEvents;

  constructor(events: SendQueueEvents) {
    this.events = events;
  }

  /** Bytes that the stream has not accepted yet. */
  get bytes(): number {
    return this.waitingBytes;
  }

  /** True when the stream has said that it has ended; its `onClose` may still be to come, or be missed. */
  get ended(): boolean {
    return this.hasEnded;
  }

  /** Tries again to send what waits, unless the stream is known to be full. */
  retry(): void {
    if (this.bytes > 0) this.planFlush();
  }

  attach(stream: ByteStream): void {
    this.stream = stream;
    this.planFlush();
  }

  /** True while bytes wait for the stream to have room. */
  get stalled(): boolean {
    return this.blocked && this.bytes > 0;
  }

  /**
   * Queues one frame: its length, `head` and the bulk bytes. `sent` is called once, when `bulk` is not needed any more.
   * Returns a handle when the queue goes on referring to the caller's `bulk`.
   */
  push(head: Uint8Array, bulk?: Uint8Array, sent?: () => void): QueuedBulk | undefined {
    const bulkLength = bulk?.length ?? 0;
    const copied = bulkLength <= COPY_LIMIT_BYTES;
    const inline = LENGTH_BYTES + head.length + (copied ? bulkLength : 0);
    const chunk = this.room(inline, !copied);
    writeLength(chunk.bytes, chunk.end, head.length + bulkLength);
    chunk.bytes.set(head, chunk.end + LENGTH_BYTES);
    if (bulk !== undefined && copied) chunk.bytes.set(bulk, chunk.end + LENGTH_BYTES + head.length);
    chunk.end += inline;
    this.change(LENGTH_BYTES + head.length + bulkLength);
    this.planFlush();
    if (bulk === undefined || copied) {
      sent?.();
      return undefined;
    }
    const loose = new Chunk(bulk, bulk.length, false, sent);
    this.chunks.push(loose);
    return loose;
  }

  /** The stream has room again. */
  writable(): void {
    this.blocked = false;
    this.flush();
  }

  /** Drops everything, when the stream has ended. */
  clear(): void {
    for (const chunk of this.chunks.splice(0)) release(chunk);
    this.change(-this.waitingBytes);
    this.stream = undefined;
  }

  /** A chunk with `needed` free bytes at the end of the queue; `isLast`: no other frame will join it. */
  private room(needed: number, isLast: boolean): Chunk {
    const last = this.chunks.at(-1);
    if (last !== undefined && last.staging && last.bytes.length - last.end >= needed) return last;
    const bytes =
      isLast || needed > STAGING_BYTES
        ? new Uint8Array(needed)
        : (spareBuffers.pop() ?? new Uint8Array(STAGING_BYTES));
    const chunk = new Chunk(bytes, 0, true);
    this.chunks.push(chunk);
    return chunk;
  }

  private change(by: number): void {
    this.waitingBytes += by;
    if (by !== 0) this.events.onBytes?.(by);
  }

  private planFlush(): void {
    if (this.flushPlanned || this.blocked || this.stream === undefined) return;
    this.flushPlanned = true;
    queueMicrotask(() => {
      this.flushPlanned = false;
      this.flush();
    });
  }

  private flush(): void {
    const before = this.bytes;
    let done = 0;
    for (const chunk of this.chunks) {
      if (!this.writeChunk(chunk)) break;
      done++;
    }
    for (const chunk of this.chunks.splice(0, done)) release(chunk);
    if (this.stalled) this.events.onBlocked();
    if (this.bytes < before) this.events.onProgress();
  }

  /** Writes what is left of `chunk`; returns false when the stream took less. */
  private writeChunk(chunk: Chunk): boolean {
    if (this.stream === undefined || this.blocked) return false;
    const count = this.stream.write(chunk.bytes.subarray(chunk.start, chunk.end));
    if (count < 0) {
      this.stream = undefined; // it has ended; onClose follows and clears the queue
      this.hasEnded = true;
      return false;
    }
    chunk.start += count;
    this.change(-count);
    if (chunk.start < chunk.end) this.blocked = true;
    return chunk.start === chunk.end;
  }
}

function release(chunk: Chunk): void {
  if (
    chunk.staging &&
    chunk.bytes.length === STAGING_BYTES &&
    spareBuffers.length < MAX_SPARE_BUFFERS
  ) {
    spareBuffers.push(chunk.bytes);
  }
  chunk.sent?.();
}

function writeLength(target: Uint8Array, at: number, length: number): void {
  target[at] = length >>> 24;
  target[at + 1] = length >>> 16;
  target[at + 2] = length >>> 8;
  target[at + 3] = length;
}
