/**
 * How an inode goes: its last name is removed and no session has it open any more.
 *
 * Little is removed at once, in the operation that took the last name or the last open; a file with many extents is put
 * into the reclaim queue and removed in bounded batches. An inode with `nlink` 0 is either open or in that queue.
 */
import type { InodeId } from "../../../base/ids.ts";
import type { Inode } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";
import { dropExtents } from "./content/extents.ts";
import type { Moment, OperationContext } from "./context.ts";
import { NO_INODE, nextCtime } from "./inodes.ts";

/** Extents of one inode that the operation itself removes; files with more go through the queue. */
const EXTENTS_AT_ONCE = 16;

/** And of all inodes together, when it gives up many. */
const EXTENTS_IN_ALL = 256;

/** What an operation that gives up many inodes may still remove itself. */
export class Allowance {
  extents = EXTENTS_IN_ALL;
}

/**
 * One name of the inode is gone (a directory has one): writes the inode, or removes it when it is unused now. Returns true when
 * that was the last name, and the inode stays because somebody has it open.
 */
export function* dropLink(moment: Moment, inode: Inode): Operation<boolean> {
  const directory = inode.type === "directory";
  const left: Inode = {
    ...inode,
    nlink: directory ? 0 : inode.nlink - 1,
    parent: directory ? NO_INODE : inode.parent,
    ctimeNs: nextCtime(moment, inode),
  };
  const isOpen = left.nlink === 0 && (yield* ask("open.any", inode.id));
  if (left.nlink > 0 || isOpen) yield* ask("inode.update", left);
  else yield* vanish(moment, left);
  return isOpen;
}

/**
 * As `dropLink`; returns the inode when it stays without a name for the session that asks, which alone has it open. Nobody else
 * will ever read it then.
 */
export function* dropLinkOf(context: OperationContext, inode: Inode): Operation<InodeId | null> {
  const stays = yield* dropLink(context, inode);
  return stays && !(yield* ask("open.byOthers", context.session, inode.id)) ? inode.id : null;
}

/** A session has given up its last open of the inode: removes it when it is unused now, as far as that is allowed. */
export function* dropOpen(moment: Moment, id: InodeId, allowance: Allowance): Operation<void> {
  const inode = yield* ask("inode.get", id);
  if (inode === undefined || inode.nlink > 0) return;
  if (yield* ask("open.any", id)) return;
  yield* vanish(moment, inode, allowance);
}

/** What one step of the queue's work did. */
export interface ReclaimProgress {
  readonly extents: number;
  readonly inodes: number;
  /** True when there is more to do. */
  readonly more: boolean;
}

/** Removes up to `limit` extents of inodes in the queue, and the inodes that have none left. */
export function* reclaimStep(moment: Moment, limit: number): Operation<ReclaimProgress> {
  let extents = 0;
  let inodes = 0;
  const queue = yield* ask("reclaim.list", limit + 1);
  for (const entry of queue.slice(0, limit)) {
    if (extents >= limit) return { extents, inodes, more: true };
    const dropped = yield* dropExtents(moment, entry.inode, limit - extents);
    extents += dropped.extents;
    if (!dropped.finished) return { extents, inodes, more: true };
    yield* ask("reclaim.delete", entry.inode);
    const inode = yield* ask("inode.get", entry.inode);
    if (inode !== undefined) yield* deleteInode(inode);
    inodes++;
  }
  return { extents, inodes, more: queue.length > limit };
}

function* vanish(moment: Moment, inode: Inode, allowance = new Allowance()): Operation<void> {
  if (moment.holdRemovals !== true) {
    const empty = inode.allocated === 0 || (yield* dropSome(moment, inode.id, allowance));
    if (empty) return yield* deleteInode(inode);
  }
  yield* ask("inode.update", inode);
  yield* ask("reclaim.put", { inode: inode.id, sinceNs: moment.nowNs });
}

/** Removes extents as far as is allowed; true when there is none left. */
function* dropSome(moment: Moment, inode: InodeId, allowance: Allowance): Operation<boolean> {
  const most = Math.min(EXTENTS_AT_ONCE, allowance.extents);
  const { extents, finished } = yield* dropExtents(moment, inode, most);
  allowance.extents -= extents;
  return finished;
}

function* deleteInode(inode: Inode): Operation<void> {
  yield* ask("inode.delete", inode.id);
  yield* ask("xattr.deleteAll", inode.id);
  if (inode.type === "symlink") yield* ask("symlink.delete", inode.id);
}
