/**
 * Directories that a download writes into, held open, so that what is written cannot be led elsewhere.
 *
 * Every directory below the one that the user named is opened from its parent by name, without following a symbolic
 * link, and everything in it is made through the open descriptor: the path `/proc/self/fd/N/name` is what openat(2)
 * does, for system calls that take paths. Whoever swaps a directory for a link while we write gains nothing.
 *
 * System calls on names are made synchronously here and in download.ts: they are answered from the kernel's caches in
 * microseconds, while a turn through the thread pool costs several times that in waking threads alone (seen: 1.2 ms of
 * system time for a small file, against a tenth of it).
 *
 * At most IDLE_LIMIT directories that nobody is working in stay open; the others are opened again when needed, name by
 * name from above, so that depth is no limit. Linux.
 */
import { closeSync, constants, lstatSync, mkdirSync, openSync } from "node:fs";
import { assert, systemCodeOf } from "../../base/errors.ts";
import { Reason } from "../shared/errors.ts";
import { quoted } from "../shared/text.ts";

const IDLE_LIMIT = 64;
/** fcntl.h: a descriptor to name things by, which needs no right to read. */
export const O_PATH = 0o10000000;

const OPEN_NEW = 0o700;

export interface LocalDirectory {
  /** The directory that it is in; none for the one that the user named. */
  readonly parent: LocalDirectory | undefined;
  readonly name: Uint8Array;
  /** For messages. */
  readonly path: Uint8Array;
  /** With --dry-run: it is not there, and not made. Nothing else can be done with it. */
  readonly isOnlyPlanned?: boolean;
}

interface Held {
  readonly descriptor: number;
  users: number;
}

export class LocalDirectories {
  readonly #held = new Map<LocalDirectory, Held>();

  /** A directory named by the user; its path may go over symbolic links, which the user knows. */
  root(path: Uint8Array): LocalDirectory {
    const directory: LocalDirectory = { parent: undefined, name: path, path };
    this.#release(this.#hold(directory));
    return directory;
  }

  /**
   * Makes the directory `name` in `parent`, or finds the one that is there. A new one has the permissions `mode`, and all of
   * the owner until what goes into it is there.
   * @throws Reason when something else is there, also a symbolic link to a directory.
   */
  make(
    parent: LocalDirectory,
    name: Uint8Array,
    path: Uint8Array,
    mode = OPEN_NEW,
  ): { directory: LocalDirectory; isNew: boolean } {
    const held = this.#hold(parent);
    try {
      const isNew = makeDirectory(Buffer.concat([prefixOf(held), name]), path, mode);
      return { directory: { parent, name, path }, isNew };
    } finally {
      this.#release(held);
    }
  }

  /** The directory `name` in `parent`; undefined when nothing is there. @throws Reason when something else is there. */
  find(parent: LocalDirectory, name: Uint8Array, path: Uint8Array): LocalDirectory | undefined {
    if (parent.isOnlyPlanned) return undefined;
    const held = this.#hold(parent);
    try {
      const isThere = isDirectory(Buffer.concat([prefixOf(held), name]), path);
      return isThere ? { parent, name, path } : undefined;
    } finally {
      this.#release(held);
    }
  }

  /**
   * Runs `work` while `directory` is open. A name put behind the prefix that it gets is that name in this directory;
   * the prefix and `.` are the directory itself.
   */
  async use<T>(directory: LocalDirectory, work: (prefix: Buffer) => Promise<T> | T): Promise<T> {
    const held = this.#hold(directory);
    try {
      return await work(prefixOf(held));
    } finally {
      this.#release(held);
    }
  }

  /** Closes all. Nobody may be using one any more. */
  close(): void {
    for (const { descriptor } of this.#held.values()) closeSync(descriptor);
    this.#held.clear();
  }

  /** The most recently used one is last in the map. */
  #hold(directory: LocalDirectory): Held {
    const held = this.#held.get(directory) ?? { descriptor: this.#open(directory), users: 0 };
    held.users++;
    this.#held.delete(directory);
    this.#held.set(directory, held);
    return held;
  }

  #release(held: Held): void {
    held.users--;
    if (this.#held.size > IDLE_LIMIT) this.#closeIdle();
  }

  /** Opens a directory, and those above it as far down as they are not open; a loop, because there may be thousands. */
  #open(directory: LocalDirectory): number {
    const closed: LocalDirectory[] = [];
    let above: LocalDirectory | undefined = directory;
    for (; above !== undefined && !this.#held.has(above); above = above.parent) closed.push(above);
    let parent = above === undefined ? undefined : this.#held.get(above)?.descriptor;
    let opened: number | undefined;
    try {
      for (const next of closed.reverse()) {
        const descriptor = openIn(parent, next.name);
        if (opened !== undefined) closeSync(opened);
        opened = parent = descriptor;
      }
    } catch (error) {
      if (opened !== undefined) closeSync(opened);
      throw error;
    }
    assert(opened !== undefined, "a directory to open is not open");
    return opened;
  }

  #closeIdle(): void {
    for (const [directory, held] of this.#held) {
      if (this.#held.size <= IDLE_LIMIT) return;
      if (held.users > 0 || directory.parent === undefined) continue;
      this.#held.delete(directory);
      closeSync(held.descriptor);
    }
  }
}

function prefixOf(held: Held): Buffer {
  return Buffer.from(`/proc/self/fd/${held.descriptor}/`);
}

/** Opens `name` in the open directory `parent`; without one, `name` is a path of the user's. */
function openIn(parent: number | undefined, name: Uint8Array): number {
  const flags = O_PATH | constants.O_DIRECTORY;
  if (parent === undefined) return openSync(Buffer.from(name), flags);
  const path = Buffer.concat([Buffer.from(`/proc/self/fd/${parent}/`), name]);
  return openSync(path, flags | constants.O_NOFOLLOW);
}

/** Returns true when the directory is new. `shown` is its path for messages. */
function makeDirectory(place: Buffer, shown: Uint8Array, mode: number): boolean {
  try {
    mkdirSync(place, mode | OPEN_NEW);
    return true;
  } catch (error) {
    if (systemCodeOf(error) !== "EEXIST") throw error;
  }
  isDirectory(place, shown);
  return false;
}

/** False when nothing is there. @throws Reason when something else is. */
function isDirectory(place: Buffer, shown: Uint8Array): boolean {
  const present = lstatSync(place, { throwIfNoEntry: false });
  if (present === undefined) return false;
  if (present.isSymbolicLink()) {
    throw new Reason("notDirectory", `${quoted(shown)} is a symbolic link, which is not followed`);
  }
  if (!present.isDirectory()) {
    throw new Reason("notDirectory", `${quoted(shown)} is there and is no directory`);
  }
  return true;
}
