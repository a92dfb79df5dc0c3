/**
 * What is to be said of a log's manifest and checkpoint, without opening the log.
 */
import type { Disk } from "../base/disk.ts";
import { CHECKPOINT_FILE } from "./checkpoint-format.ts";
import { misfitOf, readCheckpoint } from "./checkpoint-reader.ts";
import type { Corruption } from "./corruption.ts";
import { lacksManifest, lostSegments } from "./beginning.ts";
import { MANIFEST_FILE, readManifest, type FoundManifest, type LogOwner } from "./manifest.ts";
import { listSegments, segmentFileName, type SegmentName } from "./segment.ts";

export interface InspectedFiles {
  readonly manifest: FoundManifest;
  readonly checkpoint: InspectedCheckpoint;
  /** Segments that the manifest names and that are not there. */
  readonly lost: readonly SegmentName[];
  readonly damages: readonly Corruption[];
}

export interface InspectedCheckpoint {
  /** `unfit`: whole, but not of the segments that are there; `other`: of another version or of another log. */
  readonly state: "whole" | "damaged" | "missing" | "other" | "unfit";
  readonly bytes: number;
  /** It covers segments up to this number, with so many blocks; 0 where that is not known. */
  readonly segment: number;
  readonly entries: number;
  /** Why it does not fit. */
  readonly misfit: string | undefined;
}

/** @throws DfsError as `readManifest`. */
export async function inspectFiles(
  disk: Disk,
  directory: string,
  owner: LogOwner,
): Promise<InspectedFiles> {
  const segments = listSegments(disk, directory);
  const manifest = readManifest(disk, directory, owner);
  const checkpoint = await inspectCheckpoint(disk, directory, owner, segments);
  const lost = lostSegments(segments, manifest);
  const damages: Corruption[] = [];
  if (manifest.state === "damaged" || (await lacksManifest(disk, directory, segments, manifest))) {
    damages.push({ kind: "manifest", file: MANIFEST_FILE, from: 0, to: manifest.bytes });
  }
  for (const name of lost) {
    damages.push({ kind: "lostSegment", file: segmentFileName(name), from: 0, to: 0 });
  }
  if (checkpoint.state === "damaged") {
    damages.push({ kind: "checkpoint", file: CHECKPOINT_FILE, from: 0, to: checkpoint.bytes });
  }
  return { manifest, checkpoint, lost, damages };
}

async function inspectCheckpoint(
  disk: Disk,
  directory: string,
  owner: LogOwner,
  segments: readonly SegmentName[],
): Promise<InspectedCheckpoint> {
  const found = readCheckpoint(disk, directory, owner);
  const unknown = { bytes: 0, segment: 0, entries: 0, misfit: undefined };
  if (found.state === "damaged") return { ...unknown, state: found.state, bytes: found.bytes };
  if (found.state !== "whole") return { ...unknown, state: found.state };
  const { bytes, header } = found.checkpoint;
  const { segment, entries } = header;
  const misfit = await misfitOf(disk, directory, found.checkpoint, segments);
  return { state: misfit === undefined ? "whole" : "unfit", bytes, segment, entries, misfit };
}
