/**
 * Errors of system calls in words.
 */
import { isDfsError, messageOf, systemCodeOf } from "../../base/errors.ts";

/** What the system's error codes mean, in the words of strerror(3). */
const SYSTEM_TEXT: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EBUSY: "in use",
  EDQUOT: "disk quota exceeded",
  EEXIST: "exists already",
  EFBIG: "file too large",
  EINVAL: "invalid argument",
  EIO: "input/output error",
  EISDIR: "is a directory",
  ELOOP: "symbolic link where none may be followed, or too many of them",
  EMFILE: "too many open files",
  EMLINK: "too many links",
  ENAMETOOLONG: "name too long",
  ENODEV: "no such device",
  ENOENT: "no such file or directory",
  ENOSPC: "no space left on the local disk",
  ENOTDIR: "not a directory",
  ENOTEMPTY: "directory not empty",
  ENOTSUP: "not supported",
  ENXIO: "no such device or address",
  EPERM: "operation not permitted",
  EPIPE: "nobody reads it",
  EROFS: "read-only file system",
  ETXTBSY: "in use as a program",
  EXDEV: "on another file system",
};

/** The reason part of an error: of a system call its meaning, else the first line of the message. */
export function reasonOf(error: unknown): string {
  const code = isDfsError(error) ? undefined : systemCodeOf(error);
  return (code === undefined ? undefined : SYSTEM_TEXT[code]) ?? messageOf(error);
}
