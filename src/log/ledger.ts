/**
 * What each segment is still needed for: so that segments nobody needs can be deleted, and those that are mostly dead be
 * compacted.
 *
 * A segment file may go when
 * - it is sealed, and does not hold the highest LSN (or that would be forgotten, and given out again),
 * - none of its puts is the live record of a block,
 * - it holds no damage: behind damage there may be records that we could not read,
 * - nothing that it holds keeps an older segment in check: its tombstones cover no put, and its seals no suspect
 *   segment, that is still on disk.
 *
 * `covers` of a segment are the older segments that hold puts which its tombstones killed, with their number;
 * `suspects` those that its seals cut short. Both are always older than the segment itself, so there are no circles.
 * docs/log-format.md, "Deleting segments" and "Compaction", has the arguments.
 */
import { assert } from "../base/errors.ts";
import type { BlockId, Lsn } from "../base/ids.ts";
import { IdList } from "./id-list.ts";

/** Bytes that a tombstone of one block takes: what a put that must stay dead costs at most. */
const TOMBSTONE_BYTES = 128;

const NO_BLOCKS: ReadonlySet<BlockId> = new Set();
const NO_SEGMENTS: ReadonlySet<number> = new Set();

export interface SegmentState {
  readonly number: number;
  /** Length of the file. Changed by `setBytes`. */
  bytes: number;
  /** Records count up to here, when that is before the file's end: of a suspect. */
  end: number | undefined;
  sealed: boolean;
  damaged: boolean;
  /** Puts that are the live record of their block, and the bytes of their records. */
  livePuts: number;
  liveBytes: number;
  /** Whether it holds any tombstone that is not known to be needless, and the bytes of their records. */
  tombstones: boolean;
  tombstoneBytes: number;
  readonly covers: Map<number, number>;
  readonly suspects: Set<number>;
  /** Blocks of the puts in it that are dead. */
  readonly dead: IdList;
}

/** A put record as the ledger counts it. */
export interface CountedPut {
  readonly block: BlockId;
  readonly segment: number;
  /** What the record takes in its segment. */
  readonly bytes: number;
}

export class SegmentLedger {
  private readonly segments = new Map<number, SegmentState>();
  /** Segments without live puts: the only ones that can be unneeded. */
  private readonly idle = new Set<number>();
  /**
   * By segment: blocks that are alive, and of which there is another record in it, older or the same. Those that compaction
   * has moved, until the segment is gone, and rotten ones that were put again.
   */
  private readonly olderCopies = new Map<number, Set<BlockId>>();
  /** The segment with the highest LSN. */
  private newestWritten = 0;
  private highestLsn = 0n;
  private totalBytes = 0;
  private totalLive = 0;

  add(number: number, bytes: number): SegmentState {
    return this.take({
      number,
      bytes,
      end: undefined,
      sealed: false,
      damaged: false,
      livePuts: 0,
      liveBytes: 0,
      tombstones: false,
      tombstoneBytes: 0,
      covers: new Map(),
      suspects: new Set(),
      dead: new IdList(),
    });
  }

  /** Takes a segment over as it was; `olderCopies` as the field of that name. */
  restore(state: SegmentState, olderCopies: ReadonlySet<BlockId>): void {
    this.take(state);
    if (olderCopies.size > 0) this.olderCopies.set(state.number, new Set(olderCopies));
  }

  /** Live blocks of which there is another record in this segment. */
  olderCopiesIn(number: number): ReadonlySet<BlockId> {
    return this.olderCopies.get(number) ?? NO_BLOCKS;
  }

  state(number: number): SegmentState {
    const state = this.segments.get(number);
    assert(state !== undefined, `segment ${number} is not in the ledger`);
    return state;
  }

  has(number: number): boolean {
    return this.segments.has(number);
  }

  /** All segments, in no order. */
  states(): Iterable<SegmentState> {
    return this.segments.values();
  }

  get count(): number {
    return this.segments.size;
  }

  /** Bytes of all segment files. */
  get bytes(): number {
    return this.totalBytes;
  }

  /** Bytes of the records of all live puts. */
  get liveBytes(): number {
    return this.totalLive;
  }

  /** The highest LSN that a segment is known to hold, and the segment. */
  get newest(): { readonly lsn: Lsn; readonly segment: number } {
    return { lsn: this.highestLsn as Lsn, segment: this.newestWritten };
  }

  /** A segment holds a record with this LSN, and no crash takes it away. */
  holdsRecord(number: number, lsn: Lsn): void {
    if (lsn <= this.highestLsn) return;
    this.highestLsn = lsn;
    this.newestWritten = number;
  }

  setBytes(number: number, bytes: number): void {
    const state = this.state(number);
    this.totalBytes += bytes - state.bytes;
    state.bytes = bytes;
  }

  /** A put has become the live record of its block; `replaced`, if any, is so no longer. */
  putBecameLive(put: CountedPut, replaced: CountedPut | undefined): void {
    const state = this.state(put.segment);
    state.livePuts++;
    state.liveBytes += put.bytes;
    this.totalLive += put.bytes;
    this.idle.delete(put.segment);
    if (replaced === undefined) return;
    this.dropLivePut(replaced);
    this.addOlderCopy(replaced.block, replaced.segment);
  }

  /** There is a put of the live `block` in `segment` that is not its live record. */
  addOlderCopy(block: BlockId, segment: number): void {
    const known = this.olderCopies.get(segment);
    if (known === undefined) this.olderCopies.set(segment, new Set([block]));
    else known.add(block);
  }

  /** The live record of a block was killed by a tombstone in segment `tombstone`. */
  putDied(put: CountedPut, tombstone: number): void {
    this.dropLivePut(put);
    this.addDeadPut(put.block, put.segment, tombstone);
    for (const [segment, blocks] of this.olderCopies) {
      if (!blocks.delete(put.block)) continue;
      this.addDeadPut(put.block, segment, tombstone);
      if (blocks.size === 0) this.olderCopies.delete(segment);
    }
  }

  /** There is a put of `block` in `segment`, and the tombstone that keeps it dead is in segment `tombstone`. */
  addDeadPut(block: BlockId, segment: number, tombstone: number): void {
    this.state(segment).dead.push(block);
    this.cover(tombstone, segment, 1);
  }

  /**
   * There are copies of tombstones: by block the segments that hold one. Each keeps dead what is in older segments, just as
   * the tombstone that it is a copy of.
   */
  coverByCopies(copies: ReadonlyMap<BlockId, ReadonlySet<number>>): void {
    if (copies.size === 0) return;
    for (const { number, dead } of this.segments.values()) {
      for (const block of dead.values as Iterable<bigint> as Iterable<BlockId>) {
        for (const by of copies.get(block) ?? NO_SEGMENTS) this.cover(by, number, 1);
      }
    }
  }

  /** Tombstones in segment `by` keep `count` more puts of the older segment `older` dead. */
  cover(by: number, older: number, count: number): void {
    if (older >= by) return; // one that is gone already is dropped when somebody looks
    const { covers } = this.state(by);
    covers.set(older, (covers.get(older) ?? 0) + count);
  }

  /** A seal in segment `by` says up to where the older segment `suspect` counts. */
  coverSuspect(by: number, suspect: number): void {
    if (suspect < by) this.state(by).suspects.add(suspect);
  }

  /**
   * Which of these tombstones of segment `number` keep a put dead that is still on disk: by segment of the put. Undefined
   * when that cannot be known, because an older segment is damaged: then all of them may.
   */
  neededTombstones(
    number: number,
    blocks: ReadonlySet<BlockId>,
  ): Map<number, BlockId[]> | undefined {
    const needed = new Map<number, BlockId[]>();
    const state = this.segments.get(number);
    if (state === undefined) return needed; // it is gone already, so none was needed
    if (this.oldestDamaged() < number) return undefined;
    for (const older of state.covers.keys()) {
      const kept = this.segments.get(older)?.dead.in(blocks) ?? [];
      if (kept.length > 0) needed.set(older, kept);
    }
    return needed;
  }

  /** All tombstones of a segment that are needed are in later segments as well. */
  tombstonesMoved(number: number): void {
    const state = this.segments.get(number);
    if (state === undefined) return;
    state.tombstones = false;
    state.tombstoneBytes = 0;
    state.covers.clear();
  }

  /** Bytes of a segment that compaction would free; `oldestDamaged` as that method tells. */
  deadBytes(state: SegmentState, oldestDamaged: number): number {
    let needed = 0;
    for (const [older, count] of state.covers) {
      if (this.segments.has(older)) needed += count * TOMBSTONE_BYTES;
    }
    const tombstones = oldestDamaged < state.number ? state.tombstoneBytes : needed;
    return state.bytes - state.liveBytes - Math.min(state.tombstoneBytes, tombstones);
  }

  /** The oldest segment with damage of unknown content; Infinity when there is none. */
  oldestDamaged(): number {
    let oldest = Infinity;
    for (const { damaged, number } of this.segments.values()) {
      if (damaged && number < oldest) oldest = number;
    }
    return oldest;
  }

  /** True for segments that take no more records, and that hold nothing an opening needs to know what comes next. */
  isClosed(state: SegmentState): boolean {
    return state.sealed && state.number < this.newestWritten;
  }

  /** The oldest segment that nobody needs. */
  reclaimable(): number | undefined {
    let oldest: number | undefined;
    for (const number of this.idle) {
      if (oldest !== undefined && number > oldest) continue;
      if (this.isUnneeded(this.state(number))) oldest = number;
    }
    return oldest;
  }

  remove(number: number): void {
    const { bytes, liveBytes } = this.state(number);
    this.totalBytes -= bytes;
    this.totalLive -= liveBytes;
    this.segments.delete(number);
    this.idle.delete(number);
    this.olderCopies.delete(number);
  }

  private take(state: SegmentState): SegmentState {
    this.segments.set(state.number, state);
    if (state.livePuts === 0) this.idle.add(state.number);
    this.totalBytes += state.bytes;
    this.totalLive += state.liveBytes;
    return state;
  }

  private dropLivePut({ segment, bytes }: CountedPut): void {
    const state = this.state(segment);
    state.livePuts--;
    state.liveBytes -= bytes;
    this.totalLive -= bytes;
    if (state.livePuts === 0) this.idle.add(segment);
  }

  private isUnneeded(state: SegmentState): boolean {
    if (!this.isClosed(state) || state.damaged) return false;
    for (const older of state.covers.keys()) {
      if (this.segments.has(older)) return false;
      state.covers.delete(older);
    }
    for (const suspect of state.suspects) {
      if (this.segments.has(suspect)) return false;
      state.suspects.delete(suspect);
    }
    // What lies in a damaged older segment may be a put that one of these tombstones covers.
    return !state.tombstones || this.oldestDamaged() > state.number;
  }
}
