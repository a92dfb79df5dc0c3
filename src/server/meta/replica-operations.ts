/**
 * Operations on the record of where copies are, for the parts that compare it with what data servers hold.
 *
 * Invariant: whenever a copy of a live block is found missing or bad, the number of copies that it lacks goes on record
 * in `repairs` in the same transaction; copies that are made up for take it off again.
 */
import type { BlockId, ServerId } from "../../base/ids.ts";
import type { Block, RepairReason } from "./store/rows.ts";
import { ask, type Operation } from "./store/store.ts";

/** Puts on record how many copies `block` lacks, at least `atLeast`; takes the record away when none. */
export function* recordMissing(
  block: BlockId,
  replicas: number,
  reason: RepairReason,
  nowNs: bigint,
  atLeast = 0,
): Operation<void> {
  const present = yield* ask("replica.present", block);
  const missing = Math.max(replicas - present.length, atLeast);
  const former = yield* ask("repair.get", block);
  if (missing > 0) {
    const since = { reason: former?.reason ?? reason, sinceNs: former?.sinceNs ?? nowNs };
    yield* ask("repair.put", { block, missing, ...since });
  } else if (former !== undefined) {
    yield* ask("repair.delete", block);
  }
}

/** The block, if it is live. */
export function* liveBlock(block: BlockId): Operation<Block | undefined> {
  const found = yield* ask("block.get", block);
  return found?.state === "live" ? found : undefined;
}

/** The server says that it does not hold a right copy that is recorded as present. Returns false when it is not any more. */
export function* markLost(
  block: BlockId,
  server: ServerId,
  replicas: number,
  nowNs: bigint,
): Operation<boolean> {
  if ((yield* ask("replica.get", block, server)) !== "present") return false;
  if ((yield* liveBlock(block)) === undefined) return false;
  yield* ask("replica.put", { block, server, state: "bad" });
  yield* recordMissing(block, replicas, "badReplica", nowNs);
  return true;
}

/** The same for many blocks. Returns how many copies became bad. */
export function* markAllLost(
  blocks: readonly BlockId[],
  server: ServerId,
  replicas: number,
  nowNs: bigint,
): Operation<number> {
  let lost = 0;
  for (const block of blocks) {
    if (yield* markLost(block, server, replicas, nowNs)) lost++;
  }
  return lost;
}

/** A client could not read or verify a copy: at least one copy of the block goes on record as missing. */
export function* suspectReplica(
  block: BlockId,
  server: ServerId,
  replicas: number,
  nowNs: bigint,
): Operation<boolean> {
  if ((yield* liveBlock(block)) === undefined) return false;
  if ((yield* ask("replica.get", block, server)) !== "present") return false;
  yield* recordMissing(block, replicas, "badReplica", nowNs, 1);
  return true;
}
