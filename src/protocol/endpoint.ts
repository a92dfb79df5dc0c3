/**
 * The door to the protocol for clients and servers: open a connection, or listen for them, and get Peers.
 *
 *     const handlers = new HandlerTable();
 *     handlers.onRequest(blockGet, ({ body }) => readBlock(body));
 *     const listener = await listenPeers({ transport, address: "127.0.0.1:0", identity, handlers, ... });
 *     const peer = await connectPeer({ transport, address: listener.address, identity, expect: { role: "data" }, ... });
 *     const { body, bulk } = await peer.request(blockGet, { block, offset: 0, length }, { timeoutMs: 5_000 });
 */
import type { Clock } from "../base/clock.ts";
import { DfsError, isDfsError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Random } from "../base/random.ts";
import { isLoopback, parseAddress } from "./address.ts";
import { checkKey } from "./authentication.ts";
import { Connection } from "./connection.ts";
import { callerLog, ListenerLog } from "./connection-log.ts";
import { Door } from "./door.ts";
import { LongReplies } from "./long-replies.ts";
import { SharedMemory } from "./shared-memory.ts";
import { callerGate, greet, ListenerGate } from "./handshake.ts";
import { HandlerTable } from "./handlers.ts";
import type { Expectation } from "./identity-checks.ts";
import type { Peer, PeerIdentity } from "./peer.ts";
import type { Address, Transport } from "./transport.ts";

export { HandlerTable } from "./handlers.ts";
export type { Expectation } from "./identity-checks.ts";

/** What both doors need. */
interface CommonOptions {
  readonly transport: Transport;
  readonly address: Address;
  /** The cluster key; the other side must have the same one, or none as well. */
  readonly key?: Uint8Array | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

export interface ConnectOptions extends CommonOptions {
  /** Who we are. */
  readonly identity: PeerIdentity;
  /** Whom we mean to reach. */
  readonly expect: Expectation;
  /** What we answer on this connection; nothing when left out. */
  readonly handlers?: HandlerTable;
  /** For connecting and the hello together. */
  readonly timeoutMs: number;
}

export interface ListenOptions extends CommonOptions {
  /** Who we are, asked anew for each hello. */
  readonly identity: PeerIdentity | (() => PeerIdentity);
  readonly handlers: HandlerTable;
  /** Called for each peer whose hello is right. Throwing a DfsError refuses it with that error. */
  readonly accept?: (peer: Peer) => void;
}

export interface PeerListener {
  /** The address that peers can connect to, with the port that the system chose when 0 was asked for. */
  readonly address: Address;
  /** The peers whose hello has succeeded and whose connection has not ended. */
  readonly peers: ReadonlySet<Peer>;
  /**
   * Stops listening and closes all connections but those of `spared`, which are left to the caller; resolves when they are
   * gone.
   */
  close(spared?: ReadonlySet<Peer>): Promise<void>;
}

/**
 * Connects to a listener and says hello.
 * @throws DfsError `unreachable`, `timeout`, and what `greet` throws. No connection is left behind then.
 */
export async function connectPeer(options: ConnectOptions): Promise<Peer> {
  const { transport, address, clock, key } = options;
  checkKey(key);
  const startedMs = clock.monotonicMs();
  const connection = new Connection({
    address,
    handlers: options.handlers ?? new HandlerTable(),
    gate: callerGate,
    clock,
    logger: options.logger,
    log: callerLog(options.logger),
  });
  const stream = await transport.connect(address, connection.events, options.timeoutMs);
  connection.attach(stream);
  const leftMs = Math.max(1, options.timeoutMs - (clock.monotonicMs() - startedMs));
  await greet(connection, { ...options, key }, leftMs);
  return connection;
}

/**
 * Listens for peers.
 * @throws DfsError `invalid` for an address that other machines can reach when there is no key; `locked` when the
 * address is in use.
 */
export async function listenPeers(options: ListenOptions): Promise<PeerListener> {
  const { transport, address, key } = options;
  checkKey(key);
  refuseOpenDoor(address, key);
  const connections = new Set<Connection>();
  const peers = new Set<Peer>();
  const log = new ListenerLog(options.logger, options.clock);
  const house = {
    ...options,
    log,
    peers,
    memory: new SharedMemory(),
    longReplies: new LongReplies((callback) =>
      options.clock.setTimer(0, callback, { background: true }),
    ),
    door: new Door(options.clock),
  };
  let closing = false;
  const listener = await transport.listen(address, (stream) => {
    const connection = acceptStream(house, stream.remoteAddress);
    connections.add(connection);
    void connection.gone.then(() => connections.delete(connection));
    connection.attach(stream);
    // Not from inside this call: the stream does not know its owner yet.
    if (closing) queueMicrotask(() => connection.close("the server is shutting down"));
    return connection.events;
  });
  return {
    address: listener.address,
    peers,
    close: async (spared) => {
      closing = true;
      listener.close();
      const ending = [...connections].filter((connection) => spared?.has(connection) !== true);
      for (const connection of ending) connection.close("the server is shutting down");
      await Promise.all(ending.map((connection) => connection.gone));
      log.close();
    },
  };
}

/** What the connections of one listener have in common. */
interface House extends ListenOptions {
  readonly peers: Set<Peer>;
  readonly memory: SharedMemory;
  readonly longReplies: LongReplies;
  readonly door: Door;
  readonly log: ListenerLog;
}

function acceptStream(house: House, remoteAddress: Address): Connection {
  const { identity, handlers, clock, random, logger, log, key, peers, memory, door } = house;
  const { longReplies } = house;
  const gate = new ListenerGate({
    identity: typeof identity === "function" ? identity : () => identity,
    key,
    accept: (peer) => {
      house.accept?.(peer);
      peers.add(peer);
      void peer.closed.then(() => peers.delete(peer));
    },
    clock,
    random,
    log,
  });
  const options = {
    address: remoteAddress,
    handlers,
    gate,
    clock,
    logger,
    log,
    memory,
    longReplies,
  };
  const connection = new Connection(options);
  gate.watch(connection);
  try {
    door.enter(connection, parseAddress(remoteAddress).host);
  } catch (error) {
    if (!isDfsError(error)) throw error;
    queueMicrotask(() => connection.fail(error)); // the stream does not know its owner yet
  }
  return connection;
}

/** Refuses an address that others than this machine can reach, unless there is a key. @throws DfsError `invalid` */
export function refuseOpenDoor(address: Address, key: Uint8Array | undefined): void {
  const { host } = parseAddress(address);
  if (key !== undefined || isLoopback(host)) return;
  throw new DfsError(
    "invalid",
    `cannot listen on ${address} without a cluster key: anybody on the network could connect; ` +
      "make one with dfs key new and give its file to all of the cluster (--key-file), or listen on 127.0.0.1",
  );
}
