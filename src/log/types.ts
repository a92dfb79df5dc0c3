/**
 * What a log is opened with, what it is given, and what it tells.
 */
import type { Checksum } from "../base/checksum.ts";
import type { Clock } from "../base/clock.ts";
import type { Disk } from "../base/disk.ts";
import type { BlockId, ClusterId, ServerId } from "../base/ids.ts";
import type { Logger } from "../base/logger.ts";
import type { Random } from "../base/random.ts";
import type { CheckpointStats } from "./checkpoint.ts";
import type { CorruptionReporter } from "./corruption.ts";
import type { CompactionStats } from "./compaction.ts";
import type { PutFields } from "./record.ts";
import type { ScrubStatus } from "./scrub.ts";
import type { UnsureWrites } from "./writer-options.ts";

export interface LogOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly cluster: ClusterId;
  readonly server: ServerId;
  readonly random: Random;
  readonly logger: Logger;
  /** Told of all damage, at opening and when reads meet it. */
  readonly reporter: CorruptionReporter;
  readonly segmentBytes?: number | undefined;
  /** For the rate of compaction, which has no limit without it, and for scrubbing, of which there is none without it. */
  readonly clock?: Clock | undefined;
  /** Bytes of segments that compaction goes through in a second, unless there is much to free; 0: no compaction. */
  readonly compactionRate?: number | undefined;
  /** Bytes that puts leave free, instead of the larger of 5 % of the file system and 4 segments. */
  readonly reserveBytes?: number | undefined;
  /** Bytes of the log between checkpoints, instead of the larger of 4 segments and 10 lengths of the last one. */
  readonly checkpointBytes?: number | undefined;
  /** Bytes of a put from which on it is written while the sync before it is under way, instead of 256 KiB. */
  readonly aheadBytes?: number | undefined;
  /** Told when a sync failed: what was being written may or may not be on the disk. */
  readonly onUnsure?: (writes: UnsureWrites) => void;
  /** Told of held blocks whose copy is rotten: when a read or compaction finds that, and by each scrub. Must not throw. */
  readonly onRotten?: (block: BlockId) => void;
  /** Called before a segment is deleted; see `BlockLog.highestBlock`. */
  readonly beforeReclaim?: () => Promise<void>;
}

/** A block to be stored, verified by the caller: `pieces` and `checksum` are those of `bytes`. */
export interface BlockToPut extends PutFields {
  readonly checksum: Checksum;
  readonly pieces: Uint8Array;
  /** Must not change until the put has resolved. */
  readonly bytes: Uint8Array;
}

export interface BlockInfo {
  readonly block: BlockId;
  readonly length: number;
  readonly checksum: Checksum;
}

export interface IdRange {
  readonly first: BlockId;
  readonly count: number;
}

export interface LogStats extends CheckpointStats {
  /** Blocks held and not known to be rotten, and the sum of all blocks' lengths. */
  readonly blocks: number;
  readonly blockBytes: number;
  readonly segments: number;
  readonly segmentBytes: number;
  /** What the segments hold together with what puts may still take of the file system. */
  readonly capacityBytes: number;
  readonly availableBytes: number;
  /** True when a largest block would be refused for want of space. */
  readonly full: boolean;
  readonly syncs: number;
  /** Rotten copies met so far, at opening and by reads. */
  readonly badReplicas: number;
  /** Bytes of segment files that are not the record of a live block. */
  readonly deadBytes: number;
  readonly compaction: CompactionStats;
  /** Undefined when the log has no clock. */
  readonly scrub: ScrubStatus | undefined;
}
