// Backups by themselves: when they are made, where they go when servers are missing or full, what is told of them.

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { serverId } from "../../../../src/base/ids.ts";
import { backupName } from "../../../../src/base/backup.ts";
import type { BackupStatus } from "../../../../src/protocol/messages/backup.ts";
import { assess } from "../../../../src/tools/shared/health.ts";
import { backupLine, backupTroubles } from "../../../../src/tools/shared/backup-words.ts";
import { backupFiles, store } from "../../../support/backups.ts";
import { patterned, startCluster, until, type Cluster } from "../../../support/cluster.ts";
import { messageOfFailure } from "../../../support/failure.ts";
import { spawnCluster, type ProcessCluster } from "../../../support/processes.ts";

setDefaultTimeout(60_000);

const running: (Cluster | ProcessCluster)[] = [];

afterEach(async () => {
  await Promise.all(running.splice(0).map((cluster) => cluster.stop()));
});

describe("a metadata server", () => {
  test("backs itself up when the interval has passed and something has changed", async () => {
    const cluster = await startCluster({
      meta: { backupIntervalMs: 300, heartbeatIntervalMs: 50 },
    });
    running.push(cluster);
    const client = await cluster.client();
    await until("three servers have a backup", async () => {
      const { backup } = await client.status(); // one after the other they take it
      return backup?.servers.length === 3;
    });
    const first = (await client.status()).backup!;
    expect(first.servers).toHaveLength(3);
    expect(first.wanted).toBe(3);
    await store(client, new Map([["/file", patterned(1000)]]));
    await until("there is a newer one with the file", async () => {
      const { backup } = await client.status();
      return backup!.newest!.files === 1 && backup!.newest!.backup !== first.newest!.backup;
    });
  });

  test("knows after a restart what data servers hold", async () => {
    const cluster = await startCluster({ meta: { heartbeatIntervalMs: 50 } });
    running.push(cluster);
    const client = await cluster.client();
    const made = await client.backUpMetadata();
    await cluster.stopMeta();
    await cluster.startMeta();
    await until("it was told by all", async () => {
      const { backup } = await client.status();
      return backup?.newest?.backup === made.backup && backup.servers.length === 3;
    });
    expect((await client.status()).backup!.servers).toEqual(made.servers);
  });

  test("says so when nobody takes a backup, and makes one when somebody does", async () => {
    const cluster = await startCluster({
      servers: 0,
      meta: { heartbeatIntervalMs: 50, backupIntervalMs: 200 },
    });
    running.push(cluster);
    const client = await cluster.client();
    expect(await messageOfFailure(client.backUpMetadata())).toContain(
      "no data server is connected",
    );
    const { backup } = await client.status();
    expect(backup!.failure).toContain("no data server is connected");
    expect(backupTroubles(backup!)[0]).toContain("the metadata could not be backed up");
    await cluster.addServer();
    await until("there is a backup", async () => {
      const status = (await client.status()).backup!;
      return status.newest !== null && status.failure === null && status.wanted === 1;
    });
  });

  test("does not count on a server that was removed", async () => {
    const cluster = await startCluster({ meta: { heartbeatIntervalMs: 50 } });
    running.push(cluster);
    const client = await cluster.client();
    const [first, ...others] = (await client.backUpMetadata()).servers;
    await client.changeServer(first!, "drain");
    await client.changeServer(first!, "remove");
    expect((await client.status()).backup).toMatchObject({ servers: others, wanted: 3 });
  });

  test("two who ask at once get one backup", async () => {
    const cluster = await startCluster({ meta: { heartbeatIntervalMs: 50 } });
    running.push(cluster);
    const [one, other] = await Promise.all([cluster.client(), cluster.client()]);
    const made = await Promise.all([one.backUpMetadata(), other.backUpMetadata()]);
    expect(made[0].backup).toBe(made[1].backup);
  });
});

test("a server without room is passed over for another one", async () => {
  const cluster = await spawnCluster({ servers: 3, settings: { blockSize: 4096 } });
  running.push(cluster);
  const huge = { reserveBytes: 2 ** 50 };
  await cluster.server(0).end();
  await cluster.startServer(0, huge);
  await cluster.startServer(3);
  const client = await cluster.client();
  await until("all are up", async () => {
    const servers = await client.servers();
    return servers.length === 4 && servers.every(({ state }) => state === "up");
  });
  const made = await client.backUpMetadata();
  expect(made.servers as number[]).toEqual([2, 3, 4]);
  expect(backupFiles(cluster, 0)).toEqual([]);
  const name = backupName(made.backup);
  expect(backupFiles(cluster, 3)).toEqual([`${name}.db`, `${name}.json`]);
  // With two servers left that have room it is on two, and that is said.
  await cluster.server(3).end();
  await until("one is not up", async () => {
    const servers = await client.servers();
    return servers.some(({ state }) => state !== "up");
  });
  const fewer = await client.backUpMetadata();
  expect(fewer.servers as number[]).toEqual([2, 3]);
  expect(fewer.failures.map(({ server }) => server as number)).toEqual([1]);
  expect(fewer.failures[0]!.reason).toContain("no room");
});

describe("dfs status", () => {
  const status: BackupStatus = {
    newest: {
      backup: 5n,
      createdNs: 1_000_000_000_000n,
      lsn: 7n as never,
      length: 4096,
      files: 3,
    },
    servers: [serverId(1), serverId(3)],
    wanted: 3,
    intervalMs: 3_600_000,
    overdue: false,
    failure: null,
    quarantined: 0,
    untold: [],
  };

  test("tells how old the newest backup is, where, and that it is on too few", () => {
    expect(backupLine(status, 1_600_000_000_000n)).toBe(
      "10 min ago, on data servers 1, 3 only (3 should hold it), 4 KiB",
    );
    expect(backupLine({ ...status, wanted: 2 }, 1_600_000_000_000n)).toBe(
      "10 min ago, on data servers 1, 3, 4 KiB",
    );
    expect(backupLine({ ...status, newest: null, servers: [] }, 0n)).toContain("none yet");
  });

  test("is in trouble when one is overdue or has failed", () => {
    const all = { ...status, wanted: 2 };
    expect(backupTroubles(all)).toEqual([]);
    expect(backupTroubles({ ...all, overdue: true })[0]).toContain("lacks changes");
    const failed = backupTroubles({ ...all, failure: "no room\nfor it" });
    expect(failed).toEqual(["the metadata could not be backed up: no room"]);
  });

  // Right after a restart of the service it was called thin until the data servers had registered.
  test("tells of no lack that is just not known yet", () => {
    const untold = { ...status, untold: [serverId(2)] };
    expect(backupTroubles(untold)).toEqual([]);
    expect(backupLine(untold, 1_600_000_000_000n)).toBe(
      "10 min ago, on data servers 1, 3 (data server 2 has not told yet whether it is there), 4 KiB",
    );
    const none = { ...untold, newest: null, servers: [], untold: [serverId(1), serverId(2)] };
    expect(backupTroubles(none)).toEqual([]);
    expect(backupLine(none, 0n)).toBe("data servers 1, 2 have not told yet what backups there are");
    const thin = { ...untold, servers: [serverId(1)] };
    expect(backupTroubles(thin)).toHaveLength(1);
  });

  // fsck called that an error while status called the cluster healthy.
  test("is in trouble when the newest is on too few servers, and so is the cluster", () => {
    const thin = ["the newest backup of the metadata is on 2 data servers instead of 3"];
    expect(backupTroubles(status)).toEqual(thin);
    expect(backupTroubles({ ...status, newest: null, servers: [] })).toEqual([]);
    const copies = { blocksByCopies: [0, 0], missingCopies: 0, liveBlocks: 0, backup: status };
    const health = assess(copies, [], { replicas: 0, writeQuorum: 0 });
    expect(health).toMatchObject({ level: "degraded", reasons: thin });
  });
});
