/**
 * What the writer of a log needs, and what it tells.
 */
import type { BlockId } from "../base/ids.ts";
import type { Logger } from "../base/logger.ts";
import type { Move, Place, PutAppend, TombstoneAppend } from "./batch.ts";
import type { SegmentSupply } from "./supply.ts";

/** What may or may not have reached the disk when a write or sync failed. None of it was acknowledged. */
export interface UnsureWrites {
  readonly segment: number;
  /** The segment is good up to here. */
  readonly end: number;
  readonly puts: readonly BlockId[];
  readonly deletes: readonly BlockId[];
  readonly error: unknown;
}

/** What the writer tells its owner. Called from the event loop; must not throw. */
export interface WriterEvents {
  /** The record is durable. Called in the order of the log, before `append` resolves. */
  onDurable(append: PutAppend | TombstoneAppend | Move, place: Place): void;
  /** Whether the record that the move copies is still needed. Asked right before it is written. */
  isWanted(move: Move): boolean;
  /** A segment now ends at `end`. */
  onGrown(segment: number, end: number): void;
  onSealed(segment: number): void;
  /** A seal in segment `by` says that the earlier segment `suspect` counts only in part. */
  onSuspectSealed(suspect: number, by: number): void;
  /** These failed, and only a later durable record makes sure that no crash lets them happen after all. */
  onTakenBack(blocks: Pick<UnsureWrites, "puts" | "deletes">): void;
  onUnsure(writes: UnsureWrites): void;
}

export interface WriterOptions {
  readonly logger: Logger;
  readonly segmentBytes: number;
  /** Bytes of a put from which on it is written ahead, instead of AHEAD_BYTES. */
  readonly aheadBytes?: number | undefined;
  /** Bytes that puts may take of the file system at this moment; below 0 when even a part of the reserve is gone. */
  readonly roomForPuts: () => number;
  readonly supply: SegmentSupply;
  readonly events: WriterEvents;
}
