/**
 * How fast repairs copy: the limit, what was reached, and what was done since the service started.
 *
 * The limit is an average: a copy may begin when those before it have had their time, however large it is itself.
 */
import type { Clock } from "../../../base/clock.ts";
import { MAX_BATCHED_BYTES } from "../../../base/limits.ts";

/** The rate that is shown is that of this long. */
const SHOWN_MS = 10_000;

/**
 * Bytes that may begin at once when their time has come: a batch, but no more than what a tenth of a second allows. Not less
 * than some small blocks that go together, as long as a second allows them.
 */
const BURST_BYTES = MAX_BATCHED_BYTES;
const BURSTS_IN_SECOND = 10;
const SMALL_BURST_BYTES = 1024 * 1024;

/** Parts of that time which are counted apart. */
const PART_MS = 500;

export class Pace {
  copiedBlocks = 0;
  copiedBytes = 0;
  private readonly clock: Clock;
  private readonly bytesPerSecond: number;
  private freeMs = 0;
  /** Bytes copied in each of the last parts of time, by the number of the part. */
  private readonly parts = new Map<number, number>();
  /** Where work began that has not paused for as long since: time of before is no part of its rate. */
  private firstPart: number | undefined;

  /** `bytesPerSecond` 0: no limit. */
  constructor(clock: Clock, bytesPerSecond: number) {
    this.clock = clock;
    this.bytesPerSecond = bytesPerSecond;
  }

  /** Milliseconds until the next copy may begin. */
  waitMs(): number {
    return Math.max(0, this.freeMs - this.clock.monotonicMs());
  }

  /** Bytes that may begin now; what is begun last may exceed them. */
  allowance(): number {
    if (this.bytesPerSecond === 0) return Number.POSITIVE_INFINITY;
    if (this.waitMs() > 0) return 0;
    const burst = Math.max(this.bytesPerSecond / BURSTS_IN_SECOND, SMALL_BURST_BYTES);
    return Math.min(burst, BURST_BYTES, this.bytesPerSecond);
  }

  /** A copy of so many bytes begins. */
  begin(bytes: number): void {
    if (this.bytesPerSecond === 0) return;
    const nowMs = this.clock.monotonicMs();
    this.freeMs = Math.max(this.freeMs, nowMs) + (bytes / this.bytesPerSecond) * 1000;
  }

  /** Copies of so many bytes in all have been made. */
  made(bytes: number, copies = 1): void {
    this.copiedBlocks += copies;
    this.copiedBytes += bytes;
    const part = this.part();
    for (const old of this.parts.keys()) {
      if (old > part - SHOWN_MS / PART_MS) break;
      this.parts.delete(old);
    }
    if (this.parts.size === 0) this.firstPart = part;
    this.parts.set(part, (this.parts.get(part) ?? 0) + bytes);
  }

  /** Bytes in a second, lately. */
  rate(): number {
    const now = this.part();
    const first = now - SHOWN_MS / PART_MS + 1;
    let bytes = 0;
    for (const [part, copied] of this.parts) if (part >= first) bytes += copied;
    const parts = now - Math.max(first, this.firstPart ?? now) + 1;
    return Math.round((bytes * 1000) / (parts * PART_MS));
  }

  private part(): number {
    return Math.floor(this.clock.monotonicMs() / PART_MS);
  }
}
