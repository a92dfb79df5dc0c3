/**
 * The directory of a local cluster.
 *
 *     cluster.json         see tools/shared/cluster-file.ts
 *     cluster.key          the cluster key, when there is one (tools/shared/cluster-key.ts)
 *     lock                 held while `dfs up` or `dfs down` changes which servers run
 *     meta/                the metadata server's directory
 *     data-1/ data-2/ ...  the data servers' directories
 *     logs/meta.log ...    what each server has to say
 */
import { mkdirSync, readdirSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { lockDirectory, type DirectoryLock } from "../../base/directory-lock.ts";
import { DfsError, isDfsError, systemCodeOf } from "../../base/errors.ts";
import { readClusterFile } from "../shared/cluster-file.ts";
import { KEY_FILE } from "../shared/cluster-key.ts";

const LOCK_WAIT_MS = 60_000;
const LOOK_EVERY_MS = 50;
const LOCK_FILE = "lock";

/** What `dfs key new` and `dfs up` make in an empty directory before there is a cluster file. */
const FIRST_FILES: ReadonlySet<string> = new Set([LOCK_FILE, "cluster.json.new", KEY_FILE]);

export function metaDirectory(dir: string): string {
  return join(dir, "meta");
}

export function dataDirectory(dir: string, number: number): string {
  return join(dir, `data-${number}`);
}

/** True for a path that `dataDirectory` could have given. */
export function isDataDirectory(path: string): boolean {
  return /^data-[1-9]\d*$/.test(basename(path));
}

export function logPath(dir: string, name: string): string {
  return join(dir, "logs", `${name}.log`);
}

/**
 * Makes sure that `dir` is, or can become, the directory of a local cluster; returns its absolute path. To be asked
 * again once it is locked.
 * @throws DfsError `usage` when there is something else in it.
 */
export function claimDirectory(dir: string): string {
  const path = resolve(dir);
  const foreign = (namesIn(path) ?? []).find((name) => !FIRST_FILES.has(name));
  if (foreign !== undefined && readClusterFile(path) === undefined) {
    throw new DfsError(
      "usage",
      `cannot use ${path} for a cluster: it is not empty (${foreign} is in it) and no dfs cluster\n` +
        "name an empty or new directory with --dir",
    );
  }
  mkdirSync(path, { recursive: true });
  return path;
}

/** True when a server's directory has never been used: there is none, or nothing of a server is in it. */
export function isUnused(dir: string): boolean {
  return (namesIn(dir) ?? []).every((name) => name === LOCK_FILE || name === "lost+found");
}

/** Directories in `dir` that look like a server's: they have a lock file. */
export function serverDirectories(dir: string): string[] {
  const names = namesIn(dir) ?? [];
  return names.map((name) => join(dir, name)).filter((path) => namesIn(path)?.includes(LOCK_FILE));
}

/** Waits until no other `dfs up` or `dfs down` is at work in `dir`, and keeps others out. */
export async function lockCluster(dir: string, signal: AbortSignal): Promise<DirectoryLock> {
  const deadline = performance.now() + LOCK_WAIT_MS;
  for (;;) {
    try {
      return lockDirectory(dir);
    } catch (error) {
      if (!isDfsError(error, "locked") || performance.now() > deadline) throw error;
      signal.throwIfAborted();
      await Bun.sleep(LOOK_EVERY_MS);
    }
  }
}

/** What is in a directory; undefined when there is none. */
function namesIn(path: string): string[] | undefined {
  try {
    return readdirSync(path);
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw error;
  }
}
