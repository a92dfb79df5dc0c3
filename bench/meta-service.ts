/**
 * How fast is the metadata service? The server in a process of its own, one client over the loopback, a disk under it.
 *
 *     bin/dfs-bun bench/meta-service.ts                    all of it, about 20 s
 *     bin/dfs-bun bench/meta-service.ts --seconds 1        shorter runs, more noise
 *     bin/dfs-bun bench/meta-service.ts --dir /srv/bench   on the disk that matters; default: the temporary directory
 *
 * Prints creates per second (each durable when it is answered) and getattrs per second at several depths (requests in
 * flight on one connection), with the latency of one request in the middle and at the 99th percentile.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../src/base/clock.ts";
import { ROOT_INODE, type InodeId } from "../src/base/ids.ts";
import { silentLogger } from "../src/base/logger.ts";
import { systemRandom } from "../src/base/random.ts";
import { connectPeer } from "../src/protocol/endpoint.ts";
import { create, getattr, mkdir } from "../src/protocol/messages/namespace.ts";
import { sessionOpen } from "../src/protocol/messages/session.ts";
import type { Peer } from "../src/protocol/peer.ts";
import { tcpTransport } from "../src/protocol/transports/tcp.ts";
import { runMetaServer } from "../src/server/meta/server.ts";

const DEPTHS = [1, 16, 64];
const WARM_UP_SECONDS = 0.5;
const TIMEOUT_MS = 30_000;

/** The process that is measured tells its address with this prefix. */
const READY = "ready ";

if (process.argv[2] === "--serve") {
  await runMetaServer({
    dir: process.argv[3]!,
    logger: silentLogger,
    onReady: ({ address }) => console.log(READY + address),
  });
} else {
  await measure(Number(option("--seconds") ?? 3), option("--dir") ?? tmpdir());
}

async function measure(seconds: number, parent: string): Promise<void> {
  const dir = mkdtempSync(join(parent, "dfs-bench-"));
  const server = Bun.spawn([process.execPath, import.meta.path, "--serve", dir], {
    stdout: "pipe",
    stderr: "inherit",
  });
  try {
    const peer = await connect(await readyAddress(server.stdout));
    await peer.request(sessionOpen, { label: "bench" }, { timeoutMs: TIMEOUT_MS });
    const client = new Client(peer);
    console.log(
      `${"".padEnd(10)}${"in flight".padStart(10)}${"per second".padStart(12)}${"p50 ms".padStart(9)}${"p99 ms".padStart(9)}`,
    );
    const first = await client.makeDirectory("warm-up");
    await run(WARM_UP_SECONDS, 64, () => client.create(first));
    for (const depth of DEPTHS) {
      const directory = await client.makeDirectory(`creates-${depth}`);
      report("create", depth, await run(seconds, depth, () => client.create(directory)));
    }
    for (const depth of DEPTHS) {
      report("getattr", depth, await run(seconds, depth, () => client.getattr(ROOT_INODE)));
    }
  } finally {
    server.kill();
    await server.exited;
    rmSync(dir, { recursive: true });
  }
}

/** A session that numbers its operations; several may be in flight. */
class Client {
  private readonly peer: Peer;
  private operation = 0n;
  private readonly open = new Set<bigint>();

  constructor(peer: Peer) {
    this.peer = peer;
  }

  async makeDirectory(name: string): Promise<InodeId> {
    const place = { parent: ROOT_INODE, name: Buffer.from(name), mode: 0o755, uid: 0, gid: 0 };
    const reply = await this.change((head) =>
      this.peer.request(mkdir, { ...head, ...place }, { timeoutMs: TIMEOUT_MS }),
    );
    return reply.body.attributes.inode;
  }

  async create(parent: InodeId): Promise<void> {
    const birth = { mode: 0o644, uid: 0, gid: 0, base: 0, exclusive: true, open: false };
    await this.change((head) => {
      const name = Buffer.from(`file-${head.operation}`);
      return this.peer.request(
        create,
        { ...head, parent, name, ...birth },
        { timeoutMs: TIMEOUT_MS },
      );
    });
  }

  async getattr(inode: InodeId): Promise<void> {
    await this.peer.request(getattr, { inode }, { timeoutMs: TIMEOUT_MS });
  }

  private async change<T>(
    send: (head: { operation: bigint; acknowledged: bigint }) => Promise<T>,
  ): Promise<T> {
    const operation = ++this.operation;
    this.open.add(operation);
    const [oldest = operation] = this.open;
    const result = await send({ operation, acknowledged: oldest - 1n });
    this.open.delete(operation);
    return result;
  }
}

interface Measured {
  readonly perSecond: number;
  readonly latenciesMs: Float64Array;
}

/** Keeps `depth` requests in flight for `seconds`. */
async function run(
  seconds: number,
  depth: number,
  request: () => Promise<void>,
): Promise<Measured> {
  const latencies: number[] = [];
  const startMs = performance.now();
  const endMs = startMs + seconds * 1000;
  const worker = async (): Promise<void> => {
    for (let nowMs = performance.now(); nowMs < endMs;) {
      await request();
      const doneMs = performance.now();
      latencies.push(doneMs - nowMs);
      nowMs = doneMs;
    }
  };
  await Promise.all(Array.from({ length: depth }, worker));
  const elapsed = (performance.now() - startMs) / 1000;
  return {
    perSecond: latencies.length / elapsed,
    latenciesMs: Float64Array.from(latencies).sort(),
  };
}

function report(what: string, depth: number, { perSecond, latenciesMs }: Measured): void {
  const percentile = (share: number): string =>
    (latenciesMs[Math.floor(latenciesMs.length * share)] ?? 0).toFixed(2);
  console.log(
    what.padEnd(10) +
      String(depth).padStart(10) +
      perSecond.toFixed(0).padStart(12) +
      percentile(0.5).padStart(9) +
      percentile(0.99).padStart(9),
  );
}

function connect(address: string): Promise<Peer> {
  return connectPeer({
    transport: tcpTransport(systemClock),
    address,
    identity: {
      role: "client",
      cluster: undefined,
      server: undefined,
      incarnation: undefined,
      instance: undefined,
      reign: undefined,
      label: "bench",
    },
    expect: { role: "meta" },
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    timeoutMs: TIMEOUT_MS,
  });
}

async function readyAddress(stdout: ReadableStream<Uint8Array>): Promise<string> {
  let text = "";
  for await (const chunk of stdout) {
    text += new TextDecoder().decode(chunk);
    const line = text.split("\n").find((each) => each.startsWith(READY));
    if (line !== undefined && text.includes("\n")) return line.slice(READY.length);
  }
  throw new Error("the server ended before it was ready");
}

function option(name: string): string | undefined {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}
