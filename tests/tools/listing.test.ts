// dfs tree and dfs ls against a real cluster.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LocalCluster } from "../support/local-cluster.ts";

let cluster: LocalCluster;
let tree: string;
beforeAll(async () => {
  cluster = await LocalCluster.up("--data-servers", "3", "--block-size", "64K");
  tree = cluster.path("tree");
  mkdirSync(join(tree, "b dir/inner/deep"), { recursive: true });
  mkdirSync(join(tree, ".git"));
  writeFileSync(join(tree, ".git/config"), "x");
  writeFileSync(join(tree, "a\u001b[31m"), "red");
  writeFileSync(join(tree, "b dir/inner/file"), "12345");
  writeFileSync(join(tree, "b dir/.hidden"), "");
  writeFileSync(join(tree, "z"), "1234");
  symlinkSync("b dir", join(tree, "link"));
  await cluster.ok("put", "-r", "-p", tree, "/tree");
  const sorted = cluster.path("sorted");
  mkdirSync(join(sorted, "sub"), { recursive: true });
  for (const [index, name] of ["big", "old", "alike", "new", "small"].entries()) {
    writeFileSync(join(sorted, name), "x".repeat([4000, 20, 20, 1100, 1][index] ?? 0));
    utimesSync(join(sorted, name), 1000, [5000, 1000, 3000, 9000, 3000][index] ?? 0);
    writeFileSync(join(sorted, "sub", name), name);
    utimesSync(join(sorted, "sub", name), 1000, 5000 - index);
  }
  chmodSync(join(sorted, "old"), 0o755);
  symlinkSync("old", join(sorted, "to old"));
  Bun.spawnSync(["mkfifo", join(sorted, "pipe")]);
  Bun.spawnSync(["touch", "-h", "-d", "@2000", join(sorted, "to old"), join(sorted, "pipe")]);
  utimesSync(join(sorted, "sub"), 1000, 4000);
  await cluster.ok("put", "-r", "-p", sorted, "/sorted");
});
afterAll(() => cluster.stop());

const UTF8 = { env: { LC_ALL: "C.UTF-8" } };

describe("tree", () => {
  test("draws lines where the locale has UTF-8, ASCII where it has not", async () => {
    const { text, stderr } = await cluster.run(["tree", "/tree"], UTF8);
    expect(stderr).toBe("");
    expect(text).toBe(`/tree
├── a\\x1b[31m
├── b dir
│   └── inner
│       ├── deep
│       └── file
├── link -> b dir
└── z

3 directories, 4 files, 2 hidden (-a shows them)
`);
    const ascii = text.replaceAll("├── ", "|-- ").replaceAll("└── ", "`-- ");
    const drawn = ascii.replaceAll("│", "|");
    const plain = { env: { LC_ALL: "C", LANG: "de_DE.UTF-8" } };
    expect((await cluster.run(["tree", "/tree"], plain)).text).toBe(drawn);
    expect((await cluster.run(["tree", "--ascii", "/tree"], UTF8)).text).toBe(drawn);
  });

  test("with -a, -d and -L shows more or less, and follows a link that was named", async () => {
    const all = await cluster.run(["tree", "-a", "/tree/link"], UTF8);
    expect(all.text).toBe(`/tree/link
├── .hidden
└── inner
    ├── deep
    └── file

2 directories, 2 files
`);
    const two = await cluster.run(["tree", "-d", "-L", "2", "/tree", "/tree/b dir"], UTF8);
    expect(two.text).toBe(`/tree
└── b dir
    └── inner
/tree/b dir
└── inner
    └── deep

4 directories, 1 hidden (-a shows them)
`);
    const rows = await cluster.rows<{ depth: number; path: string }>("tree", "-a", "/tree");
    expect(rows.map(({ depth, path }) => `${depth} ${path}`)).toEqual([
      "0 /tree",
      "1 /tree/.git",
      "2 /tree/.git/config",
      "1 /tree/a\u001b[31m",
      "1 /tree/b dir",
      "2 /tree/b dir/.hidden",
      "2 /tree/b dir/inner",
      "3 /tree/b dir/inner/deep",
      "3 /tree/b dir/inner/file",
      "1 /tree/link",
      "1 /tree/z",
    ]);
    expect(rows.at(-2)).toMatchObject({ type: "symlink", target: "b dir" });
  });

  test("tells what cannot be shown, and goes on", async () => {
    const some = await cluster.run(["tree", "/no", "/tree/z", "/tree/b dir/inner/deep"], UTF8);
    expect(some).toMatchObject({
      code: 3,
      text: "/tree/b dir/inner/deep\n\n0 directories, 0 files\n",
      stderr:
        "dfs tree: cannot show /no: no such file or directory\n" +
        "dfs tree: cannot show /tree/z: not a directory\n",
    });
    expect(await cluster.run(["tree", "/no"])).toMatchObject({ code: 4, text: "" });
    expect(await cluster.run(["tree", "-L", "0"])).toMatchObject({ code: 2, text: "" });
  });
});

describe("ls", () => {
  /** What ls(1) prints in the local directory, in the byte order of names. */
  const real = (...args: string[]): string =>
    Bun.spawnSync(["ls", ...args], {
      cwd: cluster.path("sorted"),
      env: { PATH: process.env["PATH"] ?? "", LC_ALL: "C", QUOTING_STYLE: "literal" },
    }).stdout.toString();
  const ours = async (...args: string[]): Promise<string> =>
    (await cluster.ok("ls", ...args, "/sorted")).text;

  test.each([["-1"], ["-t"], ["-tr"], ["-r"], ["-F"], ["-tF"], ["-A"]])(
    "%s prints what ls(1) does",
    async (flags) => {
      expect(await ours(flags)).toBe(real(flags));
    },
  );

  test("-S sorts files by size, alike ones by name; of -S and -t the last one counts", async () => {
    const files = (text: string): string[] =>
      text.split("\n").filter((name) => /^(big|old|alike|new|small)$/.test(name));
    const names = ["big", "new", "alike", "old", "small"];
    expect(files(await ours("-S"))).toEqual(names);
    expect(files(await ours("-tS"))).toEqual(names);
    expect(files(await ours("-Sr"))).toEqual(names.toReversed());
    expect(await ours("-St")).toBe(real("-t"));
  });

  test("-R goes through the directories in the same order, and several paths are sorted as well", async () => {
    const text = await ours("-Rt");
    expect(text.replaceAll("/sorted", ".")).toBe(real("-Rt"));
    const paths = ["old", "big", "new"].map((name) => `/sorted/${name}`);
    const listed = await cluster.ok("ls", "-t", "-d", ...paths);
    expect(listed.text).toBe("/sorted/new\n/sorted/big\n/sorted/old\n");
  });

  test("-h shows sizes as ls(1) does, -i the inodes, and --help is help still", async () => {
    const columns = (text: string, at: number): string[] =>
      text
        .split("\n")
        .filter((line) => line.startsWith("-"))
        .map((line) => line.trim().split(/ +/)[at] ?? "");
    expect(columns(await ours("-lh"), 4)).toEqual(columns(real("-lh"), 4));
    const rows = await cluster.rows<{ inode: string; name: string }>("ls", "/sorted");
    const numbered = (await ours("-i")).trimEnd().split("\n");
    expect(numbered.map((line) => line.trim())).toEqual(
      rows.map(({ inode, name }) => `${inode}  ${name}`),
    );
    const long = (await ours("-liF", "-n")).trimEnd().split("\n");
    expect(long.find((line) => line.includes("to old"))).toMatch(/^ *\d+ +l.* to old -> old$/);
    expect(long.find((line) => line.includes("sub"))).toMatch(/^ *\d+ +d.* sub\/$/);
    expect((await cluster.ok("ls", "--help")).text).toContain("  --help  ");
  });
});
