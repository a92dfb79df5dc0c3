/**
 * Open inodes: what a session has open stays, with its content, though its last name goes.
 *
 * Opens are rows of the store, counted for each session, so that they survive a restart of the service.
 */
import { DfsError } from "../../../base/errors.ts";
import type { InodeId, SessionId } from "../../../base/ids.ts";
import type * as messages from "../../../protocol/messages/namespace.ts";
import { dropLocksOf } from "../locks/operations.ts";
import { ask, type Operation } from "../store/store.ts";
import { mappedPage } from "./content/map.ts";
import type { Body, Done, Nothing, OperationContext } from "./context.ts";
import { attributesOf, isLive } from "./inodes.ts";
import { Allowance, dropOpen } from "./removal.ts";
import { walk } from "./resolve.ts";

/** @throws DfsError as `resolve`; `loop` when `start` itself is a symbolic link and the path is empty. */
export function* open(
  context: OperationContext,
  body: Body<typeof messages.open>,
): Operation<Done<typeof messages.open>> {
  const inode = yield* walk(body.start, body.path, true);
  if (inode.type === "symlink") {
    throw new DfsError("loop", `inode ${inode.id} is a symbolic link and cannot be opened itself`);
  }
  yield* addOpen(context.session, inode.id);
  const attributes = attributesOf(inode);
  if (inode.type !== "file") return { attributes, extents: [], more: false };
  return { attributes, ...(yield* mappedPage(inode.id, 0, inode.size, body.limit)) };
}

/** Counts one more open of the inode by the session. */
export function* addOpen(session: SessionId, inode: InodeId): Operation<void> {
  const count = yield* ask("open.get", session, inode);
  yield* ask("open.put", session, inode, count + 1);
}

/** Gives up one open for each time that an inode is named; one that the session has not open is passed over. */
export function* release(
  context: OperationContext,
  body: Body<typeof messages.release>,
): Operation<Nothing> {
  const allowance = new Allowance();
  for (const inode of body.inodes) {
    const count = yield* ask("open.get", context.session, inode);
    if (count > 1) yield* ask("open.put", context.session, inode, count - 1);
    if (count !== 1) continue;
    yield* ask("open.delete", context.session, inode);
    yield* dropLocksOf(context.session, inode);
    yield* dropOpen(context, inode, allowance);
  }
  return {};
}

/**
 * Makes sure that the session has these inodes open, as a client says that resumes it; returns those that are gone. An
 * open may have been lost with the end of the log in a power cut, though only together with every later change. What
 * lost its last name since then, at `heldSinceNs` or later, waits whole in the queue of removal (`holdRemovals`), and is
 * taken back.
 */
export function* reopen(
  session: SessionId,
  inodes: readonly InodeId[],
  heldSinceNs?: bigint,
): Operation<readonly InodeId[]> {
  const gone: InodeId[] = [];
  for (const id of inodes) {
    if ((yield* ask("open.get", session, id)) > 0) continue;
    const there = (yield* isLive(id)) || (yield* takeBack(id, heldSinceNs));
    if (there) yield* ask("open.put", session, id, 1);
    else gone.push(id);
  }
  return gone;
}

/** Takes an inode out of the queue of removal, unless its removal may have begun. */
function* takeBack(inode: InodeId, heldSinceNs: bigint | undefined): Operation<boolean> {
  const entry = yield* ask("reclaim.get", inode);
  if (entry === undefined || heldSinceNs === undefined || entry.sinceNs < heldSinceNs) return false;
  yield* ask("reclaim.delete", inode);
  return true;
}
