/**
 * Directories that a download writes into, held open, so that what is written cannot be led elsewhere.
 *
 * Every directory below the one that the user named is opened from its parent by name, without following a symbolic
 * link, and everything in it is made through the open descriptor: the path `/proc/self/fd/N/name` is what openat(2)
 * does, for system calls that take paths. Whoever swaps a directory for a link while we write gains nothing.
 *
 * At most IDLE_LIMIT directories that nobody is working in stay open; the others are opened again when needed, name by
 * name from above, so that depth is no limit. Linux.
 */
import { constants } from "node:fs";
import { lstat, mkdir, open, type FileHandle } from "node:fs/promises";
import { systemCodeOf } from "../../base/errors.ts";
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
}

interface Held {
  readonly handle: Promise<FileHandle>;
  users: number;
}

export class LocalDirectories {
  readonly #held = new Map<LocalDirectory, Held>();

  /** A directory named by the user; its path may go over symbolic links, which the user knows. */
  async root(path: Uint8Array): Promise<LocalDirectory> {
    const directory: LocalDirectory = { parent: undefined, name: path, path };
    await this.use(directory, () => Promise.resolve());
    return directory;
  }

  /**
   * Makes the directory `name` in `parent`, or finds the one that is there.
   * @throws Reason when something else is there, also a symbolic link to a directory.
   */
  async make(
    parent: LocalDirectory,
    name: Uint8Array,
    path: Uint8Array,
  ): Promise<{ directory: LocalDirectory; isNew: boolean }> {
    const isNew = await this.use(parent, async (prefix) => {
      const place = Buffer.concat([prefix, name]);
      try {
        await mkdir(place, OPEN_NEW);
        return true;
      } catch (error) {
        if (systemCodeOf(error) !== "EEXIST") throw error;
      }
      const present = await lstat(place);
      if (present.isSymbolicLink()) {
        throw new Reason(
          "notDirectory",
          `${quoted(path)} is a symbolic link, which is not followed`,
        );
      }
      if (!present.isDirectory()) {
        throw new Reason("notDirectory", `${quoted(path)} is there and is no directory`);
      }
      return false;
    });
    return { directory: { parent, name, path }, isNew };
  }

  /**
   * Runs `work` while `directory` is open. A name put behind the prefix that it gets is that name in this directory;
   * the prefix and `.` are the directory itself.
   */
  async use<T>(directory: LocalDirectory, work: (prefix: Buffer) => Promise<T>): Promise<T> {
    const held = this.#hold(directory);
    try {
      const handle = await held.handle;
      return await work(Buffer.from(`/proc/self/fd/${handle.fd}/`));
    } finally {
      held.users--;
      this.#closeIdle();
    }
  }

  /** Closes all. Nobody may be using one any more. */
  async close(): Promise<void> {
    const all = [...this.#held.values()];
    this.#held.clear();
    await Promise.all(all.map(closeHeld));
  }

  /** The most recently used one is last in the map. */
  #hold(directory: LocalDirectory): Held {
    const present = this.#held.get(directory);
    const held = present ?? { handle: this.#open(directory), users: 0 };
    held.users++;
    this.#held.delete(directory);
    this.#held.set(directory, held);
    if (present === undefined) {
      held.handle.catch(() => this.#held.delete(directory)); // told to whoever uses it; tried anew next time
    }
    return held;
  }

  async #open(directory: LocalDirectory): Promise<FileHandle> {
    const flags = O_PATH | constants.O_DIRECTORY;
    const { parent, name } = directory;
    if (parent === undefined) return open(Buffer.from(name), flags);
    return this.use(parent, (prefix) =>
      open(Buffer.concat([prefix, name]), flags | constants.O_NOFOLLOW),
    );
  }

  #closeIdle(): void {
    if (this.#held.size <= IDLE_LIMIT) return;
    for (const [directory, held] of this.#held) {
      if (this.#held.size <= IDLE_LIMIT) return;
      if (held.users > 0 || directory.parent === undefined) continue;
      this.#held.delete(directory);
      void closeHeld(held);
    }
  }
}

async function closeHeld(held: Held): Promise<void> {
  try {
    await (await held.handle).close();
  } catch {
    return; // it could not be opened, which has been told, or is closed already
  }
}
