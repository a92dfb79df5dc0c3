/**
 * Sends a part of a file to a socket of Bun without copying it: sendfile(2), through bun:ffi. The socket's receiver gets it out of the
 * system's memory of the file.
 *
 * Bun tells that a socket has room again only behind a write of its own that was short. So when the socket is full, some next bytes
 * are written in the usual way. What the descriptor of a socket is to be found by: receive-now.ts.
 */
import { FFIType, ptr } from "bun:ffi";
import { readSync } from "node:fs";
import { constants } from "node:os";
import type { Socket } from "bun";
import { DfsError, messageOf } from "../../base/errors.ts";
import type { FilePart } from "../../base/file-part.ts";
import { loadLibc, resultOf } from "../../base/libc.ts";

/** Written in the usual way when the socket is full. */
const PROBE_BYTES = 4096;

const SYMBOLS = {
  sendfile: {
    args: [FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.u64_fast],
    returns: FFIType.i64_fast,
  },
} as const;

const libc = process.platform === "linux" ? open() : undefined;

/** The off_t that sendfile reads and moves. Alive as long as the process, as its address is handed out. */
const position = new BigInt64Array(1);

const probe = new Uint8Array(PROBE_BYTES);

/** Whether this system has the call. */
export const canSendFiles = libc !== undefined;

/** As `ByteStream.sendFile`. May be called only while `socket` is open, and when all that it was given before has been accepted. */
export function sendFileNow(socket: Socket<unknown>, part: FilePart, from: number): number {
  let at = from;
  while (at < part.length) {
    const sent = sendOnce(socket, part, at);
    if (sent < 0) return -1;
    at += sent;
    if (sent > 0) continue;
    const count = Math.min(PROBE_BYTES, part.length - at);
    const written = socket.write(readProbe(part, at, count));
    if (written < 0) return -1;
    at += written;
    if (written < count) break; // now Bun tells when there is room
  }
  return at - from;
}

/** Returns how many bytes the socket has taken, 0 when it is full, -1 when it has ended. */
function sendOnce(socket: Socket<unknown>, part: FilePart, from: number): number {
  const { fd } = socket as { readonly fd?: unknown };
  if (libc === undefined || typeof fd !== "number" || fd < 0) return 0;
  position[0] = BigInt(part.position + from);
  const { descriptor, length } = part;
  const result = resultOf(Number(libc.sendfile(fd, descriptor, ptr(position), length - from)));
  if (result > 0) return result;
  switch (-result) {
    case constants.errno.EAGAIN:
    case constants.errno.EINTR:
      return 0;
    case constants.errno.EPIPE:
    case constants.errno.ECONNRESET:
    case constants.errno.ENOTCONN:
      return -1;
    default:
      throw cannotRead(result === 0 ? "it has become shorter" : `errno ${-result}`);
  }
}

function readProbe(part: FilePart, from: number, count: number): Uint8Array {
  const bytes = probe.subarray(0, count);
  let read: number;
  try {
    read = readSync(part.descriptor, bytes, 0, count, part.position + from);
  } catch (error) {
    throw cannotRead(messageOf(error));
  }
  if (read < count) throw cannotRead("it has become shorter");
  return bytes;
}

function cannotRead(why: string): DfsError {
  return new DfsError("io", `cannot send a part of a file: ${why}`);
}

function open() {
  try {
    return loadLibc(SYMBOLS);
  } catch {
    return undefined; // another library
  }
}
