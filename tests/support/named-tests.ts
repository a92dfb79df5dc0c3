// Pages of docs/ name the tests that show what they claim: `tests/FILE.test.ts`: "title", "title". What a page names, and what
// titles a file of tests has, so that a claim cannot outlive its test.

import { readFileSync } from "node:fs";
import { basename, join } from "node:path";

const PROJECT = join(import.meta.dir, "../..");
/** All files of tests, by their paths in the project. */
export const TEST_FILES: readonly string[] = [
  ...new Bun.Glob("tests/**/*.test.ts").scanSync({ cwd: PROJECT }),
];

export interface NamedTest {
  readonly file: string;
  readonly title: string;
}

/** A file and the titles of tests in it that a page names behind it. */
export function namedTests(page: string): NamedTest[] {
  return [...page.matchAll(/`(tests\/[\w./-]+\.test\.ts)`: ((?:"[^"]+"(?:, )?)+)/g)].flatMap(
    ([, file, titles]) =>
      [...titles!.matchAll(/"([^"]+)"/g)].map(([, title]) => ({ file: file!, title: title! })),
  );
}

/** The titles of the tests in a source: the first text of each call of `test`, with `...` for what is filled in. */
export function titlesIn(source: string): string[] {
  const calls =
    /\b(?:test(?:\.(?:each|skipIf)\((?:[^()]|\([^()]*\))*\))*\(|withPrograms\(\s*\[[^\]]*\],)\s*(["'`])((?:\\.|(?!\1)[^\\])*)\1/g;
  return [...source.matchAll(calls)].map(([, quote, text]) =>
    quote === "`" ? text!.replace(/"?\$\{[^}]*\}"?/g, "...") : text!.replace(/\\(.)/g, "$1"),
  );
}

/** True when there is a file with a test of that title. */
export function isThere({ file, title }: NamedTest): boolean {
  return (
    TEST_FILES.includes(file) && titlesIn(readFileSync(join(PROJECT, file), "utf8")).includes(title)
  );
}

/** Files of tests that a page mentions, with their folder or without, and that are not there. */
export function missingFiles(page: string): string[] {
  const names = new Set(TEST_FILES.map((file) => basename(file)));
  const mentioned = [...page.matchAll(/`([\w./-]+\.test\.ts)`/g)].map(([, file]) => file!);
  return mentioned.filter((file) =>
    file.includes("/") ? !TEST_FILES.includes(file) : !names.has(basename(file)),
  );
}

/** A page of docs/. */
export function pageOf(name: string): string {
  return readFileSync(join(PROJECT, "docs", name), "utf8");
}
