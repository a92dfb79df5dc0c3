// cp inside the cluster. What cp(1) makes of the same arguments on a local directory is what it is measured by; that no content
// moves is seen in the block ids.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { seededRandom } from "../../src/base/random.ts";
import { LocalCluster } from "../support/local-cluster.ts";
import { dfsIn, Mirror, rowsIn } from "./support/mirror.ts";

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.up("--data-servers", "3", "--block-size", "64");
});
afterAll(() => cluster.stop());

const run = (...words: string[]) => dfsIn(cluster, ...words);

interface Row {
  readonly path: string;
  readonly type: string;
  readonly mode: string;
  readonly size: number;
  readonly allocated: number;
  readonly inode: string;
  readonly nlink: number;
  readonly uid: number;
  readonly mtimeNs: string;
}

async function statOf(path: string): Promise<Row> {
  const [row] = await rowsIn<Row>(cluster, "stat", path);
  if (row === undefined) throw new Error(`stat printed nothing for ${path}`);
  return row;
}

async function blocksOf(path: string): Promise<unknown[]> {
  const rows = await cluster.rows<{ id: string; offset: number; length: number }>("explain", path);
  return rows.map(({ id, offset, length }) => ({ id, offset, length }));
}

async function contentOf(path: string): Promise<Buffer> {
  return (await cluster.ok("cat", path)).stdout;
}

describe("a copy", () => {
  // More extents than one step of the service takes, an odd end, and holes in the middle and at the end.
  const bytes = Buffer.from(seededRandom(7).bytes(530 * 64 + 13));

  test("shows the same bytes from the same blocks, until one of the files is written to", async () => {
    writeFileSync(cluster.path("content"), bytes);
    await cluster.ok("put", "content", "/source");
    await run("truncate", "-s", "+100000", "/source");
    await run("truncate", "-s", "2000000", "/source");
    const [tally] = await rowsIn(cluster, "cp", "/source", "/copy");
    expect(tally).toMatchObject({ files: 1, bytes: 2_000_000, failed: 0 });
    const blocks = await blocksOf("/source");
    expect(blocks.length).toBe(531);
    expect(await blocksOf("/copy")).toEqual(blocks);
    const copy = await statOf("/copy");
    expect(copy).toMatchObject({ size: 2_000_000, allocated: bytes.length, nlink: 1 });
    expect(copy.inode).not.toBe((await statOf("/source")).inode);
    await run("truncate", "-s", "500", "/source");
    await run("rm", "/source");
    const whole = Buffer.concat([bytes, Buffer.alloc(2_000_000 - bytes.length)]);
    expect((await contentOf("/copy")).equals(whole)).toBeTrue();
  });

  test("of nothing, of holes alone and of a few bytes", async () => {
    await run("touch", "/empty");
    await run("truncate", "-s", "3G", "/holes");
    writeFileSync(cluster.path("small"), "small");
    await cluster.ok("put", "small", "/small");
    await run("mkdir", "/into");
    expect(await run("cp", "/empty", "/holes", "/small", "/into")).toMatchObject({ code: 0 });
    expect(await statOf("/into/empty")).toMatchObject({ size: 0, allocated: 0 });
    expect(await statOf("/into/holes")).toMatchObject({ size: 3 * 2 ** 30, allocated: 0 });
    expect((await contentOf("/into/small")).toString()).toBe("small");
  });

  test("leaves a cluster in which fsck finds nothing wrong", async () => {
    const { code, stderr, text } = await cluster.run(["fsck"]);
    expect({ code, told: code === 0 ? "" : text + stderr }).toEqual({ code: 0, told: "" });
  });
});

describe("by the rules of cp(1)", () => {
  test("files: names, modes, links, what is replaced, what is refused", async () => {
    const mirror = new Mirror(cluster, "files");
    await mirror.run("mkdir", "-p", "files/directory", "files/other/a");
    await mirror.run("truncate", "-s", "1000", "files/a", "files/b");
    await mirror.run("truncate", "-s", "7", "files/c", "files/d");
    await mirror.run("chmod", "4751", "files/a");
    await mirror.run("chmod", "600", "files/c");
    await mirror.run("ln", "-s", "a", "files/to-a");
    await mirror.run("ln", "-s", "directory", "files/to-directory");
    await mirror.run("ln", "-s", "d", "files/to-d");
    await mirror.run("ln", "-s", "circle", "files/circle");
    await mirror.run("cp", "files/a", "files/new");
    await mirror.run("cp", "files/a", "files/c"); // keeps its mode
    await mirror.run("cp", "files/a", "files/b", "files/none", "files/directory");
    await mirror.run("cp", "files/to-a", "files/followed");
    await mirror.run("cp", "-r", "files/to-a", "files/to-directory/");
    await mirror.run("cp", "files/a", "files/to-d"); // to what the link leads to
    await mirror.run("cp", "files/a", "files/b", "files/nothing");
    await mirror.run("cp", "files/a", "files/nothing/");
    await mirror.run("cp", "files/a", "files/nothing/x");
    await mirror.run("cp", "files/a", "files/b/x");
    await mirror.run("cp", "files/directory", "files/x");
    await mirror.run("cp", "files/a", "files/a");
    await mirror.run("cp", "files/a", "files/to-a");
    await mirror.run("cp", "-r", "files/to-a", "files/a");
    await mirror.run("cp", "files/circle", "files/x");
    await mirror.run("cp", "files/a", "files/other"); // over a directory
    await mirror.run("cp", "files/a", "files/directory/a", "files/to-directory");
    await mirror.expectSame("mode", "owner", "size", "nlink");
  });

  test("trees: into, onto and beside directories, and never into themselves", async () => {
    const mirror = new Mirror(cluster, "trees");
    await mirror.run("mkdir", "-p", "trees/t/sub/deep", "trees/into", "trees/u/sub");
    await mirror.run("truncate", "-s", "10", "trees/t/x", "trees/t/sub/y", "trees/t/sub/deep/z");
    await mirror.run("truncate", "-s", "20", "trees/u/x", "trees/u/sub/y2", "trees/file");
    await mirror.run("ln", "-s", "sub/y", "trees/t/link");
    await mirror.run("ln", "-s", "nowhere", "trees/t/dangling");
    await mirror.run("ln", "-s", "t", "trees/to-t");
    await mirror.run("chmod", "700", "trees/t/sub");
    await mirror.run("cp", "-r", "trees/t", "trees/new");
    await mirror.run("cp", "-r", "trees/t", "trees/u", "trees/to-t", "trees/into");
    await mirror.run("cp", "-r", "trees/u/.", "trees/new");
    await mirror.run("cp", "-r", "trees/t/", "trees/made/");
    await mirror.run("cp", "-r", "trees/t", "trees/file");
    await mirror.run("cp", "-r", "trees/t", "trees/none/x");
    await mirror.run("cp", "-r", "trees/t", "trees/t");
    await mirror.run("cp", "-r", "trees/u/.", "trees/u");
    await mirror.run("rm", "-rf", "trees/t/t"); // cp(1) leaves some of it
    await mirror.expectSame("mode", "owner", "size", "nlink");
  });

  test("with -p and -a: modes, owners, times and hard links", async () => {
    const mirror = new Mirror(cluster, "kept");
    await mirror.run("mkdir", "-p", "kept/t/sub");
    await mirror.run("truncate", "-s", "10", "kept/t/x", "kept/t/y", "kept/old");
    await mirror.run("ln", "kept/t/x", "kept/t/sub/x2");
    await mirror.run("ln", "-s", "x", "kept/t/link");
    if (process.geteuid?.() === 0) {
      await mirror.run("chown", "-R", "1234:2345", "kept/t");
    }
    await mirror.run("chmod", "4751", "kept/t/x");
    await mirror.run("chmod", "2700", "kept/t/sub");
    await mirror.run("touch", "-d", "2001-02-03 04:05:06.7", "kept/t/x", "kept/t/y");
    await mirror.run("touch", "-d", "@77", "kept/t/sub", "kept/t");
    await mirror.run("cp", "-p", "kept/t/x", "kept/t/y", "kept");
    await mirror.run("cp", "-p", "kept/t/x", "kept/old");
    await mirror.run("cp", "-a", "kept/t", "kept/all");
    await mirror.expectSame("mode", "owner", "size", "nlink");
    await run("cp", "-r", "-p", "/kept/t", "/kept/again"); // hard links too, as put and get have it
    expect((await statOf("/kept/again/sub/x2")).inode).toBe((await statOf("/kept/again/x")).inode);
    for (const path of ["x", "old", "all/x", "all/sub", "all", "again/sub/x2"]) {
      const source = path === "old" ? "x" : path.replace(/^(all|again)\/?/, "");
      expect((await statOf(`/kept/${path}`)).mtimeNs).toBe(
        (await statOf(`/kept/t/${source}`)).mtimeNs,
      );
    }
    const [tally] = await rowsIn(cluster, "cp", "-a", "/kept/t", "/kept-too");
    const counts = { files: 3, directories: 2, symlinks: 1, hardLinks: 1, bytes: 30 };
    expect(tally).toMatchObject({ ...counts, failed: 0 });
  });
});

test("tells each copy with -v, in one line even for odd names", async () => {
  await run("touch", "/odd\nname");
  const { text } = await run("cp", "-v", "/odd\nname", "/plain");
  expect(text).toBe("/odd\\nname -> /plain\n");
  const left = await rowsIn<Row>(cluster, "ls", "/");
  expect(left.filter(({ path }) => path.startsWith("/.dfs"))).toEqual([]);
});

test("copies the root into no place below it", async () => {
  const result = await run("cp", "-r", "/", "/into");
  expect(result).toMatchObject({ code: 1 });
  expect(result.stderr).toContain("a directory cannot be copied to a place in itself");
});

test("an interruption ends it with 130 and leaves nothing half done", async () => {
  await run("mkdir", "/many");
  const names = Array.from({ length: 200 }, (_, index) => `/many/f${index}`);
  await run("truncate", "-s", "5", ...names);
  const child = cluster.spawn(["cp", "-r", "-v", "/many", "/many-more"]);
  const copied = async () => (await run("stat", "/many-more")).code === 0;
  while (child.exitCode === null && !(await copied()));
  child.kill("SIGINT");
  expect([0, 130]).toContain(await child.exited); // it may have been quicker
  for (const { size } of await rowsIn<Row>(cluster, "ls", "/many-more")) expect(size).toBe(5);
});

test.each([
  [["", "/x"], 2, "a path is empty"],
  [["/none", "/x"], 4, "cannot copy /none to /x: no such file or directory"],
  [["/into", "/x"], 1, "it is a directory\n-r copies it with everything in it"],
  [["/small", "/small"], 1, "both are the same file"],
  [["/small", "/small/"], 1, "not"],
  [["/small", "/none/x"], 4, "no such file or directory"],
  [["/small", "/empty", "/x"], 4, "cannot copy 2 sources to /x: there is no such directory"],
])("%j is refused", async (args, code, message) => {
  const result = await run("cp", ...args);
  expect(result).toMatchObject({ code, text: "" });
  expect(result.stderr).toContain(message);
  expect((await run("stat", "/x")).code).toBe(4);
});
