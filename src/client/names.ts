/**
 * Operations on paths: each finds the directory that the name is in, or the inode itself, and then asks or changes.
 *
 * Errors carry the path in their details; their messages are the service's.
 */
import { DfsError, isDfsError } from "../base/errors.ts";
import { ROOT_INODE, type InodeId } from "../base/ids.ts";
import { MAX_ENTRIES_PER_PAGE } from "../base/limits.ts";
import type { DirectoryEntry, DirectoryPage } from "../protocol/directory-page.ts";
import type { Attributes, FileType } from "../protocol/messages/common.ts";
import { resolve } from "../protocol/messages/namespace.ts";
import type { FileOwner } from "./api.ts";
import { Directories } from "./directories.ts";
import type { Place } from "./inode-api.ts";
import type { InodeRequests } from "./inode-requests.ts";
import { checkPath, shownPath, splitPath } from "./paths.ts";
import type { Session } from "./session.ts";

export class Names {
  private readonly session: Session;
  private readonly requests: InodeRequests;
  private readonly directories: Directories;

  constructor(session: Session, requests: InodeRequests) {
    this.session = session;
    this.requests = requests;
    this.directories = new Directories(session);
  }

  /** The inode at `path`. */
  resolve(path: Uint8Array, followLast: boolean): Promise<Attributes> {
    return this.about(path, async () => {
      const request = { start: ROOT_INODE, path, followLast };
      return (await this.session.ask(resolve, request)).attributes;
    });
  }

  /** The directory of the last name of `path`. */
  parent(path: Uint8Array): Promise<InodeId> {
    return this.directories.find(splitPath(path).parent);
  }

  readlink(path: Uint8Array): Promise<Uint8Array> {
    return this.about(path, async () => {
      const { inode } = await this.resolve(path, false);
      return this.requests.readlink(inode);
    });
  }

  async *readdir(path: Uint8Array): AsyncGenerator<DirectoryEntry, void> {
    const { inode, type } = await this.resolve(path, true);
    if (type !== "directory") throw notDirectory(path);
    let page: Promise<DirectoryPage> | undefined = this.page(inode, undefined);
    while (page !== undefined) {
      const { entries, more }: DirectoryPage = await page;
      const last = entries.at(-1);
      page = more && last !== undefined ? this.page(inode, last.name) : undefined;
      page?.catch(() => undefined); // awaited when the consumer gets there, if it does
      yield* entries;
    }
  }

  mkdir(path: Uint8Array, owner: FileOwner): Promise<Attributes> {
    return this.at(path, (place) => this.requests.mkdir(place, owner));
  }

  symlink(
    target: Uint8Array,
    path: Uint8Array,
    owner: { readonly uid: number; readonly gid: number },
  ): Promise<Attributes> {
    return this.atFile(path, (place) => this.requests.symlink(place, target, owner));
  }

  mknod(path: Uint8Array, type: FileType, rdev: number, owner: FileOwner): Promise<Attributes> {
    return this.atFile(path, (place) => this.requests.mknod(place, type, rdev, owner));
  }

  link(existing: Uint8Array, path: Uint8Array): Promise<Attributes> {
    return this.atFile(path, async (place) => {
      const { inode } = await this.resolve(existing, false);
      return this.requests.link(inode, place);
    });
  }

  unlink(path: Uint8Array): Promise<void> {
    return this.atFile(path, async (place) => {
      await this.requests.unlink(place);
    });
  }

  rmdir(path: Uint8Array): Promise<void> {
    return this.at(path, (place) => this.requests.rmdir(place));
  }

  rename(
    from: Uint8Array,
    to: Uint8Array,
    how: "replace" | "noReplace" | "exchange",
  ): Promise<void> {
    return this.at(from, (place) =>
      this.at(to, async (newPlace) => {
        await this.requests.rename(place, newPlace, how);
      }),
    );
  }

  xattrGet(path: Uint8Array, name: Uint8Array): Promise<Uint8Array> {
    return this.onInode(path, (inode) => this.requests.xattrGet(inode, name));
  }

  xattrList(path: Uint8Array): Promise<Uint8Array[]> {
    return this.onInode(path, (inode) => this.requests.xattrList(inode));
  }

  xattrSet(
    path: Uint8Array,
    name: Uint8Array,
    value: Uint8Array,
    how: "any" | "create" | "replace",
  ): Promise<void> {
    return this.onInode(path, (inode) => this.requests.xattrSet(inode, name, value, how));
  }

  xattrRemove(path: Uint8Array, name: Uint8Array): Promise<void> {
    return this.onInode(path, (inode) => this.requests.xattrRemove(inode, name));
  }

  /** Runs `work` with the place of the last name of `path`; once more when its directory has just gone. */
  at<T>(path: Uint8Array, work: (place: Place) => Promise<T>): Promise<T> {
    return this.about(path, async () => {
      const { name } = splitPath(path);
      const parent = await this.parent(path);
      try {
        return await work({ parent, name });
      } catch (error) {
        if (!isDfsError(error, "stale") && !isDfsError(error, "notFound")) throw error;
        const now = await this.parent(path);
        if (now === parent) throw error;
        return work({ parent: now, name });
      }
    });
  }

  /** As `at`, for what cannot be a directory. */
  atFile<T>(path: Uint8Array, work: (place: Place) => Promise<T>): Promise<T> {
    return this.about(path, async () => {
      if (splitPath(path).mustBeDirectory) throw notDirectory(path);
      return this.at(path, work);
    });
  }

  /** Checks `path` and runs `work`; errors tell the path. */
  async about<T>(path: Uint8Array, work: () => Promise<T>): Promise<T> {
    try {
      checkPath(path);
      return await work();
    } catch (error) {
      if (!isDfsError(error) || error.details["path"] !== undefined) throw error;
      throw new DfsError(error.kind, error.message, {
        details: { ...error.details, path: shownPath(path) },
        cause: error.cause ?? error,
      });
    }
  }

  private onInode<T>(path: Uint8Array, work: (inode: InodeId) => Promise<T>): Promise<T> {
    return this.about(path, async () => work((await this.resolve(path, true)).inode));
  }

  private page(directory: InodeId, after: Uint8Array | undefined): Promise<DirectoryPage> {
    return this.requests.readdir(directory, after, MAX_ENTRIES_PER_PAGE);
  }
}

function notDirectory(path: Uint8Array): DfsError {
  return new DfsError("notDirectory", `${shownPath(path)} is not a directory`);
}
