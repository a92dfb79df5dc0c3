/**
 * Locks of files at the metadata service, on behalf of the owners that this client has.
 *
 * Invariants
 * - Who asks for a lock of an owner that holds none here asks nobody to give them up: closing a file that was never locked
 *   costs nothing.
 * - Locks belong to the session. When it has expired they are gone, and somebody else may have taken them: files that were
 *   locked here answer every read and write with `io` from then on, until they are closed; what was not committed is dropped.
 */
import { Cancellation, type CancelSignal } from "../base/cancellation.ts";
import type { Clock } from "../base/clock.ts";
import { DfsError, isDfsError } from "../base/errors.ts";
import type { InodeId } from "../base/ids.ts";
import {
  lockGet,
  lockRelease,
  lockSet,
  type FileLock,
  type LockKind,
} from "../protocol/messages/locks.ts";
import type { CallOptions, FileLocks } from "./inode-api.ts";
import { pause } from "./retry.ts";
import type { Session } from "./session.ts";

/** Who waits asks again after this time, in case that the notice got lost. */
const ASK_AGAIN_MS = 5_000;

/** Longest wait for the service when a wait is given up. */
const GIVE_UP_MS = 1_000;

/** What an owner may hold of one file. */
interface Owner {
  readonly inode: InodeId;
  readonly kind: LockKind;
  readonly owner: bigint;
}

export class Locks implements FileLocks {
  private readonly session: Session;
  private readonly clock: Clock;
  /** Owners that may hold something, with the epoch of the session in which they asked for it. */
  private readonly owners = new Map<string, Owner & { readonly epoch: number }>();
  /** To be told when a notice says that an owner was granted a lock. */
  private readonly waiting = new Map<string, Set<() => void>>();

  constructor(session: Session, clock: Clock) {
    this.session = session;
    this.clock = clock;
  }

  async get(inode: InodeId, lock: FileLock, options?: CallOptions): Promise<FileLock | undefined> {
    const { conflict } = await this.session.ask(lockGet, { inode, lock }, options);
    return conflict ?? undefined;
  }

  async set(inode: InodeId, lock: FileLock, wait: boolean, options?: CallOptions): Promise<void> {
    const owner = { inode, kind: lock.kind, owner: lock.owner };
    if (lock.type === "none") {
      if (this.owners.has(keyOf(owner))) await this.ask(inode, lock, "no", undefined);
      return;
    }
    this.owners.set(keyOf(owner), { ...owner, epoch: this.session.epoch });
    if (wait) return this.wait(owner, lock, options?.signal);
    const { granted } = await this.ask(inode, lock, "no", options);
    if (!granted) throw new DfsError("busy", `inode ${inode} is locked by somebody else`);
  }

  async release(inode: InodeId, kind: LockKind, owner: bigint): Promise<void> {
    const key = keyOf({ inode, kind, owner });
    if (!this.owners.delete(key)) return;
    await this.session.change(lockRelease, { inode, kind, owner });
  }

  /** The service says that a lock which somebody here waits for was granted. */
  granted(owner: Owner): void {
    for (const told of this.waiting.get(keyOf(owner)) ?? []) told();
  }

  /** The session has been replaced: returns the files whose locks are gone with it. */
  takeLost(): InodeId[] {
    const lost = [...this.owners.values()].filter(({ epoch }) => epoch !== this.session.epoch);
    for (const owner of lost) this.owners.delete(keyOf(owner));
    return lost.map(({ inode }) => inode);
  }

  private async wait(
    owner: Owner,
    lock: FileLock,
    signal: CancelSignal | undefined,
  ): Promise<void> {
    for (;;) {
      const told = Promise.withResolvers<void>();
      const forget = this.listen(keyOf(owner), told.resolve);
      try {
        if ((await this.ask(owner.inode, lock, "queue", { signal })).granted) return;
        await this.toldOrLater(told.promise, signal);
      } catch (error) {
        if (!isDfsError(error, "cancelled")) throw error;
        if (await this.giveUp(owner, lock)) return; // it had been granted: the caller has it
        throw error;
      } finally {
        forget();
      }
    }
  }

  /** Calls `told` when a notice says that this owner was granted something; returns how to end that. */
  private listen(key: string, told: () => void): () => void {
    const listeners = this.waiting.get(key) ?? new Set();
    this.waiting.set(key, listeners.add(told));
    return () => {
      listeners.delete(told);
      if (listeners.size === 0 && this.waiting.get(key) === listeners) this.waiting.delete(key);
    };
  }

  private async toldOrLater(told: Promise<void>, signal: CancelSignal | undefined): Promise<void> {
    const done = new Cancellation(signal);
    const later = pause(this.clock, ASK_AGAIN_MS, done);
    try {
      await Promise.race([told, later]);
    } finally {
      later.catch(() => undefined); // stopped by the next line, which rejects it
      done.abort();
    }
  }

  /** Ends a wait; true when the lock has been granted before that. */
  private async giveUp(owner: Owner, lock: FileLock): Promise<boolean> {
    const asked = this.ask(owner.inode, lock, "giveUp", undefined);
    const late = pause(this.clock, GIVE_UP_MS).then(() => undefined);
    const answer = await Promise.race([asked, late]);
    if (answer !== undefined) return answer.granted;
    // Whoever waited has gone: what was granted meanwhile is given back when the service answers.
    const back = async (): Promise<void> => {
      if ((await asked).granted) await this.ask(owner.inode, { ...lock, type: "none" }, "no", {});
    };
    back().catch(() => undefined); // the session's end gives it back
    return false;
  }

  private ask(
    inode: InodeId,
    lock: FileLock,
    wait: "no" | "queue" | "giveUp",
    options: CallOptions | undefined,
  ): Promise<{ readonly granted: boolean }> {
    return this.session.change(lockSet, { inode, lock, wait }, options);
  }
}

function keyOf({ inode, kind, owner }: Owner): string {
  return `${inode}/${kind}/${owner}`;
}
