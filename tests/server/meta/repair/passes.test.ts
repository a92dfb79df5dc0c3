// When the planner reads its queue from the beginning again, and what it does not put off until then. The clock stands still
// unless a test moves it.

import { describe, expect, test } from "bun:test";
import { blockId, serverId, type BlockId } from "../../../../src/base/ids.ts";
import { silentLogger } from "../../../../src/base/logger.ts";
import type { Engine } from "../../../../src/server/meta/engine.ts";
import type { Members } from "../../../../src/server/meta/members.ts";
import type { Job } from "../../../../src/server/meta/repair/choice.ts";
import { Loads } from "../../../../src/server/meta/repair/loads.ts";
import { REFILL } from "../../../../src/server/meta/repair/need.ts";
import { Pace } from "../../../../src/server/meta/repair/pace.ts";
import { Planner } from "../../../../src/server/meta/repair/planner.ts";
import type { Refills } from "../../../../src/server/meta/repair/refills.ts";
import { Retries } from "../../../../src/server/meta/repair/retries.ts";
import { Share } from "../../../../src/server/meta/repair/share.ts";
import type { Surveys } from "../../../../src/server/meta/repair/surveys.ts";
import type { Worker } from "../../../../src/server/meta/repair/worker.ts";
import {
  runSync,
  type Operation,
  type Primitives,
} from "../../../../src/server/meta/store/store.ts";
import { ManualClock } from "../../../support/manual-clock.ts";

const BLOCKS = 600; // more than one page of the queue

interface Entry {
  readonly block: number;
  readonly urgency: number;
  /** Whether it has a copy that can be read. */
  readonly isPossible: boolean;
}

interface Rig {
  readonly planner: Planner;
  readonly clock: ManualClock;
  readonly retries: Retries;
  /** Behind which blocks a page of the queue was read, in order; 0 is the beginning, undefined the end of an urgency. */
  readonly reads: (number | undefined)[];
  /** Jobs that were begun, in order. */
  readonly begun: Job[];
  /** By urgency and block. */
  queue: readonly Entry[];
  /** Happens while a page is being read. */
  whileReading: (page: number) => void;
  /** Whether the servers that are up are full. */
  full: boolean;
  /** Whether every server that is refilled has its pass. */
  isRefilling: boolean;
  /** State of server 2. */
  state: "down" | "out";
}

/** Blocks with one copy on a server that is not there: nothing can be done. */
const impossible: readonly Entry[] = Array.from({ length: BLOCKS }, (_, at) => {
  return { block: at + 1, urgency: 1, isPossible: false };
});

const HIGHEST = 2n ** 63n - 1n;

/** A planner with two servers to copy to, and the queue of blocks that are impossible. */
function rig(): Rig {
  const clock = new ManualClock();
  const retries = new Retries(clock);
  const reads: (number | undefined)[] = [];
  const begun: Job[] = [];
  const row = { address: "", zone: "", filling: false };
  const find = (id: BlockId): Entry | undefined =>
    made.queue.find(({ block }) => block === Number(id));
  const repairOf = ({ block, urgency }: Entry) => ({ block: blockId(BigInt(block)), urgency });
  const primitives = {
    "server.list": () => [
      { id: serverId(1), state: "up", ...row },
      { id: serverId(2), state: made.state, ...row },
      { id: serverId(3), state: "up", ...row },
    ],
    "repair.list": (urgency: number, after: BlockId, limit: number) => {
      reads.push(after === HIGHEST ? undefined : Number(after));
      made.whileReading(reads.length);
      return made.queue
        .filter(
          (each) => each.urgency > urgency || (each.urgency === urgency && each.block > after),
        )
        .slice(0, limit)
        .map(repairOf);
    },
    "repair.getMany": (ids: readonly BlockId[]) =>
      ids.map(find).flatMap((entry) => (entry === undefined ? [] : [repairOf(entry)])),
    "block.getMany": (ids: readonly BlockId[]) =>
      ids.map((id) => ({ id, state: "live", length: 1, group: 0 })),
    "replica.listMany": (ids: readonly BlockId[]) =>
      ids.flatMap((block) => {
        const entry = find(block);
        const first = serverId(entry?.isPossible === true ? 1 : 2);
        const servers = entry?.urgency === 2 ? [first, serverId(2)] : [first];
        return servers.map((server) => ({ block, server, state: "present" }));
      }),
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
    settled: () => [{ server: serverId(1) }, { server: serverId(3) }],
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
      begin: (job: Job) => void begun.push(job),
      beginBatches: () => undefined,
    } as unknown as Worker,
    refills: {
      get isComplete() {
        return made.isRefilling;
      },
      isBusyWith: () => false,
      kick: () => undefined,
    } as unknown as Refills,
    surveys: { kick: () => undefined } as unknown as Surveys,
    loads: new Loads(clock),
    pace: new Pace(clock, 0),
    share: new Share(),
    retries,
    clock,
    logger: silentLogger,
    intervalMs: 1_000,
    copiesPerServer: 4,
    moveMisplaced: true,
  });
  const made: Rig = {
    planner,
    clock,
    retries,
    reads,
    begun,
    queue: impossible,
    whileReading: () => undefined,
    full: false,
    isRefilling: false,
    state: "down",
  };
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
  // The beginning of the queue, and what comes behind its urgency.
  expect(new Set(made.reads.slice(2))).toEqual(new Set([0, undefined]));
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

describe("behind more blocks that nothing can be done for than a page has", () => {
  /** After a pass, in the long pause before the next one. */
  async function paused(queue: readonly Entry[]): Promise<Rig> {
    const made = rig();
    made.queue = queue;
    made.whileReading = () => made.clock.holdUp(SLOW_MS);
    made.planner.start();
    await made.clock.advance(0);
    return made;
  }

  const blocksOf = ({ begun }: Rig): number[] => begun.map(({ block }) => Number(block.id));

  test("a block is tried again when its time has come", async () => {
    const made = await paused([...impossible, { block: 900, urgency: 1, isPossible: true }]);
    expect(blocksOf(made)).toEqual([900]);
    made.retries.failed(blockId(900n));
    await made.clock.advance(900);
    expect(blocksOf(made)).toEqual([900]);
    await made.clock.advance(2_500);
    expect(blocksOf(made)).toEqual([900, 900]);
    await made.planner.stop();
  });

  test("a block that lacks two copies gets the second one right after the first", async () => {
    const made = await paused([...impossible, { block: 900, urgency: 1, isPossible: true }]);
    expect(blocksOf(made)).toEqual([900]);
    made.planner.ended(made.begun);
    await made.clock.advance(0);
    expect(blocksOf(made)).toEqual([900, 900]);
    await made.planner.stop();
  });

  test("a block that has come meanwhile is seen, though nobody told of it", async () => {
    const made = await paused(impossible);
    expect(made.begun).toEqual([]);
    made.queue = [...impossible, { block: 900, urgency: 2, isPossible: true }];
    await made.clock.advance(1_500);
    expect(blocksOf(made)).toContain(900);
    await made.planner.stop();
  });
});

describe("of more blocks of refills than a page has", () => {
  /** Behind what a page was read while a quarter of a minute passed, in a cluster in which refills go on. */
  async function readIn(
    state: Rig["state"],
    before: (planner: Planner) => void = () => undefined,
  ): Promise<Rig["reads"]> {
    const made = rig();
    made.queue = [];
    made.state = state;
    made.planner.start();
    await made.clock.advance(0);
    made.queue = impossible.map((entry) => ({ ...entry, urgency: REFILL }));
    made.isRefilling = true;
    made.planner.kick();
    await made.clock.advance(0);
    expect(made.reads).toEqual([0, 0, undefined]);
    before(made.planner);
    await made.clock.advance(15_000);
    await made.planner.stop();
    return made.reads;
  }

  test("no more than the first page is read: the refills tell what they leave", async () => {
    expect(await readIn("out")).not.toContain(512);
  });

  test("all are read now and then while a server is waited for", async () => {
    const reads = await readIn("down");
    expect(reads.filter((after) => after === 512).length).toBe(1);
  });

  test("so they are when refills have left more than can be kept in mind", async () => {
    const left = Array.from({ length: 10_000 }, (_, at) => blockId(BigInt(at + 1_000)));
    const reads = await readIn("out", (planner) => planner.consider(left));
    expect(reads.filter((after) => after === 512).length).toBe(1);
  });
});
