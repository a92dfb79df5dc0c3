/** Commits: new content becomes part of a file, all or nothing. */
import { DfsError } from "../../../../base/errors.ts";
import { MAX_FILE_BYTES } from "../../../../base/limits.ts";
import type * as messages from "../../../../protocol/messages/content.ts";
import type { Inode } from "../../store/rows.ts";
import { ask, type Operation } from "../../store/store.ts";
import { dropCapabilities } from "../capabilities.ts";
import type { Body, Done, OperationContext } from "../context.ts";
import { attributesOf, liveInode, nextCtime, requireFile } from "../inodes.ts";
import { insertBlocks } from "./blocks.ts";
import { checkContent, type Content } from "./check.ts";
import { cutTail, refuseWhileCut } from "./cuts.ts";
import { cutRange, Grave } from "./extents.ts";

/**
 * @throws CutPending; DfsError `stale` (the inode is gone, a block is not reserved by this session or was committed before),
 * `quorum`, `invalid`, `isDirectory`, `fileTooBig`, `conflict` (the file has another length than expected).
 */
export function* commit(
  context: OperationContext,
  body: Body<typeof messages.commit>,
): Operation<Done<typeof messages.commit>> {
  const inode = requireFile(yield* liveInode(body.inode));
  if (body.expectedSize !== null && body.expectedSize !== inode.size) {
    throw new DfsError(
      "conflict",
      `cannot commit: inode ${inode.id} has ${inode.size} bytes, not ${body.expectedSize} any more`,
      { details: { size: inode.size } },
    );
  }
  const filled = yield* fill(context, inode, body, body.size);
  const changed: Inode = { ...filled, mtimeNs: body.mtimeNs ?? filled.ctimeNs };
  yield* ask("inode.update", changed);
  yield* dropCapabilities(inode.id);
  return { attributes: attributesOf(changed) };
}

/**
 * Puts content into a file and gives it the length `size`, or lets it grow when that is null. The caller writes the
 * inode that is returned.
 */
export function* fill(
  context: OperationContext,
  inode: Inode,
  content: Content,
  size: number | null,
): Operation<Inode> {
  const checked = checkContent(content, context.settings.blockSize, inode.base);
  checkSize(size, checked.end);
  yield* refuseWhileCut(inode, size ?? checked.end);
  yield* insertBlocks(context, inode.id, checked);
  let { allocated } = inode;
  const grave = new Grave(context);
  for (const extent of checked.extents) {
    const end = extent.offset + extent.length;
    if (extent.offset < inode.size) {
      allocated -= yield* cutRange(context, inode.id, extent.offset, end, grave);
    }
    yield* ask("extent.insert", inode.id, extent);
    allocated += extent.length;
  }
  yield* grave.close();
  if (size !== null && size < inode.size) {
    allocated -= yield* cutTail(context, inode.id, size);
  }
  return {
    ...inode,
    size: size ?? Math.max(inode.size, checked.end),
    allocated,
    version: inode.version + 1n,
    ctimeNs: nextCtime(context, inode),
  };
}

function checkSize(size: number | null, end: number): void {
  if (size === null) return;
  if (size > MAX_FILE_BYTES) {
    throw new DfsError("fileTooBig", `a file cannot be longer than ${MAX_FILE_BYTES} bytes`);
  }
  if (size < end) {
    throw new DfsError(
      "invalid",
      `cannot commit: an extent ends at ${end}, behind the file's new length ${size}`,
    );
  }
}
