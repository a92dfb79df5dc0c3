/**
 * How busy each data server is with repairs, and which of them have refused new copies lately.
 */
import type { Clock } from "../../../base/clock.ts";
import type { ServerId } from "../../../base/ids.ts";

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

  incoming(server: ServerId): number {
    return this.into.get(server) ?? 0;
  }

  outgoing(server: ServerId): number {
    return this.out.get(server) ?? 0;
  }

  /** A copy has begun, or ended with `by` -1. `source` is undefined when none is read. */
  count(target: ServerId, source: ServerId | undefined, by: 1 | -1): void {
    this.into.set(target, this.incoming(target) + by);
    if (source !== undefined) this.out.set(source, this.outgoing(source) + by);
  }

  /** It could not take a copy. */
  avoid(server: ServerId): void {
    this.avoidedUntil.set(server, this.clock.monotonicMs() + AVOIDED_MS);
  }

  isAvoided(server: ServerId): boolean {
    return (this.avoidedUntil.get(server) ?? 0) > this.clock.monotonicMs();
  }
}
