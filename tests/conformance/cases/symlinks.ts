/** Symbolic links and the walking of paths through them. */
import { expect } from "bun:test";
import { MAX_SYMLINK_BYTES, MAX_SYMLINKS_FOLLOWED } from "../../../src/base/limits.ts";
import {
  bytesOf,
  contentOf,
  expectMissing,
  fails,
  namesIn,
  nlinkOf,
  rule,
  textOf,
  touch,
  writeAt,
} from "../support.ts";
import type { Topic, Tree } from "../tree.ts";

/** Makes links /1 -> t, /2 -> 1, ...: walking /n follows n links. */
async function chain(tree: Tree, count: number, target: string): Promise<void> {
  for (let index = 1; index <= count; index++) {
    await tree.symlink(index === 1 ? target : String(index - 1), `/${index}`);
  }
}

export const symlinks: Topic = {
  topic: "symbolic links",
  cases: [
    rule("a symbolic link has its type, and its target's length as size", async (tree) => {
      await tree.symlink("some/where", "/s");
      const { type, size, nlink, mode } = await tree.lstat("/s");
      expect({ type, size, nlink, mode }).toEqual({
        type: "symlink",
        size: 10,
        nlink: 1,
        mode: 0o777,
      });
      expect(textOf(await tree.readlink("/s"))).toBe("some/where");
    }),
    rule("stat follows a link, lstat does not", async (tree) => {
      await touch(tree, "/f", "four");
      await tree.symlink("f", "/s");
      expect((await tree.stat("/s")).inode).toBe((await tree.stat("/f")).inode);
      expect((await tree.lstat("/s")).type).toBe("symlink");
    }),
    rule("a target is kept byte for byte, whatever it is", async (tree) => {
      const target = Uint8Array.from({ length: 254 }, (_, index) => index + 1);
      await tree.symlink(target, "/s");
      expect(await tree.readlink("/s")).toEqual(target);
    }),
    rule("a relative target is taken from the link's directory", async (tree) => {
      await tree.mkdir("/d");
      await touch(tree, "/d/f", "inner");
      await touch(tree, "/f", "outer");
      await tree.symlink("f", "/d/s");
      await tree.symlink("../f", "/d/up");
      expect(await contentOf(tree, "/d/s")).toBe("inner");
      expect(await contentOf(tree, "/d/up")).toBe("outer");
    }),
    rule("an absolute target is taken from the root", async (tree) => {
      await tree.mkdir("/d");
      await touch(tree, "/f", "top");
      await tree.symlink(tree.absolute("/f"), "/d/s");
      expect(await contentOf(tree, "/d/s")).toBe("top");
    }),
    rule("links in the middle of a path are followed", async (tree) => {
      await tree.mkdir("/d");
      await tree.mkdir("/d/e");
      await touch(tree, "/d/e/f", "through");
      await tree.symlink("d", "/s");
      await tree.symlink("../d/e", "/d/t");
      expect(await contentOf(tree, "/s/t/f")).toBe("through");
      await touch(tree, "/s/t/new", "made");
      expect(await contentOf(tree, "/d/e/new")).toBe("made");
    }),
    rule("`..` behind a link is the parent of where it leads", async (tree) => {
      await tree.mkdir("/a");
      await tree.mkdir("/a/b");
      await tree.symlink("a/b", "/s");
      expect((await tree.stat("/s/..")).inode).toBe((await tree.stat("/a")).inode);
    }),
    rule("a dangling link is there itself, and leads nowhere", async (tree) => {
      await tree.symlink("missing", "/s");
      expect((await tree.lstat("/s")).type).toBe("symlink");
      await fails(tree.stat("/s"), "ENOENT");
      await fails(tree.open("/s"), "ENOENT");
      await fails(tree.readdir("/s"), "ENOENT");
    }),
    rule("a link to itself is a loop", async (tree) => {
      await tree.symlink("s", "/s");
      await fails(tree.stat("/s"), "ELOOP");
      await fails(tree.stat("/s/x"), "ELOOP");
      await fails(tree.open("/s"), "ELOOP");
      expect((await tree.lstat("/s")).type).toBe("symlink");
    }),
    rule("two links to each other are a loop", async (tree) => {
      await tree.symlink("b", "/a");
      await tree.symlink("a", "/b");
      await fails(tree.stat("/a"), "ELOOP");
    }),
    rule("forty links are followed", async (tree) => {
      await touch(tree, "/t", "end");
      await chain(tree, MAX_SYMLINKS_FOLLOWED, "t");
      expect((await tree.stat(`/${MAX_SYMLINKS_FOLLOWED}`)).size).toBe(3);
    }),
    rule("forty-one links are too many", async (tree) => {
      await touch(tree, "/t", "end");
      await chain(tree, MAX_SYMLINKS_FOLLOWED + 1, "t");
      await fails(tree.stat(`/${MAX_SYMLINKS_FOLLOWED + 1}`), "ELOOP");
      expect((await tree.lstat(`/${MAX_SYMLINKS_FOLLOWED + 1}`)).type).toBe("symlink");
    }),
    rule("a path through a link to a file is no directory", async (tree) => {
      await touch(tree, "/f");
      await tree.symlink("f", "/s");
      await fails(tree.stat("/s/x"), "ENOTDIR");
    }),
    rule("a slash behind a link follows it, to a directory only", async (tree) => {
      await tree.mkdir("/d");
      await touch(tree, "/f");
      await tree.symlink("d", "/to-directory");
      await tree.symlink("f", "/to-file");
      expect((await tree.lstat("/to-directory/")).type).toBe("directory");
      await fails(tree.lstat("/to-file/"), "ENOTDIR");
    }),
    rule("a target that ends in a slash demands a directory", async (tree) => {
      await tree.mkdir("/d");
      await touch(tree, "/f");
      await tree.symlink("d/", "/s");
      await tree.symlink("f/", "/t");
      expect((await tree.stat("/s")).type).toBe("directory");
      await fails(tree.stat("/t"), "ENOTDIR");
    }),
    rule("symlink over any existing name is refused", async (tree) => {
      await touch(tree, "/f");
      await tree.mkdir("/d");
      await tree.symlink("x", "/s");
      for (const taken of ["/f", "/d", "/s"]) await fails(tree.symlink("y", taken), "EEXIST");
      expect(textOf(await tree.readlink("/s"))).toBe("x");
    }),
    rule("an empty target is refused", async (tree) => {
      await fails(tree.symlink("", "/s"), "ENOENT");
      await expectMissing(tree, "/s");
    }),
    rule("a target of 4,095 bytes is kept, a longer one refused", async (tree) => {
      const longest = "t".repeat(MAX_SYMLINK_BYTES);
      await tree.symlink(longest, "/s");
      expect((await tree.lstat("/s")).size).toBe(MAX_SYMLINK_BYTES);
      expect(await tree.readlink("/s")).toEqual(bytesOf(longest));
      await fails(tree.symlink(`${longest}t`, "/t"), "ENAMETOOLONG");
    }),
    rule("a link whose target has a name that is too long fails when followed", async (tree) => {
      await tree.symlink("n".repeat(256), "/s");
      await fails(tree.stat("/s"), "ENAMETOOLONG");
    }),
    rule("readlink of anything else is invalid", async (tree) => {
      await touch(tree, "/f");
      await tree.mkdir("/d");
      await fails(tree.readlink("/f"), "EINVAL");
      await fails(tree.readlink("/d"), "EINVAL");
      await fails(tree.readlink("/missing"), "ENOENT");
    }),
    rule("unlink removes the link, not what it leads to", async (tree) => {
      await touch(tree, "/f", "stays");
      await tree.symlink("f", "/s");
      await tree.unlink("/s");
      await expectMissing(tree, "/s");
      expect(await contentOf(tree, "/f")).toBe("stays");
    }),
    rule("writing through a link changes what it leads to", async (tree) => {
      await touch(tree, "/f", "old");
      await tree.symlink("f", "/s");
      await writeAt(tree, "/s", 0, "new");
      expect(await contentOf(tree, "/f")).toBe("new");
      await tree.setattr("/s", { size: 1 });
      expect(await contentOf(tree, "/f")).toBe("n");
    }),
    rule(
      "a link to a directory is listed as the directory and counts as no subdirectory",
      async (tree) => {
        await tree.mkdir("/d");
        await touch(tree, "/d/f");
        const before = await nlinkOf(tree, "/");
        await tree.symlink("d", "/s");
        expect(await namesIn(tree, "/s")).toEqual(["f"]);
        expect(await nlinkOf(tree, "/")).toBe(before);
        await fails(tree.rmdir("/s"), "ENOTDIR");
      },
    ),
    rule("the mode of a link cannot be changed, its times can", async (tree) => {
      await tree.symlink("t", "/s");
      // EOPNOTSUPP is what Linux says before it asks the file system.
      await fails(tree.lsetattr("/s", { mode: 0o600 }), "EPERM", "EOPNOTSUPP");
      await tree.lsetattr("/s", { mtimeNs: 5n, atimeNs: 7n });
      const { mtimeNs, atimeNs } = await tree.lstat("/s");
      expect([mtimeNs, atimeNs]).toEqual([5n, 7n]);
    }),
  ],
};
