// Names and attributes, operation by operation: what paths cannot show.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { inodeId, ROOT_INODE, type InodeId } from "../../../../src/base/ids.ts";
import {
  MAX_LINKS,
  MAX_XATTR_BYTES,
  MAX_XATTR_LIST_BYTES,
  MAX_XATTR_VALUE_BYTES,
} from "../../../../src/base/limits.ts";
import * as names from "../../../../src/protocol/messages/namespace.ts";
import { formatNamespace } from "../../../../src/server/meta/namespace/operations.ts";
import * as operations from "../../../../src/server/meta/namespace/operations.ts";
import { Harness, type TestSession } from "./harness.ts";
import {
  bytes,
  commit,
  createDirectory,
  createFile,
  failsWith,
  OWNER,
  reserve,
  unlink,
  wholeBlocks,
  NO_CHANGE,
} from "./support.ts";

const GONE = inodeId(4242n);

let harness: Harness;
let session: TestSession;

beforeEach(async () => {
  harness = new Harness();
  session = await harness.openSession();
});

afterEach(() => harness.close());

const lookup = (parent: InodeId, name: string): Promise<unknown> =>
  session.ask(operations.lookup, { parent, name: bytes(name) });

const mkdir = (parent: InodeId, name: string): Promise<unknown> =>
  session.change(names.mkdir, operations.mkdir, { parent, name: bytes(name), ...OWNER });

describe("names that a request can carry but no file can have", () => {
  const kinds = [
    ["", "invalid"],
    ["a/b", "invalid"],
    ["/", "invalid"],
    ["a\0b", "invalid"],
    ["n".repeat(256), "nameTooLong"],
  ] as const;
  test.each(kinds)("%p is refused everywhere", async (name, kind) => {
    const place = { parent: ROOT_INODE, name: bytes(name) };
    const { inode } = await createFile(session, "f");
    await failsWith(lookup(ROOT_INODE, name), kind);
    await failsWith(mkdir(ROOT_INODE, name), kind);
    await failsWith(createFile(session, name), kind);
    await failsWith(session.change(names.unlink, operations.unlink, place), kind);
    await failsWith(session.change(names.rmdir, operations.rmdir, place), kind);
    await failsWith(session.change(names.link, operations.link, { inode, ...place }), kind);
    const target = { newParent: ROOT_INODE, newName: bytes("x"), how: "replace" as const };
    await failsWith(session.change(names.rename, operations.rename, { ...place, ...target }), kind);
    const back = { parent: ROOT_INODE, name: bytes("f"), newParent: ROOT_INODE };
    const body = { ...back, newName: bytes(name), how: "replace" as const };
    await failsWith(session.change(names.rename, operations.rename, body), kind);
  });
});

describe("lookup", () => {
  test("`.` is the directory and `..` its parent; the root's is the root", async () => {
    const { inode } = await createDirectory(session, "d");
    const of = async (parent: InodeId, name: string): Promise<InodeId> => {
      const found = await session.ask(operations.lookup, { parent, name: bytes(name) });
      return found.attributes.inode;
    };
    expect(await of(inode, ".")).toBe(inode);
    expect(await of(inode, "..")).toBe(ROOT_INODE);
    expect(await of(ROOT_INODE, "..")).toBe(ROOT_INODE);
    expect(await of(ROOT_INODE, "d")).toBe(inode);
  });

  test("in something that is no directory, or gone", async () => {
    const { inode } = await createFile(session, "f");
    await failsWith(lookup(inode, "x"), "notDirectory");
    await failsWith(lookup(inode, "."), "notDirectory");
    await failsWith(lookup(GONE, "x"), "notFound");
  });
});

describe("resolve", () => {
  const resolve = async (start: InodeId, path: string): Promise<InodeId> => {
    const body = { start, path: bytes(path), followLast: true };
    return (await session.ask(operations.resolve, body)).attributes.inode;
  };

  test("begins at `start`, unless the path is absolute", async () => {
    const { inode: directory } = await createDirectory(session, "d");
    const { inode: file } = await createFile(session, "f", { parent: directory });
    expect(await resolve(directory, "f")).toBe(file);
    expect(await resolve(directory, "/d/f")).toBe(file);
    expect(await resolve(directory, "../d/./f")).toBe(file);
    expect(await resolve(directory, "../../..")).toBe(ROOT_INODE);
    expect(await resolve(directory, "/")).toBe(ROOT_INODE);
  });

  test("walks through as many names as a path can have twice, however many links there are", async () => {
    await createDirectory(session, "d");
    const { inode } = await createFile(session, "0");
    const place = { parent: ROOT_INODE, uid: 0, gid: 0 };
    for (const number of [1, 2, 3]) {
      const target = bytes(`${"d/../".repeat(800)}${number - 1}`);
      const body = { ...place, name: bytes(String(number)), target };
      await session.change(names.symlink, operations.symlink, body);
    }
    expect(await resolve(ROOT_INODE, "2")).toBe(inode);
    await failsWith(resolve(ROOT_INODE, "3"), "loop");
  });

  test("an empty path is `start` itself", async () => {
    const { inode } = await createFile(session, "f");
    expect(await resolve(inode, "")).toBe(inode);
    await failsWith(resolve(inode, "x"), "notDirectory");
    await failsWith(resolve(GONE, ""), "stale");
  });
});

describe("what is gone is stale", () => {
  test("for questions and changes about an inode", async () => {
    const { inode } = await createFile(session, "f");
    await unlink(session, "f");
    const nothing = { ...NO_CHANGE, mode: 0o600 };
    const name = bytes("user.a");
    await failsWith(session.ask(operations.getattr, { inode }), "stale");
    await failsWith(session.ask(operations.readlink, { inode }), "stale");
    await failsWith(session.ask(operations.xattrGet, { inode, name }), "stale");
    await failsWith(session.ask(operations.xattrList, { inode }), "stale");
    const map = { inode, offset: 0, length: 1, limit: 1 };
    await failsWith(session.ask(operations.map, map), "stale");
    await failsWith(
      session.change(names.setattr, operations.setattr, { inode, ...nothing }),
      "stale",
    );
    const link = { inode, parent: ROOT_INODE, name };
    await failsWith(session.change(names.link, operations.link, link), "stale");
    const blocks = await reserve(session, 1);
    await failsWith(commit(session, wholeBlocks(inode, blocks)), "stale");
  });
});

describe("readdir", () => {
  const page = (after: string | null, limit: number): Promise<string[]> =>
    session
      .ask(operations.readdir, {
        directory: ROOT_INODE,
        after: after === null ? null : bytes(after),
        limit,
        withAttributes: true,
      })
      .then(({ entries, more }) => [
        ...entries.map((entry) => new TextDecoder().decode(entry.name)),
        ...(more ? ["more"] : []),
      ]);

  beforeEach(async () => {
    for (const name of ["a", "b", "c", "d", "e"]) await createFile(session, name);
  });

  test("pages begin behind a name and say whether more follow", async () => {
    expect(await page(null, 2)).toEqual(["a", "b", "more"]);
    expect(await page("b", 2)).toEqual(["c", "d", "more"]);
    expect(await page("d", 2)).toEqual(["e"]);
    expect(await page("c", 2)).toEqual(["d", "e"]);
    expect(await page("e", 2)).toEqual([]);
    await failsWith(page(null, 0), "invalid");
  });

  test("a page begins where its name was, also when that was removed meanwhile", async () => {
    await unlink(session, "b");
    expect(await page("b", 2)).toEqual(["c", "d", "more"]);
    expect(await page("bb", 5)).toEqual(["c", "d", "e"]);
  });

  test("names made and removed between two pages come at most once", async () => {
    const first = await page(null, 3);
    await createFile(session, "aa");
    await unlink(session, "d");
    await createFile(session, "z");
    expect([...first.slice(0, 3), ...(await page("c", 9))]).toEqual(["a", "b", "c", "e", "z"]);
  });

  test("attributes are those of the inodes", async () => {
    const body = { directory: ROOT_INODE, after: null, limit: 1, withAttributes: true };
    const [entry] = (await session.ask(operations.readdir, body)).entries;
    const inode = entry?.inode ?? GONE;
    expect(entry?.attributes ?? null).toEqual(
      (await session.ask(operations.getattr, { inode })).attributes,
    );
  });
});

describe("limits", () => {
  test("of hard links", async () => {
    const { inode } = await createFile(session, "f");
    const found = harness.primitives["inode.get"](inode);
    if (found === undefined) throw new Error("the file is not there");
    harness.primitives["inode.update"]({ ...found, nlink: MAX_LINKS });
    const body = { inode, parent: ROOT_INODE, name: bytes("g") };
    await failsWith(session.change(names.link, operations.link, body), "tooManyLinks");
  });

  test("of subdirectories, made and moved", async () => {
    const { inode } = await createDirectory(session, "d");
    await createDirectory(session, "e");
    const found = harness.primitives["inode.get"](inode);
    if (found === undefined) throw new Error("the directory is not there");
    harness.primitives["inode.update"]({ ...found, nlink: MAX_LINKS });
    await failsWith(mkdir(inode, "x"), "tooManyLinks");
    await createFile(session, "x", { parent: inode });
    const move = { parent: ROOT_INODE, name: bytes("e"), newParent: inode, newName: bytes("y") };
    const moved = session.change(names.rename, operations.rename, { ...move, how: "replace" });
    await failsWith(moved, "tooManyLinks");
  });

  test("of the names of extended attributes together", async () => {
    const { inode } = await createFile(session, "f");
    const set = (index: number): Promise<unknown> => {
      const name = bytes(String(index).padStart(255, "x"));
      const body = { inode, name, value: bytes("v"), how: "any" as const };
      return session.change(names.xattrSet, operations.xattrSet, body);
    };
    const most = MAX_XATTR_LIST_BYTES / 256;
    for (let index = 0; index < most; index++) await set(index);
    await failsWith(set(most), "noSpace");
    await set(0);
  });

  // They had no bound. A file that took over the name of one with 3,000 values of 64 KiB held the metadata server up for a
  // second, with all of them in memory; there could have been 1 GiB of them.
  test("of the values of extended attributes together", async () => {
    const { inode } = await createFile(session, "f");
    const set = (index: number, length: number): Promise<unknown> => {
      const value = new Uint8Array(length);
      const body = { inode, name: bytes(`user.${index}`), value, how: "any" as const };
      return session.change(names.xattrSet, operations.xattrSet, body);
    };
    const most = MAX_XATTR_BYTES / MAX_XATTR_VALUE_BYTES;
    for (let index = 0; index < most; index++) await set(index, MAX_XATTR_VALUE_BYTES);
    await failsWith(set(most, 1), "noSpace");
    await set(most, 0);
    await set(0, MAX_XATTR_VALUE_BYTES);
    await set(0, MAX_XATTR_VALUE_BYTES - 1);
    await set(most, 1);
    await failsWith(set(0, MAX_XATTR_VALUE_BYTES), "noSpace");
  });
});

describe("versions and times", () => {
  const versionOf = async (inode: InodeId): Promise<bigint> =>
    (await session.ask(operations.getattr, { inode })).attributes.version;

  test("the version rises with content and names, not with attributes", async () => {
    const { inode } = await createFile(session, "f");
    const root = await versionOf(ROOT_INODE);
    expect(await versionOf(inode)).toBe(1n);
    const blocks = await reserve(session, 1);
    await commit(session, wholeBlocks(inode, blocks));
    expect(await versionOf(inode)).toBe(2n);
    const attribute = { inode, name: bytes("a"), value: bytes("v"), how: "any" as const };
    await session.change(names.xattrSet, operations.xattrSet, attribute);
    expect(await versionOf(inode)).toBe(2n);
    expect(await versionOf(ROOT_INODE)).toBe(root);
    await createFile(session, "g");
    expect(await versionOf(ROOT_INODE)).toBe(root + 1n);
  });

  test("ctime rises although the clock stands still or goes back", async () => {
    const { inode } = await createFile(session, "f");
    harness.frozen = true;
    let last = (await session.ask(operations.getattr, { inode })).attributes.ctimeNs;
    for (const step of [0n, 0n, -5_000_000_000n, 0n]) {
      harness.nowNs += step;
      await createFile(session, `g${last}`);
      const body = { inode, name: bytes("a"), value: bytes("v"), how: "any" as const };
      await session.change(names.xattrSet, operations.xattrSet, body);
      const { ctimeNs } = (await session.ask(operations.getattr, { inode })).attributes;
      expect(ctimeNs > last).toBe(true);
      last = ctimeNs;
    }
  });
});

test("mknod makes special files only", async () => {
  const make = (type: "file" | "directory" | "symlink"): Promise<unknown> => {
    const body = { parent: ROOT_INODE, name: bytes("x"), ...OWNER, type, rdev: 0 };
    return session.change(names.mknod, operations.mknod, body);
  };
  for (const type of ["file", "directory", "symlink"] as const) {
    await failsWith(make(type), "invalid");
  }
});

test("create without exclusive refuses what is no regular file", async () => {
  await createDirectory(session, "d");
  const link = { parent: ROOT_INODE, name: bytes("s"), uid: 0, gid: 0, target: bytes("t") };
  await session.change(names.symlink, operations.symlink, link);
  const create = (name: string): Promise<unknown> => {
    const body = { parent: ROOT_INODE, name: bytes(name), ...OWNER, base: 0 };
    return session.change(names.create, operations.create, {
      ...body,
      exclusive: false,
      open: true,
    });
  };
  await failsWith(create("d"), "isDirectory");
  await failsWith(create("s"), "exists");
});

test("a store has one root", async () => {
  await failsWith(harness.run(formatNamespace(1n)), "exists");
});
