/**
 * The file with the cluster key: made, found and read.
 *
 * A key is the bytes of a file, without the newline at its end. Only its path is ever typed, printed or handed on to another
 * process; what is in it never leaves the process that has read it.
 */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
  unlinkSync,
} from "node:fs";
import { basename, join } from "node:path";
import { DfsError, systemCodeOf } from "../../base/errors.ts";
import { isNotFound, localError } from "./errors.ts";

/** The key of the local cluster whose directory it lies in. */
export const KEY_FILE = "cluster.key";

/** Random bytes in a new key. */
const NEW_KEY_BYTES = 32;
/** A longer file is none of ours: somebody has named the wrong one. */
const MAX_KEY_FILE_BYTES = 4096;
/** Permission bits of everybody but the owner. */
const OTHERS = 0o077;
const NEWLINE = 0x0a;
/** Something that might be a key itself, in hexadecimal, base64 or of a password generator, and is no usual name. */
const MAYBE_KEY = /^(?=.*\d)[A-Za-z0-9+=_-]{24,}$/;
/** A pipe, such as <(pass dfs), is waited for so long. */
const PIPE_MS = 10_000;
const PIPE_STEP_MS = 5;

/**
 * The key in the file `path`.
 * @throws DfsError `notFound` or `io` when it cannot be read; `invalid` when others than its owner may read or change it, or
 * it is too long for a key.
 */
export function readKey(path: string): Uint8Array;
export function readKey(path: string | undefined): Uint8Array | undefined;
export function readKey(path: string | undefined): Uint8Array | undefined {
  if (path === undefined) return undefined;
  let bytes: Buffer;
  let mode: number;
  try {
    ({ bytes, mode } = contentOf(path));
  } catch (error) {
    if (isNotFound(error) && MAYBE_KEY.test(basename(path))) throw keyInsteadOfFile();
    throw localError(`cannot read the cluster key ${path}`, error);
  }
  if ((mode & OTHERS) !== 0) {
    throw new DfsError(
      "invalid",
      `cannot use the cluster key ${path}: others than its owner may use the file (mode ${octal(mode)})\n` +
        `close it with: chmod 600 ${path}\nand when somebody may have read it already, make a new one: dfs key new --force ${path}`,
    );
  }
  if (bytes.length > MAX_KEY_FILE_BYTES) {
    throw new DfsError(
      "invalid",
      `cannot use ${path} as a cluster key: it has more than ${MAX_KEY_FILE_BYTES} bytes; is it the right file?`,
    );
  }
  // A key written with an editor or echo ends in a newline that is not meant.
  const end = bytes.at(-1) === NEWLINE ? bytes.length - 1 : bytes.length;
  return Uint8Array.from(bytes.subarray(0, end));
}

/**
 * Makes a random key and writes it to the file `path`, which only its owner may read.
 * @throws DfsError `exists` when there is a file already, unless it is to be replaced; `notFound` or `io`.
 */
export function writeNewKey(path: string, replace: boolean): void {
  const key = `${crypto.getRandomValues(new Uint8Array(NEW_KEY_BYTES)).toHex()}\n`;
  try {
    if (!replace) {
      writePrivate(path, key);
      return;
    }
    const temporary = `${path}.new`;
    rmSync(temporary, { force: true });
    writePrivate(temporary, key);
    renameSync(temporary, path);
  } catch (error) {
    if (systemCodeOf(error) !== "EEXIST") throw localError(`cannot write ${path}`, error);
    throw new DfsError(
      "exists",
      `cannot make the key ${path}: there is a file already\n` +
        "whoever has only the old key is locked out by a new one; --force replaces it",
      { cause: error },
    );
  }
}

/** The key that lies in the directory of a local cluster, for the cluster to begin with; undefined when there is none. */
export function ownKeyFile(dir: string): string | undefined {
  const own = join(dir, KEY_FILE);
  return existsSync(own) ? own : undefined;
}

/** Whoever typed the key in place of its file must not find it in a log as well. */
function keyInsteadOfFile(): DfsError {
  return new DfsError(
    "notFound",
    "cannot read the cluster key: there is no file of the name that was given, which looks like a key and is not shown\n" +
      "name the file that holds the key; a key that was typed has been seen by others: dfs key new makes another",
  );
}

/** Opened without waiting: a fifo that nobody writes to would hold up the command for ever. */
function contentOf(path: string): { bytes: Buffer; mode: number } {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const { mode } = fstatSync(descriptor);
    const buffer = Buffer.alloc(MAX_KEY_FILE_BYTES + 1);
    let length = 0;
    for (;;) {
      const count = readSoon(descriptor, buffer, length);
      length += count;
      if (count === 0 || length === buffer.length)
        return { bytes: buffer.subarray(0, length), mode };
    }
  } finally {
    closeSync(descriptor);
  }
}

/** Reads what there is from `offset` of the buffer on, as soon as there is something. @throws DfsError `timeout` */
function readSoon(descriptor: number, buffer: Buffer, offset: number): number {
  const endMs = performance.now() + PIPE_MS;
  for (;;) {
    try {
      return readSync(descriptor, buffer, offset, buffer.length - offset, null);
    } catch (error) {
      if (systemCodeOf(error) !== "EAGAIN") throw error;
    }
    if (performance.now() > endMs) {
      throw new DfsError("timeout", `nothing came out of the pipe for ${PIPE_MS / 1000} s`);
    }
    Bun.sleepSync(PIPE_STEP_MS);
  }
}

/** Writes a file that nobody else may read, at any moment; it must not be there. */
function writePrivate(path: string, text: string): void {
  const descriptor = openSync(path, "wx", 0o600);
  try {
    writeSync(descriptor, text);
    fsyncSync(descriptor);
  } catch (error) {
    unlinkSync(path); // a part of a key would be in the way of a whole one
    throw error;
  } finally {
    closeSync(descriptor);
  }
}

function octal(mode: number): string {
  return (mode & 0o777).toString(8).padStart(4, "0");
}
