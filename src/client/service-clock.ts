/**
 * The time at the metadata service, as well as this client can know it: for the times of writes that are not committed yet.
 *
 * Each change of a file tells the service's time. A difference of less than a second to the clock here is taken for the way of
 * the message; where clocks differ by more, the service's is followed.
 */
import type { Clock } from "../base/clock.ts";

const NEAR_NS = 1_000_000_000n;

export class ServiceClock {
  private readonly clock: Clock;
  private differenceNs = 0n;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** The service has just changed something at this time of its own. */
  heard(timeNs: bigint): void {
    const differenceNs = timeNs - this.clock.nowNs();
    const near = differenceNs > -NEAR_NS && differenceNs < NEAR_NS;
    this.differenceNs = near ? 0n : differenceNs;
  }

  nowNs(): bigint {
    return this.clock.nowNs() + this.differenceNs;
  }
}
