/**
 * Standard error: errors, warnings and notes, each with the command's name in front, and at most one live line (a
 * progress bar) below them. Written synchronously: what was said is out even when the process ends right after.
 */
import { writeSync } from "node:fs";
import { systemCodeOf } from "../../base/errors.ts";
import { printable } from "./text.ts";

/** To the beginning of the line, and what is in it away (ECMA-48: CR, EL). */
const CLEAR_LINE = "\r\u001b[K";

export class Messages {
  readonly #name: string;
  readonly #write: (text: string) => void;
  #live = "";

  /** True when notes (progress, summaries) are not wanted; errors and warnings are always told. */
  quiet = false;

  constructor(name: string, write: (text: string) => void = writeStderr) {
    this.#name = name;
    this.#write = write;
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
    this.#tell(printable(text));
  }

  /** Shows `text` as the live line, instead of the one before; an empty text takes it away. */
  live(text: string): void {
    if (text !== "" || this.#live !== "") this.#write(CLEAR_LINE + text);
    this.#live = text;
  }

  #say(text: string): void {
    this.#tell(`${this.#name}: ${printable(text)}`);
  }

  #tell(text: string): void {
    this.#write(this.#live === "" ? `${text}\n` : `${CLEAR_LINE}${text}\n${this.#live}`);
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
