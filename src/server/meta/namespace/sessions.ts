/**
 * The end of a session, by its client or for want of heartbeats: what it had open is given up, what it reserved and did
 * not commit becomes garbage, its stored replies go. The row stays, so that a late operation is told that it is `stale`.
 */
import { inodeId, type InodeId, type SessionId } from "../../../base/ids.ts";
import type { SessionState } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";
import { dropAllLocks } from "../locks/operations.ts";
import type { Moment } from "./context.ts";
import { dropOpen } from "./removal.ts";

/** Opens given up for one request to the store. */
const PAGE = 256;

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
  let after: InodeId = inodeId(0n);
  for (;;) {
    const page = yield* ask("open.list", session, after, PAGE);
    for (const { inode } of page) {
      yield* ask("open.delete", session, inode);
      yield* dropOpen(moment, inode);
      after = inode;
    }
    if (page.length < PAGE) return;
  }
}
