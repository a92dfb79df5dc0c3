/**
 * Taking a mount out of the tree: umount2(2) in a thread of its own, or `fusermount3 -u` for ordinary users. Nothing here looks into
 * the mount.
 */
import { constants } from "node:os";
import { DfsError } from "../errors.ts";
import { runFusermount } from "./fusermount.ts";
import type { UmountOrder } from "./umount-worker.ts";

const MNT_FORCE = 1; // sys/mount.h
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;

export interface UnmountOptions {
  /**
   * Whoever waits for an answer of the file system gets an error, and what is not written back is lost. Only root can make the
   * kernel do that; by an ordinary user it is as `lazy`.
   */
  readonly force?: boolean;
  /** Takes the mount out of sight at once, and ends it when nobody uses it any more. */
  readonly lazy?: boolean;
}

export interface UnmountOutcome {
  /** 0, or why not. fusermount3 tells in words: of those EBUSY, EPERM and EINVAL are known, EIO is everything else. */
  readonly errno: number;
  /** What fusermount3 said. */
  readonly complaint: string;
}

/**
 * Unmounts what is mounted at this absolute path without links. For any process, also the one that serves it.
 * @throws DfsError `notSupported` when an ordinary user has no fusermount3.
 */
export async function unmountAt(
  path: string,
  { force = false, lazy = false }: UnmountOptions,
): Promise<UnmountOutcome> {
  if (process.getuid?.() !== 0) return byFusermount(path, lazy || force);
  // By force it is detached as well: somebody who still stands inside must not keep the mount point occupied.
  const flags = (force ? MNT_FORCE | MNT_DETACH : lazy ? MNT_DETACH : 0) | UMOUNT_NOFOLLOW;
  return { errno: await umount2({ path, flags }), complaint: "" };
}

async function umount2(order: UmountOrder): Promise<number> {
  const worker = new Worker(new URL("./umount-worker.ts", import.meta.url));
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  worker.onmessage = ({ data }: MessageEvent<number>) => resolve(data);
  worker.onerror = (event) => reject(new DfsError("internal", `umount2: ${event.message}`));
  worker.postMessage(order);
  try {
    return await promise;
  } finally {
    worker.terminate();
  }
}

async function byFusermount(path: string, lazy: boolean): Promise<UnmountOutcome> {
  const args = ["-u", ...(lazy ? ["-z"] : []), "--", path];
  const { exitCode, complaint } = await runFusermount(args);
  return { errno: exitCode === 0 ? 0 : errnoIn(complaint), complaint };
}

function errnoIn(complaint: string): number {
  const { EBUSY, EPERM, EINVAL, EIO } = constants.errno;
  if (/busy/i.test(complaint)) return EBUSY;
  if (/not found in|not mounted|invalid argument/i.test(complaint)) return EINVAL;
  return /permitted|permission/i.test(complaint) ? EPERM : EIO;
}
