/**
 * The temporary directories of drills. Each has a mark in it that is locked while its drill lives; what a drill has left that
 * was killed in the middle is removed by the next one.
 */
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { liveOwner, lockDirectory, type DirectoryLock } from "../../base/directory-lock.ts";
import { systemCodeOf } from "../../base/errors.ts";
import { serverDirectories } from "../cluster/layout.ts";
import { killServer } from "../cluster/processes.ts";

const PREFIX = "dfs-drill-";
const MARK = "drill";
/** In the mark: what has a lock right in the cluster's directory is a server. */
const OWNER = "owner";

/** A drill's directory. */
export interface MarkedDirectory {
  readonly dir: string;
  /** It is to stay when the drill is over. */
  unmark(): void;
}

/** Makes a directory that is a drill's as long as this process lives. */
export function markedDirectory(): MarkedDirectory {
  const dir = mkdtempSync(join(tmpdir(), PREFIX));
  const mark = join(dir, MARK);
  let lock: DirectoryLock;
  try {
    lock = markAndLock(mark);
  } catch (error) {
    rmSync(dir, { recursive: true, force: true });
    throw error;
  }
  return {
    dir,
    unmark: () => {
      rmSync(mark, { recursive: true, force: true });
      lock.release();
    },
  };
}

function markAndLock(mark: string): DirectoryLock {
  const draft = `${mark}.new`;
  mkdirSync(join(draft, OWNER), { recursive: true });
  const lock = lockDirectory(join(draft, OWNER));
  renameSync(draft, mark); // locked before anybody may look whether it is
  return lock;
}

/** Removes what drills have left that do not live any more, servers that still run there among it. */
export async function removeLeftovers(): Promise<void> {
  const names = readdirSync(tmpdir()).filter((name) => name.startsWith(PREFIX));
  for (const name of names) {
    const dir = join(tmpdir(), name);
    try {
      if (!isLeftOver(dir)) continue;
      await Promise.all(serverDirectories(dir).map(killServer));
      rmSync(dir, { recursive: true, force: true });
    } catch (error) {
      if (systemCodeOf(error) === undefined) throw error; // somebody else's, or another drill is just removing it
    }
  }
}

function isLeftOver(dir: string): boolean {
  return readdirSync(dir).includes(MARK) && liveOwner(join(dir, MARK, OWNER)) === undefined;
}
