// Patterns of --exclude: the rules of gitignore(5), and, where git is there, what git itself says.

import { afterAll, expect, test } from "bun:test";
import { canRun, whyWithout } from "../support/conditions.ts";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { DfsError } from "../../src/base/errors.ts";
import { seededRandom } from "../../src/base/random.ts";
import { Exclusion, excludePattern } from "../../src/tools/shared/exclude.ts";
import { temporaryFolder } from "./support/files.ts";

const folder = temporaryFolder("exclude");
afterAll(() => folder.remove());

/** A path that ends in a slash is a directory. */
function excludes(patterns: readonly string[], path: string): boolean {
  const bare = path.replace(/\/$/, "");
  return new Exclusion(patterns).excludes(Buffer.from(bare), path !== bare);
}

test.each([
  [["*.o"], ["a.o", "d/a.o", "d/e/.o", "x.o/"], ["a.oo", "o"]],
  [["build/"], ["build/", "d/build/"], ["build", "d/build"]],
  [["/build"], ["build", "build/"], ["d/build"]],
  [["d/*.c"], ["d/a.c"], ["d/e/a.c", "e/d/a.c", "a.c"]],
  [["**/x"], ["x", "a/x", "a/b/x"], ["xx"]],
  [["a/**/b"], ["a/b", "a/x/b", "a/x/y/b"], ["a", "b", "a/xb"]],
  [["a/**"], ["a/b", "a/b/c"], ["a/", "b/a"]],
  [["a?"], ["ab", "aü", "d/ax"], ["a", "a/b"]],
  [["*"], ["a", "a/b", ".a"], []],
  [
    ["*.c", "!keep.c"],
    ["a.c", "d/a.c"],
    ["keep.c", "d/keep.c"],
  ],
  [["!keep.c", "*.c"], ["keep.c"], []],
  [["\\!a"], ["!a"], ["a"]],
  [["[ab]/c"], ["a/c", "b/c"], ["c/c"]],
] as const)("%j", (patterns, out, others) => {
  for (const path of out)
    expect({ path, out: excludes(patterns, path) }).toEqual({ path, out: true });
  for (const path of others) {
    expect({ path, out: excludes(patterns, path) }).toEqual({ path, out: false });
  }
});

test("the root of the tree is never left out, and a pattern of nothing is refused", () => {
  expect(new Exclusion(["*"]).excludes(new Uint8Array(), true)).toBe(false);
  for (const text of ["", "/", "!", "!/", "//"])
    expect(() => excludePattern(text)).toThrow(DfsError);
});

// ./build was taken, and left nothing out.
test.each(["./build", "../x", "a/./b", "!./x", "."])(
  "%j can match nothing and is refused",
  (text) => {
    expect(() => excludePattern(text)).toThrow("without . and ..");
  },
);

const SEED = Number(process.env["DFS_TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 32));

test.if(canRun("patterns beside git", whyWithout("git")))(`as git has it, seed ${SEED}`, () => {
  const random = seededRandom(SEED);
  const pick = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
  const name = (): string => pick(["a", "b", "ab", "x.c", "x.o"]);
  const word = (): string => pick(["a", "b", "a*", "*", "?", "**", "[ab]", "*.c", "x.?"]);
  const words = (make: () => string): string =>
    Array.from({ length: 1 + random.below(3) }, make).join("/");
  const root = join(folder.path, "git");
  mkdirSync(root);
  expect(Bun.spawnSync(["git", "init", "-q", root]).exitCode).toBe(0);
  const paths = [...new Set(Array.from({ length: 40 }, () => words(name)))].filter(
    (path, _index, all) => !all.some((other) => other.startsWith(`${path}/`)),
  );
  for (const path of paths) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    writeFileSync(join(root, path), "");
  }
  for (let round = 0; round < 40; round++) {
    const patterns = Array.from(
      { length: 1 + random.below(3) },
      () => pick(["", "", "!"]) + pick(["", "", "/"]) + words(word) + pick(["", "", "/"]),
    );
    writeFileSync(join(root, ".git/info/exclude"), `${patterns.join("\n")}\n`);
    const listed = Bun.spawnSync(["git", "-C", root, "ls-files", "-o", "--exclude-standard"]);
    const kept = paths.filter((path) => !isLeftOut(patterns, path));
    expect({ patterns, kept: kept.toSorted() }).toEqual({
      patterns,
      kept: listed.stdout.toString().split("\n").filter(Boolean).toSorted(),
    });
  }
});

/** As a walk comes to it: what is in a directory that is left out is not looked at. */
function isLeftOut(patterns: readonly string[], path: string): boolean {
  const names = path.split("/");
  return names.some((_name, index) => {
    const above = names.slice(0, index + 1).join("/");
    return excludes(patterns, index + 1 < names.length ? `${above}/` : above);
  });
}
