// What `dfs status` says of repairs.

import { expect, test } from "bun:test";
import type { ServerState } from "../../src/protocol/messages/cluster.ts";
import * as words from "../../src/tools/shared/repair-words.ts";

const IDLE = {
  queue: [],
  copying: 0,
  suspects: 0,
  copiedBlocks: 0,
  copiedBytes: 0,
  bytesPerSecond: 0,
};

const serversThatAre = (...states: ServerState[]) =>
  states.map((state) => ({ state, full: false }));

const FOUR = serversThatAre("up", "up", "up", "up");
const { repairLine } = words;
type Repair = Parameters<typeof words.repairSummary>[0];
const repairSummary = (repair: Repair, servers = FOUR) => words.repairSummary(repair, servers);

const row = (urgency: number, blocks: number, copies = blocks, bytes = copies * 1024) => ({
  urgency,
  blocks,
  copies,
  bytes,
});

test("nothing to do, and what was done", () => {
  expect(repairLine(repairSummary(IDLE))).toBe("nothing to do");
  expect(repairLine(repairSummary({ ...IDLE, copiedBlocks: 2, copiedBytes: 2048 }))).toBe(
    "nothing to do; 2 copies made since the service started (2 KiB)",
  );
});

test("blocks to copy, copies under way, time left", () => {
  const queue = [row(1, 43, 86), row(2, 200)];
  const repair = { ...IDLE, queue, copying: 3, bytesPerSecond: 24_407 };
  expect(repairLine(repairSummary(repair))).toBe(
    "being repaired: 243 blocks (286 KiB), 3 copies under way, 23.8 KiB/s, about 12 s left",
  );
  expect(repairSummary(repair)).toMatchObject({
    blocksToCopy: [43, 200],
    copiesToMake: 286,
    bytesToCopy: 286 * 1024,
    secondsLeft: 12,
  });
});

test("what cannot be copied, and what is only untidy", () => {
  const queue = [row(0, 1, 3), row(100, 4, 0), row(101, 1, 0)];
  expect(repairLine(repairSummary({ ...IDLE, queue, suspects: 2 }))).toBe(
    "1 block without a good copy to copy from, 2 reported copies to verify, 4 blocks to be moved, " +
      "1 block with a copy to remove",
  );
  expect(repairSummary({ ...IDLE, queue })).toMatchObject({
    blocksToCopy: [],
    blocksWithoutGoodCopy: 1,
    misplacedBlocks: 4,
    surplusBlocks: 1,
    secondsLeft: undefined,
  });
});

test("copies that no server can take are not being made", () => {
  const three = serversThatAre("up", "up", "out");
  const queue = [row(1, 10, 20), row(2, 90)];
  const repair = { ...IDLE, queue, bytesPerSecond: 1024 };
  expect(repairLine(repairSummary(repair, three))).toBe(
    "being repaired: 10 blocks (10 KiB), 1 KiB/s, about 10 s left, 100 copies (100 KiB) have to wait for another server",
  );
  expect(repairSummary(repair, three)).toMatchObject({
    copiesToMake: 110,
    blocksWithoutPlace: 90,
    copiesWithoutPlace: 100,
    bytesWithoutPlace: 100 * 1024,
    secondsLeft: 10,
  });
  const settled = { ...repair, queue: [row(2, 100)] };
  expect(repairLine(repairSummary(settled, three))).toBe(
    "100 copies (100 KiB) have to wait for another server",
  );
  expect(repairLine(repairSummary(settled, serversThatAre("up", "up", "down")))).toContain(
    "being repaired: 100 blocks",
  );
  const full = FOUR.map((each) => ({ ...each, full: true }));
  expect(repairLine(repairSummary(settled, full))).toBe(
    "100 copies (100 KiB) have to wait for another server",
  );
});
