/**
 * The transactions of repairs. Each looks at the block again: whatever was decided before may be out of date.
 *
 *     nothing, bad ── beginCopies ──► adding ── finishCopies ──► present
 *                                     └───── abandonCopy ──► nothing, bad (bad too if nobody knows)
 *     present, bad ── beginRemovals ─► removing          (deleted and forgotten by the reaper)
 */
import { blockId, type BlockId, type InstanceId, type ServerId } from "../../../base/ids.ts";
import { ask, type Operation } from "../store/store.ts";
import type { RepairReason, Survey } from "../store/rows.ts";
import type { Candidate } from "./choice.ts";
import { MISPLACED, type ClusterView } from "./need.ts";
import { onPage, readPage, type BlockPage } from "./page.ts";

/** Below every block id. */
const NO_BLOCK = blockId(0n);

/** Bad copies looked at together. */
const BAD_AT_ONCE = 256;

/** The next blocks of the queue, behind `urgency` and `after`. */
export function* readQueue(
  view: ClusterView,
  urgency: number,
  after: BlockId,
  limit: number,
): Operation<{ candidates: Candidate[]; last: { urgency: number; block: BlockId } | undefined }> {
  const rows = yield* ask("repair.list", urgency, after, limit);
  const page = yield* readPage(
    view,
    rows.map(({ block }) => block),
    rows,
  );
  return { candidates: onRecord(page), last: rows.length < limit ? undefined : rows.at(-1) };
}

/** Those of the blocks that are in the queue. */
export function* readQueued(view: ClusterView, blocks: readonly BlockId[]): Operation<Candidate[]> {
  return onRecord(yield* readPage(view, blocks));
}

/** The blocks of the page that need something; the death of one takes it off the record. */
function onRecord(page: BlockPage): Candidate[] {
  const candidates: Candidate[] = [];
  for (const id of page.ids) {
    const block = page.live(id);
    const recorded = page.urgency(id);
    if (block === undefined || recorded === undefined) continue;
    const row = page.rowOf(block.group);
    candidates.push({ block, replicas: page.copies(id), row, recorded, need: page.need(block) });
  }
  return candidates;
}

/** A copy that is to be made: in place of another one with `move`. */
export interface WantedCopy {
  readonly block: BlockId;
  readonly move: boolean;
}

/**
 * Copies are going to be made on `target`. Returns for each of them false when it is not wanted any more, or cannot be
 * there: the server was removed, or it has a copy that is present, or one whose removal has not been acknowledged.
 */
export function* beginCopies(
  view: ClusterView,
  target: ServerId,
  copies: readonly WantedCopy[],
): Operation<boolean[]> {
  const ids = copies.map(({ block }) => block);
  return yield* onPage(view, ids, (page) => copies.map((copy) => beginCopy(page, target, copy)));
}

function beginCopy(page: BlockPage, target: ServerId, { block, move }: WantedCopy): boolean {
  const live = page.live(block);
  // Of a server that was removed meanwhile nothing may go on record: nobody would take it off again.
  if (live === undefined || !page.view.servers.has(target)) return false;
  const need = page.judge(live, "placement");
  if (need.missing === 0 && !(move && need.urgency === MISPLACED)) return false;
  const state = page.copyOn(block, target);
  if (state === "present" || state === "removing") return false;
  page.setCopy(block, target, "adding");
  return true;
}

/**
 * Copies are durable on `target`. Returns for each of them false when its block has died meanwhile: the copy is to be
 * removed then.
 */
export function* finishCopies(
  view: ClusterView,
  target: ServerId,
  blocks: readonly BlockId[],
): Operation<boolean[]> {
  return yield* onPage(view, blocks, (page) =>
    blocks.map((block) => finishCopy(page, target, block)),
  );
}

function finishCopy(page: BlockPage, target: ServerId, block: BlockId): boolean {
  const live = page.live(block);
  if (live === undefined || page.copyOn(block, target) !== "adding") return false;
  page.setCopy(block, target, "present");
  page.judge(live, "placement");
  return true;
}

/** The copy has not been made, and will not be; or nobody knows, and then it is in doubt and `asBad`, as one that was bad before. */
export function* abandonCopy(block: BlockId, target: ServerId, asBad: boolean): Operation<void> {
  if ((yield* ask("replica.get", block, target)) !== "adding") return;
  if (asBad) yield* ask("replica.put", { block, server: target, state: "bad" });
  else yield* ask("replica.delete", block, target);
}

/** A copy that is to go, and those that are to stay. */
export interface Removal {
  readonly block: { readonly id: BlockId };
  readonly victim: ServerId;
  readonly keepers: readonly ServerId[];
}

/**
 * Gives up copies, each when those on its keepers are still on record and their servers up or being drained, and are all that
 * the block should have. Returns false for those of which that is not so. Each is of another block.
 */
export function* beginRemovals(
  view: ClusterView,
  removals: readonly Removal[],
): Operation<boolean[]> {
  const ids = removals.map(({ block }) => block.id);
  return yield* onPage(view, ids, (page) => removals.map((removal) => beginRemoval(page, removal)));
}

function beginRemoval(page: BlockPage, { block: { id }, victim, keepers }: Removal): boolean {
  const live = page.live(id);
  if (live === undefined) return false;
  const state = page.copyOn(id, victim);
  if (state !== "present" && state !== "bad") return false;
  for (const keeper of keepers) {
    const standing = page.view.servers.get(keeper)?.state;
    if (keeper === victim || (standing !== "up" && standing !== "draining")) return false;
    if (page.copyOn(id, keeper) !== "present") return false;
  }
  if (new Set(keepers).size < page.view.replicas) return false;
  page.setCopy(id, victim, "removing");
  page.judge(live, "placement");
  return true;
}

/** Puts on record what the live ones of the blocks need as things are now. Returns how many need something. */
export function* judge(
  view: ClusterView,
  blocks: readonly BlockId[],
  reason: RepairReason,
): Operation<number> {
  return yield* onPage(
    view,
    blocks,
    (page) =>
      blocks.filter((block) => {
        const live = page.live(block);
        return live !== undefined && page.judge(live, reason).urgency !== undefined;
      }).length,
  );
}

/** Nothing of what the server should hold is bad or being made, but for what is lost and cannot be made. */
function* isFilled(server: ServerId): Operation<boolean> {
  if (yield* hasUnfinished(server)) return false;
  for (let after: BlockId | undefined = NO_BLOCK; after !== undefined;) {
    const { isFound, lostUpTo }: BadCopies = yield* lookAtBad(server, after);
    if (isFound) return false;
    after = lostUpTo;
  }
  return true;
}

/** Whether copies are being made on the server. */
export function* hasUnfinished(server: ServerId): Operation<boolean> {
  return (yield* ask("replica.listUnsettled", server, "adding", NO_BLOCK, 1)).length > 0;
}

/**
 * A server that had lost its disk has been refilled when {@link isFilled} holds: its copies count for the write quorum
 * again. What it lacks is known only when it has been compared with the record: `instance` is the run of the server that
 * has been. Returns false when the server has not been refilled.
 */
export function* endFilling(server: ServerId, instance: InstanceId): Operation<boolean> {
  const row = yield* ask("server.get", server);
  if (row?.filling !== true || row.instance !== instance) return false;
  if (!(yield* isFilled(server))) return false;
  yield* ask("server.put", { ...row, filling: false });
  return true;
}

/** Bad copies of a server, as far as they have been looked at. */
export interface BadCopies {
  /** The next one is of a block of which there is a good copy. */
  readonly isFound: boolean;
  /** Those up to here are of blocks that are lost; undefined: all are. */
  readonly lostUpTo: BlockId | undefined;
}

/** Looks for a bad copy of the server that can be made good, among the next ones behind `after`. */
export function* lookAtBad(server: ServerId, after: BlockId): Operation<BadCopies> {
  const page = yield* ask("replica.listUnsettled", server, "bad", after, BAD_AT_ONCE);
  let lostUpTo = after;
  for (const { block } of page) {
    const repair = yield* ask("repair.get", block);
    if (repair === undefined || repair.urgency > 0) return { isFound: true, lostUpTo };
    lostUpTo = block;
  }
  return { isFound: false, lostUpTo: page.length < BAD_AT_ONCE ? undefined : lostUpTo };
}

/**
 * Judges the next copies of a server's survey anew. Returns what is left of it. How far it has come is read from the record:
 * the server may have changed its state again since the last step, and then all of its copies are to be judged once more.
 */
export function* surveyStep(
  view: ClusterView,
  server: ServerId,
  limit: number,
): Operation<Survey | undefined> {
  const survey = (yield* ask("survey.list")).find((each) => each.server === server);
  if (survey === undefined) return undefined;
  const replicas = yield* ask("replica.listByServer", server, survey.after, limit);
  yield* judge(
    view,
    replicas.map(({ block }) => block),
    "serverOut",
  );
  const last = replicas.at(-1);
  if (last === undefined || replicas.length < limit) {
    yield* ask("survey.delete", server);
    return undefined;
  }
  const left = { server, after: last.block };
  yield* ask("survey.put", left);
  return left;
}
