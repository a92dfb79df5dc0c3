// dfs find against a real cluster, beside find(1) in a local tree with the same content.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LocalCluster } from "../support/local-cluster.ts";

const DAY_S = 86_400;

let cluster: LocalCluster;
let tree: string;
beforeAll(async () => {
  cluster = await LocalCluster.up("--data-servers", "3", "--block-size", "64K");
  tree = cluster.path("tree");
  mkdirSync(join(tree, "Sub/deep/deeper"), { recursive: true });
  mkdirSync(join(tree, "void"));
  const nowS = Date.now() / 1000;
  const files = { "a.txt": 0, "B.TXT": 100, "Sub/.hidden": 1024, "Sub/deep/b.txt": 1025 };
  for (const [index, [name, size]] of Object.entries(files).entries()) {
    writeFileSync(join(tree, name), "x".repeat(size));
    utimesSync(join(tree, name), nowS, nowS - (index * 2 + 0.5) * DAY_S);
  }
  symlinkSync("Sub", join(tree, "link"));
  Bun.spawnSync(["mkfifo", join(tree, "pipe")]);
  await cluster.ok("put", "-r", "-p", tree, "/tree");
});
afterAll(() => cluster.stop());

/** What find(1) prints, sorted as dfs lists: a directory before what is in it, names by their bytes. */
function real(...args: string[]): string[] {
  const { stdout } = Bun.spawnSync(["find", "tree", ...args], { cwd: cluster.root });
  return lines(stdout.toString()).map((path) => `/${path}`);
}

function lines(text: string): string[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .sort((one, other) => (one < other ? -1 : 1));
}

describe("find", () => {
  test.each([
    [[]],
    [["-name", "*.txt"]],
    [["-iname", "*.txt", "-type", "f"]],
    [["-path", "tree/Sub/*"]],
    [["-type", "d"]],
    [["-type", "l,p"]],
    [["-size", "+1k", "-type", "f"]],
    [["-size", "-1k", "-type", "f"]],
    [["-mtime", "+1", "-type", "f"]],
    [["-mtime", "-3", "-type", "f"]],
    [["-type", "f", "-newer", "tree/Sub/.hidden"]],
    [["-empty"]],
    [["-mindepth", "1", "-maxdepth", "2"]],
    [["-maxdepth", "0"]],
    [["-name", "tree"]],
  ])("%j finds what find(1) finds", async (args) => {
    const ours = args.map((each) => each.replace(/^tree\//, "/tree/"));
    expect(lines((await cluster.ok("find", "tree", ...ours)).text)).toEqual(real(...args));
  });

  test("tells exact bytes with -print0, escapes them without, and has rows for programs", async () => {
    await cluster.ok("mkdir", "/odd", "/odd/new\nline\u001b[31m");
    const found = await cluster.ok("find", "/odd", "-mindepth", "1", "-print0");
    expect(found.text).toBe("/odd/new\nline\u001b[31m\0");
    const shown = await cluster.ok("find", "/odd", "-mindepth", "1");
    expect(shown.text).toBe("/odd/new\\nline\\x1b[31m\n");
    expect(await cluster.rows("find", "/tree", "--name", "a.txt")).toEqual([
      expect.objectContaining({ path: "/tree/a.txt", name: "a.txt", type: "file", size: 0 }),
    ]);
  });

  test("-delete removes what was found and nothing else, directories after what is in them", async () => {
    await cluster.ok("put", "-r", tree, "/gone");
    const printed = await cluster.ok("find", "/gone", "-name", "*.txt", "-delete", "-print");
    expect(lines(printed.text)).toEqual(["/gone/Sub/deep/b.txt", "/gone/a.txt"]);
    await cluster.ok("find", "/gone", "-type", "d", "-empty", "-delete");
    expect(lines((await cluster.ok("find", "/gone")).text)).toEqual([
      "/gone",
      "/gone/B.TXT",
      "/gone/Sub",
      "/gone/Sub/.hidden",
      "/gone/link",
      "/gone/pipe",
    ]);
    const kept = await cluster.run(["find", "/gone", "-name", "Sub", "-delete"]);
    expect(kept).toMatchObject({ code: 3, text: "" });
    expect(kept.stderr).toBe("dfs find: cannot remove /gone/Sub: directory not empty\n");
    const environment = await cluster.run(["find", "/gone"], { env: { DFS_DELETE: "1" } });
    expect(environment).toMatchObject({ code: 2, text: "" });
    expect(await cluster.ok("find", "/gone", "-delete")).toMatchObject({ text: "" });
    expect(await cluster.run(["find", "/gone"])).toMatchObject({ code: 4, text: "" });
    expect((await cluster.ok("ls", "/tree/Sub/deep")).text).toBe("b.txt\ndeeper\n");
  }, 120_000); // nine commands

  test("tells paths that are missing and goes on; what cannot be is a usage error", async () => {
    const some = await cluster.run(["find", "/no", "/tree/void"]);
    expect(some).toMatchObject({ code: 3, text: "/tree/void\n" });
    expect(some.stderr).toBe("dfs find: cannot look into /no: no such file or directory\n");
    expect(await cluster.run(["find", "/tree", "-newer", "/no"])).toMatchObject({ code: 4 });
    const wrong = [
      ["-type", "x"],
      ["-size", "1T"],
      ["-mtime", "yesterday"],
      ["-exec", "rm"],
      ["-print0", "--json"],
      ["-mindepth", "2", "-maxdepth", "1"],
      // The ! was taken for a path, and all that was to be kept was removed.
      ["!", "-type", "d", "-delete"],
      ["(", "-name", "b.txt", ")"],
    ];
    const codes = await Promise.all(
      wrong.map(async (args) => (await cluster.run(["find", "/tree", ...args])).code),
    );
    expect(codes).toEqual(wrong.map(() => 2));
    expect((await cluster.ok("find", "/tree", "-name", "b.txt")).text).not.toBe("");
  });
});
