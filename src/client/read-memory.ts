/**
 * Memory of what was read, for a reader who knows when nobody looks at it any more, as a mount does when the kernel has it. The
 * next blocks are received into it: filling fresh memory takes several times as long (protocol/frame-memory.ts).
 *
 * Invariant: what is remembered here are bytes of one answer of one server, or put together for one reader, of which no other views
 * are given out. Who keeps them for several readers gives out copies, and gives the memory back when the last of them has its own.
 */
import { frameMemory } from "../protocol/frame-memory.ts";

const releases = new WeakMap<Uint8Array, () => void>();

/** Remembers how to give back the memory that `bytes` lie in. */
export function withRelease(bytes: Uint8Array, release: () => void): Uint8Array {
  releases.set(bytes, release);
  return bytes;
}

/**
 * Nobody will look at these bytes, which a read has returned, or at views of them, any more. Need not be called; does nothing with
 * bytes that are something else.
 */
export function doneWith(bytes: Uint8Array): void {
  releases.get(bytes)?.();
  releases.delete(bytes);
}

/** Memory for bytes that are put together for one reader, with undefined content: that of other reads, as far as they gave it back. */
export function readMemory(length: number): Uint8Array {
  const buffer = frameMemory.take(length);
  return withRelease(buffer.subarray(0, length), frameMemory.releaserOf(buffer));
}
