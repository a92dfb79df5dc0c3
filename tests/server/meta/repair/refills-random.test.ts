// Whatever happens while servers are refilled, every block has its copies in the end, where the placement table wants them.

import { test } from "bun:test";
import { isDfsError } from "../../../../src/base/errors.ts";
import { ROOT_INODE, type InodeId } from "../../../../src/base/ids.ts";
import { seededRandom, systemRandom } from "../../../../src/base/random.ts";
import { explain, setServer } from "../../../../src/protocol/messages/cluster.ts";
import { unlink } from "../../../../src/protocol/messages/namespace.ts";
import type { TestDataServer } from "../support/data-server.ts";
import { until } from "../support/durable.ts";
import { withFiles, type Cluster } from "../support/refill-cluster.ts";
import { text } from "../support/service.ts";

/** What may not be done with a server as it is. */
function refused(error: unknown): void {
  if (!isDfsError(error, "invalid")) throw error;
}

const FILES = 6;
const BLOCKS_IN_FILE = 400;
const EVENTS = 25;

/** Whether the copies of a file are where the placement table wants them, and nowhere else. */
async function isWhereWanted({ client, data }: Cluster, inode: InodeId): Promise<boolean> {
  const { rows } = await client.ask(explain, { inode, offset: 0, limit: BLOCKS_IN_FILE });
  return rows.every(({ block, wanted }) => {
    const holders = data.filter(({ held }) => held.has(block)).map(({ id }) => id);
    return Bun.deepEquals(
      holders,
      wanted.toSorted((one, other) => one - other),
    );
  });
}

test("servers lose their disks, go away and come back, copies rot and files are removed", async () => {
  const seed = Number(process.env["DFS_TEST_SEED"] ?? systemRandom.below(2 ** 31));
  console.log(`DFS_TEST_SEED=${seed}`);
  const random = seededRandom(seed);
  await withFiles(
    0,
    async (cluster) => {
      const { data, client, address } = cluster;
      const files = new Map<string, InodeId>();
      for (let at = 0; at < FILES; at++) {
        files.set(`f${at}`, (await cluster.put(`f${at}`, BLOCKS_IN_FILE)).inode);
      }
      const isAway = (server: TestDataServer): boolean => server.peer === undefined;
      let drained: TestDataServer | undefined;
      for (let event = 0; event < EVENTS; event++) {
        const server = data[random.below(data.length)]!;
        const isAnyAway = data.some(isAway);
        const kind = random.below(10);
        if (isAway(server)) await server.restart(address);
        else if (kind < 3 && !isAnyAway) await server.kill();
        else if (kind < 6 && (await cluster.isWhole(files.size * BLOCKS_IN_FILE))) {
          // One disk at a time, so that no block loses its last copy.
          const other = data[(data.indexOf(server) + 1) % data.length]!;
          const some = [...other.held.keys()].filter(() => random.below(50) === 0);
          for (const block of some) other.rotten.add(block);
          await cluster.loseDisk(server);
        } else if (kind === 7 && files.size > 2) {
          const [name] = files.keys();
          files.delete(name!);
          await client.change(unlink, { parent: ROOT_INODE, name: text(name!) });
        } else if (kind > 7) {
          const change = drained === undefined ? "drain" : "undrain";
          const which = drained ?? server;
          // It may be away by now, or have come back to where it was.
          await client.ask(setServer, { server: which.id, change }).catch(refused);
          drained = drained === undefined ? server : undefined;
        }
        await Bun.sleep(random.below(40));
      }
      for (const server of data.filter(isAway)) await server.restart(address);
      if (drained !== undefined) {
        await client.ask(setServer, { server: drained.id, change: "undrain" }).catch(refused);
      }
      // A place that is taken by a copy that has to go first is seen when that has gone.
      await until(async () => {
        if (!(await cluster.isWhole(files.size * BLOCKS_IN_FILE))) return false;
        for (const inode of files.values())
          if (!(await isWhereWanted(cluster, inode))) return false;
        return true;
      });
    },
    { servers: 5, moveMisplaced: true },
  );
}, 60_000);
