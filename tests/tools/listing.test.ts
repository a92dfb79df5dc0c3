// dfs tree and dfs ls against a real cluster.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
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
