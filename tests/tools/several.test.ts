// Several sources and a last argument that is no directory. put, cp, mv and ln advised to make it, with mkdir -p or mkdir, also
// where a file had the name: that cannot work. get advised nothing.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { symlinkSync, writeFileSync } from "node:fs";
import { LocalCluster } from "../support/local-cluster.ts";
import { dfsIn } from "./support/mirror.ts";

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.up("--data-servers", "3", "--block-size", "64K");
  for (const name of ["one", "two"]) writeFileSync(cluster.path(name), name);
  symlinkSync("nowhere", cluster.path("dangling"));
  await cluster.ok("put", "one", "two", "/");
  await cluster.ok("ln", "-s", "nowhere", "/dangling");
});
afterAll(() => cluster.stop());

const KINDS: readonly (readonly [target: string, code: number, why: string, advice: string])[] = [
  ["one", 1, "it is not a directory", "name a directory"],
  ["one/", 1, "it is not a directory", "name a directory"],
  ["one/x", 1, "what it would be in is not a directory", "name a directory"],
  ["dangling", 1, "it is a symbolic link that leads nowhere", "name a directory"],
  ["none", 4, "there is no such directory", "make it first: "],
  ["none/x", 4, "there is no such directory", "make it first: "],
];

describe.each([
  ["cp", "copy 2 sources to"],
  ["mv", "move 2 sources to"],
  ["ln", "make 2 links as"],
  ["put", "store 2 sources as"],
] as const)("%s", (command, doing) => {
  test.each(KINDS)("to %s: exit %d, %s", async (target, code, why, advice) => {
    const local = command === "put";
    const sources = ["one", "two"].map((name) => (local ? cluster.path(name) : `/${name}`));
    const result = await dfsIn(cluster, command, ...sources, `/${target}`);
    const head = `dfs ${command}: cannot ${doing} /${target}: ${why}\n${advice}`;
    expect(result).toMatchObject({ code, text: "" });
    expect(result.stderr.slice(0, head.length)).toBe(head);
    if (code === 4) expect(result.stderr).toEndWith(`make it first: dfs mkdir -p /${target}\n`);
  });
});

describe("get", () => {
  test.each(KINDS)("to %s: exit %d, %s", async (target, code, why, advice) => {
    const path = cluster.path(target);
    const to = target.endsWith("/") ? `${path.replace(/\/$/, "")}/` : path;
    const result = await dfsIn(cluster, "get", "/one", "/two", to);
    const head = `dfs get: cannot fetch 2 sources to ${to}: ${why}\n${advice}`;
    expect(result).toMatchObject({ code, text: "" });
    expect(result.stderr.slice(0, head.length)).toBe(head);
  });

  test("what it advises works", async () => {
    const result = await dfsIn(cluster, "get", "/one", "/two", cluster.path("made/by/hand"));
    const advice = /^make it first: (.*)$/m.exec(result.stderr)?.[1] ?? "";
    expect(spawnSync("sh", ["-c", advice]).status).toBe(0);
    await cluster.ok("get", "/one", "/two", cluster.path("made/by/hand"));
  });
});
