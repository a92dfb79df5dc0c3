/**
 * What the log says about damage. It only reports; the data server, a scrub or a dump of the log decide what to do.
 */
import type { BlockId } from "../base/ids.ts";

/** Kinds of damage. */
export type CorruptionKind =
  /** The header of a segment is not whole. */
  | "segmentHeader"
  /** Bytes where a record should begin are none. */
  | "recordHeader"
  /** A record's header is whole, its body is not. */
  | "recordBody"
  /** A record goes on beyond the end of its segment. */
  | "truncated"
  /** A segment that must have been sealed has no seal: its end may be missing. */
  | "unsealed"
  /** Bytes behind a seal. */
  | "surplus"
  /** A segment that the manifest names is not there. */
  | "lostSegment"
  /** The manifest is damaged, or missing beside segments with records: it is made anew from the segments that are there. */
  | "manifest"
  /** The checkpoint is damaged: the segments are read instead, and it is made anew. */
  | "checkpoint";

export interface Corruption {
  readonly kind: CorruptionKind;
  /** Name of the file. */
  readonly file: string;
  /** The damaged bytes, as positions in the file. */
  readonly from: number;
  readonly to: number;
  /** The block whose copy is rotten, where that is known. */
  readonly block?: BlockId;
}

export interface CorruptionReporter {
  report(corruption: Corruption): void;
}

const WORDS: Readonly<Record<CorruptionKind, string>> = {
  segmentHeader: "the segment's header is damaged",
  recordHeader: "no record where one should begin",
  recordBody: "a record's content does not match its checksum",
  truncated: "a record is cut off",
  unsealed: "the segment has no seal, its end may be missing",
  surplus: "bytes behind the seal",
  lostSegment: "the segment is not there any more, nor is what it held",
  manifest: "the list of segments is damaged or missing, so a lost one would not be noticed",
  checkpoint: "the checkpoint is damaged, so all segments are read instead",
};

/** One line for people. */
export function describeCorruption({ kind, file, from, to, block }: Corruption): string {
  const which = block === undefined ? "" : ` (block ${block})`;
  return `${file}: ${WORDS[kind]}, bytes ${from} to ${to}${which}`;
}
