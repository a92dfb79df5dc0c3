/**
 * Reads blocks out of segments, and gives out nothing that has not been verified; or finds where the bytes lie, for who sends them
 * to somebody who verifies them.
 *
 * A range read fetches the record's header, the list of piece hashes, and the pieces that the range touches. The header
 * must be the one of the very record that the index names; the list must match the checksum in it, and each piece its
 * hash. Reads wait for nothing but the disk: a record is in the index when it is durable, and is never changed.
 */
import { firstBadPiece, verifyPieceList } from "../base/checksum.ts";
import type { DiskFile } from "../base/disk.ts";
import { DfsError, isDfsError, messageOf } from "../base/errors.ts";
import type { FilePart } from "../base/file-part.ts";
import type { BlockId } from "../base/ids.ts";
import { PIECE_BYTES } from "../base/limits.ts";
import { BufferPool } from "./buffers.ts";
import type { CorruptionKind, CorruptionReporter } from "./corruption.ts";
import type { SegmentIdentity } from "./format.ts";
import type { BlockIndex, IndexEntry } from "./index.ts";
import {
  blockOffset,
  decodeRecordHeader,
  putBodyLength,
  RECORD_HEADER_BYTES,
  recordBytes,
} from "./record.ts";
import type { HeldSegment, SegmentReaders } from "./segment.ts";

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

/** Bytes of a block where they lie in the log. Header and hashes were verified, the bytes were not: whoever gets them has to. */
export interface StoredRange {
  readonly blockLength: number;
  /** Hashes of all pieces of the block. */
  readonly pieces: Uint8Array;
  /** The whole pieces that the range touches. */
  readonly part: FilePart;
  /** Must be called once, when `part` is not needed any more. */
  release(): void;
}

/** Fewer bytes are copied with less effort. */
const LEAST_PART_BYTES = 128 * 1024;

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
    const { from, to } = wholePieces(entry, offset, length);
    const dataAt = blockOffset(entry.length);
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

  /**
   * Finds the pieces that a range touches, as `read`, without reading them. Undefined when that is not possible or not worth while,
   * or when something seems to be wrong with the copy: then they should be read, which tells.
   * @throws DfsError `noBlock` when it has just been deleted.
   */
  async find(entry: IndexEntry, offset: number, length: number): Promise<StoredRange | undefined> {
    const { from, to } = wholePieces(entry, offset, length);
    if (entry.rotten || to - from <= LEAST_PART_BYTES) return undefined;
    const held = this.holdQuietly(entry);
    if (held === undefined) return undefined;
    const found = await findIn(held, entry, from, to).catch(() => undefined);
    if (found === undefined) {
      held.release();
      return undefined;
    }
    const failed = (): void => void this.isRight(entry).catch(() => undefined); // a read tells what is wrong
    return {
      blockLength: entry.length,
      pieces: found.pieces,
      part: { ...found.part, failed },
      release: held.release,
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

  /** The open segment of a block; undefined when it cannot be opened. @throws DfsError `noBlock` when it has been removed. */
  private holdQuietly({ segment }: IndexEntry): HeldSegment | undefined {
    try {
      return this.segments.hold(segment);
    } catch (error) {
      if (isDfsError(error)) throw error;
      return undefined;
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

/** The whole pieces that a range touches. */
function wholePieces(
  entry: IndexEntry,
  offset: number,
  length: number,
): { readonly from: number; readonly to: number } {
  return {
    from: offset - (offset % PIECE_BYTES),
    to: Math.min(entry.length, Math.ceil((offset + length) / PIECE_BYTES) * PIECE_BYTES),
  };
}

/** Pieces of a block where they lie in its segment, and the hashes of all. */
async function findIn(
  { file, identity }: HeldSegment,
  entry: IndexEntry,
  from: number,
  to: number,
): Promise<Pick<StoredRange, "pieces" | "part"> | undefined> {
  const dataAt = blockOffset(entry.length);
  const part = file.part?.(entry.position + dataAt + from, to - from);
  if (part === undefined) return undefined;
  const head = await readHead(file, identity, entry, dataAt);
  return head && { part, pieces: head.subarray(RECORD_HEADER_BYTES) };
}

/** Header and list of a record; undefined when they are not right. */
async function readHead(
  file: DiskFile,
  identity: SegmentIdentity,
  entry: IndexEntry,
  dataAt: number,
): Promise<Uint8Array | undefined> {
  const head = new Uint8Array(dataAt);
  const count = await file.read(head, entry.position);
  const isRight = count === dataAt && problemOfHead(entry, identity, head) === undefined;
  return isRight ? head : undefined;
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
function problemOf(
  entry: IndexEntry,
  identity: SegmentIdentity,
  bytes: Uint8Array,
  dataAt: number,
  from: number,
): CorruptionKind | undefined {
  const head = bytes.subarray(0, dataAt);
  const problem = problemOfHead(entry, identity, head);
  if (problem !== undefined) return problem;
  const list = head.subarray(RECORD_HEADER_BYTES);
  const bad = firstBadPiece(bytes.subarray(dataAt), from / PIECE_BYTES, list);
  return bad === -1 ? undefined : "recordBody";
}

/** What is wrong with header and list, or undefined. */
function problemOfHead(
  entry: IndexEntry,
  identity: SegmentIdentity,
  head: Uint8Array,
): CorruptionKind | undefined {
  const header = decodeRecordHeader(head, 0, identity, entry.position);
  const isEntry =
    header?.kind === "put" &&
    header.block === entry.block &&
    header.length === entry.length &&
    header.bodyChecksum === entry.checksum;
  if (!isEntry) return "recordHeader";
  const list = head.subarray(RECORD_HEADER_BYTES);
  return verifyPieceList(entry.length, list, entry.checksum) ? undefined : "recordBody";
}
