/**
 * What a live block needs, judged from the copies on record and the states of their servers.
 *
 * Invariants
 * - Whenever a transaction changes a copy of a live block, or a server goes out or comes back, the block is judged anew and
 *   `repairs` says what it needs: in the same transaction, or, for the copies of a server, by the survey that the
 *   transaction put on record.
 * - A copy counts when it is `present` and its server is not out. A server that is just down may come back at any moment:
 *   its copies are not made again.
 *
 * Urgency, the smaller the sooner: of a block that lacks copies it is the number of those that count; 0: it is lost. Then come blocks that
 * lack nothing but the copy of a server that is being refilled, then those that are misplaced, then those that have too many copies,
 * or a bad one beside enough good ones.
 */
import type { BlockId, ServerId } from "../../../base/ids.ts";
import { MAX_REPLICAS } from "../../../base/limits.ts";
import type { Block, Repair, RepairReason, Replica, Server } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";

/**
 * Urgency of a block of which one copy is missing, and a server that is being refilled after it lost its disk had one: all
 * blocks of that server but those that lack more. They are gone through in order of their ids (refills.ts).
 */
export const REFILL = 99;

/**
 * Urgency of a block that has all its copies, one of them on a server that is being drained, or on a stand-in because a
 * server of its group was away or has come later. While that server is out the block counts as well placed: it may never
 * come back.
 */
export const MISPLACED = 100;

/** Urgency of a block with copies that have to go. */
export const SURPLUS = 101;

/** The cluster in one transaction, for judging blocks. */
export interface ClusterView {
  /** Copies that each block should have. */
  readonly replicas: number;
  readonly nowNs: bigint;
  readonly servers: ReadonlyMap<ServerId, Server>;
  /** Rows of the placement table that have been asked for, by group: many blocks are judged with few of them. */
  readonly rows: Map<number, readonly ServerId[]>;
}

/** What judging a block needs to know of the cluster: few rows, read once for many blocks. */
export function* clusterView(replicas: number, nowNs: bigint): Operation<ClusterView> {
  const servers = yield* ask("server.list");
  return {
    replicas,
    nowNs,
    servers: new Map(servers.map((server) => [server.id, server])),
    rows: new Map(),
  };
}

/** The servers of a placement group, in order. */
export function* placementRow(view: ClusterView, group: number): Operation<readonly ServerId[]> {
  const known = view.rows.get(group);
  if (known !== undefined) return known;
  const row = yield* ask("placement.row", group);
  view.rows.set(group, row);
  return row;
}

export interface Need {
  /** Servers whose copy counts. */
  readonly counting: readonly ServerId[];
  readonly missing: number;
  /** Undefined: nothing is to be done. */
  readonly urgency: number | undefined;
}

/** What of the cluster decides what a block needs. */
export interface Standings {
  /** Copies that each block should have. */
  readonly replicas: number;
  /** Servers with copies of the block, and those of its group if one of these is not among them. */
  readonly servers: ReadonlyMap<ServerId, Pick<Server, "state" | "filling">>;
}

/** Judges a live block by its copies; `row` are the servers of its placement group. */
export function needOf(
  view: Standings,
  replicas: readonly Replica[],
  row: readonly ServerId[],
): Need {
  const isOut = (server: ServerId): boolean => {
    const state = view.servers.get(server)?.state;
    return state === undefined || state === "out";
  };
  const counting = replicas
    .filter(({ server, state }) => state === "present" && !isOut(server))
    .map(({ server }) => server);
  const missing = Math.max(0, view.replicas - counting.length);
  const tooMany = counting.length > view.replicas;
  const bad = replicas.some(({ server, state }) => state === "bad" && !isOut(server));
  const holds = (server: ServerId): boolean =>
    replicas.some((replica) => replica.server === server && replica.state !== "adding");
  const misplaced =
    counting.some((server) => view.servers.get(server)?.state === "draining") ||
    (counting.some((server) => !row.includes(server)) &&
      row.some((server) => !isOut(server) && !holds(server)));
  const rest = tooMany || bad ? SURPLUS : misplaced ? MISPLACED : undefined;
  const urgency = missing > 0 ? urgencyOfLack(view, replicas, counting.length) : rest;
  return { counting, missing, urgency };
}

function urgencyOfLack(view: Standings, replicas: readonly Replica[], counting: number): number {
  const isRefilled = ({ server, state }: Replica): boolean => {
    const row = view.servers.get(server);
    return state === "bad" && row?.filling === true && row.state !== "out";
  };
  const isOnlyEmptied = counting > 0 && counting === view.replicas - 1 && replicas.some(isRefilled);
  return isOnlyEmptied ? REFILL : Math.min(counting, MAX_REPLICAS);
}

/** What is to be on record of a block that needs this, when `former` was; undefined: nothing. */
export function entryFor(
  view: ClusterView,
  block: BlockId,
  { missing, urgency }: Need,
  former: Repair | undefined,
  reason: RepairReason,
): Repair | undefined {
  if (urgency === undefined) return undefined;
  if (former?.missing === missing && former.urgency === urgency) return former;
  const since = { reason: former?.reason ?? reason, sinceNs: former?.sinceNs ?? view.nowNs };
  return { block, missing, urgency, ...since };
}

/** Judges a live block and puts on record what it needs; takes the record away when that is nothing. */
export function* recordNeed(
  view: ClusterView,
  { id: block, group }: Block,
  reason: RepairReason,
): Operation<Need> {
  const replicas = yield* ask("replica.list", block);
  const need = needOf(view, replicas, yield* placementRow(view, group));
  const former = yield* ask("repair.get", block);
  const entry = entryFor(view, block, need, former, reason);
  if (entry === undefined) {
    if (former !== undefined) yield* ask("repair.delete", block);
  } else if (entry !== former) yield* ask("repair.put", entry);
  return need;
}

/** The block, if it is live. */
export function* liveBlock(block: BlockId): Operation<Block | undefined> {
  const found = yield* ask("block.get", block);
  return found?.state === "live" ? found : undefined;
}
