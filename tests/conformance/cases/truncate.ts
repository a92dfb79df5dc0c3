/** Changing the length of a file. */
import { expect } from "bun:test";
import {
  contentOf,
  expectTouched,
  fails,
  pattern,
  rule,
  ruleFor,
  textOf,
  touch,
  using,
  writeAt,
  ZERO,
} from "../support.ts";
import type { Topic } from "../tree.ts";

export const truncate: Topic = {
  topic: "truncation",
  cases: [
    rule("a longer file is cut to five bytes", async (tree) => {
      await touch(tree, "/f", pattern(3 * tree.blockSize));
      await tree.setattr("/f", { size: 5 });
      expect(await contentOf(tree, "/f")).toBe(pattern(5));
      expect((await tree.stat("/f")).size).toBe(5);
    }),
    rule("a file is cut to nothing", async (tree) => {
      await touch(tree, "/f", pattern(3 * tree.blockSize));
      await tree.setattr("/f", { size: 0 });
      expect(await contentOf(tree, "/f")).toBe("");
      expect((await tree.stat("/f")).allocated).toBe(0);
    }),
    rule("a cut at a multiple of the block size keeps whole blocks", async (tree) => {
      const size = 2 * tree.blockSize;
      await touch(tree, "/f", pattern(3 * tree.blockSize));
      await tree.setattr("/f", { size });
      expect(await contentOf(tree, "/f")).toBe(pattern(size));
    }),
    rule("a cut one byte before and one behind a block's end", async (tree) => {
      for (const size of [2 * tree.blockSize - 1, tree.blockSize + 1]) {
        await touch(tree, `/${size}`, pattern(3 * tree.blockSize));
        await tree.setattr(`/${size}`, { size });
        expect(await contentOf(tree, `/${size}`)).toBe(pattern(size));
      }
    }),
    rule("a file grows with zeros", async (tree) => {
      await touch(tree, "/f", "abc");
      await tree.setattr("/f", { size: 6 });
      expect(await contentOf(tree, "/f")).toBe(`abc${ZERO.repeat(3)}`);
    }),
    rule("what was cut off does not come back when the file grows", async (tree) => {
      const length = 2 * tree.blockSize + 3;
      await touch(tree, "/f", pattern(length));
      await tree.setattr("/f", { size: 4 });
      await tree.setattr("/f", { size: length });
      expect(await contentOf(tree, "/f")).toBe(pattern(4) + ZERO.repeat(length - 4));
    }),
    rule("what was cut off does not come back when something is written behind", async (tree) => {
      await touch(tree, "/f", pattern(tree.blockSize));
      await tree.setattr("/f", { size: 2 });
      await writeAt(tree, "/f", 5, "xy");
      expect(await contentOf(tree, "/f")).toBe(`${pattern(2)}${ZERO.repeat(3)}xy`);
    }),
    rule("truncation through an open file is seen by others", async (tree) => {
      await touch(tree, "/f", pattern(20));
      const other = await tree.another();
      await using(tree.open("/f"), (file) => file.truncate(7));
      expect(await contentOf(other, "/f")).toBe(pattern(7));
      await other.close();
    }),
    rule("an open file reads to its new end after it was cut", async (tree) => {
      await touch(tree, "/f", pattern(20));
      await using(tree.open("/f"), async (file) => {
        await file.truncate(4);
        expect(textOf(await file.read(0, 20))).toBe(pattern(4));
        await file.write(4, new TextEncoder().encode("+"));
        expect(textOf(await file.read(0, 20))).toBe(`${pattern(4)}+`);
      });
      expect(await contentOf(tree, "/f")).toBe(`${pattern(4)}+`);
    }),
    rule("truncation changes mtime and ctime, also to the same length", async (tree) => {
      await touch(tree, "/f", "abc");
      const both = { mtime: true, ctime: true };
      await expectTouched(tree, "/f", () => tree.setattr("/f", { size: 2 }), both);
      await expectTouched(tree, "/f", () => tree.setattr("/f", { size: 9 }), both);
      await expectTouched(tree, "/f", () => tree.setattr("/f", { size: 9 }), both);
    }),
    rule("truncation of a missing file is not found", async (tree) => {
      await fails(tree.setattr("/f", { size: 1 }), "ENOENT");
    }),
    rule("all links of a file are cut with it", async (tree) => {
      await touch(tree, "/f", "abcdef");
      await tree.link("/f", "/g");
      await tree.setattr("/g", { size: 3 });
      expect(await contentOf(tree, "/f")).toBe("abc");
    }),
    ruleFor(["holes"], "five gibibytes of hole cost nothing", async (tree) => {
      const size = 5 * 2 ** 30;
      await touch(tree, "/f");
      await tree.setattr("/f", { size });
      expect(await tree.stat("/f")).toMatchObject({ size, allocated: 0 });
      await writeAt(tree, "/f", size - 1, "!");
      await using(tree.open("/f"), async (file) => {
        expect(textOf(await file.read(size - 3, 10))).toBe(`${ZERO}${ZERO}!`);
        expect(await file.read(2 ** 30, 4)).toEqual(new Uint8Array(4));
      });
      expect(await tree.stat("/f")).toMatchObject({ size, allocated: 1 });
      await tree.setattr("/f", { size: 10 });
      expect(await tree.stat("/f")).toMatchObject({ size: 10, allocated: 0 });
    }),
  ],
};
