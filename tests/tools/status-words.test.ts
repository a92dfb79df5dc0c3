// The text of `dfs status` from facts: the same facts, the same lines.

import { describe, expect, test } from "bun:test";
import { incarnationId, instanceId, lsn, reignId, serverId } from "../../src/base/ids.ts";
import type { ClusterStatus } from "../../src/client/api.ts";
import type { RiskStatus, ServerInfo } from "../../src/protocol/messages/cluster.ts";
import { assess } from "../../src/tools/shared/health.ts";
import { scrubRow, type ScrubFact } from "../../src/tools/shared/scrub-words.ts";
import { refuseChange } from "../../src/server/meta/server-changes.ts";
import { serverLines, serverRow } from "../../src/tools/shared/server-words.ts";
import { statusLines } from "../../src/tools/shared/status-words.ts";

const S = 1_000_000_000n;
const MIN = 60n * S;
const DAY = 86_400n * S;
const NOW = 2_000_000_000n * S;
const MIB = 1024 * 1024;
const MOMENT = { nowNs: NOW, startedNs: NOW - 180n * MIN };

const WANTED = { replicas: 3, writeQuorum: 2 };
const NO_FILES = { files: 0, more: false, paths: [] };
const NO_RISK: RiskStatus = { lostBlocks: 0, unreadable: NO_FILES, servers: [], worst: null };

function server(id: number, more: Partial<ServerInfo> = {}): ServerInfo {
  return {
    server: serverId(id),
    address: `127.0.0.1:${4000 + id}`,
    state: "up",
    zone: "",
    tags: [],
    incarnation: incarnationId(1n),
    instance: instanceId(1n),
    capacityBytes: 1000,
    usedBytes: 0,
    full: false,
    blocks: 0,
    replicas: 40,
    heardNs: NOW - S,
    filling: false,
    sinceNs: null,
    outInMs: null,
    heldBack: false,
    refuses: false,
    ...more,
  };
}

function cluster(more: Partial<ClusterStatus> = {}): ClusterStatus {
  return {
    reign: reignId(1n),
    lsn: lsn(1n),
    startedNs: NOW - 180n * MIN,
    inodes: 12,
    files: 10,
    directories: 2,
    liveBytes: 1234 * MIB,
    liveBlocks: 1234,
    blocksByCopies: [0, 0, 0, 1234],
    missingCopies: 0,
    deadBlocks: 0,
    sessions: 1,
    placementVersion: 1n,
    repair: {
      queue: [],
      copying: 0,
      suspects: 0,
      copiedBlocks: 0,
      copiedBytes: 0,
      bytesPerSecond: 0,
    },
    backup: {
      newest: { backup: 7n, createdNs: NOW - 2n * MIN, lsn: lsn(1n), length: MIB, files: 10 },
      servers: [serverId(1), serverId(2), serverId(3)],
      wanted: 3,
      intervalMs: 3_600_000,
      overdue: false,
      failure: null,
      quarantined: 0,
      untold: [],
    },
    risk: NO_RISK,
    service: null,
    metadataDisk: null,
    ...more,
  };
}

const SCRUBBED: ScrubFact[] = [1, 2, 3, 4].map((id) => ({
  server: serverId(id),
  lastPassNs: NOW - (id === 3 ? 12n * DAY : DAY),
  paused: false,
}));

function text(
  state: ClusterStatus,
  servers: ServerInfo[],
  scrubs: readonly ScrubFact[] = SCRUBBED,
): string[] {
  const health = assess(state, servers, WANTED);
  return statusLines({ state, servers, health, replicas: 3, scrubs, nowNs: NOW });
}

const ALL_UP = [1, 2, 3, 4].map((id) => server(id));

describe("statusLines", () => {
  test("a healthy cluster", () => {
    expect(text(cluster(), ALL_UP)).toEqual([
      "The cluster is healthy.",
      "",
      "Servers:  metadata up for 3 h 0 min; data: all 4 up",
      "Content:  10 files in 2 directories, 1.21 GiB in 1,234 blocks",
      "Copies:   all 1,234 blocks have 3 copies",
      "Repairs:  nothing to do",
      "Scrub:    oldest: server 3, 12 days ago",
      "Backup:   2 min ago, on data servers 1, 2, 3, 1 MiB",
      "If one more server fails: everything could still be read, writing would go on",
    ]);
  });

  test("a server that is down: what follows, what is being repaired, what one more would cost", () => {
    const down = server(2, {
      state: "down",
      heardNs: NOW - 2n * MIN,
      sinceNs: NOW - 2n * MIN,
      outInMs: 480_000,
    });
    const state = cluster({
      blocksByCopies: [0, 12, 910, 312],
      missingCopies: 52,
      repair: {
        queue: [
          { urgency: 1, blocks: 12, copies: 24, bytes: 24 * MIB },
          { urgency: 2, blocks: 28, copies: 28, bytes: 16 * MIB },
        ],
        copying: 4,
        suspects: 0,
        copiedBlocks: 9,
        copiedBytes: 9 * MIB,
        bytesPerSecond: 10 * MIB,
      },
      risk: {
        ...NO_RISK,
        servers: [
          { server: serverId(1), alone: 0, last: 0, pairs: 600 },
          { server: serverId(3), alone: 12, last: 12, pairs: 610 },
        ],
        worst: {
          server: serverId(3),
          files: { files: 5, more: false, paths: [Buffer.from("/a"), Buffer.from("/b c")] },
        },
      },
    });
    expect(text(state, [server(1), down, server(3), server(4)])).toEqual([
      "The cluster is AT RISK.",
      "  - 12 blocks have just one copy within reach",
      "  - 910 blocks with fewer than 3 copies within reach",
      "  - 52 copies still to be made",
      "  - 1 data server not up",
      "",
      "Servers:  metadata up for 3 h 0 min; data: 3 of 4 up",
      "          server 2 is down: not heard of for 2 min; is out in 8 min 0 s, then its copies are made elsewhere",
      "Content:  10 files in 2 directories, 1.21 GiB in 1,234 blocks",
      "Copies:   of 1,234 blocks: 312 with 3 copies, 910 with 2 copies, 12 with one copy within reach",
      "Missing:  52 copies on record as missing",
      "Repairs:  being repaired: 40 blocks (40 MiB), 4 copies under way, 10 MiB/s, about 4.0 s left",
      "Scrub:    oldest: server 3, 12 days ago",
      "Backup:   2 min ago, on data servers 1, 2, 3, 1 MiB",
      "If one more server fails: the failure of server 3 would lose 5 files (/a, '/b c', ...), 12 blocks: no other good " +
        "copy is on record, up to 610 blocks would be down to one copy, writing would go on",
    ]);
  });

  test("what cannot be read now, and what is lost", () => {
    const state = cluster({
      blocksByCopies: [3, 0, 0, 1231],
      risk: {
        ...NO_RISK,
        lostBlocks: 1,
        unreadable: { files: 2, more: false, paths: [Buffer.from("/x"), Buffer.from("/y")] },
      },
    });
    const lines = text(state, ALL_UP);
    expect(lines.slice(0, 3)).toEqual([
      "The cluster is AT RISK.",
      "  - 3 blocks of 2 files (/x, /y) cannot be read now: no good copy is on a server that is up",
      "  - 1 block has no good copy on any server: lost, unless one taken for bad turns out right",
    ]);
    expect(lines).toContain(
      "Copies:   of 1,234 blocks: 1,231 with 3 copies, 3 with no copy within reach",
    );
    expect(lines.at(-1)).toBe(
      "If one more server fails: everything else could still be read, writing would go on",
    );
  });

  test("only copies within reach that others have too: unreadable, not lost", () => {
    const files = { files: 1000, more: true, paths: [Buffer.from("/a")] };
    const servers = [{ server: serverId(3), alone: 9, last: 2, pairs: 0 }];
    const worst = { server: serverId(3), files };
    const some = { blocksByCopies: [0, 9], risk: { ...NO_RISK, servers, worst } };
    expect(text(cluster(some), ALL_UP).at(-1)).toBe(
      "If one more server fails: the failure of server 3 would make unreadable at least 1,000 files (/a, ...), 9 blocks, " +
        "2 of the blocks for good, writing would go on",
    );
    const none = { ...some.risk, servers: [{ ...servers[0]!, last: 0 }] };
    expect(text(cluster({ ...some, risk: none }), ALL_UP).at(-1)).toContain(
      "9 blocks, until another server that has a copy is back",
    );
  });

  test("every state of a server, since when, and what follows", () => {
    const servers = [
      server(1, { state: "suspect", heardNs: NOW - 4n * S, outInMs: 596_000 }),
      server(2, { state: "down", heardNs: null, heldBack: true }),
      server(3, { state: "out", heardNs: NOW - 20n * MIN }),
      server(4, { state: "draining", sinceNs: NOW - 5n * MIN, replicas: 120 }),
      server(5, { state: "draining", replicas: 0, filling: true }), // it lost its disk as well, and is not refilled
      server(6, { state: "draining", replicas: 1, heardNs: NOW - MIN, outInMs: 540_000 }),
      server(7, { filling: true }),
      server(8, { full: true }),
      server(9),
      server(10),
    ];
    const lines = text(cluster(), servers, []);
    const from = lines.findIndex((line) => line.startsWith("Servers:"));
    expect(
      lines.slice(
        from,
        lines.findIndex((line) => line.startsWith("Content:")),
      ),
    ).toEqual([
      "Servers:  metadata up for 3 h 0 min; data: 4 of 10 up",
      "          server 1 is suspect: not heard of for 4 s; is out in 9 min 56 s, then its copies are made elsewhere",
      "          server 2 is down: not heard of since the metadata service was started 3 h ago; too many servers are silent " +
        "at once, so its copies are not made elsewhere: start it again, or dfs rebuild 2 --replace",
      "          server 3 is out: not heard of for 20 min; its copies are made elsewhere, and count again when it is back",
      "          server 4 is draining for 5 min: 120 copies left to be moved",
      "          server 5 is draining: it is empty, dfs server remove 5 strikes it off the list",
      "          server 6 is draining: 1 copy left to be moved; not heard of for 1 min; is out in 9 min 0 s, then its copies " +
        "are made elsewhere",
      "          server 7 is being refilled: its copies count in no write quorum until that is done (dfs rebuild 7 shows how " +
        "far it is)",
      "          server 8 is full: it takes no new blocks",
    ]);
    expect(lines.some((line) => line.startsWith("Scrub:"))).toBe(false);
  });

  // They were said to be silent, and that they should be started again.
  test("servers that refuse an older database", () => {
    const servers = [1, 2, 3].map((id) =>
      server(id, { state: "down", heldBack: true, refuses: true }),
    );
    const lines = text(cluster({ blocksByCopies: [1234] }), servers, []);
    expect(lines[1]).toBe(
      "  - 3 data servers refuse this metadata database: it is older than what they have served; put the newer one back, or, " +
        "if that is lost, start dfs meta once with --accept-older",
    );
    expect(lines).toContain(
      "          server 2 is down: it refuses this metadata database, which is older than what it has served",
    );
  });

  // Of three servers one was killed, and it was said that its copies are made elsewhere. Then it was said that they had nowhere to
  // go, also of a server whose copies had been made elsewhere by then, and of one that half of the copies could be moved from.
  test("where there is no elsewhere, that is said, and what to do", () => {
    const fate = (more: Partial<ServerInfo>): string =>
      text(cluster(), [server(1), server(2), server(3, { heardNs: NOW - MIN, ...more })], []).find(
        (line) => line.startsWith("          server 3"),
      )!;
    const lack = "(that takes 3 other servers that are up and not full, there are 2)";
    const advice = "start it again, or add a server (dfs data --new)";
    expect(fate({ state: "down", outInMs: 540_000 })).toBe(
      `          server 3 is down: not heard of for 1 min; is out in 9 min 0 s, but not all of its copies have a place elsewhere ${lack}: ${advice}`,
    );
    expect(fate({ state: "out" })).toBe(
      `          server 3 is out: not heard of for 1 min; what has not been made elsewhere has no place ${lack}; its copies count again when it is back: ${advice}`,
    );
  });

  // Of three or four servers two were killed, and the command that this advised was refused.
  // It said as well what the command needs, and the command was not refused without: it waited for ever.
  test("replacing a server is advised when that is not refused, and only then: when others are up to take its copies", () => {
    const states = ["up", "suspect", "down", "draining"] as const;
    let advised = 0;
    for (let total = 3; total <= 6; total++) {
      for (let code = 0; code < states.length ** (total - 1); code++) {
        const others = Array.from({ length: total - 1 }, (_, at) =>
          server(at + 2, {
            state: states[Math.floor(code / states.length ** at) % states.length]!,
          }),
        );
        for (const state of ["suspect", "down", "draining"] as const) {
          const silent = server(1, { state, heardNs: NOW - MIN, heldBack: true });
          const all = [silent, ...others];
          const [line] = serverLines(silent, { servers: all, replicas: 3 }, MOMENT);
          expect(line).toContain("start it again");
          const isAdvised = line!.includes("start it again, or dfs rebuild 1 --replace");
          const up = others.filter((each) => each.state === "up").length;
          expect([state, up, isAdvised]).toEqual([state, up, state !== "suspect" && up >= 3]);
          if (isAdvised) advised++;
          const rows = all.map((each) => ({ ...each, id: each.server, filling: false }));
          const isFull = () => false;
          const context = { replicas: 3, connected: false, isFull };
          const replace = () => refuseChange("replace", rows[0] as never, rows as never, context);
          if (isAdvised) expect(replace).not.toThrow();
          else expect(replace).toThrow("cannot replace data server 1: ");
        }
      }
    }
    expect(advised).toBeGreaterThan(0);
  });

  const fact = (id: number, lastPassNs: bigint | null | undefined, paused = false): ScrubFact => ({
    server: serverId(id),
    lastPassNs,
    paused,
  });
  const lineOf = (facts: ScrubFact[]): string | undefined =>
    text(cluster(), ALL_UP, facts).find((each) => each.startsWith("Scrub:"));

  test("scrubs that never ended, and servers that do not answer", () => {
    const line = (...passes: (bigint | null | undefined)[]): string | undefined => {
      return lineOf(passes.map((lastPassNs, at) => fact(at + 1, lastPassNs)));
    };
    expect(line(NOW - DAY, NOW, null)).toBe(
      "Scrub:    server 3 has never been scrubbed to the end; oldest: server 1, 24 h ago",
    );
    expect(line(null, null)).toBe("Scrub:    servers 1, 2 have never been scrubbed to the end");
    expect(line(NOW - 3n * DAY, undefined)).toBe(
      "Scrub:    oldest: server 1, 3 days ago; server 2 does not answer",
    );
  });

  // A scrub that somebody had paused, and forgotten, was told by nothing: rot that nobody reads stayed.
  test("scrubs that were paused, and passes that are late", () => {
    expect(lineOf([fact(1, NOW - DAY), fact(2, NOW - 40n * DAY, true), fact(3, NOW, true)])).toBe(
      "Scrub:    oldest: server 2, 40 days ago (late: it should end every 14 days); " +
        "paused on servers 2, 3: dfs scrub 2 3 resume",
    );
    expect(lineOf([fact(1, NOW - 14n * DAY)])).toBe("Scrub:    oldest: server 1, 14 days ago");
    expect(scrubRow([fact(1, NOW), fact(2, null, true)])).toMatchObject({
      never: [2],
      paused: [2],
    });
  });
});

test("the row of --json has the same facts about a server", () => {
  const since = NOW - 2n * MIN;
  expect(
    serverRow(server(2, { state: "down", heardNs: null, sinceNs: since, outInMs: 1 })),
  ).toEqual({
    server: 2,
    state: "down",
    since: "2033-05-18T03:31:20.000000000Z",
    heard: null,
    outInSeconds: 1,
    heldBack: false,
    refuses: false,
    filling: false,
    full: false,
    copies: 40,
  });
});
