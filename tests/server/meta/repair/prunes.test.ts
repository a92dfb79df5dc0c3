// Copies too many go many together, over real sockets: each on its own merits, and with few requests.

import { describe, expect, test } from "bun:test";
import type { BlockId } from "../../../../src/base/ids.ts";
import { status } from "../../../../src/protocol/messages/cluster.ts";
import { MISPLACED } from "../../../../src/server/meta/repair/need.ts";
import type { MetaServerOptions } from "../../../../src/server/meta/server.ts";
import { temporaryDirectory, until } from "../support/durable.ts";
import { TestDataServer } from "../support/data-server.ts";
import { startMeta, TestClient } from "../support/service.ts";

const OPTIONS: Partial<MetaServerOptions> = {
  settings: { blockSize: 8 },
  outDelayMs: 3_600_000,
  moveMisplaced: false,
  repairBytesPerSecond: 0,
};

const BLOCKS = 1000;

interface Rig {
  readonly data: readonly TestDataServer[];
  readonly blocks: readonly BlockId[];
  readonly settled: () => Promise<void>;
  readonly stop: () => Promise<void>;
}

/** Blocks with a copy on each of four servers, one too many; `spoil` happens before that is on record. */
async function fourCopies(
  dir: string,
  spoil: (data: readonly TestDataServer[]) => void,
): Promise<Rig> {
  const meta = await startMeta(dir, OPTIONS);
  const data: TestDataServer[] = [];
  for (let index = 0; index < 4; index++) data.push(await TestDataServer.join(meta.address));
  const client = await TestClient.open(meta.address);
  const { blocks } = await client.put("f", data, BLOCKS, 8, () => Promise.resolve(spoil(data)));
  const settled = (): Promise<void> =>
    until(async () => {
      const { repair } = await client.ask(status, {});
      const held = data.reduce((sum, server) => sum + server.held.size, 0);
      return repair!.queue.every(({ urgency }) => urgency === MISPLACED) && held === 3 * BLOCKS;
    });
  return { data, blocks, settled, stop: () => meta.stop() };
}

describe("copies too many", () => {
  test("of small blocks: a server is asked to read those of many together", async () => {
    using dir = temporaryDirectory();
    const { data, blocks, settled, stop } = await fourCopies(dir.path, () => undefined);
    await settled();
    for (const block of blocks) expect(data.filter(({ held }) => held.has(block))).toHaveLength(3);
    const requests = data.flatMap(({ verifications }) => verifications);
    expect(requests.reduce((sum, each) => sum + each, 0)).toBeGreaterThanOrEqual(3 * BLOCKS);
    expect(requests.length).toBeLessThan(100); // one for each block and server were 3000
    await stop();
  });

  test("those that are found rotten go, and none is given up for them", async () => {
    using dir = temporaryDirectory();
    const rotten = new Map<TestDataServer, ReadonlySet<BlockId>>();
    const { data, blocks, settled, stop } = await fourCopies(dir.path, (all) => {
      for (const [at, server] of all.entries()) {
        const ids = [...server.held.keys()].filter((id) => id % 8n === BigInt(at));
        rotten.set(server, new Set(ids));
        for (const id of ids) server.rotten.add(id);
      }
    });
    await settled();
    for (const block of blocks) {
      const holders = data.filter(({ held }) => held.has(block));
      const right = holders.filter((server) => !server.rotten.has(block));
      // A rotten copy that was the one to go was not read before; of the others three right ones are left.
      expect({ block, holders: holders.length, right: right.length }).toEqual({
        block,
        holders: 3,
        right: 3,
      });
    }
    expect([...rotten.values()].every(({ size }) => size > 0)).toBe(true);
    await stop();
  });

  test("stay while a server that is to keep one cannot be asked, and go when it can", async () => {
    using dir = temporaryDirectory();
    const { data, settled, stop } = await fourCopies(dir.path, (all) => {
      all[1]!.verifyGate = () => Promise.reject(new Error("not now"));
    });
    await until(() => data[1]!.verifications.length > 3);
    const { held } = data[1]!;
    expect(data.every((server) => server === data[1] || server.held.size > 0)).toBe(true);
    expect(held.size).toBeGreaterThan(0);
    data[1]!.verifyGate = () => Promise.resolve();
    await settled();
    await stop();
  });
});
