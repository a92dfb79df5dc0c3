// Transactions about hundreds of copies of a server that lost its disk: what they leave on record is what judging each block leaves.

import { expect, test } from "bun:test";
import { blockId, inodeId, instanceId, serverId, type BlockId } from "../../../../src/base/ids.ts";
import { MAX_BATCHABLE_BYTES } from "../../../../src/base/limits.ts";
import { seededRandom, systemRandom, type Random } from "../../../../src/base/random.ts";
import { markRotten } from "../../../../src/server/meta/replica-operations.ts";
import { clusterView, REFILL, type ClusterView } from "../../../../src/server/meta/repair/need.ts";
import {
  finishEach,
  finishRefills,
  loseStretch,
  nextStretch,
  readRefills,
} from "../../../../src/server/meta/repair/refill-steps.ts";
import type { RefillTarget } from "../../../../src/server/meta/repair/refill-choice.ts";
import { judge } from "../../../../src/server/meta/repair/steps.ts";
import type { Repair, ReplicaState } from "../../../../src/server/meta/store/rows.ts";
import type { Operation } from "../../../../src/server/meta/store/store.ts";
import { failureOf } from "../../../support/failure.ts";
import { Harness, SERVERS, STANDINGS } from "../namespace/harness.ts";

const [S1, S2, S3, S4] = SERVERS as [
  (typeof SERVERS)[0],
  (typeof SERVERS)[0],
  (typeof SERVERS)[0],
  (typeof SERVERS)[0],
];
const NONE = blockId(0n);
const ALL = blockId((1n << 63n) - 1n);
const MOST = { rows: 100, bytes: 1_000_000 };
const INSTANCE = instanceId(1n);
/** Server 2 is refilled, and all others can give copies. */
const TARGET: RefillTarget = { server: S2, sources: new Set([S1, S3, S4]), which: "rest" };

const idOf = (number: number): BlockId => blockId(BigInt(number));

type Copies = Readonly<Record<number, ReplicaState>>;

/** A store in which server 2 has lost its disk. */
function emptied(): Harness {
  const harness = new Harness();
  change(harness, S2, { filling: true });
  return harness;
}

function change(harness: Harness, server: typeof S1, fields: object): void {
  const row = harness.primitives["server.get"](server)!;
  harness.primitives["server.put"]({ ...row, ...fields });
}

function insert(harness: Harness, id: number, copies: Copies, fields: object = {}): void {
  const { primitives } = harness;
  primitives["block.insert"]({
    id: idOf(id),
    state: "live",
    length: 100,
    checksum: BigInt(id),
    group: 0, // servers 1, 2 and 3
    refs: 1,
    inode: inodeId(2n),
    fileOffset: id * 100,
    diedNs: undefined,
    ...fields,
  });
  for (const [server, state] of Object.entries(copies)) {
    primitives["replica.put"]({ block: idOf(id), server: serverId(Number(server)), state });
  }
}

const inView = <T>(harness: Harness, step: (view: ClusterView) => Operation<T>): Promise<T> =>
  harness.run(
    (function* () {
      return yield* step(yield* clusterView(3, 7n));
    })(),
  );

/** Gives up what server 2 has on record, `limit` rows at a time. */
async function loseAll(harness: Harness, limit = 100): Promise<(number | undefined)[]> {
  const results: (number | undefined)[] = [];
  for (let after = NONE; ;) {
    const stretch = await harness.run(nextStretch(S2, after, limit));
    if (stretch === undefined) return results;
    results.push(await inView(harness, (view) => loseStretch(view, S2, stretch)));
    after = stretch.last;
  }
}

const read = (harness: Harness, after = NONE, most = MOST) =>
  inView(harness, (view) => readRefills(view, TARGET, { after, last: ALL }, most));

const copiesOf = ({ primitives }: Harness, id: number): string =>
  primitives["replica.list"](idOf(id))
    .map(({ server, state }) => `${server}:${state}`)
    .join(" ");

const repairsOf = ({ primitives }: Harness): Repair[] =>
  primitives["repair.list"](-1, NONE, 1000).toSorted((one, other) =>
    one.block < other.block ? -1 : 1,
  );

/** Everything that a step may change. */
const recordOf = (harness: Harness, count: number) => ({
  copies: Array.from({ length: count }, (_, at) => copiesOf(harness, at + 1)),
  repairs: repairsOf(harness),
});

const STATES = ["present", "present", "present", "present", "bad", "removing", undefined] as const;

/** Blocks 1 to `count` with any copies, and what they need on record. */
async function insertAny(harness: Harness, random: Random, count: number): Promise<void> {
  for (let id = 1; id <= count; id++) {
    const isDead = random.below(10) === 0;
    const copies: Record<number, ReplicaState> = {};
    for (const server of SERVERS) {
      const state = STATES[random.below(STATES.length)];
      if (state !== undefined) copies[server] = isDead ? "removing" : state;
    }
    const group = random.below(8);
    insert(harness, id, copies, {
      group,
      state: isDead ? "dead" : "live",
      diedNs: isDead ? 1n : undefined,
    });
  }
  const ids = Array.from({ length: count }, (_, at) => idOf(at + 1));
  await inView(harness, (view) => judge(view, ids, "shortWrite"));
}

test("what is lost together is on record as if each copy had been looked at", async () => {
  const seed = systemRandom.below(2 ** 31);
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  for (let round = 0; round < 20; round++) {
    const count = 1 + random.below(60);
    const content = random.below(2 ** 31);
    const [together, each] = [emptied(), emptied()];
    for (const server of [S3, S4]) {
      const fields = STANDINGS[random.below(STANDINGS.length)]!;
      for (const harness of [together, each]) change(harness, server, fields);
    }
    await insertAny(together, seededRandom(content), count);
    await insertAny(each, seededRandom(content), count);
    expect(recordOf(together, count)).toEqual(recordOf(each, count));
    const lost = await loseAll(together, 1 + random.below(20));
    const ids = Array.from({ length: count }, (_, at) => idOf(at + 1));
    const marked = await each.run(markRotten(ids, S2, 3, 7n));
    expect(lost.reduce<number>((sum, some) => sum + some!, 0)).toBe(marked);
    expect(recordOf(together, count)).toEqual(recordOf(each, count));

    const page = await read(together);
    const blocks = page.wanted.map(({ id }) => id).filter((id) => !page.misplaced.has(id));
    const refilled = { server: S2, instance: INSTANCE, blocks, mark: page.mark };
    await inView(together, (view) => finishRefills(view, refilled));
    expect(await inView(each, (view) => finishEach(view, refilled))).toBe(blocks.length);
    expect(recordOf(together, count)).toEqual(recordOf(each, count));
    together.close();
    each.close();
  }
});

test("a copy that is all that a block lacks has an urgency of its own; a block that lacks more has that of its good copies", async () => {
  const harness = emptied();
  insert(harness, 1, { 1: "present", 2: "present", 3: "present" });
  insert(harness, 2, { 1: "present", 2: "present", 3: "bad" });
  insert(harness, 3, { 2: "present" });
  insert(harness, 4, { 1: "present", 2: "present", 3: "present", 4: "present" });
  expect(await loseAll(harness)).toEqual([4]);
  expect(
    repairsOf(harness).map(({ block, missing, urgency }) => [block, missing, urgency]),
  ).toEqual([
    [idOf(1), 1, REFILL],
    [idOf(2), 2, 1],
    [idOf(3), 3, 0],
    [idOf(4), 0, 101],
  ]);
  harness.close();
});

// Server 3 is refilled already, and the block was on record as one that lacks just the copy there.
test("a block of which another server's copy is to come as well has the urgency of its one good copy", async () => {
  const harness = emptied();
  change(harness, S3, { filling: true });
  insert(harness, 1, { 1: "present", 2: "present", 3: "bad" });
  await inView(harness, (view) => judge(view, [idOf(1)], "badReplica"));
  expect(repairsOf(harness)).toMatchObject([{ missing: 1, urgency: REFILL }]);
  expect(await loseAll(harness)).toEqual([1]);
  expect(repairsOf(harness)).toMatchObject([{ missing: 2, urgency: 1 }]);
  harness.close();
});

test("copies on a server that is out do not count", async () => {
  const harness = emptied();
  change(harness, S4, { state: "out" });
  insert(harness, 1, { 1: "present", 2: "present", 3: "present", 4: "present" });
  insert(harness, 2, { 1: "present", 2: "present", 4: "present" });
  insert(harness, 3, { 1: "present", 2: "present", 3: "present" });
  expect(await loseAll(harness)).toEqual([3]);
  expect(repairsOf(harness).map(({ urgency }) => urgency)).toEqual([REFILL, 1, REFILL]);
  const { wanted, misplaced } = await read(harness);
  expect(wanted.map(({ id, holders }) => [id, holders.present])).toEqual([
    [idOf(1), [S1, S3]],
    [idOf(3), [S1, S3]],
  ]);
  expect(misplaced.size).toBe(0);
  harness.close();
});

test("of servers that are away nothing is asked, and blocks of which one copy is within reach are a round of their own", async () => {
  const harness = emptied();
  insert(harness, 1, { 1: "present", 2: "present", 3: "present" });
  insert(harness, 2, { 1: "present", 2: "present", 4: "present" });
  insert(harness, 3, { 2: "present", 3: "present", 4: "present" }, { group: 1 });
  insert(harness, 4, { 2: "present", 3: "present", 4: "present" }, { group: 1, length: 2 ** 21 });
  await loseAll(harness);
  const readOf = (sources: (typeof S1)[], which: RefillTarget["which"]) =>
    inView(harness, (view) => {
      const target = { server: S2, sources: new Set(sources), which };
      return readRefills(view, target, { after: NONE, last: ALL }, { rows: 100, bytes: 1e9 });
    });
  const first = await readOf([S1, S3], "urgent");
  expect(first.wanted.map(({ id, holders }) => [id, holders.present])).toEqual([
    [idOf(2), [S1]],
    [idOf(3), [S3]],
  ]);
  expect(first.others).toEqual([idOf(4)]);
  expect(first.misplaced).toEqual(new Set([idOf(2)]));
  const second = await readOf([S1, S3], "rest");
  expect(second.wanted.map(({ id }) => id)).toEqual([idOf(1)]);
  expect(second.others).toEqual([idOf(2), idOf(3), idOf(4)]);
  // Of blocks 3 and 4 no copy can be read.
  const none = await readOf([S1], "rest");
  expect(none).toMatchObject({ wanted: [], others: [idOf(1), idOf(2)], last: idOf(4) });
  harness.close();
});

test("what is on record of a block keeps its reason and its time", async () => {
  const harness = emptied();
  insert(harness, 1, { 1: "present", 2: "present" });
  insert(harness, 2, { 1: "present", 2: "present", 3: "present" });
  const since = { reason: "shortWrite", sinceNs: 3n } as const;
  harness.primitives["repair.put"]({ block: idOf(2), missing: 0, urgency: 100, ...since });
  await loseAll(harness);
  expect(harness.primitives["repair.get"](idOf(2))).toEqual({
    block: idOf(2),
    missing: 1,
    urgency: REFILL,
    ...since,
  });
  harness.close();
});

const DOUBTS: readonly [string, (harness: Harness) => void][] = [
  ["a copy was being made there", (harness) => insert(harness, 5, { 1: "present", 2: "adding" })],
  ["the server has not lost its disk", (harness) => change(harness, S2, { filling: false })],
];

test.each(DOUBTS)("nothing is given up together when %s", async (_, make) => {
  const harness = emptied();
  insert(harness, 1, { 1: "present", 2: "present", 3: "present" });
  insert(harness, 9, { 1: "present", 2: "present", 3: "present" });
  make(harness);
  expect(await loseAll(harness)).toEqual([undefined]);
  expect(copiesOf(harness, 1)).toBe("1:present 2:present 3:present");
  expect(repairsOf(harness)).toEqual([]);
  harness.close();
});

// The server had it durably by the time it came on record, after it had been asked what it holds.
test("nothing is given up together when a copy has come on record since the stretch was looked at", async () => {
  const harness = emptied();
  insert(harness, 1, { 1: "present", 2: "present", 3: "present" });
  insert(harness, 9, { 1: "present", 2: "present", 3: "present" });
  const stretch = (await harness.run(nextStretch(S2, NONE, 100)))!;
  insert(harness, 5, { 1: "present", 2: "present", 3: "present" });
  expect(await inView(harness, (view) => loseStretch(view, S2, stretch))).toBeUndefined();
  expect(copiesOf(harness, 5)).toBe("1:present 2:present 3:present");
  harness.close();
});

test("a page has blocks that lack this copy alone, and says which of them are misplaced; it names the others", async () => {
  const harness = emptied();
  insert(harness, 1, { 1: "present", 2: "present", 3: "present" });
  insert(harness, 2, { 1: "present", 2: "present", 4: "present" }); // 4 is a stand-in
  insert(harness, 3, { 1: "present", 2: "present", 3: "present", 4: "bad" });
  insert(harness, 4, { 2: "present", 3: "present", 4: "present" }, { group: 1 });
  insert(
    harness,
    5,
    { 1: "present", 2: "present", 3: "present" },
    { length: MAX_BATCHABLE_BYTES + 1 },
  );
  insert(harness, 6, { 1: "present", 2: "present", 3: "bad" }); // lacks two
  await loseAll(harness);
  const { wanted, misplaced, others, last, addresses } = await read(harness, NONE, {
    rows: 100,
    bytes: 1e9,
  });
  expect(wanted.map(({ id, holders }) => [id, holders.present])).toEqual([
    [idOf(1), [S1, S3]],
    [idOf(2), [S1, S4]],
    [idOf(4), [S3, S4]],
  ]);
  expect(misplaced).toEqual(new Set([idOf(2)]));
  expect(wanted[0]).toMatchObject({ length: 100, checksum: 1n, fileOffset: 100, group: 0 });
  expect(others).toEqual([idOf(3), idOf(5)]);
  expect(last).toBe(idOf(6));
  expect(addresses.get(S4)).toBe("127.0.0.1:4004");
  harness.close();
});

// When two servers have lost their disks all blocks of both lack more than one copy. They must not all be looked at with one statement.
test("a page looks at so many bad copies and no more, whatever is on record of them", async () => {
  const harness = emptied();
  const count = 5_000;
  for (let id = 1; id < count; id++) insert(harness, id, { 1: "present", 2: "bad", 3: "bad" });
  insert(harness, count, { 1: "present", 2: "present", 3: "present" });
  await loseAll(harness, 10_000);
  const lasts: (BlockId | undefined)[] = [];
  let page: Awaited<ReturnType<typeof read>> | undefined;
  do {
    const stretch = { after: page?.last ?? NONE, last: ALL };
    page = await inView(harness, (view) => readRefills(view, TARGET, stretch, MOST, page));
    lasts.push(page.last);
  } while (page.wanted.length === 0 && page.last !== undefined);
  expect(lasts).toEqual([2048, 4096, count].map(idOf));
  expect(page.wanted).toHaveLength(1);
  harness.close();
});

test("the placement table is read again when it has changed since the page before", async () => {
  const harness = emptied();
  for (const id of [1, 2]) insert(harness, id, { 1: "present", 2: "present", 3: "present" });
  await loseAll(harness);
  const one = { rows: 1, bytes: 1 };
  const first = await read(harness, NONE, one);
  const readSecond = (): ReturnType<typeof read> =>
    inView(harness, (view) => readRefills(view, TARGET, { after: idOf(1), last: ALL }, one, first));
  expect((await readSecond()).wanted).toHaveLength(1);
  const table = harness.primitives["placement.current"]()!;
  const rows = Uint8Array.from(table.rows);
  rows.set([0, 0, 0, 4], 0); // server 4 in the place of server 1 in group 0
  harness.primitives["placement.put"]({ ...table, version: table.version + 1n, rows });
  expect(await readSecond()).toMatchObject({ misplaced: new Set([idOf(2)]) });
  harness.close();
});

test("a page ends where the bytes do, but has one block at least", async () => {
  const harness = emptied();
  for (let id = 1; id <= 5; id++) insert(harness, id, { 1: "present", 2: "present", 3: "present" });
  await loseAll(harness);
  const pages: number[] = [];
  for (let after: BlockId | undefined = NONE; after !== undefined;) {
    const page = await read(harness, after, { rows: 4, bytes: pages.length === 0 ? 299 : 1 });
    pages.push(page.wanted.length);
    after = page.last;
  }
  expect(pages).toEqual([2, 1, 1, 1, 0]);
  harness.close();
});

// Of blocks of a MiB each page would have eight, however few of them are of the round.
test("the bytes of blocks that are not ordered do not count", async () => {
  const harness = emptied();
  for (let id = 1; id <= 50; id++) {
    const copies = id % 10 === 0 ? { 1: "present", 4: "present" } : { 1: "present", 3: "present" };
    insert(harness, id, { ...copies, 2: "present" } as Copies);
  }
  await loseAll(harness);
  const target: RefillTarget = { server: S2, sources: new Set([S1, S3]), which: "urgent" };
  const { wanted, last } = await inView(harness, (view) =>
    readRefills(view, target, { after: NONE, last: ALL }, { rows: 100, bytes: 350 }),
  );
  expect(wanted.map(({ id }) => id)).toEqual([10, 20, 30].map(idOf));
  expect(last).toBe(idOf(39));
  harness.close();
});

const CHANGES: readonly [string, (harness: Harness) => void, string][] = [
  [
    "a copy of a block became bad",
    ({ primitives }) => {
      primitives["replica.put"]({ block: idOf(2), server: S1, state: "bad" });
      primitives["repair.put"]({
        block: idOf(2),
        missing: 2,
        urgency: 1,
        reason: "badReplica",
        sinceNs: 7n,
      });
    },
    "1:bad 2:present 3:present",
  ],
  [
    "a block has died",
    ({ primitives }) => {
      primitives["block.setDead"](idOf(2), 8n);
      primitives["replica.setAll"](idOf(2), "removing");
      primitives["repair.delete"](idOf(2));
    },
    "1:removing 2:removing 3:removing",
  ],
  [
    "the server was verified",
    ({ primitives }) => {
      primitives["replica.put"]({ block: idOf(2), server: S2, state: "present" });
      primitives["repair.delete"](idOf(2));
    },
    "1:present 2:present 3:present",
  ],
  [
    "a server is being drained",
    (harness) => change(harness, S3, { state: "draining" }),
    "1:present 2:present 3:present",
  ],
];

test.each(CHANGES)(
  "when %s since a page was read, its copies are judged one by one",
  async (_, make, left) => {
    const harness = emptied();
    for (const id of [1, 2]) insert(harness, id, { 1: "present", 2: "present", 3: "present" });
    await loseAll(harness);
    const { wanted, mark } = await read(harness);
    make(harness);
    const before = recordOf(harness, 2);
    const refilled = { server: S2, instance: INSTANCE, blocks: wanted.map(({ id }) => id), mark };
    const failure = await failureOf(inView(harness, (view) => finishRefills(view, refilled)));
    expect(failure).toMatchObject({ kind: "conflict" });
    expect(recordOf(harness, 2)).toEqual(before);
    await inView(harness, (view) => finishEach(view, refilled));
    expect(copiesOf(harness, 1)).toBe("1:present 2:present 3:present");
    expect(copiesOf(harness, 2)).toBe(left);
    harness.close();
  },
);

test("what a former run of the server has made does not count", async () => {
  const harness = emptied();
  insert(harness, 1, { 1: "present", 2: "present", 3: "present" });
  await loseAll(harness);
  const { mark } = await read(harness);
  change(harness, S2, { instance: instanceId(2n) });
  const refilled = { server: S2, instance: INSTANCE, blocks: [idOf(1)], mark };
  expect(await failureOf(inView(harness, (view) => finishRefills(view, refilled)))).toMatchObject({
    kind: "conflict",
  });
  expect(await inView(harness, (view) => finishEach(view, refilled))).toBe(0);
  expect(copiesOf(harness, 1)).toBe("1:present 2:bad 3:present");
  harness.close();
});
