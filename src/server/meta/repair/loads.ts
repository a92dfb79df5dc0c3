/**
 * How busy each data server is with repairs, and which of them have refused new copies lately.
 */
import type { Clock } from "../../../base/clock.ts";
import type { ServerId } from "../../../base/ids.ts";
import { MAX_BATCHABLE_BYTES, MAX_BATCHED_BYTES } from "../../../base/limits.ts";
import { BATCH_BLOCKS } from "./batches.ts";

/** Small blocks count at least as the part that they are of the blocks of a batch. Such parts are binary fractions: sums are exact. */
const SMALLEST_BYTES = MAX_BATCHED_BYTES / BATCH_BLOCKS;

/** A server that refused a copy gets no other one for so long. */
const AVOIDED_MS = 10_000;

export class Loads {
  private readonly clock: Clock;
  private readonly into = new Map<ServerId, number>();
  private readonly out = new Map<ServerId, number>();
  private readonly avoidedUntil = new Map<ServerId, number>();
  private less: PromiseWithResolvers<void> | undefined;

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

  /**
   * Copies of this `part` (`partOfOne`, `partOfMany`) have begun, or ended with `by` -1. `source` is undefined when none is read.
   */
  count(target: ServerId, source: ServerId | undefined, part: number, by: 1 | -1): void {
    this.into.set(target, this.incoming(target) + by * part);
    if (source !== undefined) this.out.set(source, this.outgoing(source) + by * part);
    if (by > 0) return;
    this.less?.resolve();
    this.less = undefined;
  }

  /** Resolves when some server has less to do. Who waits first is told first. */
  whenLess(): Promise<void> {
    this.less ??= Promise.withResolvers<void>();
    return this.less.promise;
  }

  /** It could not take a copy. */
  avoid(server: ServerId): void {
    this.avoidedUntil.set(server, this.clock.monotonicMs() + AVOIDED_MS);
  }

  isAvoided(server: ServerId): boolean {
    return (this.avoidedUntil.get(server) ?? 0) > this.clock.monotonicMs();
  }
}

/** The part of a slot that the copy of one block takes, alone or as one of a batch: all of it, or if it is small its part of a batch. */
export function partOfOne(bytes: number): number {
  return bytes > MAX_BATCHABLE_BYTES ? 1 : Math.max(bytes, SMALLEST_BYTES) / MAX_BATCHED_BYTES;
}

/** The part of a slot that copies of so many bytes take which go together, however many blocks they are. */
export function partOfMany(bytes: number): number {
  return bytes / MAX_BATCHED_BYTES;
}
