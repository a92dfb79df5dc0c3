// Locks of one inode in memory: those of fcntl(2), which are ranges, and those of flock(2), which are the whole file. The two
// kinds do not see each other. Waiters get their lock in the order in which they came, as soon as nothing is in the way.

import type { CancelSignal } from "../../../src/base/cancellation.ts";
import { DfsError } from "../../../src/base/errors.ts";
import type { Lock } from "../../../src/mount/file-system.ts";

interface Waiter {
  readonly lock: Lock;
  readonly granted: () => void;
}

const overlap = (a: Lock, b: Lock): boolean => a.start <= b.end && b.start <= a.end;
const conflict = (a: Lock, b: Lock): boolean =>
  a.kind === b.kind &&
  a.owner !== b.owner &&
  overlap(a, b) &&
  (a.type === "exclusive" || b.type === "exclusive");

export class MemoryLocks {
  private held: Lock[] = [];
  private waiters: Waiter[] = [];

  get waitingCount(): number {
    return this.waiters.length;
  }

  inTheWay(lock: Lock): Lock | undefined {
    return this.held.find((other) => conflict(lock, other));
  }

  async set(lock: Lock, wait: boolean, signal?: CancelSignal): Promise<void> {
    if (lock.type !== "none" && this.inTheWay(lock) !== undefined) {
      if (!wait) throw new DfsError("busy", "cannot lock: somebody else holds it");
      return this.wait(lock, signal);
    }
    this.replace(lock);
    this.grant();
  }

  release(kind: Lock["kind"], owner: bigint): void {
    this.held = this.held.filter((lock) => lock.kind !== kind || lock.owner !== owner);
    this.grant();
  }

  private async wait(lock: Lock, signal?: CancelSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter = { lock, granted: resolve };
    this.waiters.push(waiter);
    const giveUp = (): void => {
      this.waiters = this.waiters.filter((other) => other !== waiter);
      reject(new DfsError("cancelled", "no longer waiting for the lock"));
    };
    if (signal?.aborted) giveUp();
    signal?.addEventListener("abort", giveUp, { once: true });
    await promise;
  }

  private grant(): void {
    for (const waiter of this.waiters) {
      if (this.inTheWay(waiter.lock) !== undefined) continue;
      this.waiters = this.waiters.filter((other) => other !== waiter);
      this.replace(waiter.lock);
      waiter.granted();
    }
  }

  /** The owner's earlier locks keep what the new one does not cover. */
  private replace(lock: Lock): void {
    this.held = this.held.flatMap((old) => {
      if (old.kind !== lock.kind || old.owner !== lock.owner || !overlap(old, lock)) return [old];
      return [
        { ...old, end: lock.start - 1 },
        { ...old, start: lock.end + 1 },
      ].filter((rest) => rest.start <= rest.end);
    });
    if (lock.type !== "none") this.held.push(lock);
  }
}
