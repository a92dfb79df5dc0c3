// How much there is in trees: what is counted, also while it is being removed or when it is interrupted.

import { expect, test } from "bun:test";
import { DfsError } from "../../src/base/errors.ts";
import type { DfsClient } from "../../src/client/api.ts";
import { treeTotal, type Counting } from "../../src/tools/shared/tree-total.ts";
import { failureOf } from "./support/files.ts";

type Lister = Pick<DfsClient, "readdir" | "stat">;

const b = (text: string): Uint8Array => Buffer.from(text);
const t = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

/** A client of a tree: names in each directory; those that end in / are directories, files have 10 bytes. */
function clientOf(tree: Readonly<Record<string, readonly string[]>>): Lister {
  const attributesOf = (isDirectory: boolean) =>
    ({ type: isDirectory ? "directory" : "file", size: 10 }) as Awaited<
      ReturnType<DfsClient["stat"]>
    >;
  return {
    stat: (path) =>
      t(path) === "/gone"
        ? Promise.reject(new DfsError("notFound", "gone"))
        : Promise.resolve(attributesOf(t(path) in tree)),
    async *readdir(path) {
      const names = tree[t(path)];
      if (names === undefined) throw new DfsError("stale", "gone");
      for (const name of names) {
        await Promise.resolve();
        const bare = name.replace("/", "");
        const attributes = attributesOf(name.endsWith("/"));
        yield { name: b(bare), type: attributes.type, attributes } as never;
      }
    },
  };
}

const TREE = clientOf({ "/a": ["x", "y", "d/", "gone/"], "/a/d": ["z"] });

const wish = (more: Partial<Counting> = {}): Counting => ({
  signal: new AbortController().signal,
  follow: false,
  countsDirectories: false,
  isVanishing: true,
  ...more,
});

test("files and their bytes, directories when they are wanted", async () => {
  expect(await treeTotal(TREE, [b("/a"), b("/f")], wish())).toEqual({ things: 4, bytes: 40 });
  const all = wish({ countsDirectories: true });
  expect(await treeTotal(TREE, [b("/a")], all)).toEqual({ things: 6, bytes: 30 });
});

test("what is left out is left out with all in it", async () => {
  const excludes = (inTree: Uint8Array): boolean => t(inTree) === "d";
  expect(await treeTotal(TREE, [b("/a")], wish({ excludes }))).toEqual({ things: 2, bytes: 20 });
});

test("what has vanished is none while things are removed, and else a reason to tell no total", async () => {
  expect(await treeTotal(TREE, [b("/gone")], wish())).toEqual({ things: 0, bytes: 0 });
  const failure = await failureOf(treeTotal(TREE, [b("/a")], wish({ isVanishing: false })));
  expect(failure).toMatchObject({ kind: "stale" });
});

// A get that was interrupted showed "1,864 of 0 files": the half total of a count that the signal had ended.
test("half a count is no total", async () => {
  const controller = new AbortController();
  const { signal } = controller;
  const onDirectory = (path: Uint8Array): void => {
    if (t(path) === "/a/d") controller.abort();
  };
  expect(await treeTotal(TREE, [b("/a")], wish({ signal, onDirectory }))).toBeUndefined();
});
