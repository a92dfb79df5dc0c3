/** rename in all its cases. */
import { expect } from "bun:test";
import type { Errno } from "../../../src/base/errno.ts";
import {
  contentOf,
  expectMissing,
  fails,
  namesIn,
  nlinkOf,
  rule,
  textOf,
  touch,
  using,
} from "../support.ts";
import type { Case, Topic, Tree } from "../tree.ts";

/** What a name may be before the rename. */
const MAKERS: Readonly<Record<string, (tree: Tree, path: string) => Promise<void>>> = {
  file: (tree, path) => touch(tree, path, path),
  "empty directory": (tree, path) => tree.mkdir(path),
  "full directory": async (tree, path) => {
    await tree.mkdir(path);
    await touch(tree, `${path}/inside`);
  },
  "symbolic link to a directory": (tree, path) => tree.symlink(".", path),
  "dangling symbolic link": (tree, path) => tree.symlink("/nowhere", path),
  fifo: (tree, path) => tree.mknod(path, "fifo"),
};

function isDirectory(kind: string): boolean {
  return kind.endsWith(" directory") && !kind.startsWith("symbolic");
}

/** The errno that a rename of one kind over another one has; undefined when it works. */
function refusal(from: string, to: string): Errno | undefined {
  if (isDirectory(from) && !isDirectory(to)) return "ENOTDIR";
  if (!isDirectory(from) && isDirectory(to)) return "EISDIR";
  return to === "full directory" ? "ENOTEMPTY" : undefined;
}

/** One case for every kind of source and target, inside one directory and between two. */
function matrix(): Case[] {
  const kinds = Object.keys(MAKERS);
  return kinds.flatMap((from) =>
    kinds.map((to) => {
      const errno = refusal(from, to);
      return rule(`${from} over ${to}: ${errno ?? "replaced"}`, async (tree) => {
        await renameOver(tree, ["/a", from], ["/b", to], errno);
        await tree.mkdir("/from");
        await tree.mkdir("/to");
        await renameOver(tree, ["/from/a", from], ["/to/b", to], errno);
      });
    }),
  );
}

async function renameOver(
  tree: Tree,
  [source, from]: readonly [string, string],
  [target, to]: readonly [string, string],
  errno: Errno | undefined,
): Promise<void> {
  await MAKERS[from]?.(tree, source);
  await MAKERS[to]?.(tree, target);
  const before = await tree.lstat(source);
  const other = await tree.lstat(target);
  if (errno !== undefined) {
    await fails(tree.rename(source, target), errno);
    expect((await tree.lstat(source)).inode).toBe(before.inode);
    expect((await tree.lstat(target)).inode).toBe(other.inode);
  } else {
    await tree.rename(source, target);
    await expectMissing(tree, source);
    const after = await tree.lstat(target);
    expect([after.inode, after.type]).toEqual([before.inode, before.type]);
  }
}

const moves: readonly Case[] = [
  rule("a file moves to a new name in its directory", async (tree) => {
    await touch(tree, "/a", "content");
    const { inode } = await tree.stat("/a");
    await tree.rename("/a", "/b");
    await expectMissing(tree, "/a");
    expect((await tree.stat("/b")).inode).toBe(inode);
    expect(await contentOf(tree, "/b")).toBe("content");
  }),
  rule("a file moves into a directory and is read there", async (tree) => {
    await tree.mkdir("/d");
    await touch(tree, "/f", "moved");
    await tree.rename("/f", "/d/f");
    expect(await namesIn(tree, "/")).toEqual(["d"]);
    expect(await namesIn(tree, "/d")).toEqual(["f"]);
    expect(await contentOf(tree, "/d/f")).toBe("moved");
  }),
  rule("a directory tree moves, and its files are read through the new path", async (tree) => {
    await tree.mkdir("/a");
    await tree.mkdir("/a/b");
    await touch(tree, "/a/b/f", "deep");
    await tree.mkdir("/x");
    await tree.rename("/a", "/x/y");
    expect(await contentOf(tree, "/x/y/b/f")).toBe("deep");
    await expectMissing(tree, "/a");
    expect((await tree.stat("/x/y/..")).inode).toBe((await tree.stat("/x")).inode);
  }),
  rule("a directory that moves takes its link along", async (tree) => {
    await tree.mkdir("/a");
    await tree.mkdir("/b");
    await tree.mkdir("/a/d");
    await tree.rename("/a/d", "/b/d");
    expect(await nlinkOf(tree, "/a")).toBe(2);
    expect(await nlinkOf(tree, "/b")).toBe(3);
    expect(await nlinkOf(tree, "/b/d")).toBe(2);
  }),
  rule("a directory that replaces another leaves the counts right", async (tree) => {
    for (const path of ["/a", "/b", "/a/d", "/b/d"]) await tree.mkdir(path);
    await tree.rename("/a/d", "/b/d");
    expect(await nlinkOf(tree, "/a")).toBe(2);
    expect(await nlinkOf(tree, "/b")).toBe(3);
    await tree.mkdir("/b/e");
    await tree.rename("/b/e", "/b/d");
    expect(await nlinkOf(tree, "/b")).toBe(3);
  }),
  rule("a missing source is not found, and the target stays", async (tree) => {
    await touch(tree, "/b", "stays");
    await fails(tree.rename("/a", "/b"), "ENOENT");
    expect(await contentOf(tree, "/b")).toBe("stays");
  }),
  rule("a missing target directory is not found, and the source stays", async (tree) => {
    await touch(tree, "/a", "stays");
    await fails(tree.rename("/a", "/d/a"), "ENOENT");
    expect(await contentOf(tree, "/a")).toBe("stays");
  }),
  rule("a name renamed to itself stays as it is", async (tree) => {
    await touch(tree, "/a", "same");
    await tree.mkdir("/d");
    const before = await tree.stat("/a");
    await tree.rename("/a", "/a");
    await tree.rename("/d", "/d");
    expect(await tree.stat("/a")).toEqual(before);
    expect(await namesIn(tree, "/")).toEqual(["a", "d"]);
  }),
  rule("a rename between two links of one file does nothing", async (tree) => {
    await touch(tree, "/a", "both");
    await tree.link("/a", "/b");
    await tree.rename("/a", "/b");
    expect(await namesIn(tree, "/")).toEqual(["a", "b"]);
    expect(await nlinkOf(tree, "/a")).toBe(2);
  }),
  rule("a replaced file loses a link, and its other name lives on", async (tree) => {
    await touch(tree, "/a", "new");
    await touch(tree, "/b", "old");
    await tree.link("/b", "/c");
    await tree.rename("/a", "/b");
    expect(await contentOf(tree, "/b")).toBe("new");
    expect(await contentOf(tree, "/c")).toBe("old");
    expect(await nlinkOf(tree, "/c")).toBe(1);
  }),
  rule("a replaced file that is open is still read", async (tree) => {
    await touch(tree, "/a", "new");
    await touch(tree, "/b", "old");
    await using(tree.open("/b"), async (file) => {
      await tree.rename("/a", "/b");
      expect(textOf(await file.read(0, 10))).toBe("old");
    });
    expect(await contentOf(tree, "/b")).toBe("new");
  }),
  rule("an open file stays open under its new name", async (tree) => {
    await touch(tree, "/a", "12345");
    await using(tree.open("/a"), async (file) => {
      await tree.rename("/a", "/b");
      await file.write(5, new TextEncoder().encode("6"));
      await file.flush();
    });
    expect(await contentOf(tree, "/b")).toBe("123456");
  }),
  rule("a symbolic link is renamed itself, not what it points to", async (tree) => {
    await touch(tree, "/f", "target");
    await tree.symlink("f", "/s");
    await tree.rename("/s", "/t");
    expect(textOf(await tree.readlink("/t"))).toBe("f");
    expect(await contentOf(tree, "/f")).toBe("target");
  }),
  rule("a directory cannot move into itself or below itself", async (tree) => {
    await tree.mkdir("/a");
    await tree.mkdir("/a/b");
    await tree.mkdir("/a/b/c");
    await fails(tree.rename("/a", "/a/x"), "EINVAL");
    await fails(tree.rename("/a", "/a/b"), "EINVAL");
    await fails(tree.rename("/a", "/a/b/c/x"), "EINVAL");
    expect(await namesIn(tree, "/a/b")).toEqual(["c"]);
  }),
  rule("a directory cannot replace one that it is in", async (tree) => {
    await tree.mkdir("/a");
    await tree.mkdir("/a/b");
    await tree.mkdir("/a/b/c");
    await fails(tree.rename("/a/b", "/a"), "ENOTEMPTY");
    await fails(tree.rename("/a/b/c", "/a"), "ENOTEMPTY");
  }),
  rule("a file cannot replace a directory that it is in", async (tree) => {
    await tree.mkdir("/a");
    await touch(tree, "/a/f");
    await fails(tree.rename("/a/f", "/a"), "ENOTEMPTY", "EISDIR");
    expect(await namesIn(tree, "/a")).toEqual(["f"]);
  }),
  rule("a directory may move up and sideways", async (tree) => {
    await tree.mkdir("/a");
    await tree.mkdir("/a/b");
    await tree.rename("/a/b", "/b");
    await tree.rename("/a", "/b/a");
    expect(await namesIn(tree, "/")).toEqual(["b"]);
    expect(await namesIn(tree, "/b")).toEqual(["a"]);
  }),
];

const flags: readonly Case[] = [
  rule("noReplace moves to a free name", async (tree) => {
    await touch(tree, "/a", "x");
    await tree.rename("/a", "/b", "noReplace");
    expect(await contentOf(tree, "/b")).toBe("x");
  }),
  rule("noReplace refuses every taken name, its own among them", async (tree) => {
    await touch(tree, "/a", "x");
    await touch(tree, "/b", "y");
    await tree.mkdir("/d");
    await tree.symlink("nowhere", "/s");
    await tree.link("/a", "/l");
    for (const taken of ["/a", "/b", "/d", "/s", "/l"]) {
      await fails(tree.rename("/a", taken, "noReplace"), "EEXIST");
    }
    expect(await contentOf(tree, "/b")).toBe("y");
  }),
  rule("exchange swaps two files", async (tree) => {
    await touch(tree, "/a", "one");
    await touch(tree, "/b", "two");
    await tree.rename("/a", "/b", "exchange");
    expect(await contentOf(tree, "/a")).toBe("two");
    expect(await contentOf(tree, "/b")).toBe("one");
  }),
  rule("exchange swaps a file and a full directory between parents", async (tree) => {
    for (const path of ["/x", "/y", "/y/d"]) await tree.mkdir(path);
    await touch(tree, "/x/f", "file");
    await touch(tree, "/y/d/g", "inside");
    await tree.rename("/x/f", "/y/d", "exchange");
    expect(await contentOf(tree, "/y/d")).toBe("file");
    expect(await contentOf(tree, "/x/f/g")).toBe("inside");
    expect(await nlinkOf(tree, "/x")).toBe(3);
    expect(await nlinkOf(tree, "/y")).toBe(2);
    expect((await tree.stat("/x/f/..")).inode).toBe((await tree.stat("/x")).inode);
  }),
  rule("exchange swaps two directories between parents", async (tree) => {
    for (const path of ["/x", "/y", "/x/a", "/y/b", "/y/b/c"]) await tree.mkdir(path);
    await tree.rename("/x/a", "/y/b", "exchange");
    expect(await namesIn(tree, "/x/a")).toEqual(["c"]);
    expect(await namesIn(tree, "/y/b")).toEqual([]);
    expect(await nlinkOf(tree, "/x")).toBe(3);
    expect(await nlinkOf(tree, "/y")).toBe(3);
    expect((await tree.stat("/x/a/..")).inode).toBe((await tree.stat("/x")).inode);
    expect((await tree.stat("/y/b/..")).inode).toBe((await tree.stat("/y")).inode);
  }),
  rule("exchange within one directory keeps its count", async (tree) => {
    await tree.mkdir("/a");
    await touch(tree, "/b");
    const before = await nlinkOf(tree, "/");
    await tree.rename("/a", "/b", "exchange");
    expect((await tree.stat("/b")).type).toBe("directory");
    expect(await nlinkOf(tree, "/")).toBe(before);
  }),
  rule("exchange needs both names", async (tree) => {
    await touch(tree, "/a");
    await fails(tree.rename("/a", "/b", "exchange"), "ENOENT");
    await fails(tree.rename("/b", "/a", "exchange"), "ENOENT");
    expect(await namesIn(tree, "/")).toEqual(["a"]);
  }),
  rule("exchange of a directory with what is above or below it is refused", async (tree) => {
    await tree.mkdir("/a");
    await tree.mkdir("/a/b");
    await touch(tree, "/a/b/f");
    await fails(tree.rename("/a", "/a/b", "exchange"), "EINVAL");
    await fails(tree.rename("/a/b", "/a", "exchange"), "EINVAL");
    await fails(tree.rename("/a/b/f", "/a", "exchange"), "EINVAL");
    expect(await namesIn(tree, "/a/b")).toEqual(["f"]);
  }),
  rule("exchange of two links of one file does nothing", async (tree) => {
    await touch(tree, "/a", "x");
    await tree.link("/a", "/b");
    await tree.rename("/a", "/b", "exchange");
    expect(await nlinkOf(tree, "/a")).toBe(2);
  }),
];

export const rename: Topic = { topic: "rename", cases: [...moves, ...flags, ...matrix()] };
