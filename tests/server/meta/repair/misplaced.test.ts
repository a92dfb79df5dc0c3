// Copies on stand-ins go to where the placement table wants them, when the server that was away is back: each once, behind
// every repair, and never so that fewer copies can be read meanwhile.

import { describe, expect, test } from "bun:test";
import type { BlockId } from "../../../../src/base/ids.ts";
import { decodeRows } from "../../../../src/base/placement.ts";
import { explain, placement, servers, status } from "../../../../src/protocol/messages/cluster.ts";
import type { MetaServerOptions } from "../../../../src/server/meta/server.ts";
import { MISPLACED } from "../../../../src/server/meta/repair/need.ts";
import { temporaryDirectory, turns, until } from "../support/durable.ts";
import { TestDataServer } from "../support/data-server.ts";
import { startMeta, TestClient } from "../support/service.ts";

/** No server goes out, unless a test has it otherwise. */
const OPTIONS: Partial<MetaServerOptions> = {
  settings: { blockSize: 8 },
  outDelayMs: 3_600_000,
  moveMisplaced: true,
};

async function joinAll(address: string, count: number): Promise<TestDataServer[]> {
  const joined: TestDataServer[] = [];
  for (let index = 0; index < count; index++) joined.push(await TestDataServer.join(address));
  return joined;
}

type TestFile = Awaited<ReturnType<TestClient["put"]>>;

const figures = (client: TestClient) => client.ask(status, {});

async function stateOf(client: TestClient, { id }: TestDataServer): Promise<string | undefined> {
  const list = await client.ask(servers, {});
  return list.servers.find(({ server }) => server === id)?.state;
}

/** Nothing is left to be repaired or moved. */
async function allIsMoved(client: TestClient): Promise<void> {
  await until(async () => {
    const { repair, missingCopies } = await figures(client);
    return repair!.queue.length === 0 && repair!.copying === 0 && missingCopies === 0;
  });
}

async function rowsOf(client: TestClient, { inode }: TestFile) {
  return (await client.ask(explain, { inode, offset: 0, limit: 1000 })).rows;
}

/** Blocks of the file of which the placement table wants a copy on the server. */
async function wantedOn(client: TestClient, file: TestFile, server: TestDataServer) {
  const rows = await rowsOf(client, file);
  return rows.filter(({ wanted }) => wanted.includes(server.id)).map(({ block }) => block);
}

/** The servers hold the blocks of these files where the placement table wants them, and nothing else. */
async function allIsWhereWanted(
  client: TestClient,
  data: readonly TestDataServer[],
  ...files: readonly TestFile[]
): Promise<void> {
  await allIsMoved(client);
  for (const server of data) {
    const wanted: BlockId[] = [];
    for (const file of files) wanted.push(...(await wantedOn(client, file, server)));
    await until(() => server.held.size === wanted.length);
    expect(new Set(server.held.keys())).toEqual(new Set(wanted));
  }
}

/** A file whose copies are where the table wants them from the beginning. */
async function putWhereWanted(
  client: TestClient,
  name: string,
  data: readonly TestDataServer[],
  blocks: number,
): Promise<TestFile> {
  const { table, width } = await client.ask(placement, {});
  const rows = decodeRows(table, width);
  return client.put(name, data, blocks, 8, undefined, (index) =>
    rows[index]!.map((id) => data.find((server) => server.id === id)!),
  );
}

describe("a misplaced copy", () => {
  test("is moved to the server that the table wants when that is back, and the stand-in's goes", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, OPTIONS);
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    await data[3]!.kill();
    const file = await client.put("f", data.slice(0, 3), 40); // group i wants i+1, i+2, i+3 of four servers
    await turns(100);
    expect((await figures(client)).repair?.queue).toEqual([
      { urgency: MISPLACED, blocks: 30, copies: 0, bytes: 0 },
    ]);
    expect(data.flatMap(({ copied }) => copied)).toEqual([]);
    await data[3]!.restart(meta.address);
    await until(async () => (await figures(client)).repair?.queue.length === 0);
    const { rows } = await client.ask(explain, { inode: file.inode, offset: 0, limit: 100 });
    await until(() => data.reduce((sum, server) => sum + server.held.size, 0) === 120);
    for (const { block, wanted } of rows) {
      const holders = data.filter((server) => server.held.has(block)).map(({ id }) => id);
      expect(holders).toEqual(wanted.toSorted((one, other) => one - other));
    }
    await meta.stop();
  });

  // Judged while the bad copy was still being removed, the block counted as well placed, and nobody looked again.
  test("goes to its place also when the bad copy there had to be removed first", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, OPTIONS);
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    // One copy too many: the one on the stand-in, until that in its place is read and found rotten.
    const file = await client.put(
      "f",
      [],
      4,
      8,
      () => {
        for (const id of data[3]!.held.keys()) data[3]!.rotten.add(id);
        return Promise.resolve();
      },
      () => data,
    );
    await until(() => data[3]!.deleted.length > 0);
    await allIsWhereWanted(client, data, file);
    await meta.stop();
  });

  test("of a block written while that server was out is moved when it is back; nothing else is", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, { ...OPTIONS, outDelayMs: 600 });
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    const before = await putWhereWanted(client, "before", data, 40);
    await data[3]!.kill();
    await until(async () => (await stateOf(client, data[3]!)) === "out");
    await allIsMoved(client); // its copies are made elsewhere
    const made = (await figures(client)).repair!.copiedBlocks;
    expect(made).toBe(data[3]!.held.size);
    const during = await client.put("during", data.slice(0, 3), 40);
    await turns(100);
    expect((await figures(client)).repair).toMatchObject({ queue: [], copiedBlocks: made });

    await data[3]!.restart(meta.address);
    await until(async () => (await figures(client)).repair!.copiedBlocks === made + 30);
    await allIsWhereWanted(client, data, before, during);
    // What it had all the while was not copied to it, and nobody else got anything.
    expect(new Set(data[3]!.copied)).toEqual(new Set(await wantedOn(client, during, data[3]!)));
    expect(data[3]!.copied.length).toBe(30);
    expect((await figures(client)).repair!.copiedBlocks).toBe(made + 30);
    await meta.stop();
  });

  test("is moved once, however often the server comes and goes meanwhile", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, { ...OPTIONS, copiesPerServer: 1 });
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    await data[3]!.kill();
    const file = await client.put("f", data.slice(0, 3), 400); // 300 of them belong on the one that is away
    for (let flap = 1; flap <= 4; flap++) {
      await data[3]!.restart(meta.address);
      await until(() => data[3]!.copied.length >= flap * 40);
      await data[3]!.kill();
      // While it is away every block has the three copies that can be read, and none is given up for one on it.
      await until(async () => (await stateOf(client, data[3]!)) === "down");
      const readable = data.slice(0, 3).map(({ held }) => held);
      for (const block of file.blocks) {
        expect(readable.filter((held) => held.has(block)).length).toBeGreaterThanOrEqual(2);
      }
    }
    await data[3]!.restart(meta.address);
    await allIsWhereWanted(client, data, file);
    const twice = data[3]!.copied.length - new Set(data[3]!.copied).size;
    expect(twice).toBe(0);
    expect(data[3]!.copied.length).toBe(300);
    expect(data.slice(0, 3).map(({ copied }) => copied.length)).toEqual([0, 0, 0]);
    await meta.stop();
  });

  test("stays on the stand-in while the server is away, and is not given up for a copy that cannot be read", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, { ...OPTIONS, copiesPerServer: 1 });
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    await data[3]!.kill();
    const file = await client.put("f", data.slice(0, 3), 40);
    // The copies on the server that has come back are made, and then it does not say what they are worth.
    const gate = Promise.withResolvers<void>();
    data[3]!.verifyGate = () => gate.promise;
    await data[3]!.restart(meta.address);
    await until(() => data[3]!.copied.length > 0);
    await data[3]!.kill();
    gate.resolve();
    await until(async () => (await stateOf(client, data[3]!)) === "down");
    await turns(200);
    for (const server of data.slice(0, 3)) {
      expect(new Set(server.held.keys())).toEqual(new Set(file.blocks));
    }
    data[3]!.verifyGate = () => Promise.resolve();
    await data[3]!.restart(meta.address);
    await allIsWhereWanted(client, data, file);
    await meta.stop();
  });

  test("waits for the rate, behind copies that are missing", async () => {
    using dir = temporaryDirectory();
    // A block has one byte: at this rate the second one would have to wait for longer than the test lasts.
    const meta = await startMeta(dir.path, { ...OPTIONS, repairBytesPerSecond: 0.001 });
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    await data[3]!.kill();
    await client.put("f", data.slice(0, 3), 40);
    await data[3]!.restart(meta.address);
    await until(() => data[3]!.copied.length === 1);
    await turns(200);
    expect(data[3]!.copied.length).toBe(1);
    expect((await figures(client)).repair?.queue.some(({ urgency }) => urgency === MISPLACED)).toBe(
      true,
    );
    await meta.stop();
  });
});
