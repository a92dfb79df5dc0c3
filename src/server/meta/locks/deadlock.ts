/**
 * Finds circles of owners who wait for one another.
 *
 * Invariant: no circle is on record. A wait is put on record only after this has looked at all that the owners in its way wait
 * for; so the search ends at owners who wait for nothing. Owners that several threads share may be seen as waiting although a
 * thread of theirs runs, as fcntl(2) says of Linux.
 */
import type { Lock, LockWait } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";
import { excludes } from "./ranges.ts";

type Owner = Pick<Lock, "session" | "owner">;

/** True when one of the owners of `blocking` waits, through however many others, for `asking`. */
export function* wouldDeadlock(asking: Owner, blocking: readonly Lock[]): Operation<boolean> {
  const seen = new Set<string>();
  const toVisit: Owner[] = [...blocking];
  for (let next = toVisit.pop(); next !== undefined; next = toVisit.pop()) {
    if (isSame(next, asking)) return true;
    const key = `${next.session}/${next.owner}`;
    if (seen.has(key)) continue;
    seen.add(key);
    for (const wait of yield* ask("lockWait.ofOwner", next.session, next.owner)) {
      if (wait.kind === "posix") toVisit.push(...(yield* inTheWay(wait)));
    }
  }
  return false;
}

/** Locks of other owners that exclude this one. */
export function* inTheWay(wanted: Lock | LockWait): Operation<Lock[]> {
  const held = yield* ask("lock.list", wanted.inode, wanted.kind);
  return held.filter((lock) => !isSame(lock, wanted) && excludes(lock, wanted));
}

export function isSame(one: Owner, other: Owner): boolean {
  return one.session === other.session && one.owner === other.owner;
}
