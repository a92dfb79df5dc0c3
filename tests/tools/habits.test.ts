// Options that fingers type by themselves: cp -n, mv -f, rm -v and so on. They were refused as unknown.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { LocalCluster } from "../support/local-cluster.ts";
import { dfsIn, Mirror } from "./support/mirror.ts";

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.up("--data-servers", "3", "--block-size", "64K");
});
afterAll(() => cluster.stop());

async function told(...words: string[]): Promise<string> {
  const { code, text, stderr } = await dfsIn(cluster, ...words);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return text;
}

async function put(path: string, content: string): Promise<void> {
  const stored = await cluster.run(["put", "-", path], { stdin: Buffer.from(content) });
  expect(stored.code).toBe(0);
}

const contentOf = async (path: string): Promise<string> => (await cluster.ok("cat", path)).text;

describe("cp -n", () => {
  test("leaves what is there, a link that leads nowhere too, and counts it", async () => {
    await put("/one", "new");
    await told("mkdir", "-p", "/from/sub", "/to/from/sub");
    for (const name of ["kept", "sub/more"]) await put(`/from/${name}`, "new");
    await put("/to/from/kept", "old");
    await told("ln", "-s", "nowhere", "/to/one");
    expect(JSON.parse(await told("cp", "-n", "--json", "/one", "/to"))).toMatchObject({
      files: 0,
      skipped: 1,
    });
    const tree = JSON.parse(await told("cp", "-rn", "--json", "/from", "/to")) as object;
    expect(tree).toMatchObject({ files: 1, skipped: 1, failed: 0 });
    expect(await contentOf("/to/from/kept")).toBe("old");
    expect(await contentOf("/to/from/sub/more")).toBe("new");
    expect((await dfsIn(cluster, "stat", "/to/nowhere")).code).toBe(4);
    await told("cp", "-f", "/from/kept", "/to/from/kept");
    expect(await contentOf("/to/from/kept")).toBe("new");
    await told("cp", "-n", "/one", "/one");
  });
});

// It ended with status 1 and "exists already", where cp -n and the mv of the system pass over the name.
describe("mv -n", () => {
  test("leaves what would replace something, as mv(1) does, and moves the rest", async () => {
    const mirror = new Mirror(cluster, "moves");
    await mirror.run("mkdir", "-p", "moves/from", "moves/into/sub", "moves/empty", "moves/full/x");
    await mirror.run("truncate", "-s", "1", "moves/a", "moves/from/f", "moves/into/taken");
    await mirror.run("truncate", "-s", "2", "moves/b", "moves/f", "moves/taken", "moves/free");
    await mirror.run("ln", "moves/a", "moves/second");
    await mirror.run("ln", "-s", "a", "moves/link");
    await mirror.run("ln", "-s", "nowhere", "moves/dangling");
    // The one of coreutils 9.2 to 9.4 leaves the same, and ends with status 1.
    const leaves = (...paths: string[]) =>
      mirror.pair(["mv", "-n", ...paths], ["sh", "-c", 'mv -n "$@"; true', "mv", ...paths]);
    await leaves("moves/a", "moves/b");
    await leaves("moves/a", "moves/a");
    await leaves("moves/a", "moves/second");
    await leaves("moves/link", "moves/a");
    await leaves("moves/b", "moves/dangling");
    await leaves("moves/empty", "moves/b"); // a directory over a file
    await leaves("moves/from/f", "moves/f", "moves/into"); // two of one name
    await mirror.run("mv", "-n", "moves/taken", "moves/free", "moves/none", "moves/into");
    await mirror.run("mv", "-n", "moves/none", "moves/b");
    await mirror.run("mv", "-n", "moves/b", "moves/new");
    await mirror.expectSame("mode", "owner", "size", "nlink");
    expect(await told("mv", "-nv", "/moves/a", "/moves/new")).toBe("");
  });
});

test("touch -t is that of touch(1)", async () => {
  const mirror = new Mirror(cluster, "stamps");
  await mirror.run("mkdir", "stamps");
  for (const stamp of [
    "202601311200.05",
    "199912312359",
    "7001010000",
    "6812312359",
    "6901010101.01",
  ]) {
    await mirror.run("touch", "-t", stamp, `stamps/${stamp}`);
  }
  await mirror.run("touch", "-t", "01021530", "stamps/this-year");
  await mirror.run("touch", "-t", "7001010000", "stamps");
  await mirror.expectSame("times");
  for (const stamp of ["", "1", "20260131", "202613311200", "202601312560", "2026013112000", "x"]) {
    await mirror.run("touch", "-t", stamp, "stamps/none");
  }
  await mirror.run("touch", "-t", "202601311200", "-d", "now", "stamps/none");
  await mirror.run("touch", "-t", "7001010000", "stamps");
  await mirror.expectSame("times");
});

test("mkdir -v, mv -v and rm -v tell what they do, thing by thing", async () => {
  expect(await told("mkdir", "-pv", "/v/a/b")).toBe("made /v\nmade /v/a\nmade /v/a/b\n");
  expect(await told("mkdir", "-pv", "/v/a")).toBe("");
  await told("touch", "/v/f", "/v/two\nlines");
  expect(await told("mv", "-fv", "/v/f", "/v/a")).toBe("/v/f -> /v/a/f\n");
  const removed = await told("rm", "-rfv", "/v", "/none");
  expect(removed.trimEnd().split("\n").toSorted()).toEqual(
    ["/v/a/b", "/v/a/f", "/v/a", "/v/two\\nlines", "/v"]
      .map((path) => `removed ${path}`)
      .toSorted(),
  );
  expect(removed).toEndWith("removed /v\n");
});

test("ls -s, du -k and df -k", async () => {
  await told("mkdir", "/s");
  await put("/s/full", "x".repeat(3000));
  await told("truncate", "-s", "1M", "/s/hole");
  expect(await told("ls", "-s", "/s")).toBe("3  full\n0  hole\n");
  expect(await told("ls", "-sh", "/s")).toBe("3.0K  full\n   0  hole\n");
  expect((await cluster.ok("du", "-k", "/s")).text).toBe("3\t/s\n");
  expect((await cluster.ok("df", "-k")).text).toContain("usable");
});
