/**
 * How far a long command is: bytes, things, rate and remaining time, on standard error. A bar on a terminal, a plain line now
 * and then elsewhere, nothing with --quiet or `--progress none`. Short work shows nothing at all.
 *
 * The bar is drawn here and not by a library, because warnings are printed above it: one that saves the cursor's place
 * and goes back to it at the end writes over them.
 */
import { DfsError } from "../../base/errors.ts";
import { value } from "./command.ts";
import { countText, durationText, sizeText } from "./format.ts";
import type { Messages } from "./messages.ts";
import { isErrorTerminal, isOutputPipe } from "./terminal.ts";

/** A bar is shown when the work takes longer than this; a plain line every so often. */
const BAR_AFTER_MS = 300;
const BAR_EVERY_MS = 100;
const LINE_EVERY_MS = 10_000;
/** How much there is to do is found out when the work takes longer than this. */
const TOTAL_AFTER_MS = 1000;
/** The rates shown are those of the last few seconds, weighted. */
const RATE_HALF_LIFE_MS = 2000;
const BAR_CELLS = 24;
const SHORT_BAR_CELLS = 8;
const NARROW_COLUMNS = 80;

const STYLES = ["bar", "plain", "none"] as const;
export type ProgressStyle = (typeof STYLES)[number];

/** The option of every command that may take long. */
export const progressOption = {
  progress: value(
    "<how>",
    progressStyle,
    "bar, plain (a line every 10 s) or none (default: bar on a terminal, else plain)",
    { choices: STYLES },
  ),
};

/**
 * The style of a command whose results are rows or bytes on standard output: no bar by itself when another program reads
 * these, for that may be a pager on the same terminal.
 */
export function besideOutput(typed: ProgressStyle | undefined): ProgressStyle | undefined {
  return typed ?? (isErrorTerminal() && isOutputPipe() ? "none" : undefined);
}

function progressStyle(text: string): ProgressStyle {
  const style = STYLES.find((each) => each === text);
  if (style !== undefined) return style;
  throw new DfsError("usage", "expected bar, plain or none");
}

/** How much there is to do. */
export interface Total {
  readonly things?: number;
  readonly bytes?: number;
}

/** What a command says of itself. */
export interface ProgressOptions {
  /** As typed; left out: what suits standard error. */
  readonly style?: ProgressStyle | undefined;
  /** What is counted besides bytes; `none`: nothing that could be counted is known. */
  readonly things?: readonly [one: string, many: string] | "none";
  /** False when the work moves no bytes, or none that are known. */
  readonly hasBytes?: boolean;
  /** Without bytes: whether the rate of the things says something. */
  readonly hasRate?: boolean;
  /** Finds out how much there is to do, while it is being done; undefined when that cannot be told. */
  readonly findTotal?: () => Promise<Total | undefined>;
}

/** For work that goes through directories and moves no content. */
export const THINGS = {
  things: ["file or directory", "files and directories"],
  hasBytes: false,
  hasRate: true,
} as const satisfies ProgressOptions;

/** Where it is shown, and by which clock. */
export interface ProgressPlace {
  readonly isTerminal: boolean;
  /** Width of the terminal, asked each time. */
  readonly columns?: () => number | undefined;
  /** Milliseconds, never going back. */
  readonly now?: () => number;
}

export const STDERR: ProgressPlace = {
  isTerminal: isErrorTerminal(),
  columns: () => process.stderr.columns,
};

export class Progress {
  /** Things and bytes that are done. */
  files = 0;
  bytes = 0;
  /** What there is to do, once that is known. */
  total: Total = {};
  /** What else there is to say, shown behind the figures. */
  remark = "";

  readonly #messages: Messages;
  readonly #options: ProgressOptions;
  readonly #place: ProgressPlace;
  readonly #style: ProgressStyle;
  readonly #now: () => number;
  readonly #startedMs: number;
  readonly #rates = { files: new Rate(), bytes: new Rate() };
  #timers: NodeJS.Timeout[] = [];
  #wasShown = false;
  /** Of the total, what was done before: it takes no time. */
  #skipped = { files: 0, bytes: 0 };

  constructor(messages: Messages, options: ProgressOptions = {}, place: ProgressPlace = STDERR) {
    this.#messages = messages;
    this.#options = options;
    this.#place = place;
    this.#style = messages.quiet ? "none" : (options.style ?? (place.isTerminal ? "bar" : "plain"));
    this.#now = place.now ?? (() => performance.now());
    this.#startedMs = this.#now();
    if (this.#style === "none") return;
    const everyMs = this.#style === "bar" ? BAR_EVERY_MS : LINE_EVERY_MS;
    this.#timers = [
      setInterval(() => this.show(), everyMs),
      setTimeout(() => void this.findTotal(), TOTAL_AFTER_MS),
    ];
    for (const timer of this.#timers) timer.unref();
  }

  get elapsedMs(): number {
    return this.#now() - this.#startedMs;
  }

  /** One thing with so many bytes had been done before. */
  skip(bytes: number): void {
    this.#skipped.files++;
    this.#skipped.bytes += bytes;
  }

  /** Learns how much there is to do; called by a timer. What cannot be looked at, the work itself will tell. */
  async findTotal(): Promise<void> {
    const found = await this.#options.findTotal?.().catch(() => undefined);
    if (found !== undefined) this.total = found;
  }

  /** Shows how far the work is; called by a timer. */
  show(): void {
    if (this.#style === "none") return;
    if (this.#style === "bar" && this.elapsedMs < BAR_AFTER_MS) return;
    this.#wasShown = true;
    this.#rates.files.look(this.files, this.elapsedMs);
    this.#rates.bytes.look(this.bytes, this.elapsedMs);
    if (this.#style === "bar") this.#messages.live(this.#bar());
    else this.#messages.note(this.#state());
  }

  /** Takes the bar away and, when there was something to see, says what was done. */
  stop(verb: string): void {
    this.end();
    if (this.#wasShown) this.#messages.note(`${verb} ${this.summary()}`);
  }

  /** Takes the bar away and says nothing. */
  end(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#messages.live("");
  }

  /** `1,234 files, 20 MiB in 2.0 s (10 MiB/s)`. */
  summary(): string {
    const { hasBytes = true, hasRate = false, things } = this.#options;
    const perSecond = (count: number): number =>
      Math.round((count / Math.max(this.elapsedMs, 1)) * 1000);
    const time = `in ${durationText(this.elapsedMs)}`;
    const counts = [
      ...(things === "none" ? [] : [this.#thingsText(this.files)]),
      ...(hasBytes ? [sizeText(this.bytes)] : []),
    ].join(", ");
    const rate = hasBytes
      ? ` (${sizeText(perSecond(this.bytes))}/s)`
      : hasRate
        ? ` (${countText(perSecond(this.files))}/s)`
        : "";
    return `${counts}${counts === "" ? "" : " "}${time}${rate}`;
  }

  /** The bar and the figures: as much of them as fits. A line that wraps cannot be taken away. */
  #bar(): string {
    const most = Math.max(0, (this.#place.columns?.() ?? NARROW_COLUMNS) - 1);
    const state = this.#state();
    const brief = this.#brief();
    const lines = [
      `${this.#cells(BAR_CELLS)} ${state}`,
      `${this.#cells(SHORT_BAR_CELLS)} ${state}`,
      `${this.#cells(SHORT_BAR_CELLS)} ${brief}`,
    ];
    return lines.find((line) => line.length <= most) ?? brief.slice(0, most);
  }

  #cells(count: number): string {
    const full = Math.round(this.#part() * count);
    return "\u2588".repeat(full) + "\u2591".repeat(count - full);
  }

  /** The figures that matter most where there is little room. */
  #brief(): string {
    const { things, bytes } = this.#known;
    const left = this.#secondsLeft();
    const isKnown = things !== undefined || bytes !== undefined;
    return [
      isKnown ? `${Math.floor(this.#part() * 100)} %` : this.summary().split(" in ", 1)[0],
      ...(left === undefined ? [] : [`${durationText(left * 1000)} left`]),
    ].join(", ");
  }

  #state(): string {
    const { hasBytes = true, hasRate = false } = this.#options;
    const { things, bytes } = this.#known;
    const left = this.#secondsLeft();
    const ofThings = things === undefined ? "" : ` of ${countText(things)}`;
    const ofBytes = bytes === undefined ? "" : ` of ${sizeText(bytes)}`;
    const done = {
      files: this.files + this.#skipped.files,
      bytes: this.bytes + this.#skipped.bytes,
    };
    const rate = hasBytes
      ? `${sizeText(Math.round(this.#rates.bytes.perSecond))}/s`
      : `${countText(Math.round(this.#rates.files.perSecond))}/s`;
    const counted =
      things === undefined
        ? this.#thingsText(done.files)
        : `${countText(done.files)}${ofThings} ${this.#noun(things)}`;
    const isUncounted = this.#options.things === "none";
    return [
      ...(isUncounted ? [] : [counted]),
      ...(isUncounted && !hasBytes ? [durationText(this.elapsedMs)] : []),
      ...(hasBytes ? [`${sizeText(done.bytes)}${ofBytes}`, rate] : hasRate ? [rate] : []),
      ...(left === undefined ? [] : [`${durationText(left * 1000)} left`]),
      ...(this.remark === "" ? [] : [this.remark]),
    ].join(", ");
  }

  /** The total, as far as the work has not shown that there is more to do: others change what is counted. */
  get #known(): Total {
    const { things, bytes } = this.total;
    return {
      ...(things === undefined || things < this.files + this.#skipped.files ? {} : { things }),
      ...(bytes === undefined || bytes < this.bytes + this.#skipped.bytes ? {} : { bytes }),
    };
  }

  #thingsText(count: number): string {
    return `${countText(count)} ${this.#noun(count)}`;
  }

  #noun(count: number): string {
    const { things = ["file", "files"] } = this.#options;
    const [one, many] = things === "none" ? ["", ""] : things;
    return count === 1 ? one : many;
  }

  /** From 0 to 1; of bytes, where there are any, else of things. */
  #part(): number {
    const { things = 0, bytes = 0 } = this.#known;
    if (bytes > 0) return Math.min(1, (this.bytes + this.#skipped.bytes) / bytes);
    return things > 0 ? Math.min(1, (this.files + this.#skipped.files) / things) : 0;
  }

  /** By bytes and by things, whichever takes longer: small files take their time for being many. */
  #secondsLeft(): number | undefined {
    const { things, bytes } = this.#known;
    const times = [
      this.#rates.files.secondsFor(things, this.files + this.#skipped.files),
      this.#rates.bytes.secondsFor(bytes, this.bytes + this.#skipped.bytes),
    ].filter((each) => each !== undefined);
    return times.length === 0 ? undefined : Math.max(...times);
  }
}

/** How fast something rises. */
class Rate {
  perSecond = 0;
  #seen = 0;
  #seenMs = 0;

  /** Moves the rate towards that since the last look. */
  look(count: number, elapsedMs: number): void {
    const passedMs = elapsedMs - this.#seenMs;
    if (passedMs < 1) return;
    const rate = ((count - this.#seen) / passedMs) * 1000;
    const weight = this.#seenMs === 0 ? 1 : 1 - 0.5 ** (passedMs / RATE_HALF_LIFE_MS);
    this.perSecond += (rate - this.perSecond) * weight;
    this.#seenMs = elapsedMs;
    this.#seen = count;
  }

  /** Undefined while that cannot be told. */
  secondsFor(total: number | undefined, done: number): number | undefined {
    if (total === undefined || this.perSecond < 0.01) return undefined;
    return Math.max(0, total - done) / this.perSecond;
  }
}
