/**
 * When to try again: deadlines, growing delays, and which errors are worth it.
 */
import type { CancelSignal } from "../base/cancellation.ts";
import type { Clock } from "../base/clock.ts";
import { DfsError, isDfsError } from "../base/errors.ts";
import type { Random } from "../base/random.ts";

/** Delays between attempts: `firstMs`, doubled each time up to `maxMs`. */
export interface Backoff {
  readonly firstMs: number;
  readonly maxMs: number;
}

/** The delay before attempt number `attempt` (from 0), between half of the full delay and all of it, at random. */
export function backoffDelayMs(backoff: Backoff, attempt: number, random: Random): number {
  const full = Math.min(backoff.maxMs, backoff.firstMs * 2 ** Math.min(attempt, 30));
  const half = Math.floor(full / 2);
  return half + random.below(full - half + 1);
}

/** A point in time that work must not go past. */
export class Deadline {
  readonly timeoutMs: number;
  private readonly clock: Clock;
  private readonly atMs: number;

  constructor(clock: Clock, timeoutMs: number) {
    this.clock = clock;
    this.timeoutMs = timeoutMs;
    this.atMs = clock.monotonicMs() + timeoutMs;
  }

  /** Milliseconds left, 0 when it has passed. */
  get remainingMs(): number {
    return Math.max(0, this.atMs - this.clock.monotonicMs());
  }

  get passed(): boolean {
    return this.remainingMs === 0;
  }
}

/**
 * Resolves after `delayMs`.
 * @throws DfsError `cancelled` when `signal` is aborted first.
 */
export function pause(clock: Clock, delayMs: number, signal?: CancelSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      timer.cancel();
      reject(new DfsError("cancelled", "the wait was cancelled"));
    };
    const timer = clock.setTimer(delayMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    if (signal?.aborted) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/**
 * What `work` comes to, unless `signal` is aborted first; then the work goes on unheeded.
 * @throws DfsError `cancelled`.
 */
export async function unlessAborted<T>(work: Promise<T>, signal: CancelSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(new DfsError("cancelled", "the work was cancelled"));
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
    work.catch(() => undefined); // nobody is left to hear of it
  }
}

/** True when the peer did not answer: the connection ended, could not be made, or the time ran out. */
export function isNoAnswer(error: unknown): boolean {
  return isDfsError(error, "unreachable") || isDfsError(error, "timeout");
}
