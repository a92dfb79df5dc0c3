/**
 * Unmounting: umount2(2) in a thread of its own, or `fusermount3 -u` for ordinary users.
 *
 * The thread matters: unmounting writes back pages and walks the path, which the process that serves the mount has to answer.
 */
import { constants } from "node:os";

import { DfsError } from "../../../base/errors.ts";
import { unmountByFusermount } from "./fusermount.ts";
import { errnoName, MNT_DETACH, MNT_FORCE } from "./libc.ts";
import type { UnmountOrder } from "./syscall-worker.ts";

export interface UnmountOptions {
  /** Whoever waits for an answer of the file system gets an error, and what is not written back is lost. */
  readonly force?: boolean;
  /** Takes the mount out of sight at once, and ends it when nobody uses it any more. */
  readonly lazy?: boolean;
}

async function umount2(order: UnmountOrder): Promise<number> {
  const worker = new Worker(new URL("./syscall-worker.ts", import.meta.url));
  try {
    return await new Promise<number>((resolve, reject) => {
      worker.onmessage = (event: MessageEvent<number>) => resolve(event.data);
      worker.onerror = (event) => reject(new DfsError("internal", event.message));
      worker.postMessage(order);
    });
  } finally {
    worker.terminate();
  }
}

async function attempt(path: string, options: UnmountOptions): Promise<number> {
  if (process.getuid?.() !== 0) {
    return unmountByFusermount(path, (options.lazy ?? false) || (options.force ?? false));
  }
  const lazy = options.lazy ? MNT_DETACH : 0;
  if (!options.force) return umount2({ path, flags: lazy });
  const result = await umount2({ path, flags: MNT_FORCE | lazy });
  // The connection is cut by now; somebody who still stands inside must not keep the mount point occupied.
  return result === -constants.errno.EBUSY ? umount2({ path, flags: MNT_DETACH }) : result;
}

/**
 * Unmounts what is mounted at this absolute path. For any process, not just the one that serves it.
 * @throws DfsError `busy` when it is in use (and neither `lazy` nor `force` is set), `notFound` when nothing is mounted there,
 * `accessDenied`.
 */
export async function unmountPath(path: string, options: UnmountOptions = {}): Promise<void> {
  const result = await attempt(path, options);
  if (result === 0) return;
  const { EBUSY, EINVAL, ENOENT } = constants.errno;
  if (result === -EBUSY) {
    throw new DfsError(
      "busy",
      `cannot unmount ${path}: it is in use. Close what is open there, or detach it with --lazy`,
    );
  }
  if (result === -EINVAL || result === -ENOENT) {
    throw new DfsError("notFound", `cannot unmount ${path}: nothing is mounted there`);
  }
  throw new DfsError("accessDenied", `cannot unmount ${path}: ${errnoName(result)}`);
}
