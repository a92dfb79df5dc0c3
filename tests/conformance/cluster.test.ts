// The conformance cases against a whole cluster: a metadata server, four data servers and clients in this process.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { join } from "node:path";
import { brokenInvariants } from "../server/meta/namespace/invariants.ts";
import { startCluster, type Cluster } from "../support/cluster.ts";
import { ClientTree } from "./client-tree.ts";
import { runConformance } from "./runner.ts";

/** Small, so that files of a few bytes have several blocks. */
const BLOCK_SIZE = 16;

let cluster: Cluster;
let cases = 0;

beforeAll(async () => {
  cluster = await startCluster({ servers: 4, settings: { blockSize: BLOCK_SIZE } });
});

afterAll(() => cluster.stop());

runConformance("cluster", async () => {
  const tree = await ClientTree.below(`/case-${++cases}`, () => cluster.client());
  return { tree, dispose: () => tree.close() };
});

test("the cases were run against blocks of the size asked for", async () => {
  const client = await cluster.client();
  expect(client.blockSize).toBe(BLOCK_SIZE);
  expect((await client.status()).liveBlocks).toBeGreaterThan(100);
  await client.close();
});

test("the metadata database is sound when all cases have been run", async () => {
  const client = await cluster.client();
  const { blockSize, replicas } = client;
  await client.close();
  await cluster.stopMeta();
  const database = new Database(join(cluster.dir, "meta", "meta.db"), {
    safeIntegers: true,
    strict: true,
  });
  try {
    expect(brokenInvariants(database, { blockSize, replicas })).toEqual([]);
  } finally {
    database.close();
  }
});
