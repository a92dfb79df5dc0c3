// A clock that stands still until it is told to go on. Timers fire in order of their time, each at its own time.

import type { Clock, Timer } from "../../src/base/clock.ts";

interface Entry {
  readonly atMs: number;
  readonly callback: () => void;
}

export class ManualClock implements Clock {
  private nowMs = 1_000_000;
  private timers: Entry[] = [];

  nowNs(): bigint {
    return BigInt(Math.round(this.nowMs * 1e6));
  }

  monotonicMs(): number {
    return this.nowMs;
  }

  /** Timers that have not fired. */
  get pending(): number {
    return this.timers.length;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const entry = { atMs: this.nowMs + Math.max(0, delayMs), callback };
    this.timers.push(entry);
    return {
      cancel: () => {
        this.timers = this.timers.filter((each) => each !== entry);
      },
    };
  }

  /** Lets `periodMs` pass in which nothing runs, not even timers that become due: the process was held up. */
  holdUp(periodMs: number): void {
    this.nowMs += periodMs;
  }

  /** Lets `periodMs` pass; between timers, everything that they set going gets its turns. */
  async advance(periodMs: number): Promise<void> {
    const endMs = this.nowMs + periodMs;
    for (;;) {
      await turns();
      const due = this.timers
        .filter((each) => each.atMs <= endMs)
        .sort((a, b) => a.atMs - b.atMs)[0];
      if (due === undefined) break;
      this.timers = this.timers.filter((each) => each !== due);
      this.nowMs = Math.max(this.nowMs, due.atMs);
      due.callback();
    }
    this.nowMs = endMs;
    await turns();
  }
}

/** Lets the event loop turn a good number of times: enough for messages in memory to go to and fro. */
export async function turns(count = 40): Promise<void> {
  for (let turn = 0; turn < count; turn++) {
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}
