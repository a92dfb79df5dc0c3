// What the tests of the data server share: a metadata service that does what a test tells it, over real sockets, and
// data servers and their callers on real directories.

import { expect } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { isDfsError, type DfsError, type ErrorKind } from "../../../src/base/errors.ts";
import {
  clusterId,
  lsn,
  reignId,
  serverId,
  type ClusterId,
  type Lsn,
  type ReignId,
} from "../../../src/base/ids.ts";
import { silentLogger, type Logger } from "../../../src/base/logger.ts";
import { systemRandom } from "../../../src/base/random.ts";
import { connectPeer, HandlerTable, listenPeers } from "../../../src/protocol/endpoint.ts";
import type { PeerListener } from "../../../src/protocol/endpoint.ts";
import type { ReplyOf, RequestOf } from "../../../src/protocol/message.ts";
import { clusterIdBytes } from "../../../src/protocol/messages/common.ts";
import { blockPut } from "../../../src/protocol/messages/data.ts";
import {
  memberChain,
  memberHeartbeat,
  memberRegister,
  memberRotten,
} from "../../../src/protocol/messages/member.ts";
import type { Peer, PeerIdentity, Role } from "../../../src/protocol/peer.ts";
import { tcpTransport } from "../../../src/protocol/transports/tcp.ts";
import {
  startDataServer,
  type DataServer,
  type DataServerOptions,
} from "../../../src/server/data/server.ts";
import type { BlockToPut } from "../../../src/log/log.ts";

export const CLUSTER = clusterId("00112233445566778899aabbccddeeff");
export const OTHER_CLUSTER = clusterId("ffeeddccbbaa99887766554433221100");
export const TIMEOUT_MS = 20_000;
const HEARTBEAT_MS = 20;

const seams = {
  transport: tcpTransport(systemClock),
  clock: systemClock,
  random: systemRandom,
};

type Registration = RequestOf<typeof memberRegister>;

const folders: string[] = [];
const running: { stop(): Promise<void> }[] = [];
const peers: Peer[] = [];

/** Ends and removes what a test has made. Every test file calls it after each test: hooks are a file's own. */
export async function cleanUp(): Promise<void> {
  for (const peer of peers.splice(0)) peer.close("the test is over");
  for (const each of running.splice(0).toReversed()) await each.stop();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
}

/** A directory that does not exist yet, in a folder that is removed after the test. */
export function freshDirectory(): string {
  const folder = mkdtempSync(join(tmpdir(), "dfs-data-test-"));
  folders.push(folder);
  return join(folder, "data");
}

/** A metadata service reduced to membership, which answers as the test has it. */
export class ScriptedService {
  cluster: ClusterId = CLUSTER;
  reign: ReignId = reignId(1000n);
  lsn: Lsn = lsn(50n);
  /** Where earlier reigns ended. */
  ended = new Map<ReignId, Lsn>();
  /** Acceptances of older copies. */
  accepted: bigint[] = [];
  /** Refuses registrations with this. */
  refusal: DfsError | undefined;
  /** Answers registrations with this instead of what was asked for. */
  calls: Partial<ReplyOf<typeof memberRegister>> = {};
  answersHeartbeats = true;
  /** Refuses what servers tell of rotten copies with this. */
  rottenRefusal: DfsError | undefined;
  /** What servers have told of rotten copies, message by message. */
  readonly rotten: bigint[][] = [];
  readonly registrations: Registration[] = [];
  readonly heartbeats: RequestOf<typeof memberHeartbeat>[] = [];
  readonly chainsAsked: ReignId[] = [];
  /** Connections of registered servers, the newest last. */
  readonly members: Peer[] = [];
  address = "127.0.0.1:0";
  private nextServer = 1;
  private listener: PeerListener | undefined;

  static async start(): Promise<ScriptedService> {
    const service = new ScriptedService();
    await service.listen();
    running.push(service);
    return service;
  }

  /** Listens, at its former address if it had one. */
  async listen(): Promise<void> {
    this.listener = await listenPeers({
      ...seams,
      address: this.address,
      identity: () => identityOf("meta", { cluster: this.cluster, reign: this.reign }),
      handlers: this.handlers(),
      logger: silentLogger,
    });
    this.address = this.listener.address;
  }

  async stop(): Promise<void> {
    await this.listener?.close();
    this.listener = undefined;
  }

  /** As a service that was stopped and started: another reign, in the chain behind the one before. */
  async restart(): Promise<void> {
    await this.stop();
    this.ended.set(this.reign, this.lsn);
    this.reign = reignId(this.reign + 1n);
    await this.listen();
  }

  /** The connection of the server that registered last. */
  get member(): Peer {
    const member = this.members.at(-1);
    if (member === undefined) throw new Error("no server has registered");
    return member;
  }

  private handlers(): HandlerTable {
    const handlers = new HandlerTable();
    handlers.onRequest(memberChain, ({ body: { reign } }) => {
      this.chainsAsked.push(reign);
      const end = reign === this.reign ? this.lsn : (this.ended.get(reign) ?? null);
      return { body: { current: this.reign, lsn: this.lsn, end, accepted: this.accepted } };
    });
    handlers.onRequest(memberRegister, ({ body, peer }) => {
      if (this.refusal !== undefined) throw this.refusal;
      this.registrations.push(body);
      this.members.push(peer);
      const { reign, lsn: position } = this;
      const server = body.server ?? serverId(this.nextServer++);
      const settings = {
        cluster: clusterIdBytes(this.cluster),
        blockSize: 2 ** 20,
        replicas: 3,
        writeQuorum: 2,
        readQuorum: 1,
      };
      const heartbeatIntervalMs = HEARTBEAT_MS;
      return {
        body: { server, settings, reign, lsn: position, heartbeatIntervalMs, ...this.calls },
      };
    });
    handlers.onRequest(memberHeartbeat, ({ body }) => {
      this.heartbeats.push(body);
      if (!this.answersHeartbeats) return new Promise<never>(() => undefined);
      return { body: { reign: this.reign, lsn: this.lsn } };
    });
    handlers.onRequest(memberRotten, ({ body }) => {
      if (this.rottenRefusal !== undefined) throw this.rottenRefusal;
      this.rotten.push(body.blocks);
      return { body: { marked: body.blocks.length } };
    });
    return handlers;
  }
}

export function identityOf(role: Role, more: Partial<PeerIdentity> = {}): PeerIdentity {
  return {
    role,
    cluster: CLUSTER,
    server: undefined,
    incarnation: undefined,
    instance: undefined,
    reign: undefined,
    label: `a test's ${role}`,
    ...more,
  };
}

/** Options of a data server that the tests share. */
export function dataOptions(
  service: ScriptedService,
  dir: string,
  more: Partial<DataServerOptions> = {},
): DataServerOptions {
  return {
    dir,
    meta: service.address,
    logger: silentLogger,
    reserveBytes: 0,
    firstContactTimeoutMs: TIMEOUT_MS,
    ...more,
  };
}

/** Starts a data server that is stopped after the test, unless that has been done before. */
export async function startData(
  service: ScriptedService,
  dir: string,
  more: Partial<DataServerOptions> = {},
): Promise<DataServer> {
  const server = await startDataServer(dataOptions(service, dir, more));
  running.push(server);
  return server;
}

/** Starts a new data server with a scripted service of its own. */
export async function newServer(
  more: Partial<DataServerOptions> = {},
): Promise<{ service: ScriptedService; dir: string; server: DataServer }> {
  const service = await ScriptedService.start();
  const dir = freshDirectory();
  const server = await startData(service, dir, { identity: "new", ...more });
  return { service, dir, server };
}

/** Connects to a data server. */
export async function callerOf(
  server: Pick<DataServer, "address">,
  identity: PeerIdentity = identityOf("client"),
): Promise<Peer> {
  const peer = await connectPeer({
    ...seams,
    address: server.address,
    identity,
    expect: { role: "data" },
    logger: silentLogger,
    timeoutMs: TIMEOUT_MS,
  });
  peers.push(peer);
  return peer;
}

/** Stores a block over the wire. */
export async function putBlock(peer: Peer, block: BlockToPut): Promise<ReplyOf<typeof blockPut>> {
  const { bytes, ...body } = block;
  const answer = await peer.request(blockPut, body, { bulk: bytes, timeoutMs: TIMEOUT_MS });
  return answer.body;
}

/** A logger that keeps its warnings and errors. */
export function keptWarnings(): { logger: Logger; lines: string[] } {
  const lines: string[] = [];
  const keep = (line: string): void => void lines.push(line);
  return { logger: { ...silentLogger, warn: keep, error: keep }, lines };
}

export async function expectError(kind: ErrorKind, promise: Promise<unknown>): Promise<DfsError> {
  const outcome = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!isDfsError(outcome)) throw new Error(`expected an error ${kind}, got ${String(outcome)}`);
  expect({ kind: outcome.kind, message: outcome.message }).toEqual({
    kind,
    message: outcome.message,
  });
  return outcome;
}

/** Waits until `holds`, failing after a generous time. */
export async function eventually(
  what: string,
  holds: () => boolean | Promise<boolean>,
): Promise<void> {
  for (let waitedMs = 0; !(await holds()); waitedMs += 5) {
    if (waitedMs > TIMEOUT_MS) throw new Error(`it never came to be that ${what}`);
    await Bun.sleep(5);
  }
}
