// docs/faults.md names the tests that show what it claims. This reads the page and fails when one of them is not there, so that
// a claim cannot outlive its test.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";

const PROJECT = join(import.meta.dir, "..");
const PAGE = readFileSync(join(PROJECT, "docs/faults.md"), "utf8");
const FILES = [...new Bun.Glob("tests/**/*.test.ts").scanSync({ cwd: PROJECT })];

/** A file and the titles of tests in it that the page names behind it: `file`: "title", "title". */
function namedTests(page: string): { readonly file: string; readonly title: string }[] {
  return [...page.matchAll(/`(tests\/[\w./-]+\.test\.ts)`: ((?:"[^"]+"(?:, )?)+)/g)].flatMap(
    ([, file, titles]) =>
      [...titles!.matchAll(/"([^"]+)"/g)].map(([, title]) => ({ file: file!, title: title! })),
  );
}

/** The titles of the tests in a file: the first text of each call of `test`, with `...` for what is filled in. */
function titlesIn(source: string): string[] {
  const calls =
    /\btest(?:\.(?:each|skipIf)\((?:[^()]|\([^()]*\))*\))*\(\s*(["'`])((?:\\.|(?!\1)[^\\])*)\1/g;
  return [...source.matchAll(calls)].map(([, quote, text]) =>
    quote === "`" ? text!.replace(/"?\$\{[^}]*\}"?/g, "...") : text!.replace(/\\(.)/g, "$1"),
  );
}

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

  for (const { file, title } of named) {
    test(`${file} has the test "${title}"`, () => {
      expect(FILES).toContain(file);
      expect(titlesIn(readFileSync(join(PROJECT, file), "utf8"))).toContain(title);
    });
  }

  test("names no file of tests that there is not", () => {
    const names = new Set(FILES.map((file) => basename(file)));
    const mentioned = [...PAGE.matchAll(/`([\w./-]+\.test\.ts)`/g)].map(([, file]) => file!);
    expect(mentioned.length).toBeGreaterThan(30);
    expect(
      mentioned.filter((file) =>
        file.includes("/") ? !FILES.includes(file) : !names.has(basename(file)),
      ),
    ).toEqual([]);
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
      'notATest("other");',
    ].join("\n");
    expect(titlesIn(source)).toEqual([
      "plain",
      "killed ... times",
      "on a line of its own",
      "in %d of three",
      "%s: full",
      'say "when"',
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
