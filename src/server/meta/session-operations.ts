/** Operations on the record of sessions: opening, resuming, trimming replies, forgetting ended ones. */
import { DfsError } from "../../base/errors.ts";
import { inodeId, sessionId, type InodeId, type SessionId } from "../../base/ids.ts";
import type { IdRanges } from "./id-ranges.ts";
import { forgetReplies, liveSession, reopen } from "./namespace/operations.ts";
import type { SessionState } from "./store/rows.ts";
import { ask, type Operation } from "./store/store.ts";

/** Puts a new session on record. */
export function* openSession(
  ids: IdRanges,
  token: bigint,
  label: string,
  nowNs: bigint,
): Operation<SessionId> {
  const id = sessionId(ids.take("session"));
  yield* ask("session.insert", {
    id,
    token,
    label,
    state: "live",
    openedNs: nowNs,
    endedNs: undefined,
    acknowledged: 0n,
  });
  return id;
}

/**
 * Lets a client go on with its session, and makes sure that what it has open is on record. Returns the inodes that are
 * gone nevertheless. `heldSinceNs` is when this process began to hold removals.
 * @throws DfsError `stale` when the session has ended, `wrongPeer` when the token is not its own.
 */
export function* resumeSession(
  session: SessionId,
  token: bigint,
  open: readonly InodeId[],
  heldSinceNs: bigint,
): Operation<readonly InodeId[]> {
  const found = yield* liveSession({ session });
  if (found.token !== token) {
    throw new DfsError("wrongPeer", `session ${session} belongs to another client`);
  }
  return yield* reopen(session, open, heldSinceNs);
}

/** Forgets replies that the client has seen, all of them. */
export function* acknowledge(session: SessionId, acknowledged: bigint): Operation<void> {
  yield* forgetReplies(yield* liveSession({ session }), acknowledged, 1n);
}

/** Sessions that ended in this way at `beforeNs` or earlier and have nothing open or left any more, of the first `limit` in order of id. */
export function* longEnded(
  state: Exclude<SessionState, "live">,
  beforeNs: bigint,
  limit: number,
): Operation<SessionId[]> {
  const ended = yield* ask("session.list", state, sessionId(0n), limit);
  const due: SessionId[] = [];
  for (const { id, endedNs } of ended) {
    if ((endedNs ?? 0n) > beforeNs || (yield* ask("ending.get", id)) !== undefined) continue;
    if ((yield* ask("open.list", id, inodeId(0n), 1)).length === 0) due.push(id);
  }
  return due;
}

/** Forgets sessions that have ended. */
export function* forgetSessions(sessions: readonly SessionId[]): Operation<void> {
  for (const session of sessions) yield* ask("session.delete", session);
}
