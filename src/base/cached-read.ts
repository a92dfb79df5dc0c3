/**
 * Reads what the system has in its memory, without ever waiting for the disk: preadv2(2) with RWF_NOWAIT, through bun:ffi.
 *
 * Handing a read to the thread pool and back costs far more than copying a piece of 64 KiB does. What is not in memory, what
 * is long, and what the file system cannot read in this way, is left to the pool, which waits for the disk beside the event
 * loop. Each turn of the event loop has a share of bytes for this: somebody who reads on and on must not keep the loop from
 * its other work.
 */
import { dlopen, FFIType, ptr } from "bun:ffi";

const RWF_NOWAIT = 8; // uapi/linux/fs.h

/** A longer read is copied by another thread while this one goes on. */
const LONGEST_BYTES = 128 * 1024;

/** Bytes that are copied in one turn of the event loop: some tenths of a millisecond. */
const TURN_BYTES = 1024 * 1024;

/** What a read counts besides its bytes: the call and what follows it take as long as copying so much. */
const CALL_BYTES = 16 * 1024;

const SYMBOLS = {
  preadv2: {
    args: [FFIType.i32, FFIType.ptr, FFIType.i32, FFIType.i64_fast, FFIType.i32],
    returns: FFIType.i64_fast,
  },
} as const;

/** Undefined where the system's library has no such call: then everything is left to the pool. */
const libc = open();

/** struct iovec: address and length. Alive as long as the process, as its address is handed out. */
const vector = new BigUint64Array(2);

let leftInTurn = TURN_BYTES;

/**
 * Fills `target` from `position` of an open file as far as that is possible without waiting for the disk; when this turn's
 * share is used up, in the next turn. Resolves with the number of bytes: 0 means nothing, whether the file ends there, the
 * bytes are on the disk only, or they cannot be read.
 */
export async function readCached(
  descriptor: number,
  target: Uint8Array,
  position: number,
): Promise<number> {
  if (libc === undefined || target.length === 0 || target.length > LONGEST_BYTES) return 0;
  if (leftInTurn <= 0) await new Promise((resolve) => setImmediate(resolve));
  if (leftInTurn <= 0) return 0;
  if (leftInTurn === TURN_BYTES) setImmediate(() => (leftInTurn = TURN_BYTES));
  leftInTurn -= target.length + CALL_BYTES;
  vector[0] = BigInt(ptr(target));
  vector[1] = BigInt(target.length);
  const count = libc.preadv2(descriptor, vector, 1, position, RWF_NOWAIT);
  return Math.max(0, Number(count)); // an error is met again, and told, by the one who reads in the pool
}

function open() {
  if (process.platform !== "linux") return undefined;
  try {
    return dlopen("libc.so.6", SYMBOLS).symbols;
  } catch {
    return undefined; // an older library, or another one
  }
}
