/** Files that lose their last name while somebody has them open. */
import { expect } from "bun:test";
import {
  bytesOf,
  contentOf,
  expectMissing,
  namesIn,
  pattern,
  rule,
  textOf,
  touch,
} from "../support.ts";
import type { Topic } from "../tree.ts";

export const openUnlinked: Topic = {
  topic: "unlinked while open",
  cases: [
    rule("an open file is read after its name is gone", async (tree) => {
      await touch(tree, "/f", pattern(3 * tree.blockSize));
      const file = await tree.open("/f");
      await tree.unlink("/f");
      await expectMissing(tree, "/f");
      expect(textOf(await file.read(0, 100))).toBe(pattern(3 * tree.blockSize).slice(0, 100));
      await file.close();
    }),
    rule("an open file is written and read after its name is gone", async (tree) => {
      const file = await tree.create("/f");
      await tree.unlink("/f");
      await file.write(0, bytesOf("hidden"));
      await file.flush();
      await file.write(6, bytesOf(" content"));
      await file.flush();
      expect(textOf(await file.read(0, 100))).toBe("hidden content");
      await file.close();
      expect(await namesIn(tree, "/")).toEqual([]);
    }),
    rule("an open file is truncated after its name is gone", async (tree) => {
      await touch(tree, "/f", "abcdef");
      const file = await tree.open("/f");
      await tree.unlink("/f");
      await file.truncate(2);
      expect(textOf(await file.read(0, 100))).toBe("ab");
      await file.close();
    }),
    rule("a new file under the name is another one", async (tree) => {
      await touch(tree, "/f", "old");
      const old = await tree.open("/f");
      await tree.unlink("/f");
      await touch(tree, "/f", "new");
      expect(textOf(await old.read(0, 10))).toBe("old");
      expect(await contentOf(tree, "/f")).toBe("new");
      expect((await tree.stat("/f")).inode).not.toBe(old.inode);
      await old.close();
      expect(await contentOf(tree, "/f")).toBe("new");
    }),
    rule("a file that another client has open stays readable there", async (tree) => {
      await touch(tree, "/f", "shared");
      const other = await tree.another();
      const file = await other.open("/f");
      await tree.unlink("/f");
      expect(textOf(await file.read(0, 10))).toBe("shared");
      await file.close();
      await other.close();
    }),
    rule("two opens in one client both have to be closed", async (tree) => {
      await touch(tree, "/f", "twice");
      const one = await tree.open("/f");
      const two = await tree.open("/f");
      await tree.unlink("/f");
      await one.close();
      expect(textOf(await two.read(0, 10))).toBe("twice");
      await two.close();
    }),
    rule("two clients that have it open both keep it", async (tree) => {
      await touch(tree, "/f", "both");
      const other = await tree.another();
      const here = await tree.open("/f");
      const there = await other.open("/f");
      await other.unlink("/f");
      await here.close();
      expect(textOf(await there.read(0, 10))).toBe("both");
      await there.close();
      await other.close();
    }),
    rule("a session that ends gives up its open files, others keep theirs", async (tree) => {
      await touch(tree, "/f", "kept");
      const other = await tree.another();
      const third = await tree.another();
      await other.open("/f");
      const file = await third.open("/f");
      await tree.unlink("/f");
      await other.close();
      expect(textOf(await file.read(0, 10))).toBe("kept");
      await file.close();
      await third.close();
    }),
    rule("a file that is replaced by a rename stays readable where it is open", async (tree) => {
      await touch(tree, "/f", "old");
      await touch(tree, "/g", "new");
      const other = await tree.another();
      const file = await other.open("/f");
      await tree.rename("/g", "/f");
      expect(textOf(await file.read(0, 10))).toBe("old");
      await file.close();
      await other.close();
    }),
    rule("closing after the unlink leaves other names alone", async (tree) => {
      await touch(tree, "/f", "linked");
      await tree.link("/f", "/g");
      const file = await tree.open("/f");
      await tree.unlink("/f");
      await file.close();
      expect(await contentOf(tree, "/g")).toBe("linked");
    }),
    rule("a file that was large when it lost its name is read to the end", async (tree) => {
      const length = 40 * tree.blockSize;
      const content = length > 2 ** 20 ? pattern(100) : pattern(length);
      await touch(tree, "/f", content);
      const file = await tree.open("/f");
      await tree.unlink("/f");
      expect(textOf(await file.read(0, content.length + 1))).toBe(content);
      await file.close();
      await expectMissing(tree, "/f");
    }),
  ],
};
