/**
 * Which block lies where: the index of a log, in memory, rebuilt at each opening.
 *
 * It is a sorted list of entries, cut into pages of typed arrays (index-page.ts): an entry takes 36 bytes, with the
 * slack of pages at most 48. A lookup is one binary search over the pages and one in the page. Nothing is ever built
 * anew as a whole: the most that one change costs is copying a page, and moving the list of pages (8 bytes for some
 * hundred blocks) by one place. So it grows without holding anything up, and listings by rising id need no sorting.
 *
 * Invariants
 * - No page is empty. Ids rise within a page and from page to page.
 * - Two neighbours hold together more than `MERGE_ENTRIES`, once something has been deleted from either.
 * - A page is cut in two halves, except where ids rise or fall in a run: there full pages are left behind.
 */
import type { Checksum } from "../base/checksum.ts";
import type { BlockId, Lsn } from "../base/ids.ts";
import {
  assertStorable,
  IndexPage,
  PAGE_ENTRIES,
  splitId,
  type Locations,
  type SplitId,
} from "./index-page.ts";

/** The one live record of a block, as the index had it when it was asked. */
export interface IndexEntry {
  readonly block: BlockId;
  readonly length: number;
  readonly checksum: Checksum;
  /** Number of the segment, and the record's position in it. */
  readonly segment: number;
  readonly position: number;
  readonly lsn: Lsn;
  /** True when the copy was last found rotten: it is not listed, and a put of the block replaces it. */
  readonly rotten: boolean;
}

export interface BlockIndex {
  /** Number of blocks, rotten ones included. */
  readonly size: number;
  /** Sum of their lengths. */
  readonly bytes: number;
  /** Blocks whose copy is known to be rotten. */
  readonly rotten: number;
  get(block: BlockId): IndexEntry | undefined;
  /**
   * Writes where a block of this length lies to row `row`. Returns false, and writes nothing, when none is held, or its copy was last
   * found rotten.
   */
  locate(block: BlockId, length: number, into: Locations, row: number): boolean;
  /** True when the block's live record is still the one that `entry` names. */
  isCurrent(entry: IndexEntry): boolean;
  /**
   * Adds an entry, or replaces the one of the same block, which is returned.
   * @throws DfsError `internal` for what no log can hold.
   */
  set(entry: IndexEntry): IndexEntry | undefined;
  delete(block: BlockId): void;
  /** Remembers whether the record that `entry` names is rotten. Nothing happens when it is not the live one any more. */
  setRotten(entry: IndexEntry, rotten: boolean): void;
  /** Entries by rising id, rotten ones left out, from the first one behind `after`, at most `limit`. */
  listAfter(after: BlockId, limit: number): IndexEntry[];
  /** The entries of this moment, by rising id, as words of index-page.ts in arrays that never change. */
  freeze(): Uint32Array[];
  /** Deletes all entries whose record lies in one of these segments. */
  deleteIn(segments: ReadonlySet<number>): void;
  /** Ids held among the `count` ids from `first` on, by rising id. */
  idsIn(first: BlockId, count: number): BlockId[];
}

/** Neighbours that together hold no more than this become one page: with room left, so that it is not cut again soon. */
const MERGE_ENTRIES = (PAGE_ENTRIES * 3) / 4;

/** Largest id that two words hold. */
const LARGEST = 2n ** 64n - 1n;

export class CompactIndex implements BlockIndex {
  size = 0;
  bytes = 0;
  rotten = 0;
  private readonly pages: IndexPage[] = [];
  /** The id that is being looked for. */
  private readonly id: SplitId = { high: 0, low: 0 };

  /** Takes over frozen entries, behind all that are there. Returns false, and has taken none, when they are not sorted so. */
  append(words: Uint32Array): boolean {
    const page = IndexPage.of(words);
    const last = this.pages.at(-1);
    if (page === undefined || !page.isSorted()) return false;
    if (last !== undefined && last.blockAt(last.count - 1) >= page.blockAt(0)) return false;
    this.pages.push(page);
    this.size += page.count;
    for (let place = 0; place < page.count; place++) {
      this.bytes += page.lengthAt(place);
      if (page.isRottenAt(place)) this.rotten++;
    }
    return true;
  }

  /** Bytes of the pages' arrays; the objects around them take some hundred bytes more for each page. */
  get arrayBytes(): number {
    return this.pages.reduce((sum, page) => sum + page.bytes, 0);
  }

  get pageCount(): number {
    return this.pages.length;
  }

  get(block: BlockId): IndexEntry | undefined {
    const page = this.pages[this.pageOf(block)];
    const place = page?.placeOf(this.id) ?? 0;
    return page?.holds(place, this.id) ? page.entryAt(place) : undefined;
  }

  locate(block: BlockId, length: number, into: Locations, row: number): boolean {
    const page = this.pages[this.pageOf(block)];
    const place = page?.placeOf(this.id) ?? 0;
    if (!page?.holds(place, this.id)) return false;
    if (page.lengthAt(place) !== length || page.isRottenAt(place)) return false;
    page.locate(place, into, row);
    return true;
  }

  isCurrent(entry: IndexEntry): boolean {
    const page = this.pages[this.pageOf(entry.block)];
    const place = page?.placeOf(this.id) ?? 0;
    return page?.holds(place, this.id) === true && page.namesRecordOf(place, entry);
  }

  set(entry: IndexEntry): IndexEntry | undefined {
    assertStorable(entry);
    const at = this.pageOf(entry.block);
    const page = this.pages[at];
    const place = page?.placeOf(this.id) ?? 0;
    let replaced: IndexEntry | undefined;
    if (page?.holds(place, this.id)) {
      replaced = page.entryAt(place);
      this.uncount(page, place);
      page.write(place, entry);
    } else {
      this.insert(entry, at, place);
      this.size++;
    }
    this.bytes += entry.length;
    if (entry.rotten) this.rotten++;
    return replaced;
  }

  delete(block: BlockId): void {
    const at = this.pageOf(block);
    const page = this.pages[at];
    const place = page?.placeOf(this.id) ?? 0;
    if (!page?.holds(place, this.id)) return;
    this.uncount(page, place);
    this.size--;
    page.remove(place);
    if (page.count === 0) this.pages.splice(at, 1);
    else if (!this.mergeWithNext(at)) this.mergeWithNext(at - 1);
  }

  setRotten(entry: IndexEntry, rotten: boolean): void {
    const page = this.pages[this.pageOf(entry.block)];
    const place = page?.placeOf(this.id) ?? 0;
    if (!page?.holds(place, this.id) || !page.namesRecordOf(place, entry)) return;
    if (page.isRottenAt(place) === rotten) return;
    page.setRottenAt(place, rotten);
    this.rotten += rotten ? 1 : -1;
  }

  listAfter(after: BlockId, limit: number): IndexEntry[] {
    const found: IndexEntry[] = [];
    for (const { page, place } of this.placesFrom((after + 1n) as BlockId)) {
      if (found.length >= limit) break;
      if (!page.isRottenAt(place)) found.push(page.entryAt(place));
    }
    return found;
  }

  idsIn(first: BlockId, count: number): BlockId[] {
    const end = first + BigInt(count);
    const found: BlockId[] = [];
    for (const { page, place } of this.placesFrom(first)) {
      const block = page.blockAt(place);
      if (block >= end) break;
      found.push(block);
    }
    return found;
  }

  freeze(): Uint32Array[] {
    return this.pages.map((page) => page.freeze());
  }

  deleteIn(segments: ReadonlySet<number>): void {
    const found: BlockId[] = [];
    for (const page of this.pages) {
      for (let place = 0; place < page.count; place++) {
        if (segments.has(page.segmentAt(place))) found.push(page.blockAt(place));
      }
    }
    for (const block of found) this.delete(block);
  }

  /** Where the entries from `first` on are, by rising id. The index must not be changed meanwhile. */
  private *placesFrom(first: BlockId): Generator<{ page: IndexPage; place: number }, void, void> {
    if (first > LARGEST) return;
    let at = this.pageOf(first);
    let place = this.pages[at]?.placeOf(this.id) ?? 0;
    for (; at < this.pages.length; at++, place = 0) {
      const page = this.pages[at]!;
      for (; place < page.count; place++) yield { page, place };
    }
  }

  /** Number of the page in which `block` is, or would be: the last that does not begin above it, else the first. */
  private pageOf(block: BlockId): number {
    const id = splitId(block, this.id);
    let from = 0;
    let to = this.pages.length;
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (this.pages[middle]!.beginsAbove(id)) to = middle;
      else from = middle + 1;
    }
    return Math.max(0, from - 1);
  }

  /** Inserts an entry that belongs at `place` of page `at`, making room for it. */
  private insert(entry: IndexEntry, at: number, place: number): void {
    const page = this.pages[at];
    const next = this.pages[at + 1];
    if (page !== undefined && !page.isFull) {
      page.insert(place, entry);
    } else if (page === undefined || place === 0) {
      this.insertPage(at, entry); // the first of all, or ids that fall in a run
    } else if (place < page.count) {
      const upper = page.split();
      this.pages.splice(at + 1, 0, upper);
      if (place <= page.count) page.insert(place, entry);
      else upper.insert(place - page.count, entry);
    } else if (next !== undefined && !next.isFull) {
      next.insert(0, entry);
    } else {
      this.insertPage(at + 1, entry); // ids that rise in a run
    }
  }

  private insertPage(at: number, entry: IndexEntry): void {
    const page = new IndexPage();
    page.insert(0, entry);
    this.pages.splice(at, 0, page);
  }

  /** Makes one page of page `at` and the one behind it, when they are small enough. Returns whether it did. */
  private mergeWithNext(at: number): boolean {
    const page = this.pages[at];
    const next = this.pages[at + 1];
    if (page === undefined || next === undefined) return false;
    if (page.count + next.count > MERGE_ENTRIES) return false;
    page.append(next);
    this.pages.splice(at + 1, 1);
    return true;
  }

  /** Takes an entry that is going out of the sums. */
  private uncount(page: IndexPage, place: number): void {
    this.bytes -= page.lengthAt(place);
    if (page.isRottenAt(place)) this.rotten--;
  }
}
