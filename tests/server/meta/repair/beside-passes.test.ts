// Misplaced and surplus blocks come behind refills. A pass may last for hours: beside it they get a share, and no more.

import { expect, test } from "bun:test";
import { MAX_BATCHED_BYTES } from "../../../../src/base/limits.ts";
import { Share } from "../../../../src/server/meta/repair/share.ts";
import { until } from "../support/durable.ts";
import { BLOCKS, withFiles } from "../support/refill-cluster.ts";

// At this rate the pass takes a minute.
const SLOW = { servers: 4, repairBytesPerSecond: 25 };

/** What is misplaced or one too many, at most, for so many blocks that passes have ordered. */
const shareOf = (ordered: number): number => ordered / 8 + 1;

test("blocks are moved to their places before a pass has ended, but not many", () =>
  withFiles(
    BLOCKS,
    async (cluster) => {
      const { data, lost, client } = cluster;
      const had = new Set(lost.held.keys());
      await cluster.loseDisk();
      await until(() => lost.copied.length > 0);
      // Three of four belong on the server that is refilled.
      const { blocks } = await client.put("misplaced", data.slice(1), 100);
      const moved = (): number => blocks.filter((block) => lost.held.has(block)).length;
      await until(() => moved() > 2);
      const ordered = lost.batches.reduce((sum, each) => sum + each, 0);
      expect(moved()).toBeLessThanOrEqual(shareOf(ordered));
      expect([...had].some((block) => !lost.held.has(block))).toBe(true);
    },
    SLOW,
  ));

test("copies that are one too many go before a pass has ended, but not many", () =>
  withFiles(
    BLOCKS,
    async (cluster) => {
      const { data, lost, client } = cluster;
      const had = new Set(lost.held.keys());
      await cluster.loseDisk();
      await until(() => lost.copied.length > 0);
      const { blocks } = await client.put("surplus", data.slice(1), 100);
      // It had them all the while, as nobody knew.
      const [, one, other, third] = data;
      const kept = (): number =>
        blocks.length * 3 -
        [one, other, third].reduce(
          (sum, server) => sum + blocks.filter((block) => server!.held.has(block)).length,
          0,
        );
      for (const block of blocks) lost.held.set(block, one!.held.get(block)!);
      await lost.kill();
      await lost.restart(cluster.address);
      await until(() => kept() > 2);
      const ordered = lost.batches.reduce((sum, each) => sum + each, 0);
      expect(kept()).toBeLessThanOrEqual(shareOf(ordered));
      expect([...had].some((block) => !lost.held.has(block))).toBe(true);
    },
    SLOW,
  ));

test("the share is a part of what passes order, by bytes or by blocks, and is not saved up", () => {
  const share = new Share();
  expect(share.isOpen).toBe(false);
  share.ordered(8, 8);
  for (const isOpen of [true, false]) {
    expect(share.isOpen).toBe(isOpen);
    if (isOpen) share.begin(1);
  }
  share.ordered(1_000 * MAX_BATCHED_BYTES, 1);
  share.begin(MAX_BATCHED_BYTES);
  expect(share.isOpen).toBe(false);
  share.ordered(8 * MAX_BATCHED_BYTES, 1);
  share.begin(2 * MAX_BATCHED_BYTES); // what is begun last may exceed it
  share.ordered(8 * MAX_BATCHED_BYTES, 1);
  expect(share.isOpen).toBe(false);
  share.ordered(8, 1);
  expect(share.isOpen).toBe(true);
});
