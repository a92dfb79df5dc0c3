/** Which operation changes which time of which inode. */
import { expect } from "bun:test";
import { expectTouched, fails, rule, touch, using, writeAt } from "../support.ts";
import type { Topic, Tree } from "../tree.ts";

const BOTH = { mtime: true, ctime: true };
const CTIME = { mtime: false, ctime: true };
const NEITHER = { mtime: false, ctime: false };

/** A change of what is in a directory touches it. */
function touchesParent(what: string, prepare: string, change: (tree: Tree) => Promise<unknown>) {
  return rule(`${what} changes the directory's mtime and ctime`, async (tree) => {
    await tree.mkdir("/d");
    if (prepare === "file") await touch(tree, "/d/x", "x");
    if (prepare === "directory") await tree.mkdir("/d/x");
    if (prepare === "outside") await touch(tree, "/x", "x");
    await expectTouched(tree, "/d", () => change(tree), BOTH);
  });
}

export const times: Topic = {
  topic: "times",
  cases: [
    touchesParent("create", "nothing", (tree) => touch(tree, "/d/x")),
    touchesParent("mkdir", "nothing", (tree) => tree.mkdir("/d/x")),
    touchesParent("symlink", "nothing", (tree) => tree.symlink("t", "/d/x")),
    touchesParent("mknod", "nothing", (tree) => tree.mknod("/d/x", "fifo")),
    touchesParent("link", "outside", (tree) => tree.link("/x", "/d/y")),
    touchesParent("unlink", "file", (tree) => tree.unlink("/d/x")),
    touchesParent("rmdir", "directory", (tree) => tree.rmdir("/d/x")),
    touchesParent("rename within", "file", (tree) => tree.rename("/d/x", "/d/y")),
    touchesParent("rename out of", "file", (tree) => tree.rename("/d/x", "/y")),
    touchesParent("rename into", "outside", (tree) => tree.rename("/x", "/d/y")),
    rule("a new inode's times are equal and not before its directory's", async (tree) => {
      await touch(tree, "/f");
      const { atimeNs, mtimeNs, ctimeNs } = await tree.stat("/f");
      expect(atimeNs).toBe(mtimeNs);
      expect(mtimeNs).toBe(ctimeNs);
      expect(ctimeNs > 0n).toBe(true);
    }),
    rule("rename changes the ctime of what is renamed, not its mtime", async (tree) => {
      await touch(tree, "/f", "x");
      const before = await tree.stat("/f");
      await tree.rename("/f", "/g");
      const after = await tree.stat("/g");
      expect(after.ctimeNs > before.ctimeNs).toBe(true);
      expect(after.mtimeNs).toBe(before.mtimeNs);
    }),
    rule("a refused operation changes no times", async (tree) => {
      await tree.mkdir("/d");
      await touch(tree, "/d/f");
      await expectTouched(tree, "/d", () => fails(tree.mkdir("/d/f"), "EEXIST"), NEITHER);
      await expectTouched(tree, "/d", () => fails(tree.rmdir("/d"), "ENOTEMPTY"), NEITHER);
      await expectTouched(tree, "/d", () => fails(tree.unlink("/d/g"), "ENOENT"), NEITHER);
      await expectTouched(
        tree,
        "/d/f",
        () => fails(tree.rename("/d/f", "/d"), "EISDIR", "ENOTEMPTY"),
        NEITHER,
      );
    }),
    rule("looking changes no times", async (tree) => {
      await tree.mkdir("/d");
      await touch(tree, "/d/f", "content");
      await tree.symlink("f", "/d/s");
      const look = async (): Promise<void> => {
        await tree.stat("/d/f");
        await tree.readdir("/d");
        await tree.readlink("/d/s");
        await using(tree.open("/d/f"), (file) => file.read(0, 10));
      };
      for (const path of ["/d", "/d/f", "/d/s"]) await expectTouched(tree, path, look, NEITHER);
    }),
    rule("writing changes mtime and ctime of the file", async (tree) => {
      await touch(tree, "/f", "abc");
      await expectTouched(tree, "/f", () => writeAt(tree, "/f", 1, "x"), BOTH);
    }),
    rule("writing does not change the directory", async (tree) => {
      await tree.mkdir("/d");
      await touch(tree, "/d/f", "abc");
      await expectTouched(tree, "/d", () => writeAt(tree, "/d/f", 9, "x"), NEITHER);
    }),
    rule("a change inside a subdirectory does not touch the directory above", async (tree) => {
      await tree.mkdir("/d");
      await tree.mkdir("/d/e");
      await expectTouched(tree, "/d", () => touch(tree, "/d/e/f"), NEITHER);
    }),
    rule("chmod changes ctime only", async (tree) => {
      await touch(tree, "/f");
      await expectTouched(tree, "/f", () => tree.setattr("/f", { mode: 0o600 }), CTIME);
    }),
    rule("extended attributes change ctime only", async (tree) => {
      await touch(tree, "/f");
      const set = (): Promise<void> => tree.xattrSet("/f", "user.a", new Uint8Array([1]));
      await expectTouched(tree, "/f", set, CTIME);
      await expectTouched(tree, "/f", () => tree.xattrRemove("/f", "user.a"), CTIME);
    }),
    rule("times are set to the nanosecond, and ctime changes", async (tree) => {
      await touch(tree, "/f");
      const before = await tree.stat("/f");
      const set = { atimeNs: 1_234_567_890_123_456_789n, mtimeNs: 987_654_321_000_000_001n };
      await tree.setattr("/f", set);
      const after = await tree.stat("/f");
      expect(after).toMatchObject(set);
      expect(after.ctimeNs > before.ctimeNs).toBe(true);
    }),
    rule("times before 1970 and far ahead are kept", async (tree) => {
      await touch(tree, "/f");
      const set = { atimeNs: -1_500_000_000n, mtimeNs: 4_102_444_800_000_000_000n };
      await tree.setattr("/f", set);
      expect(await tree.stat("/f")).toMatchObject(set);
    }),
    rule("one time can be set without the other", async (tree) => {
      await touch(tree, "/f");
      const { mtimeNs } = await tree.stat("/f");
      await tree.setattr("/f", { atimeNs: 42n });
      expect(await tree.stat("/f")).toMatchObject({ atimeNs: 42n, mtimeNs });
      await tree.setattr("/f", { mtimeNs: 43n });
      expect(await tree.stat("/f")).toMatchObject({ atimeNs: 42n, mtimeNs: 43n });
    }),
    rule("times are set to now", async (tree) => {
      await touch(tree, "/f");
      await tree.setattr("/f", { atimeNs: 1n, mtimeNs: 1n });
      const { ctimeNs } = await tree.stat("/f");
      await tree.setattr("/f", { atimeNs: "now", mtimeNs: "now" });
      const after = await tree.stat("/f");
      expect(after.atimeNs > ctimeNs && after.mtimeNs > ctimeNs).toBe(true);
    }),
    rule("a directory's times are set and stay until it changes", async (tree) => {
      await tree.mkdir("/d");
      await tree.setattr("/d", { mtimeNs: 5n });
      expect((await tree.stat("/d")).mtimeNs).toBe(5n);
      await touch(tree, "/d/f");
      expect((await tree.stat("/d")).mtimeNs > 5n).toBe(true);
    }),
    rule("ctime rises with every change, however fast they follow each other", async (tree) => {
      await touch(tree, "/f");
      let last = (await tree.stat("/f")).ctimeNs;
      for (let index = 0; index < 20; index++) {
        await tree.setattr("/f", { mode: 0o600 + (index % 2) });
        const { ctimeNs } = await tree.stat("/f");
        expect(ctimeNs > last).toBe(true);
        last = ctimeNs;
      }
    }),
  ],
};
