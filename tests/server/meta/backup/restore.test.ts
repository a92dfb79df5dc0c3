// The metadata server's directory is lost, or an older copy of it was put back. Real processes on real directories.

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  closeSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { backupName } from "../../../../src/base/backup.ts";
import { isDfsError, type DfsError, type ErrorKind } from "../../../../src/base/errors.ts";
import { serverId } from "../../../../src/base/ids.ts";
import { MAX_EXTENTS_PER_MESSAGE } from "../../../../src/base/limits.ts";
import type { DfsClient } from "../../../../src/client/api.ts";
import { listBackups, restoreMetadata } from "../../../../src/server/meta/restore.ts";
import {
  addressesOf,
  backupFiles,
  contentOf,
  store,
  wrongFiles,
} from "../../../support/backups.ts";
import { bytesOf, KiB, OWNER, patterned, until } from "../../../support/cluster.ts";
import { failureOf, messageOfFailure } from "../../../support/failure.ts";
import { spawnCluster, type ProcessCluster } from "../../../support/processes.ts";
import { dfs } from "../../../tools/support/run.ts";

setDefaultTimeout(120_000); // whole clusters of processes; a busy machine is slow

const ALL = [0, 1, 2, 3];

const clusters: ProcessCluster[] = [];
const folders: string[] = [];

afterEach(async () => {
  await Promise.all(clusters.splice(0).map((cluster) => cluster.stop()));
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** A cluster whose blocks are deleted without delay once they may be. */
async function cluster(servers = 4, blockSize = 16 * KiB): Promise<ProcessCluster> {
  const spawned = await spawnCluster({
    servers,
    settings: { blockSize, writeQuorum: Math.min(2, servers) },
    meta: { reaperIntervalMs: 50, graceMs: 100, leaseTimeoutMs: 2000, heartbeatIntervalMs: 200 },
    data: { firstContactTimeoutMs: 60_000 },
  });
  clusters.push(spawned);
  return spawned;
}

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "dfs-restore-"));
  folders.push(path);
  return path;
}

function files(prefix: string, count: number, seed: number): Map<string, Uint8Array> {
  return new Map(
    Array.from({ length: count }, (_, index) => [
      `/${prefix}-${index}`,
      patterned(1 + index * 11 * KiB, seed + index),
    ]),
  );
}

const ignore = (): void => undefined;

async function quarantined(client: DfsClient, servers: readonly number[]): Promise<Set<bigint>> {
  const blocks = new Set<bigint>();
  for (const server of servers) {
    for await (const { block } of client.quarantined(serverId(server))) blocks.add(block);
  }
  return blocks;
}

async function blocksOf(client: DfsClient, paths: Iterable<string>): Promise<bigint[]> {
  const blocks: bigint[] = [];
  for (const path of paths) {
    for await (const row of client.explain(bytesOf(path))) blocks.push(row.block);
  }
  return blocks;
}

/** Waits until all data servers have joined the metadata server that runs now. */
async function allUp(client: DfsClient, count = 4): Promise<void> {
  await until("all data servers are up", async () => {
    const servers = await client.servers();
    return servers.length === count && servers.every(({ state }) => state === "up");
  });
}

/** What the data servers hold together, as they said last. */
async function heldCopies(client: DfsClient): Promise<number> {
  return (await client.servers()).reduce((sum, { blocks }) => sum + blocks, 0);
}

/**
 * A client goes in the middle of a put, and what it leaves is collected: reserved blocks, a file without a name. Whatever
 * of that kind there was before has then been collected too, because the oldest come first.
 */
async function leaveOrphans(running: ProcessCluster): Promise<void> {
  const watcher = await running.client();
  const before = await heldCopies(watcher);
  const client = await running.client();
  const gone = new AbortController();
  async function* content(): AsyncGenerator<Uint8Array> {
    for (let block = 0; block < 20; block++) yield patterned(client.blockSize, 900 + block);
    await until("the blocks are held", async () => (await heldCopies(watcher)) > before);
    gone.abort(new Error("the writer has gone"));
    await new Promise(() => undefined);
  }
  const put = client.put(bytesOf("/gone"), content(), {
    ...OWNER,
    keepReplaced: false,
    signal: gone.signal,
  });
  await failureOf(put);
  await client.close();
  await until("what it left is collected", async () => (await heldCopies(watcher)) <= before);
}

/** Waits until data servers have refused the database that is served now. */
async function refusedByAll(client: DfsClient, path: string): Promise<void> {
  await until("data servers have refused the database", async () => {
    const found = await contentOf(client, path);
    return typeof found === "string" && found.includes("older than what this server has");
  });
  expect((await client.servers()).map(({ state }) => state)).not.toContain("up");
}

async function kindOf(work: Promise<unknown>): Promise<ErrorKind> {
  const error = await failureOf(work);
  if (!isDfsError(error)) throw error;
  return error.kind;
}

/** Loses the metadata server's directory and brings the newest backup back, at the same address. */
async function loseAndRestore(lost: ProcessCluster, from = ALL) {
  const { address } = lost.meta;
  await lost.meta.kill();
  rmSync(lost.metaDir, { recursive: true });
  const warnings: string[] = [];
  const restored = await restoreMetadata({
    dir: lost.metaDir,
    from: addressesOf(lost, from),
    onWarning: (message) => warnings.push(message),
  });
  await lost.startMeta({ listen: address });
  return { restored, warnings };
}

describe("the metadata server's directory is lost", () => {
  test("all files of the backup's age are back, later blocks stay and are listed", async () => {
    const four = await cluster();
    const client = await four.client();
    const before = files("before", 6, 100);
    const after = files("after", 6, 200);
    await store(client, before);
    const made = await client.backUpMetadata();
    expect(made.servers).toHaveLength(3);
    await store(client, after);
    const later = await blocksOf(client, after.keys());
    await client.close();

    const { restored } = await loseAndRestore(four);
    expect(restored.manifest.backup).toBe(made.backup);
    expect(restored.manifest.files).toBe(before.size);

    const again = await four.client();
    await allUp(again);
    expect(await wrongFiles(again, before)).toEqual([]);
    expect(await contentOf(again, "/after-1")).toContain("there is no");
    expect(await quarantined(again, [1, 2, 3, 4])).toEqual(new Set(later));
    const { backup } = await again.status();
    expect(backup?.quarantined).toBe(3 * later.length);

    // New files get ids above everything, and nothing that is unknown goes.
    const fresh = files("fresh", 3, 300);
    await store(again, fresh);
    const highest = later.reduce((one, other) => (other > one ? other : one));
    for (const block of await blocksOf(again, fresh.keys())) expect(block > highest).toBe(true);
    for (const path of before.keys()) await again.unlink(bytesOf(path));
    await until("the blocks of deleted files are gone", async () => {
      const { deadBlocks } = await again.status();
      return deadBlocks === 0;
    });
    expect(await quarantined(again, [1, 2, 3, 4])).toEqual(new Set(later));
    expect(await wrongFiles(again, fresh)).toEqual([]);
  });

  test("what a session had reserved or was writing at the time of the backup is kept as well", async () => {
    const size = 256;
    const count = MAX_EXTENTS_PER_MESSAGE + 50;
    const four = await cluster(4, size);
    const client = await four.client();
    // The first part is committed to a file without a name when the backup is made; it gets its name later.
    const gate = Promise.withResolvers<void>();
    async function* content(): AsyncGenerator<Uint8Array> {
      for (let block = 0; block < count; block++) {
        if (block === count - 10) await gate.promise;
        yield patterned(size, 1 + block);
      }
    }
    const put = client.put(bytesOf("/slow"), content(), { ...OWNER, keepReplaced: false });
    await until("the first part is committed", async () => {
      const { liveBlocks } = await client.status();
      return liveBlocks === MAX_EXTENTS_PER_MESSAGE;
    });
    await client.backUpMetadata();
    gate.resolve();
    await put;
    const blocks = await blocksOf(client, ["/slow"]);
    expect(blocks).toHaveLength(count);
    await client.close();

    await loseAndRestore(four);
    const again = await four.client();
    await allUp(again);
    await leaveOrphans(four);
    expect(await quarantined(again, [1, 2, 3, 4])).toEqual(new Set(blocks));
    expect((await again.status()).inodes).toBe(1); // the root directory
  });

  test("a backup that is damaged on one server is taken from another, and that is said", async () => {
    const four = await cluster();
    const client = await four.client();
    const before = files("before", 3, 100);
    await store(client, before);
    const { servers, backup } = await client.backUpMetadata();
    await client.close();
    const first = servers[0]! - 1;
    const path = join(four.serverDir(first), "backups", `${backupName(backup)}.db`);
    const file = openSync(path, "r+");
    writeSync(file, "damage", 5000);
    closeSync(file);

    const listed = await listBackups({ from: addressesOf(four, ALL), onWarning: ignore });
    expect(listed).toHaveLength(1);
    expect(listed[0]!.holders.map(({ server, state }) => [server as number, state])).toEqual(
      servers.map((server) => [server as number, server === servers[0] ? "damaged" : "whole"]),
    );
    const others = ALL.filter((index) => index !== first);
    const { warnings } = await loseAndRestore(four, [first, ...others]);
    expect(warnings.join("\n")).toContain(`cannot be read from data server ${servers[0]} `);
    expect(warnings.join("\n")).toContain("taking it from data server");
    const again = await four.client();
    await allUp(again);
    expect(await wrongFiles(again, before)).toEqual([]);
  });

  test("a server whose manifest is damaged is told of; the backup before is taken when the newest is nowhere whole", async () => {
    const four = await cluster();
    const client = await four.client();
    const before = files("before", 3, 100);
    await store(client, before);
    const older = await client.backUpMetadata();
    await store(client, files("after", 1, 200));
    const newer = await client.backUpMetadata();
    await client.close();
    newer.servers.forEach((server, place) => {
      const name = `${backupName(newer.backup)}.${place === 0 ? "json" : "db"}`;
      const file = openSync(join(four.serverDir(server - 1), "backups", name), "r+");
      writeSync(file, "damage", 100);
      closeSync(file);
    });
    const { restored, warnings } = await loseAndRestore(four);
    expect(restored.manifest.backup).toBe(older.backup);
    expect(restored.newer).toBe(1);
    expect(warnings.join("\n")).toContain("has a backup that cannot be used");
    expect(warnings.join("\n")).toContain("trying the one before");
    const again = await four.client();
    await allUp(again);
    expect(await wrongFiles(again, before)).toEqual([]);
  });

  test("a data server that joined after the backup is taken in again, with what it holds", async () => {
    const three = await cluster(3);
    const client = await three.client();
    await store(client, files("before", 3, 100));
    await client.backUpMetadata();
    await three.startServer(3);
    await allUp(client);
    const after = files("after", 6, 200);
    await store(await three.client(), after); // it knows the table that has the new server in it
    const held = (await client.servers()).find(({ server }) => server === 4);
    await client.close();

    await loseAndRestore(three);
    const again = await three.client();
    await allUp(again);
    const back = (await again.servers()).find(({ server }) => server === 4);
    expect(back).toMatchObject({ incarnation: held!.incarnation });
    expect((await quarantined(again, [4])).size).toBeGreaterThan(0);
    // Another new server gets an id that nobody can have got in the time that is lost.
    await three.startServer(4);
    await allUp(again, 5);
    const ids = (await again.servers()).map(({ server }) => server as number);
    expect(ids.slice(0, 4)).toEqual([1, 2, 3, 4]);
    expect(ids[4]).toBe(2000);
  });
});

describe("an older copy of the database was put back by hand", () => {
  test("it is refused, then accepted once, and nothing newer is deleted", async () => {
    const four = await cluster();
    const client = await four.client();
    const before = files("before", 4, 100);
    await store(client, before);
    await four.meta.end();
    const copy = join(folder(), "copy");
    cpSync(four.metaDir, copy, { recursive: true });
    await four.startMeta();
    await allUp(client);
    const after = files("after", 4, 200);
    await store(client, after);
    const later = await blocksOf(client, after.keys());
    await until("data servers have seen a later position", () => wroteSeen(four));
    await client.close();

    // By hand: the directory is replaced by an older copy of itself.
    const putBack = async (more: Readonly<Record<string, unknown>> = {}): Promise<void> => {
      const { address } = four.meta;
      await four.meta.end();
      rmSync(four.metaDir, { recursive: true });
      cpSync(copy, four.metaDir, { recursive: true });
      await four.startMeta({ listen: address, ...more });
    };
    await putBack();
    const refused = await four.client({ retryTimeoutMs: 500 });
    await refusedByAll(refused, "/before-1");
    await until("the service knows that it is refused", async () =>
      (await refused.servers()).every(({ refuses }) => refuses === true),
    );
    await refused.close();

    await putBack({ acceptOlder: true });
    const accepted = await four.client();
    await allUp(accepted);
    expect(await wrongFiles(accepted, before)).toEqual([]);
    expect((await accepted.servers()).some(({ refuses }) => refuses === true)).toBe(false);
    expect(await quarantined(accepted, [1, 2, 3, 4])).toEqual(new Set(later));
    await store(accepted, files("fresh", 3, 300));
    await accepted.close();

    // What was accepted is in force, also after another start.
    const { address } = four.meta;
    await four.meta.end();
    await four.startMeta({ listen: address });
    const again = await four.client();
    await allUp(again);
    expect(await quarantined(again, [1, 2, 3, 4])).toEqual(new Set(later));
    await until("data servers have seen a later position", () => wroteSeen(four));
    await again.close();

    // The same old copy once more, without the flag: it does not know of the acceptance, and is refused again.
    await putBack();
    await refusedByAll(await four.client({ retryTimeoutMs: 500 }), "/before-1");
  });

  test("a copy from after an acceptance is refused too: each acceptance counts once", async () => {
    const four = await cluster();
    const client = await four.client();
    await store(client, files("before", 2, 100));
    await client.backUpMetadata();
    await client.close();
    await loseAndRestore(four);
    const accepted = await four.client();
    await allUp(accepted);
    await four.meta.end();
    const copy = join(folder(), "copy");
    cpSync(four.metaDir, copy, { recursive: true });
    await four.startMeta();
    await allUp(accepted);
    await store(accepted, files("after", 2, 200));
    await until("data servers have seen a later position", () => wroteSeen(four));
    await accepted.close();
    const { address } = four.meta;
    await four.meta.end();
    rmSync(four.metaDir, { recursive: true });
    cpSync(copy, four.metaDir, { recursive: true });
    await four.startMeta({ listen: address });
    await refusedByAll(await four.client({ retryTimeoutMs: 500 }), "/before-1");
  });
});

/** Joining is durable at once; what comes later is written down every few seconds, and when a server ends in good order. */
async function wroteSeen(running: ProcessCluster): Promise<boolean> {
  for (const index of ALL) {
    await running.server(index).end();
    await running.startServer(index);
  }
  return true;
}

describe("dfs meta restore refuses", () => {
  test("a directory that is not empty, before it asks anybody", async () => {
    const dir = folder();
    writeFileSync(join(dir, "meta.db"), "not to be touched");
    const error = await failureOf(
      restoreMetadata({ dir, from: ["127.0.0.1:1"], onWarning: ignore }),
    );
    expect((error as DfsError).kind).toBe("usage");
    expect((error as DfsError).message).toContain("meta.db is in it");
    expect(readdirSync(dir)).toEqual(["meta.db"]);
  });

  test("when no data server answers, when there is no backup, or not the one that is wanted", async () => {
    const dir = join(folder(), "meta");
    const nobody = { dir, from: ["127.0.0.1:1"], onWarning: ignore };
    expect(await kindOf(restoreMetadata(nobody))).toBe("unreachable");
    const one = await cluster(1);
    const from = addressesOf(one, [0]);
    const none = await messageOfFailure(restoreMetadata({ dir, from, onWarning: ignore }));
    expect(none).toContain("there is no backup of the metadata of cluster");
    const client = await one.client();
    expect((await client.backUpMetadata()).servers).toHaveLength(1);
    const other = restoreMetadata({ dir, from, backup: 5n, onWarning: ignore });
    expect(await messageOfFailure(other)).toContain("holds backup 0000000000000005");
    // A metadata server is no data server.
    const meta = restoreMetadata({ dir, from: [one.meta.address], onWarning: ignore });
    expect(await kindOf(meta)).toBe("wrongPeer");
    expect(existsSync(dir)).toBe(false);
  });

  test("data servers of different clusters", async () => {
    const [one, other] = await Promise.all([cluster(1), cluster(1)]);
    const from = [...addressesOf(one, [0]), ...addressesOf(other, [0])];
    const dir = join(folder(), "meta");
    const error = await failureOf(restoreMetadata({ dir, from, onWarning: ignore }));
    expect((error as DfsError).kind).toBe("wrongCluster");
    expect((error as DfsError).message).toContain("of different clusters");
  });
});

describe("a damaged database", () => {
  test("stops the start, and the message says how to go on", async () => {
    const one = await cluster(1);
    const client = await one.client();
    await store(client, files("file", 40, 1));
    await client.close();
    await one.meta.end();
    const path = join(one.metaDir, "meta.db");
    const file = openSync(path, "r+");
    for (let page = 2; page < 20; page++) writeSync(file, patterned(64, page), 0, 64, page * 4096);
    closeSync(file);
    const args = ["meta", "--dir", one.metaDir, "--listen", "127.0.0.1:0"];
    const { code, stderr } = await dfs(args, { home: one.dir });
    expect(code).toBe(1);
    expect(stderr).toContain(`the metadata database ${path} is damaged`);
    // What SQLite says may have several lines: the way on must not be cut off behind them.
    expect(stderr).toContain("dfs meta restore --dir DIR --from HOST:PORT");
  });

  test("is not backed up", async () => {
    const one = await cluster(1);
    const client = await one.client();
    await store(client, files("file", 40, 1));
    await one.meta.end();
    await one.startMeta();
    await allUp(client, 1);
    const file = openSync(join(one.metaDir, "meta.db"), "r+");
    for (let page = 2; page < 20; page++) writeSync(file, patterned(64, page), 0, 64, page * 4096);
    closeSync(file);
    const message = await messageOfFailure(client.backUpMetadata());
    expect(message).toContain("cannot be copied");
    expect(backupFiles(one, 0)).toEqual([]);
  });

  test("can be restored beside, and the old directory is left as it is", async () => {
    const one = await cluster(1);
    const client = await one.client();
    const before = files("file", 3, 1);
    await store(client, before);
    await client.backUpMetadata();
    await client.close();
    const { address } = one.meta;
    await one.meta.end();
    const aside = join(one.dir, "aside");
    renameSync(one.metaDir, aside);
    mkdirSync(one.metaDir);
    await restoreMetadata({ dir: one.metaDir, from: addressesOf(one, [0]), onWarning: ignore });
    await one.startMeta({ listen: address });
    const again = await one.client();
    await allUp(again, 1);
    expect(await wrongFiles(again, before)).toEqual([]);
    expect(readdirSync(aside)).toContain("meta.db");
  });
});
