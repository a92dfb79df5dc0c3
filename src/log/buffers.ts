/**
 * Buffers for reads, used again and again: a fresh one costs several times what reading into it costs.
 *
 * Sizes are powers of two. At most MAX_IDLE_BYTES lie idle; what comes back beyond that is left to the collector.
 */
import { assert } from "../base/errors.ts";

/** The smallest buffer. */
export const MIN_BUFFER_BYTES = 4096;
const MAX_IDLE_BYTES = 32 * 1024 * 1024;

/** A buffer that is somebody's until `release`. */
export interface BorrowedBuffer {
  readonly bytes: Uint8Array;
  /** Gives it back. Nobody may look at it after that. */
  release(): void;
}

export class BufferPool {
  private readonly idle = new Map<number, Uint8Array[]>();
  private idleBytes = 0;

  /** A buffer whose `bytes` are exactly `length` long, with undefined content. */
  take(length: number): BorrowedBuffer {
    const size = sizeFor(length);
    const buffer = this.idle.get(size)?.pop();
    if (buffer !== undefined) this.idleBytes -= size;
    const whole = buffer ?? new Uint8Array(size);
    let released = false;
    return {
      bytes: whole.subarray(0, length),
      release: () => {
        assert(!released, "a buffer was given back twice");
        released = true;
        this.giveBack(whole);
      },
    };
  }

  private giveBack(buffer: Uint8Array): void {
    if (this.idleBytes + buffer.length > MAX_IDLE_BYTES) return;
    this.idleBytes += buffer.length;
    const list = this.idle.get(buffer.length);
    if (list === undefined) this.idle.set(buffer.length, [buffer]);
    else list.push(buffer);
  }
}

function sizeFor(length: number): number {
  return Math.max(MIN_BUFFER_BYTES, 2 ** Math.ceil(Math.log2(Math.max(1, length))));
}
