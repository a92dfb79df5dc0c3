/**
 * Operations on the record of where copies are, for the parts that compare it with what data servers hold.
 *
 * Invariant: whenever a copy of a live block is found missing or bad, what the block needs goes on record in `repairs` in
 * the same transaction; copies that make up for it take it off again.
 */
import type { BlockId, ServerId } from "../../base/ids.ts";
import type { ReplicaVerdict } from "../../protocol/messages/data.ts";
import { clusterView, liveBlock, recordNeed, type ClusterView } from "./repair/need.ts";
import { ask, type Operation } from "./store/store.ts";

/** The server says that it does not hold a right copy that is recorded as present. Returns false when it is not any more. */
export function* markLost(view: ClusterView, block: BlockId, server: ServerId): Operation<boolean> {
  if ((yield* ask("replica.get", block, server)) !== "present") return false;
  const live = yield* liveBlock(block);
  if (live === undefined) return false;
  yield* ask("replica.put", { block, server, state: "bad" });
  yield* recordNeed(view, live, "badReplica");
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
  let lost = 0;
  for (const block of blocks) if (yield* markLost(view, block, server)) lost++;
  return lost;
}

/**
 * The server has read its own copy whole, and this is what it is worth. Returns false when that changes nothing: the copy
 * is as the record has it, or is not the record's business any more.
 */
export function* settleVerdict(
  view: ClusterView,
  block: BlockId,
  server: ServerId,
  verdict: ReplicaVerdict,
): Operation<boolean> {
  const state = yield* ask("replica.get", block, server);
  if (state !== "present" && state !== "bad") return false;
  const live = yield* liveBlock(block);
  if (live === undefined) return false;
  const settled = verdict === "right" ? "present" : "bad";
  if (state !== settled) yield* ask("replica.put", { block, server, state: settled });
  yield* recordNeed(view, live, "badReplica");
  return state !== settled;
}
