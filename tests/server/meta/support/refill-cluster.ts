/** A cluster in which a data server loses its disk, for tests of how it is refilled. */
import { incarnationId } from "../../../../src/base/ids.ts";
import { decodeRows, groupOf } from "../../../../src/base/placement.ts";
import { systemRandom } from "../../../../src/base/random.ts";
import { holdings, placement, status } from "../../../../src/protocol/messages/cluster.ts";
import type { MetaServerOptions } from "../../../../src/server/meta/server.ts";
import { TestDataServer } from "./data-server.ts";
import { temporaryDirectory, until } from "./durable.ts";
import { startMeta, TestClient } from "./service.ts";

/** Enough for some orders of the most blocks that one may have; a file has no more. */
export const BLOCKS = 2_000;

export class Cluster {
  readonly address: string;
  readonly data: readonly TestDataServer[];
  readonly client: TestClient;

  constructor(address: string, data: readonly TestDataServer[], client: TestClient) {
    this.address = address;
    this.data = data;
    this.client = client;
  }

  /** Stores a file of so many blocks, with copies where the placement table wants them. */
  async put(name: string, blocks: number): ReturnType<TestClient["put"]> {
    const { client, data } = this;
    const { table, width } = await client.ask(placement, {});
    const rows = decodeRows(table, width);
    return client.put(name, data, blocks, 8, undefined, (index) =>
      rows[groupOf(0, index)]!.map((id) => data.find((server) => server.id === id)!),
    );
  }

  /** The server that will lose its disk. */
  get lost(): TestDataServer {
    return this.data[0]!;
  }

  /** It dies and comes back with an empty one. */
  async loseDisk(lost = this.lost): Promise<void> {
    const { address } = this;
    await lost.kill();
    lost.held.clear();
    lost.rotten.clear();
    lost.recovered = true;
    lost.incarnation = incarnationId(systemRandom.id64());
    await lost.restart(address);
  }

  async whenFilled(): Promise<void> {
    const { client, lost } = this;
    await until(async () => !(await client.ask(holdings, { server: lost.id })).filling);
  }

  /** Every block has its copies, and nothing is to be done any more. */
  async isWhole(blocks: number): Promise<boolean> {
    const { blocksByCopies, missingCopies, repair } = await this.client.ask(status, {});
    return blocksByCopies[3] === blocks && missingCopies === 0 && repair?.queue.length === 0;
  }

  async whenWhole(blocks: number): Promise<void> {
    await until(() => this.isWhole(blocks));
  }
}

/** A cluster of three servers, or more, with files of so many blocks, each where the placement table wants it. */
export async function withFiles(
  blocks: number,
  work: (cluster: Cluster) => Promise<void>,
  { servers = 3, ...options }: Partial<MetaServerOptions> & { readonly servers?: number } = {},
): Promise<void> {
  using dir = temporaryDirectory();
  const settings = { settings: { blockSize: 8 }, repairIntervalMs: 1, downDelayMs: 60_000 };
  const meta = await startMeta(dir.path, { ...settings, ...options });
  try {
    const { address } = meta;
    const data: TestDataServer[] = [];
    for (let index = 0; index < servers; index++) data.push(await TestDataServer.join(address));
    const client = await TestClient.open(address);
    const cluster = new Cluster(address, data, client);
    for (let at = 0; at < blocks; at += BLOCKS) {
      await cluster.put(`f${at}`, Math.min(BLOCKS, blocks - at));
    }
    await work(cluster);
  } finally {
    await meta.stop();
  }
}
