/**
 * Which of those who wait for locks of a file can have them now, in the order in which they asked.
 *
 * One lock that goes may be waited for by thousands, with thousands of others held: what is held is read once, and each who
 * waits looks at each lock once. He remembers the lock that was in his way, and looks on behind it only when it has gone.
 */
import type { Lock, LockWait } from "../store/rows.ts";
import { changed, excludes, type RangeChange } from "./ranges.ts";

type Owner = Pick<Lock, "session" | "owner">;

export function isSame(one: Owner, other: Owner): boolean {
  return one.session === other.session && one.owner === other.owner;
}

/** What becomes of the locks of a file when one owner changes a range. */
export interface Change {
  readonly gone: readonly Lock[];
  readonly added: readonly Lock[];
}

/** What changes among `own`, all that `owner` holds of the file. */
export function changeOf(
  { session, owner, inode, kind }: Pick<Lock, "session" | "owner" | "inode" | "kind">,
  own: readonly Lock[],
  range: RangeChange,
): Change {
  const now = changed(own, range);
  const isOne = (lock: RangeChange, other: RangeChange | undefined): boolean =>
    other !== undefined && other.end === lock.end && other.type === lock.type;
  // What one owner holds does not overlap, so the start of a range names it.
  const before = new Map(own.map((lock) => [lock.start, lock]));
  const after = new Map(now.map((lock) => [lock.start, lock]));
  return {
    gone: own.filter((lock) => !isOne(lock, after.get(lock.start))),
    added: now
      .filter((lock) => !isOne(lock, before.get(lock.start)))
      .map((lock) => ({ session, owner, inode, kind, ...lock })),
  };
}

/** What has been granted: the wait is over, and this has changed. */
export interface Grant extends Change {
  readonly wait: LockWait;
}

/** All that can be granted with `held`, the locks of a file, in order: what is granted may make room for those before it. */
export function* grantable(
  held: readonly Lock[],
  waits: readonly LockWait[],
): Generator<Grant, void> {
  const table = new Table(held);
  let waiting = waits.map((wait) => ({ wait, at: 0 }));
  for (let granted = true; granted;) {
    granted = false;
    const left: typeof waiting = [];
    for (const each of waiting) {
      each.at = table.blocking(each.wait, each.at);
      if (each.at < table.size) {
        left.push(each);
        continue;
      }
      yield { wait: each.wait, ...table.change(each.wait) };
      granted = true; // what became a shared lock may have been an exclusive one, which others wait for
    }
    waiting = left;
  }
}

/** Locks in the order in which they came; those that went leave a gap. */
class Table {
  private readonly locks: (Lock | undefined)[];

  constructor(held: readonly Lock[]) {
    this.locks = [...held];
  }

  get size(): number {
    return this.locks.length;
  }

  /** The place of the first lock from `at` on that is in the way of `wanted`; `size` when there is none. */
  blocking(wanted: LockWait, at: number): number {
    for (let place = at; place < this.locks.length; place++) {
      const lock = this.locks[place];
      if (lock !== undefined && excludes(lock, wanted) && !isSame(lock, wanted)) return place;
    }
    return this.locks.length;
  }

  change(wanted: LockWait): Change {
    const own: Lock[] = [];
    const places = new Map<Lock, number>();
    for (const [place, lock] of this.locks.entries()) {
      if (lock === undefined || !isSame(lock, wanted)) continue;
      own.push(lock);
      places.set(lock, place);
    }
    const change = changeOf(wanted, own, wanted);
    for (const lock of change.gone) this.locks[places.get(lock)!] = undefined;
    this.locks.push(...change.added);
    return change;
  }
}
