// A server that lost its disk gets all that it lacks in one pass, while other things happen.

import { expect, test } from "bun:test";
import { DfsError } from "../../../../src/base/errors.ts";
import { incarnationId, ROOT_INODE } from "../../../../src/base/ids.ts";
import { MAX_REPLICAS } from "../../../../src/base/limits.ts";
import { systemRandom } from "../../../../src/base/random.ts";
import { decodeRows, groupOf } from "../../../../src/base/placement.ts";
import { holdings, placement, status } from "../../../../src/protocol/messages/cluster.ts";
import { memberRotten } from "../../../../src/protocol/messages/member.ts";
import { unlink } from "../../../../src/protocol/messages/namespace.ts";
import { BATCH_BLOCKS } from "../../../../src/server/meta/repair/batches.ts";
import { temporaryDirectory, until } from "../support/durable.ts";
import { BLOCKS, Cluster, withFiles } from "../support/refill-cluster.ts";
import { TestDataServer } from "../support/data-server.ts";
import { blockBytes, startMeta, TestClient, text } from "../support/service.ts";

test("it is ordered many blocks at a time, of each source about as many, and each block once", () =>
  withFiles(BLOCKS, async (cluster) => {
    await cluster.loseDisk();
    await cluster.whenFilled();
    const { lost, data } = cluster;
    expect(lost.held.size).toBe(BLOCKS);
    expect(lost.copied.length).toBe(BLOCKS);
    expect(Math.max(...lost.batches)).toBeGreaterThan(BATCH_BLOCKS);
    const [one, other] = data.slice(1).map(({ given }) => given);
    expect(Math.abs(one! - other!)).toBeLessThan(BLOCKS / 10);
    await cluster.whenWhole(BLOCKS);
  }));

// One that has joined later has its places from all others: an order names most of them as sources.
test("a server of a large cluster is refilled as one of a small one", async () => {
  using dir = temporaryDirectory();
  const settings = { settings: { blockSize: 8 }, repairIntervalMs: 1, downDelayMs: 60_000 };
  const meta = await startMeta(dir.path, settings);
  try {
    const { address } = meta;
    const others: TestDataServer[] = [];
    for (let index = 0; index < 24; index++) others.push(await TestDataServer.join(address));
    const client = await TestClient.open(address);
    await client.put("first", others.slice(0, 3)); // from now on the table is kept
    const lost = await TestDataServer.join(address);
    const data = [lost, ...others];
    const { table, width } = await client.ask(placement, {});
    const rows = decodeRows(table, width);
    const serversOf = (index: number): TestDataServer[] =>
      rows[groupOf(0, index)]!.map((id) => data.find((each) => each.id === id)!);
    await client.put("f", data, BLOCKS, 8, undefined, serversOf);
    const cluster = new Cluster(address, data, client);
    await cluster.whenWhole(BLOCKS + 1);
    const held = lost.held.size;
    lost.commands.length = lost.batches.length = 0;
    await cluster.loseDisk();
    await cluster.whenFilled();
    expect(lost.held.size).toBe(held);
    expect(others.filter(({ given }) => given > 0).length).toBeGreaterThan(2 * MAX_REPLICAS);
    expect(lost.commands.length).toBe(lost.batches.length); // nothing was ordered by itself
    await cluster.whenWhole(BLOCKS + 1);
  } finally {
    await meta.stop();
  }
}, 30_000);

test("what a source cannot give is copied from another one, and made good at the source too", () =>
  withFiles(BLOCKS, async (cluster) => {
    const { data, lost } = cluster;
    const ids = [...lost.held.keys()];
    for (const { id, rotten } of data.slice(1)) {
      for (let at = Number(id); at < BLOCKS; at += 40) rotten.add(ids[at]!);
    }
    await cluster.loseDisk();
    await cluster.whenFilled();
    await cluster.whenWhole(BLOCKS);
    for (const { held } of data) expect(held.size).toBe(BLOCKS);
    // Each was asked for about half of them.
    await until(() => data.every(({ rotten }) => rotten.size < BLOCKS / 40 - 10));
    await cluster.whenWhole(BLOCKS);
  }));

test("another server goes away in the middle", () =>
  withFiles(BLOCKS, async (cluster) => {
    const { data, lost, address } = cluster;
    lost.copyGate = async () => {
      lost.copyGate = () => Promise.resolve();
      await data[2]!.kill();
    };
    await cluster.loseDisk();
    await cluster.whenFilled();
    expect(lost.held.size).toBe(BLOCKS);
    await data[2]!.restart(address);
    await cluster.whenWhole(BLOCKS);
  }));

test("it dies in the middle, and goes on with what it has", () =>
  withFiles(BLOCKS, async (cluster) => {
    const { lost, address } = cluster;
    lost.copyGate = async () => {
      if (lost.copied.length === 0) return;
      lost.copyGate = () => Promise.resolve();
      await lost.kill();
    };
    await cluster.loseDisk();
    await until(() => lost.peer === undefined);
    await lost.restart(address);
    await cluster.whenFilled();
    expect(lost.held.size).toBe(BLOCKS);
    await cluster.whenWhole(BLOCKS);
  }));

test("it loses its disk once more in the middle", () =>
  withFiles(BLOCKS, async (cluster) => {
    const { lost } = cluster;
    let isOver = false;
    lost.copyGate = async () => {
      if (lost.copied.length === 0) return;
      lost.copyGate = () => Promise.resolve();
      await cluster.loseDisk();
      isOver = true;
    };
    await cluster.loseDisk();
    await until(() => isOver);
    await cluster.whenFilled();
    expect(lost.held.size).toBe(BLOCKS);
    await cluster.whenWhole(BLOCKS);
  }));

// Its id lies between those of an order that takes a while.
test("a block that lacks more is copied while its neighbours are on their way", () =>
  withFiles(100, async (cluster) => {
    const { data, lost } = cluster;
    const other = data[1]!;
    const urgent = [...lost.held.keys()][10]!;
    other.copyRefusal = new DfsError("busy", "said by a test");
    other.rotten.add(urgent);
    await other.peer!.request(memberRotten, { blocks: [urgent] }, { timeoutMs: 10_000 });
    const gate = Promise.withResolvers<void>();
    lost.batchResult = () => gate.promise.then(() => undefined);
    await cluster.loseDisk();
    await until(() => lost.copied.includes(urgent));
    expect(lost.copied).toEqual([urgent]);
    other.copyRefusal = undefined;
    gate.resolve();
    await cluster.whenFilled();
    await cluster.whenWhole(100);
  }));

// The pass of before waits for the rate, and has not ended when the new disk has been compared with the record.
test("it loses its disk once more while nothing may be copied: it is refilled in a pass again", () =>
  withFiles(
    200,
    async (cluster) => {
      const { lost } = cluster;
      await cluster.loseDisk();
      await until(() => lost.copied.length > 0);
      const gate = Promise.withResolvers<void>();
      lost.listGate = () => gate.promise;
      await cluster.loseDisk();
      lost.sources.length = 0;
      // What may be copied in a second comes together meanwhile, so that orders can be of several blocks.
      await Bun.sleep(1_100);
      gate.resolve();
      await cluster.whenFilled();
      expect(lost.held.size).toBe(200);
      expect(Math.max(...lost.sources)).toBe(2); // what the planner orders comes from one
      await cluster.whenWhole(200);
    },
    { repairBytesPerSecond: 200 },
  ));

// At the end of a stretch, and where blocks are large, an order is of a block or two.
test("sources that have nothing right for an order do not end the pass", () =>
  withFiles(
    1_000,
    async (cluster) => {
      const { data, lost } = cluster;
      const ids = [...lost.held.keys()];
      // The first order is of 32 blocks.
      for (const [at, server] of data.slice(1).entries()) {
        for (const id of ids.slice(16 * at, 16 * (at + 1))) server.rotten.add(id);
      }
      await cluster.loseDisk();
      await cluster.whenFilled();
      expect(lost.held.size).toBe(1_000);
      expect(lost.sources.filter((count) => count === 2).length).toBeGreaterThan(3);
      await cluster.whenWhole(1_000);
    },
    { repairBytesPerSecond: 1_000 },
  ));

// The deletion would find nothing, be acknowledged and the block forgotten; then the copy would come, and stay for good.
test("blocks that die while they are on their way are deleted after they have come", () =>
  withFiles(100, async (cluster) => {
    const { data, lost, client } = cluster;
    const gate = Promise.withResolvers<void>();
    lost.copyGate = () => gate.promise;
    // It has got the bytes, and is about to store them.
    lost.batchResult = (block) => {
      lost.store(block, blockBytes(block));
      return Promise.resolve("stored");
    };
    await cluster.loseDisk();
    await until(() => lost.batches.length > 0);
    const ordered = lost.batches.reduce((sum, each) => sum + each, 0);
    await client.change(unlink, { parent: ROOT_INODE, name: text("f0") });
    // Those that wait for nothing are gone.
    await until(() => data.slice(1).every(({ held }) => held.size === 0));
    expect(lost.deleted).toEqual([]);
    gate.resolve();
    await until(() => lost.deleted.length >= ordered);
    await cluster.whenWhole(0);
    await until(async () => (await client.ask(status, {})).deadBlocks === 0);
    expect(lost.held.size).toBe(0);
  }));

test("a server that knows no orders of many blocks gets them one by one", () =>
  withFiles(200, async (cluster) => {
    const { lost } = cluster;
    lost.batchRefusal = new DfsError("unsupported", "said by a test");
    await cluster.loseDisk();
    await cluster.whenFilled();
    expect(lost.batches).toEqual([]);
    expect(lost.held.size).toBe(200);
    await cluster.whenWhole(200);
  }));

test("a source that it cannot reach is asked no more when others have the blocks", () =>
  withFiles(BLOCKS, async (cluster) => {
    const { data, lost } = cluster;
    lost.cutOff.add(data[1]!);
    let unreached = 0;
    lost.batchAnswer = (results) => {
      unreached += results.filter((result) => result === "unreachable").length;
      return results;
    };
    await cluster.loseDisk();
    await cluster.whenFilled();
    expect(lost.held.size).toBe(BLOCKS);
    // Of the orders that were under way before the first was answered.
    expect(unreached).toBeLessThan(BLOCKS / 2);
    await cluster.whenWhole(BLOCKS);
  }));

test("nothing is ordered of it while it is full, and then in a pass", () =>
  withFiles(BLOCKS, async (cluster) => {
    const { client, lost } = cluster;
    lost.full = true;
    await cluster.loseDisk();
    await until(async () => {
      const { bad, judging } = await client.ask(holdings, { server: lost.id });
      return bad.copies === BLOCKS && !judging;
    });
    expect(lost.batches).toEqual([]);
    lost.full = false;
    await cluster.whenFilled();
    expect(lost.held.size).toBe(BLOCKS);
    expect(Math.max(...lost.batches)).toBeGreaterThan(BATCH_BLOCKS);
    await cluster.whenWhole(BLOCKS);
  }));

test("what could not be stored is tried again", () =>
  withFiles(BLOCKS, async (cluster) => {
    const { lost } = cluster;
    let refused = 0;
    lost.batchResult = () => Promise.resolve(refused++ < 900 ? "notStored" : undefined);
    await cluster.loseDisk();
    await cluster.whenFilled();
    expect(lost.held.size).toBe(BLOCKS);
    await cluster.whenWhole(BLOCKS);
  }));

test("two servers lose their disks one after the other", () =>
  withFiles(BLOCKS, async (cluster) => {
    const { data, lost, address } = cluster;
    const other = data[1]!;
    lost.copyGate = async () => {
      if (lost.copied.length === 0) return;
      lost.copyGate = () => Promise.resolve();
      await other.kill();
      other.held.clear();
      other.recovered = true;
      other.incarnation = incarnationId(systemRandom.id64());
      await other.restart(address);
    };
    await cluster.loseDisk();
    await cluster.whenFilled();
    await cluster.whenWhole(BLOCKS);
    for (const { held } of data) expect(held.size).toBe(BLOCKS);
  }));

// It takes no orders of many blocks, and the other one is slow.
test("a server that is refilled block by block does not wait for the pass of another one", async () => {
  using dir = temporaryDirectory();
  const meta = await startMeta(dir.path, { settings: { blockSize: 8 }, downDelayMs: 60_000 });
  try {
    const { address } = meta;
    const data: TestDataServer[] = [];
    for (let index = 0; index < 4; index++) data.push(await TestDataServer.join(address));
    const client = await TestClient.open(address);
    const { table, width } = await client.ask(placement, {});
    const rows = decodeRows(table, width);
    await client.put("f", data, 200, 8, undefined, (index) =>
      rows[groupOf(0, index)]!.map((id) => data.find((each) => each.id === id)!),
    );
    const [one, other] = [data[0]!, data[1]!];
    const isAlone = [...one.held.keys()].filter((block) => !other.held.has(block));
    const gate = Promise.withResolvers<void>();
    other.batchResult = () => gate.promise.then(() => undefined);
    one.batchRefusal = new DfsError("unsupported", "said by a test");
    await new Cluster(address, [other], client).loseDisk();
    await until(() => other.batches.length > 2); // all is ordered
    await new Cluster(address, [one], client).loseDisk();
    await until(() => isAlone.every((block) => one.held.has(block)));
    gate.resolve();
    await new Cluster(address, data, client).whenWhole(200);
  } finally {
    await meta.stop();
  }
});

// The comparison of a large server takes a while, in which it could be refilled already.
test("copies are made before the comparison with the record has ended", () =>
  withFiles(6_000, async (cluster) => {
    const { lost } = cluster;
    let pages = 0;
    const gate = Promise.withResolvers<void>();
    lost.listGate = () => (++pages <= 2 ? Promise.resolve() : gate.promise);
    await cluster.loseDisk();
    await until(() => lost.copied.length > 1_000);
    expect(lost.held.size).toBeLessThan(6_000);
    gate.resolve();
    await cluster.whenFilled();
    expect(lost.held.size).toBe(6_000);
    expect(lost.copied.length).toBe(6_000);
    await cluster.whenWhole(6_000);
  }));

test("its connection breaks before the comparison has ended", () =>
  withFiles(6_000, async (cluster) => {
    const { lost, address } = cluster;
    let pages = 0;
    const never = Promise.withResolvers<void>();
    lost.listGate = () => (++pages <= 2 ? Promise.resolve() : never.promise);
    await cluster.loseDisk();
    await until(() => lost.copied.length > 1_000);
    await lost.kill();
    lost.listGate = () => Promise.resolve();
    await lost.restart(address);
    await cluster.whenFilled();
    expect(lost.held.size).toBe(6_000);
    await cluster.whenWhole(6_000);
    never.resolve();
  }));

test("it is no faster than repairs may be", async () => {
  const beganMs = performance.now();
  await withFiles(
    BLOCKS,
    async (cluster) => {
      await cluster.loseDisk();
      await cluster.whenFilled();
      expect(cluster.lost.held.size).toBe(BLOCKS);
    },
    { repairBytesPerSecond: BLOCKS / 2 },
  );
  // Those of the first second may begin at once.
  expect(performance.now() - beganMs).toBeGreaterThan(900);
});

// Both wait for the same moment: the pass would always have it.
test("the rate is that of blocks that lack more, as long as there are any", async () => {
  using dir = temporaryDirectory();
  const settings = { settings: { blockSize: 8 }, downDelayMs: 60_000, repairBytesPerSecond: 150 };
  const meta = await startMeta(dir.path, settings);
  try {
    const { address } = meta;
    const data: TestDataServer[] = [];
    for (let index = 0; index < 4; index++) data.push(await TestDataServer.join(address));
    const client = await TestClient.open(address);
    const [lost, other] = [data[0]!, data[3]!];
    const { blocks } = await client.put("f", data, BLOCKS, 8, undefined, (index) =>
      [0, 1, 2].map((step) => data[(index + step) % 4]!),
    );
    await new Cluster(address, data, client).loseDisk();
    await until(() => lost.copied.length > 0);
    const bad = blocks.filter((_, index) => index % 4 === 1);
    for (const block of bad) other.rotten.add(block);
    await other.peer!.request(memberRotten, { blocks: bad }, { timeoutMs: 10_000 });
    const before = lost.copied.length;
    await until(() => other.rotten.size === 0);
    // An order may have been begun before the planner knew.
    expect(lost.copied.length - before).toBeLessThanOrEqual(150);
  } finally {
    await meta.stop();
  }
}, 30_000);
