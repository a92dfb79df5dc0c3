/**
 * Which block lies where: the index of a log, in memory, rebuilt at each opening.
 *
 * This first version is a Map and a sorted list of ids that is made when somebody asks for a listing. A compact one of
 * typed arrays can take its place behind the same interface.
 */
import type { Checksum } from "../base/checksum.ts";
import type { BlockId, Lsn } from "../base/ids.ts";

/** The one live record of a block. */
export interface IndexEntry {
  readonly block: BlockId;
  readonly length: number;
  readonly checksum: Checksum;
  /** Number of the segment, and the record's position in it. */
  readonly segment: number;
  readonly position: number;
  readonly lsn: Lsn;
  /** True when the copy was last found rotten: it is not listed, and a put of the block replaces it. */
  rotten: boolean;
}

export interface BlockIndex {
  /** Number of blocks, rotten ones included. */
  readonly size: number;
  /** Sum of their lengths. */
  readonly bytes: number;
  /** Blocks whose copy is known to be rotten. */
  readonly rotten: number;
  get(block: BlockId): IndexEntry | undefined;
  /** Adds an entry, or replaces the one of the same block. */
  set(entry: IndexEntry): void;
  delete(block: BlockId): void;
  setRotten(entry: IndexEntry, rotten: boolean): void;
  /** Entries by rising id, rotten ones left out, from the first one behind `after`, at most `limit`. */
  listAfter(after: BlockId, limit: number): IndexEntry[];
  /** Ids held among the `count` ids from `first` on. */
  idsIn(first: BlockId, count: number): BlockId[];
}

export class MapIndex implements BlockIndex {
  bytes = 0;
  rotten = 0;
  private readonly entries = new Map<BlockId, IndexEntry>();
  /** Ids by size; may hold ids that are gone, and lacks those in `unsorted`. */
  private sorted = new BigUint64Array(0);
  private unsorted: BlockId[] = [];

  get size(): number {
    return this.entries.size;
  }

  get(block: BlockId): IndexEntry | undefined {
    return this.entries.get(block);
  }

  set(entry: IndexEntry): void {
    const replaced = this.entries.get(entry.block);
    if (replaced === undefined) this.unsorted.push(entry.block);
    else this.forget(replaced);
    this.entries.set(entry.block, entry);
    this.bytes += entry.length;
    if (entry.rotten) this.rotten++;
  }

  delete(block: BlockId): void {
    const entry = this.entries.get(block);
    if (entry === undefined) return;
    this.forget(entry);
    this.entries.delete(block);
  }

  setRotten(entry: IndexEntry, rotten: boolean): void {
    if (entry.rotten === rotten || this.entries.get(entry.block) !== entry) return;
    entry.rotten = rotten;
    this.rotten += rotten ? 1 : -1;
  }

  listAfter(after: BlockId, limit: number): IndexEntry[] {
    this.sort();
    const found: IndexEntry[] = [];
    let previous: bigint | undefined;
    for (let at = this.placeBehind(after); at < this.sorted.length && found.length < limit; at++) {
      const block = this.sorted[at] as BlockId;
      const entry = this.entries.get(block);
      if (entry !== undefined && !entry.rotten && block !== previous) found.push(entry);
      previous = block; // an id that was deleted and put again is in the list twice
    }
    return found;
  }

  idsIn(first: BlockId, count: number): BlockId[] {
    const end = first + BigInt(count);
    if (count > this.entries.size) {
      return [...this.entries.keys()].filter((block) => block >= first && block < end);
    }
    const found: BlockId[] = [];
    for (let block = first as bigint; block < end; block++) {
      if (this.entries.has(block as BlockId)) found.push(block as BlockId);
    }
    return found;
  }

  private forget(entry: IndexEntry): void {
    this.bytes -= entry.length;
    if (entry.rotten) this.rotten--;
  }

  /** Brings new ids into the sorted list and drops those that are gone. */
  private sort(): void {
    if (this.unsorted.length === 0) return;
    const kept = this.sorted.filter((block) => this.entries.has(block as BlockId));
    const all = new BigUint64Array(kept.length + this.unsorted.length);
    all.set(kept);
    all.set(this.unsorted, kept.length);
    this.sorted = all.sort();
    this.unsorted = [];
  }

  /** Index in the sorted list of the first id above `after`. */
  private placeBehind(after: bigint): number {
    let low = 0;
    let high = this.sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.sorted[middle]! > after) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
