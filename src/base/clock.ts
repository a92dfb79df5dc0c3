/**
 * The clock seam: everything that needs the time or a timer gets a Clock, so that a simulator can own time.
 */

/** A timer that has been started. */
export interface Timer {
  /** Stops it; harmless when it has already fired. */
  cancel(): void;
}

export interface Clock {
  /** Wall-clock time in nanoseconds since the epoch. It may jump; for timestamps that people read. */
  nowNs(): bigint;
  /** Milliseconds since an arbitrary start, never going back; for deadlines and delays. */
  monotonicMs(): number;
  /** Calls `callback` once after `delayMs`. The process stays alive for it unless `background` is true. */
  setTimer(
    delayMs: number,
    callback: () => void,
    options?: { readonly background?: boolean },
  ): Timer;
}

/** The machine's clock. */
export const systemClock: Clock = {
  nowNs: () => {
    // performance.timeOrigin + now() has sub-millisecond resolution but drifts from the wall clock when that is set;
    // Date.now() follows it. Microseconds below the millisecond come from the monotonic clock, as a tie-breaker.
    const micros = Math.floor((performance.now() % 1) * 1000);
    return BigInt(Date.now()) * 1_000_000n + BigInt(micros) * 1_000n;
  },
  monotonicMs: () => performance.now(),
  setTimer: (delayMs, callback, options) => {
    const timer = setTimeout(callback, delayMs);
    if (options?.background) timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Resolves after `delayMs`. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => clock.setTimer(delayMs, resolve));
}
