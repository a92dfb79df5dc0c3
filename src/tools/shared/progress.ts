/**
 * How far a transfer is: a bar with rate and remaining time on a terminal, now and then a plain line elsewhere; both on
 * standard error, neither with --quiet. Short work shows nothing at all.
 *
 * The bar is drawn here and not by a library, because warnings are printed above it: one that saves the cursor's place
 * and goes back to it at the end writes over them.
 */
import { countText, durationText, sizeText } from "./format.ts";
import type { Messages } from "./messages.ts";
import { isErrorTerminal } from "./terminal.ts";

/** A bar is shown when the work takes longer than this; a plain line every so often. */
const BAR_AFTER_MS = 300;
const BAR_EVERY_MS = 100;
const LINE_EVERY_MS = 10_000;
/** The rate shown is that of the last few seconds, weighted. */
const RATE_HALF_LIFE_MS = 2000;
const BAR_CELLS = 24;
const NARROW_COLUMNS = 80;

export interface ProgressOptions {
  readonly isTerminal: boolean;
  /** Width of the terminal, asked each time. */
  readonly columns?: () => number | undefined;
  /** Milliseconds, never going back. */
  readonly now?: () => number;
}

export const STDERR: ProgressOptions = {
  isTerminal: isErrorTerminal(),
  columns: () => process.stderr.columns,
};

export class Progress {
  files = 0;
  bytes = 0;
  /** Bytes to be transferred, once that is known. */
  totalBytes: number | undefined;

  /** What else there is to say, shown behind the figures. */
  remark = "";

  readonly #messages: Messages;
  readonly #things: readonly [one: string, many: string];
  readonly #options: ProgressOptions;
  readonly #now: () => number;
  readonly #startedMs: number;
  #timer: NodeJS.Timeout | undefined;
  #wasShown = false;
  #rate = 0;
  #seenMs: number;
  #seenBytes = 0;

  /** `things`: what `files` counts. */
  constructor(
    messages: Messages,
    options: ProgressOptions = STDERR,
    things: readonly [one: string, many: string] = ["file", "files"],
  ) {
    this.#messages = messages;
    this.#things = things;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#startedMs = this.#now();
    this.#seenMs = this.#startedMs;
    if (messages.quiet) return;
    const everyMs = options.isTerminal ? BAR_EVERY_MS : LINE_EVERY_MS;
    this.#timer = setInterval(() => this.show(), everyMs);
    this.#timer.unref();
  }

  /** True where knowing the total is worth finding it out. */
  get wantsTotal(): boolean {
    return this.#options.isTerminal && !this.#messages.quiet;
  }

  get elapsedMs(): number {
    return this.#now() - this.#startedMs;
  }

  /** Shows how far the work is; called by a timer. */
  show(): void {
    if (this.#options.isTerminal && this.elapsedMs < BAR_AFTER_MS) return;
    this.#wasShown = true;
    this.#measure();
    if (this.#options.isTerminal) this.#messages.live(this.#bar());
    else this.#messages.note(this.#state());
  }

  /** Takes the bar away and, when there was something to see, says what was done. */
  stop(verb: string): void {
    clearInterval(this.#timer);
    this.#messages.live("");
    if (this.#wasShown) this.#messages.note(`${verb} ${this.#summary()}`);
  }

  #summary(): string {
    const rate = (this.bytes / Math.max(this.elapsedMs, 1)) * 1000;
    return (
      `${this.#filesText()}, ${sizeText(this.bytes)} ` +
      `in ${durationText(this.elapsedMs)} (${sizeText(Math.round(rate))}/s)`
    );
  }

  /** The bar and the figures, cut where the terminal ends: a line that wraps cannot be taken away. */
  #bar(): string {
    const total = this.totalBytes;
    const part = total === undefined || total === 0 ? 0 : Math.min(1, this.bytes / total);
    const full = Math.round(part * BAR_CELLS);
    const cells = "\u2588".repeat(full) + "\u2591".repeat(BAR_CELLS - full);
    const columns = this.#options.columns?.() ?? NARROW_COLUMNS;
    return `${cells} ${this.#state()}`.slice(0, Math.max(0, columns - 1));
  }

  #state(): string {
    const total = this.totalBytes === undefined ? "" : ` of ${sizeText(this.totalBytes)}`;
    const left = this.#timeLeft();
    return (
      `${this.#filesText()}, ${sizeText(this.bytes)}${total}, ` +
      `${sizeText(Math.round(this.#rate))}/s${left === "" ? "" : `, ${left} left`}` +
      (this.remark === "" ? "" : `, ${this.remark}`)
    );
  }

  #filesText(): string {
    const [one, many] = this.#things;
    return `${countText(this.files)} ${this.files === 1 ? one : many}`;
  }

  /** Moves the rate towards that since the last look. */
  #measure(): void {
    const now = this.#now();
    const passed = now - this.#seenMs;
    if (passed < 1) return;
    const rate = ((this.bytes - this.#seenBytes) / passed) * 1000;
    const isFirst = this.#seenMs === this.#startedMs;
    const weight = isFirst ? 1 : 1 - 0.5 ** (passed / RATE_HALF_LIFE_MS);
    this.#rate += (rate - this.#rate) * weight;
    this.#seenMs = now;
    this.#seenBytes = this.bytes;
  }

  #timeLeft(): string {
    if (this.totalBytes === undefined || this.#rate < 1) return "";
    const left = Math.max(0, this.totalBytes - this.bytes);
    return durationText((left / this.#rate) * 1000);
  }
}
