// System calls that node:fs lacks, for tests that check what programs see on a mount. Each throws a PosixError that carries
// the name of the errno. Linux on x86-64 and arm64.

import { dlopen, ptr, read, toArrayBuffer, type Pointer } from "bun:ffi";
import { constants } from "node:os";

import { ERRNO } from "../../../src/base/errno.ts";

const AT_FDCWD = -100;

const { symbols: libc } = dlopen("libc.so.6", {
  __errno_location: { args: [], returns: "ptr" },
  fallocate: { args: ["i32", "i32", "i64", "i64"], returns: "i32" },
  lseek: { args: ["i32", "i64", "i32"], returns: "i64" },
  copy_file_range: { args: ["i32", "ptr", "i32", "ptr", "u64", "u32"], returns: "i64" },
  flock: { args: ["i32", "i32"], returns: "i32" },
  fcntl: { args: ["i32", "i32", "ptr"], returns: "i32" },
  renameat2: { args: ["i32", "ptr", "i32", "ptr", "u32"], returns: "i32" },
  mknod: { args: ["ptr", "u32", "u64"], returns: "i32" },
  setxattr: { args: ["ptr", "ptr", "ptr", "u64", "i32"], returns: "i32" },
  getxattr: { args: ["ptr", "ptr", "ptr", "u64"], returns: "i64" },
  listxattr: { args: ["ptr", "ptr", "u64"], returns: "i64" },
  removexattr: { args: ["ptr", "ptr"], returns: "i32" },
  mmap: { args: ["ptr", "u64", "i32", "i32", "i32", "i64"], returns: "i64" },
  munmap: { args: ["ptr", "u64"], returns: "i32" },
  msync: { args: ["ptr", "u64", "i32"], returns: "i32" },
  ioctl: { args: ["i32", "u64", "ptr"], returns: "i32" },
});

/** Where two names have one number (EAGAIN and EWOULDBLOCK), the one that dfs knows. */
const NAMES = new Map(
  [...Object.entries(constants.errno), ...Object.entries(ERRNO)].map(([name, number]) => [
    number,
    name,
  ]),
);

export class PosixError extends Error {
  readonly code: string;

  constructor(call: string, errno: number) {
    const code = NAMES.get(errno) ?? `errno ${errno}`;
    super(`${call}: ${code}`);
    this.code = code;
  }
}

function checked(call: string, result: number | bigint): number {
  if (result >= 0) return Number(result);
  const location = libc.__errno_location();
  throw new PosixError(call, location === null ? 0 : read.i32(location, 0));
}

function cString(text: string | Uint8Array): Uint8Array {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  const out = new Uint8Array(new ArrayBuffer(bytes.length + 1));
  out.set(bytes);
  return out;
}

export const FALLOC_KEEP_SIZE = 1;
export const FALLOC_PUNCH_HOLE = 2;
export const FALLOC_ZERO_RANGE = 0x10;

export function fallocate(fd: number, mode: number, offset: number, length: number): void {
  checked("fallocate", libc.fallocate(fd, mode, offset, length));
}

export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;

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
  const address = ptr(offsets);
  const second = (address + 8) as Pointer;
  return checked(
    "copy_file_range",
    libc.copy_file_range(from.fd, address, to.fd, second, length, 0),
  );
}

export const LOCK_SH = 1;
export const LOCK_EX = 2;
export const LOCK_NB = 4;
export const LOCK_UN = 8;

export function flock(fd: number, operation: number): void {
  checked("flock", libc.flock(fd, operation));
}

const F_GETLK = 5;
const F_SETLK = 6;
const F_SETLKW = 7;
const TYPES = ["shared", "exclusive", "none"] as const;
export type LockType = (typeof TYPES)[number];

export interface Range {
  readonly type: LockType;
  readonly start: number;
  /** 0: up to the end. */
  readonly length: number;
  readonly pid?: number;
}

/** `struct flock`: i16 l_type, i16 l_whence, i64 l_start, i64 l_len, i32 l_pid. */
function lockStruct({ type, start, length }: Range): DataView {
  const view = new DataView(new ArrayBuffer(32));
  view.setInt16(0, TYPES.indexOf(type), true);
  view.setBigInt64(8, BigInt(start), true);
  view.setBigInt64(16, BigInt(length), true);
  return view;
}

export function setLock(fd: number, range: Range, wait = false): void {
  const view = lockStruct(range);
  checked("fcntl", libc.fcntl(fd, wait ? F_SETLKW : F_SETLK, ptr(view)));
}

/** The lock in the way; its type is `none` when there is none. */
export function getLock(fd: number, range: Range): Range {
  const view = lockStruct(range);
  checked("fcntl", libc.fcntl(fd, F_GETLK, ptr(view)));
  return {
    type: TYPES[view.getInt16(0, true)] ?? "none",
    start: Number(view.getBigInt64(8, true)),
    length: Number(view.getBigInt64(16, true)),
    pid: view.getInt32(24, true),
  };
}

export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;
export const RENAME_WHITEOUT = 4;

export function renameat2(from: string, to: string, flags: number): void {
  const result = libc.renameat2(AT_FDCWD, cString(from), AT_FDCWD, cString(to), flags);
  checked("renameat2", result);
}

export const S_IFIFO = 0o010000;
export const S_IFCHR = 0o020000;
export const S_IFBLK = 0o060000;
export const S_IFSOCK = 0o140000;

export function mknod(path: string, mode: number, device = 0): void {
  checked("mknod", libc.mknod(cString(path), mode, device));
}

export const XATTR_CREATE = 1;
export const XATTR_REPLACE = 2;

export function setxattr(path: string, name: string, value: Uint8Array, flags = 0): void {
  // An empty array has no address of its own.
  const bytes = value.length === 0 ? new Uint8Array(new ArrayBuffer(1)) : value;
  checked("setxattr", libc.setxattr(cString(path), cString(name), bytes, value.length, flags));
}

/** With room 0 only the size is asked for. */
export function getxattrSize(path: string, name: string): number {
  return checked("getxattr", libc.getxattr(cString(path), cString(name), null, 0));
}

export function getxattr(path: string, name: string, room = 65_536): Uint8Array {
  const out = new Uint8Array(new ArrayBuffer(room));
  const length = checked("getxattr", libc.getxattr(cString(path), cString(name), out, room));
  return out.subarray(0, length);
}

export function listxattr(path: string): string[] {
  const out = new Uint8Array(new ArrayBuffer(65_536));
  const length = checked("listxattr", libc.listxattr(cString(path), out, out.length));
  return new TextDecoder().decode(out.subarray(0, length)).split("\0").slice(0, -1);
}

export function removexattr(path: string, name: string): void {
  checked("removexattr", libc.removexattr(cString(path), cString(name)));
}

const PROT_READ_WRITE = 3;
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
  checked("ioctl", libc.ioctl(fd, command, new Uint8Array(new ArrayBuffer(64))));
}
