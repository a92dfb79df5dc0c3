/**
 * How fast something rises, lately: the mean over a window of the last seconds, so that neither a pause long ago nor a fast
 * beginning is in it. For figures that are looked at every now and then.
 */

/** The rate is that of this long; of longer when nobody looked for so long. */
const WINDOW_MS = 10_000;

interface Look {
  readonly atMs: number;
  readonly count: number;
}

export class RecentRate {
  /** The last one that is older than the window, if there is one, and all since then. */
  private looks: Look[] = [];

  /** What the count is at this moment; moments never go back. */
  look(count: number, atMs: number): void {
    const begin = this.looks.findLastIndex((each) => each.atMs <= atMs - WINDOW_MS);
    this.looks = [...this.looks.slice(Math.max(0, begin)), { atMs, count }];
  }

  /** In a second; 0 when it has not risen, or was not looked at twice. */
  get perSecond(): number {
    const first = this.looks[0];
    const last = this.looks.at(-1);
    if (first === undefined || last === undefined || last.atMs <= first.atMs) return 0;
    return Math.max(0, ((last.count - first.count) / (last.atMs - first.atMs)) * 1000);
  }

  /** Whole seconds until `left` more are done at this rate; undefined while that cannot be told. */
  secondsFor(left: number): number | undefined {
    const rate = this.perSecond;
    return rate < 0.01 ? undefined : Math.ceil(left / rate);
  }
}
