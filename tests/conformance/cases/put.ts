/** Files that appear whole. */
import { expect } from "bun:test";
import {
  bytesOf,
  contentOf,
  expectMissing,
  expectTouched,
  fails,
  namesIn,
  nlinkOf,
  pattern,
  ruleFor,
  textOf,
  touch,
  using,
} from "../support.ts";
import type { Case, Topic, Tree } from "../tree.ts";

function rule(name: string, run: (tree: Tree) => Promise<void>): Case {
  return ruleFor(["put"], name, run);
}

/** Small enough for one change, and too large for it. */
function contents(tree: Tree): readonly [string, string] {
  return [pattern(Math.min(5, tree.blockSize), 3), pattern(3 * tree.blockSize + 1, 7)];
}

export const put: Topic = {
  topic: "put",
  cases: [
    rule("a new file appears with content, mode and one link", async (tree) => {
      for (const [index, text] of contents(tree).entries()) {
        await tree.put(`/f${index}`, bytesOf(text), { mode: 0o640 });
        const { mode, nlink, size } = await tree.stat(`/f${index}`);
        expect({ mode, nlink, size }).toEqual({ mode: 0o640, nlink: 1, size: text.length });
        expect(await contentOf(tree, `/f${index}`)).toBe(text);
      }
      expect(await namesIn(tree, "/")).toEqual(["f0", "f1"]);
    }),
    rule("an empty file appears", async (tree) => {
      await tree.put("/f", new Uint8Array());
      expect(await tree.stat("/f")).toMatchObject({ size: 0, allocated: 0, type: "file" });
    }),
    rule("an old file is replaced by another inode", async (tree) => {
      for (const text of contents(tree)) {
        await touch(tree, "/f", "old content that is longer");
        const old = await tree.stat("/f");
        await tree.put("/f", bytesOf(text));
        expect(await contentOf(tree, "/f")).toBe(text);
        expect((await tree.stat("/f")).inode).not.toBe(old.inode);
        await tree.unlink("/f");
      }
    }),
    rule("who has the old file open goes on reading it", async (tree) => {
      for (const text of contents(tree)) {
        await touch(tree, "/f", "old");
        await using(tree.open("/f"), async (file) => {
          await tree.put("/f", bytesOf(text));
          expect(textOf(await file.read(0, 10))).toBe("old");
        });
        expect(await contentOf(tree, "/f")).toBe(text);
        await tree.unlink("/f");
      }
    }),
    rule("other names of the old file keep it", async (tree) => {
      await touch(tree, "/f", "old");
      await tree.link("/f", "/g");
      await tree.put("/f", bytesOf("new"));
      expect(await contentOf(tree, "/g")).toBe("old");
      expect(await nlinkOf(tree, "/g")).toBe(1);
    }),
    rule("mode, owner and attributes of the old file are kept when asked", async (tree) => {
      for (const text of contents(tree)) {
        await touch(tree, "/f", "old");
        await tree.setattr("/f", { mode: 0o751 });
        await tree.xattrSet("/f", "user.kept", bytesOf("yes"));
        const { uid, gid } = await tree.stat("/f");
        await tree.put("/f", bytesOf(text), { mode: 0o600, uid: 1, gid: 2, keepReplaced: true });
        expect(await tree.stat("/f")).toMatchObject({ mode: 0o751, uid, gid });
        expect(await tree.xattrGet("/f", "user.kept")).toEqual(bytesOf("yes"));
        await tree.unlink("/f");
      }
    }),
    rule("mode, owner and attributes are the new file's otherwise", async (tree) => {
      for (const text of contents(tree)) {
        await touch(tree, "/f", "old");
        await tree.xattrSet("/f", "user.lost", bytesOf("yes"));
        await tree.put("/f", bytesOf(text), { mode: 0o600, uid: 1, gid: 2 });
        expect(await tree.stat("/f")).toMatchObject({ mode: 0o600, uid: 1, gid: 2 });
        expect(await tree.xattrList("/f")).toEqual([]);
        await tree.unlink("/f");
      }
    }),
    rule("nothing to keep where nothing was", async (tree) => {
      await tree.put("/f", bytesOf("x"), { mode: 0o604, uid: 3, gid: 4, keepReplaced: true });
      expect(await tree.stat("/f")).toMatchObject({ mode: 0o604, uid: 3, gid: 4 });
    }),
    rule("times are set when given, and are now when not", async (tree) => {
      for (const text of contents(tree)) {
        await tree.put("/f", bytesOf(text), { atimeNs: 11n, mtimeNs: -12n });
        expect(await tree.stat("/f")).toMatchObject({ atimeNs: 11n, mtimeNs: -12n });
        await tree.put("/f", bytesOf(text));
        const { atimeNs, mtimeNs, ctimeNs } = await tree.stat("/f");
        expect([atimeNs > 11n, mtimeNs === ctimeNs]).toEqual([true, true]);
        await tree.unlink("/f");
      }
    }),
    rule("a symbolic link is replaced itself", async (tree) => {
      await touch(tree, "/target", "untouched");
      await tree.symlink("target", "/s");
      await tree.put("/s", bytesOf("file"), { mode: 0o644, keepReplaced: true });
      expect(await tree.lstat("/s")).toMatchObject({ type: "file", mode: 0o644 });
      expect(await contentOf(tree, "/target")).toBe("untouched");
    }),
    rule("a directory is not replaced", async (tree) => {
      await tree.mkdir("/d");
      for (const text of contents(tree)) await fails(tree.put("/d", bytesOf(text)), "EISDIR");
      expect((await tree.stat("/d")).type).toBe("directory");
    }),
    rule("a fifo is not replaced", async (tree) => {
      await tree.mknod("/p", "fifo");
      await fails(tree.put("/p", bytesOf("x")), "EEXIST");
      expect((await tree.stat("/p")).type).toBe("fifo");
    }),
    rule("an exclusive put refuses a name that is taken", async (tree) => {
      await touch(tree, "/f", "old");
      for (const text of contents(tree)) {
        await fails(tree.put("/f", bytesOf(text), { exclusive: true }), "EEXIST");
        expect(await contentOf(tree, "/f")).toBe("old");
      }
      await tree.put("/g", bytesOf("new"), { exclusive: true });
      expect(await contentOf(tree, "/g")).toBe("new");
    }),
    rule("a put into a missing directory, or below a file, is refused", async (tree) => {
      await touch(tree, "/f");
      for (const text of contents(tree)) {
        await fails(tree.put("/d/f", bytesOf(text)), "ENOENT");
        await fails(tree.put("/f/g", bytesOf(text)), "ENOTDIR");
      }
      expect(await namesIn(tree, "/")).toEqual(["f"]);
    }),
    rule("a put under a name that is too long is refused", async (tree) => {
      for (const text of contents(tree)) {
        await fails(tree.put(`/${"n".repeat(256)}`, bytesOf(text)), "ENAMETOOLONG");
      }
      expect(await namesIn(tree, "/")).toEqual([]);
    }),
    rule("the directory's times change", async (tree) => {
      await tree.mkdir("/d");
      const both = { mtime: true, ctime: true };
      for (const text of contents(tree)) {
        await expectTouched(tree, "/d", () => tree.put("/d/f", bytesOf(text)), both);
      }
    }),
    rule("of two puts of one name, one is there whole", async (tree) => {
      const other = await tree.another();
      const [short, long] = contents(tree);
      await Promise.all([tree.put("/f", bytesOf(short)), other.put("/f", bytesOf(long))]);
      expect([short, long]).toContain(await contentOf(tree, "/f"));
      expect(await namesIn(tree, "/")).toEqual(["f"]);
      await other.close();
    }),
    rule("a put in a set-group-id directory gets its group", async (tree) => {
      await tree.mkdir("/d");
      await tree.setattr("/d", { gid: 55, mode: 0o2775 });
      for (const text of contents(tree)) {
        await tree.put("/d/f", bytesOf(text));
        expect((await tree.stat("/d/f")).gid).toBe(55);
        await tree.unlink("/d/f");
      }
    }),
    rule("a file that was put is renamed, linked and removed like others", async (tree) => {
      await tree.put("/f", bytesOf("x"));
      await tree.link("/f", "/g");
      await tree.rename("/f", "/h");
      await tree.unlink("/g");
      expect(await contentOf(tree, "/h")).toBe("x");
      await tree.unlink("/h");
      await expectMissing(tree, "/h");
    }),
  ],
};
