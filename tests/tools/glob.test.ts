// Patterns of dfs find, and the figures that it compares with.

import { describe, expect, test } from "bun:test";
import type { Attributes } from "../../src/protocol/messages/common.ts";
import {
  ageTest,
  dayComparison,
  sizeComparison,
  sizeTest,
} from "../../src/tools/shared/find-tests.ts";
import { globMatcher } from "../../src/tools/shared/glob.ts";

describe("globMatcher", () => {
  test.each([
    ["*", ["", "a", ".hidden", "a/b"], []],
    ["a?c", ["abc", "a/c", "aüc", "a🙂c"], ["ac", "abbc"]],
    ["*.txt", [".txt", "a.txt", "a.txt.txt"], ["a.txt~", "txt"]],
    ["a*b*c", ["abc", "a--b--c", "abbcc"], ["acb", "ab"]],
    ["[a-c]x", ["ax", "cx"], ["dx", "x", "-x"]],
    ["[!a-c]x", ["dx", "-x"], ["ax"]],
    ["[^a]", ["b"], ["a", ""]],
    ["[]a]", ["]", "a"], ["b"]],
    ["[a-]", ["a", "-"], ["b"]],
    ["[a", ["[a"], ["a"]],
    ["\\*", ["*"], ["a", "\\*"]],
    ["[\\]x]", ["]", "x"], ["\\"]],
    ["a\\", ["a\\"], ["a"]],
    ["a.b", ["a.b"], ["axb"]],
    ["", [""], ["a"]],
  ] as const)("%s", (pattern, matching, others) => {
    const matches = globMatcher(pattern);
    expect(matching.filter((text) => !matches(text))).toEqual([]);
    expect(others.filter((text) => matches(text))).toEqual([]);
  });

  test("does not tell capitals from small letters when asked not to", () => {
    const matches = globMatcher("RÉSUMÉ[A-C].*", { ignoreCase: true });
    expect(matches("résuméb.Txt")).toBe(true);
    expect(globMatcher("RÉSUMÉ*")("résumé")).toBe(false);
  });

  test("takes no time that grows beyond measure with many stars", () => {
    expect(globMatcher(`${"*a".repeat(120)}b`)("a".repeat(255))).toBe(false);
  });
});

const item = (attributes: Partial<Attributes>) => ({
  path: new Uint8Array(),
  name: new Uint8Array(),
  attributes: attributes as Attributes,
});

test.each([
  ["1", [1, 512], [0, 513]],
  ["+1k", [1025], [1, 1024]],
  ["-2k", [0, 1, 1024], [1025]],
  ["0", [0], [1]],
  ["10c", [10], [9, 11]],
  ["-1M", [0], [1]],
] as const)("sizes %s: parts of a unit count as one", (typed, matching, others) => {
  const holds = sizeTest(sizeComparison(typed));
  expect(matching.filter((size) => !holds(item({ size })))).toEqual([]);
  expect(others.filter((size) => holds(item({ size })))).toEqual([]);
});

test("ages are whole days, in the future too", () => {
  const hour = 3_600_000_000_000n;
  const now = 1_000_000n * hour;
  const matching = (typed: string): number[] =>
    [-30, -1, 0, 23, 24, 47, 48].filter((hours) =>
      ageTest(dayComparison(typed), now)(item({ mtimeNs: now - BigInt(hours) * hour })),
    );
  expect(matching("0")).toEqual([0, 23]);
  expect(matching("1")).toEqual([24, 47]);
  expect(matching("+1")).toEqual([48]);
  expect(matching("-1")).toEqual([-30, -1, 0, 23]);
});
