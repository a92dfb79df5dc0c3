/**
 * Stores what a file holds under another name: the blocks are shared by both, and no content moves.
 *
 * The clone is filled without a name, part by part, and gets its name in the last transaction, so that readers see the old
 * file or the new one. When the session expires midway, all of it is done again.
 */
import { DfsError, isDfsError } from "../base/errors.ts";
import type { InodeId } from "../base/ids.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import { clone, nameless, place } from "../protocol/messages/content.ts";
import type { CloneOptions, Place } from "./api.ts";
import type { PutParts } from "./put.ts";
import type { ChangeOptions, Session } from "./session.ts";

/** How often the clone is made again because the session expired. */
const MAX_RESTARTS = 3;

type CloneParts = Pick<PutParts, "session" | "release">;
type CloneSource = Pick<Attributes, "inode" | "size">;

/** Where a clone goes. */
export interface CloneTarget {
  readonly place: Place;
  readonly base: number;
}

/** @throws DfsError as `DfsClient.clone`. */
export async function cloneFile(
  parts: CloneParts,
  source: CloneSource,
  target: CloneTarget,
  options: CloneOptions,
): Promise<Attributes> {
  for (let restarts = 0; ; restarts++) {
    const { epoch } = parts.session;
    const progress = { isPlacing: false };
    try {
      return await cloneOnce(parts, source, target, options, epoch, progress);
    } catch (error) {
      const isStale = isDfsError(error, "stale");
      if (!isStale && !isDfsError(error, "outcomeUnknown")) throw error;
      const hasExpired = parts.session.epoch !== epoch;
      if (isStale && !hasExpired) throw goneMeanwhile(error);
      // Whether it has got its name is not known then; doing it again is harmless unless the name must be new.
      const isHarmless = isStale || !progress.isPlacing || options.exclusive !== true;
      if (!hasExpired || !isHarmless || restarts >= MAX_RESTARTS) throw error;
    }
  }
}

async function cloneOnce(
  { session, release }: CloneParts,
  source: CloneSource,
  target: CloneTarget,
  options: CloneOptions,
  epoch: number,
  progress: { isPlacing: boolean },
): Promise<Attributes> {
  const scope: ChangeOptions = { epoch, signal: options.signal };
  const { mode, uid, gid } = options;
  const birth = { mode, uid, gid, base: target.base };
  const { inode } = (await session.change(nameless, birth, scope)).attributes;
  try {
    await fill(session, source, inode, scope);
    const takeover = {
      ...target.place,
      exclusive: options.exclusive ?? false,
      keepReplaced: options.keepReplaced,
      atimeNs: options.atimeNs ?? null,
      mtimeNs: options.mtimeNs ?? null,
    };
    progress.isPlacing = true;
    return (await session.change(place, { inode, ...takeover }, scope)).attributes;
  } finally {
    release(inode, epoch);
  }
}

/** Makes `inode` show what `source` shows, to the end that it had. */
async function fill(
  session: Session,
  source: CloneSource,
  inode: InodeId,
  scope: ChangeOptions,
): Promise<void> {
  for (let offset = 0; offset < source.size;) {
    const length = source.size - offset;
    const from = { source: source.inode, sourceOffset: offset };
    const { done } = await session.change(clone, { ...from, inode, offset, length }, scope);
    if (done === 0) return; // it has been cut meanwhile
    offset += done;
  }
}

function goneMeanwhile(cause: DfsError): DfsError {
  return new DfsError("notFound", "the file, or the directory that it goes to, is gone", { cause });
}
