/**
 * What an error means that was not thrown by an operation but by the database engine (or by a mistake of ours).
 *
 * A full disk refuses changes and nothing else: the transaction is undone, what was there stays readable. A lock held by
 * somebody else passes. But after an input/output error, or when the database finds itself damaged, neither the file nor
 * what the kernel remembers of it can be trusted: the process has to end.
 *
 * Source: https://www.sqlite.org/rescode.html
 */
import { DfsError, messageOf, systemCodeOf } from "../../base/errors.ts";

const FATAL = /^SQLITE_(IOERR|CORRUPT|NOTADB|CANTOPEN|READONLY|PROTOCOL)/;

export interface EngineFailure {
  /** What to tell the caller. */
  readonly error: DfsError;
  /** The database cannot be used any more. */
  readonly fatal: boolean;
}

/** Judges `error`, which anything but an operation of ours has thrown. */
export function classifyEngineError(error: unknown): EngineFailure {
  const code = systemCodeOf(error) ?? "";
  if (code.startsWith("SQLITE_FULL")) return { error: diskFull(error), fatal: false };
  if (code.startsWith("SQLITE_BUSY") || code.startsWith("SQLITE_LOCKED")) {
    return { error: busy(error), fatal: false };
  }
  if (FATAL.test(code)) return { error: broken(error, code), fatal: true };
  const message = `internal error: ${messageOf(error)}`;
  return { error: new DfsError("internal", message, { cause: error }), fatal: false };
}

/** A change was refused for want of room; `cause` when the database itself has found none. */
export function diskFull(cause?: unknown): DfsError {
  return new DfsError(
    "noSpace",
    "the disk that holds the metadata database is full\n" +
      "reading and removing go on; other changes are refused until there is room on it",
    { cause },
  );
}

function busy(cause: unknown): DfsError {
  return new DfsError(
    "busy",
    "the metadata database is locked by another program; end it, or try again later",
    { cause },
  );
}

function broken(cause: unknown, code: string): DfsError {
  return new DfsError(
    "io",
    `the metadata database cannot be used any more: ${messageOf(cause)} (${code})`,
    { cause },
  );
}
