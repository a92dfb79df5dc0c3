/**
 * The border of a mount: what a driver (the FUSE protocol, or a library that speaks it) asks of a file system. Drivers know
 * nothing of the client module, and the file system behind this knows nothing of FUSE.
 *
 * Rules
 * - Everything is by inode number; the root is `ROOT_INODE`. Names and targets are bytes.
 * - A call fails by throwing a DfsError; the driver turns its kind into an errno (`base/errno.ts`).
 * - A call that takes a `signal` may be given up by its caller (a signal has reached the process that waits). It then throws
 *   `cancelled` soon, and has either happened as a whole or not at all.
 * - Permissions are not checked here, but by the kernel (`default_permissions`); owners are stored as given.
 * - Byte arrays that are passed in belong to the driver: what the file system keeps beyond the call it copies. Arrays that it
 *   returns belong to it and are not changed any more.
 */
import type { CancelSignal } from "../base/cancellation.ts";
import type { InodeId } from "../base/ids.ts";
import type { Attributes, FileType } from "../protocol/messages/common.ts";

/** Who calls: the ids with which a file is created, and the process that owns a lock. */
export interface Caller {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
}

/** A number by which an open file or directory is named from `open` to `release`. */
export type Handle = number;

export interface OpenFlags {
  readonly read: boolean;
  readonly write: boolean;
  /** Each write goes to the end of the file, wherever others have moved it to. */
  readonly append: boolean;
  /** Cut to nothing by the opening. */
  readonly truncate: boolean;
  /** O_SYNC or O_DSYNC: each write is durable when it returns. */
  readonly sync: boolean;
  /** O_DIRECT: the kernel caches nothing of this handle. */
  readonly direct: boolean;
}

export interface OpenedFile {
  readonly handle: Handle;
  readonly attributes: Attributes;
  /** Pages that the kernel has of the file are of this content and may stay. */
  readonly keepCache: boolean;
}

export interface AttributeChange {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  /** Nanoseconds since the epoch, or the service's now. */
  readonly atimeNs?: bigint | "now";
  readonly mtimeNs?: bigint | "now";
  /** Clear setuid and setgid as chown(2), truncate(2) and write(2) by an ordinary user do. */
  readonly clearSetId?: boolean;
}

/** Attributes as the service told them `ageMs` milliseconds ago, at least; left out: just now. */
export interface ToldAttributes extends Attributes {
  readonly ageMs?: number;
}

/** One entry of a directory. `.` and `..` are among them, first. */
export interface ListedEntry {
  readonly name: Uint8Array;
  readonly inode: InodeId;
  readonly type: FileType;
  /** Undefined for `.` and `..`. */
  readonly attributes: Attributes | undefined;
  /** Given to `list` it goes on behind this entry; above 0. */
  readonly cookie: bigint;
}

/** fallocate(2): `allocate` needs nothing but the size, as space is not reserved. */
export interface Allocation {
  readonly how: "allocate" | "punchHole" | "zeroRange" | "collapseRange" | "insertRange";
  /** FALLOC_FL_KEEP_SIZE. */
  readonly keepSize: boolean;
  readonly offset: number;
  readonly length: number;
}

/** A lock of fcntl(2) (a range, owned by a process of a mount) or flock(2) (the file, owned by an open file). */
export interface Lock {
  readonly kind: "posix" | "flock";
  readonly type: "shared" | "exclusive" | "none";
  /** Whose it is: a number that is unique in this mount. */
  readonly owner: bigint;
  readonly pid: number;
  readonly start: number;
  /** The last byte, inclusive; `Number.MAX_SAFE_INTEGER` for up to the end, wherever that will be. */
  readonly end: number;
}

/** statfs(2), in bytes. */
export interface Space {
  readonly capacityBytes: number;
  readonly availableBytes: number;
  readonly inodes: number;
  readonly blockSize: number;
}

/**
 * What the file system tells of its own accord: somebody else has changed something that the kernel may still hold. The driver
 * drops it there. These return at once; order is kept.
 */
export interface Invalidations {
  /**
   * Attributes of the inode are out of date, and its content when `content` is true. A promise that is returned resolves when
   * the kernel has dropped them, and never rejects: what is answered after that, a lock for example, cannot be followed by a
   * read of old pages. `lookup`, `read`, `write` and what changes names must not wait for it: the kernel keeps pages and
   * directories locked until these are answered, and the notices, which go one after the other, wait for such locks.
   */
  inode(inode: InodeId, content: boolean): void | Promise<void>;
  /** The name in this directory means something else, or nothing, from now on. */
  entry(parent: InodeId, name: Uint8Array): void;
  /** Everything may be out of date: the connection was lost for longer than the session lived. */
  all(): void;
}

/** How long the kernel may go by what it was told, in milliseconds. */
export interface Timeouts {
  readonly attributesMs: number;
  readonly entryMs: number;
  /** For names that do not exist. */
  readonly negativeMs: number;
}

export interface MountedFileSystem {
  /** Says how to tell the driver what is out of date. Called once, before any other call. */
  start(invalidations: Invalidations): void;
  readonly timeouts: Timeouts;
  /** Bytes of a file block: what st_blksize says. */
  readonly blockSize: number;
  readonly readOnly: boolean;

  // Names. Each returned Attributes counts as one reference of the kernel to that inode (`lookup` in FUSE); `forget` returns them.
  /** @throws DfsError `notFound`; `ageMs` among its details says how many milliseconds ago that was so, if not just now. */
  lookup(parent: InodeId, name: Uint8Array, signal?: CancelSignal): Promise<Attributes>;
  /** Gives back references; an inode that is gone and has none left is forgotten. Cannot fail. */
  forget(inode: InodeId, references: bigint): void;
  mkdir(
    parent: InodeId,
    name: Uint8Array,
    mode: number,
    caller: Caller,
    signal?: CancelSignal,
  ): Promise<Attributes>;
  mknod(
    parent: InodeId,
    name: Uint8Array,
    node: { readonly type: FileType; readonly mode: number; readonly rdev: number },
    caller: Caller,
    signal?: CancelSignal,
  ): Promise<Attributes>;
  symlink(
    parent: InodeId,
    name: Uint8Array,
    target: Uint8Array,
    caller: Caller,
    signal?: CancelSignal,
  ): Promise<Attributes>;
  link(
    inode: InodeId,
    parent: InodeId,
    name: Uint8Array,
    signal?: CancelSignal,
  ): Promise<Attributes>;
  unlink(parent: InodeId, name: Uint8Array, signal?: CancelSignal): Promise<void>;
  rmdir(parent: InodeId, name: Uint8Array, signal?: CancelSignal): Promise<void>;
  rename(
    from: { readonly parent: InodeId; readonly name: Uint8Array },
    to: { readonly parent: InodeId; readonly name: Uint8Array },
    how: "replace" | "noReplace" | "exchange",
    signal?: CancelSignal,
  ): Promise<void>;
  readlink(inode: InodeId, signal?: CancelSignal): Promise<Uint8Array>;

  // Attributes. With a handle, of an open file, that may have no name any more.
  getattr(
    inode: InodeId,
    handle: Handle | undefined,
    signal?: CancelSignal,
  ): Promise<ToldAttributes>;
  setattr(
    inode: InodeId,
    change: AttributeChange,
    handle: Handle | undefined,
    caller: Caller,
    signal?: CancelSignal,
  ): Promise<Attributes>;
  xattrGet(inode: InodeId, name: Uint8Array, signal?: CancelSignal): Promise<Uint8Array>;
  xattrSet(
    inode: InodeId,
    name: Uint8Array,
    value: Uint8Array,
    how: "any" | "create" | "replace",
    signal?: CancelSignal,
  ): Promise<void>;
  xattrList(inode: InodeId, signal?: CancelSignal): Promise<readonly Uint8Array[]>;
  xattrRemove(inode: InodeId, name: Uint8Array, signal?: CancelSignal): Promise<void>;

  // Open files.
  open(inode: InodeId, flags: OpenFlags, signal?: CancelSignal): Promise<OpenedFile>;
  /** Creates and opens; the existing file when there is one and `exclusive` is false. The attributes count as a `lookup`. */
  create(
    parent: InodeId,
    name: Uint8Array,
    file: { readonly mode: number; readonly exclusive: boolean; readonly flags: OpenFlags },
    caller: Caller,
    signal?: CancelSignal,
  ): Promise<OpenedFile>;
  /** Up to `length` verified bytes, fewer only at the end of the file. */
  read(
    inode: InodeId,
    handle: Handle,
    offset: number,
    length: number,
    signal?: CancelSignal,
  ): Promise<Uint8Array>;
  /** Nobody looks any more at bytes that `read` has returned: the kernel has them. */
  doneWith?(bytes: Uint8Array): void;
  /**
   * Takes all of the bytes, or throws. They are in memory after that, unless the handle is `sync`; an error that occurs later
   * is thrown by `flush` or `fsync`.
   */
  write(
    inode: InodeId,
    handle: Handle,
    offset: number,
    bytes: Uint8Array,
    options?: {
      readonly clearSetId?: boolean;
      /**
       * The bytes come from pages of a mapping and belong at `offset`, even when the handle is one that appends: the kernel
       * takes any handle of the file for them.
       */
      readonly atOffset?: boolean;
      readonly signal?: CancelSignal;
    },
  ): Promise<void>;
  /** Called at each close(2) of a descriptor: what was written is durable and visible to others after it. */
  flush(inode: InodeId, handle: Handle, signal?: CancelSignal): Promise<void>;
  fsync(inode: InodeId, handle: Handle, signal?: CancelSignal): Promise<void>;
  /** The last descriptor and mapping of the handle are gone. */
  release(inode: InodeId, handle: Handle): Promise<void>;
  /** Given up, a long one may have been done from its start. */
  allocate(
    inode: InodeId,
    handle: Handle,
    allocation: Allocation,
    signal?: CancelSignal,
  ): Promise<void>;
  /** SEEK_DATA and SEEK_HOLE. @throws DfsError `noData` (ENXIO) when there is none from `offset` on. */
  seek(
    inode: InodeId,
    handle: Handle,
    offset: number,
    what: "data" | "hole",
    signal?: CancelSignal,
  ): Promise<number>;
  /**
   * Copies within the file system, without moving blocks where they can be shared. Returns how many bytes: 0 at the end, fewer
   * than `length` also when it was given up after a part of them.
   */
  copyRange(
    from: { readonly inode: InodeId; readonly handle: Handle; readonly offset: number },
    to: { readonly inode: InodeId; readonly handle: Handle; readonly offset: number },
    length: number,
    signal?: CancelSignal,
  ): Promise<number>;

  // Open directories.
  openDirectory(inode: InodeId): Promise<Handle>;
  /**
   * Entries behind `cookie` (0: from the start), at least one unless at the end; the driver takes as many as fit and asks again
   * behind the last one that did. They are to be walked through once and at once: each may be made only when its turn comes, and
   * its name is good until then only.
   * Attributes count as a `lookup` only for those that the driver says it took, by `took`.
   */
  list(
    inode: InodeId,
    handle: Handle,
    cookie: bigint,
    signal?: CancelSignal,
  ): Promise<Iterable<ListedEntry>>;
  /** The kernel was given this entry with its attributes: it counts as one reference. */
  took(entry: ListedEntry): void;
  releaseDirectory(inode: InodeId, handle: Handle): void;
  /** All changes in the directory are durable. */
  fsyncDirectory(inode: InodeId): Promise<void>;

  // Locks, shared by all mounts of the cluster.
  /** The lock in the way of this one, or undefined. */
  getLock(inode: InodeId, lock: Lock): Promise<Lock | undefined>;
  /**
   * Takes, changes or (type `none`) gives up a lock. With `wait` it resolves when it has been got.
   * @throws DfsError `busy` when it is taken and `wait` is false, `wouldDeadlock`; `cancelled` by the signal.
   */
  setLock(inode: InodeId, lock: Lock, wait: boolean, signal?: CancelSignal): Promise<void>;
  /** Gives up everything that this owner holds of the file: POSIX locks at each close(2), flock at the last one. */
  releaseLocks(inode: InodeId, kind: Lock["kind"], owner: bigint): Promise<void>;

  statfs(signal?: CancelSignal): Promise<Space>;
  /** The mount is gone: writes back what there is and ends the session. */
  stop(): Promise<void>;
}
