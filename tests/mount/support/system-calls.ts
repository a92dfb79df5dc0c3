// System calls of Linux that Bun's file functions do not offer, or not with bytes, nanoseconds and exact errors: by FFI from
// libc, on x86-64 and arm64. They block this thread: a mount that is called through them must be served by another process.

import { dlopen, ptr, read, toArrayBuffer, type Pointer } from "bun:ffi";
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
  close: { args: ["i32"], returns: "i32" },
  lseek: { args: ["i32", "i64", "i32"], returns: "i64" },
  copy_file_range: { args: ["i32", "ptr", "i32", "ptr", "u64", "u32"], returns: "i64" },
  mmap: { args: ["ptr", "u64", "i32", "i32", "i32", "i64"], returns: "i64" },
  munmap: { args: ["ptr", "u64"], returns: "i32" },
  msync: { args: ["ptr", "u64", "i32"], returns: "i32" },
  ioctl: { args: ["i32", "u64", "buffer"], returns: "i32" },
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

export const S_IFIFO = 0o010000; // sys/stat.h
export const S_IFCHR = 0o020000;
export const S_IFBLK = 0o060000;
export const S_IFSOCK = 0o140000;

export function mknod(path: PathLike, mode: number, rdev = 0): void {
  checked("mknod", libc.mknod(cString(path), mode, rdev));
}

export const RENAME_NOREPLACE = 1; // linux/fs.h
export const RENAME_EXCHANGE = 2;
export const RENAME_WHITEOUT = 4;

/** `flags`: 0, or RENAME_*. */
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

export function xattrGet(path: PathLike, name: PathLike, room = MOST_XATTR_BYTES): Uint8Array {
  const value = Buffer.alloc(room);
  const length = libc.getxattr(cString(path), cString(name), value, value.length);
  return new Uint8Array(value.subarray(0, checked("getxattr", length)));
}

/** Without room for the value only its size is asked for. */
export function xattrSize(path: PathLike, name: PathLike): number {
  return checked("getxattr", libc.getxattr(cString(path), cString(name), Buffer.alloc(1), 0));
}

export const XATTR_CREATE = 1; // linux/xattr.h
export const XATTR_REPLACE = 2;

/** `flags`: 0, or XATTR_*. */
export function xattrSet(path: PathLike, name: PathLike, value: Uint8Array, flags = 0): void {
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

export const FALLOC_KEEP_SIZE = 1; // linux/falloc.h
export const FALLOC_PUNCH_HOLE = 2;
export const FALLOC_ZERO_RANGE = 0x10;

/** `mode`: 0, or FALLOC_*. */
export function fallocate(fd: number, mode: number, offset: number, length: number): void {
  checked("fallocate", libc.fallocate(fd, mode, offset, length));
}

/** Bun's `closeSync` tells of no error. */
export function close(fd: number): void {
  checked("close", libc.close(fd));
}

export const SEEK_DATA = 3; // unistd.h
export const SEEK_HOLE = 4;

/** `whence`: SEEK_*. */
export function lseek(fd: number, offset: number, whence: number): number {
  return checked("lseek", libc.lseek(fd, offset, whence));
}

/** Copies from and to the given offsets; returns how many bytes. */
export function copyFileRange(
  from: { readonly fd: number; readonly offset: number },
  to: { readonly fd: number; readonly offset: number },
  length: number,
): number {
  const offsets = new BigInt64Array([BigInt(from.offset), BigInt(to.offset)]);
  const first = ptr(offsets);
  const second = (first + 8) as Pointer;
  const copied = libc.copy_file_range(from.fd, first, to.fd, second, length, 0);
  return checked("copy_file_range", copied);
}

export type LockType = "shared" | "exclusive" | "none";

const FLOCK = { shared: 1, exclusive: 2, none: 8 } as const; // sys/file.h
const LOCK_NB = 4;

/** Takes a lock of flock(2), or gives it up. @throws SystemError EAGAIN when it is taken, unless it waits. */
export function flock(fd: number, type: LockType, wait = false): void {
  checked("flock", libc.flock(fd, FLOCK[type] | (wait ? 0 : LOCK_NB)));
}

const F_GETLK = 5; // asm-generic/fcntl.h
const F_SETLK = 6;
const F_SETLKW = 7;
const F_OFD_SETLK = 37;
const RECORD_LOCKS: readonly LockType[] = ["shared", "exclusive", "none"];

export interface LockedRange {
  readonly type: LockType;
  readonly start: number;
  /** 0: up to the end. */
  readonly length: number;
  readonly pid?: number;
}

/** `struct flock`: i16 l_type, i16 l_whence, 4 bytes, i64 l_start, i64 l_len, i32 l_pid. */
function lockStruct({ type, start, length }: LockedRange): Buffer {
  const lock = Buffer.alloc(32);
  lock.writeInt16LE(RECORD_LOCKS.indexOf(type), 0);
  lock.writeBigInt64LE(BigInt(start), 8);
  lock.writeBigInt64LE(BigInt(length), 16);
  return lock;
}

/** Takes a lock of fcntl(2), or gives it up. @throws SystemError EAGAIN when it is taken, unless it waits. */
export function setLock(
  fd: number,
  range: LockedRange,
  how: { readonly wait?: boolean; readonly owner?: "process" | "open file" } = {},
): void {
  const command = how.owner === "open file" ? F_OFD_SETLK : F_SETLK;
  checked("fcntl", libc.fcntl(fd, how.wait === true ? F_SETLKW : command, lockStruct(range)));
}

/** The lock in the way; its type is `none` when there is none. */
export function getLock(fd: number, range: LockedRange): LockedRange {
  const lock = lockStruct(range);
  checked("fcntl", libc.fcntl(fd, F_GETLK, lock));
  return {
    type: RECORD_LOCKS[lock.readInt16LE(0)] ?? "none",
    start: Number(lock.readBigInt64LE(8)),
    length: Number(lock.readBigInt64LE(16)),
    pid: lock.readInt32LE(24),
  };
}

const PROT_READ_WRITE = 3; // sys/mman.h
const MAP_SHARED = 1;
const MS_SYNC = 4;

/** A shared mapping of a whole file; `close` writes it back first. */
export function mapShared(fd: number, length: number): { bytes: Uint8Array; close: () => void } {
  const address = checked("mmap", libc.mmap(null, length, PROT_READ_WRITE, MAP_SHARED, fd, 0));
  const pointer = address as Pointer;
  return {
    bytes: new Uint8Array(toArrayBuffer(pointer, 0, length)),
    close: () => {
      checked("msync", libc.msync(pointer, length, MS_SYNC));
      checked("munmap", libc.munmap(pointer, length));
    },
  };
}

export function ioctl(fd: number, command: number): void {
  checked("ioctl", libc.ioctl(fd, command, Buffer.alloc(64)));
}

export function mount(source: string, target: string, type: string, data: string): void {
  const strings = [source, target, type].map(cString) as [Buffer, Buffer, Buffer];
  checked("mount", libc.mount(...strings, 0, cString(data)));
}

export function detach(target: string): void {
  checked("umount2", libc.umount2(cString(target), 2));
}
