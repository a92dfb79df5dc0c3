/**
 * The transactions of repairs. Each looks at the block again: whatever was decided before may be out of date.
 *
 *     nothing, bad ── beginCopy ──► adding ── finishCopy ──► present
 *                                     └───── abandonCopy ──► nothing, bad
 *     present, bad ── beginRemoval ──► removing          (deleted and forgotten by the reaper)
 */
import type { BlockId, ServerId } from "../../../base/ids.ts";
import { ask, type Operation } from "../store/store.ts";
import type { Survey } from "../store/rows.ts";
import type { Candidate } from "./choice.ts";
import { liveBlock, needOf, recordNeed, type ClusterView } from "./need.ts";

/** The next blocks of the queue, behind `urgency` and `after`. */
export function* readQueue(
  view: ClusterView,
  urgency: number,
  after: BlockId,
  limit: number,
): Operation<{ candidates: Candidate[]; last: { urgency: number; block: BlockId } | undefined }> {
  const rows = yield* ask("repair.list", urgency, after, limit);
  const candidates: Candidate[] = [];
  for (const { block: id } of rows) {
    const block = yield* liveBlock(id);
    if (block === undefined) continue; // its death takes it off the record
    const replicas = yield* ask("replica.list", id);
    const row = yield* ask("placement.row", block.group);
    candidates.push({ block, replicas, row, need: needOf(view, replicas) });
  }
  return { candidates, last: rows.length < limit ? undefined : rows.at(-1) };
}

/**
 * A copy is going to be made on `target`. Returns false when it is not wanted any more, or cannot be there: a copy that
 * is present, or whose removal has not been acknowledged.
 */
export function* beginCopy(
  view: ClusterView,
  block: BlockId,
  target: ServerId,
  move: boolean,
): Operation<boolean> {
  if ((yield* liveBlock(block)) === undefined) return false;
  const need = yield* recordNeed(view, block, "placement");
  if (need.missing === 0 && !(move && need.counting.length <= view.replicas)) return false;
  const state = yield* ask("replica.get", block, target);
  if (state === "present" || state === "removing") return false;
  yield* ask("replica.put", { block, server: target, state: "adding" });
  return true;
}

/** The copy is durable on `target`. Returns false when the block has died meanwhile: the copy is to be removed then. */
export function* finishCopy(
  view: ClusterView,
  block: BlockId,
  target: ServerId,
): Operation<boolean> {
  if ((yield* ask("replica.get", block, target)) !== "adding") return false;
  if ((yield* liveBlock(block)) === undefined) return false;
  yield* ask("replica.put", { block, server: target, state: "present" });
  yield* recordNeed(view, block, "placement");
  return true;
}

/** The copy has not been made, and will not be. What was on record before is again. */
export function* abandonCopy(block: BlockId, target: ServerId, wasBad: boolean): Operation<void> {
  if ((yield* ask("replica.get", block, target)) !== "adding") return;
  if (wasBad) yield* ask("replica.put", { block, server: target, state: "bad" });
  else yield* ask("replica.delete", block, target);
}

/**
 * Gives up the copy on `victim`, when those on `keepers` are still on record and their servers up, and are all that the
 * block should have. Returns false when that is not so.
 */
export function* beginRemoval(
  view: ClusterView,
  block: BlockId,
  victim: ServerId,
  keepers: readonly ServerId[],
): Operation<boolean> {
  if ((yield* liveBlock(block)) === undefined) return false;
  const state = yield* ask("replica.get", block, victim);
  if (state !== "present" && state !== "bad") return false;
  for (const keeper of keepers) {
    if (keeper === victim || view.servers.get(keeper)?.state !== "up") return false;
    if ((yield* ask("replica.get", block, keeper)) !== "present") return false;
  }
  if (new Set(keepers).size < view.replicas) return false;
  yield* ask("replica.put", { block, server: victim, state: "removing" });
  yield* recordNeed(view, block, "placement");
  return true;
}

/** Judges the next copies of a survey anew. Returns what is left of it. */
export function* surveyStep(
  view: ClusterView,
  { server, after }: Survey,
  limit: number,
): Operation<Survey | undefined> {
  const replicas = yield* ask("replica.listByServer", server, after, limit);
  for (const { block } of replicas) {
    if ((yield* liveBlock(block)) !== undefined) yield* recordNeed(view, block, "serverOut");
  }
  const last = replicas.at(-1);
  if (last === undefined || replicas.length < limit) {
    yield* ask("survey.delete", server);
    return undefined;
  }
  const left = { server, after: last.block };
  yield* ask("survey.put", left);
  return left;
}
