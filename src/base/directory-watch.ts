/**
 * A server notices that its directory has been removed, or replaced by another one, while it runs. What it has open goes on
 * working then: it would live on where nobody finds it, and stand in the way of the next one with its id.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import type { Clock, Timer } from "./clock.ts";
import { LOCK_FILE } from "./directory-lock.ts";
import { DfsError, systemCodeOf } from "./errors.ts";

/** Between two looks. */
const LOOK_EVERY_MS = 1_000;

/** A directory that is being watched. */
export interface DirectoryWatch {
  /** Resolves with what has happened when the directory is not there any more. */
  readonly lost: Promise<DfsError>;
  stop(): void;
}

/** Watches the directory `dir`, which this process has locked. */
export function watchDirectory(dir: string, clock: Clock): DirectoryWatch {
  const { promise, resolve } = Promise.withResolvers<DfsError>();
  const own = lockIn(dir);
  let timer: Timer | undefined;
  const look = (): void => {
    const found = lockIn(dir);
    if (found !== "unknown" && found !== own) {
      const what = found === "none" ? "has been removed" : "is another one now";
      return resolve(
        new DfsError(
          "io",
          `cannot go on: the directory ${dir} ${what}; what this server had there cannot be written any more`,
        ),
      );
    }
    timer = clock.setTimer(LOOK_EVERY_MS, look, { background: true });
  };
  look();
  return { lost: promise, stop: () => timer?.cancel() };
}

/** Which file the directory's lock is. Whatever else is wrong with the disk shows where it is used. */
function lockIn(dir: string): string {
  try {
    const { dev, ino } = statSync(join(dir, LOCK_FILE), { bigint: true });
    return `${dev} ${ino}`;
  } catch (error) {
    const code = systemCodeOf(error);
    return code === "ENOENT" || code === "ENOTDIR" ? "none" : "unknown";
  }
}
