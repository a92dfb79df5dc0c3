/**
 * A part of a file as a scrub goes through it: forward, in chunks, the next of which is read while the last is verified.
 *
 * What the disk refuses to read (EIO) is replaced, page by page, by bytes that no checksum expects, as window.ts does it.
 * Unlike there, nothing here blocks the event loop: a bad sector may take a disk many seconds.
 */
import type { DiskFile } from "../base/disk.ts";
import { systemCodeOf } from "../base/errors.ts";
import { MAX_WANTED_BYTES } from "./reader.ts";
import { PAGE_BYTES, UNREADABLE } from "./window.ts";

/** Bytes read at once. */
export const CHUNK_BYTES = 1024 * 1024;

/** Room before a chunk for the end of the one before, so that a view may begin there. */
const TAIL_BYTES = MAX_WANTED_BYTES;

export class ReadAhead {
  private readonly file: DiskFile;
  private readonly end: number;
  private readonly aheadTo: number;
  /** The chunk that is looked at, and the one that is being read. */
  private front: Uint8Array;
  private back: Uint8Array;
  /** `front` holds the bytes from `from` to `to`; `base` is at TAIL_BYTES in it. */
  private from = 0;
  private base = 0;
  private to = 0;
  private pending: Promise<number> | undefined;

  /**
   * The file counts up to `end`; nothing from `aheadTo` on is read before it is asked for. `buffers` come from
   * `readAheadBuffers` and belong to this reader until `settle` has resolved.
   */
  constructor(
    file: DiskFile,
    end: number,
    aheadTo: number,
    [front, back]: readonly [Uint8Array, Uint8Array],
  ) {
    this.file = file;
    this.end = end;
    this.aheadTo = Math.min(aheadTo, end);
    this.front = front;
    this.back = back;
  }

  /** A view of `length` bytes at `position`, fewer only at the end; undefined when they have to be waited for. */
  loaded(position: number, length: number): Uint8Array | undefined {
    const wanted = Math.min(length, this.end - position);
    if (position < this.from || position + wanted > this.to) return undefined;
    return this.view(position, wanted);
  }

  /** The same, waiting for it; fewer bytes also when the file has become shorter. Views end with the next call. */
  async load(position: number, length: number): Promise<Uint8Array> {
    if (position < this.from || position > this.to) await this.jump(position);
    const wanted = Math.min(length, this.end - position);
    if (position + wanted > this.to) await this.turnOver(position);
    return this.view(position, Math.min(wanted, this.to - position));
  }

  /** Resolves when nothing is being read any more. */
  async settle(): Promise<void> {
    await this.pending?.catch(() => undefined); // nobody has asked for it
    this.pending = undefined;
  }

  private view(position: number, length: number): Uint8Array {
    const at = TAIL_BYTES + position - this.base;
    return this.front.subarray(at, at + length);
  }

  private async jump(position: number): Promise<void> {
    await this.settle();
    this.from = this.base = this.to = position;
  }

  /** Makes the next chunk the one that is looked at, with what is left of this one from `position` on before it. */
  private async turnOver(position: number): Promise<void> {
    const chunk = this.pending ?? this.read(this.to);
    this.pending = undefined;
    const count = await chunk;
    const tail = this.view(position, this.to - position);
    this.back.set(tail, TAIL_BYTES - tail.length);
    [this.front, this.back] = [this.back, this.front];
    this.from = position;
    this.base = this.to;
    this.to += count;
    if (this.to >= this.aheadTo || count === 0) return;
    this.pending = this.read(this.to);
    this.pending.catch(() => undefined); // told to whoever asks for it
  }

  /** Reads a chunk into `back`; returns how many bytes there were. */
  private async read(position: number): Promise<number> {
    const length = Math.min(CHUNK_BYTES, this.end - position);
    const target = this.back.subarray(TAIL_BYTES, TAIL_BYTES + length);
    try {
      return await this.file.read(target, position);
    } catch (error) {
      if (systemCodeOf(error) !== "EIO") throw error;
      return this.readPages(target, position);
    }
  }

  private async readPages(target: Uint8Array, position: number): Promise<number> {
    let at = 0;
    while (at < target.length) {
      const page = target.subarray(at, at + PAGE_BYTES - ((position + at) % PAGE_BYTES));
      try {
        if ((await this.file.read(page, position + at)) < page.length) return at;
      } catch (error) {
        if (systemCodeOf(error) !== "EIO") throw error;
        page.fill(UNREADABLE);
      }
      at += page.length;
    }
    return at;
  }
}

/** Buffers for one reader after another. */
export function readAheadBuffers(): readonly [Uint8Array, Uint8Array] {
  return [new Uint8Array(TAIL_BYTES + CHUNK_BYTES), new Uint8Array(TAIL_BYTES + CHUNK_BYTES)];
}
