/**
 * Operations on the record of where copies are, for the parts that compare it with what data servers hold.
 *
 * Invariant: whenever a copy of a live block is found missing or bad, what the block needs goes on record in `repairs` in
 * the same transaction; copies that make up for it take it off again.
 */
import type { BlockId, ServerId } from "../../base/ids.ts";
import type { ReplicaVerdict } from "../../protocol/messages/data.ts";
import { clusterView, type ClusterView } from "./repair/need.ts";
import { onPage, type BlockPage } from "./repair/page.ts";
import type { Operation } from "./store/store.ts";

/** The server says that it does not hold a right copy that is recorded as present. Returns false when it is not any more. */
export function markLost(page: BlockPage, block: BlockId, server: ServerId): boolean {
  const live = page.live(block);
  if (live === undefined || page.copyOn(block, server) !== "present") return false;
  page.setCopy(block, server, "bad");
  page.judge(live, "badReplica");
  return true;
}

/** The same for many blocks that the server has found rotten. Returns how many copies became bad. */
export function* markRotten(
  blocks: readonly BlockId[],
  server: ServerId,
  replicas: number,
  nowNs: bigint,
): Operation<number> {
  const view = yield* clusterView(replicas, nowNs);
  return yield* onPage(
    view,
    blocks,
    (page) => blocks.filter((block) => markLost(page, block, server)).length,
  );
}

/** A server has read its own copy of a block whole, and this is what it is worth. */
export interface Verdict {
  readonly block: BlockId;
  readonly verdict: ReplicaVerdict;
}

/**
 * Puts verdicts of a server on record. Returns for each of them false when it changes nothing: the copy is as the record
 * has it, or is not the record's business any more.
 */
export function* settleVerdicts(
  view: ClusterView,
  server: ServerId,
  verdicts: readonly Verdict[],
): Operation<boolean[]> {
  const ids = verdicts.map(({ block }) => block);
  return yield* onPage(view, ids, (page) =>
    verdicts.map((verdict) => settleVerdict(page, server, verdict)),
  );
}

function settleVerdict(page: BlockPage, server: ServerId, { block, verdict }: Verdict): boolean {
  const state = page.copyOn(block, server);
  const live = page.live(block);
  if (live === undefined || (state !== "present" && state !== "bad")) return false;
  const settled = verdict === "right" ? "present" : "bad";
  if (state !== settled) page.setCopy(block, server, settled);
  page.judge(live, "badReplica");
  return state !== settled;
}
