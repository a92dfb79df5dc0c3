// A whole cluster for tests: a metadata server, data servers and clients, real ones, on directories of their own.
//
//     const cluster = await startCluster({ servers: 4, settings: { blockSize: 64 * KiB } });
//     const client = await cluster.client();
//     ...
//     await cluster.stop();
//
// `startCluster` runs everything in this process, over the memory transport (with partitions and cut connections) or
// over TCP. processes.ts runs each server as a process of its own, which can be killed.

import { mkdtemp, open, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger, type Logger } from "../../src/base/logger.ts";
import { systemRandom } from "../../src/base/random.ts";
import type { ClientOptions, ClientWarning, DfsClient } from "../../src/client/api.ts";
import { connectClient } from "../../src/client/client.ts";
import type { Transport } from "../../src/protocol/transport.ts";
import { memoryNetwork, type MemoryNetwork } from "../../src/protocol/transports/memory.ts";
import { tcpTransport } from "../../src/protocol/transports/tcp.ts";
import { startDataServer, type DataServer } from "../../src/server/data/server.ts";
import type { DataServerOptions } from "../../src/server/data/options.ts";
import {
  startMetaServer,
  type MetaServer,
  type MetaServerOptions,
} from "../../src/server/meta/server.ts";
import { pauseMs } from "./pause.ts";

export const KiB = 1024;
export const MiB = 1024 * KiB;

/** Longest wait for something that must happen. */
const PATIENCE_MS = 20_000;

export interface ClusterOptions {
  /** Data servers; default 4. */
  readonly servers?: number;
  readonly settings?: MetaServerOptions["settings"];
  /** Default "memory". */
  readonly transport?: "memory" | "tcp";
  /** The cluster key. */
  readonly key?: Uint8Array;
  /** Let data servers damage their copies on purpose. */
  readonly allowFaults?: boolean;
  /** More for the metadata server. */
  readonly meta?: Partial<MetaServerOptions>;
  /** More for each data server. */
  readonly data?: Partial<DataServerOptions>;
  readonly logger?: Logger;
}

/** A client that remembers its warnings. */
export interface TestClient extends DfsClient {
  readonly warnings: ClientWarning[];
}

/** One data server of a cluster. */
export interface TestServer {
  /** Its place among the cluster's servers, from 0. Its id is in `server.server`. */
  readonly index: number;
  readonly dir: string;
  /** Node on the memory network, for partitions. */
  readonly node: string;
  readonly running: DataServer | undefined;
}

export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const cluster = new Cluster(await mkdtemp(join(tmpdir(), "dfs-cluster-")), options);
  try {
    await cluster.startMeta();
    for (let index = 0; index < (options.servers ?? 4); index++) await cluster.addServer();
    return cluster;
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}

export class Cluster {
  readonly dir: string;
  /** Of the memory transport. */
  readonly network: MemoryNetwork;
  readonly servers: TestServer[] = [];
  meta: MetaServer | undefined;
  metaAddress = "";
  private readonly options: ClusterOptions;
  private readonly clients: DfsClient[] = [];

  constructor(dir: string, options: ClusterOptions) {
    this.dir = dir;
    this.options = options;
    this.network = memoryNetwork({ clock: systemClock });
  }

  /** The transport as the node `name` has it. */
  transport(name: string): Transport {
    return this.options.transport === "tcp"
      ? tcpTransport(systemClock)
      : this.network.transport(name);
  }

  /** A new client of this cluster. */
  async client(options: Partial<ClientOptions> = {}, transport?: Transport): Promise<TestClient> {
    const warnings: ClientWarning[] = [];
    const { key } = this.options;
    const client = await connectClient(
      {
        metaAddress: this.metaAddress,
        ...(key === undefined ? {} : { key }),
        label: "test",
        onWarning: (warning) => warnings.push(warning),
        ...options,
      },
      {
        transport: transport ?? this.transport("client"),
        clock: systemClock,
        random: systemRandom,
        logger: this.logger,
      },
    );
    this.clients.push(client);
    return Object.assign(client, { warnings });
  }

  /** Starts the metadata server, at its former address if it had one. */
  async startMeta(): Promise<void> {
    const { settings, meta } = this.options;
    this.meta = await startMetaServer({
      dir: join(this.dir, "meta"),
      listen: this.metaAddress === "" ? "127.0.0.1:0" : this.metaAddress,
      transport: this.transport("meta"),
      key: this.options.key,
      logger: this.logger,
      ...(settings === undefined ? {} : { settings }),
      ...meta,
    });
    this.metaAddress = this.meta.address;
  }

  async stopMeta(): Promise<void> {
    const { meta } = this;
    this.meta = undefined;
    await meta?.stop();
  }

  /** Adds a data server and starts it. */
  async addServer(): Promise<TestServer> {
    const index = this.servers.length;
    const node = `data-${index}`;
    this.servers.push({ index, dir: join(this.dir, node), node, running: undefined });
    return this.startServer(index, true);
  }

  /** Starts a data server that is stopped. */
  async startServer(index: number, isNew = false): Promise<TestServer> {
    const server = this.server(index);
    const running = await startDataServer({
      dir: server.dir,
      meta: this.metaAddress,
      identity: isNew ? "new" : "present",
      transport: this.transport(server.node),
      key: this.options.key,
      logger: this.logger,
      allowFaults: this.options.allowFaults,
      ...this.options.data,
    });
    this.servers[index] = { ...server, running };
    return this.server(index);
  }

  async stopServer(index: number): Promise<void> {
    const server = this.server(index);
    this.servers[index] = { ...server, running: undefined };
    await server.running?.stop();
  }

  server(index: number): TestServer {
    const server = this.servers[index];
    if (server === undefined) throw new Error(`there is no data server with index ${index}`);
    return server;
  }

  /** Ends everything and removes the directory. */
  async stop(): Promise<void> {
    await Promise.allSettled(this.clients.map((client) => client.close()));
    await Promise.all(this.servers.map(({ index }) => this.stopServer(index)));
    await this.stopMeta();
    await rm(this.dir, { recursive: true, force: true });
  }

  private get logger(): Logger {
    return this.options.logger ?? silentLogger;
  }
}

/** Waits until `condition` holds, looking often. @throws Error when it does not come to hold for a long time. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const startMs = performance.now();
  while (!(await condition())) {
    const waitedMs = performance.now() - startMs;
    if (waitedMs > patienceMs) throw new Error(`waited in vain for: ${what}`);
    await Bun.sleep(pauseMs(waitedMs));
  }
}

/** All bytes of a stream. */
export async function collected(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** A path or name as bytes. */
export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** `length` bytes that look random and are the same for the same seed. */
export function patterned(length: number, seed = 1): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  let word = Math.imul(seed, 0x9e3779b1) | 1;
  for (let at = 0; at < words.length; at++) {
    word ^= word << 13; // xorshift32 by George Marsaglia
    word ^= word >>> 17;
    word ^= word << 5;
    words[at] = word;
  }
  return new Uint8Array(words.buffer, 0, length);
}

/** Owner and mode for files in tests. */
export const OWNER = { mode: 0o644, uid: 1000, gid: 1000 };

/**
 * Flips a bit in a data server's files, in the first place that holds `needle`. Returns false when there is none.
 * The server may be running: it reads its files anew each time.
 */
export async function rotIn(dir: string, needle: Uint8Array): Promise<boolean> {
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const at = Buffer.from(await readFile(path)).indexOf(needle);
    if (at < 0) continue;
    const file = await open(path, "r+");
    await file.write(Uint8Array.of(needle[0]! ^ 0x10), 0, 1, at);
    await file.close();
    return true;
  }
  return false;
}
