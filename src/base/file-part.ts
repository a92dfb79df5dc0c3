/**
 * Parts of files that lie in the system's memory, so that they can be sent to a socket without being read into ours.
 *
 * Whether pages are there tells cachestat(2) (Linux 6.5); where there is no such call, nothing is known to, and everything is read.
 * It counts those as well that are still being read from the disk, and those that could not be: whoever sends them would wait for
 * the disk. Which pages have their content tells mincore(2), which takes some fifty times as long (20 µs for 1 MiB). So that is asked
 * once. What is known may become untrue at any time: then whoever sends has to wait for the disk.
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
  /** Whether all of it from `from` on still lies in the system's memory. */
  isCached(from: number): boolean;
  /** Reads what is left from `from` on, beside the event loop; fewer bytes only when the file ends there. */
  read(from: number): Promise<Uint8Array>;
  /** Called when sending failed for a reason that lies in the file: it cannot be read, or ends before the part does. */
  failed?(): void;
}

/** Parts of files that are sent one behind the other, as one. */
export class FileParts {
  readonly parts: readonly FilePart[];
  /** In bytes, of all together. */
  readonly length: number;

  constructor(parts: readonly FilePart[]) {
    this.parts = parts;
    this.length = parts.reduce((sum, { length }) => sum + length, 0);
  }
}

const PAGE_BYTES = 4096; // cachestat counts pages of the least size that there is; of larger ones there are fewer

const CACHESTAT = 451; // on every machine: uapi/asm-generic/unistd.h

const SYMBOLS = {
  syscall: {
    args: [FFIType.i64_fast, FFIType.i32, FFIType.ptr, FFIType.ptr, FFIType.u32],
    returns: FFIType.i64_fast,
  },
  mmap: {
    args: [FFIType.ptr, FFIType.u64_fast, FFIType.i32, FFIType.i32, FFIType.i32, FFIType.i64_fast],
    returns: FFIType.i64_fast,
  },
  mincore: {
    args: [FFIType.i64_fast, FFIType.u64_fast, FFIType.ptr],
    returns: FFIType.i32,
  },
  munmap: { args: [FFIType.i64_fast, FFIType.u64_fast], returns: FFIType.i32 },
} as const;

const PROT_READ = 1; // uapi/asm-generic/mman-common.h
const MAP_SHARED = 1; // uapi/linux/mman.h

/** Undefined where there is no such call. */
const libc = process.platform === "linux" ? open() : undefined;

/** struct cachestat_range: from, length. Alive as long as the process, as their addresses are handed out. */
const range = new BigUint64Array(2);

/** struct cachestat: pages in memory, dirty, being written, and two more. */
const counts = new BigUint64Array(5);

/** For each page, whether it has its content. */
let states = new Uint8Array(256);

/** Whether there are pages in the system's memory for `length` bytes from `position` of an open file, as far as that can be told. */
export function isCached(descriptor: number, position: number, length: number): boolean {
  if (libc === undefined) return false;
  range[0] = BigInt(position);
  range[1] = BigInt(length);
  if (Number(libc.syscall(CACHESTAT, descriptor, ptr(range), ptr(counts), 0)) < 0) return false;
  return Number(counts[0]) >= pagesOf(position, length);
}

/** Whether these pages have their content: nobody who wants it has to wait for the disk. */
export function isFilled(descriptor: number, position: number, length: number): boolean {
  if (libc === undefined) return false;
  const pages = pagesOf(position, length);
  const bytes = pages * PAGE_BYTES;
  const from = position - (position % PAGE_BYTES);
  const address = Number(libc.mmap(null, bytes, PROT_READ, MAP_SHARED, descriptor, from)); // never touched
  if (address < 0) return false;
  if (states.length < pages) states = new Uint8Array(pages);
  const result = libc.mincore(address, bytes, ptr(states));
  libc.munmap(address, bytes);
  return result === 0 && !states.subarray(0, pages).includes(0); // all other bits are reserved, and 0
}

function pagesOf(position: number, length: number): number {
  return Math.floor((position + length - 1) / PAGE_BYTES) - Math.floor(position / PAGE_BYTES) + 1;
}

function open() {
  try {
    return loadLibc(SYMBOLS);
  } catch {
    return undefined; // another library
  }
}
