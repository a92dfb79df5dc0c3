/**
 * The end of a session, by its client or for want of heartbeats: what it had open is given up, what it reserved and did
 * not commit becomes garbage, its stored replies go. The row stays, so that a late operation is told that it is `stale`.
 *
 * A session can have a million files open, and as many locks or reservations. What the end itself does not get to is given up
 * afterwards, in steps (`reaper.ts`). Nothing is there by then that was not before: files merely stay a little longer, and locks are
 * in the way for a little longer. No operation of the session is executed meanwhile, so nothing that it reserved is committed.
 */
import { blockId, inodeId, type BlockId, type SessionId } from "../../../base/ids.ts";
import type { SessionState } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";
import { dropSomeLocks } from "../locks/operations.ts";
import type { Moment } from "./context.ts";
import { Allowance, dropOpen } from "./removal.ts";

/** What else goes in one step, of each kind. */
const REPLIES_AT_ONCE = 4096;
const RESERVATIONS_AT_ONCE = 1024;

/** Opens given up in one step: each may be the end of a file with extents of its own. */
const OPENS_AT_ONCE = 512;

const BEFORE_ALL = inodeId(0n);
const NO_BLOCK = blockId(0n);
const LAST_BLOCK = blockId(2n ** 63n - 1n);

/** Ends a live session; one that has ended stays as it is. */
export function* endSession(
  moment: Moment,
  session: SessionId,
  state: Exclude<SessionState, "live">,
): Operation<void> {
  const found = yield* ask("session.get", session);
  if (found?.state !== "live") return;
  yield* ask("session.end", session, state, moment.nowNs);
  yield* clear(session, NO_BLOCK, moment.nowNs);
  yield* giveUpOpens(moment, session);
}

/** A session that has ended and has something else left that goes with it, if there is one. */
export function endedUncleared(): Operation<SessionId | undefined> {
  return ask("ending.first");
}

/** Goes on with the clearing of an ended session; true when there is more to do. */
export function* clearStep(moment: Moment, session: SessionId): Operation<boolean> {
  const after = yield* ask("ending.get", session);
  if (after === undefined) return false;
  const found = yield* ask("session.get", session);
  return yield* clear(session, after, found?.endedNs ?? moment.nowNs);
}

/**
 * Clears an ended session of replies, of locks, and of reservations behind `after`, which count as ended at `endedNs`: of so many
 * as one step may do. What is left then is on record in `ending`. True when something is.
 */
function* clear(session: SessionId, after: BlockId, endedNs: bigint): Operation<boolean> {
  const moreReplies = yield* dropReplies(session);
  const moreLocks = yield* dropSomeLocks(session);
  const next = yield* ask("reservation.end", session, after, RESERVATIONS_AT_ONCE, endedNs);
  if (moreReplies || moreLocks || next !== undefined) {
    yield* ask("ending.put", session, next ?? LAST_BLOCK);
    return true;
  }
  yield* ask("ending.delete", session);
  return false;
}

function* dropReplies(session: SessionId): Operation<boolean> {
  const last = yield* ask("reply.nth", session, REPLIES_AT_ONCE);
  if (last === undefined) yield* ask("reply.deleteAll", session);
  else yield* ask("reply.trim", session, last);
  return last !== undefined;
}

/** A session that has ended and has something open still, if there is one. */
export function endedWithOpens(): Operation<SessionId | undefined> {
  return ask("open.firstOfEnded");
}

/** Gives up what an ended session has open, in part; true when there may be more. */
export function* giveUpOpens(moment: Moment, session: SessionId): Operation<boolean> {
  const page = yield* ask("open.list", session, BEFORE_ALL, OPENS_AT_ONCE);
  const allowance = new Allowance();
  for (const { inode } of page) {
    yield* ask("open.delete", session, inode);
    yield* dropOpen(moment, inode, allowance);
  }
  return page.length === OPENS_AT_ONCE;
}
