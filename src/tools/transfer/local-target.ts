/**
 * The last argument of `dfs get`, by the rules of cp: a directory to put things into, a new name, a file to replace, or
 * something that takes a stream of bytes (a pipe, a device).
 */
import { constants, type Stats } from "node:fs";
import { lstat, open, readlink, realpath, stat } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import { systemCodeOf } from "../../base/errors.ts";
import { MAX_SYMLINKS_FOLLOWED } from "../../base/limits.ts";
import type { DfsClient } from "../../client/api.ts";
import type { FileType } from "../../protocol/messages/common.ts";
import { Reason } from "../shared/errors.ts";
import {
  baseName,
  endsInSlash,
  isNameless,
  joined,
  parentPath,
  withoutTrailingSlashes,
} from "../shared/paths.ts";
import type { InsteadOfDirectory } from "../shared/several.ts";
import { quoted } from "../shared/text.ts";
import type { LocalPlace } from "./download.ts";
import type { Surroundings } from "./jobs.ts";
import type { LocalDirectories, LocalDirectory } from "./local-directories.ts";
import { writeNext } from "./write-content.ts";

export class LocalTarget {
  /** As typed. */
  readonly path: Uint8Array;
  readonly #stats: Stats | undefined;
  /** Of /dev/stdout and its like: the descriptor of this process that the path leads to. */
  readonly #descriptor: number | undefined;
  readonly #directories: LocalDirectories;
  #opened: LocalDirectory | undefined;

  private constructor(
    path: Uint8Array,
    stats: Stats | undefined,
    descriptor: number | undefined,
    directories: LocalDirectories,
  ) {
    this.path = path;
    this.#stats = stats;
    this.#descriptor = descriptor;
    this.#directories = directories;
  }

  /** Looks at what is there now. */
  static async find(path: Uint8Array, directories: LocalDirectories): Promise<LocalTarget> {
    const stats = await statIfThere(path);
    const isThing = stats !== undefined && !stats.isDirectory();
    const descriptor = isThing ? await descriptorBehind(path) : undefined;
    return new LocalTarget(path, stats, descriptor, directories);
  }

  get isDirectory(): boolean {
    return this.#stats?.isDirectory() === true;
  }

  /**
   * True for what bytes are written into as it is, like /dev/null or a fifo. So is what stands open: the file that standard
   * output was redirected to is not to be replaced while others write to it.
   */
  get isStream(): boolean {
    if (this.#descriptor !== undefined) return true;
    return this.#stats !== undefined && !this.#stats.isFile() && !this.#stats.isDirectory();
  }

  /** What there is where several sources need a directory. */
  async insteadOfDirectory(): Promise<InsteadOfDirectory> {
    if (this.#stats !== undefined) return "other";
    try {
      const stats = await lstat(Buffer.from(withoutTrailingSlashes(this.path)));
      return stats.isSymbolicLink() ? "danglingLink" : "other";
    } catch (error) {
      const code = systemCodeOf(error);
      if (code === "ENOTDIR") return "belowOther";
      if (code === "ENOENT") return "nothing";
      throw error;
    }
  }

  /** Where the copy of `source` goes. @throws Reason, system errors */
  async placeFor(source: Uint8Array, type: FileType): Promise<LocalPlace | LocalDirectory> {
    if (this.isDirectory) {
      const directory = this.#open(this.path);
      if (isNameless(source)) return directory;
      const name = baseName(source);
      return { directory, name, path: joined(this.path, name) };
    }
    if (type === "directory" && this.#stats !== undefined) {
      throw new Reason("notDirectory", `${quoted(this.path)} is there and is no directory`);
    }
    if (type !== "directory" && endsInSlash(this.path)) {
      throw new Reason("notFound", `there is no local directory ${quoted(this.path)}`);
    }
    const path = await this.#behindLink();
    const parent = parentPath(path);
    try {
      return { directory: this.#open(parent), name: baseName(path), path: this.path };
    } catch (error) {
      if (systemCodeOf(error) !== "ENOENT") throw error;
      throw new Reason("notFound", `there is no local directory ${quoted(parent)}`);
    }
  }

  /** Writes a file's content into the pipe or device that the target is. */
  async write(client: DfsClient, from: Uint8Array, around: Surroundings): Promise<void> {
    const opened =
      this.#descriptor === undefined
        ? await open(Buffer.from(this.path), constants.O_WRONLY)
        : undefined;
    const descriptor = opened?.fd ?? this.#descriptor!;
    const file = await client.open(from);
    try {
      for await (const chunk of file.stream({ signal: around.signal })) {
        await writeNext(descriptor, chunk);
        around.progress.bytes += chunk.length;
      }
    } finally {
      await file.close();
      await opened?.close();
    }
  }

  #open(path: Uint8Array): LocalDirectory {
    this.#opened ??= this.#directories.root(path);
    return this.#opened;
  }

  /** Where the target is a link to a file, that file: cp replaces its content, not the link. */
  async #behindLink(): Promise<Uint8Array> {
    const path = Buffer.from(this.path);
    if (this.#stats !== undefined) {
      const isLink = (await lstat(path)).isSymbolicLink();
      return isLink ? realpath(path, { encoding: "buffer" }) : path;
    }
    if (await isThere(path)) {
      throw new Reason("notFound", `${quoted(this.path)} is a symbolic link that leads nowhere`);
    }
    return path;
  }
}

/** The number of this process's own descriptor that `path` leads to; undefined when it leads elsewhere. */
async function descriptorBehind(path: Uint8Array): Promise<number | undefined> {
  let at = resolve(Buffer.from(path).toString());
  for (let links = 0; links < MAX_SYMLINKS_FOLLOWED; links++) {
    try {
      const isOwn = (await realpath(dirname(at))) === `/proc/${process.pid}/fd`;
      if (isOwn && /^\d+$/.test(basename(at))) return Number(basename(at));
      at = resolve(dirname(at), await readlink(at));
    } catch (error) {
      if (systemCodeOf(error) === undefined) throw error;
      return undefined; // no link, or none that can be followed: what else is wrong is told when it is opened
    }
  }
  return undefined;
}

async function statIfThere(path: Uint8Array): Promise<Stats | undefined> {
  try {
    return await stat(Buffer.from(path));
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw error;
  }
}

async function isThere(path: Buffer): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === "ENOENT" || code === "ENOTDIR") return false;
    throw error;
  }
}
