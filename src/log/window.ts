/**
 * A file seen through a buffer that moves forward: for walking over segments without a system call for each record.
 *
 * What the disk refuses to read (EIO) is replaced, page by page, by bytes that no checksum expects, so that one bad
 * sector costs what lies on it and nothing else.
 */
import type { DiskFile } from "../base/disk.ts";
import { systemCodeOf } from "../base/errors.ts";

/** What is lost with a sector that cannot be read. */
export const PAGE_BYTES = 4096;
/** Stands for each byte of it. */
export const UNREADABLE = 0xa5;

/** Bytes read at once when the walk goes on near what it has read. */
const WINDOW_BYTES = 1024 * 1024;

/** A jump that is not longer than this costs less when the bytes in between are read as well. */
const NEAR_BYTES = 64 * 1024;

/** What a window needs of a file. */
export type WindowSource = Pick<DiskFile, "size" | "readNow">;

export class Window {
  private readonly file: WindowSource;
  /** The file counts up to here. */
  readonly end: number;
  private readonly buffer: Uint8Array;
  private start = 0;
  private filled = 0;

  constructor(file: WindowSource, end: number) {
    this.file = file;
    this.end = end;
    this.buffer = new Uint8Array(Math.min(WINDOW_BYTES, Math.max(end, PAGE_BYTES)));
  }

  /**
   * A view of up to `length` bytes at `position`, fewer only at the end; valid until the next call. After a long
   * jump little more than `length` is read, because the next jump may be as long.
   */
  view(position: number, length: number): Uint8Array {
    const wanted = Math.min(length, this.end - position);
    if (position < this.start || position + wanted > this.start + this.filled) {
      this.fill(position, wanted);
    }
    const from = position - this.start;
    return this.buffer.subarray(from, Math.min(from + wanted, this.filled));
  }

  private fill(position: number, wanted: number): void {
    const near = position >= this.start && position <= this.start + this.filled + NEAR_BYTES;
    const ahead = near ? this.buffer.length : Math.max(wanted, PAGE_BYTES);
    const length = Math.min(ahead, this.buffer.length, this.end - position);
    this.start = position;
    this.filled = this.read(this.buffer.subarray(0, length), position);
  }

  private read(target: Uint8Array, position: number): number {
    try {
      return this.file.readNow(target, position);
    } catch (error) {
      if (systemCodeOf(error) !== "EIO") throw error;
      return this.readPages(target, position);
    }
  }

  private readPages(target: Uint8Array, position: number): number {
    let at = 0;
    while (at < target.length) {
      const page = target.subarray(at, at + PAGE_BYTES - ((position + at) % PAGE_BYTES));
      try {
        if (this.file.readNow(page, position + at) < page.length) return at;
      } catch (error) {
        if (systemCodeOf(error) !== "EIO") throw error;
        page.fill(UNREADABLE);
      }
      at += page.length;
    }
    return at;
  }
}
