/** Hard links. */
import { expect } from "bun:test";
import {
  contentOf,
  expectMissing,
  expectTouched,
  fails,
  namesIn,
  nlinkOf,
  rule,
  textOf,
  touch,
  writeAt,
} from "../support.ts";
import type { Topic } from "../tree.ts";

export const links: Topic = {
  topic: "hard links",
  cases: [
    rule("a link is another name of the same inode", async (tree) => {
      await touch(tree, "/a", "shared");
      await tree.link("/a", "/b");
      const a = await tree.stat("/a");
      const b = await tree.stat("/b");
      expect(b).toEqual(a);
      expect(a.nlink).toBe(2);
    }),
    rule("what is written through one name is read through the other", async (tree) => {
      await touch(tree, "/a", "old");
      await tree.link("/a", "/b");
      await writeAt(tree, "/b", 0, "new");
      expect(await contentOf(tree, "/a")).toBe("new");
    }),
    rule("the file lives until its last name is removed", async (tree) => {
      await touch(tree, "/a", "alive");
      await tree.link("/a", "/b");
      await tree.link("/a", "/c");
      await tree.unlink("/a");
      expect(await nlinkOf(tree, "/b")).toBe(2);
      await tree.unlink("/b");
      expect(await contentOf(tree, "/c")).toBe("alive");
      expect(await nlinkOf(tree, "/c")).toBe(1);
      await tree.unlink("/c");
      await expectMissing(tree, "/c");
    }),
    rule("links work across directories", async (tree) => {
      await tree.mkdir("/d");
      await touch(tree, "/a", "x");
      await tree.link("/a", "/d/b");
      await tree.unlink("/a");
      expect(await contentOf(tree, "/d/b")).toBe("x");
    }),
    rule("a link over any existing name is refused", async (tree) => {
      await touch(tree, "/a");
      await touch(tree, "/f");
      await tree.mkdir("/d");
      await tree.symlink("nowhere", "/s");
      for (const taken of ["/a", "/f", "/d", "/s"]) await fails(tree.link("/a", taken), "EEXIST");
      expect(await nlinkOf(tree, "/a")).toBe(1);
    }),
    rule("a link to a directory is not permitted", async (tree) => {
      await tree.mkdir("/d");
      await fails(tree.link("/d", "/e"), "EPERM");
      expect(await namesIn(tree, "/")).toEqual(["d"]);
    }),
    rule("a link to a missing file, or into a missing directory, is not found", async (tree) => {
      await touch(tree, "/a");
      await fails(tree.link("/missing", "/b"), "ENOENT");
      await fails(tree.link("/a", "/d/b"), "ENOENT");
      expect(await nlinkOf(tree, "/a")).toBe(1);
    }),
    rule("a link into something that is no directory is refused", async (tree) => {
      await touch(tree, "/a");
      await touch(tree, "/f");
      await fails(tree.link("/a", "/f/b"), "ENOTDIR");
    }),
    rule("a symbolic link can have hard links itself", async (tree) => {
      await tree.symlink("target", "/s");
      await tree.link("/s", "/t");
      expect(textOf(await tree.readlink("/t"))).toBe("target");
      expect(await nlinkOf(tree, "/s")).toBe(2);
    }),
    rule("a fifo can have links", async (tree) => {
      await tree.mknod("/p", "fifo");
      await tree.link("/p", "/q");
      expect((await tree.stat("/q")).type).toBe("fifo");
      expect(await nlinkOf(tree, "/q")).toBe(2);
    }),
    rule("link and unlink change the file's ctime and not its mtime", async (tree) => {
      await touch(tree, "/a", "x");
      await expectTouched(tree, "/a", () => tree.link("/a", "/b"), { mtime: false, ctime: true });
      await expectTouched(tree, "/a", () => tree.unlink("/b"), { mtime: false, ctime: true });
    }),
    rule("many links, made and removed together, are counted", async (tree) => {
      await touch(tree, "/f");
      await tree.mkdir("/d");
      const count = tree.features.has("together") ? 1000 : 100;
      const names = Array.from({ length: count }, (_, index) => `/d/${index}`);
      await Promise.all(names.map((name) => tree.link("/f", name)));
      expect(await nlinkOf(tree, "/f")).toBe(count + 1);
      await Promise.all(names.map((name) => tree.unlink(name)));
      expect(await nlinkOf(tree, "/f")).toBe(1);
    }),
  ],
};
