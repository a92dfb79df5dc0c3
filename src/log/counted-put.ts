/**
 * What the ledger counts of a put, from its entry in the index.
 */
import type { IndexEntry } from "./index.ts";
import type { CountedPut } from "./ledger.ts";
import { putBodyLength, recordBytes } from "./record.ts";

/** The record that `entry` names, with the bytes that it takes. */
export function countedPut({
  block,
  segment,
  length,
}: Pick<IndexEntry, "block" | "segment" | "length">): CountedPut {
  return { block, segment, bytes: recordBytes(putBodyLength(length)) };
}
