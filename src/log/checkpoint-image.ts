/**
 * What goes into a checkpoint, taken in one go: the state of a log that ends with a sealed segment.
 */
import type { BlockId, Lsn } from "../base/ids.ts";
import type { CheckpointHeader } from "./checkpoint-format.ts";
import type { BlockIndex } from "./index.ts";
import type { SegmentLedger } from "./ledger.ts";
import type { SegmentReaders } from "./segment.ts";
import { imageOf, type SegmentImage } from "./segment-image.ts";

/** Nothing of it changes any more. */
export interface CheckpointImage {
  readonly header: CheckpointHeader;
  readonly segments: readonly SegmentImage[];
  /** As the index freezes them. */
  readonly pages: readonly Uint32Array[];
}

export interface CapturedState {
  readonly index: BlockIndex;
  readonly ledger: SegmentLedger;
  readonly segments: SegmentReaders;
  readonly nextLsn: Lsn;
  readonly highestBlock: BlockId;
}

/** The state at this moment, at which the log ends with the sealed `segment`: behind it there are only empty ones. */
export function captureCheckpoint(state: CapturedState, segment: number): CheckpointImage {
  const { index, ledger, segments, nextLsn, highestBlock } = state;
  const images: SegmentImage[] = [];
  for (const each of ledger.states()) {
    const salt = segments.saltOf(each.number);
    if (each.number > segment || salt === undefined) continue; // empty, or just deleted
    images.push(imageOf(each, salt, ledger.olderCopiesIn(each.number)));
  }
  return {
    header: {
      segment,
      nextLsn,
      highestLsn: ledger.newest.lsn,
      highestLsnSegment: ledger.newest.segment,
      highestBlock,
      segments: images.length,
      entries: index.size,
    },
    segments: images,
    pages: index.freeze(),
  };
}
