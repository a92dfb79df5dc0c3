// From figures to "healthy", "degraded" or "at risk".

import { expect, test } from "bun:test";
import { incarnationId, instanceId, serverId } from "../../src/base/ids.ts";
import type { ServerState } from "../../src/protocol/messages/cluster.ts";
import { assess } from "../../src/tools/shared/health.ts";

const WANTED = { replicas: 3, writeQuorum: 2 };

function servers(...states: ServerState[]) {
  return states.map((state, index) => ({
    server: serverId(index + 1),
    address: `127.0.0.1:${4001 + index}`,
    state,
    zone: "",
    tags: [],
    incarnation: incarnationId(1n),
    instance: instanceId(1n),
    capacityBytes: 1000,
    usedBytes: 0,
    full: false,
    blocks: 0,
    replicas: 0,
    heardNs: null,
    filling: false,
    sinceNs: null,
    outInMs: null,
    heldBack: false,
    refuses: false,
  }));
}

function figures(blocksByCopies: number[], missingCopies = 0) {
  return {
    blocksByCopies,
    missingCopies,
    liveBlocks: blocksByCopies.reduce((sum, blocks) => sum + blocks, 0),
  };
}

test("all copies, all servers: healthy", () => {
  const health = assess(figures([0, 0, 0, 12]), servers("up", "up", "up", "up"), WANTED);
  expect(health).toMatchObject({ level: "healthy", reasons: [], servers: { total: 4, up: 4 } });
  expect(health.nextFailure).toBe("everything could still be read, writing would go on");
});

test("an empty cluster is healthy", () => {
  expect(assess(figures([0, 0, 0, 0]), servers("up", "up", "up"), WANTED).level).toBe("healthy");
});

test("one server down: degraded, and it says what is missing", () => {
  const health = assess(figures([0, 0, 9, 3]), servers("up", "down", "up", "up"), WANTED);
  expect(health.level).toBe("degraded");
  expect(health.reasons).toEqual([
    "9 blocks with fewer than 3 copies within reach",
    "1 data server not up",
  ]);
  expect(health.nextFailure).toBe(
    "everything could still be read, up to 9 blocks would be down to one copy, writing would go on",
  );
});

test("missing copies on record: degraded, with all servers up", () => {
  const health = assess(figures([0, 0, 0, 3], 2), servers("up", "up", "up", "up"), WANTED);
  expect(health).toMatchObject({ level: "degraded", reasons: ["2 copies still to be made"] });
});

test("blocks with one copy: at risk", () => {
  const health = assess(figures([0, 1, 2, 0]), servers("up", "down", "down", "up"), WANTED);
  expect(health.level).toBe("atRisk");
  expect(health.reasons[0]).toBe("1 block has just one copy within reach");
  expect(health.nextFailure).toContain("up to 1 block could not be read");
  expect(health.nextFailure).toContain("writing would stop");
});

test("blocks without a copy: at risk, first of all", () => {
  const health = assess(figures([5, 7, 0, 0]), servers("up", "down", "down", "down"), WANTED);
  expect(health.level).toBe("atRisk");
  expect(health.reasons[0]).toContain("5 blocks cannot be read now");
  expect(health.reasons.at(-1)).toContain("nothing can be written");
});

test("a cluster that wants one copy is healthy with one", () => {
  const health = assess(figures([0, 4]), servers("up"), { replicas: 1, writeQuorum: 1 });
  expect(health.level).toBe("healthy");
  expect(health.nextFailure).toBe("up to 4 blocks could not be read, writing would stop");
});

test("too few servers for all copies: degraded", () => {
  const health = assess(figures([0, 0, 0, 0]), servers("up", "up"), WANTED);
  expect(health).toMatchObject({
    level: "degraded",
    reasons: ["new blocks get 2 copies instead of 3"],
  });
});

test("a full server is told", () => {
  const list = servers("up", "up", "up", "up").map((server, index) => ({
    ...server,
    full: index === 0,
  }));
  expect(assess(figures([0, 0, 0, 1]), list, WANTED).reasons).toEqual(["1 data server full"]);
});

// It was said that writing would go on, and it waited: in the strict manner nobody stands in for a server that is away.
test("a server that is being refilled: degraded, also before its copies are on record as lost, and it counts for no write", () => {
  const all = (...filling: boolean[]) =>
    servers(...filling.map(() => "up" as const)).map((each, index) => ({
      ...each,
      filling: filling[index]!,
    }));
  const one = assess(figures([0, 0, 0, 12]), all(false, true, false, false), WANTED);
  expect(one).toMatchObject({ level: "degraded", reasons: ["1 data server being refilled"] });
  const last = assess(figures([0, 0, 0, 12]), all(true, true, false), WANTED);
  expect(last.reasons).toContain(
    "nothing can be written: 2 data servers must be up and not being refilled, 1 are",
  );
  const two = assess(figures([0, 0, 0, 12]), all(true, false, false), WANTED);
  expect(two.nextFailure).toBe("everything could still be read, writing would stop");
  const strict = { replicas: 3, writeQuorum: 3 };
  const waiting = assess(figures([0, 0, 0, 12]), all(true, false, false, false), strict);
  expect(waiting.reasons.join()).toContain("some writes wait or fail");
});

test("a write quorum of all copies: what a server that is away or full means for writes", () => {
  const strict = { replicas: 3, writeQuorum: 3 };
  const wait =
    "some writes wait or fail: with a write quorum of 3 all servers of a block must be up, not full and not being refilled";
  const whole = assess(figures([0, 0, 0, 4]), servers("up", "up", "up", "up"), strict);
  expect(whole.level).toBe("healthy");
  expect(whole.nextFailure).toContain("some writes would wait for it");
  const one = assess(figures([0, 0, 0, 4]), servers("up", "up", "up", "down"), strict);
  expect(one.reasons).toContain(wait);
  expect(one.nextFailure).toContain("writing would stop");
  const usual = assess(figures([0, 0, 0, 4]), servers("up", "up", "up", "down"), WANTED);
  expect(usual.reasons).not.toContain(wait);
});

test("the disk of the metadata is full: degraded, and what to do; one with room, or unknown, is no matter", () => {
  const MIB = 2 ** 20;
  const assessed = (full: boolean | null) => {
    const metadataDisk =
      full === null ? null : { full, freeBytes: full ? 4096 : 1, neededBytes: 64 * MIB };
    const state = { ...figures([0, 0, 0, 12]), metadataDisk };
    return assess(state, servers("up", "up", "up", "up"), WANTED);
  };
  expect(assessed(true)).toMatchObject({
    level: "degraded",
    reasons: [
      "the disk that holds the metadata database is full: everything can be read and files removed, other changes are " +
        "refused; make room on it: 64 MiB must be free, 4 KiB are",
    ],
  });
  for (const other of [false, null]) expect(assessed(other).level).toBe("healthy");
});
