// Several clients work on files at random while servers are killed with SIGKILL and started again at random, one, two
// or all at once. Every read is compared with a model as it comes; at the end all content is, and the copies that data
// servers hold are compared with those on record.
//
// Runs for a quarter of a minute; longer, and with a seed of an earlier run:
//
//     DFS_TEST_SECONDS=300 DFS_TEST_SEED=4711 bin/test tests/scenarios/random-faults.test.ts
//
// A seed repeats the choices, not the times at which they meet each other.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { seededRandom, systemRandom, type Random } from "../../src/base/random.ts";
import type { DfsClient } from "../../src/client/api.ts";
import { KiB, MiB, until, type TestClient } from "../support/cluster.ts";
import { copyDifferences } from "../support/held-copies.ts";
import { RandomFiles } from "../support/random-files.ts";
import { spawnCluster, type ProcessCluster } from "../support/processes.ts";

const SECONDS = Number(process.env["DFS_TEST_SECONDS"] ?? 12);
const SERVERS = 4;
const CLIENTS = 3;
const WORKERS = 5;
const PATHS = 24;
const BLOCK = 8 * KiB;

/** For whatever still has to come to rest at the end. */
const SETTLE_MS = 60_000;

const NO_DIFFERENCES = { lost: [], lacking: [], unnoticed: [], unrecorded: [] };

/** Kills servers and starts them again, until `stop` says so; then all are up. Returns how often each was killed. */
async function faults(
  cluster: ProcessCluster,
  random: Random,
  stop: () => boolean,
): Promise<Record<string, number>> {
  const kills: Record<string, number> = {};
  const restart = async (name: string, kill: () => Promise<void>, start: () => Promise<void>) => {
    kills[name] = (kills[name] ?? 0) + 1;
    await kill();
    await Bun.sleep(random.below(600));
    await start();
  };
  const meta = (): Promise<void> =>
    restart(
      "meta",
      () => cluster.meta.kill(),
      () => cluster.startMeta(),
    );
  const data = (index: number): Promise<void> =>
    restart(
      `data-${index}`,
      () => cluster.server(index).kill(),
      () => cluster.startServer(index),
    );
  while (!stop()) {
    await Bun.sleep(random.below(400));
    const first = random.below(SERVERS);
    const second = (first + 1 + random.below(SERVERS - 1)) % SERVERS;
    const kind = random.below(10);
    if (kind < 4) await data(first);
    else if (kind < 6) await Promise.all([data(first), data(second)]);
    else if (kind < 8) await meta();
    else if (kind < 9) await Promise.all([meta(), data(first)]);
    else await killAll(cluster, kills);
  }
  return kills;
}

async function killAll(cluster: ProcessCluster, kills: Record<string, number>): Promise<void> {
  kills["all"] = (kills["all"] ?? 0) + 1;
  const indexes = Array.from({ length: SERVERS }, (_, index) => index);
  await Promise.all([cluster.meta.kill(), ...indexes.map((index) => cluster.server(index).kill())]);
  await cluster.startMeta();
  await Promise.all(indexes.map((index) => cluster.startServer(index)));
}

/** Waits until all servers are up and nothing is left to be deleted. */
async function settled(client: DfsClient): Promise<void> {
  await until(
    "all servers are up",
    async () => {
      const servers = await client.servers();
      return servers.every((each) => each.state === "up" && each.heardNs !== null);
    },
    SETTLE_MS,
  );
  await until(
    "dead blocks are gone",
    async () => (await client.status()).deadBlocks === 0,
    SETTLE_MS,
  );
}

test(
  "random work on files while servers are killed: nothing acknowledged is lost, and the record of copies is right",
  async () => {
    const seed = Number(process.env["DFS_TEST_SEED"] ?? systemRandom.below(2 ** 31));
    console.log(`random faults: DFS_TEST_SEED=${seed}, ${SECONDS} s`);
    const cluster = await spawnCluster({
      servers: SERVERS,
      settings: { blockSize: BLOCK },
      meta: { reaperIntervalMs: 200, graceMs: 1_000, downDelayMs: 1_000, heartbeatIntervalMs: 200 },
      data: { segmentBytes: MiB, reserveBytes: 64 * MiB },
    });
    try {
      const clients: TestClient[] = [];
      for (let index = 0; index < CLIENTS; index++) {
        // One with little memory, so that transfers wait for each other.
        clients.push(await cluster.client(index === 0 ? { bufferBytes: 8 * BLOCK } : {}));
      }
      const random = seededRandom(seed);
      const files = new RandomFiles({ clients, random, blockSize: BLOCK, paths: PATHS });
      await files.prepare();
      const endMs = performance.now() + SECONDS * 1000;
      let failed = false;
      const stop = (): boolean => failed || performance.now() > endMs;
      const working = files.run(WORKERS, stop).catch((error: unknown) => {
        failed = true;
        throw error;
      });
      working.catch(() => undefined); // awaited when the servers are up again
      const kills = await faults(cluster, seededRandom(seed + 1), stop);
      await working;
      console.log("steps", files.done, "kills", kills, "failed steps", files.failures.length);
      for (const failure of files.failures) console.log(`  ${failure}`);

      await files.verifyAll(clients[1]!);
      for (const client of clients) expect(client.memory.heldBytes).toBe(0);
      const fresh = await cluster.client();
      await files.verifyAll(fresh);
      for (const client of clients) await client.close();
      await settled(fresh);
      const status = await fresh.status();
      const servers = await fresh.servers();
      console.log("blocks", status.blocksByCopies, "missing", status.missingCopies);
      await fresh.close();
      await cluster.endServers();
      const ended = servers.map(({ server }) => ({ server, dir: cluster.serverDir(server - 1) }));
      const found = await copyDifferences(join(cluster.dir, "meta"), ended);
      console.log("late copies", found.unrecorded.length);
      expect({ ...found, unrecorded: [] }).toEqual(NO_DIFFERENCES);
    } finally {
      await cluster.stop();
    }
  },
  SECONDS * 1000 + 240_000,
);
