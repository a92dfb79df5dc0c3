// Servers are killed with SIGKILL again and again while repairs are under way: they resume, and nothing is lost.
//
//     DFS_TEST_SEED=4711 DFS_TEST_REPAIR_KILLS=100 bin/test tests/scenarios/repair-kills.test.ts

import { expect, test } from "bun:test";
import { join } from "node:path";
import { seededRandom, systemRandom } from "../../src/base/random.ts";
import { bytesOf, collected, KiB, MiB, OWNER, patterned, until } from "../support/cluster.ts";
import { copyDifferences } from "../support/held-copies.ts";
import { spawnCluster } from "../support/processes.ts";
import { badCopies, untilHealed, untilWhole } from "../support/verified-copies.ts";

const SERVERS = 5;
const KILLS = Number(process.env["DFS_TEST_REPAIR_KILLS"] ?? 8);
const FILES = 60;
const BLOCK = 16 * KiB;

const content = (index: number): Uint8Array => patterned(5 * BLOCK + index * 100, index + 1);
const paths = Array.from({ length: FILES }, (_, index) => `/f-${index}`);

test(
  "repairs that are interrupted by kills of any server resume, and every copy is right in the end",
  async () => {
    const seed = Number(process.env["DFS_TEST_SEED"] ?? systemRandom.below(2 ** 31));
    console.log(`repair kills: DFS_TEST_SEED=${seed}, ${KILLS} kills`);
    const random = seededRandom(seed);
    const cluster = await spawnCluster({
      servers: SERVERS,
      settings: { blockSize: BLOCK },
      meta: {
        heartbeatIntervalMs: 100,
        downDelayMs: 400,
        outDelayMs: 1_000,
        reaperIntervalMs: 100,
        repairIntervalMs: 100,
        repairBytesPerSecond: 2 * MiB, // so that repairs take long enough to be interrupted
      },
      data: { segmentBytes: MiB, reserveBytes: 16 * MiB },
    });
    try {
      const client = await cluster.client();
      for (const [index, path] of paths.entries()) {
        await client.put(bytesOf(path), [content(index)], { ...OWNER, keepReplaced: false });
      }
      const away = random.below(SERVERS);
      await cluster.server(away).kill();
      await until("its copies are being made elsewhere", async () => {
        return ((await client.status()).repair?.copiedBlocks ?? 0) > 0;
      });
      for (let kill = 0; kill < KILLS; kill++) {
        await Bun.sleep(random.below(700));
        const index = random.below(SERVERS + 3);
        if (index >= SERVERS || index === away) {
          await cluster.meta.kill();
          await cluster.startMeta();
        } else {
          await cluster.server(index).kill();
          await cluster.startServer(index);
        }
      }
      await untilHealed(client);
      const present = await badCopies(client, paths).then((problems) =>
        problems.filter((each) => !each.includes("has copies")),
      );
      // Copies on the server that is away cannot be read, and are on record until it is back.
      expect(present.filter((each) => !each.includes(`on server ${away + 1}:`))).toEqual([]);
      await cluster.startServer(away);
      await until("all servers are up", async () => {
        return (await client.servers()).every(({ state }) => state === "up");
      });
      await untilWhole(client, paths);
      for (const [index, path] of paths.entries()) {
        const file = await client.open(bytesOf(path));
        expect(Buffer.compare(await collected(file.stream()), content(index))).toBe(0);
        await file.close();
      }
      const servers = await client.servers();
      await client.close();
      await cluster.endServers();
      const ended = servers.map(({ server }) => ({ server, dir: cluster.serverDir(server - 1) }));
      const nothing = { lost: [], lacking: [], unnoticed: [], unrecorded: [] };
      expect(await copyDifferences(join(cluster.dir, "meta"), ended)).toEqual(nothing);
    } finally {
      await cluster.stop();
    }
  },
  KILLS * 5_000 + 240_000,
);
