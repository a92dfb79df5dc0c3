/**
 * Begins the writing of file pages to the disk, without waiting for it: sync_file_range(2) with SYNC_FILE_RANGE_WRITE, through bun:ffi.
 * A sync that comes later finds most of its work done, and the disk has no pause between two syncs.
 */
import { FFIType } from "bun:ffi";
import { loadLibc } from "./libc.ts";

const SYNC_FILE_RANGE_WRITE = 2; // uapi/linux/fs.h

const SYMBOLS = {
  sync_file_range: {
    args: [FFIType.i32, FFIType.i64_fast, FFIType.i64_fast, FFIType.u32],
    returns: FFIType.i32,
  },
} as const;

/** Undefined where there is no such call. */
const libc = process.platform === "linux" ? open() : undefined;

/** As `DiskFile.beginWriteback`. What goes wrong is met again by the sync. */
export function beginWriteback(descriptor: number, position: number, length: number): void {
  libc?.sync_file_range(descriptor, position, length, SYNC_FILE_RANGE_WRITE);
}

function open() {
  try {
    return loadLibc(SYMBOLS);
  } catch {
    return undefined; // another library
  }
}
