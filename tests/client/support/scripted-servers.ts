// Data servers that do as they are told, over the real protocol in memory, and the client's parts that talk to them.
// What a real server does on its own is tested with real servers; this is for what one cannot make them do on time.

import { pieceHashes } from "../../../src/base/checksum.ts";
import { sleep, type Clock } from "../../../src/base/clock.ts";
import { DfsError } from "../../../src/base/errors.ts";
import {
  blockId,
  clusterId,
  incarnationId,
  instanceId,
  serverId,
  type BlockId,
  type ServerId,
} from "../../../src/base/ids.ts";
import { PIECE_BYTES, PLACEMENT_GROUPS } from "../../../src/base/limits.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import { encodeRows } from "../../../src/base/placement.ts";
import { seededRandom } from "../../../src/base/random.ts";
import type { ClientWarning } from "../../../src/client/api.ts";
import { BlockReader, type ReplicaFailure } from "../../../src/client/block-reader.ts";
import { BlockWriter } from "../../../src/client/block-writer.ts";
import { PlacementCache, type PlacementReply } from "../../../src/client/placement-cache.ts";
import { DataServers } from "../../../src/client/servers.ts";
import { Warnings } from "../../../src/client/warnings.ts";
import { connectPeer, HandlerTable, listenPeers } from "../../../src/protocol/endpoint.ts";
import type { PeerListener } from "../../../src/protocol/endpoint.ts";
import type { ServerState } from "../../../src/protocol/messages/cluster.ts";
import { blockGet, blockPut, dataStats } from "../../../src/protocol/messages/data.ts";
import type { PeerIdentity } from "../../../src/protocol/peer.ts";
import { memoryNetwork } from "../../../src/protocol/transports/memory.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const CLUSTER = clusterId("00112233445566778899aabbccddeeff");

/** What a scripted server does with a request. */
export type Behaviour = "serve" | "hang" | "noSpace" | "fail" | "rot" | "rotList" | "short";

interface Held {
  readonly bytes: Uint8Array;
  readonly pieces: Uint8Array;
}

export class ScriptedServer {
  behaviour: Behaviour = "serve";
  /** It takes so long for each get. */
  delayMs = 0;
  /** As the metadata service sees it. */
  state: ServerState = "up";
  full = false;
  filling = false;
  readonly blocks = new Map<BlockId, Held>();
  puts = 0;
  gets = 0;
  private listener: PeerListener | undefined;
  private readonly held: (() => void)[] = [];
  readonly id: ServerId;
  private readonly clock: Clock;

  constructor(id: ServerId, clock: Clock) {
    this.id = id;
    this.clock = clock;
  }

  /** Answers what hung. */
  letGo(): void {
    this.behaviour = "serve";
    for (const go of this.held.splice(0)) go();
  }

  async start(listen: (handlers: HandlerTable) => Promise<PeerListener>): Promise<void> {
    const handlers = new HandlerTable();
    handlers.onRequest(blockPut, async ({ body, bulk }) => {
      this.puts++;
      await this.act();
      this.blocks.set(body.block, { bytes: bulk.slice(), pieces: body.pieces });
      return { body: { instance: instanceId(1n), sequence: 1n } };
    });
    handlers.onRequest(blockGet, async ({ body }) => {
      this.gets++;
      if (this.delayMs > 0) await sleep(this.clock, this.delayMs);
      await this.act();
      const held = this.blocks.get(body.block);
      if (held === undefined) throw new DfsError("noBlock", `no block ${body.block}`);
      return this.answer(held, body.offset, body.length);
    });
    handlers.onRequest(dataStats, async () => {
      await this.act();
      throw new DfsError("unsupported", "a scripted server has no figures");
    });
    this.listener = await listen(handlers);
  }

  async stop(): Promise<void> {
    this.letGo();
    await this.listener?.close();
    this.listener = undefined;
  }

  private async act(): Promise<void> {
    if (this.behaviour === "hang") await new Promise<void>((resolve) => this.held.push(resolve));
    if (this.behaviour === "noSpace") throw new DfsError("noSpace", "the disk is full");
    if (this.behaviour === "fail") throw new DfsError("io", "the disk is broken\nreplace it");
  }

  private answer(held: Held, offset: number, length: number) {
    const from = Math.floor(offset / PIECE_BYTES) * PIECE_BYTES;
    const bulk = held.bytes.slice(from, Math.ceil((offset + length) / PIECE_BYTES) * PIECE_BYTES);
    const pieces = held.pieces.slice();
    if (this.behaviour === "rot") bulk[bulk.length - 1]! ^= 1;
    if (this.behaviour === "rotList") pieces[0]! ^= 1;
    const sent = this.behaviour === "short" ? bulk.subarray(1) : bulk;
    return { body: { blockLength: held.bytes.length, pieces }, bulk: sent };
  }
}

/** Scripted servers 1..count in ring order, and a client's reading and writing of blocks on a clock of its own. */
export async function scriptedCluster(
  count: number,
  settings: { replicas: number; writeQuorum: number; readQuorum?: number } = {
    replicas: 3,
    writeQuorum: 2,
  },
) {
  const clock = new ManualClock();
  const random = seededRandom(5);
  const network = memoryNetwork({ clock });
  const warnings: ClientWarning[] = [];
  const badReplicas: ReplicaFailure[] = [];
  const servers = Array.from(
    { length: count },
    (_, index) => new ScriptedServer(serverId(index + 1), clock),
  );
  const addressOf = (id: ServerId): string => `server-${id}:1`;
  const common = { clock, random, logger: silentLogger };
  const identity = (server: ServerId): PeerIdentity => ({
    role: "data",
    cluster: CLUSTER,
    server,
    incarnation: incarnationId(1n),
    instance: instanceId(1n),
    reign: undefined,
    label: `server ${server}`,
  });
  /** Starts a server; with `as`, it says that it is another one. */
  const start = (server: ScriptedServer, as: ServerId = server.id): Promise<void> =>
    server.start((handlers) =>
      listenPeers({
        ...common,
        transport: network.transport(`server-${server.id}`),
        address: addressOf(server.id),
        identity: identity(as),
        key: new TextEncoder().encode("a key of sixteen bytes or more"),
        handlers,
      }),
    );
  for (const server of servers) await start(server);

  const placementReply = (): PlacementReply => {
    const width = Math.min(settings.replicas, count);
    const rows = Array.from({ length: PLACEMENT_GROUPS }, (_, group) =>
      Array.from({ length: width }, (_unused, rank) => serverId(((group + rank) % count) + 1)),
    );
    return {
      version: 1n,
      width,
      table: encodeRows({ version: 1n, width, rows }),
      servers: servers.map((each) => ({
        server: each.id,
        address: addressOf(each.id),
        incarnation: incarnationId(1n),
        state: each.state,
        zone: "",
        full: each.full,
        filling: each.filling,
      })),
    };
  };
  const placement = new PlacementCache(() => Promise.resolve(placementReply()));
  const told = new Warnings((warning) => warnings.push(warning), silentLogger);
  const dataServers = new DataServers({
    placement,
    warnings: told,
    clock,
    random,
    connect: (known, timeoutMs) =>
      connectPeer({
        ...common,
        transport: network.transport("client"),
        address: known.address,
        identity: { ...identity(known.server), role: "client", server: undefined, label: "test" },
        key: new TextEncoder().encode("a key of sixteen bytes or more"),
        expect: { role: "data", cluster: CLUSTER, server: known.server },
        timeoutMs,
      }),
  });
  placement.onChange = (before, now) => dataServers.learn(before, now);
  const inForce = () => ({
    cluster: new Uint8Array(16),
    blockSize: 1024 * 1024,
    readQuorum: 1,
    ...settings,
  });
  const writer = new BlockWriter({
    servers: dataServers,
    placement,
    settings: inForce,
    warnings: told,
    clock,
    random,
    quorumTimeoutMs: 60_000,
  });
  const reader = new BlockReader({
    servers: dataServers,
    readQuorum: () => inForce().readQuorum,
    clock,
    onBadReplica: (_, failure) => badReplicas.push(failure),
  });
  return {
    clock,
    network,
    servers,
    warnings,
    badReplicas,
    dataServers,
    placement,
    writer,
    reader,
    start: (server: ScriptedServer) => start(server),
    /** Starts a server at the address of `id` that says that it is `other`. */
    startInPlaceOf: (id: number, other: number) => start(servers[id - 1]!, serverId(other)),
    server: (id: number) => servers[id - 1]!,
    stop: async () => {
      dataServers.close();
      await Promise.all(servers.map((each) => each.stop()));
    },
  };
}

export type ScriptedCluster = Awaited<ReturnType<typeof scriptedCluster>>;

/** Puts a block on servers directly, as if it had been written there. */
export function plant(cluster: ScriptedCluster, id: bigint, bytes: Uint8Array, on: number[]): void {
  const pieces = pieceHashes(bytes);
  for (const server of on) cluster.server(server).blocks.set(blockId(id), { bytes, pieces });
}
