// P7: the cluster heals by itself. Real processes; servers are killed for good, bytes rot on their disks.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  bytesOf,
  collected,
  KiB,
  MiB,
  OWNER,
  patterned,
  rotIn,
  until,
  type TestClient,
} from "../support/cluster.ts";
import { spawnCluster, type ProcessCluster } from "../support/processes.ts";
import { untilHealed, untilWhole } from "../support/verified-copies.ts";

setDefaultTimeout(180_000); // whole clusters on a busy machine

const BLOCK = 64 * KiB;

/** Blocks of this size are sent straight out of the log, without a look at their bytes. */
const LARGE_BLOCK = MiB;
const OUT_DELAY_MS = 1_500;

const QUICK = {
  heartbeatIntervalMs: 100,
  downDelayMs: 500,
  outDelayMs: OUT_DELAY_MS,
  reaperIntervalMs: 100,
  repairIntervalMs: 100,
};

async function withCluster(
  meta: Readonly<Record<string, unknown>>,
  work: (cluster: ProcessCluster, client: TestClient) => Promise<void>,
  blockSize = BLOCK,
): Promise<void> {
  const cluster = await spawnCluster({
    servers: 4,
    settings: { blockSize },
    meta: { ...QUICK, ...meta },
    data: { segmentBytes: Math.max(4 * MiB, 2 * blockSize), reserveBytes: 16 * MiB },
  });
  try {
    await work(cluster, await cluster.client());
  } finally {
    await cluster.stop();
  }
}

/** Of one to four blocks; with a name that begins with `large` the blocks are of LARGE_BLOCK. */
const contentOf = (path: string): Uint8Array => {
  const seed = bytesOf(path).reduce((sum, byte) => (sum * 31 + byte) % 1_000_003, 7);
  const block = path.startsWith("/large") ? LARGE_BLOCK : BLOCK;
  return patterned(block + (seed % (3 * block)), seed);
};

async function putAll(client: TestClient, prefix: string, count: number): Promise<string[]> {
  const paths = Array.from({ length: count }, (_, index) => `/${prefix}-${index}`);
  for (const path of paths) {
    await client.put(bytesOf(path), [contentOf(path)], { ...OWNER, keepReplaced: false });
  }
  return paths;
}

async function readsRight(client: TestClient, path: string): Promise<boolean> {
  const file = await client.open(bytesOf(path));
  const bytes = await collected(file.stream());
  await file.close();
  return Buffer.compare(bytes, contentOf(path)) === 0;
}

async function allRight(client: TestClient, paths: readonly string[]): Promise<void> {
  await untilWhole(client, paths);
  for (const path of paths)
    expect({ path, right: await readsRight(client, path) }).toEqual({ path, right: true });
}

async function statesAre(client: TestClient, wanted: readonly string[]): Promise<void> {
  await until(
    `the servers are ${wanted.join()}`,
    async () => (await client.servers()).map(({ state }) => state).join() === wanted.join(),
  );
}

/** Flips a bit in the copy of a file's first block on each of the first `count` servers that have it. */
async function rotCopies(
  cluster: ProcessCluster,
  client: TestClient,
  path: string,
  count: number,
): Promise<void> {
  const [row] = await Array.fromAsync(client.explain(bytesOf(path)));
  for (const { server } of row!.replicas.slice(0, count)) {
    const dir = cluster.serverDir(server - 1);
    expect(await rotIn(dir, contentOf(path).subarray(1000, 1100))).toBe(true);
  }
}

describe("a server that is down", () => {
  test("for a write: a stand-in has the third copy, and nothing is missing", () =>
    withCluster({ outDelayMs: 3_600_000 }, async (cluster, client) => {
      await cluster.server(1).kill();
      await statesAre(client, ["up", "down", "up", "up"]);
      const paths = await putAll(client, "stand-in", 8);
      await allRight(client, paths);
      await cluster.startServer(1);
      await statesAre(client, ["up", "up", "up", "up"]);
      await allRight(client, paths);
    }));

  test("for good: its copies are made again on the others, and everything reads right", () =>
    withCluster({}, async (cluster, client) => {
      const paths = await putAll(client, "kept", 40);
      await cluster.server(2).kill();
      await statesAre(client, ["up", "up", "out", "up"]);
      await untilHealed(client);
      for (const path of paths) {
        for await (const { replicas } of client.explain(bytesOf(path))) {
          const good = replicas.filter(
            ({ state, serverState }) => state === "present" && serverState === "up",
          );
          expect(good.length).toBe(3);
        }
      }
      const cold = await cluster.client();
      for (const path of paths) expect(await readsRight(cold, path)).toBe(true);
      expect(cold.warnings).toEqual([]);
      // It comes back after all: what is too many goes, what is left is right.
      await cluster.startServer(2);
      await statesAre(client, ["up", "up", "up", "up"]);
      await allRight(client, paths);
    }));

  test("with another one: both are silent, which is too many to replace any by itself", () =>
    withCluster({}, async (cluster, client) => {
      const paths = await putAll(client, "kept", 10);
      await Promise.all([cluster.server(0).kill(), cluster.server(3).kill()]);
      await statesAre(client, ["down", "up", "up", "down"]);
      const endMs = performance.now() + 4 * OUT_DELAY_MS;
      await until("four out-delays have passed", () => performance.now() > endMs);
      await statesAre(client, ["down", "up", "up", "down"]);
      expect((await client.status()).repair).toMatchObject({ copiedBlocks: 0, copying: 0 });
      for (const index of [0, 3]) await cluster.startServer(index);
      await statesAre(client, ["up", "up", "up", "up"]);
      await allRight(client, paths);
    }));
});

describe("bytes that rot on a disk", () => {
  test.each([
    [1, "rot", BLOCK],
    [2, "rot", BLOCK],
    [1, "large", LARGE_BLOCK],
    [2, "large", LARGE_BLOCK],
  ])(
    "in %d of three copies of six files (%s, blocks of %d bytes): 18 cold reads are right, and all copies are again",
    (rotten, prefix, blockSize) =>
      withCluster(
        { outDelayMs: 3_600_000 },
        async (cluster, client) => {
          const paths = await putAll(client, prefix, 6);
          for (const path of paths) await rotCopies(cluster, client, path, rotten);
          let wrong = 0;
          for (let round = 0; round < 3; round++) {
            for (const path of paths) {
              const cold = await cluster.client();
              if (!(await readsRight(cold, path))) wrong++;
              await cold.close();
            }
          }
          expect(wrong).toBe(0);
          await allRight(client, paths);
          expect((await client.status()).repair?.copiedBlocks).toBe(6 * rotten);
        },
        blockSize,
      ),
  );
});
