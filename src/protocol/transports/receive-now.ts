/**
 * Receives what the system holds for a socket straight into memory of the caller, without waiting: recv(2) with MSG_DONTWAIT, through
 * bun:ffi.
 *
 * Bun hands out what has come in a fresh buffer each time, from where it is copied to where it belongs. For the rest of a long
 * frame, which comes while its first part is looked at, that is two copies and much fresh memory for nothing.
 *
 * The descriptor is a property that Bun's types do not name (seen with 1.4.5). Where it is missing, or the library is, nothing is
 * received in this way, and everything comes as it always does.
 */
import { dlopen, FFIType, ptr } from "bun:ffi";

const MSG_DONTWAIT = 0x40; // bits/socket.h

const SYMBOLS = {
  recv: {
    args: [FFIType.i32, FFIType.ptr, FFIType.u64_fast, FFIType.i32],
    returns: FFIType.i64_fast,
  },
} as const;

const libc = open();

/**
 * Puts bytes into `target` from `offset` on, at most up to its end, and returns how many; 0 when there are none now, whether more
 * may come, the stream has ended, or it has failed: whoever waits for its events is told of that by them. May be called
 * only while `socket` is open.
 */
export function receiveNow(socket: object, target: Uint8Array, offset: number): number {
  const { fd } = socket as { readonly fd?: unknown };
  if (libc === undefined || typeof fd !== "number" || fd < 0 || offset >= target.length) return 0;
  const count = libc.recv(fd, ptr(target, offset), target.length - offset, MSG_DONTWAIT);
  return Math.max(0, Number(count));
}

function open() {
  if (process.platform !== "linux") return undefined;
  try {
    return dlopen("libc.so.6", SYMBOLS).symbols;
  } catch {
    return undefined; // another library
  }
}
