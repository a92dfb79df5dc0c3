/**
 * Standard error: errors, warnings and notes, each with the command's name in front, and at most one live line (a
 * progress bar) below them. Written synchronously: what was said is out even when the process ends right after.
 */
import { writeSync } from "node:fs";
import { systemCodeOf } from "../../base/errors.ts";
import { printable } from "./text.ts";

/** A live line that must be taken away before something is printed above it. */
export interface LiveLine {
  clear(): void;
}

export class Messages {
  readonly #name: string;
  readonly #write: (text: string) => void;
  #live: LiveLine | undefined;

  /** True when notes (progress, summaries) are not wanted; errors and warnings are always told. */
  readonly quiet: boolean;

  constructor(name: string, options: { quiet: boolean; write?: (text: string) => void }) {
    this.#name = name;
    this.quiet = options.quiet;
    this.#write = options.write ?? writeStderr;
  }

  /** Something could not be done. Further lines of `text` say what to do next. */
  error(text: string): void {
    this.#say(text);
  }

  /** Something people should know of; it does not change the exit code. */
  warning(text: string): void {
    this.#say(`warning: ${text}`);
  }

  /** What is going on; nothing with --quiet. */
  note(text: string): void {
    if (!this.quiet) this.#say(text);
  }

  /** Lines as they are, for stack traces under --debug and the logs of a server that did not start. */
  raw(text: string): void {
    this.#live?.clear();
    this.#write(`${printable(text)}\n`);
  }

  /** Shows or, with undefined, takes away the live line. */
  live(line: LiveLine | undefined): void {
    this.#live = line;
  }

  #say(text: string): void {
    this.#live?.clear();
    this.#write(`${this.#name}: ${printable(text)}\n`);
  }
}

/** Writes to standard error, waiting out a terminal or pipe that is full. */
function writeStderr(text: string): void {
  let rest = Buffer.from(text);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(2, rest));
    } catch (error) {
      const code = systemCodeOf(error);
      if (code === "EAGAIN") Bun.sleepSync(1);
      else return; // nobody reads standard error: there is nowhere left to say it
    }
  }
}
