/**
 * The disk seam: what the block log and a server's directory need of a file system. `realDisk` is the machine's; tests
 * wrap it to make syncs and writes fail, and a simulator brings its own.
 *
 * Rules that callers rely on and every implementation keeps:
 * - What was written is durable after a later `syncData` or `sync` of the same file has succeeded, not before.
 * - After a failed sync nothing is known about what was written since the last good one, and syncing again proves nothing.
 * - A created, renamed or unlinked name is durable after a later `syncDirectory` has succeeded.
 * - Failures are errors with the system's `code` (`ENOSPC`, `EIO`, ...).
 *
 * Short writes and start-up reads are synchronous because the calls are cheaper than handing them to a thread; reads that
 * serve requests, syncs, closes and unlinks may take long and never block the event loop. Of such reads only those are
 * done at once whose bytes the system has in its memory.
 */
import {
  close,
  closeSync,
  fdatasync,
  fstatSync,
  fsync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  read,
  readdirSync,
  readSync,
  renameSync,
  statfsSync,
  statSync,
  unlink,
  writevSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { readCached } from "./cached-read.ts";
import { systemCodeOf } from "./errors.ts";
import { isCached, isFilled, type FilePart } from "./file-part.ts";
import { beginWriteback } from "./writeback.ts";

/** How a file is opened: for reading, for reading and writing, or made anew (failing with EEXIST if there is one). */
export type OpenMode = "read" | "write" | "create";

/** An open file. Positions and lengths are in bytes. */
export interface DiskFile {
  readonly path: string;
  /** Length at this moment. */
  size(): number;
  /** Fills `target` from `position`; returns how many bytes there were, fewer than asked for only at the file's end. */
  readNow(target: Uint8Array, position: number): number;
  /** `readNow` without blocking. `target` must not be touched until it has finished. */
  read(target: Uint8Array, position: number): Promise<number>;
  /**
   * A part of the file that can be sent without being read, as long as the file is open. Undefined when not all of it is there, or
   * not all in the system's memory. Files need not have it.
   */
  part?(position: number, length: number): FilePart | undefined;
  /** Writes `parts` one behind the other from `position`; returns how many bytes were taken, which may be fewer. */
  write(parts: readonly Uint8Array[], position: number): number;
  /**
   * Begins to bring to the disk what was written there, without waiting for it, so that a later sync need not wait as long. Says nothing
   * of durability, and never fails. Files need not have it.
   */
  beginWriteback?(position: number, length: number): void;
  truncate(length: number): void;
  /** Makes the content durable, and as much metadata as is needed to read it back: fdatasync(2). */
  syncData(): Promise<void>;
  /** Makes content and metadata durable: fsync(2). */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** Room on the file system that holds a directory, as an unprivileged process may use it. */
export interface DiskSpace {
  readonly capacityBytes: number;
  readonly availableBytes: number;
}

export interface Disk {
  /** Makes a directory and those above it; one that exists is fine. Durable when it returns, whoever made it. */
  makeDirectory(path: string): void;
  /** Names in a directory, sorted; undefined when there is no such directory. */
  list(path: string): string[] | undefined;
  open(path: string, mode: OpenMode): DiskFile;
  /** Gives a file a new name, replacing what had it. */
  rename(from: string, to: string): void;
  unlink(path: string): Promise<void>;
  syncDirectory(path: string): Promise<void>;
  space(path: string): DiskSpace;
}

/** The machine's file systems. */
export const realDisk: Disk = {
  makeDirectory: (path) => makeDurableDirectory(resolve(path)),
  list: (path) => {
    try {
      return readdirSync(path).sort();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  },
  open: (path, mode) => new RealFile(path, openSync(path, OPEN_FLAGS[mode], PRIVATE_FILE)),
  rename: (from, to) => renameSync(from, to),
  unlink: (path) => settled((done) => unlink(path, done)),
  syncDirectory: async (path) => {
    const descriptor = openSync(path, "r");
    try {
      await settled((done) => fsync(descriptor, done));
    } finally {
      closeSync(descriptor);
    }
  },
  space: (path) => {
    const { bsize, blocks, bavail } = statfsSync(path);
    return { capacityBytes: bsize * blocks, availableBytes: bsize * bavail };
  },
};

/** The whole content of a file. */
export function readWholeFile(disk: Disk, path: string): Uint8Array {
  const file = disk.open(path, "read");
  try {
    const bytes = new Uint8Array(file.size());
    return bytes.subarray(0, file.readNow(bytes, 0));
  } finally {
    void file.close().catch(() => undefined); // it was only read: nothing can be lost by a failed close
  }
}

/**
 * Puts a file in place so that, whatever crashes, its name leads to the old content or to the new one, whole. Durable
 * when it resolves. The temporary file beside it is called `NAME.tmp`.
 */
export async function replaceFile(
  disk: Disk,
  directory: string,
  name: string,
  content: Uint8Array,
): Promise<void> {
  const path = join(directory, name);
  const temporary = `${path}.tmp`;
  if (disk.list(directory)?.includes(`${name}.tmp`)) await disk.unlink(temporary);
  const file = disk.open(temporary, "create");
  try {
    writeFully(file, [content], 0);
    await file.sync();
  } finally {
    await file.close();
  }
  disk.rename(temporary, path);
  await disk.syncDirectory(directory);
}

/** Writes all of `parts` from `position`, calling `write` until everything has been taken. Returns the end position. */
export function writeFully(file: DiskFile, parts: readonly Uint8Array[], position: number): number {
  let left = parts.filter((part) => part.length > 0);
  let at = position;
  while (left.length > 0) {
    const count = file.write(left, at);
    if (count <= 0) throw new Error(`${file.path}: the system took none of the bytes written`);
    at += count;
    left = dropBytes(left, count);
  }
  return at;
}

/** What is left of `parts` without their first `count` bytes. */
function dropBytes(parts: readonly Uint8Array[], count: number): Uint8Array[] {
  let skip = count;
  let first = 0;
  while (first < parts.length && skip >= parts[first]!.length) skip -= parts[first++]!.length;
  const left = parts.slice(first);
  if (skip > 0) left[0] = left[0]!.subarray(skip);
  return left;
}

/** What a server stores is everybody's content, and no other user of its machine may read it past the service. */
const PRIVATE_FILE = 0o600;
const PRIVATE_DIRECTORY = 0o700;

const OPEN_FLAGS = { read: "r", write: "r+", create: "wx+" } as const;

class RealFile implements DiskFile {
  readonly path: string;
  private readonly descriptor: number;

  constructor(path: string, descriptor: number) {
    this.path = path;
    this.descriptor = descriptor;
  }

  size(): number {
    return fstatSync(this.descriptor).size;
  }

  readNow(target: Uint8Array, position: number): number {
    let filled = 0;
    while (filled < target.length) {
      const count = readSync(
        this.descriptor,
        target,
        filled,
        target.length - filled,
        position + filled,
      );
      if (count === 0) break;
      filled += count;
    }
    return filled;
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    let filled = await readCached(this.descriptor, target, position);
    while (filled < target.length) {
      const count = await this.readOnce(target, filled, position + filled);
      if (count === 0) break;
      filled += count;
    }
    return filled;
  }

  part(position: number, length: number): FilePart | undefined {
    const { descriptor } = this;
    if (position + length > this.size()) return undefined;
    const isCachedFrom = (from: number): boolean =>
      isCached(descriptor, position + from, length - from);
    if (!isCachedFrom(0) || !isFilled(descriptor, position, length)) return undefined;
    const read = async (from: number): Promise<Uint8Array> => {
      const bytes = new Uint8Array(length - from);
      return bytes.subarray(0, await this.read(bytes, position + from));
    };
    return { length, descriptor, position, isCached: isCachedFrom, read };
  }

  write(parts: readonly Uint8Array[], position: number): number {
    return writevSync(this.descriptor, parts, position);
  }

  beginWriteback(position: number, length: number): void {
    beginWriteback(this.descriptor, position, length);
  }

  truncate(length: number): void {
    ftruncateSync(this.descriptor, length);
  }

  syncData(): Promise<void> {
    return settled((done) => fdatasync(this.descriptor, done));
  }

  sync(): Promise<void> {
    return settled((done) => fsync(this.descriptor, done));
  }

  close(): Promise<void> {
    return settled((done) => close(this.descriptor, done));
  }

  private readOnce(target: Uint8Array, from: number, position: number): Promise<number> {
    return new Promise((fulfil, reject) => {
      read(this.descriptor, target, from, target.length - from, position, (error, count) => {
        if (error) reject(error);
        else fulfil(count);
      });
    });
  }
}

/** A system call with a callback, as a promise. */
function settled(start: (done: (error: Error | null | undefined) => void) => void): Promise<void> {
  return new Promise((fulfil, reject) => {
    start((error) => {
      if (error) reject(error);
      else fulfil();
    });
  });
}

/**
 * Each directory is durable before the next one is made in it. So of those that exist only the last can be one that a
 * process has made which was killed before it could sync.
 */
function makeDurableDirectory(path: string): void {
  const parent = dirname(path);
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) {
    syncParentOfExisting(parent);
    return;
  }
  if (parent !== path) makeDurableDirectory(parent);
  mkdirSync(path, { recursive: true, mode: PRIVATE_DIRECTORY }); // somebody else may have made it in this moment
  syncDirectoryNow(parent);
}

function syncParentOfExisting(parent: string): void {
  try {
    syncDirectoryNow(parent);
  } catch (error) {
    // A directory that we may not open is one that we have made nothing in.
    if (systemCodeOf(error) !== "EACCES" && systemCodeOf(error) !== "EPERM") throw error;
  }
}

function syncDirectoryNow(path: string): void {
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
