/**
 * How much of a file system puts may take. A reserve stays free, so that deletions can be recorded, and compaction can
 * work, on a disk that is full.
 */
import type { Disk } from "../base/disk.ts";

/** Length at which a segment takes no more records, unless the log is told otherwise. */
export const SEGMENT_BYTES = 64 * 1024 * 1024;

/** The reserve is the larger of this part of the file system and this many segments. */
const RESERVE_SHARE = 0.05;
const RESERVE_SEGMENTS = 4;

export interface SpaceOptions {
  readonly disk: Disk;
  readonly segmentBytes?: number | undefined;
  /** Takes the place of the rule above. */
  readonly reserveBytes?: number | undefined;
}

/** Bytes that puts may take in `directory` at this moment; below 0 when a part of the reserve is gone. */
export function roomForPuts(options: SpaceOptions, directory: string): number {
  const { capacityBytes, availableBytes } = options.disk.space(directory);
  const segments = (options.segmentBytes ?? SEGMENT_BYTES) * RESERVE_SEGMENTS;
  const reserve = options.reserveBytes ?? Math.max(capacityBytes * RESERVE_SHARE, segments);
  return availableBytes - Math.ceil(reserve);
}
