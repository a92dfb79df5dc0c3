// A cluster whose servers are processes, which can be killed, stopped and continued. They listen on ports that the system
// chose, keep them across restarts, and are gone when `stop` has returned, whatever happened.
//
//     const cluster = await spawnCluster({ servers: 4, settings: { blockSize: 64 * KiB } });
//     cluster.server(2).kill();            // SIGKILL
//     await cluster.startServer(2);

import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ClientOptions, ClientWarning, DfsClient } from "../../src/client/api.ts";
import { connectClient } from "../../src/client/client.ts";
import type { SettingsWish } from "../../src/server/meta/settings.ts";
import { startedFrom, startedWith } from "./bundled-project.ts";
import type { TestClient } from "./cluster.ts";

const RUN_SERVER = join(startedFrom(), "tests/support/run-server.ts");

export interface ProcessClusterOptions {
  /** Data servers; default 4. */
  readonly servers?: number;
  readonly settings?: SettingsWish;
  /** More for the metadata server, as in MetaServerOptions. */
  readonly meta?: Readonly<Record<string, unknown>>;
  /** More for the data servers, as in DataServerOptions. */
  readonly data?: Readonly<Record<string, unknown>>;
  /** The folder in which everything lies; default a new one. It is removed at the end. */
  readonly dir?: string;
  /** Options of the runtime for every server, such as those that make it write a profile. */
  readonly runtime?: readonly string[];
}

/** One server process. */
export class ServerProcess {
  readonly process: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly address: string;
  /** What it has written to standard error up to now: its log. */
  readonly log: () => string;

  constructor(
    process: Bun.Subprocess<"ignore", "pipe", "pipe">,
    address: string,
    log: () => string,
  ) {
    this.process = process;
    this.address = address;
    this.log = log;
  }

  /** Ends it as a crash does, and waits until it is gone. */
  async kill(): Promise<void> {
    this.process.kill("SIGKILL");
    await this.process.exited;
  }

  /** Ends it in good order. */
  async end(): Promise<void> {
    this.process.kill("SIGTERM");
    await this.process.exited;
  }

  /** Makes it stand still, with all its connections open. */
  freeze(): void {
    this.process.kill("SIGSTOP");
  }

  thaw(): void {
    this.process.kill("SIGCONT");
  }
}

export async function spawnCluster(options: ProcessClusterOptions = {}): Promise<ProcessCluster> {
  const dir = options.dir ?? (await mkdtemp(join(tmpdir(), "dfs-processes-")));
  const cluster = new ProcessCluster(dir, options);
  try {
    await cluster.startMeta();
    for (let index = 0; index < (options.servers ?? 4); index++) await cluster.startServer(index);
    return cluster;
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}

export class ProcessCluster {
  readonly dir: string;
  private readonly options: ProcessClusterOptions;
  private readonly servers: ServerProcess[] = [];
  private readonly clients: DfsClient[] = [];
  private metaProcess: ServerProcess | undefined;

  constructor(dir: string, options: ProcessClusterOptions) {
    this.dir = dir;
    this.options = options;
  }

  get meta(): ServerProcess {
    if (this.metaProcess === undefined) throw new Error("the metadata server was never started");
    return this.metaProcess;
  }

  server(index: number): ServerProcess {
    const server = this.servers[index];
    if (server === undefined) throw new Error(`there is no data server with index ${index}`);
    return server;
  }

  /** Directory of a data server. */
  serverDir(index: number): string {
    return join(this.dir, `data-${index}`);
  }

  /** Directory of the metadata server. */
  get metaDir(): string {
    return join(this.dir, "meta");
  }

  /** Starts the metadata server, or starts it again; `more` holds for this run. */
  async startMeta(more: Readonly<Record<string, unknown>> = {}): Promise<void> {
    const { settings = {}, meta = {} } = this.options;
    const run = { dir: this.metaDir, settings, ...meta, ...more };
    this.metaProcess = await launch("meta", run, this.options.runtime);
  }

  /** Starts a data server, or starts it again; `more` holds for this run. */
  async startServer(index: number, more: Readonly<Record<string, unknown>> = {}): Promise<void> {
    const dir = this.serverDir(index);
    const identity = existsSync(dir) ? "present" : "new";
    const options = { dir, meta: this.meta.address, identity, ...this.options.data, ...more };
    this.servers[index] = await launch("data", options, this.options.runtime);
  }

  async client(options: Partial<ClientOptions> = {}): Promise<TestClient> {
    const warnings: ClientWarning[] = [];
    const client = await connectClient({
      metaAddress: this.meta.address,
      label: "test",
      onWarning: (warning) => warnings.push(warning),
      ...options,
    });
    this.clients.push(client);
    return Object.assign(client, { warnings });
  }

  /** Ends all servers in good order, so that their files can be looked at. */
  async endServers(): Promise<void> {
    await Promise.allSettled(this.clients.map((client) => client.close()));
    await Promise.all(this.servers.map((each) => each.end()));
    await this.meta.end();
  }

  /** Ends all processes and removes everything. */
  async stop(): Promise<void> {
    await Promise.allSettled(this.clients.map((client) => client.close()));
    const all = [...this.servers, ...(this.metaProcess === undefined ? [] : [this.metaProcess])];
    await Promise.all(all.map((each) => each.kill()));
    await rm(this.dir, { recursive: true, force: true });
  }
}

async function launch(
  kind: "meta" | "data",
  options: object,
  runtime: readonly string[] = [],
): Promise<ServerProcess> {
  const words = [process.execPath, ...runtime, RUN_SERVER, kind, JSON.stringify(options)];
  const child = Bun.spawn(words, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...startedWith() },
  });
  let log = "";
  const logged = (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of child.stderr) log += decoder.decode(chunk, { stream: true });
  })();
  const lines = child.stdout.getReader();
  let line = "";
  while (!line.includes("\n")) {
    const { done, value } = await lines.read();
    if (done) {
      await logged;
      throw new Error(`the ${kind} server did not start: ${log}`);
    }
    line += new TextDecoder().decode(value);
  }
  lines.releaseLock();
  const { address } = JSON.parse(line) as { address: string };
  return new ServerProcess(child, address, () => log);
}
