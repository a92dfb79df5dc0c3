// The checker of the tables finds every kind of damage that it is meant to find.

import { afterEach, beforeEach, expect, test } from "bun:test";
import { NamespaceTree } from "../../../conformance/namespace-tree.ts";
import { touch } from "../../../conformance/support.ts";
import { Harness } from "./harness.ts";
import { brokenInvariants } from "./invariants.ts";

let harness: Harness;

/** One of everything: file /d/f of three blocks, /g (open), link /s, directories /d and /e, an unlinked open file. */
beforeEach(async () => {
  harness = new Harness();
  const tree = await NamespaceTree.over(harness);
  await tree.mkdir("/d");
  await tree.mkdir("/e");
  await touch(tree, "/d/f", "three blocks of text");
  await tree.symlink("target", "/s");
  await tree.xattrSet("/d/f", "user.a", new Uint8Array([1]));
  await tree.create("/g");
  const file = await tree.create("/unlinked");
  await file.write(0, new Uint8Array(3));
  await file.write(0, new Uint8Array(3));
  await tree.unlink("/unlinked");
});

afterEach(() => harness.close());

const problems = (): string[] => brokenInvariants(harness.store.database, harness.settings);

/** Words for inode numbers in the damages below. */
const INODES: Readonly<Record<string, string>> = {
  $file: inodeNamed("f"),
  $open: inodeNamed("g"),
  $link: inodeNamed("s"),
  $directory: inodeNamed("d"),
  $empty: inodeNamed("e"),
};

function inodeNamed(name: string): string {
  return `(SELECT inode FROM dentries WHERE name = CAST('${name}' AS BLOB))`;
}

const damages: readonly (readonly [sql: string, found: string])[] = [
  ["UPDATE inodes SET parent = 2 WHERE id = 1", "the root is a directory"],
  ["DELETE FROM inodes WHERE id = 1", "the root is a directory"],
  ["DELETE FROM inodes WHERE id = $file", "every name leads to an inode"],
  ["UPDATE dentries SET type = 10 WHERE inode = $file", "every name leads to an inode"],
  ["UPDATE dentries SET parent = 999 WHERE inode = $file", "every name is in a directory"],
  ["UPDATE dentries SET parent = $open WHERE inode = $file", "every name is in a directory"],
  ["UPDATE inodes SET nlink = 2 WHERE id = $file", "nlink of what is no directory"],
  ["DELETE FROM dentries WHERE inode = $file", "nlink of what is no directory"],
  ["UPDATE inodes SET nlink = 3 WHERE id = $empty", "nlink of a directory is 2"],
  ["UPDATE inodes SET parent = $empty WHERE id = $directory", "a directory has one name"],
  [
    "INSERT INTO dentries SELECT parent, CAST('twice' AS BLOB), inode, type FROM dentries WHERE inode = $empty",
    "a directory has one name",
  ],
  [
    "UPDATE dentries SET parent = inode WHERE inode = $empty",
    "everything with a name can be reached",
  ],
  ["DELETE FROM opens", "an inode without a name is open or waits"],
  [
    "INSERT INTO reclaim SELECT id, 1 FROM inodes WHERE nlink = 0",
    "an inode without a name is open",
  ],
  ["INSERT INTO reclaim VALUES ($file, 1)", "what waits to be reclaimed has no name"],
  ["INSERT INTO reclaim VALUES (999, 1)", "what waits to be reclaimed has no name"],
  ["DELETE FROM symlinks", "symbolic links have a target"],
  ["UPDATE inodes SET size = 5 WHERE id = $link", "symbolic links have a target"],
  ["INSERT INTO symlinks VALUES ($file, x'00')", "symbolic links have a target"],
  ["INSERT INTO symlinks VALUES (999, x'00')", "symbolic links have a target"],
  ["UPDATE xattrs SET inode = 999", "extended attributes belong"],
  ["UPDATE inodes SET mode = 4096 WHERE id = $file", "mode, version and size"],
  ["UPDATE inodes SET version = 0 WHERE id = $file", "mode, version and size"],
  ["UPDATE extents SET inode = $directory WHERE inode = $file", "extents belong to regular"],
  ["UPDATE extents SET inode = 999 WHERE inode = $file", "extents belong to regular"],
  ["UPDATE extents SET offset = 7 WHERE inode = $file AND offset = 8", "extents do not overlap"],
  ["UPDATE extents SET length = 0 WHERE inode = $file AND offset = 8", "extents do not overlap"],
  ["UPDATE inodes SET size = 19 WHERE id = $file", "no extent reaches beyond"],
  [
    "UPDATE extents SET offset = 22, length = 4 WHERE inode = $file AND offset = 16",
    "no extent crosses",
  ],
  ["UPDATE inodes SET allocated = 19 WHERE id = $file", "allocated is the sum"],
  ["UPDATE extents SET block = 999", "extents lie inside live blocks"],
  ["UPDATE extents SET block_offset = 1 WHERE inode = $file", "extents lie inside live blocks"],
  ["UPDATE blocks SET state = 1, died = 1 WHERE state = 0", "extents lie inside live blocks"],
  ["UPDATE blocks SET refs = 2 WHERE id = 1", "refs is the number of extents"],
  ["UPDATE blocks SET died = NULL WHERE state = 1", "refs is the number of extents"],
  ["UPDATE blocks SET state = 0, died = NULL WHERE state = 1", "refs is the number of extents"],
  ["UPDATE replicas SET block = 999 WHERE block = 1", "replicas belong to known blocks"],
  ["UPDATE replicas SET server = 99 WHERE block = 1 AND server = 1", "replicas belong to known"],
  ["DELETE FROM replicas WHERE block = 1", "a live block has a present copy"],
  ["UPDATE replicas SET state = 1 WHERE state = 2", "a live block has a present copy"],
  ["DELETE FROM replicas WHERE block = 1 AND server = 1", "missing copies of live blocks"],
  ["INSERT INTO repairs VALUES (1, 1, 2, 0, 1)", "missing copies of live blocks"],
  ["INSERT INTO repairs VALUES (999, 1, 2, 0, 1)", "missing copies of live blocks"],
  ["UPDATE opens SET session = 99", "open inodes exist"],
  ["UPDATE opens SET count = 0", "open inodes exist"],
  ["INSERT INTO opens VALUES (1, 999, 1)", "open inodes exist"],
  ["UPDATE sessions SET state = 2", "replies are kept for live sessions"],
  ["UPDATE sessions SET acknowledged = 1000000", "replies are kept for live sessions"],
  [
    "INSERT INTO reservations VALUES (500, 8, 1, x'00', 5)",
    "a reservation is ended exactly when its session is",
  ],
  ["INSERT INTO reservations VALUES (1, 8, 1, x'00', NULL)", "lives but counts as unused"],
  ["INSERT INTO abandoned VALUES (999, 1)", "what was given up belongs to a live block"],
  ["INSERT INTO locks VALUES (2, 0, 99, 1, 0, 9, 1, 1)", "locks and waits belong to live sessions"],
  [
    "INSERT INTO locks VALUES (2, 0, 1, 1, 0, 9, 2, 1), (2, 0, 1, 2, 9, 9, 1, 1)",
    "locks of different owners do not exclude",
  ],
  [
    "INSERT INTO locks VALUES (2, 0, 1, 1, 0, 9, 1, 1), (2, 0, 1, 1, 9, 12, 1, 1)",
    "those of one do not overlap",
  ],
  ["INSERT INTO lock_waits VALUES (1, 2, 0, 1, 1, 0, 9, 1, 1)", "in the way of whoever waits"],
  ["INSERT INTO forgotten VALUES (1, 1)", "what is forgotten has no block"],
  ["INSERT INTO forgotten VALUES (500, 501), (502, 502)", "spans of forgotten ids neither"],
  ["INSERT INTO forgotten VALUES (500, 501), (501, 502)", "spans of forgotten ids neither"],
  [
    "INSERT INTO reservations VALUES (500, 8, 1, x'00', NULL); INSERT INTO forgotten VALUES (500, 501)",
    "is forgotten and may still be committed",
  ],
];

test("a sound database has no problems", () => {
  expect(problems()).toEqual([]);
});

test.each(damages)("%s", (sql, found) => {
  harness.store.database.run(sql.replaceAll(/\$\w+/g, (word) => INODES[word] ?? word));
  expect(problems().join("\n")).toContain(found);
});
