// One server is refilled after it lost its disk and another one is drained, while clients write and servers are killed with
// SIGKILL again and again, the metadata server among them: the work resumes, nothing is lost, and writes never stop.
//
//     DFS_TEST_SEED=4711 DFS_TEST_MOVE_KILLS=100 bin/test tests/scenarios/move-kills.test.ts

import { expect, test } from "bun:test";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { serverId } from "../../src/base/ids.ts";
import { seededRandom, systemRandom } from "../../src/base/random.ts";
import { bytesOf, collected, KiB, MiB, OWNER, patterned, until } from "../support/cluster.ts";
import { copyDifferences } from "../support/held-copies.ts";
import { spawnCluster } from "../support/processes.ts";
import { untilHealed, untilWhole } from "../support/verified-copies.ts";

const SERVERS = 6;
const KILLS = Number(process.env["DFS_TEST_MOVE_KILLS"] ?? 6);
const FILES = 60;
const BLOCK = 16 * KiB;

const content = (path: string): Uint8Array => {
  const seed = bytesOf(path).reduce((sum, byte) => (sum * 31 + byte) % 1_000_003, 7);
  return patterned(4 * BLOCK + (seed % BLOCK), seed);
};

test(
  "a rebuild and a drain that are interrupted by kills of any server resume, and every copy is right in the end",
  async () => {
    const seed = Number(process.env["DFS_TEST_SEED"] ?? systemRandom.below(2 ** 31));
    console.log(`move kills: DFS_TEST_SEED=${seed}, ${KILLS} kills`);
    const random = seededRandom(seed);
    const cluster = await spawnCluster({
      servers: SERVERS,
      settings: { blockSize: BLOCK },
      meta: {
        heartbeatIntervalMs: 100,
        downDelayMs: 400,
        outDelayMs: 3_600_000,
        reaperIntervalMs: 100,
        repairIntervalMs: 100,
        repairBytesPerSecond: MiB, // so that it takes long enough to be interrupted
      },
      data: { segmentBytes: MiB, reserveBytes: 16 * MiB },
    });
    try {
      const client = await cluster.client();
      const paths: string[] = [];
      const put = async (path: string): Promise<void> => {
        await client.put(bytesOf(path), [content(path)], { ...OWNER, keepReplaced: false });
        paths.push(path);
      };
      for (let file = 0; file < FILES; file++) await put(`/f-${file}`);
      const lost = random.below(SERVERS);
      const drained = (lost + 1 + random.below(SERVERS - 1)) % SERVERS;
      await cluster.server(lost).kill();
      await rm(cluster.serverDir(lost), { recursive: true });
      await cluster.startServer(lost, { identity: { recover: lost + 1 } });
      await client.changeServer(serverId(drained + 1), "drain");
      const stop = new AbortController();
      const writing = (async () => {
        for (let file = 0; !stop.signal.aborted; file++) {
          await put(`/new-${file}`);
          await Bun.sleep(50); // the end has to come in sight for what is moved
        }
      })();
      writing.catch(() => undefined); // told below
      for (let kill = 0; kill < KILLS; kill++) {
        await Bun.sleep(random.below(700));
        const index = random.below(SERVERS + 2);
        if (index >= SERVERS) {
          await cluster.meta.kill();
          await cluster.startMeta();
        } else {
          await cluster.server(index).kill();
          await cluster.startServer(index);
        }
      }
      stop.abort();
      await writing;
      await until(
        "the one is refilled and the other empty",
        async () => {
          const { filling, bad } = await client.holdings(serverId(lost + 1));
          const { present, removing } = await client.holdings(serverId(drained + 1));
          return !filling && bad.copies + present.copies + removing.copies === 0;
        },
        120_000,
      );
      await client.changeServer(serverId(drained + 1), "remove");
      await untilHealed(client);
      await untilWhole(client, paths);
      for (const path of paths) {
        const file = await client.open(bytesOf(path));
        expect(Buffer.compare(await collected(file.stream()), content(path))).toBe(0);
        await file.close();
      }
      const servers = await client.servers();
      expect(servers).toHaveLength(SERVERS - 1);
      await client.close();
      await cluster.endServers();
      const ended = servers.map(({ server }) => ({ server, dir: cluster.serverDir(server - 1) }));
      const nothing = { lost: [], lacking: [], unnoticed: [], unrecorded: [] };
      expect(await copyDifferences(join(cluster.dir, "meta"), ended)).toEqual(nothing);
    } finally {
      await cluster.stop();
    }
  },
  KILLS * 5_000 + 300_000,
);
