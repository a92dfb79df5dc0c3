/**
 * From records to the index: the state of a block is told by the record with the highest log sequence number that names
 * it. A put means that it is held, a tombstone that it is not.
 *
 * Records are taken from the newest to the oldest, segment by segment and from the last to the first in each, so the
 * first word about a block is mostly the valid one; the numbers decide all the same. What is left over fills the ledger:
 * which old puts are on disk, and which tombstones keep them dead.
 */
import type { BlockId, Lsn } from "../base/ids.ts";
import type { BlockIndex, IndexEntry } from "./index.ts";
import { countedPut } from "./counted-put.ts";
import type { SegmentLedger } from "./ledger.ts";
import type { Finding, FoundRecord } from "./reader.ts";
import { recordBytes, type PutHeader } from "./record.ts";

interface Grave {
  readonly lsn: Lsn;
  /** The segment that holds the tombstone. */
  readonly segment: number;
}

export class Replay {
  private readonly index: BlockIndex;
  private readonly ledger: SegmentLedger;
  /** Records with lower numbers that lie behind the checkpoint are copies made by compaction. */
  private readonly checkpointLsn: Lsn;
  /** Segments that the checkpoint covers and that have been deleted since: what it names in them is not there. */
  private readonly deleted: ReadonlySet<number>;
  /** For each block with a tombstone the newest one met so far. */
  private readonly graves = new Map<BlockId, Grave>();
  /** Tombstones that are copies of what the checkpoint knows already: by block the segments that hold one. */
  private readonly copies = new Map<BlockId, Set<number>>();
  /** Above every log sequence number met. */
  nextLsn: Lsn;
  /** The largest block id met. */
  highestBlock = 0n as BlockId;
  /** Up to where suspect segments count, by number. */
  readonly suspectEnds = new Map<number, number>();

  /**
   * `index` and `ledger` are those of a checkpoint, made when `checkpointLsn` was the next number, of which only what lies
   * behind it is taken, `deleted` having gone since; or both are empty, and all there is is taken.
   */
  constructor(
    index: BlockIndex,
    ledger: SegmentLedger,
    checkpointLsn = 0n as Lsn,
    deleted: ReadonlySet<number> = new Set(),
  ) {
    this.deleted = deleted;
    this.index = index;
    this.ledger = ledger;
    this.checkpointLsn = checkpointLsn;
    this.nextLsn = checkpointLsn > 1n ? checkpointLsn : (1n as Lsn);
  }

  /** No record may get a number below `floor` any more. */
  raiseLsn(floor: bigint): void {
    if (floor > this.nextLsn) this.nextLsn = floor as Lsn;
  }

  /** Takes what was found in one segment. */
  takeSegment(segment: number, findings: readonly Finding[]): void {
    for (let at = findings.length - 1; at >= 0; at--) {
      const finding = findings[at]!;
      if (finding.type === "record") this.takeRecord(segment, finding);
      else if (finding.header?.kind === "put") {
        this.takePut(segment, finding.header, finding.blockIsRight !== true);
      }
    }
  }

  /** All segments have been taken. */
  finish(): void {
    this.ledger.coverByCopies(this.copies);
  }

  private takeRecord(segment: number, { header, blocks }: FoundRecord): void {
    this.raiseLsn(header.lsn + 1n);
    switch (header.kind) {
      case "put":
        return this.takePut(segment, header, false);
      case "tombstone":
        this.takeTombstoneRecord(segment, recordBytes(header.bodyLength));
        for (const block of blocks) this.takeTombstone(block, { lsn: header.lsn, segment });
        return;
      case "seal":
        if (header.segment === segment) return;
        this.suspectEnds.set(header.segment, header.end);
        this.ledger.coverSuspect(segment, header.segment);
    }
  }

  private takeTombstoneRecord(segment: number, bytes: number): void {
    const state = this.ledger.state(segment);
    state.tombstones = true;
    state.tombstoneBytes += bytes;
  }

  private takeTombstone(block: BlockId, grave: Grave): void {
    this.noteBlock(block);
    if (grave.lsn < this.checkpointLsn) this.noteCopy(block, grave.segment);
    const known = this.graves.get(block);
    if (known === undefined || known.lsn < grave.lsn) this.graves.set(block, grave);
    const held = this.index.get(block);
    if (held === undefined || held.lsn > grave.lsn) return;
    this.index.delete(block);
    this.ledger.putDied(countedPut(held), grave.segment);
  }

  private noteCopy(block: BlockId, segment: number): void {
    const known = this.copies.get(block);
    if (known === undefined) this.copies.set(block, new Set([segment]));
    else known.add(segment);
  }

  private takePut(segment: number, header: PutHeader, rotten: boolean): void {
    const { block, length, bodyChecksum: checksum, position, lsn } = header;
    this.raiseLsn(lsn + 1n);
    this.noteBlock(block);
    const grave = this.graves.get(block);
    const held = this.index.get(block);
    const entry = { block, length, checksum, segment, position, lsn, rotten };
    if (grave !== undefined && grave.lsn > lsn) {
      this.ledger.addDeadPut(block, segment, grave.segment);
    } else if (held !== undefined && !this.deleted.has(held.segment) && isBetter(held, entry)) {
      this.ledger.addOlderCopy(block, segment);
    } else {
      this.index.set(entry);
      this.ledger.putBecameLive(countedPut(entry), held && countedPut(held));
    }
  }

  private noteBlock(block: BlockId): void {
    if (block > this.highestBlock) this.highestBlock = block;
  }
}

/**
 * Which of two records of a block counts: the one with the higher number. Two with the same number are copies of each
 * other, made by compaction: a right one is preferred, then the one in the newer segment.
 */
function isBetter(one: IndexEntry, other: IndexEntry): boolean {
  if (one.lsn !== other.lsn) return one.lsn > other.lsn;
  if (one.rotten !== other.rotten) return other.rotten;
  return one.segment > other.segment;
}
