/** A clock that stands still until the test lets time go on. */
import type { Clock, Timer } from "../../../../src/base/clock.ts";

/** A clock whose timers fire when the test says so. */
export class ManualClock implements Clock {
  private nowMs = 0;
  private timers: { readonly dueMs: number; readonly callback: () => void }[] = [];

  nowNs = (): bigint => BigInt(this.nowMs) * 1_000_000n;
  monotonicMs = (): number => this.nowMs;

  setTimer(delayMs: number, callback: () => void): Timer {
    const timer = { dueMs: this.nowMs + delayMs, callback };
    this.timers.push(timer);
    return { cancel: () => (this.timers = this.timers.filter((each) => each !== timer)) };
  }

  /** Time goes on by `ms`; each timer that is due fires once, in order. */
  advance(ms: number): void {
    const endMs = this.nowMs + ms;
    for (;;) {
      const next = this.timers.toSorted((a, b) => a.dueMs - b.dueMs)[0];
      if (next === undefined || next.dueMs > endMs) break;
      this.timers = this.timers.filter((each) => each !== next);
      this.nowMs = Math.max(this.nowMs, next.dueMs);
      next.callback();
    }
    this.nowMs = endMs;
  }

  /** The process stands still for `ms`: afterwards everything that is due fires at the same, late, moment. */
  stall(ms: number): void {
    this.nowMs += ms;
    const due = this.timers.filter((each) => each.dueMs <= this.nowMs);
    this.timers = this.timers.filter((each) => each.dueMs > this.nowMs);
    for (const { callback } of due) callback();
  }
}
