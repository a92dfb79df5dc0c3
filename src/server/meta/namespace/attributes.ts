/** Reading and changing attributes, truncation among them. */
import { DfsError } from "../../../base/errors.ts";
import { MAX_FILE_BYTES } from "../../../base/limits.ts";
import type * as messages from "../../../protocol/messages/namespace.ts";
import type { Inode } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";
import { dropCapabilities } from "./capabilities.ts";
import { cutTail, refuseWhileCut } from "./content/cuts.ts";
import type { Body, Done, Nothing, OperationContext } from "./context.ts";
import { attributesOf, liveInode, nextCtime, requireFile } from "./inodes.ts";

type Change = Body<typeof messages.setattr>;

/** @throws DfsError `stale`. */
export function* getattr(
  _context: OperationContext,
  body: Body<typeof messages.getattr>,
): Operation<Done<typeof messages.getattr>> {
  return { attributes: attributesOf(yield* liveInode(body.inode)) };
}

/**
 * Changes what is not null. A new size sets mtime, unless that is given too.
 * @throws CutPending; DfsError `stale`; with a size: `isDirectory`, `invalid` (not a regular file), `fileTooBig`; `notPermitted` for the
 * mode of a symbolic link.
 */
export function* setattr(
  context: OperationContext,
  body: Change,
): Operation<Done<typeof messages.setattr>> {
  const inode = yield* liveInode(body.inode);
  if (!changesAnything(body)) return { attributes: attributesOf(inode) };
  if (body.mode !== null && inode.type === "symlink") {
    throw new DfsError("notPermitted", "the mode of a symbolic link cannot be changed");
  }
  const resized = body.size === null ? inode : yield* resize(context, inode, body.size);
  const ctimeNs = nextCtime(context, inode);
  const changed: Inode = {
    ...resized,
    mode: body.mode ?? inode.mode,
    uid: body.uid ?? inode.uid,
    gid: body.gid ?? inode.gid,
    atimeNs: body.atimeNow ? ctimeNs : (body.atimeNs ?? inode.atimeNs),
    mtimeNs:
      body.mtimeNow || (body.size !== null && body.mtimeNs === null)
        ? ctimeNs
        : (body.mtimeNs ?? inode.mtimeNs),
    ctimeNs,
  };
  yield* ask("inode.update", changed);
  if (body.size !== null || body.uid !== null || body.gid !== null) {
    yield* dropCapabilities(inode.id);
  }
  return { attributes: attributesOf(changed) };
}

/** Later access times are put on record; inodes that are gone are passed over. */
export function* accessed(
  _context: OperationContext,
  { accesses }: Body<typeof messages.accessed>,
): Operation<Nothing> {
  for (const { inode: id, atimeNs } of accesses) {
    const inode = yield* ask("inode.get", id);
    if (inode !== undefined && inode.atimeNs < atimeNs) {
      yield* ask("inode.update", { ...inode, atimeNs });
    }
  }
  return {};
}

/** The file with another length: what lies behind it is cut off, what is new is a hole. The row is not written yet. */
function* resize(context: OperationContext, inode: Inode, size: number): Operation<Inode> {
  requireFile(inode);
  if (size > MAX_FILE_BYTES) {
    throw new DfsError("fileTooBig", `a file cannot be longer than ${MAX_FILE_BYTES} bytes`);
  }
  yield* refuseWhileCut(inode, size);
  const cut = size < inode.size ? yield* cutTail(context, inode.id, size) : 0;
  return { ...inode, size, allocated: inode.allocated - cut, version: inode.version + 1n };
}

function changesAnything(body: Change): boolean {
  const fields = [body.mode, body.uid, body.gid, body.size, body.atimeNs, body.mtimeNs];
  return body.atimeNow || body.mtimeNow || fields.some((field) => field !== null);
}
