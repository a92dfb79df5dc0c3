/** Waits of sessions that have ended: they go in steps, and count for nothing until then. */
import type { SessionId } from "../../../base/ids.ts";
import type { LockWait } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";

/** Those of the waits whose sessions have not ended. */
export function* ofLiveSessions(waits: readonly LockWait[]): Operation<readonly LockWait[]> {
  if (waits.length === 0 || (yield* ask("ending.first")) === undefined) return waits;
  const ended = new Set<SessionId>();
  for (const session of new Set(waits.map((wait) => wait.session))) {
    if ((yield* ask("ending.get", session)) !== undefined) ended.add(session);
  }
  return waits.filter(({ session }) => !ended.has(session));
}
