/**
 * Exit codes of the dfs command: what scripts rely on. Frozen.
 */
import type { ErrorKind } from "../../base/errors.ts";

export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  /** Some of several things were done, the rest is listed on stderr. */
  partly: 3,
  notFound: 4,
  unreachable: 5,
  /** `dfs status`: readable and writable, but with fewer copies or servers than wanted. */
  degraded: 6,
  /** `dfs status`: one more failure would lose data, or some cannot be read now. */
  atRisk: 7,
  /** `dfs fsck`, as fsck(8): errors were found and corrected, errors are left, it could not run. */
  corrected: 1,
  errorsLeft: 4,
  notRun: 8,
  /** 128 + SIGINT, as shells have it. */
  interrupted: 130,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** The exit code of a command that ended with an error of `kind`. */
export function exitCodeOf(kind: ErrorKind): ExitCode {
  switch (kind) {
    case "usage":
      return EXIT.usage;
    case "notFound":
      return EXIT.notFound;
    case "unreachable":
      return EXIT.unreachable;
    case "cancelled":
      return EXIT.interrupted;
    default:
      return EXIT.failed;
  }
}
