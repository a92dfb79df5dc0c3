/**
 * Reads blocks out of segments, and gives out nothing that has not been verified.
 *
 * A range read fetches the record's header, the list of piece hashes, and the pieces that the range touches. The header
 * must be the one of the very record that the index names; the list must match the checksum in it, and each piece its
 * hash. Reads wait for nothing but the disk: a record is in the index when it is durable, and is never changed.
 */
import { firstBadPiece, PIECE_HASH_BYTES, pieceCount, verifyPieceList } from "../base/checksum.ts";
import type { DiskFile } from "../base/disk.ts";
import { DfsError, isDfsError, messageOf } from "../base/errors.ts";
import type { BlockId } from "../base/ids.ts";
import { PIECE_BYTES } from "../base/limits.ts";
import { BufferPool } from "./buffers.ts";
import type { CorruptionKind, CorruptionReporter } from "./corruption.ts";
import type { SegmentIdentity } from "./format.ts";
import type { BlockIndex, IndexEntry } from "./index.ts";
import { decodeRecordHeader, putBodyLength, RECORD_HEADER_BYTES, recordBytes } from "./record.ts";
import type { SegmentReaders } from "./segment.ts";

/** Verified bytes of a block. */
export interface BlockRange {
  readonly blockLength: number;
  /** Hashes of all pieces of the block. */
  readonly pieces: Uint8Array;
  /** The whole pieces that the range touches. */
  readonly bytes: Uint8Array;
  /** Must be called once, when `pieces` and `bytes` are not needed any more. */
  release(): void;
}

export class BlockReader {
  /** Copies found rotten so far. */
  badReads = 0;
  readonly segments: SegmentReaders;
  readonly index: BlockIndex;
  private readonly reporter: CorruptionReporter;
  private readonly onRotten: (block: BlockId) => void;
  readonly pool = new BufferPool();

  /** `onRotten` is told of blocks that were not known to be rotten. */
  constructor(
    segments: SegmentReaders,
    index: BlockIndex,
    reporter: CorruptionReporter,
    onRotten: (block: BlockId) => void,
  ) {
    this.segments = segments;
    this.index = index;
    this.reporter = reporter;
    this.onRotten = onRotten;
  }

  /**
   * Reads the pieces that the range from `offset` on touches. The range must lie inside the block and not be empty.
   * `onRotten` is not told with `tell` false.
   * @throws DfsError `badChecksum` when the copy is rotten, `io` when it cannot be read, `noBlock` when it has just been
   * deleted.
   */
  async read(entry: IndexEntry, offset: number, length: number, tell = true): Promise<BlockRange> {
    const from = offset - (offset % PIECE_BYTES);
    const to = Math.min(entry.length, Math.ceil((offset + length) / PIECE_BYTES) * PIECE_BYTES);
    const listBytes = pieceCount(entry.length) * PIECE_HASH_BYTES;
    const dataAt = RECORD_HEADER_BYTES + listBytes;
    const buffer = this.pool.take(dataAt + to - from);
    try {
      const bad = await this.segments.use(entry.segment, async (file, identity) => {
        const filled = await fill(file, buffer.bytes, entry.position, dataAt, from);
        return filled ? problemOf(entry, identity, buffer.bytes, dataAt, from) : "truncated";
      });
      if (bad !== undefined) throw this.rotten(entry, bad, tell);
      this.index.setRotten(entry, false);
    } catch (error) {
      buffer.release();
      throw isDfsError(error) ? error : this.unreadable(entry, error);
    }
    return {
      blockLength: entry.length,
      pieces: buffer.bytes.subarray(RECORD_HEADER_BYTES, dataAt),
      bytes: buffer.bytes.subarray(dataAt),
      release: () => buffer.release(),
    };
  }

  /** Reads a whole block only to see whether it is right. */
  async isRight(entry: IndexEntry): Promise<boolean> {
    try {
      (await this.read(entry, 0, entry.length)).release();
      return true;
    } catch (error) {
      if (isDfsError(error, "badChecksum") || isDfsError(error, "io")) return false;
      throw error;
    }
  }

  private rotten(entry: IndexEntry, kind: CorruptionKind, tell: boolean): DfsError {
    this.badReads++;
    if (tell && !entry.rotten && this.index.isCurrent(entry)) this.onRotten(entry.block);
    this.index.setRotten(entry, true);
    const { block, position, segment } = entry;
    const to = position + recordBytes(putBodyLength(entry.length));
    this.reporter.report({
      kind,
      file: this.segments.fileName(segment),
      from: position,
      to,
      block,
    });
    return new DfsError("badChecksum", `block ${block} is damaged on this server`, {
      details: { block },
    });
  }

  private unreadable(entry: IndexEntry, error: unknown): DfsError {
    const file = this.segments.fileName(entry.segment);
    return new DfsError(
      "io",
      `cannot read block ${entry.block} from ${file}: ${messageOf(error)}`,
      { details: { block: entry.block }, cause: error },
    );
  }
}

/** Reads header, list and pieces into `target`. Returns false when the file ends before them. */
async function fill(
  file: DiskFile,
  target: Uint8Array,
  position: number,
  dataAt: number,
  from: number,
): Promise<boolean> {
  if (from === 0) return (await file.read(target, position)) === target.length;
  const head = target.subarray(0, dataAt);
  const data = target.subarray(dataAt);
  // Both must have ended before the buffer is given back, so neither may be left behind when the other fails.
  const [headRead, dataRead] = await Promise.allSettled([
    file.read(head, position),
    file.read(data, position + dataAt + from),
  ]);
  if (headRead.status === "rejected") throw headRead.reason;
  if (dataRead.status === "rejected") throw dataRead.reason;
  return headRead.value === head.length && dataRead.value === data.length;
}

/** What is wrong with a record that was read, or undefined when it is right. */
export function problemOf(
  entry: IndexEntry,
  identity: SegmentIdentity,
  bytes: Uint8Array,
  dataAt: number,
  from: number,
): CorruptionKind | undefined {
  const header = decodeRecordHeader(bytes, 0, identity, entry.position);
  const isEntry =
    header?.kind === "put" &&
    header.block === entry.block &&
    header.length === entry.length &&
    header.bodyChecksum === entry.checksum;
  if (!isEntry) return "recordHeader";
  const list = bytes.subarray(RECORD_HEADER_BYTES, dataAt);
  if (!verifyPieceList(entry.length, list, entry.checksum)) return "recordBody";
  const bad = firstBadPiece(bytes.subarray(dataAt), from / PIECE_BYTES, list);
  return bad === -1 ? undefined : "recordBody";
}
