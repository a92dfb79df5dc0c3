/**
 * How far a transfer is: a bar with rate and remaining time on a terminal, now and then a plain line elsewhere; both on
 * standard error, neither with --quiet. Short work shows nothing at all.
 */
import type { SingleBar } from "cli-progress";
import { countText, durationText, sizeText } from "./format.ts";
import type { Messages } from "./messages.ts";

/** A bar is shown when the work takes longer than this; a plain line every so often. */
const BAR_AFTER_MS = 300;
const LINE_EVERY_MS = 10_000;
const BAR_EVERY_MS = 100;
/** The rate shown is that of the last few seconds, weighted. */
const RATE_HALF_LIFE_MS = 2000;

export class Progress {
  files = 0;
  bytes = 0;
  /** Bytes to be transferred, once that is known. */
  totalBytes: number | undefined;

  readonly #messages: Messages;
  readonly #isTerminal: boolean;
  readonly #startedMs = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #bar: SingleBar | undefined;
  #wasShown = false;
  /** The bar hides the cursor: whatever ends the process, it comes back. */
  readonly #onExit = (): void => this.#hideBar();
  #rate = 0;
  #seenMs = performance.now();
  #seenBytes = 0;

  constructor(messages: Messages, isTerminal = process.stderr.isTTY) {
    this.#messages = messages;
    this.#isTerminal = isTerminal;
    if (messages.quiet) return;
    this.#timer = isTerminal
      ? setTimeout(() => void this.#showBar(), BAR_AFTER_MS)
      : setInterval(() => this.#showLine(), LINE_EVERY_MS);
    this.#timer.unref();
  }

  /** True where knowing the total is worth finding it out. */
  get wantsTotal(): boolean {
    return this.#isTerminal && !this.#messages.quiet;
  }

  get elapsedMs(): number {
    return performance.now() - this.#startedMs;
  }

  /** Takes the bar away and, when there was something to see, says what was done. */
  stop(verb: string): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#hideBar();
    if (this.#wasShown) this.#messages.note(`${verb} ${this.#summary()}`);
  }

  #summary(): string {
    const rate = this.bytes / Math.max(this.elapsedMs, 1);
    return (
      `${countText(this.files)} ${this.files === 1 ? "file" : "files"}, ${sizeText(this.bytes)} ` +
      `in ${durationText(this.elapsedMs)} (${sizeText(Math.round(rate * 1000))}/s)`
    );
  }

  #showLine(): void {
    this.#wasShown = true;
    this.#measure();
    const total = this.totalBytes === undefined ? "" : ` of ${sizeText(this.totalBytes)}`;
    const left = this.#timeLeft();
    this.#messages.note(
      `${countText(this.files)} files, ${sizeText(this.bytes)}${total}, ` +
        `${sizeText(Math.round(this.#rate))}/s${left === "" ? "" : `, ${left} left`}`,
    );
  }

  async #showBar(): Promise<void> {
    const { SingleBar } = (await import("cli-progress")).default;
    if (this.#timer === undefined) return; // stopped while it was loaded
    this.#wasShown = true;
    this.#bar = new SingleBar({
      format: "{bar} {state}",
      barsize: 24,
      barCompleteChar: "\u2588",
      barIncompleteChar: "\u2591",
      hideCursor: true,
      clearOnComplete: true,
      stream: process.stderr,
      forceRedraw: true,
      gracefulExit: false,
    });
    this.#bar.start(1, 0, { state: "" });
    this.#messages.liveLine(true);
    process.once("exit", this.#onExit);
    this.#timer = setInterval(() => this.#updateBar(), BAR_EVERY_MS);
    this.#timer.unref();
    this.#updateBar();
  }

  #updateBar(): void {
    this.#measure();
    const total = this.totalBytes;
    const left = this.#timeLeft();
    const done =
      total === undefined ? sizeText(this.bytes) : `${sizeText(this.bytes)} of ${sizeText(total)}`;
    this.#bar?.setTotal(Math.max(total ?? 1, 1));
    this.#bar?.update(total === undefined ? 0 : Math.min(this.bytes, total), {
      state:
        `${countText(this.files)} files, ${done}, ${sizeText(Math.round(this.#rate))}/s` +
        (left === "" ? "" : `, ${left} left`),
    });
  }

  #hideBar(): void {
    this.#messages.liveLine(false);
    process.off("exit", this.#onExit);
    this.#bar?.stop();
    this.#bar = undefined;
  }

  /** Moves the rate towards that since the last look. */
  #measure(): void {
    const now = performance.now();
    const passed = now - this.#seenMs;
    if (passed < 1) return;
    const rate = ((this.bytes - this.#seenBytes) / passed) * 1000;
    const weight = this.#seenBytes === 0 ? 1 : 1 - 0.5 ** (passed / RATE_HALF_LIFE_MS);
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
