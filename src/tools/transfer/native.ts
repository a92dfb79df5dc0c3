/**
 * The few system calls that copying trees needs and Bun does not offer: times in nanoseconds, special files, extended
 * attributes, where a sparse file has data, and a name for a file that has none. Linux, through bun:ffi. Paths are bytes.
 *
 * All of them act on symbolic links themselves, not on what a link leads to, unless they are told to follow them.
 */
import { dlopen, read } from "bun:ffi";

const AT_FDCWD = -100; // fcntl.h
const AT_SYMLINK_NOFOLLOW = 0x100; // fcntl.h
const AT_SYMLINK_FOLLOW = 0x400; // fcntl.h
const SEEK_DATA = 3; // unistd.h
const SEEK_HOLE = 4; // unistd.h
const NS_PER_S = 1_000_000_000n;

/** errno values that are met here; asm-generic/errno-base.h, errno.h. */
const ERRNO_NAMES: Readonly<Record<number, string>> = {
  1: "EPERM",
  2: "ENOENT",
  5: "EIO",
  6: "ENXIO",
  7: "E2BIG",
  12: "ENOMEM",
  13: "EACCES",
  17: "EEXIST",
  18: "EXDEV",
  20: "ENOTDIR",
  22: "EINVAL",
  28: "ENOSPC",
  30: "EROFS",
  31: "EMLINK",
  34: "ERANGE",
  36: "ENAMETOOLONG",
  40: "ELOOP",
  61: "ENODATA",
  95: "ENOTSUP",
  122: "EDQUOT",
};

const SYMBOLS = {
  __errno_location: { args: [], returns: "ptr" },
  utimensat: { args: ["i32", "ptr", "ptr", "i32"], returns: "i32" },
  mknod: { args: ["ptr", "u32", "u64"], returns: "i32" },
  linkat: { args: ["i32", "ptr", "i32", "ptr", "i32"], returns: "i32" },
  lseek: { args: ["i32", "i64", "i32"], returns: "i64" },
  llistxattr: { args: ["ptr", "ptr", "u64"], returns: "i64" },
  lgetxattr: { args: ["ptr", "ptr", "ptr", "u64"], returns: "i64" },
  lsetxattr: { args: ["ptr", "ptr", "ptr", "u64", "i32"], returns: "i32" },
  setxattr: { args: ["ptr", "ptr", "ptr", "u64", "i32"], returns: "i32" },
  lremovexattr: { args: ["ptr", "ptr"], returns: "i32" },
} as const;

type Library = ReturnType<typeof open>;

let library: Library | undefined;

function open() {
  return dlopen("libc.so.6", SYMBOLS).symbols;
}

function libc(): Library {
  library ??= open();
  return library;
}

/** A system call's failure, with `code` as node:fs has it. */
class SystemError extends Error {
  readonly code: string;
  readonly syscall: string;

  constructor(syscall: string) {
    const location = libc().__errno_location();
    const errno = location === null ? 0 : read.i32(location, 0);
    const code = ERRNO_NAMES[errno] ?? `errno ${errno}`;
    super(`${code}: ${syscall}`);
    this.code = code;
    this.syscall = syscall;
  }
}

/** Times of a file, in nanoseconds since the epoch. */
export interface FileTimes {
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
}

/** Sets both times of `path`; of a symbolic link its own, unless `follow`. @throws SystemError */
export function setTimes(path: Uint8Array, times: FileTimes, follow = false): void {
  const spec = new BigInt64Array(4);
  [times.atimeNs, times.mtimeNs].forEach((ns, index) => {
    const rest = ((ns % NS_PER_S) + NS_PER_S) % NS_PER_S;
    spec[2 * index] = (ns - rest) / NS_PER_S;
    spec[2 * index + 1] = rest;
  });
  const flags = follow ? 0 : AT_SYMLINK_NOFOLLOW;
  if (libc().utimensat(AT_FDCWD, terminated(path), spec, flags) !== 0) {
    throw new SystemError("utimensat");
  }
}

/** Makes a fifo, socket or device; `mode` has the type bits of stat.h. @throws SystemError */
export function makeNode(path: Uint8Array, mode: number, rdev: bigint): void {
  if (libc().mknod(terminated(path), mode, rdev) !== 0) throw new SystemError("mknod");
}

/** Gives an open file, also one without a name, the name `path`, which nothing may have yet. @throws SystemError */
export function linkDescriptor(descriptor: number, path: Uint8Array): void {
  const file = terminated(Buffer.from(`/proc/self/fd/${descriptor}`));
  const result = libc().linkat(AT_FDCWD, file, AT_FDCWD, terminated(path), AT_SYMLINK_FOLLOW);
  if (result !== 0) throw new SystemError("linkat");
}

/**
 * The next run of data at or after `offset`: where it begins and where the hole behind it does. Undefined when there is
 * only a hole up to the end. File systems without holes call everything data.
 * @throws SystemError
 */
export function nextData(
  descriptor: number,
  offset: number,
): { start: number; end: number } | undefined {
  const start = Number(libc().lseek(descriptor, offset, SEEK_DATA));
  if (start < 0) {
    const error = new SystemError("lseek");
    if (error.code === "ENXIO") return undefined;
    throw error;
  }
  const end = Number(libc().lseek(descriptor, start, SEEK_HOLE));
  if (end < 0) throw new SystemError("lseek");
  return { start, end };
}

/** Names of the extended attributes of `path`; none where the file system has no such thing. @throws SystemError */
export function listAttributes(path: Uint8Array): Buffer[] {
  const names = sized("llistxattr", (buffer, size) =>
    Number(libc().llistxattr(terminated(path), buffer, size)),
  );
  const list: Buffer[] = [];
  for (let start = 0; start < names.length;) {
    const end = names.indexOf(0, start);
    list.push(names.subarray(start, end < 0 ? names.length : end));
    start = end < 0 ? names.length : end + 1;
  }
  return list;
}

/** The value of one extended attribute. @throws SystemError */
export function getAttribute(path: Uint8Array, name: Uint8Array): Buffer {
  return sized("lgetxattr", (buffer, size) =>
    Number(libc().lgetxattr(terminated(path), terminated(name), buffer, size)),
  );
}

/** Sets an extended attribute, whether it exists or not. @throws SystemError */
export function setAttribute(
  path: Uint8Array,
  name: Uint8Array,
  value: Uint8Array,
  follow = false,
): void {
  // A pointer to nothing is refused, also where the length is 0.
  const bytes = value.length === 0 ? new Uint8Array(1) : value;
  const set = follow ? libc().setxattr : libc().lsetxattr;
  const result = set(terminated(path), terminated(name), bytes, value.length, 0);
  if (result !== 0) throw new SystemError("setxattr");
}

/** Removes an extended attribute. @throws SystemError */
export function removeAttribute(path: Uint8Array, name: Uint8Array): void {
  const result = libc().lremovexattr(terminated(path), terminated(name));
  if (result !== 0) throw new SystemError("lremovexattr");
}

/** Calls once for the size and once for the bytes; again when they grew in between. */
function sized(syscall: string, call: (buffer: Uint8Array | null, size: number) => number): Buffer {
  for (;;) {
    const size = call(null, 0);
    if (size === 0) return Buffer.alloc(0);
    const buffer = Buffer.alloc(Math.max(size, 1));
    const got = size < 0 ? size : call(buffer, buffer.length);
    if (got >= 0) return buffer.subarray(0, got);
    const error = new SystemError(syscall);
    if (error.code === "ENOTSUP") return Buffer.alloc(0);
    if (error.code !== "ERANGE") throw error;
  }
}

function terminated(bytes: Uint8Array): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(1)]);
}
