// A clock that stands still until a test moves it, at once and without a turn of the event loop, so that a test can say
// what has happened by then and what has not. (tests/support/manual-clock.ts lets the loop turn between timers.)

import type { Clock, Timer } from "../../src/base/clock.ts";

interface Planned {
  readonly dueMs: number;
  readonly callback: () => void;
}

/** Time begins at 0; `advance` moves it and fires, in order, the timers that fall due. */
export class StillClock implements Clock {
  private now = 0;
  private readonly planned = new Set<Planned>();

  nowNs(): bigint {
    return BigInt(Math.round(this.now * 1e6));
  }

  monotonicMs(): number {
    return this.now;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const timer = { dueMs: this.now + delayMs, callback };
    this.planned.add(timer);
    return { cancel: () => void this.planned.delete(timer) };
  }

  /** Timers that have not fired and were not cancelled. */
  get timers(): number {
    return this.planned.size;
  }

  advance(byMs: number): void {
    const endMs = this.now + byMs;
    for (;;) {
      const due = [...this.planned]
        .filter((timer) => timer.dueMs <= endMs)
        .sort((a, b) => a.dueMs - b.dueMs)[0];
      if (due === undefined) break;
      this.planned.delete(due);
      this.now = Math.max(this.now, due.dueMs);
      due.callback();
    }
    this.now = endMs;
  }
}
