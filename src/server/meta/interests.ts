/**
 * What the clients that keep things may have in their caches, so that they can be told when it changes.
 *
 * A client says for how long it goes by what it was told (`session.watch`). Whatever its operations read from the store since
 * then counts as told; after that time it is forgotten here without a word, because the client asks again by itself. This is
 * memory of this process only: a client that comes back over another connection takes everything for out of date.
 *
 * Invariant: what is remembered of a client is bounded, and what is remembered of all. When it would grow beyond that, all of it
 * is forgotten of that client, or of those of whom most is remembered, and they are told that everything may have changed.
 */
import type { Clock } from "../../base/clock.ts";
import type { InodeId, SessionId } from "../../base/ids.ts";
import type { Inode } from "./store/rows.ts";

/** Inodes remembered for one client, about 10 MiB of them. */
const MAX_REMEMBERED = 65_536;

/** And for all clients together, about 60 MiB. */
export const MAX_REMEMBERED_IN_ALL = 6 * MAX_REMEMBERED;

/** When there are more than that, so much of it stays. */
const SHARE_KEPT = 0.75;

/** Told within the last interval, and within the one before it. */
class Generations {
  private young = new Set<InodeId>();
  private old = new Set<InodeId>();

  get size(): number {
    return this.young.size + this.old.size;
  }

  add(inode: InodeId): void {
    this.young.add(inode);
  }

  has(inode: InodeId): boolean {
    return this.young.has(inode) || this.old.has(inode);
  }

  take(inode: InodeId): boolean {
    const wasYoung = this.young.delete(inode);
    return this.old.delete(inode) || wasYoung;
  }

  turn(): void {
    this.old = this.young;
    this.young = new Set();
  }

  clear(): void {
    this.young.clear();
    this.old.clear();
  }
}

/** What one client may have cached. */
export class Interest {
  private readonly clock: Clock;
  private readonly cacheMs: number;
  private readonly limit: number;
  private readonly onOverflow: () => void;
  /** Inodes whose attributes it was told. */
  private readonly inodes = new Generations();
  /** Directories of which it knows names, or that there are none. */
  private readonly directories = new Generations();
  private turnedMs: number;
  private counted = 0;
  private readonly onCount: (change: number) => void;

  /** `onCount` is told of how many inodes more (or fewer: negative) are remembered. */
  constructor(
    clock: Clock,
    cacheMs: number,
    onOverflow: () => void,
    limit = MAX_REMEMBERED,
    onCount: (change: number) => void = () => undefined,
  ) {
    this.clock = clock;
    this.cacheMs = cacheMs;
    this.limit = limit;
    this.onOverflow = onOverflow;
    this.onCount = onCount;
    this.turnedMs = clock.monotonicMs();
  }

  /** The client may have been told of this inode, and of names in it. */
  told({ id, type }: Pick<Inode, "id" | "type">): void {
    this.forgetOld();
    this.inodes.add(id);
    if (type === "directory") this.directories.add(id);
    if (this.inodes.size + this.directories.size <= this.limit) this.count();
    else this.overflow();
  }

  /** What is remembered, in inodes; a directory counts twice. */
  get size(): number {
    return this.counted;
  }

  /** Forgets all of it, and tells the client that everything may have changed. */
  overflow(): void {
    this.clear();
    this.onOverflow();
  }

  /** Forgets all of it. */
  clear(): void {
    this.inodes.clear();
    this.directories.clear();
    this.count();
  }

  /** True when it is to be told that the inode has changed; it then asks again, and is not told twice. */
  takeInode(inode: InodeId): boolean {
    const had = this.inodes.take(inode);
    if (had) this.count();
    return had;
  }

  /** True when it is to be told of a name in the directory. */
  hasNamesOf(directory: InodeId): boolean {
    return this.directories.has(directory);
  }

  private count(): void {
    const change = this.inodes.size + this.directories.size - this.counted;
    this.counted += change;
    this.onCount(change);
  }

  /** Two turns are at least the time for which the client keeps what it was told. */
  private forgetOld(): void {
    const now = this.clock.monotonicMs();
    if (now - this.turnedMs < this.cacheMs) return;
    this.turnedMs = now;
    this.inodes.turn();
    this.directories.turn();
  }
}

/** The interests of all clients that want to be told. */
export class Interests {
  private readonly clock: Clock;
  private readonly bySession = new Map<SessionId, Interest>();
  private readonly limit: number;
  private count = 0;

  constructor(clock: Clock, limit = MAX_REMEMBERED_IN_ALL) {
    this.clock = clock;
    this.limit = limit;
  }

  /** The session keeps what it is told for `cacheMs` from now on; 0: it wants to know nothing. */
  watch(session: SessionId, cacheMs: number, onOverflow: () => void): void {
    this.forget(session);
    if (cacheMs === 0) return;
    const onCount = (change: number): void => this.counted(change);
    const interest = new Interest(this.clock, cacheMs, onOverflow, MAX_REMEMBERED, onCount);
    this.bySession.set(session, interest);
  }

  forget(session: SessionId): void {
    const interest = this.bySession.get(session);
    this.bySession.delete(session);
    interest?.clear();
  }

  of(session: SessionId): Interest | undefined {
    return this.bySession.get(session);
  }

  /** All but that of `session`. */
  *others(session: SessionId | undefined): Iterable<readonly [SessionId, Interest]> {
    for (const entry of this.bySession) if (entry[0] !== session) yield entry;
  }

  private counted(change: number): void {
    this.count += change;
    if (change <= 0 || this.count <= this.limit) return;
    const greatest = [...this.bySession.values()].toSorted((one, other) => other.size - one.size);
    for (const interest of greatest) {
      if (this.count <= this.limit * SHARE_KEPT) return;
      interest.overflow();
    }
  }
}
