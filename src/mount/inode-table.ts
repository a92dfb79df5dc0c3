/**
 * Inodes with how often each was referred to and one version, in typed arrays.
 *
 * The kernel keeps what it was told of for long: of a listing of 100,000 files, all. A Map of objects, with BigInts for numbers,
 * takes 150 bytes for each of them and gives the collector three things to look at; here it is 24 bytes for each place, of which
 * at most three quarters are taken.
 *
 * Open addressing with linear probing; inode 0 is none. A removal moves what comes behind it up, so there are no graves.
 */
import { inodeId, type InodeId } from "../base/ids.ts";

const SMALLEST = 64;

/** Where an inode is in the table, until the next one is added or removed; NOWHERE when it is not. */
export type Slot = number;
export const NOWHERE: Slot = -1;

export class InodeTable {
  private capacity = SMALLEST;
  private taken = 0;
  private inodes = new BigUint64Array(SMALLEST);
  /** The same memory: comparing words makes no BigInt. */
  private words = new Uint32Array(this.inodes.buffer);
  private references = new Float64Array(SMALLEST);
  private versions = new BigUint64Array(SMALLEST);
  /** The inode that is looked for, as words. */
  private readonly sought = new BigUint64Array(1);
  private readonly soughtWords = new Uint32Array(this.sought.buffer);

  get size(): number {
    return this.taken;
  }

  find(inode: InodeId): Slot {
    const slot = this.place(inode);
    return this.isFree(slot) ? NOWHERE : slot;
  }

  /** The slot of the inode, which is put in without references when it is not there. */
  enter(inode: InodeId): Slot {
    const slot = this.place(inode);
    if (!this.isFree(slot)) return slot;
    if (this.taken * 4 >= this.capacity * 3) {
      this.resize(this.capacity * 2);
      return this.enter(inode);
    }
    this.taken++;
    this.inodes[slot] = inode;
    this.references[slot] = 0;
    this.versions[slot] = 0n;
    return slot;
  }

  referencesAt(slot: Slot): number {
    return this.references[slot]!;
  }

  versionAt(slot: Slot): bigint {
    return this.versions[slot]!;
  }

  setVersion(slot: Slot, version: bigint): void {
    this.versions[slot] = version;
  }

  /** Adds to the references. */
  refer(slot: Slot, count: number): void {
    this.references[slot]! += count;
  }

  removeAt(slot: Slot): void {
    this.taken--;
    let gap = slot;
    for (let next = this.after(gap); !this.isFree(next); next = this.after(next)) {
      // It may move into the gap unless the way to it begins behind the gap.
      const way = this.distance(this.home(this.words, 2 * next), next);
      if (way < this.distance(gap, next)) continue;
      this.inodes[gap] = this.inodes[next]!;
      this.references[gap] = this.references[next]!;
      this.versions[gap] = this.versions[next]!;
      gap = next;
    }
    this.inodes[gap] = 0n;
    if (this.capacity > SMALLEST && this.taken * 8 < this.capacity) this.resize(this.capacity / 2);
  }

  /** All of them; nothing may be added or removed meanwhile. */
  *all(): Generator<InodeId> {
    for (let slot = 0; slot < this.capacity; slot++) {
      if (!this.isFree(slot)) yield inodeId(this.inodes[slot]!);
    }
  }

  /** Where the inode is, or else the free slot where it would be. */
  private place(inode: InodeId): Slot {
    this.sought[0] = inode;
    const low = this.soughtWords[0]!;
    const high = this.soughtWords[1]!;
    let slot = this.home(this.soughtWords, 0);
    while (!this.isFree(slot)) {
      if (this.words[2 * slot] === low && this.words[2 * slot + 1] === high) return slot;
      slot = this.after(slot);
    }
    return slot;
  }

  private isFree(slot: Slot): boolean {
    return this.words[2 * slot] === 0 && this.words[2 * slot + 1] === 0;
  }

  private after(slot: Slot): Slot {
    return (slot + 1) & (this.capacity - 1);
  }

  private distance(from: Slot, to: Slot): number {
    return (to - from) & (this.capacity - 1);
  }

  /** Where the way to an inode begins, whose words are at `index`. */
  private home(words: Uint32Array, index: number): Slot {
    const mixed = Math.imul(words[index]! ^ Math.imul(words[index + 1]!, 0x85ebca6b), 0x9e3779b1);
    return (mixed ^ (mixed >>> 15)) & (this.capacity - 1);
  }

  private resize(capacity: number): void {
    const { inodes, references, versions, capacity: before } = this;
    this.capacity = capacity;
    this.inodes = new BigUint64Array(capacity);
    this.words = new Uint32Array(this.inodes.buffer);
    this.references = new Float64Array(capacity);
    this.versions = new BigUint64Array(capacity);
    for (let slot = 0; slot < before; slot++) {
      const inode = inodes[slot]!;
      if (inode === 0n) continue;
      const to = this.place(inodeId(inode));
      this.inodes[to] = inode;
      this.references[to] = references[slot]!;
      this.versions[to] = versions[slot]!;
    }
  }
}
