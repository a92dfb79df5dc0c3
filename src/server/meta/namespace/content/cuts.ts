/**
 * Cutting off the end of a file, however many extents are there: at once for whoever looks, in bounded steps for the store.
 *
 * A short end is removed by the operation itself, and of a long one it moves the first part away. When more is left, the inode
 * goes on record in `cuts` with the offset where that begins. From there on its extents are no part of it: nobody is shown
 * them, because all who read end at `size`; and the file cannot grow over them, because who wants that has to wait
 * (`refuseWhileCut`). Steps move them into graves (`extents.ts`), page by page from the front, so that files which are written
 * anew find the way clear; the last one takes the inode off the record. Each is a transaction of its own that needs no other, so
 * they may be repeated, made by several, or lost in a crash.
 *
 * Invariants
 * - `size` is at most the `start` on record. Between them there are no extents; behind `start` there are only those that were
 *   cut off, and without a record there are none behind `size`, unless the inode waits to be reclaimed.
 * - `size` may fall meanwhile. What is cut off then is part of the same cut, which begins further to the front.
 * - `allocated` counts all extents of the inode, those that are still to be moved as well.
 * - An inode that is gone, or that has nothing behind `start` any more, may be left on record; the next step takes it off.
 */
import { DfsError } from "../../../../base/errors.ts";
import type { InodeId } from "../../../../base/ids.ts";
import type { Inode } from "../../store/rows.ts";
import { ask, type Operation } from "../../store/store.ts";
import type { OperationContext } from "../context.ts";
import { cutRange, cutStraddling, Grave, REMOVED_AT_ONCE, type Burial } from "./extents.ts";

/** Extents that one step moves, in some milliseconds. */
const MOVED_AT_ONCE = 2048;

const BEHIND_ALL = Number.MAX_SAFE_INTEGER;

/** The file cannot grow so far before the cut of its inode has come further; then the operation is to be tried again. */
export class CutPending extends DfsError {
  readonly inode: InodeId;
  /** How far the file was to grow. */
  readonly size: number;

  constructor(inode: InodeId, size: number) {
    super(
      "busy",
      `inode ${inode} has just been cut, and cannot grow to ${size} bytes before that is done`,
    );
    this.inode = inode;
    this.size = size;
  }
}

/**
 * A file without extents is looked up as well: it may still be on record when another cut, or a hole behind its end, has taken the
 * last of them, and the next step would take what has been written behind `start` since.
 * @throws CutPending when the inode would grow to `size` over extents that are still to be removed.
 */
export function* refuseWhileCut(inode: Inode, size: number): Operation<void> {
  if (size <= inode.size) return;
  const start = yield* ask("cut.get", inode.id);
  if (start !== undefined && size > start) throw new CutPending(inode.id, size);
}

/**
 * Takes everything from `from` on out of a file, whose size becomes `from` in the same transaction. Returns the number of bytes
 * that it has lost already; what is left to the steps still counts as allocated.
 */
export function* cutTail(
  context: OperationContext,
  inode: InodeId,
  from: number,
): Operation<number> {
  const few = yield* ask("extent.nth", inode, from, REMOVED_AT_ONCE);
  if (few === undefined) return yield* cutRange(context, inode, from, BEHIND_ALL);
  const straddling = yield* cutStraddling(context, inode, from, BEHIND_ALL);
  const { bytes, next } = yield* moveSome(context, inode, from);
  if (next !== undefined) yield* ask("cut.put", inode, next);
  return straddling + bytes;
}

/** Goes on with the cut of an inode; returns where what is left begins. Undefined: nothing is left. */
export function* cutStep(context: Burial, id: InodeId): Operation<number | undefined> {
  const inode = yield* ask("inode.get", id);
  if (inode === undefined) {
    yield* ask("cut.delete", id);
    return undefined;
  }
  const start = yield* ask("cut.get", id);
  if (start === undefined) return undefined;
  const { bytes, next } = yield* moveSome(context, id, start);
  yield* ask("inode.update", { ...inode, allocated: inode.allocated - bytes });
  if (next === undefined) yield* ask("cut.delete", id);
  else yield* ask("cut.put", id, next);
  return next;
}

/** Moves the first extents of those that begin at `from` or behind it into a grave. `next`: where those begin that are left. */
function* moveSome(
  context: Burial,
  inode: InodeId,
  from: number,
): Operation<{ readonly bytes: number; readonly next: number | undefined }> {
  const next = yield* ask("extent.nth", inode, from, MOVED_AT_ONCE + 1);
  const grave = new Grave(context);
  const bytes = yield* grave.take(inode, from, next ?? BEHIND_ALL);
  yield* grave.close();
  return { bytes, next };
}
