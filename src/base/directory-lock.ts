/**
 * One process owns a server directory: an advisory lock (flock(2)) on the file `lock` in it, which the kernel releases
 * when the process dies, however it dies. The file holds the owner's pid as text, for people and for `dfs down`.
 */
import { dlopen } from "bun:ffi";
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { DfsError, systemCodeOf } from "./errors.ts";

export const LOCK_FILE = "lock";
const LOCK_SH = 1; // sys/file.h
const LOCK_EX = 2;
const LOCK_NB = 4;
const PID_LOOKS = 100;
const PID_LOOK_EVERY_MS = 2;

/** A held lock. */
export interface DirectoryLock {
  /** Gives the directory up. The file stays, empty. */
  release(): void;
}

/**
 * Takes the directory `dir` for this process.
 * @throws DfsError `locked` when a live process owns it, naming its pid.
 */
export function lockDirectory(dir: string): DirectoryLock {
  const path = join(dir, LOCK_FILE);
  const descriptor = openSync(path, "a+", 0o644);
  if (flock(descriptor, LOCK_EX | LOCK_NB) !== 0) {
    const owner = lockOwner(dir);
    closeSync(descriptor);
    throw new DfsError(
      "locked",
      `cannot use ${dir}: it is in use by ${owner === undefined ? "another process" : `process ${owner}`}\n` +
        "stop that server first, or give this one a directory of its own",
    );
  }
  try {
    ftruncateSync(descriptor, 0);
    writeSync(descriptor, `${process.pid}\n`);
  } catch (error) {
    closeSync(descriptor);
    // A full disk shows here first: the error of a write does not say where.
    throw error instanceof Error ? Object.assign(error, { path }) : error;
  }
  return {
    release: () => {
      ftruncateSync(descriptor, 0);
      closeSync(descriptor);
    },
  };
}

/** The pid written in `dir`'s lock file, or undefined when there is none. The process may be gone since. */
export function lockOwner(dir: string): number | undefined {
  try {
    const pid = Number.parseInt(readFileSync(join(dir, LOCK_FILE), "utf8"), 10);
    return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
  } catch {
    return undefined; // no lock file: nobody has ever owned the directory
  }
}

/**
 * The pid of the live process that owns `dir` now; undefined when nobody does. It looks by taking a shared lock for an
 * instant, so an owner that begins in that very instant would be refused: ask only about servers that are not being
 * started.
 */
export function liveOwner(dir: string): number | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(join(dir, LOCK_FILE), "r");
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT" || systemCodeOf(error) === "ENOTDIR") return undefined;
    throw error;
  }
  try {
    if (flock(descriptor, LOCK_SH | LOCK_NB) === 0) return undefined;
  } finally {
    closeSync(descriptor);
  }
  // An owner writes its pid right after it got the lock: there is nothing to read for a moment.
  for (let look = 0; look < PID_LOOKS; look++) {
    const pid = lockOwner(dir);
    if (pid !== undefined) return pid;
    Bun.sleepSync(PID_LOOK_EVERY_MS);
  }
  return undefined;
}

function flock(descriptor: number, operation: number): number {
  const libc = dlopen(process.platform === "darwin" ? "libSystem.dylib" : "libc.so.6", {
    flock: { args: ["i32", "i32"], returns: "i32" },
  });
  return libc.symbols.flock(descriptor, operation);
}
