// docs/mount.md names the tests that show what must hold on a mount. This reads the page and fails when one of them is not there,
// or when a row names neither a test nor a page.

import { describe, expect, test } from "bun:test";
import { isThere, missingFiles, namedTests, pageOf } from "./support/named-tests.ts";

const HEADING = "# What must hold on a mount, and who shows it";
const PAGE = pageOf("mount.md");

describe("docs/mount.md", () => {
  const section = PAGE.slice(PAGE.indexOf(HEADING));
  const rows = section.split("\n").filter((line) => /^\| (?!What must hold|Part|-)/.test(line));

  test("names a test, a script or a page for each row", () => {
    expect(PAGE).toContain(HEADING);
    expect(rows.length).toBeGreaterThan(35);
    const shown = /`(tests|bench)\/[\w./-]+`|\]\([\w.]*#?[\w-]+\)/;
    expect(rows.filter((row) => !shown.test(row.split(" | ")[1]!))).toEqual([]);
  });

  const named = namedTests(section);
  for (const each of named) {
    test(`${each.file} has the test "${each.title}"`, () => expect(isThere(each)).toBe(true));
  }

  test("names no file of tests that there is not", () => {
    expect(named.length).toBeGreaterThan(70);
    expect(missingFiles(PAGE)).toEqual([]);
  });

  test("links to headings that there are", () => {
    const pages = new Map([["", PAGE]]);
    for (const [, page = "", anchor] of section.matchAll(/\]\(([\w.]*)#([\w-]+)\)/g)) {
      if (!pages.has(page)) pages.set(page, pageOf(page));
      const anchors = [...pages.get(page)!.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
        heading!
          .toLowerCase()
          .replace(/[^\w -]/g, "")
          .replaceAll(" ", "-"),
      );
      expect(anchors).toContain(anchor!);
    }
  });
});
