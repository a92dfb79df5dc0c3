/**
 * Parts of files that lie in the system's memory, so that they can be sent to a socket without being read into ours.
 *
 * Whether they lie there tells cachestat(2) (Linux 6.5); where there is no such call, nothing is known to, and everything is read.
 * What is known may become untrue at any time: then whoever sends has to wait for the disk.
 */
import { FFIType, ptr } from "bun:ffi";
import { loadLibc } from "./libc.ts";

/** A part of an open file. */
export interface FilePart {
  /** In bytes, at least 1. */
  readonly length: number;
  /** Of the open file, and where in it the part begins. */
  readonly descriptor: number;
  readonly position: number;
  /** Whether all of it from `from` on lies in the system's memory at this moment. */
  isCached(from: number): boolean;
  /** Reads what is left from `from` on, beside the event loop; fewer bytes only when the file ends there. */
  read(from: number): Promise<Uint8Array>;
  /** Called when sending failed for a reason that lies in the file: it cannot be read, or ends before the part does. */
  failed?(): void;
}

const PAGE_BYTES = 4096; // cachestat counts pages of the least size that there is; of larger ones there are fewer

const CACHESTAT = 451; // on every machine: uapi/asm-generic/unistd.h

const SYMBOLS = {
  syscall: {
    args: [FFIType.i64_fast, FFIType.i32, FFIType.ptr, FFIType.ptr, FFIType.u32],
    returns: FFIType.i64_fast,
  },
} as const;

/** Undefined where there is no such call. */
const libc = process.platform === "linux" ? open() : undefined;

/** struct cachestat_range: from, length. Alive as long as the process, as their addresses are handed out. */
const range = new BigUint64Array(2);

/** struct cachestat: pages in memory, dirty, being written, and two more. */
const counts = new BigUint64Array(5);

/** Whether `length` bytes from `position` of an open file lie in the system's memory, as far as that can be told. */
export function isCached(descriptor: number, position: number, length: number): boolean {
  if (libc === undefined) return false;
  range[0] = BigInt(position);
  range[1] = BigInt(length);
  if (Number(libc.syscall(CACHESTAT, descriptor, ptr(range), ptr(counts), 0)) < 0) return false;
  const pages =
    Math.floor((position + length - 1) / PAGE_BYTES) - Math.floor(position / PAGE_BYTES) + 1;
  return Number(counts[0]) >= pages;
}

function open() {
  try {
    return loadLibc(SYMBOLS);
  } catch {
    return undefined; // another library
  }
}
