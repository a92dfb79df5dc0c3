/**
 * Reading many whole blocks: those whose records lie close to each other in a segment, with one read of the disk and one
 * buffer. A small block costs less to read than to ask for.
 *
 * A block is right when its bytes have the checksum that the index has for it: so they are neither damaged nor those of another
 * record, and headers and lists of hashes need not be looked at. What is done for each block is done in two loops, which make
 * no objects but the views of its bytes: a server that gives its first ten thousand blocks spends most of the time on
 * compiling what it runs.
 *
 * Nothing is told here of what cannot be read or is not right: such blocks are read again, each by itself, by who reads
 * and reports them in any case (block-reader.ts).
 */
import { blockChecksum } from "../base/checksum.ts";
import { isDfsError } from "../base/errors.ts";
import type { BlockId } from "../base/ids.ts";
import type { BufferPool } from "./buffers.ts";
import type { BlockIndex, IndexEntry } from "./index.ts";
import { blockOffset, putBodyLength, recordBytes } from "./record.ts";
import type { SegmentReaders } from "./segment.ts";

/** Bytes between two records that are read for nothing rather than with a read of their own. */
const MOST_GAP_BYTES = 32 * 1024;

/** Bytes of one read. */
const MOST_RUN_BYTES = 1024 * 1024;

/** A block that is wanted, with the length that it should have. */
export interface NearBlock {
  readonly block: BlockId;
  readonly length: number;
}

/** A block that is held, by its place in the list of those wanted. */
interface Near {
  readonly at: number;
  readonly entry: IndexEntry;
  /** Where in the target it belongs. */
  readonly offset: number;
}

/** Where blocks are read from. */
export interface NearSource {
  readonly segments: SegmentReaders;
  readonly index: BlockIndex;
  readonly pool: BufferPool;
}

/** As `BlockLog.getNear`. */
export async function readNear(
  source: NearSource,
  blocks: readonly NearBlock[],
  target: Uint8Array,
): Promise<boolean[]> {
  const given = blocks.map(() => false);
  const nears = inOrder(source.index, blocks);
  for (let from = 0; from < nears.length;) {
    const end = endOfRun(nears, from);
    if (end - from > 1) await readRun(source, nears.slice(from, end), target, given);
    from = end;
  }
  return given;
}

/** Those that are held with the length named, in order of position. */
function inOrder(index: BlockIndex, blocks: readonly NearBlock[]): Near[] {
  const nears: Near[] = [];
  let isSorted = true;
  let offset = 0;
  let last: IndexEntry | undefined;
  for (let at = 0; at < blocks.length; at++) {
    const { block, length } = blocks[at]!;
    const entry = index.get(block);
    if (entry?.length === length) {
      nears.push({ at, entry, offset });
      if (last !== undefined && compare(last, entry) > 0) isSorted = false;
      last = entry;
    }
    offset += length;
  }
  return isSorted ? nears : nears.sort((one, other) => compare(one.entry, other.entry));
}

function compare(one: IndexEntry, other: IndexEntry): number {
  return one.segment - other.segment || one.position - other.position;
}

/** Where the blocks that can be read together with `from` end. */
function endOfRun(nears: readonly Near[], from: number): number {
  const first = nears[from]!.entry;
  let runEnd = endOf(first);
  let at = from + 1;
  for (; at < nears.length; at++) {
    const { entry } = nears[at]!;
    if (entry.segment !== first.segment || entry.position - runEnd > MOST_GAP_BYTES) break;
    runEnd = endOf(entry);
    if (runEnd - first.position > MOST_RUN_BYTES) break;
  }
  return at;
}

const endOf = ({ position, length }: IndexEntry): number =>
  position + recordBytes(putBodyLength(length));

async function readRun(
  { segments, index, pool }: NearSource,
  run: readonly Near[],
  target: Uint8Array,
  given: boolean[],
): Promise<void> {
  const first = run[0]!.entry;
  const buffer = pool.take(endOf(run.at(-1)!.entry) - first.position);
  try {
    // A part that the disk refuses is found by who reads the blocks one by one.
    const filled = await segments.use(first.segment, (file) =>
      file.read(buffer.bytes, first.position).catch(() => 0),
    );
    for (const { at, entry, offset } of run) {
      const from = entry.position - first.position + blockOffset(entry.length);
      const end = from + entry.length;
      if (end > filled) break;
      const bytes = buffer.bytes.subarray(from, end);
      if (blockChecksum(bytes) !== entry.checksum) continue;
      if (entry.rotten) index.setRotten(entry, false);
      target.set(bytes, offset);
      given[at] = true;
    }
  } catch (error) {
    if (!isDfsError(error, "noBlock")) throw error; // all of the segment's blocks have just been deleted or moved
  } finally {
    buffer.release();
  }
}
