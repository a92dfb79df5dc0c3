/**
 * What an opening begins with: the segments that are there and those that have been lost, and the checkpoint, if there is
 * one that can be used.
 */
import { join } from "node:path";
import type { Disk } from "../base/disk.ts";
import type { Logger } from "../base/logger.ts";
import { CHECKPOINT_FILE } from "./checkpoint-format.ts";
import { misfitOf, readCheckpoint, sizeOf, type Checkpoint } from "./checkpoint-reader.ts";
import type { CorruptionReporter } from "./corruption.ts";
import { SEGMENT_HEADER_BYTES } from "./format.ts";
import { MANIFEST_FILE, readManifest, type FoundManifest, type LogOwner } from "./manifest.ts";
import { listSegments, segmentFileName, type SegmentName } from "./segment.ts";

export interface BeginningOptions extends LogOwner {
  readonly disk: Disk;
  readonly directory: string;
  readonly reporter: CorruptionReporter;
  readonly logger: Logger;
}

export interface Beginning {
  /** The segments that are there, by rising number. */
  readonly segments: readonly SegmentName[];
  /** Those that should be there and are not. */
  readonly lost: readonly SegmentName[];
  /** True when the manifest names the segments that are there and those that have been lost, and no others. */
  readonly manifestIsRight: boolean;
  readonly checkpoint: Checkpoint | undefined;
  /** Segments that the checkpoint covers and that have been deleted since it was made. */
  readonly deleted: ReadonlySet<number>;
}

/**
 * Looks at the directory of a log; changes nothing. Damage is reported.
 * @throws DfsError `unsupported`, `wrongCluster`, `wrongPeer` for a manifest of a newer build or of another server.
 */
export async function beginOpening(options: BeginningOptions): Promise<Beginning> {
  const { disk, directory, reporter } = options;
  const segments = listSegments(disk, directory);
  const manifest = readManifest(disk, directory, options);
  if (manifest.state === "damaged" || (await lacksManifest(disk, directory, segments, manifest))) {
    reporter.report({ kind: "manifest", file: MANIFEST_FILE, from: 0, to: manifest.bytes });
  }
  const lost = lostSegments(segments, manifest);
  for (const name of lost) {
    reporter.report({ kind: "lostSegment", file: segmentFileName(name), from: 0, to: 0 });
  }
  const manifestIsRight =
    manifest.state === "whole" && manifest.segments.length === segments.length + lost.length;
  // Without the manifest nobody knows whether a segment that is missing was still needed.
  const isUsable = manifest.state === "whole" && lost.length === 0;
  const checkpoint = isUsable ? await usableCheckpoint(options, segments) : undefined;
  const deleted = deletedSince(checkpoint, segments);
  return { segments, lost, manifestIsRight, checkpoint, deleted };
}

function deletedSince(
  checkpoint: Checkpoint | undefined,
  segments: readonly SegmentName[],
): Set<number> {
  const deleted = new Set(checkpoint?.salts.keys());
  for (const { number } of segments) deleted.delete(number);
  return deleted;
}

/** Segments that the manifest names and that are not there, by rising number. */
export function lostSegments(
  segments: readonly SegmentName[],
  manifest: FoundManifest,
): SegmentName[] {
  const present = new Set(segments.map(segmentFileName));
  return manifest.segments.filter((name) => !present.has(segmentFileName(name)));
}

/** True when there is no manifest, though there must have been one: it comes before the first record. */
export async function lacksManifest(
  disk: Disk,
  directory: string,
  segments: readonly SegmentName[],
  { state }: FoundManifest,
): Promise<boolean> {
  if (state !== "missing") return false;
  for (const name of segments) {
    const size = await sizeOf(disk, join(directory, segmentFileName(name)));
    if (size > SEGMENT_HEADER_BYTES) return true;
  }
  return false;
}

async function usableCheckpoint(
  options: BeginningOptions,
  segments: readonly SegmentName[],
): Promise<Checkpoint | undefined> {
  const { disk, directory, reporter, logger } = options;
  const found = readCheckpoint(disk, directory, options);
  switch (found.state) {
    case "missing":
      return undefined;
    case "damaged":
      reporter.report({ kind: "checkpoint", file: CHECKPOINT_FILE, from: 0, to: found.bytes });
      return undefined;
    case "other":
      logger.warn("the checkpoint is not of this log or of another version; reading all segments");
      return undefined;
    case "whole": {
      const misfit = await misfitOf(disk, directory, found.checkpoint, segments);
      if (misfit === undefined) return found.checkpoint;
      logger.warn(`the checkpoint does not fit the segments, so all of them are read: ${misfit}`);
      return undefined;
    }
  }
}
