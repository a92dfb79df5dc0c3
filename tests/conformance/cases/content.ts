/** Writing into files: ranges, holes, overwrites, and what is between blocks. */
import { expect } from "bun:test";
import {
  bytesOf,
  contentOf,
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
import type { Case, Topic, Tree } from "../tree.ts";

/** `text` written over `base` at `offset`, with zeros between. */
function overlaid(base: string, offset: number, text: string): string {
  const filled = base.padEnd(offset, ZERO);
  return filled.slice(0, offset) + text + filled.slice(offset + text.length);
}

/** Overwrites [from, from + length) of a file of three blocks, in eighths of a block. */
function overwrite(what: string, from: number, length: number): Case {
  return rule(`overwrite ${what}`, async (tree) => {
    const eighth = tree.blockSize / 8;
    const old = pattern(3 * tree.blockSize);
    const text = pattern(length * eighth, 13).toUpperCase();
    await touch(tree, "/f", old);
    await writeAt(tree, "/f", from * eighth, text);
    expect(await contentOf(tree, "/f")).toBe(overlaid(old, from * eighth, text));
  });
}

async function lengthAndContent(tree: Tree, length: number): Promise<void> {
  await touch(tree, "/f", pattern(length));
  expect((await tree.stat("/f")).size).toBe(length);
  expect(await contentOf(tree, "/f")).toBe(pattern(length));
}

export const content: Topic = {
  topic: "content",
  cases: [
    rule("one byte", (tree) => lengthAndContent(tree, 1)),
    rule("one byte less than a block", (tree) => lengthAndContent(tree, tree.blockSize - 1)),
    rule("exactly one block", (tree) => lengthAndContent(tree, tree.blockSize)),
    rule("a block and one byte", (tree) => lengthAndContent(tree, tree.blockSize + 1)),
    rule("several blocks", (tree) => lengthAndContent(tree, 5 * tree.blockSize + 3)),
    overwrite("the first bytes", 0, 3),
    overwrite("bytes inside the first block", 2, 3),
    overwrite("the last bytes of a block", 5, 3),
    overwrite("the first bytes of the second block", 8, 2),
    overwrite("a whole block", 8, 8),
    overwrite("across a block's end", 6, 4),
    overwrite("across two blocks' ends", 6, 12),
    overwrite("everything", 0, 24),
    overwrite("the last bytes and beyond the end", 22, 6),
    rule("an append goes behind the end", async (tree) => {
      const old = pattern(tree.blockSize + 2);
      await touch(tree, "/f", old);
      await writeAt(tree, "/f", old.length, "appended");
      expect(await contentOf(tree, "/f")).toBe(`${old}appended`);
    }),
    rule("many small appends add up", async (tree) => {
      const text = pattern(40);
      await touch(tree, "/f");
      await using(tree.open("/f"), async (file) => {
        for (let at = 0; at < text.length; at += 3) {
          await file.write(at, bytesOf(text.slice(at, at + 3)));
          await file.flush();
        }
      });
      expect(await contentOf(tree, "/f")).toBe(text);
    }),
    rule("a write beyond the end leaves zeros between", async (tree) => {
      await touch(tree, "/f", "abc");
      const offset = 2 * tree.blockSize + 1;
      await writeAt(tree, "/f", offset, "xyz");
      expect(await contentOf(tree, "/f")).toBe(overlaid("abc", offset, "xyz"));
    }),
    rule("a write into an empty file at an offset", async (tree) => {
      await touch(tree, "/f");
      await writeAt(tree, "/f", 7, "x");
      expect(await contentOf(tree, "/f")).toBe(`${ZERO.repeat(7)}x`);
    }),
    rule("a hole is filled in the middle", async (tree) => {
      const length = 3 * tree.blockSize;
      await touch(tree, "/f");
      await tree.setattr("/f", { size: length });
      await writeAt(tree, "/f", tree.blockSize + 1, "x");
      expect(await contentOf(tree, "/f")).toBe(
        overlaid(ZERO.repeat(length), tree.blockSize + 1, "x"),
      );
    }),
    ruleFor(["holes"], "only what was written is allocated", async (tree) => {
      await touch(tree, "/f");
      await writeAt(tree, "/f", 10 * tree.blockSize, "abc");
      expect((await tree.stat("/f")).allocated).toBe(3);
      await writeAt(tree, "/f", 10 * tree.blockSize + 1, "XY!");
      expect((await tree.stat("/f")).allocated).toBe(4);
      expect((await tree.stat("/f")).size).toBe(10 * tree.blockSize + 4);
    }),
    rule("a block overwritten piece by piece is the sum of the pieces", async (tree) => {
      const { blockSize } = tree;
      const step = Math.max(1, Math.floor(blockSize / 16));
      let expected = pattern(blockSize);
      await touch(tree, "/f", expected);
      await using(tree.open("/f"), async (file) => {
        for (let offset = blockSize - step; offset >= 0; offset -= 2 * step) {
          const text = pattern(step, offset).toUpperCase();
          await file.write(offset, bytesOf(text));
          await file.flush();
          expected = overlaid(expected, offset, text);
        }
      });
      expect(await contentOf(tree, "/f")).toBe(expected);
    }),
    rule("the same bytes written again and again stay the same", async (tree) => {
      await touch(tree, "/f", pattern(tree.blockSize + 4));
      for (let round = 0; round < 5; round++) await writeAt(tree, "/f", 2, pattern(3, 2));
      expect(await contentOf(tree, "/f")).toBe(pattern(tree.blockSize + 4));
    }),
    rule("reads begin and end anywhere", async (tree) => {
      const text = pattern(2 * tree.blockSize + 5);
      await touch(tree, "/f", text);
      await using(tree.open("/f"), async (file) => {
        const { blockSize } = tree;
        const ranges = [
          [0, 1],
          [1, 3],
          [blockSize - 1, 2],
          [blockSize, blockSize],
          [2 * blockSize + 4, 1],
          [3, 2 * blockSize],
        ] as const;
        for (const [offset, length] of ranges) {
          expect(textOf(await file.read(offset, length))).toBe(text.slice(offset, offset + length));
        }
      });
    }),
    rule("reads at and behind the end are short or empty", async (tree) => {
      await touch(tree, "/f", "abcdef");
      await using(tree.open("/f"), async (file) => {
        expect(textOf(await file.read(4, 100))).toBe("ef");
        expect(await file.read(6, 10)).toEqual(new Uint8Array());
        expect(await file.read(1000, 10)).toEqual(new Uint8Array());
        expect(await file.read(2, 0)).toEqual(new Uint8Array());
      });
    }),
    rule("a hole reads as zeros, across its ends too", async (tree) => {
      const { blockSize } = tree;
      await touch(tree, "/f", "ab");
      await writeAt(tree, "/f", 3 * blockSize, "cd");
      await using(tree.open("/f"), async (file) => {
        expect(textOf(await file.read(1, 2))).toBe(`b${ZERO}`);
        expect(textOf(await file.read(blockSize, 3))).toBe(ZERO.repeat(3));
        expect(textOf(await file.read(3 * blockSize - 1, 5))).toBe(`${ZERO}cd`);
      });
    }),
    rule("an open file reads its own writes at once", async (tree) => {
      await using(tree.create("/f"), async (file) => {
        await file.write(0, bytesOf("one"));
        expect(textOf(await file.read(0, 10))).toBe("one");
        await file.write(1, bytesOf("NEW"));
        expect(textOf(await file.read(0, 10))).toBe("oNEW");
      });
    }),
    rule("what is closed here is read by the next open elsewhere", async (tree) => {
      const other = await tree.another();
      await touch(tree, "/f", "first");
      expect(await contentOf(other, "/f")).toBe("first");
      await writeAt(tree, "/f", 0, "later");
      expect(await contentOf(other, "/f")).toBe("later");
      await other.close();
    }),
    rule("two clients write different parts of one file", async (tree) => {
      const length = 2 * tree.blockSize;
      await touch(tree, "/f", ZERO.repeat(length));
      const other = await tree.another();
      await Promise.all([
        writeAt(tree, "/f", 0, pattern(3)),
        writeAt(other, "/f", length - 3, pattern(3, 5)),
      ]);
      const expected = overlaid(
        overlaid(ZERO.repeat(length), 0, pattern(3)),
        length - 3,
        pattern(3, 5),
      );
      expect(await contentOf(tree, "/f")).toBe(expected);
      await other.close();
    }),
    rule("content survives a rename and a hard link", async (tree) => {
      const text = pattern(2 * tree.blockSize + 1);
      await touch(tree, "/f", text);
      await tree.mkdir("/d");
      await tree.rename("/f", "/d/g");
      await tree.link("/d/g", "/h");
      await tree.unlink("/d/g");
      expect(await contentOf(tree, "/h")).toBe(text);
    }),
    rule("a fifo has no content to open through the tree", async (tree) => {
      await tree.mkdir("/d");
      await fails(tree.open("/d"), "EISDIR");
    }),
  ],
};
