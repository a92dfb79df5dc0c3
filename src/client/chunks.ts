/**
 * Cuts the runs of a file's content into chunks that become blocks.
 *
 * Invariants
 * - A chunk lies inside one block index: chunks are cut at multiples of the block size.
 * - A chunk is as long as the content allows: it ends at a multiple of the block size, at a hole or at the end.
 * - Bytes of a run are copied only where several runs share a chunk. So runs must not be changed once they were given.
 */
import { DfsError } from "../base/errors.ts";
import { MAX_FILE_BYTES } from "../base/limits.ts";
import type { ContentRun } from "./api.ts";

/** Smallest buffer that runs are gathered in. */
const FIRST_BUFFER_BYTES = 64 * 1024;
const GROWTH = 4;

export type Content = AsyncIterable<ContentRun> | Iterable<ContentRun>;

/** A part of a file that becomes one block. */
export interface Chunk {
  /** Offset in the file. */
  readonly offset: number;
  /** At least one byte. */
  readonly bytes: Uint8Array;
}

export class ChunkReader {
  private readonly iterator: AsyncIterator<ContentRun> | Iterator<ContentRun>;
  private readonly blockSize: number;
  private readonly gathered: Gathered;
  /** What is left of the present run. */
  private run: Uint8Array = new Uint8Array(0);
  private ended = false;
  private position = 0;

  constructor(content: Content, blockSize: number) {
    this.iterator = iteratorOf(content);
    this.blockSize = blockSize;
    this.gathered = new Gathered(blockSize);
  }

  /** Bytes of content taken in so far, holes included; the length of the file once `next` has returned undefined. */
  get size(): number {
    return this.position;
  }

  /**
   * The next chunk, or undefined at the end of the content.
   * @throws DfsError `fileTooBig`, `invalid` (a hole of a length that is none); and what the content throws.
   */
  async next(): Promise<Chunk | undefined> {
    for (;;) {
      if (this.run.length > 0) {
        const chunk = this.takeFromRun();
        if (chunk !== undefined) return chunk;
      }
      if (this.ended) return this.emit();
      const step = await this.iterator.next();
      if (step.done === true) this.ended = true;
      else if (step.value instanceof Uint8Array) this.run = step.value;
      else {
        const chunk = this.emit();
        this.advance(checkedHole(step.value.holeBytes));
        if (chunk !== undefined) return chunk;
      }
    }
  }

  /** Tells the source that no more is wanted. */
  async close(): Promise<void> {
    if (this.ended) return;
    this.ended = true;
    await this.iterator.return?.();
  }

  /** Moves bytes of the run into the chunk; returns the chunk when it has reached the end of its block. */
  private takeFromRun(): Chunk | undefined {
    const room = this.blockSize - (this.position % this.blockSize);
    const part = this.run.subarray(0, room);
    this.run = this.run.subarray(part.length);
    this.gathered.add(part);
    this.advance(part.length);
    return part.length === room ? this.emit() : undefined;
  }

  private emit(): Chunk | undefined {
    const bytes = this.gathered.take();
    return bytes.length === 0 ? undefined : { offset: this.position - bytes.length, bytes };
  }

  private advance(count: number): void {
    this.position += count;
    if (this.position > MAX_FILE_BYTES) {
      throw new DfsError("fileTooBig", `a file can have at most ${MAX_FILE_BYTES} bytes`);
    }
  }
}

/** Joins parts of runs; a single part is passed on as it is. */
class Gathered {
  private readonly maxBytes: number;
  private parts: Uint8Array = new Uint8Array(0);
  private length = 0;
  /** True when `parts` is our own buffer with room behind `length`. */
  private owned = false;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  add(part: Uint8Array): void {
    if (this.length === 0) {
      this.parts = part;
      this.owned = false;
    } else {
      this.makeRoom(this.length + part.length);
      this.parts.set(part, this.length);
    }
    this.length += part.length;
  }

  take(): Uint8Array {
    const bytes = this.parts.subarray(0, this.length);
    this.parts = new Uint8Array(0);
    this.length = 0;
    return bytes;
  }

  private makeRoom(needed: number): void {
    if (this.owned && needed <= this.parts.length) return;
    const capacity = Math.max(
      needed,
      FIRST_BUFFER_BYTES,
      this.owned ? GROWTH * this.parts.length : 0,
    );
    const buffer = new Uint8Array(Math.max(needed, Math.min(capacity, this.maxBytes)));
    buffer.set(this.parts.subarray(0, this.length));
    this.parts = buffer;
    this.owned = true;
  }
}

function iteratorOf(content: Content): AsyncIterator<ContentRun> | Iterator<ContentRun> {
  return Symbol.asyncIterator in content
    ? content[Symbol.asyncIterator]()
    : content[Symbol.iterator]();
}

function checkedHole(holeBytes: number): number {
  if (Number.isSafeInteger(holeBytes) && holeBytes >= 0) return holeBytes;
  throw new DfsError("invalid", `a hole of ${holeBytes} bytes is not possible`);
}
