/**
 * Memory for long frames, used again and again: filling a fresh buffer of 1 MiB costs several times as much as copying into
 * one that has been in use, because the system hands its pages out one by one.
 *
 * Who receives a frame owns its memory. Nothing takes it away: only `giveBack` makes it available to later frames, and only
 * the owner calls that, when nobody will look at the frame, or at views of it, any more. What is never given back is left to
 * the collector, as any other buffer.
 */

/** Shorter frames have memory of their own; longer ones get multiples of this. */
const GRAIN_BYTES = 64 * 1024;

/** Bytes that lie idle at most. Beyond that those go whose length has not been in use for longest. */
const MAX_IDLE_BYTES = 32 * 1024 * 1024;

export class FrameMemory {
  /** By length; the one that was used last comes last. */
  private readonly idle = new Map<number, Uint8Array[]>();
  private idleBytes = 0;
  /** Buffers that were taken here and not given back. */
  private readonly lent = new WeakSet<Uint8Array>();

  /** At least `length` bytes with undefined content: that many, unless they come out of a stock for longer frames. */
  take(length: number): Uint8Array {
    if (length < GRAIN_BYTES) return new Uint8Array(Buffer.allocUnsafeSlow(length).buffer);
    const size = Math.ceil(length / GRAIN_BYTES) * GRAIN_BYTES;
    const known = this.ofSize(size).pop();
    if (known !== undefined) this.idleBytes -= size;
    const buffer = known ?? new Uint8Array(Buffer.allocUnsafeSlow(size).buffer);
    this.lent.add(buffer);
    return buffer;
  }

  /** Makes memory available to later frames. Does nothing with what was not taken here, or was given back already. */
  giveBack(buffer: Uint8Array): void {
    if (!this.lent.delete(buffer)) return;
    const list = this.ofSize(buffer.length);
    this.makeRoom(buffer.length);
    if (this.idleBytes + buffer.length > MAX_IDLE_BYTES) return;
    this.idleBytes += buffer.length;
    list.push(buffer);
  }

  /** Idle buffers of one length, which is in use from now on. */
  private ofSize(size: number): Uint8Array[] {
    const list = this.idle.get(size) ?? [];
    this.idle.delete(size);
    this.idle.set(size, list);
    return list;
  }

  /** Leaves idle buffers of other lengths to the collector. */
  private makeRoom(size: number): void {
    for (const [other, list] of this.idle) {
      if (other === size || this.idleBytes + size <= MAX_IDLE_BYTES) return;
      while (this.idleBytes + size > MAX_IDLE_BYTES && list.length > 0) {
        list.pop();
        this.idleBytes -= other;
      }
      if (list.length === 0) this.idle.delete(other);
    }
  }

  /** A function that gives the buffer back when it is called for the first time. */
  releaserOf(buffer: Uint8Array): () => void {
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.giveBack(buffer);
    };
  }

  /** True when the buffer is no longer than a frame of `length` bytes needs here. */
  fits(buffer: Uint8Array, length: number): boolean {
    return (
      buffer.length <= length || (this.lent.has(buffer) && buffer.length < length + GRAIN_BYTES)
    );
  }
}

/** That of this process. */
export const frameMemory = new FrameMemory();
