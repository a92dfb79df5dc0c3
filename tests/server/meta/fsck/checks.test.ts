// The checks of the whole record: each kind of damage is found under its kind, with the inode or block that it is about,
// and a sound database has no finding, whatever was done to it.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { seededRandom, systemRandom } from "../../../../src/base/random.ts";
import {
  blocksWithoutCopyOn,
  checkRecord,
  countCopies,
  lackingBlocks,
  pathsOf,
  placesOf,
  subtree,
} from "../../../../src/server/meta/store/sqlite/checks.ts";
import { lossesBehind } from "../../../../src/server/meta/store/sqlite/losses.ts";
import { faultyNames, leftovers, strays } from "../../../../src/server/meta/store/sqlite/names.ts";
import { NamespaceTree } from "../../../conformance/namespace-tree.ts";
import { touch } from "../../../conformance/support.ts";
import { Harness } from "../namespace/harness.ts";

const MOST_PATH = 4096;

let harness: Harness;
let tree: NamespaceTree;

/** One of everything: file /d/f of three blocks and a second name /e/g, /open (open), link /s, directories /d and /e. */
beforeEach(async () => {
  harness = new Harness();
  tree = await NamespaceTree.over(harness);
  await tree.mkdir("/d");
  await tree.mkdir("/e");
  await touch(tree, "/d/f", "three blocks of text");
  await tree.link("/d/f", "/e/g");
  await tree.symlink("target", "/s");
  await tree.create("/open");
  const file = await tree.create("/unlinked");
  await file.write(0, new Uint8Array(3));
  await tree.unlink("/unlinked");
});

afterEach(() => harness.close());

/** Kinds of all findings, names first. */
function found(): string[] {
  const { database } = harness.store;
  return [
    ...faultyNames(database).map(() => "danglingName"),
    ...strays(database).map(() => "unreachableInode"),
    ...leftovers(database).map(() => "unreachableInode"),
    ...checkRecord(database).map(({ kind }) => kind),
  ];
}

const WORDS: Readonly<Record<string, string>> = {
  $file: inodeNamed("f"),
  $open: inodeNamed("open"),
  $directory: inodeNamed("d"),
  $empty: inodeNamed("e"),
};

function inodeNamed(name: string): string {
  return `(SELECT inode FROM dentries WHERE name = CAST('${name}' AS BLOB))`;
}

function damage(sql: string): void {
  harness.store.database.run(sql.replaceAll(/\$\w+/g, (word) => WORDS[word] ?? word));
}

function inode(word: string): bigint {
  return harness.store.database
    .prepare<{ inode: bigint }, []>(`SELECT ${WORDS[word]} AS inode`)
    .get()!.inode;
}

const DAMAGES: readonly (readonly [sql: string, kind: string])[] = [
  ["UPDATE inodes SET nlink = 5 WHERE id = $file", "wrongLinkCount"],
  ["UPDATE inodes SET nlink = 3 WHERE id = $empty", "wrongLinkCount"],
  ["DELETE FROM dentries WHERE name = CAST('open' AS BLOB)", "unreachableInode"],
  ["DELETE FROM opens", "unreachableInode"],
  ["UPDATE dentries SET parent = inode WHERE inode = $empty", "unreachableInode"],
  ["DELETE FROM inodes WHERE id = $open", "danglingName"],
  ["UPDATE dentries SET type = 10 WHERE inode = $file", "danglingName"],
  ["UPDATE dentries SET parent = 999 WHERE inode = $open", "danglingName"],
  ["UPDATE dentries SET parent = $open WHERE name = CAST('s' AS BLOB)", "danglingName"],
  ["UPDATE inodes SET parent = $empty WHERE id = $directory", "wrongParent"],
  [
    "INSERT INTO dentries SELECT parent, CAST('twice' AS BLOB), inode, type FROM dentries WHERE inode = $empty",
    "wrongParent",
  ],
  ["UPDATE inodes SET size = 19 WHERE id = $file", "extentBeyondEnd"],
  ["UPDATE extents SET inode = $directory WHERE inode = $file", "extentBeyondEnd"],
  ["UPDATE extents SET inode = 999 WHERE inode = $file", "extentBeyondEnd"],
  ["UPDATE extents SET block = 999 WHERE offset = 8", "extentWithoutBlock"],
  ["UPDATE extents SET block_offset = 1 WHERE inode = $file", "extentWithoutBlock"],
  ["UPDATE blocks SET state = 1, died = 1 WHERE state = 0", "extentWithoutBlock"],
  ["UPDATE extents SET offset = 7 WHERE inode = $file AND offset = 8", "extentOverlap"],
  ["UPDATE extents SET length = 0 WHERE inode = $file AND offset = 8", "extentOverlap"],
  ["UPDATE inodes SET allocated = 19 WHERE id = $file", "wrongAllocated"],
  ["UPDATE blocks SET refs = 2 WHERE id = 1", "wrongRefs"],
  ["DELETE FROM extents WHERE inode = $file AND offset = 8", "wrongRefs"],
];

describe("damage", () => {
  test.each(DAMAGES)("%s", (sql, kind) => {
    expect(found()).toEqual([]);
    damage(sql);
    expect(found()).toContain(kind);
  });

  test("is not what has been cut off a file and is still to be removed, but all that lies before it", () => {
    const { database } = harness.store;
    damage("UPDATE inodes SET size = 8 WHERE id = $file");
    damage("INSERT INTO cuts SELECT $file, 8");
    expect(found()).toEqual([]);
    expect(checkRecord(database, inode("$directory"))).toEqual([]);
    damage("UPDATE cuts SET start = 9");
    expect(found()).toEqual(["extentBeyondEnd"]);
    expect(checkRecord(database, inode("$directory"))).toMatchObject([{ offset: 8 }]);
  });

  test("of a link count tells what it should be, and the ctime at which it was wrong", () => {
    damage("UPDATE inodes SET nlink = 5 WHERE id = $file");
    const [finding] = checkRecord(harness.store.database);
    const { ctimeNs } = harness.primitives["inode.get"](inode("$file") as never)!;
    expect(finding).toMatchObject({ inode: inode("$file"), right: 2, ctimeNs });
    expect(finding!.detail).toContain("5");
  });
});

describe("copies on record", () => {
  test("that are missing are found, those on servers that are out do not count", () => {
    const { database } = harness.store;
    expect(lackingBlocks(database, 0n, 3, 10)).toEqual([]);
    database.run(
      "DELETE FROM replicas WHERE block = 1 AND server = (SELECT min(server) FROM replicas WHERE block = 1)",
    );
    expect(lackingBlocks(database, 0n, 3, 10)).toEqual([1n]);
    expect(lackingBlocks(database, 1n, 3, 10)).toEqual([]);
    database.run("UPDATE servers SET state = 3 WHERE id = 1");
    expect(lackingBlocks(database, 0n, 3, 10).length).toBeGreaterThan(1);
  });

  test("are counted for servers and blocks", () => {
    const { database } = harness.store;
    const live = database
      .prepare<{ id: bigint; length: bigint }, []>("SELECT id, length FROM blocks WHERE state = 0")
      .all();
    const bytes = live.reduce((sum, { length }) => sum + Number(length), 0);
    expect(countCopies(database, [1, 2, 3, 4], undefined)).toEqual({
      copies: 3 * live.length,
      bytes: 3 * bytes,
    });
    expect(countCopies(database, [1, 2, 3, 4], [live[0]!.id])).toEqual({
      copies: 3,
      bytes: 3 * Number(live[0]!.length),
    });
    expect(countCopies(database, [], undefined)).toEqual({ copies: 0, bytes: 0 });
  });

  test("on none of these servers", () => {
    const { database } = harness.store;
    expect(blocksWithoutCopyOn(database, 0n, [1, 2, 3, 4], 10)).toEqual([]);
    expect(blocksWithoutCopyOn(database, 0n, [], 2).length).toBe(2);
  });
});

describe("paths", () => {
  const text = (path: Uint8Array | undefined): string | undefined =>
    path === undefined ? undefined : Buffer.from(path).toString();

  test("lead to files by one of their names, to directories, and to the root", () => {
    const [file, directory] = [inode("$file"), inode("$directory")];
    const paths = pathsOf(harness.store.database, [file, directory, 1n, 999n], MOST_PATH);
    expect(["/d/f", "/e/g"]).toContain(text(paths.get(file))!);
    expect(text(paths.get(directory))).toBe("/d");
    expect(text(paths.get(1n))).toBe("/");
    expect(paths.has(999n)).toBe(false);
  });

  test("that go in a circle or are too long are left out", () => {
    damage("UPDATE dentries SET parent = inode WHERE inode = $empty");
    damage("UPDATE inodes SET parent = id WHERE id = $empty");
    const paths = pathsOf(harness.store.database, [inode("$empty")], MOST_PATH);
    expect(paths.size).toBe(0);
    expect(pathsOf(harness.store.database, [inode("$file")], 3).size).toBe(0);
  });

  test("of blocks are found by the hint, and without it", () => {
    const place = { block: 2n, inode: inode("$file"), offset: 8 };
    expect(placesOf(harness.store.database, [2n, 999n])).toEqual([place]);
    damage("UPDATE blocks SET inode = 999");
    expect(placesOf(harness.store.database, [2n])).toEqual([place]);
  });

  test("below a directory", () => {
    const { inodes, blocks } = subtree(harness.store.database, inode("$directory"));
    expect(new Set(inodes)).toEqual(new Set([inode("$directory"), inode("$file")]));
    expect(blocks).toEqual([1n, 2n, 3n]);
  });

  // A block that was lost behind the new end of a file was called a loss of that file, at a place which it did not have.
  test("are not where a file has been cut, though that is still to be removed", () => {
    const { database } = harness.store;
    damage("UPDATE inodes SET size = 8 WHERE id = $file");
    damage("INSERT INTO cuts SELECT $file, 8");
    damage("INSERT INTO repairs SELECT id, 3, 0, 0, 0 FROM blocks WHERE id IN (1, 2, 3)");
    expect(subtree(database, inode("$directory")).blocks).toEqual([1n]);
    expect(placesOf(database, [1n, 2n, 3n])).toMatchObject([{ block: 1n, offset: 0 }]);
    const lost = () => lossesBehind(database, 0n, undefined).losses;
    expect(lost()).toMatchObject([{ block: 1n, offset: 0, length: 8 }]);
    damage("UPDATE blocks SET inode = 0 WHERE id IN (1, 2, 3)"); // all files are looked through
    expect(placesOf(database, [1n, 2n, 3n])).toMatchObject([{ block: 1n, offset: 0 }]);
    expect(lost()).toMatchObject([{ block: 1n, offset: 0, length: 8 }]);
  });
});

describe("a sound database", () => {
  test("has no finding after any of many random changes", async () => {
    const seed = systemRandom.below(2 ** 31);
    console.log(`seed ${seed}`);
    const random = seededRandom(seed);
    const directories = ["", "/d", "/e"];
    const some = <T>(all: readonly T[]): T => all[random.below(all.length)]!;
    const path = (): string => `${some(directories)}/n${random.below(12)}`;
    const changes: readonly (() => Promise<unknown>)[] = [
      async () =>
        (await tree.create(path())).write(random.below(40), random.bytes(1 + random.below(20))),
      () => tree.unlink(path()),
      () => tree.rename(path(), path()),
      () => tree.link(path(), path()),
      () => tree.mkdir(path()),
      () => tree.rmdir(path()),
      () => tree.symlink("x", path()),
      () => harness.reclaimAll(),
    ];
    let done = 0;
    for (let step = 0; step < 600; step++) {
      // What cannot be done in the tree as it is changes nothing, which is checked as well.
      await some(changes)().then(
        () => done++,
        () => undefined,
      );
      const findings = found();
      if (findings.length > 0)
        throw new Error(`seed ${seed}, step ${step}: ${Bun.inspect(findings)}`);
    }
    expect(done).toBeGreaterThan(100);
  });
});
