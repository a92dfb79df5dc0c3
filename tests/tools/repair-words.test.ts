// What `dfs status` says of repairs.

import { expect, test } from "bun:test";
import { repairLine, repairSummary } from "../../src/tools/shared/repair-words.ts";

const IDLE = {
  queue: [],
  copying: 0,
  suspects: 0,
  copiedBlocks: 0,
  copiedBytes: 0,
  bytesPerSecond: 0,
};

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
