/**
 * How busy each data server is with repairs, and which of them have refused new copies lately.
 */
import type { Clock } from "../../../base/clock.ts";
import type { ServerId } from "../../../base/ids.ts";
import { MAX_BATCHABLE_BYTES, MAX_BATCHED_BYTES } from "../../../base/limits.ts";
import { BATCH_BLOCKS } from "./batches.ts";

/**
 * Small blocks are copied many at a time. They count as their part of the bytes of a batch, but not as less than the part
 * that they are of its blocks. Such parts are binary fractions, so that sums are exact.
 */
const SMALLEST_BYTES = MAX_BATCHED_BYTES / BATCH_BLOCKS;

/** A server that refused a copy gets no other one for so long. */
const AVOIDED_MS = 10_000;

export class Loads {
  private readonly clock: Clock;
  private readonly into = new Map<ServerId, number>();
  private readonly out = new Map<ServerId, number>();
  private readonly avoidedUntil = new Map<ServerId, number>();

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** Copies that are being made on a server; small ones count as parts. */
  incoming(server: ServerId): number {
    return this.into.get(server) ?? 0;
  }

  /** Copies that are being read from a server; small ones count as parts. */
  outgoing(server: ServerId): number {
    return this.out.get(server) ?? 0;
  }

  /** A copy of so many bytes has begun, or ended with `by` -1. `source` is undefined when none is read. */
  count(target: ServerId, source: ServerId | undefined, bytes: number, by: 1 | -1): void {
    const isSmall = bytes <= MAX_BATCHABLE_BYTES;
    const part = by * (isSmall ? Math.max(bytes, SMALLEST_BYTES) / MAX_BATCHED_BYTES : 1);
    this.into.set(target, this.incoming(target) + part);
    if (source !== undefined) this.out.set(source, this.outgoing(source) + part);
  }

  /** Copies of so many bytes in all, of which each goes with others, have begun or ended. */
  countBytes(target: ServerId, source: ServerId, bytes: number, by: 1 | -1): void {
    const part = (by * bytes) / MAX_BATCHED_BYTES;
    this.into.set(target, this.incoming(target) + part);
    this.out.set(source, this.outgoing(source) + part);
  }

  /** It could not take a copy. */
  avoid(server: ServerId): void {
    this.avoidedUntil.set(server, this.clock.monotonicMs() + AVOIDED_MS);
  }

  isAvoided(server: ServerId): boolean {
    return (this.avoidedUntil.get(server) ?? 0) > this.clock.monotonicMs();
  }
}
