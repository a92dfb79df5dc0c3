/**
 * Reading many whole blocks: those whose records lie close to each other in a segment, with one read of the disk and one
 * buffer. A small block costs less to read than to ask for.
 *
 * A block is right when its bytes have the checksum that the index has for it: so they are neither damaged nor those of another
 * record, and headers and lists of hashes need not be looked at. What is done for each block is done in a few loops without calls
 * and objects that can be spared: a server that gives its first ten thousand blocks spends most of its time on compiling what
 * it runs.
 *
 * Nothing is told here of what cannot be read or is not right: such blocks are read again, each by itself, by who reads
 * and reports them in any case (block-reader.ts). Nor are copies read that were found rotten before: it may have been the header.
 */
import { blockChecksum } from "../base/checksum.ts";
import { isDfsError } from "../base/errors.ts";
import type { BlockId } from "../base/ids.ts";
import type { BufferPool } from "./buffers.ts";
import type { BlockIndex } from "./index.ts";
import { Locations, splitId, type SplitId } from "./index-page.ts";
import { blockOffset, putBodyLength, recordBytes } from "./record.ts";
import type { SegmentReaders } from "./segment.ts";

/** Bytes between two records that are read for nothing rather than with a read of their own. */
const MOST_GAP_BYTES = 32 * 1024;

/** Bytes of one read. */
const MOST_RUN_BYTES = 1024 * 1024;

/** The checksum of the bytes that are being looked at. */
const checksum: SplitId = { high: 0, low: 0 };

/** A block that is wanted, with the length that it should have. */
export interface NearBlock {
  readonly block: BlockId;
  readonly length: number;
}

/** Where blocks are read from. */
export interface NearSource {
  readonly segments: SegmentReaders;
  readonly index: BlockIndex;
  readonly pool: BufferPool;
}

/** What is wanted, and where it is. Rows are places in the list of blocks. */
interface Wanted {
  readonly blocks: readonly NearBlock[];
  /** Whether they have been read. */
  readonly given: boolean[];
  /** Where in the target each block belongs. */
  readonly offsets: readonly number[];
  readonly locations: Locations;
  /** Rows of the blocks that can be located, in order of position. */
  readonly rows: readonly number[];
}

/** As `BlockLog.getNear`. */
export async function readNear(
  source: NearSource,
  blocks: readonly NearBlock[],
  target: Uint8Array,
): Promise<boolean[]> {
  const wanted = locate(source.index, blocks);
  for (let from = 0; from < wanted.rows.length;) {
    const end = endOfRun(wanted, from);
    if (end - from > 1) await readRun(source, wanted, from, end, target);
    from = end;
  }
  return wanted.given;
}

function locate(index: BlockIndex, blocks: readonly NearBlock[]): Wanted {
  const locations = new Locations(blocks.length);
  const { segments, positions } = locations;
  const given: boolean[] = [];
  const offsets: number[] = [];
  const rows: number[] = [];
  let isSorted = true;
  let offset = 0;
  let last = 0;
  for (let row = 0; row < blocks.length; row++) {
    const { block, length } = blocks[row]!;
    given.push(false);
    offsets.push(offset);
    offset += length;
    if (!index.locate(block, length, locations, row)) continue;
    rows.push(row);
    const rise = segments[row]! - segments[last]! || positions[row]! - positions[last]!;
    if (rise < 0) isSorted = false;
    last = row;
  }
  if (!isSorted) {
    rows.sort(
      (one, other) => segments[one]! - segments[other]! || positions[one]! - positions[other]!,
    );
  }
  return { blocks, given, offsets, locations, rows };
}

/** Where the blocks end that can be read together with those from `from` on. */
function endOfRun({ blocks, locations, rows }: Wanted, from: number): number {
  const { segments, positions } = locations;
  const first = rows[from]!;
  const begin = positions[first]!;
  let runEnd = begin + recordBytes(putBodyLength(blocks[first]!.length));
  let at = from + 1;
  for (; at < rows.length; at++) {
    const row = rows[at]!;
    const position = positions[row]!;
    if (segments[row] !== segments[first] || position - runEnd > MOST_GAP_BYTES) break;
    runEnd = position + recordBytes(putBodyLength(blocks[row]!.length));
    if (runEnd - begin > MOST_RUN_BYTES) break;
  }
  return at;
}

async function readRun(
  { segments, pool }: NearSource,
  { blocks, given, offsets, locations, rows }: Wanted,
  from: number,
  end: number,
  target: Uint8Array,
): Promise<void> {
  const { positions, checksums } = locations;
  const [first, last] = [rows[from]!, rows[end - 1]!];
  const begin = positions[first]!;
  const buffer = pool.take(
    positions[last]! - begin + blockOffset(blocks[last]!.length) + blocks[last]!.length,
  );
  try {
    // A part that the disk refuses is found by who reads the blocks one by one.
    const filled = await segments.use(locations.segments[first]!, (file) =>
      file.read(buffer.bytes, begin).catch(() => 0),
    );
    for (let at = from; at < end; at++) {
      const row = rows[at]!;
      const { length } = blocks[row]!;
      const dataAt = positions[row]! - begin + blockOffset(length);
      if (dataAt + length > filled) break;
      const bytes = buffer.bytes.subarray(dataAt, dataAt + length);
      splitId(blockChecksum(bytes), checksum);
      if (checksum.high !== checksums[2 * row] || checksum.low !== checksums[2 * row + 1]) continue;
      target.set(bytes, offsets[row]);
      given[row] = true;
    }
  } catch (error) {
    if (!isDfsError(error, "noBlock")) throw error; // all of the segment's blocks have just been deleted or moved
  } finally {
    buffer.release();
  }
}
