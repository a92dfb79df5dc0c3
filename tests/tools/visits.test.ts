// Going down a tree that is made up: order, memory, and what becomes of directories that cannot be listed.

import { describe, expect, test } from "bun:test";
import { DfsError } from "../../src/base/errors.ts";
import type { DirectoryEntry } from "../../src/client/api.ts";
import type { Attributes } from "../../src/protocol/messages/common.ts";
import {
  visitsBelow,
  type VisitOptions,
  type Item,
  type Lister,
} from "../../src/tools/shared/visits.ts";

/** Names of what is in a directory, or the error of listing it; names that end in / are directories. */
type Listed = Readonly<Record<string, readonly string[] | Error>>;

const attributesOf = (name: string): Attributes =>
  ({ type: name.endsWith("/") ? "directory" : "file" }) as Attributes;

function entryOf(name: string): DirectoryEntry {
  const attributes = attributesOf(name);
  const bytes = Buffer.from(name.replace("/", ""));
  const { inode, type } = attributes;
  return { name: bytes, inode, type, attributes, hasXattrs: false };
}

function lister(listed: Listed, stat: () => Promise<Attributes>): Lister {
  return {
    stat,
    async *readdir(path: Uint8Array) {
      const names = listed[Buffer.from(path).toString()] ?? [];
      if (names instanceof Error) throw names;
      for (const name of names) {
        await Promise.resolve();
        yield entryOf(name);
      }
    },
  };
}

const ROOT: Item = {
  path: Buffer.from("/"),
  name: Buffer.from("/"),
  attributes: attributesOf("/"),
};

async function visits(
  listed: Listed,
  options: Omit<VisitOptions, "signal"> = {},
  stat: () => Promise<Attributes> = () => Promise.resolve(attributesOf("x/")),
): Promise<string[]> {
  const told: string[] = [];
  const { signal } = new AbortController();
  for await (const visit of visitsBelow(lister(listed, stat), ROOT, { signal, ...options })) {
    const { kind, item, depth, isLast, error } = visit;
    const path = Buffer.from(item.path).toString();
    const more = error instanceof DfsError ? ` ${error.kind}` : "";
    told.push(`${kind} ${depth} ${path}${kind === "entry" && isLast ? " last" : ""}${more}`);
  }
  return told;
}

const TREE = { "/": ["a/", "b", "c/"], "/a": ["x"], "/c": ["d/"], "/c/d": [] };

describe("visitsBelow", () => {
  test("visits directories before what is in them, and leaves them after it", async () => {
    expect(await visits(TREE)).toEqual([
      "entry 0 / last",
      "entry 1 /a",
      "entry 2 /a/x last",
      "leave 1 /a",
      "entry 1 /b",
      "entry 1 /c last",
      "entry 2 /c/d last",
      "leave 2 /c/d",
      "leave 1 /c",
      "leave 0 /",
    ]);
  });

  test("does not enter what it is told not to, and knows the last of those that are left", async () => {
    const options: Omit<VisitOptions, "signal"> = {
      into: (_directory, depth) => depth < 1,
      without: ({ type }) => type === "file",
    };
    expect(await visits(TREE, options)).toEqual([
      "entry 0 / last",
      "entry 1 /a",
      "entry 1 /c last",
      "leave 0 /",
    ]);
  });

  test("tells of directories that cannot be listed, and goes on behind them", async () => {
    const denied = new DfsError("accessDenied", "denied");
    expect(await visits({ "/": ["a/", "b"], "/a": denied })).toEqual([
      "entry 0 / last",
      "entry 1 /a",
      "unlisted 1 /a accessDenied",
      "leave 1 /a",
      "entry 1 /b last",
      "leave 0 /",
    ]);
  });

  // "stale" is also what an expired session is told, which ends a command; a directory that somebody else removes must not.
  test("tells of a directory that vanished meanwhile as not found, and of an expired session as stale", async () => {
    const gone = { "/": ["a/"], "/a": new DfsError("stale", "gone") };
    const notFound = (): Promise<Attributes> => Promise.reject(new DfsError("notFound", "no /a"));
    expect(await visits(gone, {}, notFound)).toContain("unlisted 1 /a notFound");
    expect(await visits(gone)).toContain("unlisted 1 /a stale");
  });

  test("goes as deep as the tree is", async () => {
    const deep: Record<string, readonly string[]> = { "/": ["d/"] };
    let path = "";
    for (let depth = 0; depth < 1000; depth++) {
      path += "/d";
      deep[path] = ["d/"];
    }
    const told = await visits(deep);
    expect(told.filter((line) => line.startsWith("leave"))).toHaveLength(1002);
  });
});
