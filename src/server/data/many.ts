/**
 * Many small blocks in one message: what may be asked for, and reading them.
 */
import { DfsError, isDfsError } from "../../base/errors.ts";
import type { BlockId } from "../../base/ids.ts";
import { MAX_BATCHED_BYTES } from "../../base/limits.ts";
import { BufferPool } from "../../log/buffers.ts";
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
  readonly bytes: Uint8Array;
  /** Must be called once, when `bytes` are not needed any more. */
  readonly release: () => void;
}

const pool = new BufferPool();

/** @throws DfsError `invalid` when a block is named twice or empty, or when they are too long together. */
export function checkMany(blocks: readonly Sized[]): void {
  let bytes = 0;
  for (const { block, length } of blocks) {
    if (length === 0) throw new DfsError("invalid", `cannot copy block ${block} of 0 bytes`);
    bytes += length;
  }
  if (bytes > MAX_BATCHED_BYTES) {
    throw new DfsError(
      "invalid",
      `cannot copy ${blocks.length} blocks of ${bytes} bytes together; ${MAX_BATCHED_BYTES} bytes are allowed`,
    );
  }
  if (new Set(blocks.map(({ block }) => block)).size < blocks.length) {
    throw new DfsError("invalid", "cannot copy blocks together of which one is named twice");
  }
}

/**
 * Reads blocks whole, and verified. Those that are not held with that length, rotten or unreadable are left out.
 * @throws DfsError `invalid` as `checkMany`; `unreachable` when the log has been closed.
 */
export async function readMany(log: BlockLog, blocks: readonly Sized[]): Promise<ManyBlocks> {
  checkMany(blocks);
  const total = blocks.reduce((sum, { length }) => sum + length, 0);
  const buffer = pool.take(total);
  try {
    const reads = await Promise.allSettled(blocks.map((each) => readOne(log, each)));
    const given: boolean[] = [];
    let at = 0;
    for (const read of reads) {
      const range = read.status === "rejected" ? undefined : read.value;
      given.push(range !== undefined);
      if (range === undefined) continue;
      buffer.bytes.set(range.bytes, at);
      at += range.bytes.length;
      range.release();
    }
    const failed = reads.find((read) => read.status === "rejected");
    if (failed !== undefined) throw failed.reason;
    const release = (): void => buffer.release();
    return { given, bytes: buffer.bytes.subarray(0, at), release };
  } catch (error) {
    buffer.release();
    throw error;
  }
}

async function readOne(log: BlockLog, { block, length }: Sized) {
  if (!log.holds(block)) return undefined;
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
