/**
 * Which process serves a mount point. The kernel does not tell, and `dfs umount` has to wait for the end of that process, as
 * it may still have something to write.
 *
 *     /run/dfs/mounts/, /run/user/UID/dfs/mounts/, or /tmp/dfs-UID/mounts/
 *         0123456789abcdef/        a mount point, by the hash of its path
 *             lock                 held by the serving process, with its pid
 *             mount.json           MountRecord
 *
 * Whether a process serves is told by the lock alone; what a killed one left is taken over by the next.
 */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { lockDirectory, type DirectoryLock } from "../../base/directory-lock.ts";
import { DfsError, isDfsError, systemCodeOf } from "../../base/errors.ts";
import { serverIn } from "../cluster/processes.ts";

const RECORD = "mount.json";

/** What a serving process writes down about its mount. */
export interface MountRecord {
  readonly mountPoint: string;
  /** Address of the metadata server. */
  readonly meta: string;
  /** The local cluster's directory, when it is one. */
  readonly dir?: string;
  readonly log?: string;
}

/** The directory of a mount point of user `uid`; it exists while it is served. */
export function mountDirectory(uid: number, mountPoint: string): string {
  const name = Bun.hash.xxHash64(mountPoint).toString(16).padStart(16, "0");
  return join(mountsDirectory(uid), name);
}

/** The pid of the process that serves the mount point of user `uid`, or undefined. */
export function servingProcess(uid: number, mountPoint: string): number | undefined {
  return serverIn(mountDirectory(uid, mountPoint));
}

/** What is written down about a mount point. */
export function mountRecord(uid: number, mountPoint: string): MountRecord | undefined {
  return recordIn(mountDirectory(uid, mountPoint));
}

/** The mounts of user `uid`, also those whose processes were killed. */
export function knownMounts(uid: number): MountRecord[] {
  const folder = mountsDirectory(uid);
  return namesIn(folder).flatMap((name) => recordIn(join(folder, name)) ?? []);
}

/**
 * Says that this process serves a mount point, until `release`.
 * @throws DfsError `locked` when another one does.
 */
export function claimMountPoint(record: MountRecord): DirectoryLock {
  const uid = process.getuid?.() ?? 0;
  const dir = mountDirectory(uid, record.mountPoint);
  const lock = lockedDirectory(uid, dir, record.mountPoint);
  writeFileSync(join(dir, RECORD), `${JSON.stringify(record)}\n`);
  return {
    release: () => {
      rmSync(dir, { recursive: true, force: true }); // under the lock: nobody else has it yet
      lock.release();
    },
  };
}

/** Removes what a process that was killed has left; nothing while a process serves the mount point. */
export function forgetMountPoint(uid: number, mountPoint: string): void {
  const dir = mountDirectory(uid, mountPoint);
  if (!existsSync(dir)) return;
  try {
    const lock = lockDirectory(dir);
    rmSync(dir, { recursive: true, force: true });
    lock.release();
  } catch (error) {
    // Somebody serves it by now, or has removed it meanwhile.
    if (!isDfsError(error, "locked") && systemCodeOf(error) !== "ENOENT") throw error;
  }
}

function lockedDirectory(uid: number, dir: string, mountPoint: string): DirectoryLock {
  for (;;) {
    makeOwn(uid, dir);
    try {
      const lock = lockDirectory(dir);
      if (serverIn(dir) === process.pid) return lock;
      lock.release(); // of a file that its owner removed in this very moment
    } catch (error) {
      if (systemCodeOf(error) === "ENOENT") continue; // likewise
      throw isDfsError(error, "locked") ? alreadyServed(dir, mountPoint) : error;
    }
  }
}

function alreadyServed(dir: string, mountPoint: string): DfsError {
  const pid = serverIn(dir);
  return new DfsError(
    "locked",
    `cannot mount on ${mountPoint}: ${pid === undefined ? "another process" : `process ${pid}`} serves it already\n` +
      "unmount it first, or wait until it has been: dfs umount",
  );
}

/** Makes the directory and those above it; in /tmp somebody else might have been there first. */
function makeOwn(uid: number, dir: string): void {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  for (const each of [dirname(dirname(dir)), dirname(dir), dir]) {
    const stats = lstatSync(each, { throwIfNoEntry: false });
    if (stats === undefined) continue; // removed meanwhile: the lock cannot be taken then
    if (!stats.isDirectory() || stats.uid !== uid) {
      throw new DfsError(
        "accessDenied",
        `cannot use ${each} to note which process serves a mount: it belongs to somebody else\n` +
          "have it removed by its owner or root",
      );
    }
  }
}

/** It must be the same for all processes of a user, whatever their environment. */
function mountsDirectory(uid: number): string {
  const base = uid === 0 ? "/run" : `/run/user/${uid}`;
  const isThere = lstatSync(base, { throwIfNoEntry: false })?.isDirectory() === true;
  return isThere ? join(base, "dfs", "mounts") : join("/tmp", `dfs-${uid}`, "mounts");
}

function recordIn(dir: string): MountRecord | undefined {
  try {
    return checkedRecord(JSON.parse(readFileSync(join(dir, RECORD), "utf8")));
  } catch (error) {
    // Not written yet, or not wholly: the process is about to begin or has been killed while it did.
    if (error instanceof SyntaxError || systemCodeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** The record that `value` is; undefined when it is none, as when something else has written to the file. */
function checkedRecord(value: unknown): MountRecord | undefined {
  const { mountPoint, meta, dir, log } = (value ?? {}) as Record<string, unknown>;
  const isText = (each: unknown): boolean => typeof each === "string";
  const isOptionalText = (each: unknown): boolean => each === undefined || isText(each);
  const isRecord = isText(mountPoint) && isText(meta) && isOptionalText(dir) && isOptionalText(log);
  return isRecord ? (value as MountRecord) : undefined;
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return [];
    throw error;
  }
}
