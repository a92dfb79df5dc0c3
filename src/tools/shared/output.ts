/**
 * Standard output: rows for people or, with --json, JSON Lines. Text is collected and written in large pieces; a reader
 * that goes away early (`dfs ls | head`) ends the command quietly.
 */
import { DfsError, systemCodeOf } from "../../base/errors.ts";
import { reasonOf } from "./system-errors.ts";
import { jsonRow } from "./text.ts";

/** Collected text is written out from this length on. */
const FLUSH_CHARACTERS = 64 * 1024;

/** Thrown when nobody reads standard output any more. The command ends with exit code 0 and says nothing. */
export class OutputClosed extends Error {
  override readonly name = "OutputClosed";
}

/** Standard output cannot take any more, for lack of room for example: the command ends, whatever it was doing. */
export class OutputFailed extends DfsError {
  constructor(cause: unknown) {
    super("io", `cannot write to standard output: ${reasonOf(cause)}`, { cause });
  }
}

/** Where bytes go: Bun's standard output, or a buffer in tests. */
export interface Sink {
  write(bytes: Uint8Array | string): unknown;
  flush(): unknown;
}

export class Output {
  readonly #sink: Sink;
  readonly #beforeWrite: () => void;
  #lines: string[] = [];
  #length = 0;

  /** `beforeWrite` is called before anything is handed to the system. */
  constructor(sink: Sink, beforeWrite: () => void = () => undefined) {
    this.#sink = sink;
    this.#beforeWrite = beforeWrite;
  }

  /** One line of text. What comes from names must have been escaped. */
  async line(text: string): Promise<void> {
    this.#lines.push(text, "\n");
    this.#length += text.length + 1;
    if (this.#length >= FLUSH_CHARACTERS) await this.flush();
  }

  /** One row of --json. */
  row(row: object): Promise<void> {
    return this.line(jsonRow(row));
  }

  /** Raw bytes, as `dfs cat` writes them. Resolves when they have been handed to the system. */
  async bytes(bytes: Uint8Array): Promise<void> {
    await this.flush();
    await this.#write(bytes);
  }

  /** Writes out what has been collected. @throws OutputClosed when nobody reads it. */
  async flush(): Promise<void> {
    if (this.#lines.length === 0) return;
    const text = this.#lines.join("");
    this.#lines = [];
    this.#length = 0;
    await this.#write(text);
  }

  /**
   * Writes out what has been collected, and `text` if there is any, to whoever may listen; nobody there is no error. For
   * what need not be heard: the one line of a server that is ready, or rows found before an error that is told next.
   */
  async announce(text?: string): Promise<void> {
    try {
      if (text !== undefined) await this.line(text);
      await this.flush();
    } catch {
      return; // whoever calls this goes on all the same
    }
  }

  async #write(data: Uint8Array | string): Promise<void> {
    this.#beforeWrite();
    try {
      // Either may be a promise, and either may be the one that fails, at once or later: nobody else may be told.
      const written = Promise.resolve(this.#sink.write(data));
      written.catch(() => undefined);
      await this.#sink.flush();
      await written;
    } catch (error) {
      if (systemCodeOf(error) === "EPIPE") throw new OutputClosed();
      throw systemCodeOf(error) === undefined ? error : new OutputFailed(error);
    }
  }
}
