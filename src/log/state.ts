/**
 * The state of an open log, index and ledger, and what each durable record changes in it. Records are taken in the order
 * of the log. An opening comes to the same state by another way (replay.ts), because it goes from the newest to the oldest.
 */
import { assert } from "../base/errors.ts";
import type { BlockId } from "../base/ids.ts";
import type { Move, Place, PutAppend, PutMove, TombstoneAppend, TombstoneMove } from "./batch.ts";
import { countedPut } from "./counted-put.ts";
import type { BlockIndex } from "./index.ts";
import type { SegmentLedger } from "./ledger.ts";
import { recordBytes } from "./record.ts";

export class LogState {
  private readonly index: BlockIndex;
  private readonly ledger: SegmentLedger;

  constructor(index: BlockIndex, ledger: SegmentLedger) {
    this.index = index;
    this.ledger = ledger;
  }

  /** Whether the record that a move copies is still the one that counts. */
  needs(move: Move): boolean {
    return move.kind === "tombstoneMove" || this.index.isCurrent(move.source);
  }

  /** The record is durable at `place`. Returns whether another one may have become needless by it. */
  take(append: PutAppend | TombstoneAppend | Move, place: Place): boolean {
    switch (append.kind) {
      case "put":
        return this.takePut(append, place);
      case "tombstone":
        this.takeTombstone(append, place);
        return true;
      case "putMove":
        this.takePutMove(append, place);
        return false; // compaction goes on when all of a segment has been moved
      case "tombstoneMove":
        this.takeTombstoneMove(append, place);
        return false;
    }
  }

  private takePut({ put, checksum }: PutAppend, { segment, position, lsn }: Place): boolean {
    const { block, length } = put;
    const entry = { block, length, checksum, segment, position, lsn, rotten: false };
    const replaced = this.index.set(entry);
    this.ledger.holdsRecord(segment, lsn);
    this.ledger.putBecameLive(countedPut(entry), replaced && countedPut(replaced));
    return replaced !== undefined;
  }

  private takeTombstone({ blocks }: TombstoneAppend, { segment, lsn }: Place): void {
    this.ledger.holdsRecord(segment, lsn);
    this.countTombstone(segment, blocks);
    for (const block of blocks) {
      const held = this.index.get(block);
      if (held === undefined) continue;
      this.index.delete(block);
      this.ledger.putDied(countedPut(held), segment);
    }
  }

  /** Its LSN is an old one: it does not make the segment one that holds the highest. */
  private takePutMove({ source }: PutMove, { segment, position }: Place): void {
    const held = this.index.get(source.block);
    assert(held !== undefined && this.index.isCurrent(source), "a move leads its batch");
    const entry = { ...held, segment, position };
    this.index.set(entry);
    this.ledger.putBecameLive(countedPut(entry), countedPut(held));
  }

  private takeTombstoneMove({ blocks, covers }: TombstoneMove, { segment }: Place): void {
    this.countTombstone(segment, blocks);
    for (const [older, count] of covers) this.ledger.cover(segment, older, count);
  }

  private countTombstone(segment: number, blocks: readonly BlockId[]): void {
    const state = this.ledger.state(segment);
    state.tombstones = true;
    state.tombstoneBytes += recordBytes(blocks.length * 8);
  }
}
