/**
 * From anything thrown to one to three lines for people and an exit code.
 */
import { DfsError, isDfsError, messageOf, systemCodeOf } from "../../base/errors.ts";
import { EXIT, exitCodeOf, type ExitCode } from "./exit-codes.ts";
import type { Messages } from "./messages.ts";
import { OutputClosed } from "./output.ts";
import { reasonOf } from "./system-errors.ts";

export { reasonOf };

const MOST_LINES = 3;

/**
 * An error of the command itself, whose message is the reason alone ("it is a device") and is told as it is. Messages
 * of other errors may be replaced by the usual words for their kind.
 */
export class Reason extends DfsError {}

/** True for a missing file or directory, here or in the cluster. */
export function isNotFound(error: unknown): boolean {
  return isDfsError(error, "notFound") || (!isDfsError(error) && systemCodeOf(error) === "ENOENT");
}

/** A local file could not be used: "cannot read 'x': permission denied". */
export function localError(what: string, error: unknown): DfsError {
  const kind = isNotFound(error) ? "notFound" : "io";
  return new DfsError(kind, `${what}: ${reasonOf(error)}`, { cause: error });
}

/**
 * Says what went wrong and returns the exit code.
 * With `debug`, the stack traces of the error and its causes follow.
 */
export function report(error: unknown, messages: Messages, debug: boolean): ExitCode {
  if (error instanceof OutputClosed) return EXIT.done;
  const lines = textOf(error).split("\n").slice(0, MOST_LINES);
  messages.error(lines.join("\n"));
  if (debug) messages.raw(traces(error));
  return isDfsError(error)
    ? exitCodeOf(error.kind)
    : isNotFound(error)
      ? EXIT.notFound
      : EXIT.failed;
}

function textOf(error: unknown): string {
  if (isDfsError(error)) {
    return error.kind === "internal"
      ? `${error.message}\nthis is a mistake in dfs; --debug shows where`
      : error.message;
  }
  if (systemCodeOf(error) !== undefined) return systemText(error);
  return `unexpected error: ${messageOf(error)}\nthis is a mistake in dfs; --debug shows where`;
}

/** "ENOENT: no such file or directory, open '/x'" as "cannot open '/x': no such file or directory". */
function systemText(error: unknown): string {
  const facts = error as { syscall?: unknown; path?: unknown };
  const what = typeof facts.syscall === "string" ? facts.syscall : "do it";
  const path = typeof facts.path === "string" ? ` ${facts.path}` : "";
  return `cannot ${what}${path}: ${reasonOf(error)}`;
}

function traces(error: unknown): string {
  const parts: string[] = [];
  for (let at = error, depth = 0; at !== undefined && depth < 8; depth++) {
    const kind = isDfsError(at) ? ` [${at.kind}]` : "";
    parts.push(at instanceof Error ? `${at.stack ?? at.message}${kind}` : messageOf(at));
    at = at instanceof Error ? at.cause : undefined;
  }
  return parts.join("\ncaused by: ");
}
