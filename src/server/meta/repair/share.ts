/**
 * How much may go on beside passes that comes behind them: a pass may last for hours, and misplaced and surplus blocks are not to
 * wait for its end.
 *
 * They get a part of what passes order. It is counted in bytes, where a small block is at least its part of a batch: with such
 * blocks it is their number that costs.
 */
import { MAX_BATCHED_BYTES } from "../../../base/limits.ts";
import { BATCH_BLOCKS } from "./batches.ts";

/** So many times as much as goes on beside them is ordered by passes. */
const PARTS = 8;

const SMALLEST_BYTES = MAX_BATCHED_BYTES / BATCH_BLOCKS;

export class Share {
  private credit = 0;

  /** Passes have ordered so many blocks. What is not used is kept up to a batch. */
  ordered(bytes: number, blocks: number): void {
    this.credit = Math.min(MAX_BATCHED_BYTES, this.credit + cost(bytes, blocks) / PARTS);
  }

  /** Whether something may begin: what is begun last may exceed what there is, and is made up for by passes. */
  get isOpen(): boolean {
    return this.credit > 0;
  }

  /** A block of so many bytes is moved, or read for a removal. */
  begin(bytes: number): void {
    this.credit -= cost(bytes, 1);
  }
}

function cost(bytes: number, blocks: number): number {
  return Math.max(bytes, blocks * SMALLEST_BYTES);
}
