// docs/faults.md names the tests that show what it claims. This reads the page and fails when one of them is not there, so that
// a claim cannot outlive its test.

import { describe, expect, test } from "bun:test";
import { isThere, missingFiles, namedTests, pageOf, titlesIn } from "./support/named-tests.ts";

const PAGE = pageOf("faults.md");

describe("docs/faults.md", () => {
  const named = namedTests(PAGE);

  test("names tests for each of the nine promises and for each row of the classic table", () => {
    for (let promise = 1; promise <= 9; promise++) {
      const rows = PAGE.split("\n").filter((line) => line.startsWith(`| P${promise}. `));
      expect(rows.length).toBeGreaterThan(0);
      for (const row of rows) expect(namedTests(row).length).toBeGreaterThan(0);
    }
    const classic = named.filter(({ file }) => file.endsWith("classic-faults.test.ts"));
    expect(classic.map(({ title }) => title[0])).toEqual(["1", "2", "3", "4", "5", "6", "7"]);
  });

  for (const each of named) {
    test(`${each.file} has the test "${each.title}"`, () => expect(isThere(each)).toBe(true));
  }

  test("names no file of tests that there is not", () => {
    expect(named.length).toBeGreaterThan(30);
    expect(missingFiles(PAGE)).toEqual([]);
  });
});

describe("what this test relies on", () => {
  test("titles are found however they are written", () => {
    const source = [
      'test("plain", () => {});',
      "test(`killed ${KILLS} times`, async () => {});",
      'test(\n  "on a line of its own",\n  () => {});',
      'test.each([1, 2])("in %d of three", () => {});',
      'test.skipIf(missing !== undefined).each([["a", undefined]])("%s: full", () => {});',
      'test("say \\"when\\"", () => {});',
      'withPrograms(["a", "b"], "made by programs", () => {});',
      'withPrograms(\n  ["a"],\n  `with ${what} of them`,\n  () => {});',
      'notATest("other");',
    ].join("\n");
    expect(titlesIn(source)).toEqual([
      "plain",
      "killed ... times",
      "on a line of its own",
      "in %d of three",
      "%s: full",
      'say "when"',
      "made by programs",
      "with ... of them",
    ]);
  });

  test("what the page names is found", () => {
    expect(
      namedTests('| a | `tests/x.test.ts`: "one", "two, and more"; `tests/y.test.ts` |'),
    ).toEqual([
      { file: "tests/x.test.ts", title: "one" },
      { file: "tests/x.test.ts", title: "two, and more" },
    ]);
  });
});
