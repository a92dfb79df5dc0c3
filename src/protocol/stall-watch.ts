/**
 * Notices a peer that has stopped reading: bytes wait for it and none has been taken for SEND_STALL_TIMEOUT_MS.
 *
 * Such a peer is stopped, cut off without a sign, or waits for us while we wait for it. Without this its queue would be
 * held until TCP gives up, a quarter of an hour later. The timer runs only while bytes wait.
 */
import type { Clock, Timer } from "../base/clock.ts";

export const SEND_STALL_TIMEOUT_MS = 60_000;

export class StallWatch {
  private readonly clock: Clock;
  private readonly isStalled: () => boolean;
  private readonly onStalled: () => void;
  private lastProgressMs = 0;
  private timer: Timer | undefined;

  /** `isStalled` tells whether bytes wait for the peer now. */
  constructor(clock: Clock, isStalled: () => boolean, onStalled: () => void) {
    this.clock = clock;
    this.isStalled = isStalled;
    this.onStalled = onStalled;
  }

  /** Bytes have begun to wait. */
  blocked(): void {
    if (this.timer !== undefined) return;
    this.lastProgressMs = this.clock.monotonicMs();
    this.start(SEND_STALL_TIMEOUT_MS);
  }

  /** The peer has taken bytes. */
  progressed(): void {
    if (this.timer !== undefined) this.lastProgressMs = this.clock.monotonicMs();
  }

  stop(): void {
    this.timer?.cancel();
    this.timer = undefined;
  }

  private start(delayMs: number): void {
    this.timer = this.clock.setTimer(delayMs, () => this.look(), { background: true });
  }

  private look(): void {
    this.timer = undefined;
    if (!this.isStalled()) return;
    const leftMs = this.lastProgressMs + SEND_STALL_TIMEOUT_MS - this.clock.monotonicMs();
    if (leftMs > 0) this.start(leftMs);
    else this.onStalled();
  }
}
