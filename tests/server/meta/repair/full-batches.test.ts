// Copies that go together: batches are begun for whole ones, wherever the blocks of a refilled server have their other copies.

import { expect, test } from "bun:test";
import { blockId, inodeId, serverId } from "../../../../src/base/ids.ts";
import { MAX_BATCHED_BYTES } from "../../../../src/base/limits.ts";
import { BATCH_BLOCKS } from "../../../../src/server/meta/repair/batches.ts";
import { Batches } from "../../../../src/server/meta/repair/batches.ts";
import { whenFree, type CopyJob } from "../../../../src/server/meta/repair/choice.ts";
import type { Seen } from "../../../../src/server/meta/repair/eyes.ts";
import { Loads, partOfOne } from "../../../../src/server/meta/repair/loads.ts";
import { ManualClock } from "../../../support/manual-clock.ts";

const TARGET = serverId(2);
const PER_SERVER = 4;

/** The other two copies of a block, of which the target had the third: on two of three servers, in turn. */
const SOURCES = [
  [1, 3],
  [3, 4],
  [4, 1],
].map((pair) => pair.map((server) => ({ server: serverId(server) }) as Seen));

function jobs(count: number, length: number): CopyJob[] {
  return Array.from({ length: count }, (_, index) => ({
    kind: "copy",
    block: {
      id: blockId(BigInt(index + 1)),
      state: "live",
      length,
      checksum: 1n,
      group: 0,
      refs: 1,
      inode: inodeId(2n),
      fileOffset: 0,
      diedNs: undefined,
    },
    target: TARGET,
    isEmptied: true,
    sources: SOURCES[index % SOURCES.length]!,
    present: "bad",
    urgent: false,
    move: false,
    more: false,
  }));
}

/** Offers what waits, as the planner does. Returns the batches that come of it; what has no place yet stays in `waiting`. */
function offer(waiting: CopyJob[], loads: Loads): ReturnType<Batches["takeAll"]> {
  const batches = new Batches();
  for (const job of waiting.splice(0)) {
    const free = whenFree(job, { loads, perServer: PER_SERVER }, batches);
    if (free === "busy") {
      waiting.push(job);
      continue;
    }
    const batch = batches.add(free);
    loads.count(TARGET, batch.source.server, partOfOne(job.block.length), 1);
  }
  return batches.takeAll();
}

test.each([
  [1024 * 1024, MAX_BATCHED_BYTES / (1024 * 1024)],
  [4096, BATCH_BLOCKS],
])("batches of blocks of %d bytes have %d of them, but for the last ones", (length, full) => {
  const loads = new Loads(new ManualClock());
  const waiting = jobs(20 * full + 3, length);
  const underWay: ReturnType<Batches["takeAll"]> = [];
  const sizes: number[] = [];
  while (waiting.length > 0 || underWay.length > 0) {
    underWay.push(...offer(waiting, loads));
    expect(loads.incoming(TARGET)).toBeLessThanOrEqual(PER_SERVER);
    // Two end before more are offered, the others go on.
    for (const { jobs: together, source } of underWay.splice(0, 2)) {
      sizes.push(together.length);
      for (const { block } of together)
        loads.count(TARGET, source.server, partOfOne(block.length), -1);
    }
  }
  const short = sizes.filter((size) => size < full);
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(20 * full + 3);
  expect(short.length).toBeLessThanOrEqual(SOURCES.length);
});
