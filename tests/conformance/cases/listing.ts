/** Listing directories. */
import { expect } from "bun:test";
import { fails, namesIn, rule, textOf, touch } from "../support.ts";
import type { Topic } from "../tree.ts";

export const listing: Topic = {
  topic: "listing",
  cases: [
    rule("an empty directory lists nothing", async (tree) => {
      await tree.mkdir("/d");
      expect(await tree.readdir("/d")).toEqual([]);
    }),
    rule("entries carry inode number and type", async (tree) => {
      await touch(tree, "/file");
      await tree.mkdir("/directory");
      await tree.symlink("x", "/symlink");
      await tree.mknod("/fifo", "fifo");
      const entries = await tree.readdir("/");
      expect(entries.map((entry) => textOf(entry.name)).sort()).toEqual([
        "directory",
        "fifo",
        "file",
        "symlink",
      ]);
      for (const entry of entries) {
        expect(entry.type as string).toBe(textOf(entry.name));
        expect(entry.inode).toBe((await tree.lstat(`/${textOf(entry.name)}`)).inode);
      }
    }),
    rule("names come in byte order", async (tree) => {
      const names = ["b", "B", "a", "aa", "a0", "_", "~", "10", "9", "\u00e9", "z"];
      for (const name of names) await touch(tree, `/${name}`);
      const order = names.toSorted((left, right) =>
        Buffer.compare(Buffer.from(left), Buffer.from(right)),
      );
      expect(await namesIn(tree, "/")).toEqual(order);
    }),
    rule("a name that is a prefix of another is listed once, and so is the other", async (tree) => {
      const names = ["a", "aa", "aaa", "aaaa", "aaaaa", "ab", "b"];
      for (const name of names) await tree.mkdir(`/${name}`);
      expect(await namesIn(tree, "/")).toEqual(names);
    }),
    rule("a directory of several pages is listed whole", async (tree) => {
      await tree.mkdir("/d");
      const names = Array.from({ length: 50 }, (_, index) => `n${String(index).padStart(3, "0")}`);
      for (const name of names.toReversed()) await touch(tree, `/d/${name}`);
      expect(await namesIn(tree, "/d")).toEqual(names);
    }),
    rule("a directory lists only its own names", async (tree) => {
      await tree.mkdir("/d");
      await tree.mkdir("/e");
      await touch(tree, "/d/x");
      await touch(tree, "/e/y");
      await touch(tree, "/z");
      expect(await namesIn(tree, "/d")).toEqual(["x"]);
      expect(await namesIn(tree, "/e")).toEqual(["y"]);
    }),
    rule("what is removed or renamed is not listed any more", async (tree) => {
      for (const name of ["a", "b", "c"]) await touch(tree, `/${name}`);
      await tree.unlink("/b");
      await tree.rename("/a", "/d");
      expect(await namesIn(tree, "/")).toEqual(["c", "d"]);
    }),
    rule("listing anything but a directory is refused", async (tree) => {
      await touch(tree, "/f");
      await tree.symlink("f", "/s");
      await fails(tree.readdir("/f"), "ENOTDIR");
      await fails(tree.readdir("/s"), "ENOTDIR");
      await fails(tree.readdir("/missing"), "ENOENT");
    }),
  ],
};
