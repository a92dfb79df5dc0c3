// Paths as bytes, and where cp would put things.

import { describe, expect, test } from "bun:test";
import { argument } from "../../src/tools/shared/arguments.ts";
import {
  baseName,
  components,
  endsInSlash,
  isNameless,
  joined,
  parentPath,
  placeInside,
  remotePath,
  withoutTrailingSlashes,
} from "../../src/tools/shared/paths.ts";

const b = (text: string): Uint8Array => Buffer.from(text, "latin1");
const t = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

describe("remotePath", () => {
  test("takes a path without a leading slash from the root", () => {
    expect(t(remotePath(argument("a/b")))).toBe("/a/b");
    expect(t(remotePath(argument("/a/b/")))).toBe("/a/b/");
  });

  test("refuses an empty path", () => {
    expect(() => remotePath(argument(""))).toThrow("a path is empty");
  });

  test("refuses a name over 255 bytes, counting bytes and not letters", () => {
    expect(() => remotePath(argument(`/${"x".repeat(255)}`))).not.toThrow();
    expect(() => remotePath(argument(`/${"x".repeat(256)}`))).toThrow("it has 256 bytes");
    expect(() => remotePath(argument(`/${"é".repeat(128)}/a`))).toThrow("it has 256 bytes");
  });

  test("refuses a path over 4,096 bytes", () => {
    const longest = "/abcdefg".repeat(512);
    expect(() => remotePath(argument(longest))).not.toThrow();
    expect(() => remotePath(argument(`${longest}h`))).toThrow("it has 4097 bytes");
  });
});

test.each([
  ["/a/b", "b", "/a"],
  ["/a/b///", "b", "/a"],
  ["/a", "a", "/"],
  ["a", "a", "."],
  ["a/b", "b", "a"],
  ["/", "", "/"],
  ["//", "", "/"],
  ["a/..", "..", "a"],
])("%j has the last name %j in %j", (path, name, parent) => {
  expect(t(baseName(b(path)))).toBe(name);
  expect(t(parentPath(b(path)))).toBe(parent);
});

test.each([
  ["/target", "source/file", "/target/file"],
  ["/target/", "source/dir/", "/target/dir"],
  ["/", "file", "/file"],
  ["/target", ".", "/target"],
  ["/target", "dir/.", "/target"],
  ["/target", "dir/..", "/target"],
  ["/target/", "/", "/target"],
  ["/target", "dir/...", "/target/..."],
  ["/target", "/abs/\xff\n", "/target/\xff\n"],
])("into the directory %j, %j goes as %j", (target, source, place) => {
  expect(t(placeInside(b(target), b(source)))).toBe(place);
});

test("small things", () => {
  expect(t(joined(b("/a/"), b("b")))).toBe("/a/b");
  expect(t(joined(b("/"), b("b")))).toBe("/b");
  expect(t(withoutTrailingSlashes(b("///")))).toBe("/");
  expect(endsInSlash(b("a/"))).toBe(true);
  expect(endsInSlash(b("a"))).toBe(false);
  expect(isNameless(b("/a/.."))).toBe(true);
  expect(isNameless(b("/a/..b"))).toBe(false);
  expect(components(b("//a/./b//")).map(t)).toEqual(["a", ".", "b"]);
});
