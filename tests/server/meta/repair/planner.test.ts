// Repairs over real sockets with data servers that keep blocks in memory: what is made up for, what is left alone, and in
// which order.

import { describe, expect, test } from "bun:test";
import { DfsError } from "../../../../src/base/errors.ts";
import { ROOT_INODE, type BlockId } from "../../../../src/base/ids.ts";
import { BATCH_BLOCKS } from "../../../../src/server/meta/repair/batches.ts";
import {
  explain,
  reportReplica,
  servers,
  status,
} from "../../../../src/protocol/messages/cluster.ts";
import { memberRotten } from "../../../../src/protocol/messages/member.ts";
import { unlink } from "../../../../src/protocol/messages/namespace.ts";
import type { MetaServerOptions } from "../../../../src/server/meta/server.ts";
import { MISPLACED } from "../../../../src/server/meta/repair/need.ts";
import { temporaryDirectory, turns, until } from "../support/durable.ts";
import { TestDataServer } from "../support/data-server.ts";
import { blockBytes, startMeta, TestClient, text } from "../support/service.ts";

/** Most tests put copies where they want them, whatever the placement table says. */
const OPTIONS: Partial<MetaServerOptions> = {
  settings: { blockSize: 8 },
  outDelayMs: 600,
  moveMisplaced: false,
};

/** So long a delay that no server goes out in a test. */
const NEVER_OUT: Partial<MetaServerOptions> = { ...OPTIONS, outDelayMs: 3_600_000 };

async function joinAll(address: string, count: number): Promise<TestDataServer[]> {
  const joined: TestDataServer[] = [];
  for (let index = 0; index < count; index++) joined.push(await TestDataServer.join(address));
  return joined;
}

type TestFile = Awaited<ReturnType<TestClient["put"]>>;

/** Servers and states of the copies of a file's blocks, as in "1:present 2:bad". */
async function copies(client: TestClient, { inode }: TestFile): Promise<string[]> {
  const { rows } = await client.ask(explain, { inode, offset: 0, limit: 2000 });
  return rows.map((row) =>
    row.replicas
      .map((each) => `${each.server}:${each.state}`)
      .sort()
      .join(" "),
  );
}

const figures = (client: TestClient) => client.ask(status, {});

/** Every copy on record is held and right, every block has three on servers that are up, and nothing else is on record. */
async function allIsWell(client: TestClient, data: readonly TestDataServer[]): Promise<void> {
  await until(async () => {
    const { repair, missingCopies, blocksByCopies, liveBlocks } = await figures(client);
    return (
      repair!.queue.every(({ urgency }) => urgency === MISPLACED) &&
      repair!.copying === 0 &&
      repair!.suspects === 0 &&
      missingCopies === 0 &&
      blocksByCopies[3] === liveBlocks &&
      data.every(({ rotten }) => rotten.size === 0)
    );
  });
}

async function statesAre(client: TestClient, wanted: readonly string[]): Promise<void> {
  await until(async () => {
    const list = await client.ask(servers, {});
    return list.servers.map((each) => each.state).join() === wanted.join();
  });
}

describe("a missing copy", () => {
  test("of a short write is made where the placement table wants it", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NEVER_OUT);
    const data = await joinAll(meta.address, 3);
    const client = await TestClient.open(meta.address);
    const file = await client.put("f", data.slice(0, 2), 20);
    await allIsWell(client, data);
    expect(new Set(await copies(client, file))).toEqual(new Set(["1:present 2:present 3:present"]));
    expect(new Set(data[2]!.copied)).toEqual(new Set(file.blocks));
    expect((await figures(client)).repair).toMatchObject({ copiedBlocks: 20, copiedBytes: 20 });
    await meta.stop();
  });

  test("on a server that is down is not made elsewhere; when that is out it is, and not before", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, OPTIONS);
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    const file = await client.put("f", data.slice(0, 3), 600);
    await data[0]!.kill();
    await statesAre(client, ["down", "up", "up", "up"]);
    expect((await figures(client)).missingCopies).toBe(0);
    expect(data[3]!.copied).toEqual([]);
    await statesAre(client, ["out", "up", "up", "up"]);
    await until(() => data[3]!.copied.length === 600);
    await allIsWell(client, data.slice(1));
    expect(new Set(await copies(client, file))).toEqual(
      new Set(["1:present 2:present 3:present 4:present"]),
    );
    await meta.stop();
  });

  test("is made on after a restart of the service, whatever it was doing", async () => {
    using dir = temporaryDirectory();
    const first = await startMeta(dir.path, OPTIONS);
    const data = await joinAll(first.address, 4);
    const client = await TestClient.open(first.address);
    await client.put("f", data.slice(0, 3), 400);
    let open = (): void => undefined;
    const gate = new Promise<void>((resolve) => (open = resolve));
    data[3]!.copyGate = () => gate;
    await data[0]!.kill();
    await until(async () => ((await figures(client)).repair?.copying ?? 0) > 0);
    await first.stop();
    open();
    const second = await startMeta(dir.path, OPTIONS);
    for (const server of data.slice(1)) await server.restart(second.address);
    const resumed = await client.resume(second.address);
    await allIsWell(resumed, data.slice(1));
    await second.stop();
  });

  test("cannot be made without another server: it stays on record, and is made when one joins", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, OPTIONS);
    const data = await joinAll(meta.address, 2);
    const client = await TestClient.open(meta.address);
    await client.put("f", data, 5);
    await turns(100);
    expect((await figures(client)).missingCopies).toBe(5);
    data.push(await TestDataServer.join(meta.address));
    await allIsWell(client, data);
    await meta.stop();
  });

  test("goes to another server when the first one refuses it", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NEVER_OUT);
    const data = await joinAll(meta.address, 4);
    data[2]!.copyRefusal = new DfsError("noSpace", "said by a test");
    const client = await TestClient.open(meta.address);
    const file = await client.put("f", data.slice(0, 2), 10); // group i wants i+1, i+2, i+3 of four servers
    await allIsWell(client, data);
    expect(new Set(await copies(client, file))).toEqual(new Set(["1:present 2:present 4:present"]));
    await meta.stop();
  });

  // A server whose disk hangs goes on sending heartbeats. The copy that it never answered for stayed the first choice.
  test("goes to another server when the first one never answers", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NEVER_OUT);
    const data = await joinAll(meta.address, 4);
    data[2]!.copyRefusal = new DfsError("timeout", "as after three minutes of silence");
    const client = await TestClient.open(meta.address);
    const file = await client.put("f", data.slice(0, 2), 10);
    await allIsWell(client, data);
    await until(async () =>
      (await copies(client, file)).every((held) => held === "1:present 2:present 4:present"),
    );
    await meta.stop();
  });

  test("is made from another source when one turns out to be rotten, and that one is mended too", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NEVER_OUT);
    const data = await joinAll(meta.address, 3);
    const client = await TestClient.open(meta.address);
    data[0]!.rotten.add(1n as BlockId);
    const file = await client.put("f", data.slice(0, 2), 1);
    expect(file.blocks).toEqual([1n as BlockId]);
    await allIsWell(client, data);
    // The first source asked may have been the good one; then nobody knows of the rot.
    await client.ask(reportReplica, {
      block: file.blocks[0]!,
      server: data[0]!.id,
      problem: "badChecksum",
      detail: "",
    });
    await until(() => data[0]!.rotten.size === 0);
    await allIsWell(client, data);
    await meta.stop();
  });

  test("of a block with one good copy left is made first", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, {
      ...NEVER_OUT,
      settings: { blockSize: 8, writeQuorum: 1 },
      copiesPerServer: 1,
      repairIntervalMs: 0, // whenever a batch has ended the queue is looked at before the next one begins
    });
    const data = await joinAll(meta.address, 2);
    const client = await TestClient.open(meta.address);
    const two = await client.put("two", data, 2000);
    data.push(new TestDataServer());
    const seen = Promise.withResolvers<void>();
    data[2]!.copyGate = () => seen.promise; // nothing is made before the urgent ones are on record
    await data[2]!.register(meta.address);
    data[2]!.beat();
    await until(async () => (await figures(client)).repair!.copying > 0);
    data[1]!.full = true;
    await until(async () => (await client.ask(servers, {})).servers[1]!.full);
    const lone = await client.put("lone", data.slice(0, 1), 3);
    await until(async () => (await figures(client)).repair?.queue[0]?.urgency === 1);
    seen.resolve();
    await until(() => lone.blocks.every((block) => data[2]!.held.has(block)));
    const places = lone.blocks.map((block) => data[2]!.copied.indexOf(block));
    // Of 2003 they came last. The first batch was under way, and the second may have been chosen, when they did.
    expect(Math.max(...places)).toBeLessThan(3 * BATCH_BLOCKS);
    await until(() => two.blocks.every((block) => data[2]!.held.has(block)));
    await meta.stop();
  });
});

describe("a bad copy", () => {
  test("is made good on its own server", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NEVER_OUT);
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    const file = await client.put("f", data.slice(0, 3), 3);
    const [block] = file.blocks;
    for (const server of data.slice(0, 2)) {
      server.rotten.add(block!);
      const report = { block: block!, server: server.id, detail: "" };
      await client.ask(reportReplica, { ...report, problem: "badChecksum" });
    }
    await until(() => data[0]!.rotten.size + data[1]!.rotten.size === 0);
    await allIsWell(client, data);
    expect(new Set(await copies(client, file))).toEqual(new Set(["1:present 2:present 3:present"]));
    expect(data[3]!.copied).toEqual([]);
    await meta.stop();
  });

  test("is replaced elsewhere when its server cannot take it, and goes then", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NEVER_OUT);
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    const file = await client.put("f", data.slice(0, 3), 1);
    const [block] = file.blocks;
    data[0]!.copyRefusal = new DfsError("noSpace", "said by a test");
    data[0]!.rotten.add(block!);
    await client.ask(reportReplica, {
      block: block!,
      server: data[0]!.id,
      problem: "badChecksum",
      detail: "",
    });
    await until(() => data[0]!.deleted.includes(block!));
    data[0]!.rotten.clear();
    await allIsWell(client, data);
    expect(await copies(client, file)).toEqual(["2:present 3:present 4:present"]);
    await meta.stop();
  });

  test("is replaced elsewhere when its server does not say whether it is", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NEVER_OUT);
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    const file = await client.put("f", data.slice(0, 3), 1);
    const [block] = file.blocks;
    const silent = new DfsError("timeout", "as after a minute of silence");
    data[0]!.rotten.add(block!);
    data[0]!.verifyGate = () => Promise.reject(silent);
    await data[0]!.peer!.request(memberRotten, { blocks: [block!] }, { timeoutMs: 5_000 });
    await until(() => data[3]!.held.has(block!));
    expect(await copies(client, file)).toEqual(["1:bad 2:present 3:present 4:present"]);
    await meta.stop();
  });

  test("of which no good one is left stays, and nothing is deleted or invented", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NEVER_OUT);
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    const file = await client.put("f", data.slice(0, 3), 1);
    const [block] = file.blocks;
    for (const server of data.slice(0, 3)) server.rotten.add(block!);
    for (const server of data.slice(0, 3)) {
      const report = { block: block!, server: server.id, detail: "" };
      await client.ask(reportReplica, { ...report, problem: "badChecksum" });
    }
    await until(async () => (await copies(client, file)).join() === "1:bad 2:bad 3:bad");
    expect((await figures(client)).missingCopies).toBe(3);
    await turns(200);
    expect(data.flatMap((server) => [...server.deleted, ...server.copied])).toEqual([]);
    // One that can be read again after all is enough to mend the others.
    data[1]!.rotten.clear();
    await until(() => data.every((server) => server.rotten.size === 0));
    await allIsWell(client, data);
    await meta.stop();
  });
});

describe("a server that comes back from being out", () => {
  async function returned(dir: string, change: (data: TestDataServer[], file: TestFile) => void) {
    const meta = await startMeta(dir, OPTIONS);
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    const file = await client.put("f", data.slice(0, 3), 300);
    await data[0]!.kill();
    await until(() => data[3]!.copied.length === 300);
    await allIsWell(client, data.slice(1));
    change(data, file);
    await data[0]!.restart(meta.address);
    return { meta, data, client, file };
  }

  /** Exactly the copies on record are held. */
  async function heldAsRecorded(
    client: TestClient,
    data: readonly TestDataServer[],
    file: TestFile,
  ): Promise<void> {
    const recorded = await copies(client, file);
    for (const [index, block] of file.blocks.entries()) {
      const holders = data
        .filter((server) => server.held.has(block))
        .map(({ id }) => `${id}:present`);
      expect(recorded[index]).toBe(holders.sort().join(" "));
    }
  }

  test("brings surplus copies: one of each block goes, the other three stay", async () => {
    using dir = temporaryDirectory();
    const { meta, data, client, file } = await returned(dir.path, () => undefined);
    await until(() => data.reduce((sum, server) => sum + server.deleted.length, 0) === 300);
    await allIsWell(client, data);
    await heldAsRecorded(client, data, file);
    await meta.stop();
  });

  test("no copy goes while another one of the block is not right", async () => {
    using dir = temporaryDirectory();
    const { meta, data, client, file } = await returned(dir.path, (all, { blocks }) => {
      for (const block of blocks) all[0]!.rotten.add(block); // it rotted while it was away
    });
    await until(() => data[0]!.rotten.size === 0 || data[0]!.deleted.length === 300);
    data[0]!.rotten.clear(); // what was deleted
    await allIsWell(client, data);
    await heldAsRecorded(client, data, file);
    for (const server of data.slice(1)) {
      const left = file.blocks.filter((block) => server.held.has(block));
      for (const block of left)
        expect(server.held.get(block)?.length).toBe(blockBytes(block).length);
    }
    await meta.stop();
  });

  test("what died meanwhile is deleted on it, and does not come back", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, OPTIONS);
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    await client.put("f", data.slice(0, 3), 50);
    await data[0]!.kill();
    await until(() => data[3]!.copied.length === 50);
    await client.change(unlink, { parent: ROOT_INODE, name: text("f") });
    await until(() => data.slice(1).every((server) => server.held.size === 0));
    await data[0]!.restart(meta.address);
    await until(() => data[0]!.held.size === 0);
    await until(async () => (await figures(client)).deadBlocks === 0);
    await meta.stop();
  });
});

describe("who is out", () => {
  test("nobody is while more than a third of the servers are silent; the rest follow when enough are back", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, OPTIONS);
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    await client.put("f", data.slice(0, 3), 3);
    await Promise.all([data[0]!.kill(), data[1]!.kill()]);
    await statesAre(client, ["down", "down", "up", "up"]);
    const delayed = performance.now() + 5 * OPTIONS.outDelayMs!;
    await until(() => performance.now() > delayed);
    await statesAre(client, ["down", "down", "up", "up"]);
    expect(data.flatMap(({ copied }) => copied)).toEqual([]);
    await data[1]!.restart(meta.address);
    await statesAre(client, ["out", "up", "up", "up"]);
    await until(() => data[3]!.copied.length === 3);
    await allIsWell(client, data.slice(1));
    await meta.stop();
  });

  test("a server stays out across restarts of the service, and is up again when it registers", async () => {
    using dir = temporaryDirectory();
    const first = await startMeta(dir.path, OPTIONS);
    const data = await joinAll(first.address, 4);
    const client = await TestClient.open(first.address);
    await client.put("f", data.slice(0, 3), 3);
    await data[0]!.kill();
    await statesAre(client, ["out", "up", "up", "up"]);
    await first.stop();
    const second = await startMeta(dir.path, OPTIONS);
    for (const server of data.slice(1)) await server.restart(second.address);
    const resumed = await client.resume(second.address);
    await statesAre(resumed, ["out", "up", "up", "up"]);
    await allIsWell(resumed, data.slice(1));
    await data[0]!.restart(second.address);
    await statesAre(resumed, ["up", "up", "up", "up"]);
    await allIsWell(resumed, data);
    await second.stop();
  });
});

describe("a deletion during repairs", () => {
  test("waits for the copy that is under way, and takes it away too", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NEVER_OUT);
    const data = await joinAll(meta.address, 3);
    let open = (): void => undefined;
    const gate = new Promise<void>((resolve) => (open = resolve));
    data[2]!.copyGate = () => gate;
    const client = await TestClient.open(meta.address);
    await client.put("f", data.slice(0, 2), 4);
    await until(async () => (await figures(client)).repair?.copying === 4);
    await client.change(unlink, { parent: ROOT_INODE, name: text("f") });
    await until(() => data[0]!.held.size + data[1]!.held.size === 0);
    expect((await figures(client)).deadBlocks).toBe(4);
    open();
    await until(async () => (await figures(client)).deadBlocks === 0);
    await until(() => data[2]!.held.size === 0);
    await meta.stop();
  });
});
