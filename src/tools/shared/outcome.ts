/**
 * Several things to do in one command: what fails is told and counted, the rest goes on, and the exit code says which
 * of the two there was. After an interruption nothing is begun any more, and what fails then is not told: it failed because
 * of that.
 */
import { isDfsError, messageOf, systemCodeOf, type ErrorKind } from "../../base/errors.ts";
import { countText } from "./format.ts";
import { isNotFound, Reason, reasonOf } from "./errors.ts";
import { EXIT, type ExitCode } from "./exit-codes.ts";
import { interrupted, soonUnlessAborted } from "./interruption.ts";
import type { Messages } from "./messages.ts";
import { OutputFailed } from "./output.ts";

/** Errors after which every further step would fail as well: the command ends. */
const FATAL: ReadonlySet<ErrorKind> = new Set([
  "internal",
  "protocol",
  "unauthorized",
  "wrongCluster",
  "wrongPeer",
  "unreachable",
  "cancelled",
  "noSpace",
  "stale",
  "readOnly",
  "usage",
]);

/** Errors whose kind says it all; the words of strerror(3). Others speak for themselves. */
const KIND_TEXT: Partial<Readonly<Record<ErrorKind, string>>> = {
  notFound: "no such file or directory",
  exists: "exists already",
  notDirectory: "not a directory",
  isDirectory: "is a directory",
  notEmpty: "directory not empty",
  loop: "too many symbolic links",
  tooManyLinks: "too many links",
  accessDenied: "permission denied",
  noSpace: "no space left on any data server",
};

interface Surroundings {
  readonly messages: Messages;
  readonly signal: AbortSignal;
}

export class Outcome {
  readonly #messages: Messages;
  readonly #signal: AbortSignal;
  #done = 0;
  #failed = 0;
  #notFound = 0;

  constructor({ messages, signal }: Surroundings) {
    this.#messages = messages;
    this.#signal = signal;
  }

  get done(): number {
    return this.#done;
  }

  get failed(): number {
    return this.#failed;
  }

  /** One more thing was done. */
  succeed(): void {
    this.#done++;
  }

  /** What was done is not all that one would think. */
  warn(text: string): void {
    this.#messages.warning(text);
  }

  /**
   * One thing was not done: "cannot list /x: no such file or directory". The rest may go on.
   * @throws the error itself when there is no point in going on; that a disk is full is told with what was being done.
   * The reason of the interruption when there was one.
   */
  fail(what: string, error: unknown): void {
    this.#signal.throwIfAborted();
    if (isFatal(error)) throw fullDisk(what, error) ?? error;
    this.#failed++;
    if (isNotFound(error)) this.#notFound++;
    this.#messages.error(sentence(what, error));
  }

  /**
   * Does one thing, counting it either way.
   * @throws DfsError `cancelled` when there was an interruption: things that were named are done in that order.
   */
  async attempt(what: string, work: () => Promise<unknown>): Promise<void> {
    const before = this.#done + this.#failed;
    if (this.#signal.aborted) throw this.#interruptedAfter(before);
    try {
      await soonUnlessAborted(this.#signal, work());
      this.succeed();
    } catch (error) {
      if (this.#signal.aborted) throw this.#interruptedAfter(before);
      this.fail(what, error);
    }
  }

  #interruptedAfter(before: number): unknown {
    if (before === 0) return this.#signal.reason;
    return interrupted(
      before === 1
        ? "the first of those named is done"
        : `the first ${countText(before)} of those named are done`,
      "to go on, give the command again with the others",
    );
  }

  /** done, partly done, not found (when that is all that happened), or failed. */
  get exitCode(): ExitCode {
    if (this.#failed === 0) return EXIT.done;
    if (this.#done > 0) return EXIT.partly;
    return this.#notFound === this.#failed ? EXIT.notFound : EXIT.failed;
  }
}

/** True for what ends the whole command: the cluster is gone, the user has had enough, or dfs has a mistake. */
export function isFatal(error: unknown): boolean {
  if (error instanceof OutputFailed) return true;
  if (isDfsError(error)) return FATAL.has(error.kind);
  const code = systemCodeOf(error);
  return code === undefined || code === "ENOSPC" || code === "EMFILE" || code === "EPIPE";
}

/** For a full disk, here or in the cluster, an error that says what did not fit; undefined for other errors. */
function fullDisk(what: string, error: unknown): Reason | undefined {
  const isFull = isDfsError(error) ? error.kind === "noSpace" : systemCodeOf(error) === "ENOSPC";
  if (!isFull || error instanceof Reason) return undefined;
  return new Reason("noSpace", `${what}: ${reasonOf(error)}`, { cause: error });
}

/** "cannot list /x: no such file or directory", with the further lines of the error's own message. */
export function sentence(what: string, error: unknown): string {
  if (error instanceof Reason) return `${what}: ${error.message}`;
  // The client tells of bytes that cannot be read in full: file, offset, servers tried.
  const isOfReading = isDfsError(error, "io") || isDfsError(error, "quorum");
  if (isOfReading && error.message.startsWith("cannot read ")) return error.message;
  const known = isDfsError(error) ? KIND_TEXT[error.kind] : reasonOf(error);
  return `${what}: ${known ?? messageOf(error)}`;
}
