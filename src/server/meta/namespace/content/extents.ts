/**
 * The extents of a file and the references that they hold to blocks.
 *
 * Invariants: the extents of a file never overlap; a block's `refs` is the number of extents that name it; a block whose
 * `refs` reach 0 is marked dead in the same transaction, its copies are marked `removing`, and it is never named again.
 */
import type { BlockId, InodeId } from "../../../../base/ids.ts";
import type { Extent } from "../../store/rows.ts";
import { ask, type Operation } from "../../store/store.ts";
import type { Moment, OperationContext } from "../context.ts";
import { newInode } from "../inodes.ts";
import { recordForgotten } from "./forgotten.ts";

/** Extents looked at in one request to the store. */
const PAGE = 512;

/** Extents behind a file's new end that are removed at once. */
const TAIL_AT_ONCE = 256;

/**
 * Takes [from, to) out of a file: what lies in it is removed, what reaches into it is cut, and an extent that reaches
 * over both ends is split into two that name the same block. Returns the number of bytes that were covered.
 */
export function* cutRange(
  moment: Moment,
  inode: InodeId,
  from: number,
  to: number,
): Operation<number> {
  let bytes = 0;
  for (;;) {
    const page = yield* ask("extent.list", inode, from, to, PAGE);
    for (const extent of page) bytes += yield* cutExtent(moment, inode, extent, from, to);
    // What was looked at does not overlap the range any more, so the next page begins with the rest.
    if (page.length < PAGE) return bytes;
  }
}

/**
 * Takes everything from `from` on out of a file and returns the number of bytes that were covered. A long tail is handed
 * to a nameless inode in the reclaim queue, which costs little for each extent; the rest is done there, step by step.
 */
export function* cutTail(
  context: OperationContext,
  inode: InodeId,
  from: number,
): Operation<number> {
  const end = Number.MAX_SAFE_INTEGER;
  const page = yield* ask("extent.list", inode, from, end, TAIL_AT_ONCE + 1);
  if (page.length <= TAIL_AT_ONCE) return yield* cutRange(context, inode, from, end);
  const straddling = page[0];
  let bytes = 0;
  if (straddling !== undefined && straddling.offset < from) {
    bytes += yield* cutExtent(context, inode, straddling, from, end);
  }
  const grave = newInode(context, { type: "file", mode: 0, uid: 0, gid: 0, nlink: 0 });
  const moved = yield* ask("extent.moveTail", inode, from, grave.id);
  yield* ask("inode.insert", { ...grave, allocated: moved });
  yield* ask("reclaim.put", { inode: grave.id, sinceNs: context.nowNs });
  return bytes + moved;
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
