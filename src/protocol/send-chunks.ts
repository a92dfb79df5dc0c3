/**
 * What stands in a send queue: bytes in memory, and parts of files.
 */
import { DfsError } from "../base/errors.ts";
import type { FilePart } from "../base/file-part.ts";
import type { ByteStream } from "./transport.ts";

/** Length of a buffer that several frames are copied into. */
export const STAGING_BYTES = 256 * 1024;

/** Staging buffers kept for the next connection that has something to send. */
const MAX_SPARE_BUFFERS = 4;

const spareBuffers: Uint8Array[] = [];

/** A buffer of STAGING_BYTES with undefined content. */
export function takeStaging(): Uint8Array {
  return spareBuffers.pop() ?? new Uint8Array(STAGING_BYTES);
}

/** Bytes in memory. */
export class BytesChunk {
  bytes: Uint8Array;
  /** The part of `bytes` that is still to be sent. */
  start = 0;
  end: number;
  private readonly staging: boolean;
  private readonly sent: (() => void) | undefined;

  /** With `staging` more may be put behind `end`. `sent` is called when it is not needed any more. */
  constructor(bytes: Uint8Array, end: number, staging: boolean, sent?: () => void) {
    this.bytes = bytes;
    this.end = end;
    this.staging = staging;
    this.sent = sent;
  }

  /** Bytes still to be sent. */
  get left(): number {
    return this.end - this.start;
  }

  /** Whether so many bytes more may be put behind `end`. */
  hasRoom(bytes: number): boolean {
    return this.staging && this.bytes.length - this.end >= bytes;
  }

  /** Makes it independent of the buffer that it was made with. */
  detach(): void {
    if (this.left === 0) return;
    this.bytes = this.bytes.slice(this.start, this.end);
    this.end = this.bytes.length;
    this.start = 0;
  }

  /** Sends as much as the stream takes; false when that has ended. */
  writeTo(stream: ByteStream): boolean {
    const count = stream.write(this.bytes.subarray(this.start, this.end));
    this.start += Math.max(0, count);
    return count >= 0;
  }

  /** It is not needed any more. */
  release(): void {
    const isSpare = this.staging && this.bytes.length === STAGING_BYTES;
    if (isSpare && spareBuffers.length < MAX_SPARE_BUFFERS) spareBuffers.push(this.bytes);
    this.sent?.();
  }
}

/**
 * A part of a file. It is read into memory first when the stream cannot send files, and when the system has dropped it from its memory
 * since it was queued: sending would have to wait for the disk then, and everything else with it.
 */
export class FileChunk {
  private readonly part: FilePart;
  private start = 0;
  private bytes: Uint8Array | undefined;
  private loading = false;
  private released = false;
  private readonly sent: (() => void) | undefined;

  constructor(part: FilePart, sent?: () => void) {
    this.part = part;
    this.sent = sent;
  }

  /** Bytes still to be sent. */
  get left(): number {
    return this.part.length - this.start;
  }

  /** Whether sending it need not wait for the disk. */
  isReady(stream: ByteStream): boolean {
    if (this.bytes !== undefined) return true;
    return !this.loading && stream.sendFile !== undefined && this.part.isCached(this.start);
  }

  /** Begins to read it; undefined when that has begun before. @throws DfsError `io`. */
  load(): Promise<void> | undefined {
    if (this.loading) return undefined;
    this.loading = true;
    return this.read().finally(() => {
      this.loading = false;
      if (this.released) this.sent?.();
    });
  }

  /** As that of bytes. @throws DfsError `io`. */
  writeTo(stream: ByteStream): boolean {
    const { bytes, part } = this;
    const count =
      bytes === undefined
        ? this.sendTo(stream)
        : stream.write(bytes.subarray(this.start - (part.length - bytes.length)));
    this.start += Math.max(0, count);
    return count >= 0;
  }

  /** It is not needed any more. While it is being read its file is. */
  release(): void {
    this.released = true;
    if (!this.loading) this.sent?.();
  }

  private sendTo(stream: ByteStream): number {
    try {
      return stream.sendFile!(this.part, this.start);
    } catch (error) {
      this.part.failed?.();
      throw error;
    }
  }

  private async read(): Promise<void> {
    const { part, start } = this;
    try {
      const bytes = await part.read(start);
      if (bytes.length < part.length - start) {
        throw new DfsError("io", "cannot send a part of a file: it has become shorter");
      }
      this.bytes = bytes;
    } catch (error) {
      part.failed?.();
      throw error;
    }
  }
}
