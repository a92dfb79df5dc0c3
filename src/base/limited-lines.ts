/**
 * Log lines that strangers can cause: one for each event, but so few that they neither fill the disk nor hide everything else.
 *
 * In each interval MAX_LINES are written as they come. The others are counted by whom they are about and why, and told as
 * numbers when the interval is over, so that lines and numbers together are the events:
 *
 *     ended the connection to 10.0.0.7:4000: no hello within 5000 ms
 *     1345 more connections from 10.0.0.7 were refused or ended in the last 10 s: no hello within 5000 ms
 */
import type { Clock, Timer } from "./clock.ts";
import type { LogFields, Logger } from "./logger.ts";

export const MAX_LINES = 20;
export const INTERVAL_MS = 10_000;

/** So many numbers are told apart in an interval; the last one is that of all the rest. */
export const MAX_SUMS = 8;

export interface LimitedEvent {
  readonly level: "info" | "warn";
  /** What happened to whom, with the address and port or the like. */
  readonly message: string;
  /** Follows the message, and the number of those that were left out. */
  readonly why: string;
  /** Whose events are counted together, such as a host; left out: all. */
  readonly from?: string;
  readonly fields?: LogFields;
}

/** The key of what does not get a number of its own. */
const REST = "";

/** Events that were left out, and why the first of them happened. */
interface Sum {
  readonly level: "info" | "warn";
  readonly from: string | undefined;
  readonly why: string;
  count: number;
}

export class LimitedLines {
  private readonly logger: Logger;
  private readonly clock: Clock;
  private readonly what: readonly [subject: string, verb: string];
  private readonly sums = new Map<string, Sum>();
  private written = 0;
  private timer: Timer | undefined;
  private begunMs = 0;

  /** `what` names in the plural what is left out: ["connections", "were refused"]. */
  constructor(logger: Logger, clock: Clock, what: readonly [subject: string, verb: string]) {
    this.logger = logger;
    this.clock = clock;
    this.what = what;
  }

  /** Writes a line, or counts it. */
  tell(event: LimitedEvent): void {
    if (this.timer === undefined) this.begin();
    if (this.written >= MAX_LINES) return this.count(event);
    this.written++;
    this.logger[event.level](`${event.message}: ${event.why}`, event.fields);
  }

  /** Tells what was counted so far; for the end of the process. */
  close(): void {
    this.timer?.cancel();
    this.timer = undefined;
    this.tellSums();
  }

  private begin(): void {
    this.begunMs = this.clock.monotonicMs();
    this.timer = this.clock.setTimer(INTERVAL_MS, () => this.next(), { background: true });
  }

  private next(): void {
    this.timer = undefined;
    // The sums count: an attack that goes on does not begin anew with a full measure at once.
    this.written = this.tellSums();
    if (this.written > 0) this.begin();
  }

  private count({ level, from, why }: LimitedEvent): void {
    const key = `${level} ${from ?? ""} ${why.replaceAll(/\d+/g, "0")}`; // other numbers are no other reason
    const sum = this.sums.get(key) ?? this.newSum(key, { level, from, why, count: 0 });
    sum.count++;
  }

  private newSum(key: string, sum: Sum): Sum {
    if (this.sums.size < MAX_SUMS - 1) {
      this.sums.set(key, sum);
      return sum;
    }
    const rest = this.sums.get(REST) ?? { ...sum, from: undefined, why: "for other reasons" };
    this.sums.set(REST, rest);
    return rest;
  }

  /** Returns how many lines that took. */
  private tellSums(): number {
    const seconds = Math.round((this.clock.monotonicMs() - this.begunMs) / 1000);
    const [subject, verb] = this.what;
    const lines = this.sums.size;
    for (const { level, from, why, count } of this.sums.values()) {
      const whose = from === undefined ? "" : ` from ${from}`;
      this.logger[level](
        `${count} more ${subject}${whose} ${verb} in the last ${seconds} s: ${why}`,
      );
    }
    this.sums.clear();
    return lines;
  }
}
