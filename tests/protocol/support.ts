// What the tests of the wire share: identities, a recorded log, pairs of connected ends over both transports, raw
// streams that speak by hand, and the list of all messages.

import { afterEach } from "bun:test";
import { systemClock, type Clock } from "../../src/base/clock.ts";
import type { DfsError } from "../../src/base/errors.ts";
import { clusterId } from "../../src/base/ids.ts";
import { lineLogger, type Logger } from "../../src/base/logger.ts";
import { seededRandom, systemRandom, type Random } from "../../src/base/random.ts";
import { encodeHead, FRAME_KINDS, parseFrame, type Frame } from "../../src/protocol/cbor.ts";
import {
  connectPeer,
  HandlerTable,
  listenPeers,
  type ConnectOptions,
  type ListenOptions,
  type PeerListener,
} from "../../src/protocol/endpoint.ts";
import { FrameParser } from "../../src/protocol/frame.ts";
import { request, notice, type RequestDefinition } from "../../src/protocol/message.ts";
import type { HelloRequest } from "../../src/protocol/messages/hello.ts";
import type { Peer, PeerIdentity, Role } from "../../src/protocol/peer.ts";
import { record, text, uint, type Item } from "../../src/protocol/schema.ts";
import { memoryNetwork } from "../../src/protocol/transports/memory.ts";
import { tcpTransport } from "../../src/protocol/transports/tcp.ts";
import type { ByteStream, StreamEvents, Transport } from "../../src/protocol/transport.ts";

export const CLUSTER_A = clusterId("000102030405060708090a0b0c0d0e0f");
export const CLUSTER_B = clusterId("ffeeddccbbaa99887766554433221100");
export const TIMEOUT_MS = 120_000;

// Messages of no other use than to be sent by tests, with codes that no message of dfs has.
const value = record({ value: uint() });
export const echo = request(0xf001, "test.echo", value, value);
export const say = request(
  0xf002,
  "test.say",
  record({ text: text(1000) }),
  record({ text: text(1000) }),
);
export const upload = request(0xf003, "test.upload", value, value, "request");
export const download = request(0xf004, "test.download", value, value, "reply");
export const poke = notice(0xf081, "test.poke", value);

export function identity(role: Role, more: Partial<PeerIdentity> = {}): PeerIdentity {
  return {
    role,
    cluster: CLUSTER_A,
    server: undefined,
    incarnation: undefined,
    instance: undefined,
    reign: undefined,
    label: `a test's ${role}`,
    ...more,
  };
}

/** A client's hello, for streams that speak by hand. */
export const helloBody: HelloRequest = {
  version: 1,
  minVersion: 1,
  role: "client",
  cluster: null,
  server: null,
  incarnation: null,
  instance: null,
  reign: null,
  label: "raw",
  nonce: new Uint8Array(32),
  expectedServer: null,
};

/** A logger that keeps its lines. */
export function recordingLogger(): { readonly logger: Logger; readonly lines: string[] } {
  const lines: string[] = [];
  return { lines, logger: lineLogger(systemClock, "test", (line) => lines.push(line), "info") };
}

/** Both transports, each with an address to listen on. */
export const TRANSPORTS: readonly (readonly [name: string, make: () => Transport])[] = [
  ["tcp", () => tcpTransport(systemClock)],
  ["memory", () => memoryNetwork({ clock: systemClock }).transport()],
];

const cleanups: (() => unknown)[] = [];

/** Runs `cleanup` after the test that is running. */
export function later(cleanup: () => unknown): void {
  cleanups.push(cleanup);
}

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Polls until `condition` holds. @throws after a generous time. */
export async function eventually(condition: () => boolean, what: string): Promise<void> {
  const endMs = performance.now() + TIMEOUT_MS;
  while (!condition()) {
    if (performance.now() > endMs) throw new Error(`it did not come to pass that ${what}`);
    await Bun.sleep(1);
  }
}

/** What a promise rejects with. @throws when it resolves. */
export async function failureOf(promise: Promise<unknown>): Promise<DfsError> {
  try {
    await promise;
  } catch (error) {
    return error as DfsError;
  }
  throw new Error("it was expected to fail and did not");
}

export type ListenChanges = Partial<ListenOptions>;
export type ConnectChanges = Partial<ConnectOptions>;

export const DEFAULT_HANDLERS = new HandlerTable();
DEFAULT_HANDLERS.onRequest(echo, ({ body }) => ({ body }));

/** A listener that is closed after the test. */
export async function listenFor(changes: ListenChanges): Promise<PeerListener> {
  const listener = await listenPeers({
    transport: tcpTransport(systemClock),
    address: "127.0.0.1:0",
    identity: identity("data"),
    handlers: DEFAULT_HANDLERS,
    clock: systemClock,
    random: systemRandom,
    logger: recordingLogger().logger,
    ...changes,
  });
  later(() => listener.close());
  return listener;
}

/** A peer that is closed after the test. */
export async function connectTo(address: string, changes: ConnectChanges = {}): Promise<Peer> {
  const peer = await connectPeer({
    transport: tcpTransport(systemClock),
    address,
    identity: identity("client"),
    expect: { role: "data" },
    clock: systemClock,
    random: systemRandom,
    logger: recordingLogger().logger,
    timeoutMs: TIMEOUT_MS,
    ...changes,
  });
  later(() => peer.close("the test is over"));
  return peer;
}

export interface Pair {
  /** The caller's end. */
  readonly caller: Peer;
  /** The listener's end. */
  readonly listenerEnd: Peer;
  readonly listener: PeerListener;
}

/** Two connected ends over `transport`. */
export async function connectedPair(
  transport: Transport,
  handlers: HandlerTable,
  callerHandlers = new HandlerTable(),
  more: { clock?: Clock; logger?: Logger } = {},
): Promise<Pair> {
  const listener = await listenFor({ transport, handlers, ...more });
  const caller = await connectTo(listener.address, {
    transport,
    handlers: callerHandlers,
    ...more,
  });
  const listenerEnd = [...listener.peers][0]!;
  return { caller, listenerEnd, listener };
}

/** A stream on which a test writes and reads frames by hand. */
export class RawPeer {
  stream!: ByteStream;
  readonly frames: Frame[] = [];
  ended = false;
  onFrame: (frame: Frame) => void = () => undefined;
  private readonly parser = new FrameParser(2 ** 31, (buffer, start, end) => {
    const frame = parseFrame(buffer, start, end);
    this.frames.push(frame);
    this.onFrame(frame);
  });
  readonly events: StreamEvents = {
    onData: (chunk) => this.parser.push(chunk),
    onWritable: () => undefined,
    onClose: () => (this.ended = true),
  };

  static async open(transport: Transport, address: string): Promise<RawPeer> {
    const raw = new RawPeer();
    raw.stream = await transport.connect(address, raw.events, TIMEOUT_MS);
    later(() => raw.stream.terminate());
    return raw;
  }

  /** Writes bytes as they are. */
  send(bytes: Uint8Array): void {
    const count = this.stream.write(bytes);
    if (count !== bytes.length)
      throw new Error(`the stream took ${count} of ${bytes.length} bytes`);
  }

  sendFrame(kind: number, id: number, code: number, body: Item, bulk?: Uint8Array): void {
    this.send(framed(encodeHead(kind, id, code, body, bulk?.length), bulk));
  }

  /** Sends a request and waits for the frame that answers it. */
  async ask<Request>(
    id: number,
    definition: RequestDefinition<Request, unknown>,
    body: Request,
  ): Promise<Frame> {
    const answer = () => this.frames.find((frame) => frame.id === id);
    this.sendFrame(FRAME_KINDS.request, id, definition.code, definition.request.encode(body));
    await eventually(() => answer() !== undefined || this.ended, "the request is answered");
    return answer() ?? Promise.reject(new Error("the stream ended"));
  }
}

/** A generator for one random test; its seed is printed, and DFS_TEST_SEED repeats it. */
export function randomFor(what: string): Random {
  const seed = Number(process.env["DFS_TEST_SEED"] ?? systemRandom.below(2 ** 32));
  console.log(`${what}: DFS_TEST_SEED=${seed}`);
  return seededRandom(seed);
}

/** A frame as it stands on the wire. */
export function framed(head: Uint8Array, bulk: Uint8Array = new Uint8Array(0)): Uint8Array {
  const bytes = new Uint8Array(4 + head.length + bulk.length);
  new DataView(bytes.buffer).setUint32(0, head.length + bulk.length);
  bytes.set(head, 4);
  bytes.set(bulk, 4 + head.length);
  return bytes;
}

/** Bytes that differ at every offset within a long stretch; the same for the same arguments. */
export function patterned(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed;
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    bytes[index] = state >>> 16;
  }
  return bytes;
}
