// System calls of Linux that Bun's file functions do not offer, or not with bytes, nanoseconds and exact errors: by FFI from
// libc. They block this thread: a mount that is called through them must be served by another process.

import { dlopen, read, type Pointer } from "bun:ffi";
import { constants } from "node:os";
import type { PathLike } from "../../conformance/tree.ts";

const { symbols: libc } = dlopen("libc.so.6", {
  __errno_location: { args: [], returns: "ptr" },
  symlink: { args: ["buffer", "buffer"], returns: "i32" },
  mknod: { args: ["buffer", "u32", "u64"], returns: "i32" },
  renameat2: { args: ["i32", "buffer", "i32", "buffer", "u32"], returns: "i32" },
  utimensat: { args: ["i32", "buffer", "buffer", "i32"], returns: "i32" },
  fchmodat: { args: ["i32", "buffer", "u32", "i32"], returns: "i32" },
  lchown: { args: ["buffer", "u32", "u32"], returns: "i32" },
  chown: { args: ["buffer", "u32", "u32"], returns: "i32" },
  truncate: { args: ["buffer", "i64"], returns: "i32" },
  getxattr: { args: ["buffer", "buffer", "buffer", "u64"], returns: "i64" },
  setxattr: { args: ["buffer", "buffer", "buffer", "u64", "i32"], returns: "i32" },
  listxattr: { args: ["buffer", "buffer", "u64"], returns: "i64" },
  removexattr: { args: ["buffer", "buffer"], returns: "i32" },
  fallocate: { args: ["i32", "i32", "i64", "i64"], returns: "i32" },
  lseek: { args: ["i32", "i64", "i32"], returns: "i64" },
  flock: { args: ["i32", "i32"], returns: "i32" },
  fcntl: { args: ["i32", "i32", "buffer"], returns: "i32" },
  mount: { args: ["buffer", "buffer", "buffer", "u64", "buffer"], returns: "i32" },
  umount2: { args: ["buffer", "i32"], returns: "i32" },
});

const AT_FDCWD = -100; // fcntl.h
const AT_SYMLINK_NOFOLLOW = 0x100;
const UTIME_NOW = 0x3fffffffn; // sys/stat.h
const UTIME_OMIT = 0x3ffffffen;
const NS = 1_000_000_000n;
const MOST_XATTR_BYTES = 65_536; // linux/limits.h

/** Where a number has two names, the one that Bun's own errors have. */
const CODES = new Map(
  Object.entries(constants.errno)
    .filter(([name]) => name !== "EWOULDBLOCK" && name !== "ENOTSUP")
    .map(([name, number]) => [number, name]),
);

/** A system call failed: `code` is the name of its errno, as in Bun's own errors. */
export class SystemError extends Error {
  readonly code: string;

  constructor(code: string, call: string) {
    super(`${code}: ${call}`);
    this.code = code;
  }
}

/** The bytes of a path with the zero behind it. A zero inside cannot be passed on: such a path is invalid. */
export function cString(path: PathLike): Buffer {
  const bytes = Buffer.from(path as Uint8Array);
  if (bytes.includes(0)) throw new SystemError("EINVAL", "a zero byte in a path");
  return Buffer.concat([bytes, Buffer.alloc(1)]);
}

function checked(call: string, result: number | bigint): number {
  if (result !== -1 && result !== -1n) return Number(result);
  const errno = read.i32(libc.__errno_location() as Pointer, 0);
  throw new SystemError(CODES.get(errno) ?? `errno ${errno}`, call);
}

export function symlink(target: PathLike, path: PathLike): void {
  checked("symlink", libc.symlink(cString(target), cString(path)));
}

export function mknod(path: PathLike, mode: number, rdev: number): void {
  checked("mknod", libc.mknod(cString(path), mode, rdev));
}

export function rename(from: PathLike, to: PathLike, flags: number): void {
  const result = libc.renameat2(AT_FDCWD, cString(from), AT_FDCWD, cString(to), flags);
  checked("renameat2", result);
}

export function truncate(path: PathLike, size: number): void {
  checked("truncate", libc.truncate(cString(path), size));
}

export function chmod(path: PathLike, mode: number, follow: boolean): void {
  const flags = follow ? 0 : AT_SYMLINK_NOFOLLOW;
  checked("fchmodat", libc.fchmodat(AT_FDCWD, cString(path), mode, flags));
}

/** An id that is left out stays. */
export function chown(
  path: PathLike,
  { uid = 0xffff_ffff, gid = 0xffff_ffff }: { readonly uid?: number; readonly gid?: number },
  follow: boolean,
): void {
  const name = cString(path);
  checked("chown", follow ? libc.chown(name, uid, gid) : libc.lchown(name, uid, gid));
}

/** A time that is left out stays. */
export function setTimes(
  path: PathLike,
  atimeNs: bigint | "now" | undefined,
  mtimeNs: bigint | "now" | undefined,
  follow: boolean,
): void {
  const times = new BigInt64Array([...timespec(atimeNs), ...timespec(mtimeNs)]);
  const flags = follow ? 0 : AT_SYMLINK_NOFOLLOW;
  const bytes = new Uint8Array(times.buffer);
  checked("utimensat", libc.utimensat(AT_FDCWD, cString(path), bytes, flags));
}

function timespec(time: bigint | "now" | undefined): [bigint, bigint] {
  if (time === undefined) return [0n, UTIME_OMIT];
  if (time === "now") return [0n, UTIME_NOW];
  const nanoseconds = ((time % NS) + NS) % NS;
  return [(time - nanoseconds) / NS, nanoseconds];
}

export function xattrGet(path: PathLike, name: PathLike): Uint8Array {
  const value = Buffer.alloc(MOST_XATTR_BYTES);
  const length = libc.getxattr(cString(path), cString(name), value, value.length);
  return new Uint8Array(value.subarray(0, checked("getxattr", length)));
}

/** `flags`: 0, XATTR_CREATE (1) or XATTR_REPLACE (2). */
export function xattrSet(path: PathLike, name: PathLike, value: Uint8Array, flags: number): void {
  const bytes = Buffer.concat([value, Buffer.alloc(1)]); // an empty one would be no pointer
  checked("setxattr", libc.setxattr(cString(path), cString(name), bytes, value.length, flags));
}

export function xattrList(path: PathLike): Uint8Array[] {
  const buffer = Buffer.alloc(MOST_XATTR_BYTES);
  const length = checked("listxattr", libc.listxattr(cString(path), buffer, buffer.length));
  const names: Uint8Array[] = [];
  for (let start = 0; start < length;) {
    const end = buffer.indexOf(0, start);
    names.push(new Uint8Array(buffer.subarray(start, end)));
    start = end + 1;
  }
  return names;
}

export function xattrRemove(path: PathLike, name: PathLike): void {
  checked("removexattr", libc.removexattr(cString(path), cString(name)));
}

/** `mode`: 0, or FALLOC_FL_* of linux/falloc.h. */
export function fallocate(fd: number, mode: number, offset: number, length: number): void {
  checked("fallocate", libc.fallocate(fd, mode, offset, length));
}

/** `whence`: SEEK_DATA (3), SEEK_HOLE (4) and the others of unistd.h. */
export function lseek(fd: number, offset: number, whence: number): number {
  return checked("lseek", libc.lseek(fd, offset, whence));
}

const FLOCK = { shared: 1, exclusive: 2, none: 8 } as const; // sys/file.h
const LOCK_NB = 4;

/** Takes a lock of flock(2), or gives it up. @throws SystemError EAGAIN when it is taken. */
export function flock(fd: number, type: keyof typeof FLOCK): void {
  checked("flock", libc.flock(fd, FLOCK[type] | LOCK_NB));
}

const F_SETLK = 6; // asm-generic/fcntl.h
const F_OFD_SETLK = 37;
const RECORD_LOCK = { shared: 0, exclusive: 1, none: 2 } as const;

/** Takes a lock of fcntl(2) on bytes from `start`, or gives it up. @throws SystemError EAGAIN when it is taken. */
export function lockRange(
  fd: number,
  type: keyof typeof RECORD_LOCK,
  start: number,
  length: number,
  owner: "process" | "open file" = "process",
): void {
  const lock = Buffer.alloc(32); // struct flock: short, short, (4 bytes), off_t, off_t, pid_t
  lock.writeInt16LE(RECORD_LOCK[type], 0);
  lock.writeBigInt64LE(BigInt(start), 8);
  lock.writeBigInt64LE(BigInt(length), 16);
  checked("fcntl", libc.fcntl(fd, owner === "process" ? F_SETLK : F_OFD_SETLK, lock));
}

export function mount(source: string, target: string, type: string, data: string): void {
  const strings = [source, target, type].map(cString) as [Buffer, Buffer, Buffer];
  checked("mount", libc.mount(...strings, 0, cString(data)));
}

export function detach(target: string): void {
  checked("umount2", libc.umount2(cString(target), 2));
}
