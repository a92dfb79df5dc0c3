/**
 * The end of a session, by its client or for want of heartbeats: what it had open is given up, what it reserved and did
 * not commit becomes garbage, its stored replies go. The row stays, so that a late operation is told that it is `stale`.
 *
 * A session can have a million files open. What the end itself does not get to is given up afterwards, in steps (`reaper.ts`);
 * nothing is open by then that was not before, and files merely stay a little longer.
 */
import { inodeId, type SessionId } from "../../../base/ids.ts";
import type { SessionState } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";
import { dropAllLocks } from "../locks/operations.ts";
import type { Moment } from "./context.ts";
import { Allowance, dropOpen } from "./removal.ts";

/** Opens given up in one step: each may be the end of a file with extents of its own. */
const OPENS_AT_ONCE = 512;

const BEFORE_ALL = inodeId(0n);

/** Ends a live session; one that has ended stays as it is. */
export function* endSession(
  moment: Moment,
  session: SessionId,
  state: Exclude<SessionState, "live">,
): Operation<void> {
  const found = yield* ask("session.get", session);
  if (found?.state !== "live") return;
  yield* ask("session.end", session, state, moment.nowNs);
  yield* ask("reservation.endAll", session, moment.nowNs);
  yield* ask("reply.deleteAll", session);
  yield* dropAllLocks(session);
  yield* giveUpOpens(moment, session);
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
