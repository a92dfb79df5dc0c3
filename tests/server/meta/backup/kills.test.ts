// The metadata server and data servers are killed at random moments while backups are made: whatever was backed up before
// can be restored at any time. DFS_TEST_SEED repeats a run.

import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seededRandom } from "../../../../src/base/random.ts";
import { restoreMetadata } from "../../../../src/server/meta/restore.ts";
import { openSqliteStore } from "../../../../src/server/meta/store/sqlite/store.ts";
import { addressesOf, backupFiles, store, wrongFiles } from "../../../support/backups.ts";
import { bytesOf, KiB, OWNER, patterned, until } from "../../../support/cluster.ts";
import { spawnCluster, type ProcessCluster } from "../../../support/processes.ts";

setDefaultTimeout(300_000); // many starts of processes; a busy machine is slow

const ROUNDS = Number(process.env["DFS_TEST_ROUNDS"] ?? 8);
const LONG_VALUES = 160;
const SERVERS = [0, 1, 2, 3];

let cluster: ProcessCluster | undefined;
let folder = "";

afterEach(async () => {
  await cluster?.stop();
  if (folder !== "") rmSync(folder, { recursive: true, force: true });
});

// The command failed as if something had not been found, and the backup was on fewer servers than it should be.
test("a backup that is lost with the metadata service is made again when that is back", async () => {
  cluster = await spawnCluster({ settings: { blockSize: 16 * KiB } });
  const client = await cluster.client();
  const servers = SERVERS.map((index) => cluster!.server(index));
  for (const server of servers) server.freeze(); // it cannot be done before the kill
  const { promise: isUnderWay, resolve } = Promise.withResolvers<void>();
  const making = client.backUpMetadata(() => resolve());
  await isUnderWay;
  await cluster.meta.kill();
  for (const server of servers) server.thaw();
  await cluster.startMeta();
  const made = await making;
  expect(made).toMatchObject({ done: true, wanted: 3, failures: [] });
  expect(made.servers).toHaveLength(3); // it waited for them to register again
});

test("a kill during a backup loses no backup that was made", async () => {
  const seed = Number(process.env["DFS_TEST_SEED"] ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  folder = mkdtempSync(join(tmpdir(), "dfs-backup-kills-"));
  cluster = await spawnCluster({
    settings: { blockSize: 16 * KiB },
    meta: { reaperIntervalMs: 50, heartbeatIntervalMs: 100, downDelayMs: 500 },
    data: { firstContactTimeoutMs: 60_000 },
  });
  const client = await cluster.client();
  await store(client, new Map([["/file-0", patterned(30 * KiB, 1)]]));
  // Long values make a database of several chunks, so that kills fall between them. One file takes only some of them.
  const values = Array.from({ length: LONG_VALUES }, async (_, index) => {
    const path = bytesOf(`/long-${index}`);
    await client.mkdir(path, OWNER);
    await client.xattrSet(path, bytesOf("user.long"), patterned(60 * KiB, index));
  });
  await Promise.all(values);
  let cutOff = 0;
  let newest = (await client.backUpMetadata()).manifest!;

  for (let round = 1; round <= ROUNDS; round++) {
    await store(client, new Map([[`/file-${round}`, patterned(30 * KiB, 1 + round)]]));
    const making = client.backUpMetadata().then(
      ({ manifest }) => manifest ?? undefined,
      () => undefined, // the service or its servers were killed: it may be there or not
    );
    await Bun.sleep(random.below(150));
    const victim = random.below(5);
    if (victim === 4) {
      await cluster.meta.kill();
      cutOff += unfinished(cluster);
      await cluster.startMeta();
    } else {
      await cluster.server(victim).kill();
      cutOff += unfinished(cluster);
      await cluster.startServer(victim);
    }
    const made = await making;
    if (made !== undefined) newest = made;

    const dir = join(folder, `meta-${round}`);
    const restored = await restoreMetadata({
      dir,
      from: addressesOf(cluster, SERVERS),
      onWarning: (message) => expect(message).toBe("no warning"),
    });
    expect(restored.manifest.createdNs >= newest.createdNs).toBe(true);
    newest = restored.manifest; // one that nobody was told of counts as well once it was seen
    const copy = openSqliteStore(join(dir, "meta.db"));
    const { files } = copy.primitives["figures.store"]();
    copy.close();
    expect(files).toBe(restored.manifest.files);
    await until("all data servers are back", async () => {
      const servers = await client.servers();
      return servers.every(({ state }) => state === "up");
    });
  }

  console.log(`${cutOff} copies of backups were not complete when somebody was killed`);

  // Whole ones are all that is left once another has been made.
  const last = await client.backUpMetadata();
  for (const server of last.servers) {
    const names = backupFiles(cluster, server - 1);
    const bytes = names.filter((name) => name.endsWith(".db")).map((name) => name.slice(0, -3));
    const told = names.filter((name) => name.endsWith(".json")).map((name) => name.slice(0, -5));
    expect(bytes).toEqual(told);
    expect(names).toHaveLength(bytes.length + told.length);
  }
  const all = Array.from(
    { length: ROUNDS + 1 },
    (_, round) => [`/file-${round}`, patterned(30 * KiB, 1 + round)] as const,
  );
  expect(await wrongFiles(client, new Map(all))).toEqual([]);
});

/** Files of backups that are there and are no backups yet. */
function unfinished(killed: ProcessCluster): number {
  return SERVERS.flatMap((server) => {
    const names = backupFiles(killed, server);
    return names.filter(
      (name) => name.endsWith(".db") && !names.includes(name.replace(".db", ".json")),
    );
  }).length;
}
