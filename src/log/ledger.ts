/**
 * What each segment is still needed for, so that segments nobody needs can be deleted.
 *
 * A segment file may go when
 * - it is sealed, and a later segment holds a record (or its LSNs would be forgotten, and given out again),
 * - none of its puts is the live record of a block,
 * - it holds no damage: behind damage there may be records that we could not read,
 * - nothing that it holds keeps an older segment in check: its tombstones cover no put, and its seals no suspect
 *   segment, that is still on disk.
 *
 * `covers` of a segment are the older segments that hold puts which its tombstones killed, or that its seals cut short.
 * Covered segments are always older than the covering one, so there are no circles. docs/log-format.md, "Deleting
 * segments", has the argument.
 */
import { assert } from "../base/errors.ts";
import type { BlockId } from "../base/ids.ts";

export interface SegmentState {
  readonly number: number;
  /** Length of the file. Changed by `setBytes`. */
  bytes: number;
  sealed: boolean;
  damaged: boolean;
  /** Puts that are the live record of their block. */
  livePuts: number;
  /** Whether it holds any tombstone. */
  tombstones: boolean;
  readonly covers: Set<number>;
}

export class SegmentLedger {
  private readonly segments = new Map<number, SegmentState>();
  /** Segments without live puts: the only ones that can be unneeded. */
  private readonly idle = new Set<number>();
  /** Segments with older records of a live block: a rotten copy was replaced by a new put. Rare. */
  private readonly olderCopies = new Map<BlockId, number[]>();
  /** The newest segment with a put or a tombstone, or with anything an opening has found. */
  private newestWritten = 0;
  private totalBytes = 0;

  add(number: number, bytes: number): SegmentState {
    const state: SegmentState = {
      number,
      bytes,
      sealed: false,
      damaged: false,
      livePuts: 0,
      tombstones: false,
      covers: new Set(),
    };
    this.segments.set(number, state);
    this.idle.add(number);
    this.totalBytes += bytes;
    return state;
  }

  state(number: number): SegmentState {
    const state = this.segments.get(number);
    assert(state !== undefined, `segment ${number} is not in the ledger`);
    return state;
  }

  get count(): number {
    return this.segments.size;
  }

  /** Bytes of all segment files. */
  get bytes(): number {
    return this.totalBytes;
  }

  /** A segment holds a record that no crash takes away. */
  holdsRecords(number: number): void {
    if (number > this.newestWritten) this.newestWritten = number;
  }

  setBytes(number: number, bytes: number): void {
    const state = this.state(number);
    this.totalBytes += bytes - state.bytes;
    state.bytes = bytes;
  }

  /** A put in `segment` has become the live record of `block`; the one in `replaced`, if any, is so no longer. */
  putBecameLive(block: BlockId, segment: number, replaced: number | undefined): void {
    this.state(segment).livePuts++;
    this.idle.delete(segment);
    if (replaced === undefined) return;
    this.dropLivePut(replaced);
    this.addOlderCopy(block, replaced);
  }

  /** There is a put of `block` in `segment` that is older than its live record. */
  addOlderCopy(block: BlockId, segment: number): void {
    const known = this.olderCopies.get(block);
    if (known === undefined) this.olderCopies.set(block, [segment]);
    else known.push(segment);
  }

  /** The live record of `block`, in `segment`, was killed by a tombstone in `tombstone`. */
  putDied(block: BlockId, segment: number, tombstone: number): void {
    this.dropLivePut(segment);
    this.cover(tombstone, segment);
    for (const older of this.olderCopies.get(block) ?? []) this.cover(tombstone, older);
    this.olderCopies.delete(block);
  }

  /** Something in segment `by` is needed as long as the older segment `older` is on disk. */
  cover(by: number, older: number): void {
    if (older < by) this.state(by).covers.add(older); // one that is gone already is dropped when somebody looks
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
    this.totalBytes -= this.state(number).bytes;
    this.segments.delete(number);
    this.idle.delete(number);
  }

  private dropLivePut(segment: number): void {
    const state = this.state(segment);
    state.livePuts--;
    if (state.livePuts === 0) this.idle.add(segment);
  }

  private isUnneeded(state: SegmentState): boolean {
    if (!state.sealed || state.damaged || state.number >= this.newestWritten) return false;
    for (const older of state.covers) {
      if (this.segments.has(older)) return false;
      state.covers.delete(older);
    }
    // What lies in a damaged older segment may be a put that one of these tombstones covers.
    return !state.tombstones || !this.hasDamageBefore(state.number);
  }

  private hasDamageBefore(number: number): boolean {
    for (const state of this.segments.values()) {
      if (state.damaged && state.number < number) return true;
    }
    return false;
  }
}
