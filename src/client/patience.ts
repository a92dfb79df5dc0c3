/**
 * How long a data server is waited for before another one is asked as well.
 *
 * A fixed time would be too long for a server that stands still and too short for a slow disk. So it follows what the server
 * has lately taken, within bounds: smoothed time and deviation as TCP estimates its retransmission timeout (RFC 6298,
 * section 2). Who has lost patience does not see how long the answer would have taken; twice the time that was waited
 * counts instead, so that a server that has become slow is soon given more.
 *
 * Slow servers must not get twice the load by this. A race is free when the server has answered nothing at all for a time
 * that is unusual for it: then it stands still. Any other race costs one of a number of tokens; each answer brings a
 * tenth of one. Without a token the race begins when the server is slow by anybody's measure.
 */
import type { ServerId } from "../base/ids.ts";

/** No server is raced before, however fast it has been: pauses of programs and disks are that long. */
export const MIN_PATIENCE_MS = 150;

/** A server is raced after this long even if it has always been slower, as far as tokens allow. */
export const MAX_PATIENCE_MS = 500;

/** For a server that has answered nothing yet; the connection has to be made as well. */
export const FIRST_PATIENCE_MS = 300;

/** A server that has not answered after this long is raced in any case. */
export const SLOW_MS = 1_000;

/** Races that may be begun in a row although the server is just slow: about what a client has under way. */
export const MOST_TOKENS = 64;
const TOKENS_AN_ANSWER = 0.1;

/** Weights of a new measurement in the smoothed time and in the deviation. */
const TIME_WEIGHT = 1 / 8;
const DEVIATION_WEIGHT = 1 / 4;
const DEVIATIONS = 4;

/** How long to wait for one answer. */
export interface Patience {
  readonly delayMs: number;
  /** The server often takes longer: its silence for so long says nothing. */
  readonly isUsual: boolean;
}

interface Estimate {
  timeMs: number;
  deviationMs: number;
}

export class PatienceBook {
  private readonly estimates = new Map<ServerId, Estimate>();
  private tokens = MOST_TOKENS;

  /** How long a request that is sent to the server now is to be waited for. */
  of(server: ServerId): Patience {
    const estimate = this.estimates.get(server);
    if (estimate === undefined) return { delayMs: FIRST_PATIENCE_MS, isUsual: false };
    const expectedMs = estimate.timeMs + DEVIATIONS * estimate.deviationMs;
    return {
      delayMs: Math.min(MAX_PATIENCE_MS, Math.max(MIN_PATIENCE_MS, expectedMs)),
      isUsual: expectedMs > MAX_PATIENCE_MS,
    };
  }

  /** The server has answered a request after `tookMs`. */
  answered(server: ServerId, tookMs: number): void {
    this.tokens = Math.min(MOST_TOKENS, this.tokens + TOKENS_AN_ANSWER);
    this.measured(server, tookMs);
  }

  /** The server has not answered a request within `waitedMs`, and nobody will know when it would have. */
  exceeded(server: ServerId, waitedMs: number): void {
    this.measured(server, Math.min(SLOW_MS, 2 * waitedMs));
  }

  /** Takes a token for a race with a server that is slow; false when there is none. */
  takeToken(): boolean {
    if (this.tokens < 1) return false;
    this.tokens--;
    return true;
  }

  private measured(server: ServerId, tookMs: number): void {
    const estimate = this.estimates.get(server);
    if (estimate === undefined) {
      this.estimates.set(server, { timeMs: tookMs, deviationMs: tookMs / 2 });
      return;
    }
    const offMs = Math.abs(tookMs - estimate.timeMs);
    estimate.deviationMs += DEVIATION_WEIGHT * (offMs - estimate.deviationMs);
    estimate.timeMs += TIME_WEIGHT * (tookMs - estimate.timeMs);
  }
}
