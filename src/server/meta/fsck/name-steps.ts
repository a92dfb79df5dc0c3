/**
 * Transactions of fsck that mend names. Each judges again before it acts: between the snapshot in which something was found and
 * this moment a client may have removed, moved or linked anything. What has changed is left to the next run.
 *
 * Nothing is lost by them: a name is removed only when there is nothing behind it, and what has no path gets one in
 * `/lost+found`.
 */
import { inodeId, ROOT_INODE, type InodeId } from "../../../base/ids.ts";
import { changeEntries, nextCtime, NEW_DIRECTORY_NLINK, NO_INODE } from "../namespace/inodes.ts";
import type { Inode } from "../store/rows.ts";
import type { FaultyName, Stray } from "../store/sqlite/names.ts";
import { ask, type Operation } from "../store/store.ts";

/** Where inodes without a path are put, in the root directory. */
const LOST_AND_FOUND = new TextEncoder().encode("lost+found");

/** For nobody else to look into files that may have been anywhere. */
const LOST_AND_FOUND_MODE = 0o700;

/** Directories between a name and the root. */
const DEEPEST = 4096;

const encoder = new TextEncoder();

/** The time of the transaction, and numbers for new inodes. */
export interface MendContext {
  readonly nowNs: bigint;
  readonly nextInode: () => InodeId;
}

/** Mends a name that is wrong. Returns false when it is not wrong any more, or something may still be behind it. */
export function* mendName(context: MendContext, faulty: FaultyName): Operation<boolean> {
  const parent = inodeId(faulty.parent);
  const target = yield* ask("dentry.get", parent, faulty.name);
  if (target === undefined || target.inode !== faulty.inode) return false;
  const directory = yield* ask("inode.get", parent);
  const inode = yield* ask("inode.get", target.inode);
  if (faulty.fault === "noDirectory") {
    if (directory !== undefined && isDirectory(directory)) return false;
    yield* ask("dentry.delete", parent, faulty.name);
    return true;
  }
  if (faulty.fault === "otherType") {
    if (inode === undefined || inode.type === target.type) return false;
    yield* ask("dentry.put", parent, faulty.name, { inode: inode.id, type: inode.type });
  } else {
    if (inode !== undefined) return false;
    // The bytes are still on record, and the name may be all that tells what they were.
    const extents = yield* ask("extent.list", target.inode, 0, Number.MAX_SAFE_INTEGER, 1);
    if (extents.length > 0) return false;
    yield* ask("dentry.delete", parent, faulty.name);
  }
  if (directory !== undefined) yield* changeEntries(context, directory);
  return true;
}

/**
 * Gives an inode that no path leads to a name in `/lost+found`, which is made if there is none. Returns false when one of the
 * witnesses has changed, or `/lost+found` is no directory.
 */
export function* reunite(context: MendContext, stray: Stray): Operation<boolean> {
  for (const { id, ctimeNs } of stray.witnesses) {
    const now = yield* ask("inode.get", inodeId(id));
    if (now?.ctimeNs !== ctimeNs) return false;
  }
  const id = inodeId(stray.id);
  const inode = yield* ask("inode.get", id);
  if (inode === undefined || (yield* ask("reclaim.get", id)) !== undefined) return false;
  if (inode.nlink === 0 && (yield* ask("open.any", id))) return false;
  const home = yield* lostAndFound(context);
  if (home === undefined || home.id === id) return false;
  for (const { parent, name } of stray.names) yield* unlinkFrom(context, inodeId(parent), name, id);
  const isDir = inode.type === "directory";
  yield* ask("dentry.put", home.id, yield* freeName(home.id, id), { inode: id, type: inode.type });
  const now = (yield* ask("inode.get", id))!; // its names may have been in itself
  yield* ask("inode.update", {
    ...now,
    nlink: isDir ? Math.max(now.nlink, NEW_DIRECTORY_NLINK) : 1,
    parent: isDir ? home.id : NO_INODE,
    ctimeNs: nextCtime(context, now),
  });
  yield* changeEntries(context, home, isDir ? 1 : 0);
  return true;
}

/**
 * A directory has one name, and calls another directory its parent than the one that the name is in. Makes that its parent.
 * Returns false when the directory has changed, or the root is not above it there.
 */
export function* mendParent(
  context: Pick<MendContext, "nowNs">,
  seen: { readonly id: InodeId; readonly ctimeNs: bigint },
  place: { readonly parent: InodeId; readonly name: Uint8Array },
): Operation<boolean> {
  const inode = yield* ask("inode.get", seen.id);
  if (inode?.ctimeNs !== seen.ctimeNs) return false;
  const target = yield* ask("dentry.get", place.parent, place.name);
  if (target?.inode !== seen.id || !(yield* isBelowRoot(place.parent, seen.id))) return false;
  const ctimeNs = nextCtime(context, inode);
  yield* ask("inode.update", { ...inode, parent: place.parent, ctimeNs });
  return true;
}

/** True when the way up from `start` ends at the root without coming by `avoided`. */
function* isBelowRoot(start: InodeId, avoided: InodeId): Operation<boolean> {
  let at = start;
  for (let depth = 0; depth < DEEPEST; depth++) {
    if (at === ROOT_INODE) return true;
    if (at === avoided) return false;
    const inode: Inode | undefined = yield* ask("inode.get", at);
    if (inode?.type !== "directory") return false;
    at = inode.parent;
  }
  return false;
}

/** A directory that is there: one without links and parent was removed. */
function isDirectory({ type, nlink, parent }: Inode): boolean {
  return type === "directory" && (nlink > 0 || parent !== NO_INODE);
}

function* unlinkFrom(
  context: MendContext,
  parent: InodeId,
  name: Uint8Array,
  id: InodeId,
): Operation<void> {
  const target = yield* ask("dentry.get", parent, name);
  if (target?.inode !== id) return;
  yield* ask("dentry.delete", parent, name);
  const directory = yield* ask("inode.get", parent);
  if (directory !== undefined) yield* changeEntries(context, directory);
}

/** `#17`, or `#17.1` and so on when that is taken. */
function* freeName(home: InodeId, id: InodeId): Operation<Uint8Array> {
  for (let number = 0; ; number++) {
    const name = encoder.encode(number === 0 ? `#${id}` : `#${id}.${number}`);
    if ((yield* ask("dentry.get", home, name)) === undefined) return name;
  }
}

/** The directory `/lost+found`; undefined when something else has that name. */
function* lostAndFound(context: MendContext): Operation<Inode | undefined> {
  const root = yield* ask("inode.get", ROOT_INODE);
  if (root === undefined) return undefined;
  const target = yield* ask("dentry.get", ROOT_INODE, LOST_AND_FOUND);
  if (target !== undefined) {
    const found = yield* ask("inode.get", target.inode);
    return found !== undefined && isDirectory(found) ? found : undefined;
  }
  const made: Inode = {
    ...root,
    id: context.nextInode(),
    mode: LOST_AND_FOUND_MODE,
    nlink: NEW_DIRECTORY_NLINK,
    atimeNs: context.nowNs,
    mtimeNs: context.nowNs,
    ctimeNs: context.nowNs,
    version: 1n,
    base: 0,
    parent: ROOT_INODE,
  };
  yield* ask("inode.insert", made);
  yield* ask("dentry.put", ROOT_INODE, LOST_AND_FOUND, { inode: made.id, type: "directory" });
  yield* changeEntries(context, root, 1);
  return made;
}
