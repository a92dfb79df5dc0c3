/**
 * How fast is the wire? Two processes on this machine, TCP over the loopback, handlers that do nothing.
 *
 *     bin/dfs-bun bench/protocol.ts              all of it, about 20 s
 *     bin/dfs-bun bench/protocol.ts --seconds 1  shorter runs, more noise
 *
 * Prints small requests per second at several depths (requests in flight on one connection), and MB/s of 1 MiB bulk
 * bytes in requests ("put") and in replies ("get"). On a machine of two cores both processes have one each.
 */
import { systemClock } from "../src/base/clock.ts";
import { blockId, inodeId, instanceId, lsn } from "../src/base/ids.ts";
import { silentLogger } from "../src/base/logger.ts";
import { systemRandom } from "../src/base/random.ts";
import { connectPeer, HandlerTable, listenPeers } from "../src/protocol/endpoint.ts";
import { blockGet, blockPut } from "../src/protocol/messages/data.ts";
import { sessionHeartbeat } from "../src/protocol/messages/session.ts";
import type { Peer, PeerIdentity, Role } from "../src/protocol/peer.ts";
import { tcpTransport } from "../src/protocol/transports/tcp.ts";

const MIB = 1024 * 1024;
const SMALL_DEPTHS = [1, 16, 64];
const BULK_DEPTHS = [1, 2, 8];
const WARM_UP_SECONDS = 0.5;
const TIMEOUT_MS = 30_000;

const common = {
  transport: tcpTransport(systemClock),
  clock: systemClock,
  random: systemRandom,
  logger: silentLogger,
};

function identity(role: Role): PeerIdentity {
  return {
    role,
    cluster: undefined,
    server: undefined,
    incarnation: undefined,
    instance: undefined,
    reign: undefined,
    label: "bench",
  };
}

async function serve(): Promise<void> {
  const handlers = new HandlerTable();
  const block = systemRandom.bytes(65536);
  const bulk = new Uint8Array(MIB).map((_, index) => block[index % block.length]!);
  const pieces = new Uint8Array(16 * 8);
  handlers.onRequest(sessionHeartbeat, () => ({ body: { lsn: lsn(1n) } }));
  handlers.onRequest(blockGet, () => ({ body: { blockLength: MIB, pieces }, bulk }));
  handlers.onRequest(blockPut, ({ bulk: { length } }) => ({
    body: { instance: instanceId(1n), sequence: BigInt(length) },
  }));
  const listener = await listenPeers({
    ...common,
    address: "127.0.0.1:0",
    identity: identity("data"),
    handlers,
  });
  process.stdout.write(`${listener.address}\n`);
}

/** Keeps `depth` calls of `once` in flight for a while; returns calls per second. */
async function rate(depth: number, seconds: number, once: () => Promise<unknown>): Promise<number> {
  let done = 0;
  const run = async (forSeconds: number): Promise<number> => {
    const startMs = performance.now();
    const endMs = startMs + forSeconds * 1000;
    done = 0;
    const worker = async (): Promise<void> => {
      while (performance.now() < endMs) {
        await once();
        done++;
      }
    };
    await Promise.all(Array.from({ length: depth }, worker));
    return (done / (performance.now() - startMs)) * 1000;
  };
  await run(WARM_UP_SECONDS);
  return run(seconds);
}

async function measure(peer: Peer, seconds: number): Promise<void> {
  const options = { timeoutMs: TIMEOUT_MS };
  for (const depth of SMALL_DEPTHS) {
    const perSecond = await rate(depth, seconds, () =>
      peer.request(sessionHeartbeat, { acknowledged: 1n }, options),
    );
    console.log(`small requests, depth ${depth}: ${Math.round(perSecond)} per second`);
  }
  const bulk = systemRandom.bytes(65536);
  const block = new Uint8Array(MIB).map((_, index) => bulk[index % bulk.length]!);
  const put = {
    block: blockId(1n),
    length: MIB,
    checksum: 1n,
    inode: inodeId(1n),
    fileOffset: 0,
    pieces: new Uint8Array(16 * 8),
  };
  for (const depth of BULK_DEPTHS) {
    const puts = await rate(depth, seconds, () =>
      peer.request(blockPut, put, { ...options, bulk: block }),
    );
    const get = { block: blockId(1n), offset: 0, length: MIB };
    const gets = await rate(depth, seconds, () => peer.request(blockGet, get, options));
    const shown = [puts, gets].map((each) => Math.round((each * MIB) / 1e6));
    console.log(`1 MiB bulk, depth ${depth}: put ${shown[0]} MB/s, get ${shown[1]} MB/s`);
  }
}

async function main(): Promise<void> {
  const flag = process.argv.indexOf("--seconds");
  const seconds = flag < 0 ? 2 : Number(process.argv[flag + 1]);
  const server = Bun.spawn([process.execPath, import.meta.path, "serve"], {
    stdout: "pipe",
    stderr: "inherit",
  });
  try {
    const reader = server.stdout.getReader();
    const { value } = await reader.read();
    const address = new TextDecoder().decode(value).trim();
    const peer = await connectPeer({
      ...common,
      address,
      identity: identity("client"),
      expect: { role: "data" },
      timeoutMs: TIMEOUT_MS,
    });
    await measure(peer, seconds);
    peer.close("the bench is over");
  } finally {
    server.kill();
    await server.exited;
  }
}

if (process.argv[2] === "serve") await serve();
else await main();
