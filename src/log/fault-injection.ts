/**
 * Damage on purpose: what `dfs corrupt` and tests do to one copy of a block.
 *
 * This is deliberately the only code that changes bytes of a segment in place. It goes around the writer and tells nobody:
 * index and ledger stay as they were, so whoever meets the damage meets it as rot. It is durable when it is reported.
 * Where and how comes from a seed, so that the same seed does the same to the same record.
 *
 * A byte is changed by adding an odd number: repeating a seed damages further and does not put the old bytes back.
 *
 * A copy that is lost on purpose gets a tombstone, as if it had been deleted; metadata goes on believing in it.
 *
 * What compaction has read before the damage it may still write elsewhere, and then the copy is right again. Real rot has
 * that chance as well.
 */
import { join } from "node:path";
import { PIECE_HASH_BYTES, pieceCount } from "../base/checksum.ts";
import { writeFully, type Disk } from "../base/disk.ts";
import { DfsError, messageOf } from "../base/errors.ts";
import type { BlockId } from "../base/ids.ts";
import { MAX_FAULT_BYTES } from "../base/limits.ts";
import { seededRandom, type Random } from "../base/random.ts";
import { segmentFileName, type SegmentReaders } from "./segment.ts";
import type { BlockIndex, IndexEntry } from "./index.ts";
import { RECORD_HEADER_BYTES } from "./record.ts";

/** Change some of the block's bytes or of its record's header, or lose the copy. */
export type FaultKind = "body" | "header" | "lose";

export interface Fault {
  readonly block: BlockId;
  readonly kind: FaultKind;
  /** Unsigned, 32 bits. */
  readonly seed: number;
}

/** What was done. */
export interface InjectedFault {
  /** Name of the segment's file in the log's directory. */
  readonly file: string;
  /** Where the copy's record begins in the file. */
  readonly record: number;
  /** Where the changed bytes begin in the file; the record, when it was lost. */
  readonly position: number;
  /** Where they begin in the block; 0 unless they are the block's. */
  readonly blockOffset: number;
  /** The bytes before and after; none when the copy was lost. */
  readonly before: Uint8Array;
  readonly after: Uint8Array;
}

/** The parts of a log that are needed. */
export interface FaultTarget {
  readonly disk: Disk;
  readonly directory: string;
  readonly index: BlockIndex;
  readonly segments: SegmentReaders;
  /** Deletes a block; resolves when that is durable. */
  readonly remove: (block: BlockId) => Promise<unknown>;
}

/** A run of bytes in a record. */
interface Stretch {
  readonly start: number;
  readonly length: number;
}

/** Damages or loses a copy. @throws DfsError `noBlock` when none is held, `io`. */
export async function injectFault(target: FaultTarget, fault: Fault): Promise<InjectedFault> {
  const { index, segments } = target;
  for (;;) {
    const entry = index.get(fault.block);
    if (entry === undefined) {
      throw new DfsError("noBlock", `this server does not hold block ${fault.block}`);
    }
    try {
      const injected = await segments.use(entry.segment, (_, identity) => {
        const file = segmentFileName(identity);
        return fault.kind === "lose"
          ? lose(target, file, entry)
          : damage(target, file, entry, fault);
      });
      if (fault.kind === "lose" || index.isCurrent(entry)) return injected;
    } catch (error) {
      if (index.isCurrent(entry)) throw failed(fault, error);
    }
    // Compaction has moved the record meanwhile: once more, where it is now.
  }
}

async function lose(
  { remove }: FaultTarget,
  file: string,
  { block, position }: IndexEntry,
): Promise<InjectedFault> {
  await remove(block);
  const none = new Uint8Array(0);
  return { file, record: position, position, blockOffset: 0, before: none, after: none };
}

async function damage(
  { disk, directory }: FaultTarget,
  file: string,
  entry: IndexEntry,
  { kind, seed }: Fault,
): Promise<InjectedFault> {
  const dataAt = RECORD_HEADER_BYTES + pieceCount(entry.length) * PIECE_HASH_BYTES;
  const { start, length } =
    kind === "header"
      ? { start: 0, length: RECORD_HEADER_BYTES }
      : { start: dataAt, length: entry.length };
  const random = seededRandom(seed);
  const stretch = chosen(length, random);
  const position = entry.position + start + stretch.start;
  const before = new Uint8Array(stretch.length);
  const open = disk.open(join(directory, file), "write");
  try {
    if ((await open.read(before, position)) < before.length) {
      throw new DfsError("io", `${file} ends before byte ${position + before.length}`);
    }
    const after = before.map((byte) => byte + 2 * random.below(128) + 1);
    writeFully(open, [after], position);
    await open.syncData();
    const blockOffset = kind === "body" ? stretch.start : 0;
    return { file, record: entry.position, position, blockOffset, before, after };
  } finally {
    await open.close();
  }
}

/** Some neighbouring bytes among `length` ones, at least one. */
function chosen(length: number, random: Random): Stretch {
  const count = 1 + random.below(Math.min(MAX_FAULT_BYTES, length));
  return { start: random.below(length - count + 1), length: count };
}

function failed({ block }: Fault, error: unknown): DfsError {
  if (error instanceof DfsError) return error;
  return new DfsError("io", `cannot damage the copy of block ${block}: ${messageOf(error)}`, {
    details: { block },
    cause: error,
  });
}
