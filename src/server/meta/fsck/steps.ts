/**
 * Transactions of fsck: each looks again at what seemed wrong and decides in one moment, so that nothing is told of a
 * cluster that has merely gone on meanwhile.
 */
import type { BlockId, ServerId } from "../../../base/ids.ts";
import type { ReplicaVerdict } from "../../../protocol/messages/data.ts";
import { isForgotten } from "../namespace/operations.ts";
import { nextCtime } from "../namespace/inodes.ts";
import { liveBlock, needOf, recordNeed, type ClusterView } from "../repair/need.ts";
import { settleVerdicts } from "../replica-operations.ts";
import type { Block, Inode, ReplicaState } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";

/** A copy that is to be read, and the state in which it was on record. */
export interface Suspect {
  readonly block: Pick<Block, "id" | "length" | "checksum">;
  readonly state: ReplicaState;
}

/** Rows of the record on one server behind a block. */
export interface CopyPage {
  /** Copies of live blocks that the server should hold. */
  readonly copies: readonly Suspect[];
  /** Ids of all rows, whatever their state, rising. */
  readonly known: readonly BlockId[];
}

/** The next `limit` rows of a server. One request for all of them: this is most of what a check costs the service. */
export function* copiesBehind(
  server: ServerId,
  after: BlockId,
  limit: number,
): Operation<CopyPage> {
  const rows = yield* ask("replica.listWithBlocks", server, after, limit);
  const copies: Suspect[] = [];
  for (const { block: id, state, length, checksum, blockState } of rows) {
    if (blockState !== "live" || (state !== "present" && state !== "bad")) continue;
    if (length !== undefined && checksum !== undefined) {
      copies.push({ block: { id, length, checksum }, state });
    }
  }
  return { copies, known: rows.map(({ block }) => block) };
}

/** Of these blocks, those that are live and of which `server` should hold a copy. */
export function* copiesOn(server: ServerId, blocks: readonly BlockId[]): Operation<Suspect[]> {
  const found: Suspect[] = [];
  for (const id of blocks) {
    const block = yield* liveBlock(id);
    const state = yield* ask("replica.get", id, server);
    if (block === undefined || (state !== "present" && state !== "bad")) continue;
    found.push({ block, state });
  }
  return found;
}

/**
 * The server has read its copy, which was on record as `suspect.state` when it was asked, and it is not right. Returns
 * whether that is something to tell: not when the block was given up or the copy moved away meanwhile. With `mend` the
 * copy goes on record as bad, for the planner.
 */
export function* settleBadCopy(
  view: ClusterView,
  { block, state }: Suspect,
  server: ServerId,
  verdict: ReplicaVerdict,
  mend: boolean,
): Operation<boolean> {
  if ((yield* liveBlock(block.id)) === undefined) return false;
  const now = yield* ask("replica.get", block.id, server);
  if (now === undefined || now === "removing") return false;
  if (mend && now === state) yield* settleVerdicts(view, server, [{ block: block.id, verdict }]);
  return true;
}

/** True while the copy of a live block is being made again on the server. */
export function* isBeingMade(block: BlockId, server: ServerId): Operation<boolean> {
  if ((yield* liveBlock(block)) === undefined) return false;
  return (yield* ask("replica.get", block, server)) === "adding";
}

/** How many copies a block lacks; undefined when it is not live or lacks none. With `mend` that goes on record. */
export function* lackOf(
  view: ClusterView,
  id: BlockId,
  mend: boolean,
): Operation<{ readonly block: Block; readonly missing: number } | undefined> {
  const block = yield* liveBlock(id);
  if (block === undefined) return undefined;
  const { missing } = mend
    ? yield* recordNeed(view, block, "badReplica")
    : needOf(view, yield* ask("replica.list", id), yield* ask("placement.row", block.group));
  return missing === 0 ? undefined : { block, missing };
}

/** What has become of a copy or block that is to be mended. */
export type Progress = "mended" | "waiting" | "hopeless" | "away";

/**
 * `server` undefined: the block lacked copies. hopeless: no copy is on record as good. away: those that are, are on
 * servers that cannot be asked.
 */
export function* progressOf(
  view: ClusterView,
  id: BlockId,
  server: ServerId | undefined,
): Operation<Progress> {
  const block = yield* liveBlock(id);
  if (block === undefined) return "mended"; // nothing is lost any more
  const replicas = yield* ask("replica.list", id);
  const { missing } = needOf(view, replicas, yield* ask("placement.row", block.group));
  const own = replicas.find((each) => each.server === server)?.state;
  if (missing === 0 && own !== "bad" && own !== "adding") return "mended";
  const good = replicas.filter(({ state }) => state === "present");
  if (good.length === 0) return "hopeless";
  return good.some((each) => isHere(view, each.server)) ? "waiting" : "away";
}

/**
 * What a copy is of which the record says nothing. orphan: its block is dead for good. unknown: metadata has never heard of
 * the block, or is older than it. Undefined: the record does say something of the copy, or of the block.
 */
export type Stray = "orphan" | "unknown" | undefined;

/** Judges a copy that `server` holds. */
export function* strayOn(block: BlockId, server: ServerId): Operation<Stray> {
  if ((yield* ask("block.get", block)) !== undefined) return undefined;
  if ((yield* ask("replica.get", block, server)) !== undefined) return undefined;
  if (yield* isForgotten(block)) return "orphan";
  return (yield* ask("reservation.find", block)) === undefined ? "unknown" : undefined;
}

/** The server holds an orphan copy. Puts it on record for the reaper; returns false when it is none any more. */
export function* giveUpOrphan(block: BlockId, server: ServerId): Operation<boolean> {
  if ((yield* strayOn(block, server)) !== "orphan") return false;
  yield* ask("replica.put", { block, server, state: "removing" });
  return true;
}

/** How the removal of an orphan copy fares. */
export function* orphanProgress(
  view: ClusterView,
  block: BlockId,
  server: ServerId,
): Operation<Progress> {
  if ((yield* ask("replica.get", block, server)) !== "removing") return "mended";
  return isHere(view, server) ? "waiting" : "away";
}

function isHere(view: ClusterView, server: ServerId): boolean {
  const state = view.servers.get(server)?.state;
  return state === "up" || state === "suspect" || state === "draining";
}

/**
 * Corrects a count of an inode that has not changed since the count was found wrong: ctime rises with every change.
 * Returns the ctime that it has now; undefined when it has changed, or is about to be removed.
 */
export function* correctInode(
  nowNs: bigint,
  seen: Pick<Inode, "id" | "ctimeNs">,
  right: Partial<Pick<Inode, "nlink" | "allocated">>,
): Operation<bigint | undefined> {
  const inode = yield* ask("inode.get", seen.id);
  if (inode === undefined || inode.ctimeNs !== seen.ctimeNs) return undefined;
  if ((yield* ask("reclaim.get", inode.id)) !== undefined) return undefined;
  if (inode.nlink === 0 && right.nlink === undefined) return undefined; // what is open goes by itself
  const ctimeNs = nextCtime({ nowNs }, inode);
  yield* ask("inode.update", { ...inode, ...right, ctimeNs });
  return ctimeNs;
}
