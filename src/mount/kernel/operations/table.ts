/**
 * Which handler carries out which request.
 *
 * What is not in the table is answered with ENOSYS, and the kernel does not ask again:
 *   ACCESS       the kernel checks permissions itself (default_permissions)
 *   POLL         files are always ready
 *   BMAP         there is no block device below
 *   TMPFILE      open(2) with O_TMPFILE gives EOPNOTSUPP, and programs make a file with a name instead
 *   SYNCFS       is not sent to servers in user space
 *   STATX        the kernel falls back to GETATTR; there is no time of birth
 *   NOTIFY_REPLY answers a notice that is never sent
 */
import { OPCODE } from "../protocol/constants.ts";
import { notATerminal } from "../protocol/refusal.ts";
import { getattr, setattr, statfs } from "./attributes.ts";
import type { Handler } from "./context.ts";
import { fsyncdir, opendir, readdir, readdirplus, releasedir } from "./directories.ts";
import { create, flush, fsync, open, read, release, write } from "./files.ts";
import { getlk, setlk, setlkw } from "./locks.ts";
import {
  batchForget,
  forget,
  link,
  lookup,
  mkdir,
  mknod,
  readlink,
  rename,
  rename2,
  rmdir,
  symlink,
  unlink,
} from "./names.ts";
import { copyFileRange, fallocate, lseek } from "./ranges.ts";
import { getxattr, listxattr, removexattr, setxattr } from "./xattrs.ts";

/** ENOTTY each time, as local file systems do for an ioctl that they do not know; ENOSYS would say that of all of them. */
const ioctl: Handler = () => Promise.reject(notATerminal());

export const HANDLERS: ReadonlyMap<number, Handler> = new Map<number, Handler>([
  [OPCODE.LOOKUP, lookup],
  [OPCODE.FORGET, forget],
  [OPCODE.BATCH_FORGET, batchForget],
  [OPCODE.GETATTR, getattr],
  [OPCODE.SETATTR, setattr],
  [OPCODE.READLINK, readlink],
  [OPCODE.SYMLINK, symlink],
  [OPCODE.MKNOD, mknod],
  [OPCODE.MKDIR, mkdir],
  [OPCODE.UNLINK, unlink],
  [OPCODE.RMDIR, rmdir],
  [OPCODE.RENAME, rename],
  [OPCODE.RENAME2, rename2],
  [OPCODE.LINK, link],
  [OPCODE.OPEN, open],
  [OPCODE.CREATE, create],
  [OPCODE.READ, read],
  [OPCODE.WRITE, write],
  [OPCODE.FLUSH, flush],
  [OPCODE.FSYNC, fsync],
  [OPCODE.RELEASE, release],
  [OPCODE.STATFS, statfs],
  [OPCODE.SETXATTR, setxattr],
  [OPCODE.GETXATTR, getxattr],
  [OPCODE.LISTXATTR, listxattr],
  [OPCODE.REMOVEXATTR, removexattr],
  [OPCODE.OPENDIR, opendir],
  [OPCODE.READDIR, readdir],
  [OPCODE.READDIRPLUS, readdirplus],
  [OPCODE.RELEASEDIR, releasedir],
  [OPCODE.FSYNCDIR, fsyncdir],
  [OPCODE.GETLK, getlk],
  [OPCODE.SETLK, setlk],
  [OPCODE.SETLKW, setlkw],
  [OPCODE.FALLOCATE, fallocate],
  [OPCODE.LSEEK, lseek],
  [OPCODE.COPY_FILE_RANGE, copyFileRange],
  [OPCODE.IOCTL, ioctl],
]);
