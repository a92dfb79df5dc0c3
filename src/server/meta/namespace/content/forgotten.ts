/**
 * Ids of blocks that were forgotten: given out by this database, never to be named by any file again.
 *
 * An id of which no table says anything may be one of these, or newer than this database, which may be an older copy.
 * Copies of the former are garbage; copies of the latter may be all that is left of a file. So what is dead for good is
 * kept, in the transaction that forgets it, as spans of ids: there are never more of them than gaps between the ids that
 * live, are reserved, or were skipped.
 *
 * Invariants: spans neither overlap nor touch; no id in one has a row in `blocks`, nor can it be committed.
 */
import { blockId, type BlockId } from "../../../../base/ids.ts";
import { ask, type Operation } from "../../store/store.ts";

/** True when the id was used, or reserved in vain, and no file can ever name it again. */
export function* isForgotten(block: BlockId): Operation<boolean> {
  const span = yield* ask("forgotten.find", block);
  return span !== undefined && span.last >= block;
}

/** Puts ids on record as dead for good; those that are already stay so. */
export function* recordForgotten(first: BlockId, last: BlockId): Operation<void> {
  const before = yield* ask("forgotten.find", first);
  if (before !== undefined && before.last >= last) return;
  const joins = before !== undefined && before.last >= first - 1n;
  const begin = joins ? before.first : first;
  const behind = yield* ask("forgotten.find", blockId(last + 1n));
  const end = behind !== undefined && behind.last > last ? behind.last : last;
  yield* ask("forgotten.deleteBetween", begin, blockId(last + 1n));
  yield* ask("forgotten.insert", { first: begin, last: end });
}

/** The same for ids in rising order, of which many may be neighbours. */
export function* recordAllForgotten(rising: readonly BlockId[]): Operation<void> {
  for (let at = 0; at < rising.length;) {
    let end = at + 1;
    while (end < rising.length && rising[end] === rising[end - 1]! + 1n) end++;
    yield* recordForgotten(rising[at]!, rising[end - 1]!);
    at = end;
  }
}
