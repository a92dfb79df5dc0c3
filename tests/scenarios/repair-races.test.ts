// Files are removed and replaced while repairs are under way and while servers that were out come back: a removed file's
// block does not come back, no copy of a living one is removed below three, and the record and what servers hold agree.
//
// Writes happen while all servers are up, so that nothing but repairs and deletions can make the two differ.
//
//     DFS_TEST_SEED=4711 DFS_TEST_ROUNDS=20 bin/test tests/scenarios/repair-races.test.ts

import { expect, test } from "bun:test";
import { join } from "node:path";
import { seededRandom, systemRandom, type Random } from "../../src/base/random.ts";
import {
  bytesOf,
  collected,
  KiB,
  MiB,
  OWNER,
  patterned,
  until,
  type TestClient,
} from "../support/cluster.ts";
import { copyDifferences } from "../support/held-copies.ts";
import { spawnCluster, type ProcessCluster } from "../support/processes.ts";
import { untilWhole } from "../support/verified-copies.ts";

const SERVERS = 5;
const ROUNDS = Number(process.env["DFS_TEST_ROUNDS"] ?? 4);
const FILES_A_ROUND = 40;
const BLOCK = 8 * KiB;
const NOTHING = { lost: [], lacking: [], unnoticed: [], unrecorded: [] };

/** What is stored, by path. */
type Files = Map<string, Uint8Array>;

async function putSome(client: TestClient, files: Files, random: Random, round: number) {
  for (let index = 0; index < FILES_A_ROUND; index++) {
    const path = `/f-${round}-${index}`;
    const content = patterned(1 + random.below(6 * BLOCK), 1 + random.below(2 ** 30));
    await client.put(bytesOf(path), [content], { ...OWNER, keepReplaced: false });
    files.set(path, content);
  }
}

/** Removes files one after the other, with pauses, until `stop` says so or few are left. */
async function removeSome(client: TestClient, files: Files, random: Random, stop: () => boolean) {
  while (!stop() && files.size > FILES_A_ROUND / 4) {
    const paths = [...files.keys()];
    const path = paths[random.below(paths.length)]!;
    await client.unlink(bytesOf(path));
    files.delete(path);
    await Bun.sleep(random.below(60));
  }
}

/** A server goes out, and comes back while files are removed. Returns the copies that were made meanwhile, at least. */
async function awayAndBack(cluster: ProcessCluster, client: TestClient, random: Random) {
  const first = random.below(SERVERS);
  await cluster.server(first).kill();
  const copiedBefore = (await client.status()).repair?.copiedBlocks ?? 0;
  if (random.below(3) > 0) {
    // Comes back at any moment between being missed and being replaced altogether.
    const enough = copiedBefore + random.below(60);
    await until("some copies have been made elsewhere", async () => {
      const isOut = (await client.servers())[first]!.state === "out";
      const { repair } = await client.status();
      return repair!.copiedBlocks > enough || (isOut && repair!.queue.length === 0);
    });
  }
  await Bun.sleep(random.below(400));
  const copied = ((await client.status()).repair?.copiedBlocks ?? 0) - copiedBefore;
  if (random.below(3) === 0) {
    await cluster.meta.kill();
    await cluster.startMeta();
  }
  await cluster.startServer(first);
  await Bun.sleep(random.below(300));
  if (random.below(2) === 0) {
    await cluster.server(first).kill();
    await cluster.startServer(first);
  }
  return copied;
}

test(
  "deletions that race with repairs and with servers that come back bring nothing back and take nothing away",
  async () => {
    const seed = Number(process.env["DFS_TEST_SEED"] ?? systemRandom.below(2 ** 31));
    console.log(`repair races: DFS_TEST_SEED=${seed}, ${ROUNDS} rounds`);
    const random = seededRandom(seed);
    const cluster = await spawnCluster({
      servers: SERVERS,
      settings: { blockSize: BLOCK },
      meta: {
        heartbeatIntervalMs: 50,
        downDelayMs: 200,
        outDelayMs: 500,
        reaperIntervalMs: 30,
        repairIntervalMs: 50,
        repairBytesPerSecond: MiB,
      },
      data: { segmentBytes: MiB, reserveBytes: 16 * MiB },
    });
    const files: Files = new Map();
    let copied = 0;
    try {
      const client = await cluster.client();
      for (let round = 0; round < ROUNDS; round++) {
        await until("all servers are up", async () => {
          return (await client.servers()).every(({ state }) => state === "up");
        });
        await putSome(client, files, random, round);
        let over = false;
        const removing = removeSome(client, files, seededRandom(seed + round), () => over);
        removing.catch(() => undefined); // awaited when the servers are back
        copied += await awayAndBack(cluster, client, random);
        over = true;
        await removing;
      }
      await until("all servers are up", async () => {
        return (await client.servers()).every(({ state }) => state === "up");
      });
      await untilWhole(client, [...files.keys()]);
      for (const [path, content] of files) {
        const file = await client.open(bytesOf(path));
        expect(Buffer.compare(await collected(file.stream()), content)).toBe(0);
        await file.close();
      }
      console.log("files", files.size, "copies made while a server was away", copied);
      const servers = await client.servers();
      await client.close();
      await cluster.endServers();
      const ended = servers.map(({ server }) => ({ server, dir: cluster.serverDir(server - 1) }));
      expect(await copyDifferences(join(cluster.dir, "meta"), ended)).toEqual(NOTHING);
    } finally {
      await cluster.stop();
    }
  },
  ROUNDS * 60_000 + 120_000,
);
