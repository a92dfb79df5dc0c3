/**
 * Operations on paths: each finds the directory that the name is in, or the inode itself, and then asks or changes.
 *
 * Errors carry the path in their details; their messages are the service's.
 */
import { DfsError, isDfsError } from "../base/errors.ts";
import { ROOT_INODE, type InodeId } from "../base/ids.ts";
import { MAX_ENTRIES_PER_PAGE } from "../base/limits.ts";
import type { ReplyOf } from "../protocol/message.ts";
import type { Attributes, FileType } from "../protocol/messages/common.ts";
import * as messages from "../protocol/messages/namespace.ts";
import type { DirectoryEntry, FileOwner, SetAttributes } from "./api.ts";
import { Directories } from "./directories.ts";
import { checkPath, shownPath, splitPath } from "./paths.ts";
import type { Session } from "./session.ts";

/** A name in a directory that was found. */
export interface Place {
  readonly parent: InodeId;
  readonly name: Uint8Array;
}

type DirectoryPage = ReplyOf<typeof messages.readdir>;

export class Names {
  private readonly session: Session;
  private readonly directories: Directories;

  constructor(session: Session) {
    this.session = session;
    this.directories = new Directories(session);
  }

  /** The inode at `path`. */
  resolve(path: Uint8Array, followLast: boolean): Promise<Attributes> {
    return this.about(path, async () => {
      const request = { start: ROOT_INODE, path, followLast };
      return (await this.session.ask(messages.resolve, request)).attributes;
    });
  }

  /** The directory of the last name of `path`. */
  parent(path: Uint8Array): Promise<InodeId> {
    return this.directories.find(splitPath(path).parent);
  }

  readlink(path: Uint8Array): Promise<Uint8Array> {
    return this.about(path, async () => {
      const { inode } = await this.resolve(path, false);
      return (await this.session.ask(messages.readlink, { inode })).target;
    });
  }

  async *readdir(path: Uint8Array): AsyncGenerator<DirectoryEntry, void> {
    const { inode, type } = await this.resolve(path, true);
    if (type !== "directory") throw notDirectory(path);
    let page: Promise<DirectoryPage> | undefined = this.page(inode, null);
    while (page !== undefined) {
      const { entries, more }: DirectoryPage = await page;
      const last = entries.at(-1);
      page = more && last !== undefined ? this.page(inode, last.name) : undefined;
      page?.catch(() => undefined); // awaited when the consumer gets there, if it does
      for (const { attributes, ...entry } of entries) {
        if (attributes === null) throw new DfsError("protocol", "the listing lacks attributes");
        yield { ...entry, attributes };
      }
    }
  }

  mkdir(path: Uint8Array, owner: FileOwner): Promise<Attributes> {
    return this.at(path, async (place) => {
      const { mode, uid, gid } = owner;
      const body = { ...place, mode, uid, gid };
      return (await this.session.change(messages.mkdir, body)).attributes;
    });
  }

  symlink(
    target: Uint8Array,
    path: Uint8Array,
    { uid, gid }: { readonly uid: number; readonly gid: number },
  ): Promise<Attributes> {
    return this.atFile(path, async (place) => {
      const body = { ...place, uid, gid, target };
      return (await this.session.change(messages.symlink, body)).attributes;
    });
  }

  mknod(path: Uint8Array, type: FileType, rdev: number, owner: FileOwner): Promise<Attributes> {
    return this.atFile(path, async (place) => {
      const { mode, uid, gid } = owner;
      const body = { ...place, mode, uid, gid, type, rdev };
      return (await this.session.change(messages.mknod, body)).attributes;
    });
  }

  link(existing: Uint8Array, path: Uint8Array): Promise<Attributes> {
    return this.atFile(path, async (place) => {
      const { inode } = await this.resolve(existing, false);
      return (await this.session.change(messages.link, { inode, ...place })).attributes;
    });
  }

  async unlink(path: Uint8Array): Promise<void> {
    await this.atFile(path, (place) => this.session.change(messages.unlink, place));
  }

  async rmdir(path: Uint8Array): Promise<void> {
    await this.at(path, (place) => this.session.change(messages.rmdir, place));
  }

  async rename(
    from: Uint8Array,
    to: Uint8Array,
    how: "replace" | "noReplace" | "exchange",
  ): Promise<void> {
    await this.at(from, (place) =>
      this.at(to, (newPlace) => {
        const target = { newParent: newPlace.parent, newName: newPlace.name };
        return this.session.change(messages.rename, { ...place, ...target, how });
      }),
    );
  }

  /** Changes attributes of an inode. */
  async setattr(inode: InodeId, change: SetAttributes): Promise<Attributes> {
    const { mode = null, uid = null, gid = null, size = null, atimeNs, mtimeNs } = change;
    const body = {
      inode,
      mode,
      uid,
      gid,
      size,
      atimeNs: typeof atimeNs === "bigint" ? atimeNs : null,
      mtimeNs: typeof mtimeNs === "bigint" ? mtimeNs : null,
      atimeNow: atimeNs === "now",
      mtimeNow: mtimeNs === "now",
    };
    return (await this.session.change(messages.setattr, body)).attributes;
  }

  xattrGet(path: Uint8Array, name: Uint8Array): Promise<Uint8Array> {
    return this.about(path, async () => {
      const { inode } = await this.resolve(path, true);
      return (await this.session.ask(messages.xattrGet, { inode, name })).value;
    });
  }

  xattrList(path: Uint8Array): Promise<Uint8Array[]> {
    return this.about(path, async () => {
      const { inode } = await this.resolve(path, true);
      return (await this.session.ask(messages.xattrList, { inode })).names;
    });
  }

  async xattrSet(
    path: Uint8Array,
    name: Uint8Array,
    value: Uint8Array,
    how: "any" | "create" | "replace",
  ): Promise<void> {
    await this.about(path, async () => {
      const { inode } = await this.resolve(path, true);
      await this.session.change(messages.xattrSet, { inode, name, value, how });
    });
  }

  async xattrRemove(path: Uint8Array, name: Uint8Array): Promise<void> {
    await this.about(path, async () => {
      const { inode } = await this.resolve(path, true);
      await this.session.change(messages.xattrRemove, { inode, name });
    });
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

  private page(directory: InodeId, after: Uint8Array | null): Promise<DirectoryPage> {
    const request = { directory, after, limit: MAX_ENTRIES_PER_PAGE, withAttributes: true };
    return this.session.ask(messages.readdir, request);
  }
}

function notDirectory(path: Uint8Array): DfsError {
  return new DfsError("notDirectory", `${shownPath(path)} is not a directory`);
}
