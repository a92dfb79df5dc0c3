/**
 * Reads a file from front to back, several blocks ahead of the consumer.
 *
 * The window starts small, doubles whenever the consumer had to wait, and is bounded by the memory budget. What was
 * fetched counts against the budget until the consumer asks for what follows it.
 */
import { Cancellation, type CancelSignal } from "../base/cancellation.ts";
import type { Holder } from "./budget.ts";
import type { Segment } from "./file-map.ts";
import type { FileReader } from "./file-reader.ts";

const FIRST_WINDOW_BYTES = 2 * 1024 * 1024;
/** More made nothing faster, and took more memory than the data. Measured: bench/client.ts. */
const MAX_WINDOW_BYTES = 8 * 1024 * 1024;

/** Segments asked for at the same time, where they are larger than the window. */
const MIN_WINDOW_SEGMENTS = 2;

/** Requests in flight for one reader, where blocks are tiny. */
const MAX_WINDOW_SEGMENTS = 128;

/** A stretch of a file: bytes, or a hole. */
export interface Stretch {
  readonly offset: number;
  readonly length: number;
  /** Undefined: a hole. */
  readonly bytes: Uint8Array | undefined;
}

interface Ahead {
  readonly segment: Segment;
  readonly bytes: Promise<Uint8Array> | undefined;
  ready: boolean;
}

export interface ReadAheadOptions {
  readonly reader: FileReader;
  readonly offset: number;
  /** Where to stop: the size of the file. */
  readonly end: number;
  readonly holder: Holder;
  readonly signal?: CancelSignal | undefined;
}

/** Yields the stretches of `offset` .. `end`, in order and without gaps. @throws as `FileReader.range`. */
export async function* readAhead(options: ReadAheadOptions): AsyncGenerator<Stretch, void> {
  const { holder } = options;
  const stop = new Cancellation(options.signal);
  const window = new Window(options, stop);
  try {
    for (;;) {
      await window.fill();
      const next = window.shift();
      if (next === undefined) return;
      const { offset, length } = next.segment;
      if (next.bytes === undefined) {
        yield { offset, length, bytes: undefined };
        continue;
      }
      if (!next.ready) window.grow();
      yield { offset, length, bytes: await next.bytes };
      holder.release(length);
    }
  } finally {
    stop.abort();
    holder.release(holder.held);
  }
}

class Window {
  private readonly options: ReadAheadOptions;
  private readonly signal: CancelSignal;
  private readonly ahead: Ahead[] = [];
  /** Segments known and not asked for yet. */
  private known: Segment[] = [];
  /** Up to where segments are known. */
  private position: number;
  private windowBytes = FIRST_WINDOW_BYTES;
  private aheadBytes = 0;

  constructor(options: ReadAheadOptions, signal: CancelSignal) {
    this.options = options;
    this.signal = signal;
    this.position = options.offset;
  }

  /** Asks for as much as the window and the budget allow, and for at least one segment if there is one. */
  async fill(): Promise<void> {
    const { holder } = this.options;
    for (;;) {
      const segment = await this.peek();
      if (segment === undefined) return;
      if (this.ahead.length > 0) {
        if (this.ahead.length >= MAX_WINDOW_SEGMENTS) return;
        const fits = this.aheadBytes + segment.length <= this.windowBytes;
        if (!fits && this.ahead.length >= MIN_WINDOW_SEGMENTS) return;
      }
      if (segment.extent !== undefined && !holder.tryAcquire(segment.length)) {
        if (this.ahead.length > 0) return;
        await holder.acquire(segment.length, this.signal);
      }
      this.known.shift();
      this.ask(segment);
    }
  }

  /** The next stretch in order. */
  shift(): Ahead | undefined {
    const next = this.ahead.shift();
    if (next?.bytes !== undefined) this.aheadBytes -= next.segment.length;
    return next;
  }

  /** The consumer had to wait. */
  grow(): void {
    this.windowBytes = Math.min(MAX_WINDOW_BYTES, 2 * this.windowBytes);
  }

  private ask(segment: Segment): void {
    if (segment.extent === undefined) {
      this.ahead.push({ segment, bytes: undefined, ready: true });
      return;
    }
    const bytes = this.options.reader.segment(segment, this.signal);
    const ahead: Ahead = { segment, bytes, ready: false };
    const settled = (): void => {
      ahead.ready = true;
    };
    bytes.then(settled, settled); // a failure is met when the consumer gets there
    this.aheadBytes += segment.length;
    this.ahead.push(ahead);
  }

  private async peek(): Promise<Segment | undefined> {
    const { reader, end } = this.options;
    if (this.known.length === 0 && this.position < end) {
      this.known = await reader.map.segments(this.position, end - this.position);
      const last = this.known.at(-1)!;
      this.position = last.offset + last.length;
    }
    return this.known[0];
  }
}
