/**
 * Notices that somebody has fallen silent: data servers and clients' sessions alike.
 *
 * Silence is counted in ticks at which a sign of life should have been there and was not, never in elapsed time. When
 * this process itself stood still (stopped, suspended, starved), all those ticks together count as one, so nobody is
 * declared dead because we did not listen.
 */
import type { Clock, Timer } from "../../base/clock.ts";

export interface SilenceOptions<Key> {
  readonly clock: Clock;
  readonly tickMs: number;
  /** Called at a tick for each key that is watched, with the ticks since its last sign of life, from 1. */
  readonly onSilent: (key: Key, ticks: number) => void;
}

export class Silence<Key> {
  private readonly options: SilenceOptions<Key>;
  private readonly ticks = new Map<Key, number>();
  private timer: Timer | undefined;
  private stopped = false;

  /** Begins to tick at once. */
  constructor(options: SilenceOptions<Key>) {
    this.options = options;
    this.plan();
  }

  /** A sign of life; begins to watch a key that was not watched. */
  heard(key: Key): void {
    this.ticks.set(key, 0);
  }

  /** Ticks since the key's last sign of life; undefined when it is not watched. */
  ticksOf(key: Key): number | undefined {
    return this.ticks.get(key);
  }

  forget(key: Key): void {
    this.ticks.delete(key);
  }

  stop(): void {
    this.stopped = true;
    this.timer?.cancel();
  }

  /** The next tick is planned when this one has been dealt with: a late one is not made up for. */
  private plan(): void {
    if (this.stopped) return;
    this.timer = this.options.clock.setTimer(this.options.tickMs, () => this.tick(), {
      background: true,
    });
  }

  private tick(): void {
    for (const [key, ticks] of this.ticks) {
      this.ticks.set(key, ticks + 1);
      this.options.onSilent(key, ticks + 1);
    }
    this.plan();
  }
}
