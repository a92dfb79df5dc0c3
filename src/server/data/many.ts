/**
 * Many blocks in one message: what may be asked for, and reading them.
 */
import { DfsError, isDfsError } from "../../base/errors.ts";
import { FileParts } from "../../base/file-part.ts";
import type { BlockId } from "../../base/ids.ts";
import { MAX_GIVEN_BYTES } from "../../base/limits.ts";
import type { Bulk } from "../../protocol/peer.ts";
import { BufferPool } from "../../log/buffers.ts";
import type { StoredRange } from "../../log/block-reader.ts";
import type { BlockLog } from "../../log/log.ts";

/** A block and its length. */
export interface Sized {
  readonly block: BlockId;
  readonly length: number;
}

/** Blocks that were read, one behind the other. */
export interface ManyBlocks {
  /** For each block asked for, whether it is among them. */
  readonly given: readonly boolean[];
  readonly bytes: Bulk;
  /** Must be called once, when `bytes` are not needed any more. */
  readonly release: () => void;
}

/** Blocks that do not lie beside one another are read so many at a time, lest a client's read wait behind hundreds. */
const READS_AT_ONCE = 8;

const pool = new BufferPool();

const NOTHING = new Uint8Array();

/** @throws DfsError `invalid` when a block is named twice or empty, or when all together are longer than `mostBytes`. */
export function checkMany(blocks: readonly Sized[], mostBytes: number): void {
  let bytes = 0;
  for (const { block, length } of blocks) {
    if (length === 0) throw new DfsError("invalid", `cannot copy block ${block} of 0 bytes`);
    bytes += length;
  }
  if (bytes > mostBytes) {
    throw new DfsError(
      "invalid",
      `cannot copy ${blocks.length} blocks of ${bytes} bytes together; ${mostBytes} bytes are allowed`,
    );
  }
  if (new Set(blocks.map(({ block }) => block)).size < blocks.length) {
    throw new DfsError("invalid", "cannot copy blocks together of which one is named twice");
  }
}

/**
 * Blocks whole: where they lie, if all of them are long and in the system's memory, and not verified then; else read and verified.
 * Those that are not held with that length, rotten or unreadable are left out.
 * @throws DfsError `invalid` as `checkMany`; `unreachable` when the log has been closed.
 */
export async function readMany(log: BlockLog, blocks: readonly Sized[]): Promise<ManyBlocks> {
  checkMany(blocks, MAX_GIVEN_BYTES);
  const found = await findAll(log, blocks);
  if (found !== undefined) return found;
  if (blocks.length === 1) return readAlone(log, blocks[0]!);
  const buffer = pool.take(blocks.reduce((sum, { length }) => sum + length, 0));
  try {
    const given = await log.getNear(blocks, buffer.bytes);
    if (given.includes(false)) await readLeft(log, blocks, given, buffer.bytes);
    const end = closeGaps(blocks, given, buffer.bytes);
    return { given, bytes: buffer.bytes.subarray(0, end), release: () => buffer.release() };
  } catch (error) {
    buffer.release();
    throw error;
  }
}

/** The blocks where they lie in the log; undefined when one of them is to be read. */
async function findAll(log: BlockLog, blocks: readonly Sized[]): Promise<ManyBlocks | undefined> {
  const found: StoredRange[] = [];
  const release = (): void => found.forEach((each) => each.release());
  for (const block of blocks) {
    const one = await findOne(log, block);
    if (one === undefined) {
      release();
      return undefined;
    }
    found.push(one);
  }
  const bytes = new FileParts(found.map(({ part }) => part));
  return { given: blocks.map(() => true), bytes, release };
}

/** A block that comes alone is given out of the buffer that it was read into. */
async function readAlone(log: BlockLog, block: Sized): Promise<ManyBlocks> {
  const range = await readOne(log, block);
  if (range === undefined) return { given: [false], bytes: NOTHING, release: () => undefined };
  return { given: [true], bytes: range.bytes, release: () => range.release() };
}

/**
 * Reads those that are not `given` yet, to where they belong in `target`, and notes for each whether it could be. What is held
 * with another length is not read: the memory that reading takes is in proportion to the lengths that were asked for.
 */
async function readLeft(
  log: BlockLog,
  blocks: readonly Sized[],
  given: boolean[],
  target: Uint8Array,
): Promise<void> {
  const left: { readonly at: number; readonly offset: number }[] = [];
  let offset = 0;
  for (const [at, { length }] of blocks.entries()) {
    if (!given[at]) left.push({ at, offset });
    offset += length;
  }
  const places = left.values();
  const lane = async (): Promise<void> => {
    for (const place of places) {
      const range = await readOne(log, blocks[place.at]!);
      if (range === undefined) continue;
      target.set(range.bytes, place.offset);
      given[place.at] = true;
      range.release();
    }
  };
  const reads = await Promise.allSettled(Array.from({ length: READS_AT_ONCE }, lane));
  const failed = reads.find((read) => read.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

function isHeld(log: BlockLog, { block, length }: Sized): boolean {
  return log.lengthOf(block) === length;
}

/** Moves the blocks that are given together; returns where they end. */
function closeGaps(blocks: readonly Sized[], given: readonly boolean[], bytes: Uint8Array): number {
  let from = 0;
  let end = 0;
  for (let at = 0; at < blocks.length; at++) {
    const { length } = blocks[at]!;
    if (given[at]) {
      if (from !== end) bytes.copyWithin(end, from, from + length);
      end += length;
    }
    from += length;
  }
  return end;
}

async function findOne(log: BlockLog, { block, length }: Sized): Promise<StoredRange | undefined> {
  try {
    const found = await log.find(block, 0, length);
    if (found === undefined || found.blockLength === length) return found;
    found.release();
  } catch (error) {
    if (!isDfsError(error)) throw error; // reading it tells
  }
  return undefined;
}

async function readOne(log: BlockLog, { block, length }: Sized) {
  if (!isHeld(log, { block, length })) return undefined;
  try {
    const range = await log.get(block, 0, length);
    if (range.blockLength === length) return range;
    range.release();
    return undefined;
  } catch (error) {
    const isLeftOut =
      isDfsError(error) && ["noBlock", "badChecksum", "io", "invalid"].includes(error.kind);
    if (isLeftOut) return undefined;
    throw error;
  }
}
