/**
 * The system calls of the driver. Every function answers like the system call, but with the negative errno instead of -1.
 */
import type { Pointer } from "bun:ffi";
import { constants } from "node:os";

import { ERRNO } from "../../../base/errno.ts";
import { DfsError } from "../../../base/errors.ts";
import { loadLibc, resultOf as result } from "../../../base/libc.ts";

const libc = loadLibc({
  read: { args: ["i32", "ptr", "u64"], returns: "i32" },
  write: { args: ["i32", "ptr", "u64"], returns: "i32" },
  writev: { args: ["i32", "ptr", "i32"], returns: "i32" },
  epoll_create1: { args: ["i32"], returns: "i32" },
  epoll_ctl: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
  epoll_wait: { args: ["i32", "ptr", "i32", "i32"], returns: "i32" },
  mount: { args: ["ptr", "ptr", "ptr", "u64", "ptr"], returns: "i32" },
  socketpair: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
  recvmsg: { args: ["i32", "ptr", "i32"], returns: "i32" },
  fcntl: { args: ["i32", "i32", "i32"], returns: "i32" },
  eventfd: { args: ["u32", "i32"], returns: "i32" },
});

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
