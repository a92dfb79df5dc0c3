/**
 * Keeps a session's lease alive on its present connection: one heartbeat at a third of the lease.
 */
import type { Clock, Timer } from "../base/clock.ts";
import type { Peer } from "../protocol/peer.ts";

/** Heartbeats in one lease: two may be lost. */
const BEATS_PER_LEASE = 3;

/** Longest wait for the answer to a heartbeat before the connection is given up. */
const MAX_ANSWER_MS = 10_000;

export class Heartbeats {
  private readonly clock: Clock;
  private readonly beat: (peer: Peer, timeoutMs: number) => Promise<void>;
  private timer: Timer | undefined;

  /** `beat` sends one and deals itself with a connection that does not answer. */
  constructor(clock: Clock, beat: (peer: Peer, timeoutMs: number) => Promise<void>) {
    this.clock = clock;
    this.beat = beat;
  }

  /** Beats on `peer` from now on, until it ends. */
  start(peer: Peer, leaseTimeoutMs: number): void {
    this.timer?.cancel();
    const intervalMs = Math.max(1, Math.floor(leaseTimeoutMs / BEATS_PER_LEASE));
    this.plan(peer, intervalMs);
  }

  stop(): void {
    this.timer?.cancel();
    this.timer = undefined;
  }

  private plan(peer: Peer, intervalMs: number): void {
    const timer = this.clock.setTimer(
      intervalMs,
      () => {
        if (!peer.open) return;
        this.beat(peer, Math.min(intervalMs, MAX_ANSWER_MS)).then(
          () => {
            if (this.timer === timer) this.plan(peer, intervalMs);
          },
          () => undefined, // the beat has ended the connection, and a new one starts its own beats
        );
      },
      { background: true },
    );
    this.timer = timer;
  }
}
