/**
 * Extended attributes that an inode is known not to have.
 *
 * The kernel asks for `security.capability` before the first write to an inode, and again whenever it has heard of its attributes;
 * `ls` asks for others. Nearly always there are none. That is gone by for as long as attributes are, and forgotten with the first
 * change of the inode that is heard of.
 */
import type { Clock } from "../../base/clock.ts";
import type { InodeId } from "../../base/ids.ts";

/** Inodes that are remembered; the oldest go first. A long listing tells of many. */
const MAX_INODES = 20_000;
/** Names of one inode. */
const MAX_NAMES = 16;

interface Known {
  readonly untilMs: number;
  /** Undefined: it has none at all. */
  readonly names: Set<string> | undefined;
}

export class AbsentXattrs {
  private readonly clock: Clock;
  private readonly keepMs: number;
  private readonly known = new Map<InodeId, Known>();
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
    const known = this.get(inode);
    if (known === undefined) return false;
    return known.names === undefined || known.names.has(keyOf(name));
  }

  /** The inode is new. */
  created(inode: InodeId): void {
    this.put(inode, undefined);
  }

  /** The service has said that the inode has none, asked at `moment`. */
  hasNone(inode: InodeId, moment: number): void {
    if (moment === this.changes) this.put(inode, undefined);
  }

  /** The service has said so, asked at `moment`. */
  learn(inode: InodeId, name: Uint8Array, moment: number): void {
    if (moment !== this.changes) return;
    const known = this.get(inode);
    if (known === undefined) this.put(inode, new Set([keyOf(name)]));
    else if (known.names !== undefined && known.names.size < MAX_NAMES) {
      known.names.add(keyOf(name));
    }
  }

  /** The inode may have been changed. */
  forget(inode: InodeId): void {
    this.changes++;
    this.known.delete(inode);
  }

  forgetAll(): void {
    this.changes++;
    this.known.clear();
  }

  private get(inode: InodeId): Known | undefined {
    const known = this.known.get(inode);
    if (known === undefined || this.clock.monotonicMs() < known.untilMs) return known;
    this.known.delete(inode);
    return undefined;
  }

  private put(inode: InodeId, names: Set<string> | undefined): void {
    if (this.keepMs === 0) return;
    this.known.delete(inode);
    this.known.set(inode, { untilMs: this.clock.monotonicMs() + this.keepMs, names });
    if (this.known.size > MAX_INODES) this.known.delete(this.known.keys().next().value!);
  }
}

function keyOf(name: Uint8Array): string {
  return Buffer.from(name).toString("latin1");
}
