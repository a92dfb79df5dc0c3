/**
 * Compaction: brings back the space of dead records in segments that also hold live ones.
 *
 * One segment at a time is emptied (segment-copy.ts) and then deleted as any other that nobody needs (reclaim.ts). Since
 * moved records keep their LSNs, a log that was cut off anywhere in between opens to the same state: there are copies, and
 * copies are the same. docs/log-format.md, "Compaction", has the argument.
 */
import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import { chooseSegment, compactionMark, isUrgent } from "./compaction-policy.ts";
import type { SegmentState } from "./ledger.ts";
import { emptySegment, type SegmentCopyOptions } from "./segment-copy.ts";

/** A segment that could not be emptied is tried again after this time: the disk was full or failed. */
const RETRY_AFTER_ERROR_MS = 60_000;

/** The same, when some of its records are rotten or cannot be read; sooner when any of its blocks is deleted. */
const RETRY_MS = 60 * 60_000;

export interface CompactorOptions extends Omit<SegmentCopyOptions, "pace" | "isStopped"> {
  readonly segmentBytes: number;
  /** For the rate; without a clock there is no limit. */
  readonly clock: Clock | undefined;
  /** 0 for no compaction at all. */
  readonly bytesPerSecond: number;
  /** Called when a segment has been emptied. */
  readonly onEmptied: () => void;
}

/** What compaction has done since the log was opened. */
export interface CompactionStats {
  readonly running: boolean;
  /** Segments emptied. */
  readonly segments: number;
  /** Bytes written again. */
  readonly movedBytes: number;
  /** Bytes of the emptied segments less those written again. */
  readonly freedBytes: number;
}

export class Compactor {
  private readonly options: CompactorOptions;
  private readonly tried = new Map<number, string>();
  private running: Promise<void> | undefined;
  private closed = false;
  private emptied = 0;
  private movedBytes = 0;
  private freedBytes = 0;
  private endPause: (() => void) | undefined;
  private readonly retries = new Set<Timer>();

  constructor(options: CompactorOptions) {
    this.options = options;
  }

  get stats(): CompactionStats {
    const { movedBytes, freedBytes } = this;
    return { running: this.running !== undefined, segments: this.emptied, movedBytes, freedBytes };
  }

  /** A segment may have become worth it. */
  kick(): void {
    if (this.closed || this.running !== undefined || this.options.bytesPerSecond === 0) return;
    if (this.next() === undefined) return;
    this.running = this.run().finally(() => {
      this.running = undefined;
    });
  }

  /** Stops as soon as the records that are being moved are durable. */
  async close(): Promise<void> {
    this.closed = true;
    this.endPause?.();
    for (const timer of this.retries) timer.cancel();
    await this.running;
  }

  private next(): SegmentState | undefined {
    return chooseSegment(this.options.ledger, this.tried);
  }

  private async run(): Promise<void> {
    for (;;) {
      const state = this.closed ? undefined : this.next();
      if (state === undefined) return;
      if (!(await this.empty(state))) return;
    }
  }

  /** Returns whether to go on with another segment. */
  private async empty(state: SegmentState): Promise<boolean> {
    const { ledger, logger, segments, onEmptied } = this.options;
    const name = segments.fileName(state.number);
    try {
      const moved = await emptySegment(
        { ...this.options, pace: (bytes) => this.pace(bytes), isStopped: () => this.closed },
        state,
      );
      if (moved === undefined) return false;
      this.movedBytes += moved;
      if (state.livePuts === 0) {
        this.emptied++;
        this.freedBytes += state.bytes - moved;
        logger.debug(`compacted segment ${name}`, { bytes: state.bytes, moved });
      }
    } catch (error) {
      logger.warn(`cannot compact segment ${name} now: ${messageOf(error)}`);
      this.retryLater(state, RETRY_AFTER_ERROR_MS);
      return !this.closed;
    }
    if (state.livePuts > 0) this.retryLater(state, RETRY_MS);
    for (const number of this.tried.keys()) if (!ledger.has(number)) this.tried.delete(number);
    onEmptied();
    return true;
  }

  /** Leaves a segment alone until something about it has changed, or `delayMs` have passed. */
  private retryLater(state: SegmentState, delayMs: number): void {
    const { clock } = this.options;
    this.tried.set(state.number, compactionMark(state));
    if (clock === undefined || this.closed) return;
    const again = (): void => {
      this.retries.delete(timer);
      this.tried.delete(state.number);
      this.kick();
    };
    const timer = clock.setTimer(delayMs, again, { background: true });
    this.retries.add(timer);
  }

  /** Waits as long as `bytes` take at the rate. */
  private async pace(bytes: number): Promise<void> {
    const { clock, bytesPerSecond, ledger, segmentBytes } = this.options;
    if (clock === undefined || this.closed || isUrgent(ledger, segmentBytes)) return;
    let timer: Timer | undefined;
    await new Promise<void>((resolve) => {
      this.endPause = resolve;
      timer = clock.setTimer((bytes / bytesPerSecond) * 1000, resolve, { background: true });
    });
    timer?.cancel();
    this.endPause = undefined;
  }
}
