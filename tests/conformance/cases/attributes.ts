/** Mode, owner, and what set-group-id directories hand down. */
import { expect } from "bun:test";
import { fails, rule, ruleFor, touch } from "../support.ts";
import type { Topic } from "../tree.ts";

export const attributes: Topic = {
  topic: "attributes",
  cases: [
    rule("all permission bits of files and directories are kept", async (tree) => {
      await touch(tree, "/f");
      await tree.mkdir("/d");
      for (const mode of [0o000, 0o777, 0o640, 0o1777, 0o2755, 0o4755, 0o7777]) {
        await tree.setattr("/d", { mode });
        expect((await tree.stat("/d")).mode).toBe(mode);
        await tree.setattr("/f", { mode });
        expect((await tree.stat("/f")).mode).toBe(mode);
      }
    }),
    rule("changing the mode changes nothing else", async (tree) => {
      await touch(tree, "/f", "content");
      const before = await tree.stat("/f");
      await tree.setattr("/f", { mode: 0o400 });
      const after = await tree.stat("/f");
      expect({ ...after, mode: 0, ctimeNs: 0n }).toEqual({ ...before, mode: 0, ctimeNs: 0n });
    }),
    rule("setattr follows a symbolic link", async (tree) => {
      await touch(tree, "/f");
      await tree.symlink("f", "/s");
      await tree.setattr("/s", { mode: 0o600 });
      expect((await tree.stat("/f")).mode).toBe(0o600);
      expect((await tree.lstat("/s")).mode).toBe(0o777);
    }),
    rule("setattr of a missing name is not found", async (tree) => {
      await fails(tree.setattr("/f", { mode: 0o600 }), "ENOENT");
    }),
    rule("all links show a change of attributes", async (tree) => {
      await touch(tree, "/f");
      await tree.link("/f", "/g");
      await tree.setattr("/f", { mode: 0o611 });
      expect((await tree.stat("/g")).mode).toBe(0o611);
    }),
    ruleFor(["owners"], "owner and group change together and alone", async (tree) => {
      await touch(tree, "/f");
      await tree.setattr("/f", { uid: 7, gid: 8 });
      expect(await tree.stat("/f")).toMatchObject({ uid: 7, gid: 8 });
      await tree.setattr("/f", { uid: 9 });
      expect(await tree.stat("/f")).toMatchObject({ uid: 9, gid: 8 });
      await tree.setattr("/f", { gid: 10 });
      expect(await tree.stat("/f")).toMatchObject({ uid: 9, gid: 10 });
    }),
    ruleFor(["owners"], "the largest ids are kept", async (tree) => {
      await touch(tree, "/f");
      await tree.setattr("/f", { uid: 2 ** 32 - 2, gid: 2 ** 32 - 2 });
      expect(await tree.stat("/f")).toMatchObject({ uid: 2 ** 32 - 2, gid: 2 ** 32 - 2 });
    }),
    ruleFor(["owners"], "the owner of a symbolic link itself changes", async (tree) => {
      await touch(tree, "/f");
      await tree.symlink("f", "/s");
      const { uid } = await tree.stat("/f");
      await tree.lsetattr("/s", { uid: 77 });
      expect((await tree.lstat("/s")).uid).toBe(77);
      expect((await tree.stat("/f")).uid).toBe(uid);
    }),
    ruleFor(["owners"], "what is made in a set-group-id directory has its group", async (tree) => {
      await tree.mkdir("/d");
      await tree.setattr("/d", { gid: 55, mode: 0o2775 });
      await touch(tree, "/d/f");
      await tree.symlink("f", "/d/s");
      await tree.mknod("/d/p", "fifo");
      for (const path of ["/d/f", "/d/s", "/d/p"]) {
        expect((await tree.lstat(path)).gid).toBe(55);
      }
      expect((await tree.stat("/d/f")).mode & 0o2000).toBe(0);
    }),
    ruleFor(["owners"], "set-group-id is handed down to new directories", async (tree) => {
      await tree.mkdir("/d");
      await tree.setattr("/d", { gid: 55, mode: 0o2775 });
      await tree.mkdir("/d/e", 0o755);
      await tree.mkdir("/d/e/f", 0o700);
      expect(await tree.stat("/d/e")).toMatchObject({ gid: 55, mode: 0o2755 });
      expect(await tree.stat("/d/e/f")).toMatchObject({ gid: 55, mode: 0o2700 });
    }),
    ruleFor(["owners"], "without set-group-id the group is the maker's", async (tree) => {
      await tree.mkdir("/d");
      await tree.setattr("/d", { gid: 55 });
      await touch(tree, "/f");
      await touch(tree, "/d/f");
      expect((await tree.stat("/d/f")).gid).toBe((await tree.stat("/f")).gid);
    }),
    ruleFor(
      ["owners"],
      "what moves into a set-group-id directory keeps its group",
      async (tree) => {
        await tree.mkdir("/d");
        await tree.setattr("/d", { gid: 55, mode: 0o2775 });
        await touch(tree, "/f");
        const { gid } = await tree.stat("/f");
        await tree.rename("/f", "/d/f");
        expect((await tree.stat("/d/f")).gid).toBe(gid);
      },
    ),
  ],
};
