/**
 * The extents of a file and the references that they hold to blocks.
 *
 * Invariants: the extents of a file never overlap; a block's `refs` is the number of extents that name it; a block whose
 * `refs` reach 0 is marked dead in the same transaction, its copies are marked `removing`, and it is never named again.
 */
import type { BlockId, InodeId } from "../../../../base/ids.ts";
import type { Extent, Inode } from "../../store/rows.ts";
import { ask, type Operation } from "../../store/store.ts";
import type { Moment, OperationContext } from "../context.ts";
import { newInode } from "../inodes.ts";
import { recordForgotten } from "./forgotten.ts";

/** Extents looked at in one request to the store. */
const PAGE = 512;

/** Extents that one operation removes one by one; of more it hands the rest to a grave. */
export const REMOVED_AT_ONCE = 256;

/**
 * A nameless inode in the reclaim queue that takes over extents which an operation takes out of a file: that costs little for
 * each, and the rest is done there, step by step. Made when it is needed.
 */
export class Grave {
  private readonly context: Burial;
  private inode: Inode | undefined;
  private bytes = 0;
  /** Extents that may still be removed one by one. */
  left = REMOVED_AT_ONCE;

  constructor(context: Burial) {
    this.context = context;
  }

  /** Takes the extents of `inode` that begin in [from, end), and returns their bytes. */
  *take(inode: InodeId, from: number, end: number): Operation<number> {
    this.inode ??= newInode(this.context, { type: "file", mode: 0, uid: 0, gid: 0, nlink: 0 });
    const moved = yield* ask("extent.move", inode, from, end, this.inode.id);
    this.bytes += moved;
    return moved;
  }

  /** To be called behind the last `take`. */
  *close(): Operation<void> {
    if (this.inode === undefined || this.bytes === 0) return;
    yield* ask("inode.insert", { ...this.inode, allocated: this.bytes });
    yield* ask("reclaim.put", { inode: this.inode.id, sinceNs: this.context.nowNs });
  }
}

/** What a grave needs. */
export type Burial = Pick<OperationContext, "ids" | "nowNs">;

/**
 * Takes [from, to) out of a file: what lies in it is removed, what reaches into it is cut, and an extent that reaches
 * over both ends is split into two that name the same block. Returns the number of bytes that were covered. With a grave,
 * most of many extents go there.
 */
export function* cutRange(
  moment: Moment,
  inode: InodeId,
  from: number,
  to: number,
  grave?: Grave,
): Operation<number> {
  let bytes = 0;
  for (;;) {
    const most = grave === undefined ? PAGE : grave.left + 1;
    const page = yield* ask("extent.list", inode, from, to, most);
    if (grave !== undefined && page.length > grave.left) {
      return yield* buryRange(moment, inode, from, to, grave);
    }
    for (const extent of page) bytes += yield* cutExtent(moment, inode, extent, from, to);
    if (grave !== undefined) grave.left -= page.length;
    // What was looked at does not overlap the range any more, so the next page begins with the rest.
    if (page.length < most) return bytes;
  }
}

/** As `cutRange`, for a range with many extents: only those that reach out of it are cut one by one. */
function* buryRange(
  moment: Moment,
  inode: InodeId,
  from: number,
  to: number,
  grave: Grave,
): Operation<number> {
  let bytes = yield* cutStraddling(moment, inode, from, to);
  const [last] = yield* ask("extent.list", inode, to - 1, to, 1);
  if (last !== undefined && last.offset + last.length > to) {
    bytes += yield* cutExtent(moment, inode, last, from, to);
  }
  return bytes + (yield* grave.take(inode, from, to));
}

/** Cuts what begins before `from` and reaches into [from, to), and returns the bytes that it had there. */
export function* cutStraddling(
  moment: Moment,
  inode: InodeId,
  from: number,
  to: number,
): Operation<number> {
  const [first] = yield* ask("extent.list", inode, from, to, 1);
  if (first === undefined || first.offset >= from) return 0;
  return yield* cutExtent(moment, inode, first, from, to);
}

/** Removes up to `limit` extents of an inode that nobody uses any more. */
export function* dropExtents(
  moment: Moment,
  inode: InodeId,
  limit: number,
): Operation<{ readonly extents: number; readonly finished: boolean }> {
  const page = yield* ask("extent.list", inode, 0, Number.MAX_SAFE_INTEGER, limit + 1);
  const dropped = page.slice(0, limit);
  for (const extent of dropped) {
    yield* ask("extent.delete", inode, extent.offset);
    yield* releaseBlock(moment, extent.block);
  }
  return { extents: dropped.length, finished: page.length <= limit };
}

/** Cuts [from, to) out of one extent that overlaps it, and returns the bytes that were cut out. */
function* cutExtent(
  moment: Moment,
  inode: InodeId,
  extent: Extent,
  from: number,
  to: number,
): Operation<number> {
  const end = extent.offset + extent.length;
  const keepsHead = extent.offset < from;
  const keepsTail = end > to;
  if (keepsHead) yield* ask("extent.setLength", inode, extent.offset, from - extent.offset);
  else yield* ask("extent.delete", inode, extent.offset);
  if (keepsTail) {
    yield* ask("extent.insert", inode, {
      offset: to,
      length: end - to,
      block: extent.block,
      blockOffset: extent.blockOffset + (to - extent.offset),
    });
  }
  if (keepsHead && keepsTail) yield* ask("block.addRefs", extent.block, 1);
  if (!keepsHead && !keepsTail) yield* releaseBlock(moment, extent.block);
  return Math.min(end, to) - Math.max(extent.offset, from);
}

/** One extent less names the block. The last one makes it garbage, or just forgotten when there is no copy to delete. */
function* releaseBlock(moment: Moment, block: BlockId): Operation<void> {
  if ((yield* ask("block.addRefs", block, -1)) > 0) return;
  yield* ask("repair.delete", block);
  yield* ask("abandoned.delete", block);
  if ((yield* ask("replica.list", block)).length === 0) {
    yield* ask("block.delete", block);
    return yield* recordForgotten(block, block);
  }
  yield* ask("block.setDead", block, moment.nowNs);
  yield* ask("replica.setAll", block, "removing");
}
