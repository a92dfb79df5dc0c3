/**
 * Unmounting, with errors in words.
 */
import { constants } from "node:os";

import { DfsError } from "../../../base/errors.ts";
import { unmountAt, type UnmountOptions } from "../../../base/mounts/unmount.ts";
import { errnoName } from "./libc.ts";

/**
 * Unmounts what is mounted at this absolute path. For any process, not just the one that serves it.
 * @throws DfsError `busy` when it is in use (and neither `lazy` nor `force` is set), `notFound` when nothing is mounted there,
 * `accessDenied`.
 */
export async function unmountPath(path: string, options: UnmountOptions = {}): Promise<void> {
  const { errno, complaint } = await unmountAt(path, options);
  if (errno === 0) return;
  const { EBUSY, EINVAL, ENOENT } = constants.errno;
  if (errno === EBUSY) {
    throw new DfsError(
      "busy",
      `cannot unmount ${path}: it is in use. Close what is open there, or detach it with --lazy`,
    );
  }
  if (errno === EINVAL || errno === ENOENT) {
    throw new DfsError("notFound", `cannot unmount ${path}: nothing is mounted there`);
  }
  throw new DfsError("accessDenied", `cannot unmount ${path}: ${complaint || errnoName(errno)}`);
}
