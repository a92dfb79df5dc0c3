/**
 * What is waiting to be written to one stream.
 *
 * Frames that are queued in one turn leave in one write: they are copied into a staging buffer that is flushed by a
 * microtask. Bulk bytes over COPY_LIMIT_BYTES are not copied but written from the caller's buffer, in their place in
 * the order; those that lie in files are sent from there. Staging buffers are shared by all connections and held only while there
 * is something to send.
 */
import { FileParts, type FilePart } from "../base/file-part.ts";
import { LENGTH_BYTES } from "./frame.ts";
import type { Bulk } from "./peer.ts";
import { BytesChunk, FileChunk, STAGING_BYTES, takeStaging } from "./send-chunks.ts";
import type { ByteStream } from "./transport.ts";

/** Up to this size copying bulk bytes behind their head costs less than a second write. Measured: bench/protocol.ts. */
export const COPY_LIMIT_BYTES = 128 * 1024;

/** Bulk bytes that were queued without a copy. */
export interface QueuedBulk {
  /** Makes the queue independent of the caller's buffer, by copying what is left to send. */
  detach(): void;
}

/** What the owner of a queue is told, never from inside `push`. */
export interface SendQueueEvents {
  /** The stream has accepted bytes. */
  onProgress(): void;
  /** The stream is full and bytes wait. */
  onBlocked(): void;
  /** More bytes wait (or fewer: negative). This one is told from inside `push`. */
  onBytes?(change: number): void;
  /** A file whose bytes were to be sent cannot be read: the stream cannot go on. */
  onBroken(error: unknown): void;
}

export class SendQueue {
  private waitingBytes = 0;
  private readonly chunks: (BytesChunk | FileChunk)[] = [];
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
  push(head: Uint8Array, bulk?: Bulk, sent?: () => void): QueuedBulk | undefined {
    const bulkLength = bulk?.length ?? 0;
    const isFile = bulk !== undefined && !(bulk instanceof Uint8Array);
    const copied = !isFile && bulkLength <= COPY_LIMIT_BYTES;
    const inline = LENGTH_BYTES + head.length + (copied ? bulkLength : 0);
    const chunk = this.room(inline, !copied);
    writeLength(chunk.bytes, chunk.end, head.length + bulkLength);
    chunk.bytes.set(head, chunk.end + LENGTH_BYTES);
    if (bulk !== undefined && !isFile && copied)
      chunk.bytes.set(bulk, chunk.end + LENGTH_BYTES + head.length);
    chunk.end += inline;
    this.change(LENGTH_BYTES + head.length + bulkLength);
    this.planFlush();
    if (bulk === undefined || copied) {
      sent?.();
      return undefined;
    }
    if (isFile) {
      this.chunks.push(...fileChunks(bulk instanceof FileParts ? bulk.parts : [bulk], sent));
      return undefined;
    }
    const loose = new BytesChunk(bulk, bulk.length, false, sent);
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
    for (const chunk of this.chunks.splice(0)) chunk.release();
    this.change(-this.waitingBytes);
    this.stream = undefined;
  }

  /** A chunk with `needed` free bytes at the end of the queue; `isLast`: no other frame will join it. */
  private room(needed: number, isLast: boolean): BytesChunk {
    const last = this.chunks.at(-1);
    if (last instanceof BytesChunk && last.hasRoom(needed)) return last;
    const bytes = isLast || needed > STAGING_BYTES ? new Uint8Array(needed) : takeStaging();
    const chunk = new BytesChunk(bytes, 0, true);
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
    try {
      for (const chunk of this.chunks) {
        if (!this.writeChunk(chunk)) break;
        done++;
      }
    } catch (error) {
      this.events.onBroken(error); // everything is dropped
      return;
    }
    for (const chunk of this.chunks.splice(0, done)) chunk.release();
    if (this.stalled) this.events.onBlocked();
    if (this.bytes < before) this.events.onProgress();
  }

  /** Writes what is left of `chunk`; returns false when the stream took less, or it has to be waited for. */
  private writeChunk(chunk: BytesChunk | FileChunk): boolean {
    if (this.stream === undefined || this.blocked) return false;
    if (chunk instanceof FileChunk && !chunk.isReady(this.stream)) {
      this.load(chunk);
      return false;
    }
    const before = chunk.left;
    if (!chunk.writeTo(this.stream)) {
      this.stream = undefined; // it has ended; onClose follows and clears the queue
      this.hasEnded = true;
      return false;
    }
    this.change(chunk.left - before);
    if (chunk.left > 0) this.blocked = true;
    return chunk.left === 0;
  }

  /** Sends go on when the chunk has been read. */
  private load(chunk: FileChunk): void {
    chunk.load()?.then(
      () => this.planFlush(),
      (error: unknown) => this.events.onBroken(error),
    );
  }
}

/** `sent` is called when none of the parts is needed any more. */
function fileChunks(parts: readonly FilePart[], sent?: () => void): FileChunk[] {
  let left = parts.length;
  if (left === 0) sent?.();
  const ended = (): void => {
    if (--left === 0) sent?.();
  };
  return parts.map((part) => new FileChunk(part, ended));
}

function writeLength(target: Uint8Array, at: number, length: number): void {
  target[at] = length >>> 24;
  target[at + 1] = length >>> 16;
  target[at + 2] = length >>> 8;
  target[at + 3] = length;
}
