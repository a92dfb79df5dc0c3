/**
 * The one connection to the metadata service: made, bound to the session, and made again when it breaks.
 *
 * Invariants
 * - At most one connection is bound at a time; it is handed out only after `bind` has succeeded on it.
 * - Whoever waits for a connection is told within its own deadline, whatever the reconnecting is doing.
 * - An outage is told once (`metaUnreachable`), and so is its end.
 */
import { Cancellation, type CancelSignal } from "../base/cancellation.ts";
import type { Clock } from "../base/clock.ts";
import { DfsError, isDfsError, messageOf } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import type { Peer } from "../protocol/peer.ts";
import { backoffDelayMs, Deadline, isNoAnswer, pause, type Backoff } from "./retry.ts";
import type { Warnings } from "./warnings.ts";

const RECONNECT: Backoff = { firstMs: 50, maxMs: 2_000 };

/** For one attempt to connect, once there has been a connection. */
const CONNECT_TIMEOUT_MS = 5_000;

/** At the first contact an address at which nobody listens is tried again for this long: the service may be starting. */
const FIRST_REFUSALS_MS = 1_000;

/** A connection on which the session is in place. */
export interface Bound {
  readonly peer: Peer;
  /** Rises when a new session had to be opened; what belonged to the old one is gone. */
  readonly epoch: number;
}

export interface LinkOptions {
  readonly address: string;
  /** Connects and says hello. */
  readonly connect: (timeoutMs: number) => Promise<Peer>;
  /** Puts the session in place on a fresh connection; returns its epoch. */
  readonly bind: (peer: Peer) => Promise<number>;
  readonly clock: Clock;
  readonly random: Random;
  readonly warnings: Warnings;
}

export class MetaLink {
  private readonly options: LinkOptions;
  private readonly stop = new Cancellation();
  private current: Bound | undefined;
  /** Resolved and replaced whenever an attempt to connect has ended, well or not. */
  private attempted = Promise.withResolvers<void>();
  private attempts = 0;
  private lastError: unknown;

  constructor(options: LinkOptions) {
    this.options = options;
  }

  /**
   * Makes the first connection, and keeps one from then on.
   * @throws DfsError `unreachable` after `timeoutMs`, and at once what makes trying again pointless (`wrongCluster`, ...).
   */
  async start(timeoutMs: number): Promise<void> {
    const deadline = new Deadline(this.options.clock, timeoutMs);
    const refusals = new Deadline(this.options.clock, FIRST_REFUSALS_MS);
    for (let attempt = 0; ; attempt++) {
      try {
        this.current = await this.establish(deadline.remainingMs);
        break;
      } catch (error) {
        if (isFinal(error) && !isDfsError(error, "protocol")) throw error;
        const left = Math.min(deadline.remainingMs, refusals.remainingMs);
        if (left === 0) throw this.firstContactFailed(error);
        const delayMs = backoffDelayMs(RECONNECT, attempt, this.options.random);
        await pause(this.options.clock, Math.min(delayMs, left));
      }
    }
    void this.keep();
  }

  /** The bound connection, if there is one at this moment. */
  get bound(): Bound | undefined {
    return this.current?.peer.open === true ? this.current : undefined;
  }

  /**
   * Waits for a bound connection.
   * @throws DfsError `unreachable` when there is none before the deadline; what makes waiting pointless; `cancelled`.
   */
  async wait(deadline: Deadline, signal?: CancelSignal): Promise<Bound> {
    for (;;) {
      if (this.bound !== undefined) return this.bound;
      if (this.stop.aborted) throw closed();
      if (deadline.passed) throw this.outage(deadline, this.lastError);
      const seen = this.attempts;
      await this.nextAttempt(deadline.remainingMs, signal);
      if (this.bound !== undefined || this.attempts === seen) continue;
      if (isFinal(this.lastError)) throw this.lastError;
    }
  }

  /** The error for who waited in vain until `deadline`. */
  outage(deadline: Deadline, cause: unknown): DfsError {
    const { address } = this.options;
    const seconds = Math.round(deadline.timeoutMs / 1000);
    return new DfsError(
      "unreachable",
      `the metadata service at ${address} could not be reached for ${seconds} s` +
        (cause === undefined ? "" : `: ${messageOf(cause)}`),
      { details: { address }, cause },
    );
  }

  /** Ends a connection that no longer answers, so that a new one is made. */
  suspect(peer: Peer, reason: string): void {
    if (this.current?.peer === peer) this.current = undefined;
    peer.close(reason);
  }

  /** Ends the connection and makes no more. */
  close(reason: string): void {
    this.stop.abort();
    this.current?.peer.close(reason);
    this.current = undefined;
    this.endAttempt(undefined);
  }

  /** Resolves when an attempt to connect has ended, or after `timeoutMs`. */
  private async nextAttempt(timeoutMs: number, signal: CancelSignal | undefined): Promise<void> {
    const gaveUp = new Cancellation(signal);
    const timer = pause(this.options.clock, timeoutMs, gaveUp);
    try {
      await Promise.race([this.attempted.promise, timer]);
    } finally {
      timer.catch(() => undefined); // stopped by the next line, which rejects it
      gaveUp.abort();
    }
  }

  private async keep(): Promise<void> {
    while (!this.stop.aborted) {
      const bound = this.current;
      if (bound !== undefined) await bound.peer.closed;
      if (this.current === bound) this.current = undefined;
      await this.reconnect();
    }
  }

  private async reconnect(): Promise<void> {
    const { address, clock, random, warnings } = this.options;
    for (let attempt = 0; !this.stop.aborted; attempt++) {
      try {
        const bound = await this.establish(CONNECT_TIMEOUT_MS);
        if (this.stop.aborted) return bound.peer.close("the client was closed");
        this.current = bound;
        this.endAttempt(undefined);
        if (attempt > 0) this.tellReachable();
        return;
      } catch (error) {
        this.endAttempt(error);
        warnings.warn({
          kind: "metaUnreachable",
          message: `lost the metadata service at ${address}, trying to reconnect: ${messageOf(error)}`,
        });
        const delayMs = backoffDelayMs(RECONNECT, attempt, random);
        await pause(clock, delayMs, this.stop).catch(() => undefined); // closed: the loop ends
      }
    }
  }

  private tellReachable(): void {
    const { address, warnings } = this.options;
    warnings.warn({ kind: "metaReachable", message: `the metadata service at ${address} is back` });
    warnings.rearm("metaReachable");
    warnings.rearm("metaUnreachable");
  }

  private async establish(timeoutMs: number): Promise<Bound> {
    const peer = await this.options.connect(Math.max(1, timeoutMs));
    try {
      return { peer, epoch: await this.options.bind(peer) };
    } catch (error) {
      peer.close(messageOf(error));
      throw error;
    }
  }

  private endAttempt(error: unknown): void {
    this.lastError = error;
    this.attempts++;
    this.attempted.resolve();
    this.attempted = Promise.withResolvers<void>();
  }

  private firstContactFailed(error: unknown): DfsError {
    const { address } = this.options;
    return new DfsError(
      "unreachable",
      `cannot reach a metadata service at ${address}: ${messageOf(error)}\n` +
        "start a cluster with `dfs up`, or name the address of a running one with --meta HOST:PORT",
      { details: { address }, cause: error },
    );
  }
}

/** True when somebody answered, and trying again will not change the answer. */
function isFinal(error: unknown): boolean {
  return isDfsError(error) && !isNoAnswer(error) && error.kind !== "busy";
}

function closed(): DfsError {
  return new DfsError("cancelled", "the client has been closed");
}
