// dfs rebuild and dfs server drain, undrain, remove: what they do not take, and what a local cluster is like afterwards.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { serverId } from "../../src/base/ids.ts";
import type { DfsClient } from "../../src/client/api.ts";
import { neededOf } from "../../src/tools/shared/leaving.ts";
import type { Messages } from "../../src/tools/shared/messages.ts";
import type { Output } from "../../src/tools/shared/output.ts";
import { checkRoom, pauseMs, warnOfNowhere, watch } from "../../src/tools/shared/server-moves.ts";
import { RecentRate } from "../../src/tools/shared/recent-rate.ts";
import { finish, isAlive, LocalCluster, until } from "../support/local-cluster.ts";
import { dfs } from "./support/run.ts";

setDefaultTimeout(180_000); // whole clusters on a busy machine

const COMMANDS = [["rebuild"], ["server", "drain"], ["server", "undrain"], ["server", "remove"]];

describe.each(COMMANDS.map((words) => [words] as const))("dfs %j", (words) => {
  test.each([[[]], [["x"]], [["0"]], [["1", "2"]], [["1", "--what"]]] as [string[]][])(
    "with %j is a mistake",
    async (args) => {
      const { code, stdout, stderr } = await dfs([...words, ...args], { home: tmpdir() });
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      expect(stderr.split("\n").length).toBeLessThanOrEqual(4);
      expect(stderr).not.toContain("    at ");
    },
  );

  test("without a cluster says so", async () => {
    const { code, stderr } = await dfs([...words, "1"], { home: tmpdir() });
    expect(code).toBe(5);
    expect(stderr).toContain("cannot tell where the cluster is");
  });
});

// It stood at 0 B/s and did not say why: one of the others was full.
test("when too few others take copies, that is said at once", async () => {
  const warnings: string[] = [];
  const messages = { warning: (text: string) => void warnings.push(text) };
  const others = (full: boolean) =>
    [1, 2, 3, 4].map((id) => ({
      server: serverId(id),
      state: id === 3 ? "out" : "up",
      full: full && id === 4,
    }));
  const client = (full: boolean) =>
    ({ replicas: 3, servers: () => Promise.resolve(others(full)) }) as unknown as DfsClient;
  await warnOfNowhere(messages, client(false), serverId(3));
  expect(warnings).toEqual([]);
  await warnOfNowhere(messages, client(true), serverId(3));
  expect(warnings).toEqual([
    "not all of its copies have a place elsewhere (that takes 3 other servers that are up and not full, there are 2): " +
      "the rest waits until there are more; dfs data --new adds one",
  ]);
});

// A drain was refused as without room when it was only to be watched, right after the metadata service had been started anew:
// no server had told it yet how much room it has.
test("room is asked for before the work begins, not while it is under way", () => {
  const moves = [{ server: serverId(4), copies: 1, bytes: 10, freeBytes: 0 }];
  const plan = { state: "up", copies: 1, bytes: 10, moves } as const;
  expect(() => checkRoom("cannot drain", plan)).toThrow("have 0 B free");
  expect(() => checkRoom("cannot drain", { ...plan, state: "draining" })).not.toThrow();
});

interface Progressing {
  readonly kind: string;
  readonly leftRemovals: number;
  readonly secondsLeft: number | null;
}

/** Watches a server that is drained and has so many copies left, one answer after the other, and returns what was told. */
async function watched(answers: readonly { readonly present: number; readonly surplus: number }[]) {
  const rows: Progressing[] = [];
  const [lives, notes]: string[][] = [[], []];
  const messages = {
    live: (text: string) => void lives!.push(text),
    note: (text: string) => void notes!.push(text),
  } as unknown as Messages;
  const out = {
    row: (row: Progressing) => Promise.resolve(void rows.push(row)),
    flush: () => Promise.resolve(),
  } as unknown as Output;
  const count = (copies: number) => ({ copies, bytes: copies * 10 });
  const left = [...answers];
  const holdings = () => {
    const { present, surplus } = left.shift()!;
    const none = count(0);
    return Promise.resolve({
      state: "draining",
      connected: true,
      present: count(present),
      surplus: count(surplus),
      bad: none,
      removing: none,
    });
  };
  const { signal } = new AbortController();
  await watch(
    { out, messages, signal, json: true, progress: "bar" },
    {
      client: { holdings } as unknown as DfsClient,
      server: serverId(2),
      left: (now) => neededOf(serverId(2), now),
      verb: "moved",
      again: "dfs server drain 2",
      ifAway: undefined,
    },
  );
  return { rows, lives: lives!, notes: notes! };
}

// It stood at "0 of 0 blocks": what had just been taken in again had only to go.
test("removals are shown with how many are done and until when", async () => {
  const steps = [40, 30, 20, 0].map((copies) => ({ present: copies, surplus: copies }));
  const { rows, lives, notes } = await watched(steps);
  expect(notes[0]).toContain("its 40 copies are removed as the others are read");
  expect(notes[1]).toStartWith("removed 40 copies in ");
  expect(lives.join("\n")).not.toContain("0 of 0");
  expect(lives.join("\n")).toMatch(/ [12]0 of 40 copies, \d+\/s, \d/);
  expect(rows.map(({ kind, leftRemovals }) => [kind, leftRemovals])).toEqual([
    ...[40, 30, 20].map((copies) => ["progress", copies]),
    ["done", 0],
  ]);
  expect(rows[0]!.secondsLeft).toBeNull();
  expect(rows[1]!.secondsLeft).toBeGreaterThan(0);
  expect(rows[2]!.secondsLeft).toBeGreaterThan(0);
});

test("what is moved is told before what is removed", async () => {
  const steps = [
    { present: 40, surplus: 0 },
    { present: 40, surplus: 20 },
    { present: 40, surplus: 40 },
    { present: 0, surplus: 0 },
  ];
  const { rows, notes } = await watched(steps);
  expect(notes[0]).toStartWith("moved 40 blocks, 400 B in ");
  expect(notes[1]).toContain("its 40 copies are removed");
  expect(notes[2]).toStartWith("removed 40 copies in ");
  expect(rows[1]!.secondsLeft).toBeGreaterThan(0);
});

// An answer that had waited two seconds for a metadata server that was restarted made it look again after twenty: the work had
// been done for fifteen of them by then.
test("it is asked again soon, unless counting takes long", () => {
  expect(pauseMs(3, Number.POSITIVE_INFINITY)).toBe(500);
  expect(pauseMs(60_000, 3)).toBe(500);
  expect(pauseMs(3, 60_000)).toBe(500);
  expect(pauseMs(400, 600)).toBe(4000);
});

// What the first minutes were like, or an hour in which nothing could be done, was in it to the end.
test("the rate is that of late", () => {
  const rate = new RecentRate();
  expect([rate.perSecond, rate.secondsFor(1)]).toEqual([0, undefined]);
  rate.look(0, 0);
  expect([rate.perSecond, rate.secondsFor(1)]).toEqual([0, undefined]);
  for (let second = 1; second <= 60; second++) rate.look(second * 1000, second * 1000);
  expect([rate.perSecond, rate.secondsFor(2500)]).toEqual([1000, 3]);
  for (let second = 61; second <= 120; second++) rate.look(60_000, second * 1000);
  expect([rate.perSecond, rate.secondsFor(1)]).toEqual([0, undefined]);
  for (let second = 121; second <= 131; second++)
    rate.look(60_000 + (second - 120) * 50, second * 1000);
  expect([rate.perSecond, rate.secondsFor(100)]).toEqual([50, 2]);
});

interface Row {
  readonly server: number;
  readonly state: string;
  readonly replicas: number;
}

const rowOf = async (cluster: LocalCluster, id: number): Promise<Row | undefined> =>
  (await cluster.rows<Row>("server", "list")).find(({ server }) => server === id);

async function withFile(
  work: (cluster: LocalCluster) => Promise<void>,
  repairRate = "400K",
): Promise<void> {
  const cluster = await LocalCluster.up("--block-size", "4K", "--repair-rate", repairRate);
  try {
    const bytes = crypto.getRandomValues(new Uint8Array(60_000));
    for (let index = 0; index < 10; index++) {
      const put = await cluster.run(["put", "-", `/f-${index}`], { stdin: bytes });
      expect(put.stderr).toBe("");
    }
    await work(cluster);
  } finally {
    await cluster.stop();
  }
}

test("Ctrl-C ends the watching of a drain and not the drain", () =>
  withFile(async (cluster) => {
    const watching = cluster.spawn(["server", "drain", "2"]);
    await until(async () => (await rowOf(cluster, 2))?.state === "draining", "the drain to begin");
    watching.kill("SIGINT");
    const { code, stderr } = await finish(watching);
    expect(code).toBe(130);
    expect(stderr).toContain("the work goes on by itself\nto see it again: dfs server drain 2\n");
    await until(async () => (await rowOf(cluster, 2))?.replicas === 0, "the server to be empty");
    const { text } = await cluster.ok("server", "drain", "2");
    expect(text).toContain("data server 2 is empty");
  }));

// It went on watching for ever: a server that stays keeps its copies.
test("a drain that somebody ends is not watched any more", () =>
  withFile(async (cluster) => {
    const watching = cluster.spawn(["server", "drain", "2"]);
    await until(async () => (await rowOf(cluster, 2))?.state === "draining", "the drain to begin");
    const refill = await cluster.run(["rebuild", "2"]);
    expect(refill.code).toBe(1);
    expect(refill.stderr).toContain("cannot rebuild data server 2: it is being drained");
    await cluster.ok("server", "undrain", "2");
    const { code, stderr } = await finish(watching);
    expect(code).toBe(1);
    expect(stderr).toContain("data server 2 is not drained any more: it is up");
    expect(stderr).toContain("dfs server undrain 2");
  }));

// It waited for ever for copies that were made elsewhere by then, and said that the work went on when the server was back.
test("a drain whose server dies and goes out ends when the others have its copies", () =>
  withFile(async (cluster) => {
    await cluster.ok("up", "--detach", "--data-servers", "5");
    const watching = cluster.spawn(["server", "drain", "2"]);
    await until(async () => (await rowOf(cluster, 2))?.state === "draining", "the drain to begin");
    process.kill(cluster.server(2).pid, "SIGKILL");
    const replacing = async (): Promise<boolean> =>
      (await cluster.run(["rebuild", "2", "--replace", "--quiet"])).code === 0;
    await until(replacing, "the server to be out, and replaced");
    const { code, text, stderr } = await finish(watching);
    expect(stderr).toContain("goes on when it is back, or elsewhere when it is out");
    expect(text).toContain("data server 2 is out: the others have what it had\nto strike it off");
    expect(code).toBe(0);
    await cluster.ok("server", "remove", "2");
  }));

// It said that the others had everything, while half of the copies were still to be moved away, and that it could be removed.
test("one that comes back while it is replaced is watched until it is empty", () =>
  withFile(async (cluster) => {
    const { pid } = cluster.server(2);
    process.kill(pid, "SIGKILL");
    await until(async () => (await rowOf(cluster, 2))?.state === "down", "that to be noticed");
    const replacing = cluster.spawn(["rebuild", "2", "--replace"]);
    await until(async () => (await rowOf(cluster, 2))?.state === "out", "the work to begin");
    await cluster.ok("up", "--detach");
    const { code, text, stderr } = await finish(replacing);
    expect(stderr).toContain("data server 2 is back: what it holds counts again");
    expect(text).toContain("data server 2 is replaced: the others have what it had");
    expect(code).toBe(0);
    expect((await rowOf(cluster, 2))?.replicas).toBe(0);
    await cluster.ok("server", "remove", "2");
  }, "50K"));

test("a removed server is ended, dfs up does not start it again, and a new one gets another id", () =>
  withFile(async (cluster) => {
    const { dir, pid } = cluster.server(2);
    expect((await cluster.run(["server", "remove", "2"])).code).toBe(1);
    await cluster.ok("server", "drain", "2", "--quiet");
    const { text } = await cluster.ok("server", "remove", "2");
    expect(text).toContain("data-2.removed-2");
    expect(isAlive(pid)).toBe(false);
    expect(existsSync(dir)).toBe(false);
    await cluster.ok("down");
    await cluster.ok("up", "--detach");
    expect(cluster.describe().servers.map(({ id }) => id)).toEqual([1, 3, 4]);
    await cluster.ok("up", "--detach", "--data-servers", "4");
    expect((await rowOf(cluster, 5))?.state).toBe("up");
    expect((await cluster.ok("cat", "/f-0")).stdout.length).toBe(60_000);
  }));
