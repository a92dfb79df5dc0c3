/**
 * What becomes of dead blocks and of copies that are to go: deleted on the servers, then forgotten here. Nothing is
 * deleted on suspicion: what may be deleted is on record as dead, as `removing`, or as the orphan of an ended session.
 */
import type { BlockId, ServerId } from "../../../../base/ids.ts";
import { ask, type Operation } from "../../store/store.ts";
import { recordForgotten } from "./forgotten.ts";

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
  yield* recordForgotten(block, block);
  return true;
}
