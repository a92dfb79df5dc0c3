/**
 * A file that is read ahead without blocking, so that a walk over it, which reads synchronously, finds its bytes in memory.
 *
 * `load` must be called before each step with the position at which the step begins. What it has not fetched, because the
 * step goes further than usual or the disk refused, is read synchronously.
 */
import type { DiskFile } from "../base/disk.ts";
import { systemCodeOf } from "../base/errors.ts";

/** Bytes that must be there when a step begins: the window of a walk, and a record of the usual length. */
const NEEDED_BYTES = 1280 * 1024;
const LOADED_BYTES = 2 * NEEDED_BYTES;

export class AheadFile {
  private readonly file: DiskFile;
  private readonly end: number;
  private readonly buffer: Uint8Array;
  private start = 0;
  private filled = 0;

  /** The file counts up to `end`. */
  constructor(file: DiskFile, end: number) {
    this.file = file;
    this.end = end;
    this.buffer = new Uint8Array(Math.min(LOADED_BYTES, end));
  }

  get path(): string {
    return this.file.path;
  }

  size(): number {
    return this.end;
  }

  /** Fetches what lies behind `position`, unless it is there. */
  async load(position: number): Promise<void> {
    const needed = Math.min(NEEDED_BYTES, this.end - position);
    if (this.covers(position, needed)) return;
    const target = this.buffer.subarray(0, Math.min(this.buffer.length, this.end - position));
    this.filled = 0;
    this.start = position;
    try {
      this.filled = await this.file.read(target, position);
    } catch (error) {
      if (systemCodeOf(error) !== "EIO") throw error; // the walk finds out which bytes it is
    }
  }

  /** As `DiskFile.readNow`. */
  readNow(target: Uint8Array, position: number): number {
    if (!this.covers(position, target.length)) return this.file.readNow(target, position);
    target.set(this.loaded(position, target.length));
    return target.length;
  }

  /** A copy of `length` bytes; undefined when the file ends before. @throws what the disk throws, EIO for example. */
  async copy(position: number, length: number): Promise<Uint8Array | undefined> {
    if (this.covers(position, length)) return this.loaded(position, length).slice();
    const bytes = new Uint8Array(length);
    return (await this.file.read(bytes, position)) === length ? bytes : undefined;
  }

  private covers(position: number, length: number): boolean {
    return position >= this.start && position + length <= this.start + this.filled;
  }

  private loaded(position: number, length: number): Uint8Array {
    return this.buffer.subarray(position - this.start, position - this.start + length);
  }
}
