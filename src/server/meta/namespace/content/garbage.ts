/**
 * What becomes of dead blocks and of copies that are to go: deleted on the servers, then forgotten here. Nothing is
 * deleted on suspicion: what may be deleted is on record as dead, as `removing`, or as the orphan of an ended session.
 */
import type { BlockId, ServerId } from "../../../../base/ids.ts";
import { ask, type Operation } from "../../store/store.ts";

/** A dead block and the servers whose copies are not known to be gone. */
export interface DeadBlock {
  readonly block: BlockId;
  readonly servers: readonly ServerId[];
}

/** Dead blocks with ids above `after`, in order of id. One without servers may be forgotten. */
export function* deadBlocks(after: BlockId, limit: number): Operation<DeadBlock[]> {
  const dead: DeadBlock[] = [];
  for (const block of yield* ask("block.listDead", after, limit)) {
    const replicas = yield* ask("replica.list", block);
    dead.push({ block, servers: replicas.map((replica) => replica.server) });
  }
  return dead;
}

/**
 * A server has confirmed that it holds the block no more. Forgets the copy if it was to be removed, and the block with
 * it when it is dead and this was the last one. Returns false when the copy is not on record as `removing`.
 */
export function* forgetReplica(block: BlockId, server: ServerId): Operation<boolean> {
  if ((yield* ask("replica.get", block, server)) !== "removing") return false;
  yield* ask("replica.delete", block, server);
  yield* forgetBlock(block);
  return true;
}

/** Forgets a dead block that has no copies left. Returns false when it is live, unknown, or has copies. */
export function* forgetBlock(block: BlockId): Operation<boolean> {
  const found = yield* ask("block.get", block);
  if (found?.state !== "dead") return false;
  if ((yield* ask("replica.list", block)).length > 0) return false;
  yield* ask("block.delete", block);
  return true;
}

/**
 * What metadata says about a block that a server holds.
 * - expected: a copy is on record there, and stays.
 * - removing: the copy is on record to be deleted; or the block is dead, and it is not known that this server has it.
 * - surplus: the block is live, but no copy is on record on this server.
 * - reserved: a live session may still commit it.
 * - orphan: its session ended without committing it; to be deleted after the grace period.
 * - forgotten: it was given out once and is garbage: committed and given up, or never committed.
 * - unknown: it was never given out by this database. Nothing may be deleted on that ground.
 */
export type Verdict =
  "expected" | "removing" | "surplus" | "reserved" | "orphan" | "forgotten" | "unknown";

/** Judges one block that `server` reports; ids from `mark` on were never given out. */
export function* judgeBlock(server: ServerId, block: BlockId, mark: bigint): Operation<Verdict> {
  const found = yield* ask("block.get", block);
  if (found?.state === "dead") return "removing";
  if (found !== undefined) {
    const state = yield* ask("replica.get", block, server);
    if (state === undefined) return "surplus";
    return state === "removing" ? "removing" : "expected";
  }
  const reservation = yield* ask("reservation.find", block);
  if (reservation !== undefined) return reservation.endedNs === undefined ? "reserved" : "orphan";
  return block < mark ? "forgotten" : "unknown";
}
