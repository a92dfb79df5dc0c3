// dfs df and dfs du against a real cluster, and beside du(1) of a local tree with the same content.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { linkSync, mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LocalCluster } from "../support/local-cluster.ts";
import { withDfs } from "./support/client.ts";

const KIB = 1024;
const FILES: Readonly<Record<string, number>> = {
  "a/one": 8 * KIB,
  "a/b/two": 200 * KIB,
  "a/b/c/three": 16 * KIB,
  empty: 0,
  top: 64 * KIB,
};

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.up("--data-servers", "3", "--block-size", "64K");
  const tree = cluster.path("tree");
  mkdirSync(join(tree, "a/b/c"), { recursive: true });
  for (const [name, size] of Object.entries(FILES))
    writeFileSync(join(tree, name), "x".repeat(size));
  linkSync(join(tree, "a/one"), join(tree, "a/same as one"));
  symlinkSync("top", join(tree, "link"));
  mkdirSync(join(tree, "nothing"));
  await cluster.ok("put", "-r", tree, "/tree");
  writeFileSync(join(tree, "sparse"), "begin");
  truncateSync(join(tree, "sparse"), 10 * KIB * KIB);
  await withDfs(cluster, async (client) => {
    // put stores the two names as two files.
    await client.unlink(Buffer.from("/tree/a/same as one"));
    await client.link(Buffer.from("/tree/a/one"), Buffer.from("/tree/a/same as one"));
    // How large a hole is when it comes from a local disk is up to that disk.
    const owner = { mode: 0o644, uid: 0, gid: 0 };
    const sparse = await client.create(Buffer.from("/tree/sparse"), owner);
    await sparse.write(0, Buffer.from("begin"));
    await sparse.truncate(10 * KIB * KIB);
    await sparse.close();
  });
});
afterAll(() => cluster.stop());

/** Lines of du as a map from the path behind `prefix` to the first column. */
function sizes(text: string, prefix: string): Map<string, string> {
  return new Map(
    text
      .trimEnd()
      .split("\n")
      .map((line) => line.split("\t"))
      .map(([size = "", path = ""]) => [path.replace(prefix, ""), size] as const)
      .sort(([one], [other]) => (one < other ? -1 : 1)),
  );
}

function realDu(...args: string[]): string {
  return Bun.spawnSync(["du", ...args]).stdout.toString();
}

describe("du", () => {
  test("lists the same directories and files, and the same lengths, as du(1) does", async () => {
    const tree = cluster.path("tree");
    const isFile = ([path]: [string, string]): boolean => path in FILES;
    const cases = [[], ["-a"], ["-s"], ["-d", "1"], ["-a", "-d", "2"], ["-d0"]];
    const results = await Promise.all(cases.map((flags) => cluster.ok("du", ...flags, "/tree")));
    for (const [index, { text }] of results.entries()) {
      const theirs = sizes(realDu(...(cases[index] ?? []), tree), tree);
      expect([...sizes(text, "/tree").keys()]).toEqual([...theirs.keys()]);
    }
    const lengths = sizes((await cluster.ok("du", "-ab", "/tree")).text, "/tree/");
    const real = sizes(realDu("-ab", tree), `${tree}/`);
    expect([...lengths].filter(isFile)).toEqual([...real].filter(isFile));
    expect([...lengths].filter(isFile)).toHaveLength(Object.keys(FILES).length);
  });

  test("counts blocks, not holes, and a file with two names once", async () => {
    const { text } = await cluster.ok("du", "/tree");
    expect(text).toBe(
      "16\t/tree/a/b/c\n216\t/tree/a/b\n224\t/tree/a\n0\t/tree/nothing\n289\t/tree\n",
    );
    const sum = Object.values(FILES).reduce((total, size) => total + size, 0);
    const apparent = sum + 10 * KIB * KIB + "top".length;
    expect((await cluster.ok("du", "-sb", "/tree")).text).toBe(`${apparent}\t/tree\n`);
    expect((await cluster.ok("du", "-sh", "/tree", "--apparent-size")).text).toBe("11M\t/tree\n");
    expect((await cluster.ok("du", "-sh", "/tree/a")).text).toBe("224K\t/tree/a\n");
  });

  test("counts what lies below two of the paths once, in either order", async () => {
    const inner = await cluster.ok("du", "-sc", "/tree/a/b", "/tree/a", "/tree/a");
    expect(inner.text).toBe("216\t/tree/a/b\n8\t/tree/a\n224\ttotal\n");
    const outer = await cluster.ok("du", "-sc", "/tree/a", "/tree/a/b", "/tree/a/same as one");
    expect(outer.text).toBe("224\t/tree/a\n224\ttotal\n");
  });

  test("tells paths that are missing and goes on, tells rows for programs, and escapes names", async () => {
    const some = await cluster.run(["du", "-s", "/no", "/tree/top"]);
    expect(some).toMatchObject({ code: 3, text: "64\t/tree/top\n" });
    expect(some.stderr).toBe("dfs du: cannot count /no: no such file or directory\n");
    expect(await cluster.run(["du", "/no"])).toMatchObject({ code: 4, text: "" });
    expect(await cluster.run(["du", "-s", "-a", "/tree"])).toMatchObject({ code: 2, text: "" });
    expect(await cluster.run(["du", "-s", "-d", "2"])).toMatchObject({ code: 2, text: "" });
    await cluster.ok("mkdir", "/odd", "/odd/\u001b[31mred\n");
    expect((await cluster.ok("du", "/odd")).text).toBe("0\t/odd/\\x1b[31mred\\n\n0\t/odd\n");
    expect(await cluster.rows("du", "-c", "-s", "/tree/sparse")).toEqual([
      { path: "/tree/sparse", type: "file", usedBytes: 512, apparentBytes: 10 * KIB * KIB },
      { type: "total", usedBytes: 512, apparentBytes: 10 * KIB * KIB },
    ]);
  }, 120_000); // seven commands

  test("ends quietly when nobody reads on", async () => {
    const child = cluster.spawn(["du", "-a", "/tree"]);
    await child.stdout.cancel();
    expect({ code: await child.exited, stderr: await new Response(child.stderr).text() }).toEqual({
      code: 0,
      stderr: "",
    });
  });
});

describe("df", () => {
  test("shows what is usable, what is raw and each server, in 40 columns", async () => {
    const { text } = await cluster.ok("df", "-h");
    const [head = "", usable = "", raw = "", ...rest] = text.trimEnd().split("\n");
    expect(head.trim().split(/ +/)).toEqual(["ROOM", "SIZE", "USED", "AVAIL", "USE%"]);
    expect(usable).toMatch(/^usable +\S+[KMGTP] +\S+[KMGTP]? +\S+[KMGTP] +\d+%$/);
    expect(raw).toMatch(/^raw +\S+[KMGTP] +\S+[KMGTP]? +\S+[KMGTP] +\d+%$/);
    expect(rest).toEqual([]);
    for (const line of text.split("\n")) expect(line.length).toBeLessThanOrEqual(40);
    const all = (await cluster.ok("df", "--servers")).text.trimEnd().split("\n");
    expect(all).toHaveLength(6);
    expect(all[0]).toContain("1K-BLOCKS");
    expect(all.at(-1)).toMatch(/^server 3 +\d+ +\d+ +\d+ +\d+% +up$/);
  });

  test("is a third of what is raw with three copies, and has a row for each server", async () => {
    interface Row {
      room: string;
      sizeBytes: number;
      availableBytes: number;
    }
    const rows = await cluster.rows<Row>("df", "--servers");
    expect(rows.map(({ room }) => room)).toEqual(["usable", "raw", "server", "server", "server"]);
    const [usable, raw, ...servers] = rows;
    expect(usable).toMatchObject({ copies: 3, files: expect.any(Number) });
    expect(servers[0]).toMatchObject({ server: 1, state: "up", full: false });
    const total = servers.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    expect(raw?.sizeBytes).toBe(total);
    // The servers report room of the same disk at their own times, which others write to meanwhile.
    const ratio = (raw?.availableBytes ?? 0) / (usable?.availableBytes ?? 1);
    expect(Math.abs(ratio - 3)).toBeLessThan(0.1);
  });
});
