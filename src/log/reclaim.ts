/**
 * Deletes segments that nobody needs any more, one after the other and off the event loop.
 *
 * The order is that of the ledger, and each deletion is durable before the next is considered: a tombstone is never gone
 * before the puts that it covers. When a sync of the directory fails, nobody knows which deletions are durable, and a later
 * sync would not tell: then nothing more is deleted until the log is opened again. docs/log-format.md, "Deleting segments".
 */
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { SegmentLedger } from "./ledger.ts";
import { UncertainRemovalError, type SegmentReaders } from "./segment.ts";

export interface ReclaimerOptions {
  readonly ledger: SegmentLedger;
  readonly segments: SegmentReaders;
  readonly logger: Logger;
  /** Called before each deletion; makes durable what only the segment knows, and that it is not missed. */
  readonly beforeDelete: (segment: number) => Promise<void>;
}

export class Reclaimer {
  private readonly options: ReclaimerOptions;
  private running: Promise<void> | undefined;
  private closed = false;

  constructor(options: ReclaimerOptions) {
    this.options = options;
  }

  /** Something may have become unneeded. */
  kick(): void {
    if (this.closed || this.running !== undefined) return;
    if (this.options.ledger.reclaimable() === undefined) return;
    this.running = this.run().finally(() => {
      this.running = undefined;
    });
  }

  /** Begins no more deletions; resolves when the one that was under way has ended. */
  async close(): Promise<void> {
    this.closed = true;
    await this.running;
  }

  private async run(): Promise<void> {
    const { ledger, segments, logger, beforeDelete } = this.options;
    for (;;) {
      const number = this.closed ? undefined : ledger.reclaimable();
      if (number === undefined) return;
      const name = segments.fileName(number);
      try {
        await beforeDelete(number);
        await segments.remove(number);
      } catch (error) {
        if (error instanceof UncertainRemovalError) {
          this.closed = true;
          logger.error(
            `cannot make the deletion of ${name} durable: ${error.message}\n` +
              "no more segments are deleted until this server is started again; check the disk",
          );
          return;
        }
        // It stays in the ledger, so the next deletion of a block tries again.
        logger.warn(`cannot delete the unneeded segment ${name}: ${messageOf(error)}`);
        return;
      }
      ledger.remove(number);
      logger.debug(`deleted segment ${name}: all its blocks had been deleted`);
    }
  }
}
