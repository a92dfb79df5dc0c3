/** A metadata service over real sockets with data servers in memory, and runs of fsck on it. */
import { Database } from "bun:sqlite";
import { join } from "node:path";
import {
  fsckPoll,
  fsckStart,
  fsckStop,
  type FsckFinding,
} from "../../../../src/protocol/messages/fsck.ts";
import type { RequestOf } from "../../../../src/protocol/message.ts";
import type { MetaServer, MetaServerOptions } from "../../../../src/server/meta/server.ts";
import { temporaryDirectory } from "../support/durable.ts";
import { TestDataServer } from "../support/data-server.ts";
import { startMeta, TestClient } from "../support/service.ts";

const OPTIONS: Partial<MetaServerOptions> = {
  settings: { blockSize: 8 },
  outDelayMs: 3_600_000,
  moveMisplaced: false,
};

export interface Cluster {
  readonly dir: string;
  meta: MetaServer;
  client: TestClient;
  readonly data: TestDataServer[];
}

export async function withCluster(
  count: number,
  work: (cluster: Cluster) => Promise<void>,
  options: Partial<Parameters<typeof startMeta>[1]> = {},
): Promise<void> {
  using dir = temporaryDirectory();
  const meta = await startMeta(dir.path, { ...OPTIONS, ...options });
  const data: TestDataServer[] = [];
  for (let index = 0; index < count; index++) data.push(await TestDataServer.join(meta.address));
  const client = await TestClient.open(meta.address);
  const cluster = { dir: dir.path, meta, client, data };
  try {
    await work(cluster);
  } finally {
    cluster.client.peer.close("the test is over");
    await cluster.meta.stop();
  }
}

/** Changes the database behind everybody's back, while nobody serves from it. */
export async function damage(cluster: Cluster, sql: string): Promise<void> {
  await cluster.meta.stop();
  const database = new Database(join(cluster.dir, "meta.db"));
  database.run(sql);
  database.close();
  cluster.meta = await startMeta(cluster.dir, OPTIONS);
  for (const server of cluster.data) await server.restart(cluster.meta.address);
  cluster.client = await cluster.client.resume(cluster.meta.address);
}

export type Wish = Partial<RequestOf<typeof fsckStart>>;

/** A whole run; its findings, without the note that the tests put copies wherever they like. */
export async function run(client: TestClient, wish: Wish = {}): Promise<FsckFinding[]> {
  return (await runWhole(client, wish)).filter(({ kind }) => kind !== "misplaced");
}

/** A whole run; its findings, in the order in which they were told. */
export async function runWhole(client: TestClient, wish: Wish = {}): Promise<FsckFinding[]> {
  const start = { level: "full", inode: null, dryRun: false, patienceMs: 10_000, ...wish } as const;
  const { run: id } = await client.ask(fsckStart, start);
  const all: FsckFinding[] = [];
  for (;;) {
    const page = await client.ask(fsckPoll, { run: id, after: all.length });
    all.push(...page.findings);
    if (page.finished) break;
    await Bun.sleep(10);
  }
  await client.ask(fsckStop, { run: id });
  return all;
}

/** "corrected rottenCopy /f 2" of each: outcome, kind, path, server. */
export const shown = (findings: readonly FsckFinding[]): string[] =>
  findings
    .map(({ outcome, kind, path, server }) => {
      const name = path === null ? "-" : Buffer.from(path).toString();
      return `${outcome} ${kind} ${name} ${server ?? "-"}`;
    })
    .sort();

export const firstThree = ({ data }: Cluster): TestDataServer[] => data.slice(0, 3);
