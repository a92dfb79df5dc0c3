/**
 * Operations by inode number, as a mount needs them: `client.inodes`. Everything else is as in api.ts.
 *
 * Attributes that are returned are as this client's user sees them: of a file with writes that are not committed yet they
 * have its size and time of change.
 */
import type { CancelSignal } from "../base/cancellation.ts";
import type { InodeId } from "../base/ids.ts";
import type { DirectoryPage } from "../protocol/directory-page.ts";
import type { Attributes, FileType } from "../protocol/messages/common.ts";
import type { FileLock, LockKind } from "../protocol/messages/locks.ts";
import type { FileOwner, OpenFile, SetAttributes } from "./api.ts";

/** A name in a directory. */
export interface Place {
  readonly parent: InodeId;
  readonly name: Uint8Array;
}

export interface CallOptions {
  /** Aborted, the call throws `cancelled` soon; what it asked for may have happened. */
  readonly signal?: CancelSignal | undefined;
}

export interface NameChangeOptions extends CallOptions {
  /** Is told the attributes of the directory as the change of a name has left it, if the service tells them. */
  readonly onDirectory?: ((directory: Attributes) => void) | undefined;
}

/** What others have changed, as far as this client hears of it. */
export interface ChangeListener {
  /** The content of a file that is open here is another one; its attributes are as well. */
  contentChanged(inode: InodeId): void;
  /** Attributes of an inode have changed. Its content has this version now, 0 if it is gone. */
  attributesChanged(inode: InodeId, version: bigint): void;
  /** The name means something else, has come or gone. */
  entryChanged(parent: InodeId, name: Uint8Array): void;
  /** Anything may have changed: for a time nobody listened. */
  everythingChanged(): void;
}

export interface Inodes {
  /** `.` and `..` are names of the directory itself and of its parent. @throws DfsError `notFound`, `notDirectory`, `stale`. */
  lookup(place: Place, options?: CallOptions): Promise<Attributes>;
  /** @throws DfsError `stale` when the inode is gone. */
  getattr(inode: InodeId, options?: CallOptions): Promise<Attributes>;
  /**
   * Changes attributes. A new size, and times that are given, come after what was written before.
   * @throws DfsError as `DfsClient.setattr`, and what writing back fails with.
   */
  setattr(inode: InodeId, change: SetAttributes, options?: CallOptions): Promise<Attributes>;
  mkdir(place: Place, owner: FileOwner, options?: NameChangeOptions): Promise<Attributes>;
  mknod(
    place: Place,
    type: FileType,
    rdev: number,
    owner: FileOwner,
    options?: NameChangeOptions,
  ): Promise<Attributes>;
  symlink(
    place: Place,
    target: Uint8Array,
    owner: { readonly uid: number; readonly gid: number },
    options?: NameChangeOptions,
  ): Promise<Attributes>;
  link(inode: InodeId, place: Place, options?: NameChangeOptions): Promise<Attributes>;
  unlink(place: Place, options?: NameChangeOptions): Promise<void>;
  rmdir(place: Place, options?: NameChangeOptions): Promise<void>;
  rename(
    from: Place,
    to: Place,
    how: "replace" | "noReplace" | "exchange",
    options?: CallOptions,
  ): Promise<void>;
  readlink(inode: InodeId, options?: CallOptions): Promise<Uint8Array>;
  /**
   * Entries behind the name `after` (undefined: from the first one), at most `limit`. That name need not exist any more: a
   * listing goes on where it stopped, whatever has changed, and tells each name that stays exactly once.
   */
  readdir(
    directory: InodeId,
    after: Uint8Array | undefined,
    limit: number,
    options?: CallOptions,
  ): Promise<DirectoryPage>;
  xattrGet(inode: InodeId, name: Uint8Array, options?: CallOptions): Promise<Uint8Array>;
  xattrSet(
    inode: InodeId,
    name: Uint8Array,
    value: Uint8Array,
    how: "any" | "create" | "replace",
    options?: CallOptions,
  ): Promise<void>;
  xattrList(inode: InodeId, options?: CallOptions): Promise<Uint8Array[]>;
  xattrRemove(inode: InodeId, name: Uint8Array, options?: CallOptions): Promise<void>;

  /** `listener` is told from now on of what others change. There is one at a time. */
  listen(listener: ChangeListener): void;
  /**
   * Asks the service to tell of changes of what it has told, which whoever uses this client keeps for `cacheMs` at most. What it
   * tells are hints, given to the listener; they may get lost.
   */
  watch(cacheMs: number): Promise<void>;

  /**
   * The inode was read at this time. Shown at once by this client; the service is told a moment later, of many inodes together and
   * without waiting, and the record changes only where this is later.
   */
  accessed(inode: InodeId, atimeNs: bigint): void;
  /** Commits what was written to the inode, if it is open here; as `OpenFile.flush`. */
  flush(inode: InodeId, options?: CallOptions): Promise<void>;

  /**
   * Opens a regular file, always by asking the service; closing the handle gives it up.
   * @throws DfsError `stale` when it is gone; `isDirectory`, `invalid` when it is not a regular file.
   */
  open(inode: InodeId, options?: CallOptions): Promise<OpenFile>;
  /**
   * Creates and opens a regular file; an existing one is opened unless `exclusive`. Its blocks are placed by a hash of the
   * directory's number and the name.
   * @throws DfsError `exists` for a taken name, if `exclusive` or if it is not that of a regular file or directory; `isDirectory`.
   */
  create(
    place: Place,
    owner: FileOwner,
    exclusive: boolean,
    options?: NameChangeOptions,
  ): Promise<{ readonly file: OpenFile; readonly created: boolean }>;
}

export type { FileLock, LockKind } from "../protocol/messages/locks.ts";

/**
 * Locks of files, shared by all clients of the cluster. Owners are numbers of this client; kinds do not see one another.
 *
 * When the session expires its locks are gone. Files that were locked then answer every read and write with `io` until all their
 * handles are closed.
 */
export interface FileLocks {
  /** The first lock in the way of this one. @throws DfsError `stale`, `invalid` (a range that cannot be). */
  get(inode: InodeId, lock: FileLock, options?: CallOptions): Promise<FileLock | undefined>;
  /**
   * Takes, changes or, with type `none`, gives up a lock. With `wait` it resolves when it has been granted, however long that
   * takes; requests are granted in their order.
   * @throws DfsError `busy` when one is in the way and `wait` is false; `wouldDeadlock`; `cancelled` by the signal, and then the
   * lock has not been taken; `stale`, `invalid`.
   */
  set(inode: InodeId, lock: FileLock, wait: boolean, options?: CallOptions): Promise<void>;
  /** Gives up all that an owner holds of a file. */
  release(inode: InodeId, kind: LockKind, owner: bigint): Promise<void>;
}
