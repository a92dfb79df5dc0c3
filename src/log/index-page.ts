/**
 * One page of the index: some hundred entries, sorted by block id, in one typed array.
 *
 * An entry takes 9 words of 32 bits, so 36 bytes:
 *
 *     word 0, 1    block id, high and low half
 *     word 2       low 32 bits of the segment's number
 *     word 3       bit 31: rotten; below it the record's position divided by 8
 *     word 4       high 8 bits of the segment's number; below them the length less one (24 bits)
 *     word 5, 6    log sequence number, high and low half
 *     word 7, 8    checksum, high and low half
 *
 * A page's array is little longer than its entries need, and grows and shrinks by copying: at most some 18 KB, a few
 * microseconds. Ids are compared as pairs of words, because reading one as a bigint would allocate it.
 */
import { DfsError } from "../base/errors.ts";
import type { BlockId, Lsn } from "../base/ids.ts";
import { RECORD_ALIGNMENT } from "./format.ts";
import type { IndexEntry } from "./index.ts";

/** Entries that a page has room for at most. */
export const PAGE_ENTRIES = 512;

const ENTRY_WORDS = 9;
const SEGMENT_AT = 2;
const POSITION_AT = 3;
const LENGTH_AT = 4;
const LSN_AT = 5;
const CHECKSUM_AT = 7;

const LENGTH_BITS = 24;
const LENGTH_MASK = 2 ** LENGTH_BITS - 1;
/** More than the 12 digits of a file name can say. */
const MAX_SEGMENT = 2 ** 40 - 1;
const POSITION_MASK = 0x7fff_ffff;
const ROTTEN_BIT = 0x8000_0000;

/** An array grows by room for this many entries, and shrinks when it has half as much again to spare. */
const STEP_ENTRIES = 32;
const MAX_SPARE_ENTRIES = STEP_ENTRIES + STEP_ENTRIES / 2;

/** Two halves of one 64-bit number; Bun runs on little-endian machines only. */
const whole = new BigUint64Array(1);
const halves = new Uint32Array(whole.buffer);
const LOW = 0;
const HIGH = 1;

/** A 64-bit id as two words. Reused by `splitId`, so that a lookup allocates nothing for it. */
export interface SplitId {
  high: number;
  low: number;
}

/** Writes the two words of `id` into `target`. */
export function splitId(id: bigint, target: SplitId): SplitId {
  whole[0] = id;
  target.high = halves[HIGH]!;
  target.low = halves[LOW]!;
  return target;
}

/**
 * Where records lie, and the checksums of their blocks, as an index had it when it was asked: in columns, because an object for each
 * costs as much as reading a small block does.
 */
export class Locations {
  /** Numbers of segments, and positions in them. */
  readonly segments: Float64Array;
  readonly positions: Float64Array;
  /** Two words for each, the high one first. */
  readonly checksums: Uint32Array;

  constructor(count: number) {
    this.segments = new Float64Array(count);
    this.positions = new Float64Array(count);
    this.checksums = new Uint32Array(2 * count);
  }
}

/** Checks that an entry fits its words: any does that a log can hold. @throws DfsError `internal`. */
export function assertStorable({ length, segment, position }: IndexEntry): void {
  const slot = position / RECORD_ALIGNMENT;
  if (!isWithin(slot, 0, POSITION_MASK)) cannotHold(`a record at position ${position}`);
  if (!isWithin(length, 1, LENGTH_MASK + 1)) cannotHold(`a block of ${length} bytes`);
  if (!isWithin(segment, 0, MAX_SEGMENT)) cannotHold(`a record in segment ${segment}`);
}

function isWithin(value: number, least: number, most: number): boolean {
  return Number.isInteger(value) && value >= least && value <= most;
}

function cannotHold(what: string): never {
  throw new DfsError("internal", `internal error: the index cannot hold ${what}`);
}

export class IndexPage {
  private words: Uint32Array;
  private used = 0;
  /** Somebody else looks at the array: it is copied before the first change. */
  private shared = false;

  constructor(entries = 0) {
    this.words = new Uint32Array(roomFor(entries) * ENTRY_WORDS);
  }

  /** A page of the entries in `words`, which are copied; undefined when it cannot hold just so many. */
  static of(words: Uint32Array): IndexPage | undefined {
    const entries = words.length / ENTRY_WORDS;
    if (!Number.isInteger(entries) || entries === 0 || entries > PAGE_ENTRIES) return undefined;
    const page = new IndexPage(entries);
    page.words.set(words);
    page.used = entries;
    return page;
  }

  /** The entries of this moment. The array never changes; the page goes on with a copy when it has to. */
  freeze(): Uint32Array {
    this.shared = true;
    return this.words.subarray(0, this.used * ENTRY_WORDS);
  }

  get count(): number {
    return this.used;
  }

  get isFull(): boolean {
    return this.used === PAGE_ENTRIES;
  }

  /** What the array takes. */
  get bytes(): number {
    return this.words.byteLength;
  }

  /** True when the page's first entry has a larger id. The page must not be empty. */
  beginsAbove({ high, low }: SplitId): boolean {
    const first = this.words[0]!;
    return first > high || (first === high && this.words[1]! > low);
  }

  /** Place of the first entry whose id is not below `id`: 0 to `count`. */
  placeOf({ high, low }: SplitId): number {
    const { words } = this;
    let from = 0;
    let to = this.used;
    while (from < to) {
      const middle = (from + to) >>> 1;
      const word = middle * ENTRY_WORDS;
      const middleHigh = words[word]!;
      if (middleHigh < high || (middleHigh === high && words[word + 1]! < low)) from = middle + 1;
      else to = middle;
    }
    return from;
  }

  /** True when the entry at `place` has this id. */
  holds(place: number, { high, low }: SplitId): boolean {
    if (place >= this.used) return false;
    const word = place * ENTRY_WORDS;
    return this.words[word] === high && this.words[word + 1] === low;
  }

  segmentAt(place: number): number {
    const word = place * ENTRY_WORDS;
    const high = this.words[word + LENGTH_AT]! >>> LENGTH_BITS;
    return high * 2 ** 32 + this.words[word + SEGMENT_AT]!;
  }

  blockAt(place: number): BlockId {
    return this.readWide(place * ENTRY_WORDS) as BlockId;
  }

  lengthAt(place: number): number {
    return (this.words[place * ENTRY_WORDS + LENGTH_AT]! & LENGTH_MASK) + 1;
  }

  isRottenAt(place: number): boolean {
    return (this.words[place * ENTRY_WORDS + POSITION_AT]! & ROTTEN_BIT) !== 0;
  }

  setRottenAt(place: number, rotten: boolean): void {
    this.own();
    const word = place * ENTRY_WORDS + POSITION_AT;
    const position = this.words[word]! & POSITION_MASK;
    this.words[word] = rotten ? position | ROTTEN_BIT : position;
  }

  /** True when the entry at `place` names the record of `entry`: where a record lies, no other ever will. */
  namesRecordOf(place: number, entry: IndexEntry): boolean {
    return this.segmentAt(place) === entry.segment && this.positionAt(place) === entry.position;
  }

  /** True when ids rise from entry to entry. */
  isSorted(): boolean {
    for (let word = ENTRY_WORDS; word < this.used * ENTRY_WORDS; word += ENTRY_WORDS) {
      const [high, low] = [this.words[word]!, this.words[word + 1]!];
      const before = this.words[word - ENTRY_WORDS]!;
      if (before > high) return false;
      if (before === high && this.words[word - ENTRY_WORDS + 1]! >= low) return false;
    }
    return true;
  }

  /** A copy of the entry at `place`. */
  entryAt(place: number): IndexEntry {
    const word = place * ENTRY_WORDS;
    return {
      block: this.blockAt(place),
      length: this.lengthAt(place),
      checksum: this.readWide(word + CHECKSUM_AT),
      segment: this.segmentAt(place),
      position: this.positionAt(place),
      lsn: this.readWide(word + LSN_AT) as Lsn,
      rotten: this.isRottenAt(place),
    };
  }

  /** Writes where the record of the entry at `place` lies to row `row`. */
  locate(place: number, into: Locations, row: number): void {
    const word = place * ENTRY_WORDS + CHECKSUM_AT;
    into.segments[row] = this.segmentAt(place);
    into.positions[row] = this.positionAt(place);
    into.checksums[2 * row] = this.words[word]!;
    into.checksums[2 * row + 1] = this.words[word + 1]!;
  }

  /** Writes over the entry at `place`. The entry must be storable. */
  write(place: number, entry: IndexEntry): void {
    const { block, length, checksum, segment, position, lsn, rotten } = entry;
    const slot = position / RECORD_ALIGNMENT;
    const segmentHigh = Math.floor(segment / 2 ** 32);
    const word = place * ENTRY_WORDS;
    this.own();
    this.writeWide(word, block);
    this.words[word + SEGMENT_AT] = segment % 2 ** 32;
    this.words[word + POSITION_AT] = rotten ? slot | ROTTEN_BIT : slot;
    this.words[word + LENGTH_AT] = (length - 1) | (segmentHigh << LENGTH_BITS);
    this.writeWide(word + LSN_AT, lsn);
    this.writeWide(word + CHECKSUM_AT, checksum);
  }

  /** Puts a new, storable entry before the one at `place`. The page must not be full. */
  insert(place: number, entry: IndexEntry): void {
    if (this.used === this.room) this.resize(this.used + STEP_ENTRIES);
    this.own();
    const word = place * ENTRY_WORDS;
    if (place < this.used) {
      this.words.copyWithin(word + ENTRY_WORDS, word, this.used * ENTRY_WORDS);
    }
    this.used++;
    this.write(place, entry);
  }

  remove(place: number): void {
    this.own();
    const word = place * ENTRY_WORDS;
    this.words.copyWithin(word, word + ENTRY_WORDS, this.used * ENTRY_WORDS);
    this.used--;
    if (this.room - this.used > MAX_SPARE_ENTRIES) this.resize(this.used);
  }

  /** Moves the upper half of the entries into a page of its own, and returns that. */
  split(): IndexPage {
    const kept = this.used >>> 1;
    const upper = new IndexPage(this.used - kept);
    upper.words.set(this.words.subarray(kept * ENTRY_WORDS, this.used * ENTRY_WORDS));
    upper.used = this.used - kept;
    this.used = kept;
    this.resize(kept);
    return upper;
  }

  /** Takes over the entries of `next`, all of which have larger ids. There must be room for them in one page. */
  append(next: IndexPage): void {
    const count = this.used + next.used;
    if (count > this.room) this.resize(count);
    this.own();
    this.words.set(next.words.subarray(0, next.used * ENTRY_WORDS), this.used * ENTRY_WORDS);
    this.used = count;
  }

  private get room(): number {
    return this.words.length / ENTRY_WORDS;
  }

  private positionAt(place: number): number {
    const slot = this.words[place * ENTRY_WORDS + POSITION_AT]! & POSITION_MASK;
    return slot * RECORD_ALIGNMENT;
  }

  private resize(entries: number): void {
    const words = new Uint32Array(roomFor(entries) * ENTRY_WORDS);
    words.set(this.words.subarray(0, this.used * ENTRY_WORDS));
    this.words = words;
    this.shared = false;
  }

  /** Makes sure that nobody else looks at the array. */
  private own(): void {
    if (!this.shared) return;
    this.words = this.words.slice();
    this.shared = false;
  }

  private readWide(word: number): bigint {
    halves[HIGH] = this.words[word]!;
    halves[LOW] = this.words[word + 1]!;
    return whole[0]!;
  }

  private writeWide(word: number, value: bigint): void {
    whole[0] = value;
    this.words[word] = halves[HIGH]!;
    this.words[word + 1] = halves[LOW]!;
  }
}

/** Entries that an array for `entries` has room for: whole steps, at most a page. */
function roomFor(entries: number): number {
  const steps = Math.max(1, Math.ceil(entries / STEP_ENTRIES));
  return Math.min(PAGE_ENTRIES, steps * STEP_ENTRIES);
}
