/**
 * Finds circles of owners who wait for one another.
 *
 * Invariant: no circle is on record. A wait is put on record only after this has looked at all that the owners in its way wait
 * for; so the search ends at owners who wait for nothing. Owners that several threads share may be seen as waiting although a
 * thread of theirs runs, as fcntl(2) says of Linux.
 */
import { DfsError } from "../../../base/errors.ts";
import type { Lock, LockWait } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";
import { isSame } from "./granting.ts";
import { ofLiveSessions } from "./live.ts";
import { excludes } from "./ranges.ts";

type Owner = Pick<Lock, "session" | "owner">;

/** Locks looked at in one search: nobody is to wait for one that goes through many files with many locks. */
const MAX_LOOKED_AT = 65_536;

/**
 * True when one of the owners of `blocking` waits, through however many others, for `asking`.
 * @throws DfsError `tooManyLocks` when that takes too long to find out.
 */
export function* wouldDeadlock(asking: Owner, blocking: readonly Lock[]): Operation<boolean> {
  const seen = new Set<string>();
  const toVisit: Owner[] = [...blocking];
  let lookedAt = 0;
  for (let next = toVisit.pop(); next !== undefined; next = toVisit.pop()) {
    if (isSame(next, asking)) return true;
    const key = `${next.session}/${next.owner}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const waits = yield* ask("lockWait.ofOwner", next.session, next.owner);
    for (const wait of yield* ofLiveSessions(waits)) {
      if (wait.kind !== "posix") continue;
      const held = yield* ask("lock.list", wait.inode, wait.kind);
      lookedAt += held.length;
      if (lookedAt > MAX_LOOKED_AT) throw tooManyToSearch();
      toVisit.push(...excluding(held, wait));
    }
  }
  return false;
}

/** Locks of other owners that exclude this one. */
export function* inTheWay(wanted: Lock | LockWait): Operation<Lock[]> {
  return excluding(yield* ask("lock.list", wanted.inode, wanted.kind), wanted);
}

function excluding(held: readonly Lock[], wanted: Lock | LockWait): Lock[] {
  return held.filter((lock) => !isSame(lock, wanted) && excludes(lock, wanted));
}

function tooManyToSearch(): DfsError {
  return new DfsError(
    "tooManyLocks",
    "cannot wait for a lock: those in its way wait for so many others that a circle cannot be ruled out",
  );
}
