/**
 * Operations that change a data server for good: drain, undrain, replace, remove. Each is one transaction, apart from the
 * forgetting of a removed server's copies, which goes in steps that may be repeated.
 *
 * Invariants
 * - Nothing is moved here. The placement table is edited, the state is written, and surveys go on record; the repair
 *   planner does the rest, whatever crashes.
 * - A server is drained or replaced only while as many others as a block has copies are left; replaced only while so many of them
 *   take copies at that moment: one that is silent together with others may come back, and until then nothing is gained.
 * - A server is forgotten only when no live block needs a copy of its; or when it is given up by name, and then no copy of its
 *   is given up that can be read, and blocks that have no other copy are on record as lost with it.
 */
import { DfsError } from "../../base/errors.ts";
import { blockId, type ServerId } from "../../base/ids.ts";
import type { ServerChange } from "../../protocol/messages/cluster.ts";
import { forgetBlock } from "./namespace/operations.ts";
import { joinTable, leaveTable, survey } from "./placement-operations.ts";
import { liveBlock, needOf, recordNeed, type ClusterView } from "./repair/need.ts";
import { SERVER_COUNTER } from "./server-ids.ts";
import type { Replica, Server } from "./store/rows.ts";
import { ask, type Operation } from "./store/store.ts";

/** Below every block id. */
const NO_BLOCK = blockId(0n);

/** What these operations need to know of this moment. */
export interface ChangeContext {
  /** Copies that each block should have: the width of the placement table. */
  readonly replicas: number;
  /** Whether the server is connected. */
  readonly connected: boolean;
  /** Whether a server has said that it takes no new blocks. */
  readonly isFull: (server: ServerId) => boolean;
}

/** @throws DfsError `notFound`. */
export function* knownServer(id: ServerId): Operation<Server> {
  const server = yield* ask("server.get", id);
  if (server !== undefined) return server;
  throw new DfsError(
    "notFound",
    `there is no data server ${id}\ndfs server list shows those that there are`,
  );
}

/**
 * Refuses a change that cannot be.
 * @throws DfsError `invalid`, saying why and what to do.
 */
export function refuseChange(
  change: ServerChange,
  server: Server,
  all: readonly Server[],
  context: ChangeContext,
): void {
  if (change === "drain") refuseDrain(server, all, context);
  else if (change === "undrain") refuseUndrain(server);
  else if (change === "replace") refuseReplace(server, all, context);
  else refuseRemove(server);
}

/** Its copies are to be moved away. Changes nothing for one that is being drained. */
export function* drain(id: ServerId, context: ChangeContext): Operation<void> {
  const server = yield* knownServer(id);
  const all = yield* ask("server.list");
  refuseChange("drain", server, all, context);
  if (server.state === "draining") return;
  yield* leaveTable(context.replicas, all, id, false);
  yield* survey(id);
  yield* ask("server.put", { ...server, state: "draining" });
}

/** It is a server as others again, with a share of the table. */
export function* undrain(
  id: ServerId,
  context: ChangeContext,
  state: "up" | "suspect" | "down",
): Operation<void> {
  const server = yield* knownServer(id);
  if (server.state === "up") return; // said twice
  refuseChange("undrain", server, [], context);
  const others = (yield* ask("server.list")).filter((each) => each.id !== id);
  yield* ask("server.put", { ...server, state });
  yield* joinTable(context.replicas, others, { ...server, state });
  yield* survey(id);
}

/** It is gone for good: its copies stop to count, and others take its place in the table. */
export function* replace(id: ServerId, context: ChangeContext): Operation<void> {
  const server = yield* knownServer(id);
  const all = yield* ask("server.list");
  refuseChange("replace", server, all, context);
  if (server.state !== "out") yield* ask("server.put", { ...server, state: "out" });
  const changed = yield* leaveTable(context.replicas, all, id, true);
  if (changed || server.state !== "out") yield* survey(id);
}

/**
 * Forgets the next copies of a server that is to be removed, and the server itself when there is none left. Returns whether
 * that is done; true as well for a server that was removed before.
 * @throws DfsError `invalid` when a block needs one of its copies, or the server has come back.
 */
export function* removeStep(
  view: ClusterView,
  id: ServerId,
  context: ChangeContext,
  limit: number,
): Operation<boolean> {
  return yield* forgetStep(id, context, limit, ({ block, state }) =>
    state === "present" || state === "bad" ? refuseNeeded(view, id, block) : nothing(),
  );
}

/**
 * The same for a server that is given up although blocks have no other copy: they are lost, and on record as that.
 * @throws DfsError `invalid` when one of its copies is the last of its block and can be read, or the server has come back.
 */
export function* abandonStep(
  view: ClusterView,
  id: ServerId,
  context: ChangeContext,
  limit: number,
): Operation<boolean> {
  return yield* forgetStep(id, context, limit, (replica) => giveUp(view, replica));
}

/** Forgets the next copies of a server, each after `letGo`; with the last ones the server. */
function* forgetStep(
  id: ServerId,
  context: ChangeContext,
  limit: number,
  letGo: (replica: Replica) => Operation<void>,
): Operation<boolean> {
  const server = yield* ask("server.get", id);
  if (server === undefined && BigInt(id) <= (yield* ask("counter.get", SERVER_COUNTER)))
    return true;
  refuseRemove(yield* knownServer(id));
  const copies = yield* ask("replica.listByServer", id, NO_BLOCK, limit);
  for (const replica of copies) {
    yield* letGo(replica);
    yield* ask("replica.delete", replica.block, id);
    yield* forgetBlock(replica.block);
  }
  if (copies.length === limit) return false;
  const all = (yield* ask("server.list")).filter((each) => each.id !== id);
  yield* leaveTable(context.replicas, all, id, true);
  yield* ask("survey.delete", id);
  yield* ask("server.delete", id);
  return true;
}

/** Servers that could take the copies of another one. */
function othersThan(server: Server, all: readonly Server[]): Server[] {
  return all.filter(({ id, state }) => id !== server.id && state !== "draining" && state !== "out");
}

function refuseDrain(server: Server, all: readonly Server[], { replicas }: ChangeContext): void {
  if (server.state === "draining") return;
  if (server.state === "down" || server.state === "out") {
    throw invalid(
      `cannot drain data server ${server.id}: it is ${server.state}`,
      `start it again, or, if it will not come back: dfs rebuild ${server.id} --replace`,
    );
  }
  refuseFew(`cannot drain data server ${server.id}`, othersThan(server, all), replicas);
}

function refuseUndrain({ id, state }: Server): void {
  if (state === "draining") return;
  throw invalid(`cannot end the draining of data server ${id}`, `it is ${state}, not draining`);
}

function refuseReplace(server: Server, all: readonly Server[], context: ChangeContext): void {
  const { replicas, connected } = context;
  const { id, state } = server;
  const what = `cannot replace data server ${id}`;
  if (connected || state === "up") {
    throw invalid(
      `${what}: it is running`,
      `to move its copies away while it runs: dfs server drain ${id}`,
    );
  }
  if (state === "suspect") {
    throw invalid(`${what}: it was there a moment ago`, "try again when dfs server list says down");
  }
  const others = othersThan(server, all);
  refuseFew(what, others, replicas);
  if (state !== "out") refuseFewTakers(what, others, context);
}

function refuseRemove({ id, state }: Server): void {
  if (state === "draining" || state === "out") return;
  throw invalid(
    `cannot remove data server ${id}: it is ${state} and holds copies that count`,
    state === "down"
      ? `if it will not come back: dfs rebuild ${id} --replace`
      : `move them away first: dfs server drain ${id}`,
  );
}

/** @throws DfsError `invalid` when a live block lacks copies and could get one from this server, or still counts on it. */
function* refuseNeeded(
  view: ClusterView,
  server: ServerId,
  block: ReturnType<typeof blockId>,
): Operation<void> {
  const live = yield* liveBlock(block);
  if (live === undefined) return;
  const others = (yield* ask("replica.list", block)).filter((each) => each.server !== server);
  const { missing } = needOf(view, others, yield* ask("placement.row", live.group));
  if (missing === 0) return;
  throw invalid(
    `cannot remove data server ${server}: block ${block} still needs its copy`,
    "dfs status shows how far repairs are; try again when they are done",
  );
}

/**
 * Lets go of a copy that may be the last one of its block.
 * @throws DfsError `invalid` when it is, and can be read.
 */
function* giveUp(view: ClusterView, { block, server, state }: Replica): Operation<void> {
  const live = yield* liveBlock(block);
  if (live === undefined) return;
  const others = (yield* ask("replica.list", block)).filter((each) => each.server !== server);
  const { counting } = needOf(view, others, yield* ask("placement.row", live.group));
  if (counting.length === 0) {
    if (state === "present" && view.servers.get(server)?.state !== "out") {
      throw invalid(
        `cannot give up data server ${server}: its copy of block ${block} is the last one, and can be read`,
        `move it away: dfs server drain ${server}`,
      );
    }
    yield* ask("abandoned.put", block, server);
  }
  yield* ask("replica.delete", block, server);
  yield* recordNeed(view, live, "serverOut");
}

function* nothing(): Operation<void> {
  // there is nothing to do for a copy that goes anyway
}

function refuseFew(what: string, others: readonly Server[], replicas: number): void {
  if (others.length >= replicas) return;
  throw invalid(
    `${what}: a block has ${replicas} copies, and ${others.length} other servers are left to hold them`,
    "add a server first: dfs data --new --dir DIR --meta HOST:PORT",
  );
}

function refuseFewTakers(
  what: string,
  others: readonly Server[],
  { replicas, isFull }: ChangeContext,
): void {
  const takers = others.filter(({ id, state }) => state === "up" && !isFull(id)).length;
  if (takers >= replicas) return;
  throw invalid(
    `${what}: that takes ${replicas} other servers that are up and not full, there ${takers === 1 ? "is" : "are"} ${takers}`,
    "start those again that are not up (dfs server list), or add a server: dfs data --new --dir DIR --meta HOST:PORT",
  );
}

function invalid(what: string, next: string): DfsError {
  return new DfsError("invalid", `${what}\n${next}`);
}
