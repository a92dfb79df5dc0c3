/**
 * Reading many whole blocks: those whose records lie close to each other in a segment, with one read of the disk and one
 * buffer. A small block costs less to read than to ask for.
 *
 * Nothing is told here of what cannot be read or is not right: such blocks are read again, each by itself, by who reads
 * and reports them in any case (block-reader.ts).
 */
import { PIECE_HASH_BYTES, pieceCount } from "../base/checksum.ts";
import { isDfsError } from "../base/errors.ts";
import type { BufferPool } from "./buffers.ts";
import { problemOf } from "./block-reader.ts";
import type { BlockIndex, IndexEntry } from "./index.ts";
import { putBodyLength, RECORD_HEADER_BYTES, recordBytes } from "./record.ts";
import type { SegmentReaders } from "./segment.ts";

/** Bytes between two records that are read for nothing rather than with a read of their own. */
const MOST_GAP_BYTES = 32 * 1024;

/** Bytes of one read. */
const MOST_RUN_BYTES = 1024 * 1024;

/** A block that is wanted, by its place in a list. */
interface Near {
  readonly at: number;
  readonly entry: IndexEntry;
}

/** Where blocks are read from. */
export interface NearSource {
  readonly segments: SegmentReaders;
  readonly index: BlockIndex;
  readonly pool: BufferPool;
}

/**
 * Reads the blocks of `entries`, undefined where there is none, and verifies them. `give` is called for each that is right with
 * its place in the list and its bytes, which it must copy.
 */
export async function readNear(
  source: NearSource,
  entries: readonly (IndexEntry | undefined)[],
  give: (at: number, bytes: Uint8Array) => void,
): Promise<void> {
  const wanted = entries
    .map((entry, at) => (entry === undefined ? undefined : { at, entry }))
    .filter((each) => each !== undefined);
  for (const run of runsOf(wanted)) await readRun(source, run, give);
}

/** Neighbours in order of position; single blocks are left out. */
function runsOf(wanted: readonly Near[]): Near[][] {
  const sorted = wanted.toSorted(
    (one, other) =>
      one.entry.segment - other.entry.segment || one.entry.position - other.entry.position,
  );
  const runs: Near[][] = [];
  let run: Near[] = [];
  for (const near of sorted) {
    if (run.length > 0 && !isClose(run[0]!.entry, run.at(-1)!.entry, near.entry)) {
      runs.push(run);
      run = [];
    }
    run.push(near);
  }
  runs.push(run);
  return runs.filter(({ length }) => length > 1);
}

function isClose(first: IndexEntry, last: IndexEntry, next: IndexEntry): boolean {
  return (
    next.segment === last.segment &&
    next.position - endOf(last) <= MOST_GAP_BYTES &&
    endOf(next) - first.position <= MOST_RUN_BYTES
  );
}

const endOf = ({ position, length }: IndexEntry): number =>
  position + recordBytes(putBodyLength(length));

async function readRun(
  { segments, index, pool }: NearSource,
  run: readonly Near[],
  give: (at: number, bytes: Uint8Array) => void,
): Promise<void> {
  const first = run[0]!.entry;
  const buffer = pool.take(endOf(run.at(-1)!.entry) - first.position);
  try {
    await segments.use(first.segment, async (file, identity) => {
      // A part that the disk refuses is found by who reads the blocks one by one.
      const filled = await file.read(buffer.bytes, first.position).catch(() => 0);
      for (const { at, entry } of run) {
        const from = entry.position - first.position;
        const dataAt = RECORD_HEADER_BYTES + pieceCount(entry.length) * PIECE_HASH_BYTES;
        const end = from + dataAt + entry.length;
        const record = buffer.bytes.subarray(from, end);
        if (end > filled || problemOf(entry, identity, record, dataAt, 0) !== undefined) continue;
        index.setRotten(entry, false);
        give(at, record.subarray(dataAt));
      }
    });
  } catch (error) {
    if (!isDfsError(error, "noBlock")) throw error; // all of the segment's blocks have just been deleted or moved
  } finally {
    buffer.release();
  }
}
