/**
 * The one place where kinds of error become errno values (errno(3), numbers of Linux on x86-64 and arm64).
 * The mount answers the kernel with them; messages and JSON output name them.
 */
import type { ErrorKind } from "./errors.ts";

/** errno names and their numbers, as in asm-generic/errno-base.h and errno.h. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EAGAIN: 11,
  EACCES: 13,
  EEXIST: 17,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  EMLINK: 31,
  ERANGE: 34,
  EDEADLK: 35,
  ENAMETOOLONG: 36,
  ENOLCK: 37,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ENODATA: 61,
  EPROTO: 71,
  EOPNOTSUPP: 95,
  ETIMEDOUT: 110,
  ESTALE: 116,
} as const;

export type Errno = keyof typeof ERRNO;

const ERRNO_OF_KIND: Readonly<Record<ErrorKind, Errno>> = {
  internal: "EIO",
  protocol: "EPROTO",
  unauthorized: "EACCES",
  wrongCluster: "EPROTO",
  wrongPeer: "EPROTO",
  unsupported: "ENOSYS",
  unreachable: "ETIMEDOUT",
  timeout: "ETIMEDOUT",
  cancelled: "EINTR",
  busy: "EAGAIN",
  notFound: "ENOENT",
  exists: "EEXIST",
  notDirectory: "ENOTDIR",
  isDirectory: "EISDIR",
  notEmpty: "ENOTEMPTY",
  invalid: "EINVAL",
  nameTooLong: "ENAMETOOLONG",
  loop: "ELOOP",
  tooManyLinks: "EMLINK",
  notPermitted: "EPERM",
  accessDenied: "EACCES",
  noSpace: "ENOSPC",
  io: "EIO",
  stale: "ESTALE",
  fileTooBig: "EFBIG",
  noAttribute: "ENODATA",
  outOfRange: "ERANGE",
  readOnly: "EROFS",
  noBlock: "EIO",
  badChecksum: "EIO",
  quorum: "EIO",
  outcomeUnknown: "EIO",
  databaseOlder: "EIO",
  conflict: "ESTALE",
  locked: "EAGAIN",
  usage: "EINVAL",
  noData: "ENXIO",
  notSupported: "EOPNOTSUPP",
  wouldDeadlock: "EDEADLK",
  tooManyLocks: "ENOLCK",
};

/** The errno name that stands for `kind`. */
export function errnoOf(kind: ErrorKind): Errno {
  return ERRNO_OF_KIND[kind];
}
