/**
 * The decision tables of opening a log, as functions without side effects. Letters and reasons are in
 * docs/log-format.md, "Opening"; a test walks through every combination of conditions.
 *
 * Segments are looked at from the highest number down. As long as no record has been found, we are in the tail: what was
 * being written when the process ended lies here. Below the tail everything was durable before the next segment got its
 * first record, so whatever is wrong there is corruption.
 */

/** What is known of a segment before its records are judged. */
export interface SegmentFacts {
  /** `newer`: whole, of an unknown version. `foreign`: whole, of another cluster or server. */
  readonly header: "whole" | "damaged" | "foreign" | "newer";
  /** `tail`: no segment with a higher number holds a record. */
  readonly place: "tail" | "inner";
  /** Whether there are bytes behind the header. */
  readonly content: "none" | "some";
  /** `own`: its seal is in it. `suspect`: a later segment says up to where it counts. */
  readonly seal: "own" | "suspect" | "none";
}

export type SegmentRow = "A" | "B" | "C" | "D" | "E" | "F" | "G" | "H" | "I";

/** The row of the table of segments. */
export function segmentRow(facts: SegmentFacts): SegmentRow {
  if (facts.header === "newer") return "A";
  if (facts.header === "foreign") return "B";
  if (facts.place === "tail") {
    if (facts.content === "none") return facts.header === "whole" ? "C" : "D";
    return facts.header === "whole" ? "E" : "F";
  }
  if (facts.seal === "suspect") return "G";
  return facts.seal === "own" ? "H" : "I";
}

/** Bytes of a segment that are no whole record, and what is known around them. */
export interface DamageFacts {
  readonly place: "tail" | "inner";
  readonly from: number;
  readonly to: number;
  /** The segment was durable up to here: the largest `synced` in any whole record header of the segment. */
  readonly synced: number;
}

export type DamageRow = "P" | "Q" | "R" | "S";

/** The row of the table of damage. */
export function damageRow({ place, from, to, synced }: DamageFacts): DamageRow {
  if (place === "inner") return "P";
  if (to <= synced) return "Q";
  return from < synced ? "R" : "S";
}
