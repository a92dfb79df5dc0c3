// What is done for a block, and with which servers, as a table of situations.

import { describe, expect, test } from "bun:test";
import {
  blockId,
  incarnationId,
  inodeId,
  instanceId,
  serverId,
  type ServerId,
} from "../../../../src/base/ids.ts";
import {
  choose,
  type Candidate,
  type Choice,
  type ChoiceLimits,
} from "../../../../src/server/meta/repair/choice.ts";
import type { Eyes, Seen } from "../../../../src/server/meta/repair/eyes.ts";
import { MISPLACED, needOf, SURPLUS } from "../../../../src/server/meta/repair/need.ts";
import type { Block, ReplicaState, Server } from "../../../../src/server/meta/store/rows.ts";

const BLOCK: Block = {
  id: blockId(7n),
  state: "live",
  length: 100,
  checksum: 1n,
  group: 0,
  refs: 1,
  inode: inodeId(2n),
  fileOffset: 0,
  diedNs: undefined,
};

/** Six servers in three zones; the block's group wants 1, 2 and 3. */
const ZONES = ["a", "b", "c", "a", "b", "c"];
const ROW = [1, 2, 3].map(serverId);

interface Situation {
  /** Copies, as in `1 2:bad 4:adding`; a number alone is present. */
  readonly copies: string;
  /** States of servers that are not up, by number. */
  readonly servers?: Readonly<Record<number, Server["state"]>>;
  readonly full?: readonly number[];
  readonly free?: Readonly<Record<number, number>>;
  readonly busy?: readonly number[];
  readonly failed?: readonly number[];
  readonly recorded?: number;
  /** Servers that are being compared with the record, by number. */
  readonly compared?: readonly number[];
}

function situation(of: Situation): [Candidate, Eyes, ChoiceLimits] {
  const stateOf = (number: number): Server["state"] => of.servers?.[number] ?? "up";
  const rows = ZONES.map((zone, index): Server => ({
    id: serverId(index + 1),
    incarnation: incarnationId(1n),
    instance: instanceId(1n),
    address: `127.0.0.1:${index + 1}`,
    zone,
    tags: [],
    state: stateOf(index + 1),
    filling: false,
    registeredNs: 0n,
  }));
  const replicas = of.copies
    .split(" ")
    .filter((word) => word !== "")
    .map((word) => {
      const [number, state = "present"] = word.split(":");
      return { block: BLOCK.id, server: serverId(Number(number)), state: state as ReplicaState };
    });
  const view = {
    replicas: 3,
    nowNs: 0n,
    servers: new Map(rows.map((row) => [row.id, row])),
    rows: new Map(),
  };
  const need = needOf(view, replicas, ROW);
  const ring = rows.map((row, index): Seen => ({
    server: row.id,
    address: row.address,
    zone: row.zone,
    usable:
      (row.state === "up" || row.state === "draining") && of.compared?.includes(index + 1) !== true,
    beingCompared: of.compared?.includes(index + 1) === true,
    isOut: row.state === "out",
    isDraining: row.state === "draining",
    isFilling: row.filling,
    hasRoom: row.state === "up" && of.full?.includes(index + 1) !== true,
    freeShare: of.free?.[index + 1] ?? 0.5,
  }));
  const load = (server: ServerId): number => (of.busy?.includes(server) === true ? 4 : 0);
  return [
    { block: BLOCK, replicas, row: ROW, need, recorded: of.recorded ?? need.urgency ?? -1 },
    { ring, of: (server) => ring.find((seen) => seen.server === server) },
    {
      replicas: 3,
      perServer: 4,
      loads: { incoming: load, outgoing: load },
      failed: new Set((of.failed ?? []).map(serverId)),
      moveMisplaced: true,
    },
  ];
}

/** In a few words. */
function said(choice: Choice): string {
  if (typeof choice === "string") return choice;
  if (choice.kind === "copy") {
    const from = choice.sources.map(({ server }) => server).join();
    const how = [choice.urgent ? "urgent" : "", choice.move ? "move" : ""].join("");
    return `copy ${from} to ${choice.target} ${how}`.trim();
  }
  if (choice.kind === "prune") return `prune ${choice.victim} keep ${choice.keepers.join()}`;
  return choice.kind === "check" ? `check ${choice.servers.join()}` : choice.kind;
}

const CASES: readonly (readonly [string, Situation, string])[] = [
  ["one missing, its server is up", { copies: "1 2" }, "copy 1,2 to 3"],
  ["one left", { copies: "2" }, "copy 2 to 1 urgent"],
  [
    "one within reach, one on a server that is down",
    { copies: "1 2", servers: { 2: "down" } },
    "copy 1 to 3 urgent",
  ],
  [
    "the group's server is down: a stand-in of its zone",
    { copies: "1 2", servers: { 3: "down" } },
    "copy 1,2 to 6",
  ],
  [
    "that zone has no other: the one with more room",
    { copies: "1 2", servers: { 3: "down", 6: "down" }, free: { 5: 0.9 } },
    "copy 1,2 to 5",
  ],
  ["the group's server is full", { copies: "1 2", full: [3] }, "copy 1,2 to 6"],
  ["the group's server has failed", { copies: "1 2", failed: [3] }, "copy 1,2 to 6"],
  ["never where a removal is not acknowledged", { copies: "1 2 3:removing" }, "copy 1,2 to 6"],
  ["a bad copy is made good where it is", { copies: "1 2 5:bad" }, "copy 1,2 to 5"],
  [
    "a bad copy on a server that is down is not waited for",
    { copies: "1 2 3:bad", servers: { 3: "down" } },
    "copy 1,2 to 6",
  ],
  [
    "a bad copy on a server that is being compared with the record waits for the end of that",
    { copies: "1 2 5:bad", compared: [5] },
    "impossible",
  ],
  ["so does one that is to be on such a server", { copies: "1 2", compared: [3] }, "impossible"],
  [
    "not that of a block with one good copy",
    { copies: "1 3:bad", compared: [3] },
    "copy 1 to 2 urgent",
  ],
  ["nor one that has nothing to do with it", { copies: "1 2", compared: [4] }, "copy 1,2 to 3"],
  ["an interrupted copy is taken up again", { copies: "1 2 4:adding" }, "copy 1,2 to 4"],
  ["the target is busy", { copies: "1 2", busy: [3] }, "busy"],
  ["all sources are busy", { copies: "1 2", busy: [1, 2] }, "busy"],
  ["one source is busy: the other one first", { copies: "1 2", busy: [1] }, "copy 2,1 to 3"],
  ["no server has room", { copies: "1 2", full: [3, 4, 5, 6] }, "impossible"],
  ["no good copy within reach", { copies: "1 2", servers: { 1: "down", 2: "down" } }, "impossible"],
  [
    "no good copy at all: bad ones are looked at again",
    { copies: "1:bad 2:bad 3:bad", servers: { 3: "down" } },
    "check 1,2",
  ],
  ["one too many: the stand-in's goes", { copies: "1 2 3 4" }, "prune 4 keep 1,2,3"],
  [
    "two stand-ins: the fuller one's goes",
    { copies: "1 2 4 5", free: { 4: 0.1 } },
    "prune 4 keep 1,2,5",
  ],
  [
    "one too many, but one of them is out of reach",
    { copies: "1 2 3 4", servers: { 2: "down" } },
    "impossible",
  ],
  ["a bad copy beside three good ones goes", { copies: "1 2 3 4:bad" }, "prune 4 keep 1,2,3"],
  [
    "a bad copy that cannot be reached is left",
    { copies: "1 2 3 4:bad", servers: { 4: "down" } },
    "impossible",
  ],
  ["a copy on a stand-in is moved", { copies: "1 2 4" }, "copy 1,2,4 to 3 move"],
  ["not while the server is down", { copies: "1 2 4", servers: { 3: "down" } }, "impossible"],
  ["what is out of date is judged anew", { copies: "1 2 3", recorded: 2 }, "judge"],
];

describe("choose", () => {
  test.each(CASES)("%s", (_title, of, wanted) => {
    expect(said(choose(...situation(of)))).toBe(wanted);
  });
});

describe("needOf", () => {
  const need = (of: Situation) => situation(of)[0].need;

  test("counts copies of servers that are down, and not of those that are out", () => {
    expect(need({ copies: "1 2 3", servers: { 1: "down" } })).toMatchObject({ missing: 0 });
    expect(need({ copies: "1 2 3", servers: { 1: "out" } })).toMatchObject({
      missing: 1,
      urgency: 2,
    });
    expect(need({ copies: "1:bad 2 3:adding" })).toMatchObject({ missing: 2, urgency: 1 });
    expect(need({ copies: "1:bad 2:bad" })).toMatchObject({ missing: 3, urgency: 0 });
  });

  test("sees what is untidy only when nothing is missing", () => {
    expect(need({ copies: "1 2 3" }).urgency).toBeUndefined();
    expect(need({ copies: "1 2 3 4" }).urgency).toBe(SURPLUS);
    expect(need({ copies: "1 2 3 4:bad" }).urgency).toBe(SURPLUS);
    expect(need({ copies: "1 2 3 4:bad", servers: { 4: "out" } }).urgency).toBeUndefined();
    expect(need({ copies: "1 2 4" }).urgency).toBe(MISPLACED);
    expect(need({ copies: "1 2 4", servers: { 3: "out" } }).urgency).toBeUndefined();
    expect(need({ copies: "1 2 4 3:removing" }).urgency).toBeUndefined();
  });
});
