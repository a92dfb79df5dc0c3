/** Making, removing and counting directories. */
import { expect } from "bun:test";
import { expectMissing, fails, namesIn, nlinkOf, rule, touch } from "../support.ts";
import type { Topic } from "../tree.ts";

export const directories: Topic = {
  topic: "directories",
  cases: [
    rule("a new directory is empty and has two links", async (tree) => {
      await tree.mkdir("/d", 0o750);
      const { type, mode, nlink } = await tree.stat("/d");
      expect({ type, mode, nlink }).toEqual({ type: "directory", mode: 0o750, nlink: 2 });
      expect(await namesIn(tree, "/d")).toEqual([]);
    }),
    rule("mkdir adds a link to the parent, rmdir takes it away", async (tree) => {
      const before = await nlinkOf(tree, "/");
      await tree.mkdir("/d");
      expect(await nlinkOf(tree, "/")).toBe(before + 1);
      await tree.rmdir("/d");
      expect(await nlinkOf(tree, "/")).toBe(before);
    }),
    rule("files do not count as links of their directory", async (tree) => {
      await tree.mkdir("/d");
      await touch(tree, "/d/f");
      await tree.symlink("f", "/d/s");
      await tree.mknod("/d/p", "fifo");
      expect(await nlinkOf(tree, "/d")).toBe(2);
    }),
    rule("nested directories count at each level", async (tree) => {
      await tree.mkdir("/a");
      await tree.mkdir("/a/b");
      await tree.mkdir("/a/c");
      await tree.mkdir("/a/b/d");
      expect(await nlinkOf(tree, "/a")).toBe(4);
      expect(await nlinkOf(tree, "/a/b")).toBe(3);
      expect(await nlinkOf(tree, "/a/c")).toBe(2);
    }),
    rule("mkdir over any existing name is refused", async (tree) => {
      await tree.mkdir("/d");
      await touch(tree, "/f");
      await tree.symlink("nowhere", "/s");
      await fails(tree.mkdir("/d"), "EEXIST");
      await fails(tree.mkdir("/f"), "EEXIST");
      await fails(tree.mkdir("/s"), "EEXIST");
    }),
    rule("mkdir of a missing directory's child is refused", async (tree) => {
      await fails(tree.mkdir("/a/b"), "ENOENT");
    }),
    rule("rmdir of a missing name is refused", async (tree) => {
      await fails(tree.rmdir("/d"), "ENOENT");
    }),
    rule("rmdir of a file, symbolic link or fifo is refused", async (tree) => {
      await tree.mkdir("/d");
      await touch(tree, "/f");
      await tree.symlink("d", "/s");
      await tree.mknod("/p", "fifo");
      await fails(tree.rmdir("/f"), "ENOTDIR");
      await fails(tree.rmdir("/s"), "ENOTDIR");
      await fails(tree.rmdir("/p"), "ENOTDIR");
      expect(await namesIn(tree, "/")).toEqual(["d", "f", "p", "s"]);
    }),
    rule("rmdir of a directory with a file is refused and changes nothing", async (tree) => {
      await tree.mkdir("/d");
      await touch(tree, "/d/f");
      const before = await tree.stat("/");
      await fails(tree.rmdir("/d"), "ENOTEMPTY");
      expect(await tree.stat("/")).toEqual(before);
      expect(await namesIn(tree, "/d")).toEqual(["f"]);
    }),
    rule("rmdir of a directory with a subdirectory is refused", async (tree) => {
      await tree.mkdir("/d");
      await tree.mkdir("/d/e");
      await fails(tree.rmdir("/d"), "ENOTEMPTY");
      expect(await nlinkOf(tree, "/d")).toBe(3);
    }),
    rule("a directory can be removed once it has become empty", async (tree) => {
      await tree.mkdir("/d");
      await touch(tree, "/d/f");
      await tree.unlink("/d/f");
      await tree.rmdir("/d");
      await expectMissing(tree, "/d");
    }),
    rule("a removed directory's name can be used again, by something new", async (tree) => {
      await tree.mkdir("/d");
      const old = (await tree.stat("/d")).inode;
      await tree.rmdir("/d");
      await touch(tree, "/d", "file");
      const now = await tree.stat("/d");
      expect(now.type).toBe("file");
      expect(now.inode).not.toBe(old);
    }),
    rule("unlink of a directory is refused", async (tree) => {
      await tree.mkdir("/d");
      await fails(tree.unlink("/d"), "EISDIR");
      expect(await namesIn(tree, "/")).toEqual(["d"]);
    }),
    rule("a directory cannot be opened as a file", async (tree) => {
      await tree.mkdir("/d");
      await fails(tree.open("/d"), "EISDIR");
      await fails(tree.create("/d"), "EISDIR");
      await fails(tree.create("/d", { exclusive: true }), "EEXIST");
    }),
    rule("a directory cannot be truncated", async (tree) => {
      await tree.mkdir("/d");
      await fails(tree.setattr("/d", { size: 0 }), "EISDIR");
    }),
    rule("nothing can be made in a directory that was removed meanwhile", async (tree) => {
      await tree.mkdir("/d");
      const other = await tree.another();
      await other.rmdir("/d");
      await other.close();
      await fails(tree.create("/d/f"), "ENOENT");
      await fails(tree.mkdir("/d/e"), "ENOENT");
      await fails(tree.readdir("/d"), "ENOENT");
    }),
    rule("a tree forty levels deep is made, walked and removed", async (tree) => {
      const paths = Array.from({ length: 40 }, (_, depth) => "/x".repeat(depth + 1));
      for (const path of paths) await tree.mkdir(path);
      const deepest = paths.at(-1) ?? "";
      await touch(tree, `${deepest}/f`, "deep");
      expect((await tree.stat(`${deepest}/f`)).size).toBe(4);
      await tree.unlink(`${deepest}/f`);
      for (const path of paths.toReversed()) await tree.rmdir(path);
      expect(await namesIn(tree, "/")).toEqual([]);
    }),
    rule("what one client makes, another sees at once", async (tree) => {
      const other = await tree.another();
      await tree.mkdir("/d");
      await touch(tree, "/d/f", "seen");
      expect(await namesIn(other, "/d")).toEqual(["f"]);
      await other.unlink("/d/f");
      expect(await namesIn(tree, "/d")).toEqual([]);
      await other.close();
    }),
  ],
};
