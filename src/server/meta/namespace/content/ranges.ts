/** Ranges of files that become holes, or show the blocks of another range. Neither moves a byte of content. */
import { DfsError } from "../../../../base/errors.ts";
import { MAX_FILE_BYTES } from "../../../../base/limits.ts";
import type * as messages from "../../../../protocol/messages/content.ts";
import type { Extent, Inode } from "../../store/rows.ts";
import { ask, type Operation } from "../../store/store.ts";
import { dropCapabilities } from "../capabilities.ts";
import type { Body, Done, OperationContext } from "../context.ts";
import { attributesOf, liveInode, nextCtime, requireFile } from "../inodes.ts";
import { refuseWhileCut } from "./cuts.ts";
import { cutRange } from "./extents.ts";

/** Extents that one operation goes through; whoever asks goes on behind them. */
const EXTENTS_AT_ONCE = 512;

/** @throws CutPending; DfsError `stale`, `isDirectory`, `invalid` (not a regular file), `fileTooBig`. */
export function* punch(
  context: OperationContext,
  { inode: id, offset, length, minSize }: Body<typeof messages.punch>,
): Operation<Done<typeof messages.punch>> {
  const inode = requireFile(yield* liveInode(id));
  checkRange(offset, length);
  checkRange(minSize, 0);
  yield* refuseWhileCut(inode, minSize);
  const end = yield* reachable(inode, offset, offset + length);
  const cut = yield* cutRange(context, id, offset, end);
  const changed = changedContent(context, inode, {
    size: Math.max(inode.size, minSize),
    allocated: inode.allocated - cut,
  });
  yield* ask("inode.update", changed);
  yield* dropCapabilities(changed.id);
  return { attributes: attributesOf(changed), done: end - offset };
}

/**
 * @throws DfsError as `punch`; `invalid` when the ranges overlap in one file.
 */
export function* clone(
  context: OperationContext,
  body: Body<typeof messages.clone>,
): Operation<Done<typeof messages.clone>> {
  const { sourceOffset, offset } = body;
  const source = requireFile(yield* liveInode(body.source));
  const target = requireFile(yield* liveInode(body.inode));
  checkRange(sourceOffset, body.length);
  const wanted = Math.min(body.length, source.size - sourceOffset);
  if (wanted <= 0) return { attributes: attributesOf(target), done: 0 };
  checkRange(offset, wanted);
  if (source.id === target.id && Math.abs(sourceOffset - offset) < wanted) {
    throw new DfsError(
      "invalid",
      `cannot copy ${wanted} bytes of inode ${source.id} from offset ${sourceOffset} to ${offset}: the ranges overlap`,
    );
  }
  const sourceEnd = yield* reachable(source, sourceOffset, sourceOffset + wanted);
  const end = yield* reachable(target, offset, offset + (sourceEnd - sourceOffset));
  yield* refuseWhileCut(target, end);
  const done = end - offset;
  const pieces = yield* piecesOf(context, source, body, done);
  // The references come first: a block that is in both ranges stays alive.
  for (const piece of pieces) yield* ask("block.addRefs", piece.block, 1);
  const cut = yield* cutRange(context, target.id, offset, end);
  for (const piece of pieces) yield* ask("extent.insert", target.id, piece);
  const covered = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const changed = changedContent(context, target, {
    size: Math.max(target.size, end),
    allocated: target.allocated - cut + covered,
  });
  yield* ask("inode.update", changed);
  yield* dropCapabilities(changed.id);
  return { attributes: attributesOf(changed), done };
}

/** The end of what one operation may go through of [from, to): there are few enough extents before it. */
function* reachable(inode: Inode, from: number, to: number): Operation<number> {
  const page = yield* ask("extent.list", inode.id, from, to, EXTENTS_AT_ONCE + 1);
  return page[EXTENTS_AT_ONCE]?.offset ?? to;
}

/** The extents of the source range as they are to be in the target, cut at multiples of its block size. */
function* piecesOf(
  { settings }: OperationContext,
  source: Inode,
  { sourceOffset, offset }: Body<typeof messages.clone>,
  length: number,
): Operation<Extent[]> {
  const { blockSize } = settings;
  const end = sourceOffset + length;
  const pieces: Extent[] = [];
  for (const extent of yield* ask("extent.list", source.id, sourceOffset, end, EXTENTS_AT_ONCE)) {
    const from = Math.max(extent.offset, sourceOffset);
    const to = Math.min(extent.offset + extent.length, end);
    for (let at = from; at < to;) {
      const there = at - sourceOffset + offset;
      const size = Math.min(to - at, blockSize - (there % blockSize));
      const blockOffset = extent.blockOffset + (at - extent.offset);
      pieces.push({ offset: there, length: size, block: extent.block, blockOffset });
      at += size;
    }
  }
  return pieces;
}

function changedContent(
  context: OperationContext,
  inode: Inode,
  change: Pick<Inode, "size" | "allocated">,
): Inode {
  const ctimeNs = nextCtime(context, inode);
  return { ...inode, ...change, version: inode.version + 1n, mtimeNs: ctimeNs, ctimeNs };
}

function checkRange(offset: number, length: number): void {
  if (offset <= MAX_FILE_BYTES - length) return;
  throw new DfsError("fileTooBig", `a file cannot be longer than ${MAX_FILE_BYTES} bytes`);
}
