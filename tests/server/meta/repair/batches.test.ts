// Small blocks are copied together: what one of them, the source or the target does to a batch, and what stays of it.

import { describe, expect, test } from "bun:test";
import { DfsError } from "../../../../src/base/errors.ts";
import { ROOT_INODE } from "../../../../src/base/ids.ts";
import { BATCH_BLOCKS } from "../../../../src/server/meta/repair/batches.ts";
import { explain, status } from "../../../../src/protocol/messages/cluster.ts";
import { unlink } from "../../../../src/protocol/messages/namespace.ts";
import type { MetaServer } from "../../../../src/server/meta/server.ts";
import { temporaryDirectory, until } from "../support/durable.ts";
import { TestDataServer } from "../support/data-server.ts";
import { startMeta, TestClient, text } from "../support/service.ts";

type TestFile = Awaited<ReturnType<TestClient["put"]>>;

interface Rig {
  readonly meta: MetaServer;
  readonly client: TestClient;
  /** The first ones hold the blocks that `put` makes; the last one is to get copies of them. */
  readonly data: readonly TestDataServer[];
  readonly target: TestDataServer;
}

async function withRig(servers: number, work: (rig: Rig) => Promise<void>): Promise<void> {
  using dir = temporaryDirectory();
  const meta = await startMeta(dir.path, {
    settings: { blockSize: 8 },
    outDelayMs: 3_600_000,
    moveMisplaced: false,
  });
  const data: TestDataServer[] = [];
  for (let index = 0; index < servers; index++) {
    data.push(await TestDataServer.join(meta.address));
  }
  const client = await TestClient.open(meta.address);
  await work({ meta, client, data, target: data.at(-1)! });
  await meta.stop();
}

/** Servers and states of the copies of each block, as in "1:present 2:bad". */
async function copies({ client }: Rig, { inode }: TestFile): Promise<string[]> {
  const { rows } = await client.ask(explain, { inode, offset: 0, limit: 2000 });
  return rows.map(({ replicas }) =>
    replicas
      .map(({ server, state }) => `${server}:${state}`)
      .sort()
      .join(" "),
  );
}

const ALL_PRESENT = "1:present 2:present 3:present";

async function allArePresent(rig: Rig, file: TestFile): Promise<void> {
  await until(async () => (await copies(rig, file)).every((each) => each === ALL_PRESENT));
  const held = (server: TestDataServer): boolean =>
    file.blocks.every((block) => server.held.has(block) && !server.rotten.has(block));
  expect(rig.data.every(held)).toBe(true);
  await until(async () => (await rig.client.ask(status, {})).missingCopies === 0);
}

/** A file of which `target` has no copies yet; the orders for them wait until `open` is called. */
async function withOrders(rig: Rig, blocks: number): Promise<{ file: TestFile; open: () => void }> {
  const { client, data, target } = rig;
  const { promise, resolve } = Promise.withResolvers<void>();
  target.copyGate = () => promise;
  const file = await client.put("f", data.slice(0, 2), blocks);
  await until(() => target.batches.reduce((sum, count) => sum + count, 0) === blocks);
  return { file, open: resolve };
}

describe("a batch", () => {
  test("has as many blocks as it may, and all that are put at once are in few of them", () =>
    withRig(3, async (rig) => {
      const { file, open } = await withOrders(rig, 3 * BATCH_BLOCKS);
      expect(new Set(await copies(rig, file))).toEqual(new Set(["1:present 2:present 3:adding"]));
      open();
      await allArePresent(rig, file);
      const { batches, copied } = rig.target;
      expect(Math.max(...batches)).toBeLessThanOrEqual(BATCH_BLOCKS);
      expect(batches.length).toBeLessThan(20);
      expect(copied.length).toBe(3 * BATCH_BLOCKS); // each once
      const { repair } = await rig.client.ask(status, {});
      expect(repair).toMatchObject({ copiedBlocks: copied.length, copiedBytes: copied.length });
    }));

  test("in which one block fails harms no other; that one is made alone", () =>
    withRig(3, async (rig) => {
      const { file, open } = await withOrders(rig, 20);
      const results = ["notStored", "notGiven", "unreachable"] as const;
      rig.target.batchResult = async (block) => results[file.blocks.indexOf(block) - 5];
      open();
      await allArePresent(rig, file);
      const last = rig.target.copied.slice(-3);
      expect(new Set(last)).toEqual(new Set(file.blocks.slice(5, 8)));
    }));

  test.each(["lost", "rotten"])(
    "whose source has %s what it should hold gets it from the other, and the source is mended",
    (how) =>
      withRig(3, async (rig) => {
        const { file, open } = await withOrders(rig, 20);
        const [source] = rig.data;
        // Each of the two is asked for a part of them.
        if (how === "lost") source!.held.clear();
        else for (const block of file.blocks) source!.rotten.add(block);
        open();
        await until(() => file.blocks.every((block) => rig.target.held.has(block)));
        await until(() => (how === "lost" ? source!.held.size > 0 : source!.rotten.size < 20));
        await until(async () => (await copies(rig, file)).every((each) => each === ALL_PRESENT));
      }),
  );

  // The results are told apart by their places alone: were one missing, a copy that was not made would count as present.
  test.each(["one too few", "one too many"])(
    "that is answered with %s results says nothing of any of its blocks",
    (how) =>
      withRig(3, async (rig) => {
        const { file, open } = await withOrders(rig, 20);
        const { target } = rig;
        let isOnce = true;
        target.batchResult = async (block) =>
          isOnce && block === file.blocks[0] ? "notStored" : undefined;
        let odd = 0;
        target.batchAnswer = (results) => {
          const at = results.indexOf("notStored");
          if (!isOnce || at < 0) return results;
          isOnce = false;
          odd++;
          const stored = how === "one too few" ? [] : (["stored", "notStored"] as const);
          return results.toSpliced(at, 1, ...stored);
        };
        open();
        await allArePresent(rig, file);
        expect(odd).toBe(1);
      }),
  );

  test("whose target refuses all of it is given to another server", () =>
    withRig(4, async (rig) => {
      const { client, data } = rig;
      data[2]!.copyRefusal = new DfsError("noSpace", "said by a test");
      const file = await client.put("f", data.slice(0, 2), 20);
      await until(() => file.blocks.every((block) => data[3]!.held.has(block)));
      await until(async () => (await client.ask(status, {})).missingCopies === 0);
      expect(data[2]!.held.size).toBe(0);
      expect(new Set(await copies(rig, file))).toEqual(new Set(["1:present 2:present 4:present"]));
    }));

  test("whose only possible target cannot take it for a while is made there afterwards", () =>
    withRig(3, async (rig) => {
      rig.target.copyRefusal = new DfsError("busy", "said by a test");
      rig.target.batchRefusal = rig.target.copyRefusal;
      const before = rig.target.commands.length;
      const file = await rig.client.put("f", rig.data.slice(0, 2), 20);
      await until(() => rig.target.commands.length > before);
      await until(async () => (await rig.client.ask(status, {})).repair!.copying === 0);
      rig.target.copyRefusal = undefined;
      rig.target.batchRefusal = undefined;
      await allArePresent(rig, file);
    }));

  test("of a server that is told of each block alone, being older, is made one by one", () =>
    withRig(3, async (rig) => {
      rig.target.batchRefusal = new DfsError("unsupported", "as an older server says");
      const file = await rig.client.put("f", rig.data.slice(0, 2), 20);
      await allArePresent(rig, file);
    }));

  test("whose target dies in the middle of it is settled when that is back, whatever was stored", () =>
    withRig(3, async (rig) => {
      const { file } = await withOrders(rig, 20); // they are never answered
      const { target, meta, data } = rig;
      for (const block of file.blocks.slice(0, 7)) {
        target.held.set(block, data[0]!.held.get(block)!); // stored, and never acknowledged
      }
      target.held.set(file.blocks[7]!, data[0]!.held.get(file.blocks[7]!)!);
      target.rotten.add(file.blocks[7]!);
      await target.kill();
      target.copyGate = () => Promise.resolve();
      expect(new Set(await copies(rig, file))).toEqual(new Set(["1:present 2:present 3:adding"]));
      await target.restart(meta.address);
      await allArePresent(rig, file);
      expect(new Set(target.copied)).toEqual(new Set(file.blocks.slice(7)));
    }));

  test("a block that dies while it is in one is deleted when the batch has ended, and stays away", () =>
    withRig(3, async (rig) => {
      const { client, data, target } = rig;
      const { open } = await withOrders(rig, 20);
      await client.change(unlink, { parent: ROOT_INODE, name: text("f") });
      await until(() => data[0]!.held.size + data[1]!.held.size === 0);
      expect((await client.ask(status, {})).deadBlocks).toBe(20);
      // The sources have none any more: as if the target had fetched them before.
      target.batchResult = async (block) => {
        target.held.set(block, { length: 1, checksum: 0n });
        return "stored";
      };
      open();
      await until(async () => (await client.ask(status, {})).deadBlocks === 0);
      expect(target.held.size).toBe(0);
    }));
});
