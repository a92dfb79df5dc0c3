/**
 * Operations on the record of data servers: registration and states.
 *
 * Invariants: ids are given in order from 1 and never again; an id belongs to one incarnation of one directory; the
 * placement table names every server that has ever registered, until it is drained, replaced or removed. A server that is
 * up without a place in the table is `draining`: so one that comes back after it was replaced takes nothing new.
 */
import { DfsError } from "../../base/errors.ts";
import { serverId, type InstanceId, type ServerId } from "../../base/ids.ts";
import { MAX_SERVERS } from "../../base/limits.ts";
import type { RequestOf } from "../../protocol/message.ts";
import type { ServerState } from "../../protocol/messages/cluster.ts";
import type { memberRegister } from "../../protocol/messages/member.ts";
import { mayHaveJoined } from "./acceptance.ts";
import { ringOrder } from "./placement.ts";
import { SERVER_COUNTER } from "./server-ids.ts";
import { hasPlace, joinTable, ringServer, survey } from "./placement-operations.ts";
import type { Server } from "./store/rows.ts";
import { ask, type Operation } from "./store/store.ts";

export type Registration = RequestOf<typeof memberRegister>;

/** What registration needs to know besides its body. */
export interface RegistrationContext {
  readonly nowNs: bigint;
  /** Copies of a block: the width of the placement table. */
  readonly replicas: number;
  /** The instance of a server that is connected and heard of right now. */
  readonly aliveInstance: (server: ServerId) => InstanceId | undefined;
}

export interface Registered {
  readonly server: Server;
  /** True when this is its first registration ever. */
  readonly joined: boolean;
}

/**
 * Registers a run of a data server; a new one gets an id and its place in the table.
 * @throws DfsError `wrongPeer` when another live process has the id or the address, when the id was never given, or when
 * it belongs to another incarnation and this one does not say that it was recovered; `outOfRange` for one too many.
 */
export function* registerServer(
  context: RegistrationContext,
  body: Registration,
): Operation<Registered> {
  const servers = yield* ask("server.list");
  const former = yield* formerRow(servers, body);
  if (former !== undefined) refuseImpostor(context, former, body);
  refuseTakenAddress(context, servers, former?.id, body.address);
  if (former === undefined && servers.length >= MAX_SERVERS) {
    throw new DfsError("outOfRange", `a cluster has at most ${MAX_SERVERS} data servers`);
  }
  const id = former?.id ?? body.server ?? (yield* newServerId());
  const server: Server = {
    id,
    incarnation: body.incarnation,
    instance: body.instance,
    address: body.address,
    zone: body.zone,
    tags: body.tags,
    state: former === undefined ? "up" : yield* stateWhenAlive(former),
    filling: isRefilled(former, body),
    registeredNs: context.nowNs,
  };
  yield* ask("server.put", server);
  if (former?.state === "out") yield* surveyReturned(server, servers);
  if (former === undefined) yield* joinTable(context.replicas, servers, server);
  return { server, joined: former === undefined };
}

/**
 * Writes whether a server was heard of, and returns its new state; undefined when nothing changes. One that is being drained stays that, heard of
 * or not, unless it goes out; and is that again when it is back. With a server that goes out, or was, its copies stop or
 * begin to count: a survey of them goes on record. With one that comes back to its place in the table blocks become
 * misplaced that have no copy there, having been written while it was out: all servers are surveyed.
 */
export function* setServerState(
  id: ServerId,
  state: Extract<ServerState, "up" | "suspect" | "down" | "out">,
): Operation<ServerState | undefined> {
  const server = yield* ask("server.get", id);
  if (server === undefined || server.state === state) return undefined;
  if (server.state === "draining" && state !== "out") return undefined;
  const next = state === "up" ? yield* stateWhenAlive(server) : state;
  yield* ask("server.put", { ...server, state: next });
  if (state === "out") yield* survey(id);
  else if (server.state === "out") {
    yield* surveyReturned({ ...server, state: next }, yield* ask("server.list"));
  }
  return next;
}

/** Has the blocks judged anew of which a server should have copies that was out and is there again. */
function* surveyReturned(returned: Server, all: readonly Server[]): Operation<void> {
  for (const { id } of returned.state === "up" ? all : [returned]) yield* survey(id);
}

/** All servers in ring order, as stand-ins are looked for. */
export function ringOf(servers: readonly Server[]): Server[] {
  const byId = new Map(servers.map((server) => [server.id, server]));
  return ringOrder(servers.map(ringServer)).map(({ server }) => byId.get(server)!);
}

/**
 * The row of the server that this registration is of. A new server whose reply got lost is known by its incarnation. A
 * server that joined in a time that was lost with a newer database has no row, and keeps its id.
 */
function* formerRow(servers: readonly Server[], body: Registration): Operation<Server | undefined> {
  if (body.server === null) {
    return servers.find((each) => each.incarnation === body.incarnation);
  }
  const former = servers.find((each) => each.id === body.server);
  if (former !== undefined || (yield* mayHaveJoined(body.server))) return former;
  if (BigInt(body.server) <= (yield* ask("counter.get", SERVER_COUNTER))) {
    throw wrongPeer(
      `data server ${body.server} was removed from this cluster, and what its directory holds is not needed any more: ` +
        "to use the disk again, empty the directory and start the server with --new",
    );
  }
  throw wrongPeer(
    `this cluster has no data server ${body.server}: start the server with an empty directory and --new to add it`,
  );
}

/** State of a server of the record that is heard of: one without a place in the table is being drained. */
function* stateWhenAlive(server: Server): Operation<"up" | "draining"> {
  if (server.state === "draining") return "draining";
  if (server.state !== "out") return "up";
  return (yield* hasPlace(server.id)) ? "up" : "draining";
}

function refuseImpostor(context: RegistrationContext, former: Server, body: Registration): void {
  const alive = context.aliveInstance(former.id);
  if (alive !== undefined && alive !== body.instance) {
    throw wrongPeer(
      `data server ${former.id} is running already, at ${former.address}: two processes cannot be the same server`,
    );
  }
  if (former.incarnation !== body.incarnation && !body.recovered) {
    throw wrongPeer(
      `data server ${former.id} is known with another directory: if that one is lost, start this one with --recover ${former.id}`,
    );
  }
}

/** An address is taken by a server that is alive there; that of a dead one may have been given to somebody else. */
function refuseTakenAddress(
  context: RegistrationContext,
  servers: readonly Server[],
  own: ServerId | undefined,
  address: string,
): void {
  const other = servers.find((each) => each.address === address && each.id !== own);
  if (other === undefined || context.aliveInstance(other.id) === undefined) return;
  throw wrongPeer(`the address ${address} is that of data server ${other.id}, which is running`);
}

/** A recovered directory is being refilled until that is known to be done. */
function isRefilled(former: Server | undefined, body: Registration): boolean {
  if (former === undefined) return false;
  return former.incarnation === body.incarnation ? former.filling : body.recovered;
}

function* newServerId(): Operation<ServerId> {
  const id = (yield* ask("counter.get", SERVER_COUNTER)) + 1n;
  yield* ask("counter.put", SERVER_COUNTER, id);
  return serverId(Number(id));
}

function wrongPeer(message: string): DfsError {
  return new DfsError("wrongPeer", `registration refused: ${message}`);
}
