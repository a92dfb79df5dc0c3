/**
 * The C library, for the system calls that neither Bun nor Node has.
 *
 * `cc` of bun:ffi would make a shim that reads errno safely, but it needs the development files of the C library (seen with
 * Bun 1.4.5: "library 'c' not found" on a machine without them). So the library is loaded as it is, and errno is read right
 * after the call: nothing of ours runs in between, and it belongs to the thread.
 */
import { dlopen, read, type FFIFunction, type Library } from "bun:ffi";
import { constants } from "node:os";
import { DfsError, messageOf } from "./errors.ts";

/** That of glibc, and of musl, which names it after the machine. */
const LIBRARIES = ["libc.so.6", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1"];

/** The functions of these names. @throws DfsError `unsupported`. */
export function loadLibc<Functions extends Record<string, FFIFunction>>(
  functions: Functions,
): Library<Functions>["symbols"] {
  const failures: string[] = [];
  for (const name of LIBRARIES) {
    try {
      return dlopen(name, functions).symbols;
    } catch (error) {
      failures.push(`${name}: ${messageOf(error)}`);
    }
  }
  throw new DfsError(
    "unsupported",
    `cannot make system calls: no C library could be loaded (${failures.join("; ")})`,
  );
}

/** The same for the whole life of this thread. Found before any call is made, as finding it could change errno. */
const errnoAddress = loadLibc({
  __errno_location: { args: [], returns: "ptr" },
}).__errno_location();

/** What a system call has answered, with the negative errno instead of -1. To be asked right behind the call. */
export function resultOf(value: number): number {
  if (value >= 0) return value;
  if (errnoAddress === null) return -constants.errno.EIO;
  return -read.i32(errnoAddress, 0);
}
