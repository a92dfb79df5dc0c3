// When the planner reads its queue from the beginning again. The clock stands still, and nothing can be done for any block.

import { expect, test } from "bun:test";
import { blockId, serverId, type BlockId } from "../../../../src/base/ids.ts";
import { silentLogger } from "../../../../src/base/logger.ts";
import type { Engine } from "../../../../src/server/meta/engine.ts";
import type { Members } from "../../../../src/server/meta/members.ts";
import { Loads } from "../../../../src/server/meta/repair/loads.ts";
import { Pace } from "../../../../src/server/meta/repair/pace.ts";
import { Planner } from "../../../../src/server/meta/repair/planner.ts";
import { Retries } from "../../../../src/server/meta/repair/retries.ts";
import type { Surveys } from "../../../../src/server/meta/repair/surveys.ts";
import type { Worker } from "../../../../src/server/meta/repair/worker.ts";
import {
  runSync,
  type Operation,
  type Primitives,
} from "../../../../src/server/meta/store/store.ts";
import { ManualClock } from "../../../support/manual-clock.ts";

const BLOCKS = 600; // more than one page of the queue

interface Rig {
  readonly planner: Planner;
  readonly clock: ManualClock;
  /** Behind which blocks a page of the queue was read, in order; 0 is the beginning. */
  readonly reads: number[];
  /** Happens while a page is being read. */
  whileReading: (page: number) => void;
  /** Whether the one server is full. */
  full: boolean;
}

/** Blocks with one copy on a server that is not there, and one server to copy to: nothing can be done. */
function rig(): Rig {
  const clock = new ManualClock();
  const reads: number[] = [];
  const primitives = {
    "server.list": () => [
      { id: serverId(1), state: "up", address: "", zone: "", filling: false },
      { id: serverId(2), state: "down", address: "", zone: "", filling: false },
    ],
    "repair.list": (_: number, after: BlockId, limit: number) => {
      reads.push(Number(after));
      made.whileReading(reads.length);
      const count = Math.min(limit, BLOCKS - Number(after));
      return Array.from({ length: count }, (_each, at) => {
        return { block: blockId(after + BigInt(at + 1)), urgency: 1, missing: 2 };
      });
    },
    "block.getMany": (ids: readonly BlockId[]) =>
      ids.map((id) => ({ id, state: "live", length: 1, group: 0 })),
    "replica.listMany": (ids: readonly BlockId[]) =>
      ids.map((block) => ({ block, server: serverId(2), state: "present" })),
    "placement.rows": (groups: readonly number[]) =>
      groups.map((group) => ({ group, servers: [serverId(1), serverId(2)] })),
  } as unknown as Primitives;
  const engine = {
    settings: { replicas: 3 },
    nowNs: 0n,
    question: (operation: () => Operation<unknown>) =>
      Promise.resolve(runSync(primitives, operation())),
  } as unknown as Engine;
  const members = {
    settled: () => [{ server: serverId(1) }],
    isConnected: () => false,
    lastSign: () => ({ condition: { capacityBytes: 1, usedBytes: 0, full: made.full } }),
  } as unknown as Members;
  const planner = new Planner({
    engine,
    members,
    worker: {
      jobs: 0,
      prunes: 0,
      isBusyWith: () => false,
      beginBatches: () => undefined,
    } as unknown as Worker,
    surveys: { kick: () => undefined } as unknown as Surveys,
    loads: new Loads(clock),
    pace: new Pace(clock, 0),
    retries: new Retries(clock),
    clock,
    logger: silentLogger,
    intervalMs: 1_000,
    copiesPerServer: 4,
    moveMisplaced: true,
  });
  const made: Rig = { planner, clock, reads, whileReading: () => undefined, full: false };
  return made;
}

/** How long reading a page takes: less than the interval, and so long that the pause after a pass is many of it. */
const SLOW_MS = 200;

test("nothing is read again but the beginning while nothing happens", async () => {
  const made = rig();
  made.whileReading = () => made.clock.holdUp(SLOW_MS);
  made.planner.start();
  await made.clock.advance(0);
  expect(made.reads).toEqual([0, 512]);
  await made.clock.advance(3_000);
  expect(made.reads.slice(2).every((after) => after === 0)).toBe(true);
  await made.planner.stop();
});

// Whoever comes while the queue is being read concerns blocks that were passed over already: they waited for up to ten minutes.
test("what happens during a pass begins another one right after it", async () => {
  const made = rig();
  made.whileReading = (page) => {
    made.clock.holdUp(SLOW_MS);
    if (page === 2) made.planner.kick();
  };
  made.planner.start();
  await made.clock.advance(0);
  expect(made.reads).toEqual([0, 512, 0, 512]);
  await made.planner.stop();
});

test("so does a server that has room again", async () => {
  const made = rig();
  made.full = true;
  made.planner.start();
  await made.clock.advance(0);
  expect(made.reads).toEqual([0, 512]);
  made.whileReading = () => made.clock.holdUp(SLOW_MS);
  made.planner.kick();
  await made.clock.advance(0);
  expect(made.reads.slice(2)).toEqual([0, 512]);
  made.full = false;
  await made.clock.advance(1_500); // the interval, not the pause
  expect(made.reads.slice(4)).toContain(512);
  await made.planner.stop();
});
