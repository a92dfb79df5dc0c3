/**
 * When a scrub may read on: each read puts the next one off by the time that it may take, and waits can be ended early.
 *
 * Times are milliseconds of the monotonic clock. There is one wait at a time.
 */
import type { Clock, Timer } from "../base/clock.ts";

/** Waits are cut up, because the wall clock may be set and timers have a longest time. */
const LONGEST_WAIT_MS = 3600_000;

/** What a scrub is behind its schedule is not made up for by going faster later, except for this much. */
const CATCH_UP_MS = 100;

export class ScrubPace {
  private readonly clock: Clock;
  private dueMs = 0;
  private endWait: () => void = () => undefined;
  private closed = false;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** How long until the next read; 0 or less when it may be now. */
  get leftMs(): number {
    return this.dueMs - this.clock.monotonicMs();
  }

  /** The next read may be in `delayMs`. */
  restart(delayMs: number): void {
    this.dueMs = this.clock.monotonicMs() + delayMs;
  }

  /** The next read may be in `delayMs`, or earlier if that was so. */
  hasten(delayMs: number): void {
    this.dueMs = Math.min(this.dueMs, this.clock.monotonicMs() + delayMs);
  }

  /** Something was read that may take `ms`. */
  charge(ms: number): void {
    this.dueMs = Math.max(this.dueMs, this.clock.monotonicMs() - CATCH_UP_MS) + ms;
  }

  /** Waits for so long, or shorter: whoever waits looks again at how things are. */
  async wait(delayMs: number): Promise<void> {
    if (this.closed) return;
    let timer: Timer | undefined;
    await new Promise<void>((resolve) => {
      this.endWait = resolve;
      const ms = Math.min(Math.max(delayMs, 0), LONGEST_WAIT_MS);
      timer = this.clock.setTimer(ms, resolve, { background: true });
    });
    timer?.cancel();
    this.endWait = () => undefined;
  }

  /** Something has changed: ends the wait that is under way. */
  wake(): void {
    this.endWait();
  }

  /** Ends the wait that is under way and all that come. */
  close(): void {
    this.closed = true;
    this.wake();
  }
}
