/**
 * Frames on a byte stream: a length of four bytes, big-endian, then that many bytes.
 *
 * The parser takes chunks as they come, cut anywhere. A length is checked against the limit in force before anything is
 * allocated for it. A frame that lies within one chunk is handed out as a view of it; for a longer one memory is taken
 * once (frame-memory.ts), and filled. The owner may pause the parser between any two frames; what follows is kept. It may also
 * keep a longer frame waiting before memory is taken for it.
 */
import { DfsError } from "../base/errors.ts";
import { frameMemory } from "./frame-memory.ts";

/** Bytes of the length in front of each frame. */
export const LENGTH_BYTES = 4;

/** What a parser receives at most before it lets others have their turn. */
const MOST_FILLED_BYTES = 4 * 1024 * 1024;

const NO_BYTES = new Uint8Array(0);

/** Is given each frame: the bytes of `buffer` from `start` to `end`, which then belong to it. */
export type FrameTaker = (buffer: Uint8Array, start: number, end: number) => void;

/** What the owner of a parser is asked and told about memory. */
export interface FrameMemoryOwner {
  /** May a frame of this length be begun? When not, nothing is handed out until `retry`. */
  mayBegin(length: number): boolean;
  /** Memory has been taken for a frame (or handed on with it, or dropped: negative). */
  onHeld(bytes: number): void;
}

const UNBOUNDED: FrameMemoryOwner = { mayBegin: () => true, onHeld: () => undefined };

export class FrameParser {
  /** Longest frame accepted from now on, in bytes without the prefix. */
  limit: number;
  private readonly onFrame: FrameTaker;
  private readonly owner: FrameMemoryOwner;
  /** Frames handed out so far. */
  frames = 0;
  /** Length of a frame that has to wait for memory. */
  private waitingLength: number | undefined;
  private readonly prefix = new Uint8Array(LENGTH_BYTES);
  private prefixFilled = 0;
  private body: Uint8Array | undefined;
  private bodyFilled = 0;
  private bodyLength = 0;
  /** Chunks that came while paused, in order. */
  private kept: Uint8Array[] = [];
  private paused = false;
  private running = false;
  private stopped = false;

  constructor(limit: number, onFrame: FrameTaker, owner: FrameMemoryOwner = UNBOUNDED) {
    this.limit = limit;
    this.onFrame = onFrame;
    this.owner = owner;
  }

  /** Length of the frame that memory has been taken for; 0 when there is none. */
  get heldBytes(): number {
    return this.body === undefined ? 0 : this.bodyLength;
  }

  /** Length of the frame whose memory has to be waited for. */
  get waitsForMemory(): boolean {
    return this.waitingLength !== undefined;
  }

  /** True when the bytes so far end inside a frame. */
  get insideFrame(): boolean {
    return (
      this.prefixFilled > 0 ||
      this.body !== undefined ||
      this.waitsForMemory ||
      this.kept.length > 0
    );
  }

  /**
   * Takes the next bytes of the stream and calls `onFrame` for every frame that they complete. What `onFrame` throws is
   * thrown on; the parser must not be used after that.
   * @throws DfsError `protocol` for a length that is 0 or over the limit.
   */
  push(chunk: Uint8Array): void {
    if (this.stopped) return;
    this.kept.push(chunk);
    this.run();
  }

  /**
   * Completes a long frame that has begun, and those behind it, as far as that is possible at once, with bytes that `receive` puts
   * where it is told and counts. They must be the next of the stream. Does nothing when no long frame has begun, and ends after
   * about MOST_FILLED_BYTES. Returns how many bytes there were; throws as `push` does.
   */
  fill(receive: (target: Uint8Array, offset: number) => number): number {
    if (this.body === undefined) return 0;
    let bytes = 0;
    while (bytes < MOST_FILLED_BYTES && this.kept.length === 0 && !this.holdsBack) {
      const count = this.body === undefined ? this.fillPrefix(receive) : this.fillRest(receive);
      if (count === 0) break;
      bytes += count;
    }
    return bytes;
  }

  /** No frame is handed out until `resume`. May be called from inside `onFrame`. */
  pause(): void {
    this.paused = true;
  }

  /** Goes on with what was kept; throws as `push` does. */
  resume(): void {
    this.paused = false;
    this.run();
  }

  /** Asks again for the memory that was refused, and goes on; throws as `push` does. */
  retry(): void {
    const length = this.waitingLength;
    if (length === undefined || this.stopped || !this.owner.mayBegin(length)) return;
    this.waitingLength = undefined;
    this.take(length);
    this.run();
  }

  /** Hands out nothing any more and drops what it holds. */
  stop(): void {
    this.stopped = true;
    this.kept = [];
    this.waitingLength = undefined;
    if (this.body === undefined) return;
    this.owner.onHeld(-this.bodyLength);
    frameMemory.giveBack(this.body); // nobody else has seen it
    this.body = undefined;
  }

  private get holdsBack(): boolean {
    return this.paused || this.stopped || this.waitingLength !== undefined;
  }

  private run(): void {
    if (this.running) return; // called from inside onFrame: the loop below goes on by itself
    this.running = true;
    while (this.kept.length > 0 && !this.holdsBack) {
      const chunk = this.kept[0]!;
      const taken = this.consume(chunk);
      if (this.stopped) break;
      if (taken === chunk.length) this.kept.shift();
      else this.kept[0] = chunk.subarray(taken);
    }
    this.running = false;
  }

  /** Takes bytes from `chunk` until it is used up or the parser is paused; returns how many. */
  private consume(chunk: Uint8Array): number {
    let at = 0;
    while (at < chunk.length && !this.holdsBack) {
      if (this.body !== undefined) {
        at += this.fillBody(this.body, chunk, at);
      } else if (this.prefixFilled === 0 && chunk.length - at >= LENGTH_BYTES) {
        at = this.begin(readLength(chunk, at), chunk, at + LENGTH_BYTES);
      } else {
        this.prefix[this.prefixFilled++] = chunk[at++]!;
        if (this.prefixFilled === LENGTH_BYTES)
          at = this.begin(readLength(this.prefix, 0), chunk, at);
      }
    }
    return at;
  }

  /** Begins a frame of `length` bytes whose body starts at `at`; returns the position behind what it took. */
  private begin(length: number, chunk: Uint8Array, at: number): number {
    if (length === 0 || length > this.limit) {
      throw new DfsError(
        "protocol",
        `the peer sent a frame length of ${length} bytes; 1 to ${this.limit} are allowed`,
      );
    }
    this.prefixFilled = 0;
    if (chunk.length - at >= length) {
      this.frames++;
      this.onFrame(chunk, at, at + length);
      return at + length;
    }
    if (this.owner.mayBegin(length)) this.take(length);
    else this.waitingLength = length;
    return at;
  }

  private take(length: number): void {
    this.body = frameMemory.take(length);
    this.bodyFilled = 0;
    this.bodyLength = length;
    this.owner.onHeld(length);
  }

  /** Receives what is lacking of the next frame's length, and begins that frame when it is there. */
  private fillPrefix(receive: (target: Uint8Array, offset: number) => number): number {
    const count = receive(this.prefix, this.prefixFilled);
    this.prefixFilled += count;
    if (this.prefixFilled === LENGTH_BYTES) this.begin(readLength(this.prefix, 0), NO_BYTES, 0);
    return count;
  }

  private fillRest(receive: (target: Uint8Array, offset: number) => number): number {
    const body = this.body!;
    const count = receive(body.subarray(0, this.bodyLength), this.bodyFilled);
    if (count > 0) this.filled(body, count);
    return count;
  }

  private fillBody(body: Uint8Array, chunk: Uint8Array, at: number): number {
    const count = Math.min(this.bodyLength - this.bodyFilled, chunk.length - at);
    body.set(count === chunk.length ? chunk : chunk.subarray(at, at + count), this.bodyFilled);
    this.filled(body, count);
    return count;
  }

  /** So many bytes more of the frame are there. */
  private filled(body: Uint8Array, count: number): void {
    this.bodyFilled += count;
    if (this.bodyFilled < this.bodyLength) return;
    this.body = undefined;
    this.owner.onHeld(-this.bodyLength); // who takes the frame counts it
    this.frames++;
    this.onFrame(body, 0, this.bodyLength);
  }
}

function readLength(bytes: Uint8Array, at: number): number {
  return bytes[at]! * 0x1000000 + (bytes[at + 1]! << 16) + (bytes[at + 2]! << 8) + bytes[at + 3]!;
}
