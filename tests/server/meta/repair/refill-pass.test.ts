// Passes of several servers, which read from the same sources. The store is real; orders are carried out when a test says so.

import { expect, test } from "bun:test";
import { blockId, inodeId, type BlockId, type ServerId } from "../../../../src/base/ids.ts";
import { MAX_BATCHABLE_BYTES, MAX_BATCHED_BYTES } from "../../../../src/base/limits.ts";
import { silentLogger } from "../../../../src/base/logger.ts";
import type { BatchResult } from "../../../../src/protocol/messages/data.ts";
import type { BatchOrder, Commands } from "../../../../src/server/meta/commands.ts";
import type { Engine } from "../../../../src/server/meta/engine.ts";
import type { Member, Members } from "../../../../src/server/meta/members.ts";
import { Loads } from "../../../../src/server/meta/repair/loads.ts";
import { REFILL } from "../../../../src/server/meta/repair/need.ts";
import { Pace } from "../../../../src/server/meta/repair/pace.ts";
import { RefillPass } from "../../../../src/server/meta/repair/refill-pass.ts";
import { Refills } from "../../../../src/server/meta/repair/refills.ts";
import { Share } from "../../../../src/server/meta/repair/share.ts";
import type { Operation } from "../../../../src/server/meta/store/store.ts";
import { ManualClock } from "../../../support/manual-clock.ts";
import { Harness, SERVERS } from "../namespace/harness.ts";

const [S1, S2, S3, S4] = SERVERS as [ServerId, ServerId, ServerId, ServerId];
const COPIES_PER_SERVER = 4;
/** Blocks of which an order takes as many as a slot holds. */
const IN_ORDER = MAX_BATCHED_BYTES / MAX_BATCHABLE_BYTES;

interface Order {
  readonly server: ServerId;
  readonly blocks: number;
  readonly end: () => void;
}

/**
 * A store in which servers 1 and 2 are refilled, each with so many blocks of its own that others have. `bytesPerSecond` is the rate; 0:
 * none.
 */
function rig(blocks: number, bytesPerSecond = 0) {
  const harness = new Harness();
  const { primitives } = harness;
  const lacking = (id: BlockId, server: ServerId): void => {
    primitives["block.insert"]({
      id,
      state: "live",
      length: MAX_BATCHABLE_BYTES,
      checksum: 1n,
      group: 0,
      refs: 1,
      inode: inodeId(2n),
      fileOffset: 0,
      diedNs: undefined,
    });
    for (const other of [S3, S4])
      primitives["replica.put"]({ block: id, server: other, state: "present" });
    primitives["replica.put"]({ block: id, server, state: "bad" });
    const since = { reason: "badReplica", sinceNs: 1n } as const;
    primitives["repair.put"]({ block: id, missing: 1, urgency: REFILL, ...since });
  };
  const cutOff = new Set<ServerId>();
  const left: BlockId[] = [];
  for (let at = 0; at < blocks; at++) {
    lacking(blockId(BigInt(2 * at + 1)), S1);
    lacking(blockId(BigInt(2 * at + 2)), S2);
  }
  for (const server of [S1, S2]) {
    primitives["server.put"]({ ...primitives["server.get"](server)!, filling: true });
  }
  const loads = new Loads(new ManualClock());
  const begun: Order[] = [];
  const underWay: Order[] = [];
  const run = <T>(operation: () => Operation<T>): Promise<T> => harness.run(operation());
  const settings = { replicas: 3 };
  const reads = { count: 0 };
  const question: typeof run = (operation) => {
    reads.count++;
    return run(operation);
  };
  const engine = { settings, nowNs: 1n, question, change: run } as unknown as Engine;
  const copyMany = ({ server }: Member, { blocks: ordered, sources }: BatchOrder) =>
    new Promise<BatchResult[]>((resolve) => {
      const isCutOff = (source: number): boolean => cutOff.has(sources[source]!.server);
      const results = ordered.map(({ source }) => (isCutOff(source) ? "unreachable" : "stored"));
      const order = { server, blocks: ordered.length, end: () => resolve(results) };
      begun.push(order);
      underWay.push(order);
    });
  const clock = new ManualClock();
  const pace = new Pace(clock, bytesPerSecond);
  /** Who can give copies, as long as no others can. */
  let others: readonly ServerId[] | undefined;
  const now = (given: readonly ServerId[]): void => void (others = given);
  const options = {
    engine,
    commands: { copyMany } as unknown as Commands,
    loads,
    pace,
    share: new Share(),
    clock,
    logger: silentLogger,
    copiesPerServer: COPIES_PER_SERVER,
    isBusyWith: () => false,
    isHeld: () => false,
    onBad: () => undefined,
    onLeft: (given: readonly BlockId[]) => void left.push(...given),
  };
  const memberOf = (server: ServerId): Member => {
    const { instance } = primitives["server.get"](server)!;
    const peer = { open: true, closed: new Promise(() => undefined) };
    return { server, instance, peer } as unknown as Member;
  };
  const passOf = (server: ServerId, sources: readonly ServerId[]): RefillPass => {
    const given = () => new Set(others ?? sources);
    return new RefillPass({ ...options, sources: given }, memberOf(server), undefined);
  };
  /** The passes of all servers, which are all there. */
  const refills = (): Refills => {
    const there = SERVERS.map(memberOf);
    const members = { settled: () => there, lastSign: () => undefined } as unknown as Members;
    return new Refills({ ...options, members, onEnded: () => undefined });
  };
  return { harness, loads, begun, underWay, passOf, refills, cutOff, left, reads, clock, now };
}

/** What can happen without anything else has happened. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 200; turn++) await Promise.resolve();
  await Bun.sleep(0);
}

test("two passes with one source do not read more from it at a time than it may give, and take turns", async () => {
  const { harness, loads, begun, underWay, passOf } = rig(10 * IN_ORDER);
  const passes = [passOf(S1, [S3]), passOf(S2, [S3])];
  let ended = 0;
  for (const pass of passes) void pass.run().then(() => ended++);
  const most: number[] = [];
  for (;;) {
    await settled();
    most.push(loads.outgoing(S3));
    const next = underWay.shift();
    if (next === undefined) break;
    next.end();
  }
  expect(ended).toBe(2);
  expect(harness.primitives["repair.total"]()).toBe(0);
  // One slot is left for what is more urgent.
  expect(Math.max(...most)).toBeLessThan(COPIES_PER_SERVER);
  expect(loads.outgoing(S3)).toBe(0);
  let ahead = 0;
  for (const { server } of begun) {
    ahead += server === S1 ? 1 : -1;
    expect(Math.abs(ahead)).toBeLessThanOrEqual(2);
  }
  harness.close();
});

test("what one source has no room for is read from another, and when none has a pass waits", async () => {
  const { harness, loads, begun, underWay, passOf } = rig(5 * IN_ORDER);
  loads.count(S2, S3, COPIES_PER_SERVER - 1, 1);
  const pass = passOf(S1, [S3, S4]);
  const run = pass.run();
  await settled();
  expect(loads.outgoing(S3)).toBe(COPIES_PER_SERVER - 1);
  expect(begun.length).toBe(COPIES_PER_SERVER - 1);
  loads.count(S2, S4, COPIES_PER_SERVER, 1);
  for (const order of underWay.splice(0)) order.end();
  await settled();
  expect(begun.length).toBe(COPIES_PER_SERVER - 1);
  expect(pass.isCopying(blockId(99n))).toBe(false); // nothing waits for it
  loads.count(S2, S3, COPIES_PER_SERVER - 1, -1);
  for (let turn = 0; turn < 5; turn++, await settled()) {
    for (const order of underWay.splice(0)) order.end();
  }
  await run;
  expect(begun.reduce((sum, { blocks }) => sum + blocks, 0)).toBe(5 * IN_ORDER);
  expect(loads.outgoing(S4)).toBe(COPIES_PER_SERVER);
  harness.close();
});

// Each order would cost the server a wait, and the pass was given up.
test("blocks whose one source the server cannot reach are left, and the others are copied", async () => {
  const { harness, begun, underWay, passOf, cutOff, left } = rig(20 * IN_ORDER);
  const { primitives } = harness;
  for (const { block } of primitives["replica.listUnsettled"](S1, "bad", blockId(0n), 1_000)) {
    const isFirst = block <= 20 * IN_ORDER;
    primitives["replica.delete"](block, isFirst ? S4 : S3);
    primitives["replica.put"]({ block, server: S2, state: "present" });
  }
  cutOff.add(S3);
  const run = passOf(S1, [S3, S4]).run();
  for (let turn = 0; turn < 30; turn++, await settled()) {
    for (const order of underWay.splice(0)) order.end();
  }
  await run;
  expect(new Set(left).size).toBe(10 * IN_ORDER);
  expect(left.every((block) => block <= 20 * IN_ORDER)).toBe(true);
  expect(primitives["repair.total"]()).toBe((10 + 20) * IN_ORDER);
  // Three orders were under way before the first one was answered.
  const ordered = begun.reduce((sum, { blocks }) => sum + blocks, 0);
  expect(ordered).toBe((10 + COPIES_PER_SERVER - 1) * IN_ORDER);
  harness.close();
});

test("a pass that waits for the one source that it can reach does not look again and again", async () => {
  const { harness, loads, underWay, passOf, cutOff, reads } = rig(4 * IN_ORDER);
  cutOff.add(S3);
  const run = passOf(S1, [S3, S4]).run();
  await settled();
  loads.count(S2, S4, COPIES_PER_SERVER, 1);
  for (const order of underWay.splice(0)) order.end();
  await settled();
  const { count } = reads;
  for (let turn = 0; turn < 5; turn++) await settled();
  expect(reads.count).toBe(count);
  loads.count(S2, S4, COPIES_PER_SERVER, -1);
  for (let turn = 0; turn < 10; turn++, await settled()) {
    for (const order of underWay.splice(0)) order.end();
  }
  await run;
  expect(loads.outgoing(S4)).toBe(0);
  harness.close();
});

// A network that is out for a moment would have everything come from the others, for as long as the pass goes on.
test("a source that the server cannot reach is asked again after some time", async () => {
  const { harness, loads, underWay, passOf, cutOff, clock } = rig(20 * IN_ORDER);
  cutOff.add(S3);
  const pass = passOf(S1, [S2, S3, S4]);
  void pass.run();
  const endAll = async (): Promise<void> => {
    for (const order of underWay.splice(0)) order.end();
    await settled();
  };
  await settled();
  await endAll();
  expect(loads.outgoing(S3)).toBe(0);
  expect(loads.outgoing(S4)).toBeGreaterThan(0);
  cutOff.clear();
  await clock.advance(200_000);
  await endAll();
  expect(loads.outgoing(S3)).toBe(0);
  await clock.advance(200_000);
  await endAll();
  expect(loads.outgoing(S3)).toBeGreaterThan(0);
  pass.stop();
  harness.close();
});

// Nobody tells when servers can reach each other again: all of the rest was refilled block by block.
test("a pass that has failed is followed by another one", async () => {
  const { harness, begun, underWay, refills, cutOff, clock } = rig(10 * IN_ORDER);
  cutOff.add(S3).add(S4);
  const passes = refills();
  passes.kick();
  await settled();
  for (const order of underWay.splice(0)) order.end();
  await settled();
  expect(passes.isUnderWay).toBe(false);
  cutOff.clear();
  const before = begun.length;
  await clock.advance(60_000);
  for (let turn = 0; turn < 30; turn++, await settled()) {
    for (const order of underWay.splice(0)) order.end();
  }
  expect(begun.length).toBeGreaterThan(before);
  expect(harness.primitives["repair.total"]()).toBe(0);
  await passes.stop();
  harness.close();
});

/** A block takes more than a day. */
const SLOW = 10;

// The planner would make them one by one, and only when it comes to them.
test("a pass that waits for the rate goes on at once with blocks of which one copy is within reach", async () => {
  const { begun, underWay, passOf, clock, now, harness } = rig(2 * IN_ORDER, SLOW);
  const pass = passOf(S1, [S2, S3, S4]);
  void pass.run();
  await settled();
  for (const order of underWay.splice(0)) order.end();
  await clock.advance(1_000);
  expect(begun.map(({ blocks }) => blocks)).toEqual([1]);
  now([S2, S3]);
  pass.lookAgain();
  await clock.advance(1_000);
  expect(begun.slice(1).map(({ blocks }) => blocks)).toEqual([IN_ORDER, IN_ORDER - 1]);
  pass.stop();
  harness.close();
});

// All of it would be an order, for which others would have to wait.
test("the rate applies from the moment on when a server is back that was waited for", async () => {
  const { begun, underWay, passOf, clock, now, harness } = rig(10 * IN_ORDER, SLOW);
  const pass = passOf(S1, [S2, S3]);
  void pass.run();
  await settled();
  expect(begun.map(({ blocks }) => blocks)).toEqual(Array(COPIES_PER_SERVER - 1).fill(IN_ORDER));
  now([S2, S3, S4]);
  pass.lookAgain();
  for (const order of underWay.splice(0)) order.end();
  await clock.advance(1_000);
  expect(begun.slice(COPIES_PER_SERVER - 1).map(({ blocks }) => blocks)).toEqual([1]);
  pass.stop();
  harness.close();
});
