// Transactions of repairs on a store, one after the other in an order that a running service may have them in.

import { expect, test } from "bun:test";
import { blockId, inodeId, serverId } from "../../../../src/base/ids.ts";
import { setServerState } from "../../../../src/server/meta/member-operations.ts";
import { clusterView } from "../../../../src/server/meta/repair/need.ts";
import { beginCopies, surveyStep } from "../../../../src/server/meta/repair/steps.ts";
import { Harness } from "../namespace/harness.ts";

const S1 = serverId(1);

/** Blocks 1 to `count`, each with copies on servers 1, 2 and 3. */
function insertBlocks(harness: Harness, count: number): void {
  const { primitives } = harness;
  for (let id = 1; id <= count; id++) {
    primitives["block.insert"]({
      id: blockId(BigInt(id)),
      state: "live",
      length: 1,
      checksum: 1n,
      group: 0,
      refs: 1,
      inode: inodeId(0n),
      fileOffset: 0,
      diedNs: undefined,
    });
    for (const server of [1, 2, 3]) {
      const replica = { block: blockId(BigInt(id)), server: serverId(server) };
      primitives["replica.put"]({ ...replica, state: "present" });
    }
  }
}

// A survey was written back from memory with the place that it had reached. A server that went out while the survey of its
// return was under way put a new one on record, which that overwrote: the blocks before that place were never made again.
test("a survey that is put on record while one of the same server is under way begins anew", async () => {
  const harness = new Harness();
  insertBlocks(harness, 10);
  const step = () =>
    harness.run(
      (function* () {
        return yield* surveyStep(yield* clusterView(3, harness.nowNs), S1, 4);
      })(),
    );
  await harness.run(setServerState(S1, "out"));
  await harness.run(setServerState(S1, "up"));
  expect(await step()).toEqual({ server: S1, after: blockId(4n) });
  await harness.run(setServerState(S1, "out"));
  for (let more = true; more;) more = (await step()) !== undefined;
  const queue = harness.primitives["repair.list"](-1, blockId(0n), 100);
  expect(queue.map(({ block, missing }) => [block, missing])).toEqual(
    Array.from({ length: 10 }, (_, index) => [blockId(BigInt(index + 1)), 1]),
  );
  harness.close();
});

// A copy was put on record on a server that had been removed since the planner chose it: nobody would have taken it off again.
test("no copy is begun on a server that was removed meanwhile", async () => {
  const harness = new Harness();
  insertBlocks(harness, 1);
  const { primitives } = harness;
  const block = blockId(1n);
  primitives["replica.delete"](block, S1);
  const begin = (target: number) =>
    harness.run(
      (function* () {
        const copies = [{ block, move: false }];
        return yield* beginCopies(yield* clusterView(3, harness.nowNs), serverId(target), copies);
      })(),
    );
  primitives["server.delete"](serverId(4));
  expect(await begin(4)).toEqual([false]);
  expect(primitives["replica.list"](block).map(({ server }) => server)).toEqual([
    serverId(2),
    serverId(3),
  ]);
  expect(await begin(1)).toEqual([true]);
  harness.close();
});
