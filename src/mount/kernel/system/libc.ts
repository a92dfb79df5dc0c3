/**
 * The system calls that neither Bun nor Node has, from the C library through bun:ffi.
 *
 * `cc` of bun:ffi would make a shim that reads errno safely, but it needs the development files of the C library (seen with
 * Bun 1.4.5: "library 'c' not found" on a machine without them). So the library is loaded as it is, and errno is read right
 * after the call: nothing of ours runs in between, and it belongs to the thread.
 *
 * Every function answers like the system call, but with the negative errno instead of -1.
 */
import { dlopen, read, type Pointer } from "bun:ffi";
import { constants } from "node:os";

import { ERRNO } from "../../../base/errno.ts";
import { DfsError, messageOf } from "../../../base/errors.ts";

/** The C library of glibc, and of musl, which names it after the machine. */
const LIBRARIES = ["libc.so.6", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1"];

const SYMBOLS = {
  __errno_location: { args: [], returns: "ptr" },
  read: { args: ["i32", "ptr", "u64"], returns: "i32" },
  write: { args: ["i32", "ptr", "u64"], returns: "i32" },
  writev: { args: ["i32", "ptr", "i32"], returns: "i32" },
  epoll_create1: { args: ["i32"], returns: "i32" },
  epoll_ctl: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
  epoll_wait: { args: ["i32", "ptr", "i32", "i32"], returns: "i32" },
  mount: { args: ["ptr", "ptr", "ptr", "u64", "ptr"], returns: "i32" },
  umount2: { args: ["ptr", "i32"], returns: "i32" },
  socketpair: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
  recvmsg: { args: ["i32", "ptr", "i32"], returns: "i32" },
  fcntl: { args: ["i32", "i32", "i32"], returns: "i32" },
  eventfd: { args: ["u32", "i32"], returns: "i32" },
} as const;

function load() {
  const failures: string[] = [];
  for (const name of LIBRARIES) {
    try {
      return dlopen(name, SYMBOLS).symbols;
    } catch (error) {
      failures.push(`${name}: ${messageOf(error)}`);
    }
  }
  throw new DfsError(
    "unsupported",
    `cannot make system calls: no C library could be loaded (${failures.join("; ")})`,
  );
}

const libc = load();
/** The same address for the whole life of this thread. */
const errnoAddress = libc.__errno_location();

function result(value: number): number {
  if (value >= 0) return value;
  if (errnoAddress === null) return -constants.errno.EIO;
  return -read.i32(errnoAddress, 0);
}

/** Where two names have one number (EAGAIN and EWOULDBLOCK), the one that dfs knows. */
const ERRNO_NAMES: ReadonlyMap<number, string> = new Map(
  [...Object.entries(constants.errno), ...Object.entries(ERRNO)].map(([name, number]) => [
    number,
    name,
  ]),
);

/** `ENOENT` and the like for an errno, negative or not. */
export function errnoName(errno: number): string {
  return ERRNO_NAMES.get(Math.abs(errno)) ?? `errno ${Math.abs(errno)}`;
}

/** A string as C wants it. @throws DfsError `invalid` when there is a NUL in it. */
export function cString(text: string): Uint8Array {
  if (text.includes("\0")) {
    throw new DfsError("invalid", `cannot pass ${JSON.stringify(text)} to the system: NUL in it`);
  }
  return new TextEncoder().encode(`${text}\0`);
}

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;

export const sys = {
  read: (fd: number, address: Pointer, length: number): number =>
    result(libc.read(fd, address, length)),
  write: (fd: number, address: Pointer, length: number): number =>
    result(libc.write(fd, address, length)),
  writev: (fd: number, vectors: Pointer, count: number): number =>
    result(libc.writev(fd, vectors, count)),
  epollCreate: (): number => result(libc.epoll_create1(EPOLL_CLOEXEC)),
  epollAdd: (epoll: number, fd: number, event: Pointer): number =>
    result(libc.epoll_ctl(epoll, EPOLL_CTL_ADD, fd, event)),
  epollWait: (epoll: number, events: Pointer, count: number, timeoutMs: number): number =>
    result(libc.epoll_wait(epoll, events, count, timeoutMs)),
  mount: (
    source: Uint8Array,
    target: Uint8Array,
    type: Uint8Array,
    flags: number,
    data: Uint8Array,
  ): number => result(libc.mount(source, target, type, flags, data)),
  umount2: (target: Uint8Array, flags: number): number => result(libc.umount2(target, flags)),
  socketpair: (domain: number, type: number, protocol: number, pair: Int32Array): number =>
    result(libc.socketpair(domain, type, protocol, pair)),
  recvmsg: (fd: number, message: Pointer, flags: number): number =>
    result(libc.recvmsg(fd, message, flags)),
  fcntl: (fd: number, command: number, argument: number): number =>
    result(libc.fcntl(fd, command, argument)),
  eventfd: (initial: number, flags: number): number => result(libc.eventfd(initial, flags)),
} as const;

// Linux on x86-64 and arm64.
export const F_DUPFD_CLOEXEC = 1030;
export const F_GETFL = 3;
export const F_SETFL = 4;
export const O_NONBLOCK = 0o4000;
export const EPOLLIN = 1;
/** Tells of each arrival once, instead of as long as there is something. */
export const EPOLLET = 2 ** 31;
export const EFD_CLOEXEC = 0o2000000;
export const AF_UNIX = 1;
export const SOCK_STREAM = 1;
export const SOCK_CLOEXEC = 0o2000000;
export const MSG_DONTWAIT = 0x40;
export const MSG_CMSG_CLOEXEC = 0x40000000;
export const MS_RDONLY = 1;
export const MS_NOSUID = 2;
export const MS_NODEV = 4;
export const MS_NOEXEC = 8;
export const MS_NOATIME = 1024;
export const MS_RELATIME = 1 << 21;
export const MS_STRICTATIME = 1 << 24;
export const MNT_FORCE = 1;
export const MNT_DETACH = 2;
