// The metadata service together with real data servers and the real client.

import { describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { silentLogger } from "../../../src/base/logger.ts";
import { connectClient } from "../../../src/client/client.ts";
import { startDataServer, type DataServer } from "../../../src/server/data/server.ts";
import type { MetaServer } from "../../../src/server/meta/server.ts";
import { failureOf, temporaryDirectory, until } from "./support/durable.ts";
import { startMeta, text } from "./support/service.ts";

const OWNER = { mode: 0o644, uid: 0, gid: 0, keepReplaced: false };

/** Small segments and no reserve, so that tests need little room. */
const SMALL = { segmentBytes: 1024 * 1024, reserveBytes: 0, logger: silentLogger };

const startData = (dir: string, number: number, meta: MetaServer, isNew: boolean) =>
  startDataServer({
    dir: join(dir, `data-${number}`),
    meta: meta.address,
    ...(isNew ? { identity: "new" as const } : {}),
    ...SMALL,
  });

async function startAll(dir: string, meta: MetaServer): Promise<DataServer[]> {
  const started: DataServer[] = [];
  for (let number = 1; number <= 4; number++)
    started.push(await startData(dir, number, meta, true));
  return started;
}

describe("a whole cluster", () => {
  test("blocks of removed files go from every server, also from one that was away", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(join(dir.path, "meta"), { settings: { blockSize: 4096 } });
    const data = await startAll(dir.path, meta);
    const client = await connectClient({ metaAddress: meta.address, label: "test" });
    const bytes = new Uint8Array(50 * 4096).map((_, index) => index % 251);
    await client.put(text("/kept"), [bytes.subarray(0, 4096)], OWNER);
    await client.put(text("/gone"), [bytes], OWNER);
    await until(async () => (await blocks()).every((count) => count > 30));
    await data[3]!.stop();
    await client.unlink(text("/gone"));
    await until(async () => sum((await blocks()).slice(0, 3)) <= 3);
    data[3] = await startData(dir.path, 4, meta, false);
    await until(async () => sum(await blocks()) === 3);
    expect((await client.status()).deadBlocks).toBe(0);
    await client.close();
    for (const server of data) await server.stop();
    await meta.stop();

    async function blocks(): Promise<number[]> {
      return (await client.servers()).map((server) => server.blocks);
    }
  }, 30_000);

  test("a server that lost its directory comes back empty, and every copy it had is on record as missing", async () => {
    using dir = temporaryDirectory();
    const settings = { blockSize: 4096 };
    const meta = await startMeta(join(dir.path, "meta"), { settings, copiesPerServer: 0 });
    const data = await startAll(dir.path, meta);
    const client = await connectClient({ metaAddress: meta.address, label: "test" });
    await client.put(text("/f"), [new Uint8Array(40 * 4096).fill(1)], OWNER);
    const had = (await client.servers())[1]!.replicas;
    expect(had).toBeGreaterThan(0);
    await data[1]!.stop();
    rmSync(join(dir.path, "data-2"), { recursive: true });
    data[1] = await startDataServer({
      dir: join(dir.path, "data-2"),
      meta: meta.address,
      identity: { recover: data[1]!.server },
      ...SMALL,
    });
    expect(data[1].server as number).toBe(2);
    await until(async () => (await client.status()).missingCopies === had);
    expect((await client.status()).blocksByCopies).toEqual([0, 0, had, 40 - had]);
    await client.close();
    for (const server of data) await server.stop();
    await meta.stop();
  }, 30_000);

  test("a server that lost its directory is refilled, and then counts for the write quorum again", async () => {
    using dir = temporaryDirectory();
    const settings = { blockSize: 4096, writeQuorum: 3 };
    const meta = await startMeta(join(dir.path, "meta"), { settings });
    const data: DataServer[] = [];
    for (let number = 1; number <= 3; number++) {
      data.push(await startData(dir.path, number, meta, true));
    }
    const client = await connectClient({ metaAddress: meta.address, label: "test" });
    await client.put(text("/f"), [new Uint8Array(40 * 4096).fill(1)], OWNER);
    await data[1]!.stop();
    rmSync(join(dir.path, "data-2"), { recursive: true });
    data[1] = await startDataServer({
      dir: join(dir.path, "data-2"),
      meta: meta.address,
      identity: { recover: data[1]!.server },
      ...SMALL,
    });
    await until(async () => (await client.servers())[1]!.blocks === 40);
    await until(async () => {
      const { blocksByCopies, repair } = await client.status();
      return blocksByCopies[3] === 40 && repair?.queue.length === 0;
    });
    // All three have to count for this one.
    await client.put(text("/g"), [new Uint8Array(4096).fill(2)], OWNER);
    await client.close();
    for (const server of data) await server.stop();
    await meta.stop();
  }, 30_000);

  test("a database put back from an older copy is refused by the servers that have seen a newer one", async () => {
    using dir = temporaryDirectory();
    const metaDir = join(dir.path, "meta");
    const first = await startMeta(metaDir);
    const data = await startData(dir.path, 1, first, true);
    await data.stop();
    await first.stop();
    await Bun.write(join(dir.path, "copy.db"), Bun.file(join(metaDir, "meta.db")));

    const second = await startMeta(metaDir);
    const again = await startData(dir.path, 1, second, false);
    await again.stop();
    await second.stop();

    await Bun.write(join(metaDir, "meta.db"), Bun.file(join(dir.path, "copy.db")));
    const older = await startMeta(metaDir);
    const warnings: string[] = [];
    const refused = new AbortController();
    const starting = startDataServer({
      dir: join(dir.path, "data-1"),
      meta: older.address,
      ...SMALL,
      signal: refused.signal,
      logger: {
        ...silentLogger,
        warn: (message) => warnings.push(message),
        error: (message) => warnings.push(message),
      },
    });
    const outcome = failureOf(starting);
    await until(() => warnings.some((each) => each.includes("older than what this server")));
    refused.abort();
    expect(await outcome).toMatchObject({ kind: "cancelled" });
    await older.stop();
  }, 30_000);
});

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
