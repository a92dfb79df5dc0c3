// explain, status and server list: the course example on screen, shapes of JSON, exit codes that tell health.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { LocalCluster, until } from "../support/local-cluster.ts";

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.up("--block-size", "8");
  await cluster.run(["put", "-", "/abc"], { stdin: Buffer.from("abcdefghijklm") });
});
afterAll(() => cluster.stop());

interface Row {
  readonly block: number;
  readonly offset: number;
  readonly length: number;
  readonly id: string;
  readonly servers: number[];
  readonly states: string[];
  readonly group: number;
  readonly text: string;
}

test("the course example: two blocks, each on three servers in a row, the second one further on", async () => {
  const rows = await cluster.rows<Row>("explain", "/abc");
  expect(rows.map(({ block, offset, length, text }) => [block, offset, length, text])).toEqual([
    [0, 0, 8, "abcdefgh"],
    [1, 8, 5, "ijklm"],
  ]);
  const next = (server: number): number => (server % 4) + 1;
  const [first, second] = rows;
  const from = first!.servers[0]!;
  expect(first!.servers).toEqual([from, next(from), next(next(from))]);
  expect(second!.servers).toEqual(first!.servers.map(next));
  expect(second!.group).toBe((first!.group + 1) % 1024);
  for (const row of rows) {
    expect(row.states).toEqual(["present", "present", "present"]);
    expect(row.id).toMatch(/^\d+$/);
  }
  const { text } = await cluster.ok("explain", "/abc");
  expect(text).toContain('"abcdefgh"');
  expect(text).toContain('"ijklm"');
  expect(text).toContain("13 bytes, blocks of 8 bytes, 3 copies");
});

test("explain of what has no blocks", async () => {
  await cluster.run(["put", "-", "/empty"]);
  expect((await cluster.ok("explain", "/empty")).text).toContain("an empty file has no blocks");
  expect(await cluster.rows("explain", "/empty")).toEqual([]);
  const root = await cluster.run(["explain", "/"]);
  expect(root).toMatchObject({ code: 1 });
  expect(root.stderr).toBe("dfs explain: cannot explain /: it is a directory and has no blocks\n");
  expect(await cluster.run(["explain", "/nothing"])).toMatchObject({ code: 4 });
});

test("controls in a block's text do not reach the terminal", async () => {
  await cluster.run(["put", "-", "/evil"], { stdin: Buffer.from("\u001b[2J\u0007\xff", "latin1") });
  const { text } = await cluster.ok("explain", "/evil");
  expect(text).toContain('"\\x1b[2J\\x07\\xff"');
});

test("server list has a row for each server", async () => {
  const rows = await cluster.rows<Record<string, unknown>>("server", "list");
  expect(rows.map((row) => row["server"])).toEqual([1, 2, 3, 4]);
  expect(rows.map((row) => row["address"])).toEqual(
    cluster.describe().servers.map((server) => server.address),
  );
  for (const row of rows) expect(row).toMatchObject({ state: "up", full: false });
  const { text } = await cluster.ok("server", "list");
  expect(text.split("\n")[0]).toMatch(/^ID +ADDRESS +STATE +ZONE/);
  expect(text.trimEnd().split("\n")).toHaveLength(5);
});

test("status: healthy 0, a server down 6, data at risk 7", async () => {
  expect(await cluster.run(["status"])).toMatchObject({ code: 0 });
  const [healthy] = await cluster.rows<Record<string, unknown>>("status");
  expect(healthy).toMatchObject({
    health: "healthy",
    reasons: [],
    blockSize: 8,
    replicas: 3,
    writeQuorum: 2,
    servers: { total: 4, up: 4 },
    missingCopies: 0,
  });
  const rows = await cluster.rows<Row>("explain", "/abc");
  const [first, second] = rows[0]!.servers;
  await cluster.kill(cluster.server(first!).pid);
  await cluster.untilState("down", first!);
  const degraded = await cluster.run(["status"]);
  expect(degraded.code).toBe(6);
  expect(degraded.text).toContain("The cluster is degraded.");
  expect(degraded.text).toMatch(/3 of 4 up/);
  await cluster.kill(cluster.server(second!).pid);
  await cluster.untilState("down", second!);
  const risky = await cluster.run(["status"]);
  expect(risky.code).toBe(7);
  expect(risky.text).toContain("AT RISK");
  expect(risky.text).toContain("If one more server fails:");
  expect((await cluster.ok("cat", "/abc")).text).toBe("abcdefghijklm");
  await cluster.ok("up", "--detach");
  await cluster.untilState("up");
  await until(async () => (await cluster.run(["status"])).code === 0, "status to be healthy again");
});
