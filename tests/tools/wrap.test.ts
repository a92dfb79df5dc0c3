// Help on narrow terminals.

import { expect, test } from "bun:test";
import { wrapped } from "../../src/tools/shared/wrap.ts";

const LONG = `${"word ".repeat(19)}last\nand the next line of it.\nA new paragraph.`;

test("prose is filled anew; a short line ends a paragraph", () => {
  expect(wrapped(LONG, 200)).toBe(
    `${"word ".repeat(19)}last and the next line of it.\nA new paragraph.`,
  );
  const lines = wrapped(LONG, 30).split("\n");
  expect(lines.every((line) => line.length <= 30)).toBe(true);
  expect(lines.at(-1)).toBe("A new paragraph.");
  expect(lines.join(" ").split(" ")).toEqual(LONG.split(/\s/));
});

test("rows go on below their second column, or below the first where that is too far to the right", () => {
  const row = "  -x, --long <value>  what it means, in a good many words";
  expect(wrapped(row, 60)).toBe(row);
  expect(wrapped(row, 52)).toBe(
    "  -x, --long <value>  what it means, in a good many\n                      words",
  );
  expect(wrapped(row, 30)).toBe(
    "  -x, --long <value>\n      what it means, in a good\n      many words",
  );
  const two = "  one  is the first of\n       two lines";
  expect(wrapped(two, 60)).toBe("  one  is the first of two lines");
});

test("what is to be pasted stays in one piece, and so does a word that is too long", () => {
  const example = "  dfs put -r --exclude '*.o' project /backup/    # and a remark";
  expect(wrapped(example, 30)).toBe(example);
  expect(wrapped(`see ${"x".repeat(50)} there`, 30)).toBe(`see\n${"x".repeat(50)}\nthere`);
});

test("without a width 80 columns; below 24 it makes no difference", () => {
  expect(wrapped(LONG, undefined)).toBe(wrapped(LONG, 80));
  expect(wrapped(LONG, 1)).toBe(wrapped(LONG, 24));
});
