/**
 * Reading this server's own copies whole, to tell what they are worth.
 *
 * A few at a time, whoever asks: a long list takes long, but neither the memory nor the requests of clients. The verdict
 * is the answer, and a rotten copy is not reported besides: whoever asks decides what becomes of it.
 */
import { checksumOf } from "../../base/checksum.ts";
import { isDfsError } from "../../base/errors.ts";
import type { BlockInfo, BlockLog } from "../../log/log.ts";
import type { ReplicaVerdict } from "../../protocol/messages/data.ts";
import { Slots } from "./slots.ts";

/** Copies read at a time, by all requests together. */
const AT_ONCE = 2;

export class Verification {
  private readonly slots = new Slots(AT_ONCE);

  /** A verdict for each of the blocks, in their order. @throws DfsError `unreachable` when the log has been closed. */
  verify(log: BlockLog, blocks: readonly BlockInfo[]): Promise<ReplicaVerdict[]> {
    return Promise.all(blocks.map((block) => this.slots.run(() => verdictOn(log, block))));
  }
}

/** Reads one copy whole. @throws DfsError `unreachable` when the log has been closed. */
export async function verdictOn(
  log: BlockLog,
  { block, length, checksum }: BlockInfo,
): Promise<ReplicaVerdict> {
  try {
    const range = await log.get(block, 0, length, false);
    const same = range.blockLength === length && checksumOf(length, range.pieces) === checksum;
    range.release();
    return same ? "right" : "rotten";
  } catch (error) {
    if (isDfsError(error, "noBlock")) return "missing";
    // A range that is not inside the block: what is held is another, shorter block.
    if (isDfsError(error, "badChecksum") || isDfsError(error, "invalid")) return "rotten";
    if (isDfsError(error, "io")) return "unreadable";
    throw error;
  }
}
