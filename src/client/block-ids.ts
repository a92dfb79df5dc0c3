/**
 * Ids for new blocks, reserved from the metadata service in batches.
 *
 * Invariants
 * - An id is given to one block only. Ids of a session that has expired are never given out.
 * - Nor are those of one that may have: a process that stood still for longer than its lease asks first. What it stored
 *   under ids that were given up would lie on the data servers until they are next compared with the record.
 * - The next batch is asked for before the present one is used up, and grows while ids are used quickly.
 */
import { DfsError, isDfsError } from "../base/errors.ts";
import { blockId, type BlockId } from "../base/ids.ts";
import { MAX_RESERVED_BLOCKS } from "../base/limits.ts";
import type { ReplyOf } from "../protocol/message.ts";
import { reserve } from "../protocol/messages/content.ts";
import type { PlacementCache } from "./placement-cache.ts";
import type { Session } from "./session.ts";

const FIRST_BATCH = 16;
const GROWTH = 4;

/** A reserved id and the epoch of the session that it belongs to. */
export interface ReservedId {
  readonly block: BlockId;
  readonly epoch: number;
}

interface Batch {
  next: bigint;
  left: number;
  readonly epoch: number;
}

export class BlockIds {
  private readonly session: Session;
  private readonly placement: PlacementCache;
  private readonly batches: Batch[] = [];
  private batchSize = FIRST_BATCH;
  private arriving: Promise<void> | undefined;

  constructor(session: Session, placement: PlacementCache) {
    this.session = session;
    this.placement = placement;
  }

  /** An id that no block has had. @throws DfsError as `Session.change`. */
  async take(): Promise<ReservedId> {
    for (;;) {
      if (!this.session.isFresh) await this.session.confirm();
      const batch = this.firstBatch();
      if (batch === undefined) {
        await this.fetch();
        continue;
      }
      const block = blockId(batch.next);
      batch.next += 1n;
      batch.left--;
      // Asked for early, so that nobody waits; a failure shows when somebody does.
      if (this.left() < this.batchSize / GROWTH) this.fetch().catch(() => undefined);
      return { block, epoch: batch.epoch };
    }
  }

  /**
   * Makes sure that what the session of an epoch has reserved is still its own.
   * @throws DfsError `stale` when it is not; and as `Session.confirm`.
   */
  async confirm(epoch: number): Promise<void> {
    if (!this.session.isFresh) await this.session.confirm();
    if (this.session.epoch === epoch) return;
    throw new DfsError(
      "stale",
      "the session with the metadata service has expired, and the blocks that it had stored are gone",
    );
  }

  /** The batch to take from; those that are used up or of an old session are dropped. */
  private firstBatch(): Batch | undefined {
    const { epoch } = this.session;
    while (this.batches.length > 0) {
      const batch = this.batches[0]!;
      if (batch.left > 0 && batch.epoch === epoch) return batch;
      this.batches.shift();
    }
    return undefined;
  }

  private left(): number {
    return this.batches.reduce((sum, batch) => sum + batch.left, 0);
  }

  private fetch(): Promise<void> {
    this.arriving ??= this.reserve().finally(() => {
      this.arriving = undefined;
    });
    return this.arriving;
  }

  private async reserve(): Promise<void> {
    const count = this.batchSize;
    const { epoch } = this.session;
    let reply: ReplyOf<typeof reserve>;
    try {
      reply = await this.session.change(reserve, { count }, { epoch });
    } catch (error) {
      // Ids of a session that expired meanwhile are nobody's; whoever waits reserves in the new one.
      if (isDfsError(error) && this.session.epoch !== epoch) return;
      throw error;
    }
    this.placement.noteVersion(reply.placementVersion);
    this.batches.push({ next: reply.first, left: reply.count, epoch });
    this.batchSize = Math.min(MAX_RESERVED_BLOCKS, this.batchSize * GROWTH);
  }
}
