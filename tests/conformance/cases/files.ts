/** Creating, opening and removing regular files and special files. */
import { expect } from "bun:test";
import {
  contentOf,
  expectMissing,
  fails,
  namesIn,
  rule,
  ruleFor,
  touch,
  using,
} from "../support.ts";
import type { Topic } from "../tree.ts";

export const files: Topic = {
  topic: "files",
  cases: [
    rule("a new file is empty, has one link and the mode it was given", async (tree) => {
      await (await tree.create("/f", { mode: 0o640 })).close();
      const { type, mode, nlink, size, allocated } = await tree.stat("/f");
      expect({ type, mode, nlink, size, allocated }).toEqual({
        type: "file",
        mode: 0o640,
        nlink: 1,
        size: 0,
        allocated: 0,
      });
      expect(await contentOf(tree, "/f")).toBe("");
    }),
    rule("create opens an existing file and leaves its content and mode", async (tree) => {
      await touch(tree, "/f", "old");
      const before = await tree.stat("/f");
      const file = await tree.create("/f", { mode: 0o600 });
      expect(file.inode).toBe(before.inode);
      await file.close();
      expect(await contentOf(tree, "/f")).toBe("old");
      expect((await tree.stat("/f")).mode).toBe(before.mode);
    }),
    rule("an exclusive create of an existing name is refused", async (tree) => {
      await touch(tree, "/f");
      await tree.mkdir("/d");
      await tree.symlink("nowhere", "/s");
      await fails(tree.create("/f", { exclusive: true }), "EEXIST");
      await fails(tree.create("/d", { exclusive: true }), "EEXIST");
      await fails(tree.create("/s", { exclusive: true }), "EEXIST");
    }),
    rule("an exclusive create of a new name works once", async (tree) => {
      await (await tree.create("/f", { exclusive: true })).close();
      await fails(tree.create("/f", { exclusive: true }), "EEXIST");
    }),
    rule("open of a missing file is refused", async (tree) => {
      await fails(tree.open("/f"), "ENOENT");
    }),
    rule("unlink removes a file", async (tree) => {
      await touch(tree, "/f", "x");
      await tree.unlink("/f");
      await expectMissing(tree, "/f");
      await fails(tree.open("/f"), "ENOENT");
      await fails(tree.unlink("/f"), "ENOENT");
    }),
    rule("unlink with a slash behind the name is refused", async (tree) => {
      await touch(tree, "/f", "x");
      await fails(tree.unlink("/f/"), "ENOTDIR");
      expect(await contentOf(tree, "/f")).toBe("x");
    }),
    rule("inode numbers of removed files are not used again", async (tree) => {
      const seen = new Set<bigint>();
      for (let round = 0; round < 10; round++) {
        await touch(tree, "/f");
        seen.add((await tree.stat("/f")).inode);
        await tree.unlink("/f");
      }
      expect(seen.size).toBe(10);
    }),
    rule("two clients that create one name together share one file", async (tree) => {
      const other = await tree.another();
      const [one, two] = await Promise.all([tree.create("/f"), other.create("/f")]);
      expect(one.inode).toBe(two.inode);
      await one.write(0, new Uint8Array([0x61]));
      await one.flush();
      await two.write(1, new Uint8Array([0x62]));
      await one.close();
      await two.close();
      expect(await contentOf(tree, "/f")).toBe("ab");
      await other.close();
    }),
    rule("of two exclusive creates of one name, one is refused", async (tree) => {
      const other = await tree.another();
      const outcomes = await Promise.allSettled([
        tree.create("/f", { exclusive: true }),
        other.create("/f", { exclusive: true }),
      ]);
      expect(outcomes.map((outcome) => outcome.status).sort()).toEqual(["fulfilled", "rejected"]);
      for (const outcome of outcomes)
        if (outcome.status === "fulfilled") await outcome.value.close();
      await other.close();
    }),
    rule("a fifo and a socket can be made, and are not files", async (tree) => {
      await tree.mknod("/p", "fifo");
      await tree.mknod("/s", "socket");
      expect((await tree.stat("/p")).type).toBe("fifo");
      expect((await tree.stat("/s")).type).toBe("socket");
      expect((await tree.stat("/p")).rdev).toBe(0);
      await fails(tree.setattr("/p", { size: 0 }), "EINVAL");
      await tree.unlink("/p");
      expect(await namesIn(tree, "/")).toEqual(["s"]);
    }),
    ruleFor(["owners"], "device nodes keep their device number", async (tree) => {
      await tree.mknod("/null", "characterDevice", 0x0103);
      await tree.mknod("/sda", "blockDevice", 0x0800);
      expect((await tree.stat("/null")).rdev).toBe(0x0103);
      expect((await tree.stat("/sda")).type).toBe("blockDevice");
      expect((await tree.stat("/sda")).rdev).toBe(0x0800);
    }),
    rule("mknod over any existing name is refused", async (tree) => {
      await touch(tree, "/f");
      await tree.mkdir("/d");
      await fails(tree.mknod("/f", "fifo"), "EEXIST");
      await fails(tree.mknod("/d", "fifo"), "EEXIST");
    }),
    rule("a file's inode number stays while it is written, truncated and renamed", async (tree) => {
      await touch(tree, "/f", "content");
      const { inode } = await tree.stat("/f");
      await tree.setattr("/f", { size: 2 });
      await using(tree.open("/f"), (file) => file.write(5, new Uint8Array([0x7a])));
      await tree.rename("/f", "/g");
      expect((await tree.stat("/g")).inode).toBe(inode);
      expect(await contentOf(tree, "/g")).toBe("co\0\0\0z");
    }),
  ],
};
