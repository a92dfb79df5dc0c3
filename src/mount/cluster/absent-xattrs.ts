/**
 * Extended attributes that an inode is known not to have.
 *
 * The kernel asks for `security.capability` before the first write to an inode, and again whenever it has heard of its attributes;
 * `ls` asks for others. Nearly always there are none. That is gone by for as long as attributes are, and forgotten with the first
 * change of the inode that is heard of.
 */
import type { Clock } from "../../base/clock.ts";
import type { InodeId } from "../../base/ids.ts";

/** Inodes that are remembered at most; the oldest go first, half of them at once. A long listing tells of many. */
const MAX_INODES = 20_000;
/** Names of one inode. */
const MAX_NAMES = 16;

interface Known {
  readonly untilMs: number;
  readonly names: Set<string>;
}

export class AbsentXattrs {
  private readonly clock: Clock;
  private readonly keepMs: number;
  /** Until when inodes are known to have none at all: a listing tells that of each of its names. */
  private readonly bare = new Recent<number>();
  /** Inodes that are known not to have some. */
  private readonly known = new Recent<Known>();
  /** Counts what is forgotten: what was asked before may be out of date. */
  private changes = 0;

  /** `keepMs`: how long the kernel goes by attributes. */
  constructor(clock: Clock, keepMs: number) {
    this.clock = clock;
    this.keepMs = keepMs;
  }

  /** A moment, for `learn`: what is asked of the service from now on. */
  get moment(): number {
    return this.changes;
  }

  has(inode: InodeId, name: Uint8Array): boolean {
    return this.isBare(inode) || this.get(inode)?.names.has(keyOf(name)) === true;
  }

  /** The inode is new. */
  created(inode: InodeId): void {
    this.putBare(inode);
  }

  /** The service has said that the inode has none, asked at `moment`. */
  hasNone(inode: InodeId, moment: number): void {
    if (moment === this.changes) this.putBare(inode);
  }

  /** The service has said so, asked at `moment`. */
  learn(inode: InodeId, name: Uint8Array, moment: number): void {
    if (this.keepMs === 0 || moment !== this.changes || this.isBare(inode)) return;
    const names = this.get(inode)?.names;
    if (names === undefined) {
      this.known.set(inode, { untilMs: this.untilMs, names: new Set([keyOf(name)]) });
    } else if (names.size < MAX_NAMES) {
      names.add(keyOf(name));
    }
  }

  /** The inode may have been changed. */
  forget(inode: InodeId): void {
    this.changes++;
    this.bare.delete(inode);
    this.known.delete(inode);
  }

  forgetAll(): void {
    this.changes++;
    this.bare.clear();
    this.known.clear();
  }

  private isBare(inode: InodeId): boolean {
    const untilMs = this.bare.get(inode);
    if (untilMs === undefined || this.clock.monotonicMs() < untilMs) return untilMs !== undefined;
    this.bare.delete(inode);
    return false;
  }

  private get(inode: InodeId): Known | undefined {
    const known = this.known.get(inode);
    if (known === undefined || this.clock.monotonicMs() < known.untilMs) return known;
    this.known.delete(inode);
    return undefined;
  }

  private putBare(inode: InodeId): void {
    if (this.keepMs === 0) return;
    this.known.delete(inode);
    this.bare.set(inode, this.untilMs);
  }

  private get untilMs(): number {
    return this.clock.monotonicMs() + this.keepMs;
  }
}

/**
 * What was put in last. Finding the oldest one in a Map, for each that comes, means passing over all that have been removed there:
 * that was seen to take 165 us.
 */
class Recent<T> {
  private young = new Map<InodeId, T>();
  private old = new Map<InodeId, T>();

  get(inode: InodeId): T | undefined {
    return this.young.get(inode) ?? this.old.get(inode);
  }

  set(inode: InodeId, value: T): void {
    this.young.set(inode, value);
    if (this.young.size < MAX_INODES / 2) return;
    this.old = this.young;
    this.young = new Map();
  }

  delete(inode: InodeId): void {
    this.young.delete(inode);
    this.old.delete(inode);
  }

  clear(): void {
    this.young.clear();
    this.old.clear();
  }
}

function keyOf(name: Uint8Array): string {
  return Buffer.from(name).toString("latin1");
}
