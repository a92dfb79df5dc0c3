/**
 * Finding inodes and changing them: what all operations share.
 *
 * Times: ctime strictly rises with every change of an inode, also when the clock stands still or goes back. mtime of a
 * directory or file takes the value of ctime when its content changes, unless the caller sets it. atime is set at birth,
 * by setattr, and by clients that tell of reads (`accessed`), which changes nothing else.
 */
import { DfsError } from "../../../base/errors.ts";
import { inodeId, type InodeId } from "../../../base/ids.ts";
import { MAX_LINKS } from "../../../base/limits.ts";
import type { Attributes, FileType } from "../../../protocol/messages/common.ts";
import type { Inode } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";
import type { Moment, OperationContext } from "./context.ts";

/** Set-group-id: what is made in such a directory gets its group, and directories the bit as well. */
const SETGID = 0o2000;

/** Names of a new directory: its entry in the parent and its own `.`. */
export const NEW_DIRECTORY_NLINK = 2;

/** Inode number that stands for "none". */
export const NO_INODE = inodeId(0n);

/** What stat tells about an inode. Extents that were cut off and are still to be removed are no part of it. */
export function attributesOf(inode: Inode): Attributes {
  return {
    inode: inode.id,
    type: inode.type,
    mode: inode.mode,
    uid: inode.uid,
    gid: inode.gid,
    nlink: inode.nlink,
    size: inode.size,
    allocated: Math.min(inode.allocated, inode.size),
    rdev: inode.rdev,
    atimeNs: inode.atimeNs,
    mtimeNs: inode.mtimeNs,
    ctimeNs: inode.ctimeNs,
    version: inode.version,
    base: inode.base,
  };
}

/** The ctime of an inode that changes now. */
export function nextCtime(moment: Moment, inode: Inode): bigint {
  return moment.nowNs > inode.ctimeNs ? moment.nowNs : inode.ctimeNs + 1n;
}

/**
 * The inode with this number, be it named or held open without a name.
 * @throws DfsError `stale` when it is gone.
 */
export function* liveInode(id: InodeId): Operation<Inode> {
  const inode = yield* ask("inode.get", id);
  if (inode === undefined) throw goneError(id);
  if (inode.nlink === 0 && !(yield* ask("open.any", id))) throw goneError(id);
  return inode;
}

/** True when an inode with this number has a name or is open. */
export function* isLive(id: InodeId): Operation<boolean> {
  const inode = yield* ask("inode.get", id);
  if (inode === undefined) return false;
  return inode.nlink > 0 || (yield* ask("open.any", id));
}

/**
 * A live inode that is a directory.
 * @throws DfsError `stale`, `notDirectory`.
 */
export function* liveDirectory(id: InodeId): Operation<Inode> {
  return requireDirectory(yield* liveInode(id));
}

/**
 * The directory in which a name is to be found or made. One that has been removed, though a session may still hold it
 * open, has no names and gets none.
 * @throws DfsError `notFound`, `notDirectory`.
 */
export function* namedDirectory(id: InodeId): Operation<Inode> {
  const inode = yield* ask("inode.get", id);
  if (inode === undefined || inode.nlink === 0) {
    throw new DfsError("notFound", `the directory with inode number ${id} has been removed`);
  }
  return requireDirectory(inode);
}

/** @throws DfsError `isDirectory` or `invalid` when the inode is not a regular file. */
export function requireFile(inode: Inode): Inode {
  if (inode.type === "directory") {
    throw new DfsError("isDirectory", `inode ${inode.id} is a directory and has no content`);
  }
  if (inode.type !== "file") {
    throw new DfsError("invalid", `inode ${inode.id} is a ${inode.type}, not a regular file`);
  }
  return inode;
}

/** An inode that is about to be inserted; the rest of its fields have their values at birth. */
export interface Birth {
  readonly type: FileType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly size?: number;
  readonly rdev?: number;
  readonly base?: number;
  readonly parent?: InodeId;
}

export function newInode(context: Pick<OperationContext, "ids" | "nowNs">, birth: Birth): Inode {
  return {
    id: context.ids.nextInode(),
    type: birth.type,
    mode: birth.mode,
    uid: birth.uid,
    gid: birth.gid,
    nlink: birth.nlink,
    size: birth.size ?? 0,
    allocated: 0,
    rdev: birth.rdev ?? 0,
    atimeNs: context.nowNs,
    mtimeNs: context.nowNs,
    ctimeNs: context.nowNs,
    version: 1n,
    base: birth.base ?? 0,
    parent: birth.parent ?? NO_INODE,
  };
}

/** Owner and mode of something that is made in `parent`, with the group that a set-group-id directory hands down. */
export function inherit<Owner extends { readonly mode: number; readonly gid: number }>(
  parent: Inode,
  type: FileType,
  owner: Owner,
): Owner {
  if ((parent.mode & SETGID) === 0) return owner;
  const mode = type === "directory" ? owner.mode | SETGID : owner.mode;
  return { ...owner, mode, gid: parent.gid };
}

/**
 * Writes a directory whose entries have changed: times, version, and `subdirectories` more (or fewer) of them.
 * @throws DfsError `tooManyLinks`.
 */
export function* changeEntries(
  moment: Moment,
  directory: Inode,
  subdirectories = 0,
): Operation<Inode> {
  const nlink = directory.nlink + subdirectories;
  if (subdirectories > 0) checkLinks(nlink);
  const ctimeNs = nextCtime(moment, directory);
  const version = directory.version + 1n;
  const changed = { ...directory, nlink, version, mtimeNs: ctimeNs, ctimeNs };
  yield* ask("inode.update", changed);
  return changed;
}

/** @throws DfsError `tooManyLinks` when an inode cannot have that many names. */
export function checkLinks(nlink: number): void {
  if (nlink > MAX_LINKS) {
    throw new DfsError("tooManyLinks", `an inode can have at most ${MAX_LINKS} links`);
  }
}

function requireDirectory(inode: Inode): Inode {
  if (inode.type !== "directory") {
    throw new DfsError("notDirectory", `inode ${inode.id} is a ${inode.type}, not a directory`);
  }
  return inode;
}

function goneError(id: InodeId): DfsError {
  return new DfsError(
    "stale",
    `inode ${id} is gone: its last name was removed and nobody has it open`,
  );
}
