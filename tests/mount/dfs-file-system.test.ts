// The file system of a mount over a whole cluster, asked as a driver asks it; two of them side by side as two mounts.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ROOT_INODE, type InodeId } from "../../src/base/ids.ts";
import { MAX_FILE_BYTES } from "../../src/base/limits.ts";
import { DfsFileSystem } from "../../src/mount/dfs-file-system.ts";
import type { ListedEntry } from "../../src/mount/file-system.ts";
import { bytesOf, patterned, until, type Cluster } from "../support/cluster.ts";
import { failureOf } from "../support/failure.ts";
import { recordedInvalidations, type RecordedInvalidations } from "./support/invalidations.ts";
import { BLOCK, CALLER, READ_WRITE, TwoMounts } from "./support/two-mounts.ts";

const APPEND = { ...READ_WRITE, append: true };

let mounts: TwoMounts;
let cluster: Cluster;
let here: DfsFileSystem;
let there: DfsFileSystem;
let told: RecordedInvalidations;
beforeAll(async () => {
  mounts = await TwoMounts.start();
  ({ cluster, here, there, told } = mounts);
});
afterAll(() => mounts.stop());

async function listed(fileSystem: DfsFileSystem, directory: InodeId): Promise<ListedEntry[]> {
  const handle = await fileSystem.openDirectory(directory);
  const all: ListedEntry[] = [];
  for (let cookie = 0n; ;) {
    const page = [...(await fileSystem.list(directory, handle, cookie))];
    if (page.length === 0) break;
    all.push(...page);
    cookie = page.at(-1)!.cookie;
  }
  fileSystem.releaseDirectory(directory, handle);
  return all;
}

const shown = (entries: Iterable<ListedEntry>): string[] =>
  Array.from(entries, ({ name }) => new TextDecoder().decode(name));

describe("files", () => {
  test("are visible elsewhere when they are flushed, not before", async () => {
    const { inode, handle } = await mounts.freshFile(await mounts.freshDirectory());
    await here.write(inode, handle, 0, patterned(3 * BLOCK + 7));
    expect((await here.getattr(inode, handle)).size).toBe(3 * BLOCK + 7);
    expect((await there.getattr(inode, undefined)).size).toBe(0);
    await here.flush(inode, handle);
    expect(Buffer.compare(await mounts.wholeThere(inode), patterned(3 * BLOCK + 7))).toBe(0);
    await here.release(inode, handle);
  });

  test("that nobody flushes are written back after a while", async () => {
    const quick = new DfsFileSystem(await cluster.client(), { writeBackMs: 10 });
    quick.start(recordedInvalidations());
    const { inode, handle } = await mounts.freshFile(await mounts.freshDirectory());
    const opened = await quick.open(inode, READ_WRITE);
    await quick.write(inode, opened.handle, 0, bytesOf("line"));
    await until(
      "the line is there",
      async () => (await there.getattr(inode, undefined)).size === 4,
    );
    await here.release(inode, handle);
    await quick.stop();
  });

  // The kernel writes pages of a mapping through any handle that may write, also one that appends.
  test("pages of a mapping keep their place on a handle that appends", async () => {
    const { inode, handle } = await mounts.freshFile(
      await mounts.freshDirectory(),
      "mapped",
      APPEND,
    );
    await here.write(inode, handle, 0, bytesOf("0123456789"));
    await here.write(inode, handle, 4, bytesOf("PAGE"), { atOffset: true });
    await here.flush(inode, handle);
    expect(new TextDecoder().decode(await mounts.wholeThere(inode))).toBe("0123PAGE89");
    await here.release(inode, handle);
  });

  test("each write to the end goes there, wherever others have moved it", async () => {
    const { inode, handle } = await mounts.freshFile(await mounts.freshDirectory(), "log", APPEND);
    await here.write(inode, handle, 0, bytesOf("one "));
    await here.write(inode, handle, 4, bytesOf("two "));
    await here.flush(inode, handle);
    const theirs = await there.open(inode, APPEND);
    await there.write(inode, theirs.handle, 8, bytesOf("three "));
    await there.flush(inode, theirs.handle);
    told.clear();
    await here.write(inode, handle, 8, bytesOf("four"));
    expect(told.inodes).toContainEqual({ inode, content: true });
    await here.flush(inode, handle);
    expect(await mounts.wholeThere(inode)).toEqual(bytesOf("one two three four"));
    await there.release(inode, theirs.handle);
    await here.release(inode, handle);
  });

  test("writes to the end by two mounts that have not stored them yet are both kept", async () => {
    const { inode, handle } = await mounts.freshFile(await mounts.freshDirectory(), "log", APPEND);
    const theirs = await there.open(inode, APPEND);
    await here.write(inode, handle, 0, bytesOf("here "));
    await there.write(inode, theirs.handle, 0, bytesOf("there "));
    await here.write(inode, handle, 5, bytesOf("again "));
    await there.flush(inode, theirs.handle);
    await here.flush(inode, handle);
    expect(await mounts.wholeThere(inode)).toEqual(bytesOf("there here again "));
    expect(await here.read(inode, handle, 0, 100)).toEqual(bytesOf("there here again "));
    await there.release(inode, theirs.handle);
    await here.release(inode, handle);
  });

  test("writes to the end at the same time do not cover one another", async () => {
    const { inode, handle } = await mounts.freshFile(await mounts.freshDirectory(), "log", APPEND);
    const second = await here.open(inode, APPEND);
    await Promise.all([
      here.write(inode, handle, 0, bytesOf("aaaa")),
      here.write(inode, second.handle, 0, bytesOf("bbbb")),
      here.write(inode, handle, 0, bytesOf("cccc")),
    ]);
    await here.flush(inode, handle);
    expect(await mounts.wholeThere(inode)).toEqual(bytesOf("aaaabbbbcccc"));
    await here.release(inode, handle);
    await here.release(inode, second.handle);
  });

  test("are cut by opening, with what was not written back", async () => {
    const { inode, handle } = await mounts.freshFile(await mounts.freshDirectory());
    await here.write(inode, handle, 0, patterned(BLOCK));
    const cut = await here.open(inode, { ...READ_WRITE, truncate: true });
    expect(cut.attributes.size).toBe(0);
    expect((await here.read(inode, handle, 0, 10)).length).toBe(0);
    await here.write(inode, cut.handle, 3, bytesOf("x"));
    await here.release(inode, cut.handle);
    await here.release(inode, handle);
    expect(await mounts.wholeThere(inode)).toEqual(bytesOf("\0\0\0x"));
  });

  test("as long as can be cost nothing", async () => {
    const { inode, handle } = await mounts.freshFile(await mounts.freshDirectory());
    const longest = await here.setattr(inode, { size: MAX_FILE_BYTES }, handle, CALLER);
    expect([longest.size, longest.allocated]).toEqual([MAX_FILE_BYTES, 0]);
    await here.write(inode, handle, MAX_FILE_BYTES - 4, bytesOf("last"));
    await here.flush(inode, handle);
    expect(await here.read(inode, handle, MAX_FILE_BYTES - 6, 100)).toEqual(bytesOf("\0\0last"));
    expect(await here.read(inode, handle, 2 ** 45, 4)).toEqual(new Uint8Array(4));
    expect(await here.seek(inode, handle, 0, "data")).toBe(MAX_FILE_BYTES - 4);
    expect(await failureOf(here.write(inode, handle, MAX_FILE_BYTES, bytesOf("x")))).toMatchObject({
      kind: "fileTooBig",
    });
    await here.release(inode, handle);
  });

  test("stay readable and writable here and elsewhere when their name is gone", async () => {
    const directory = await mounts.freshDirectory();
    const { inode, handle } = await mounts.freshFile(directory);
    await here.write(inode, handle, 0, bytesOf("kept"));
    await here.unlink(directory, bytesOf("f"));
    expect(await here.read(inode, handle, 0, 10)).toEqual(bytesOf("kept"));
    expect((await here.getattr(inode, handle)).nlink).toBe(0);
    await here.flush(inode, handle);
    await here.release(inode, handle);
    await until("the inode is gone", async () => {
      const error = await failureOf(there.getattr(inode, undefined)).catch(() => undefined);
      return (error as { kind?: string } | undefined)?.kind === "stale";
    });
  });

  test("lose setuid that another mount has given them by a write to a handle that was open before", async () => {
    const { inode, handle } = await mounts.freshFile(await mounts.freshDirectory());
    await here.write(inode, handle, 0, bytesOf("x"), { clearSetId: true });
    await here.flush(inode, handle);
    told.clear();
    await there.setattr(inode, { mode: 0o4755 }, undefined, CALLER);
    await until("the change is told", () => told.inodes.some((each) => each.inode === inode));
    await here.write(inode, handle, 1, bytesOf("y"), { clearSetId: true });
    expect((await there.getattr(inode, undefined)).mode).toBe(0o755);
    await here.release(inode, handle);
  });

  test("lose their capabilities by a change of content or owner, and not by what was written before they had any", async () => {
    const { inode, handle } = await mounts.freshFile(await mounts.freshDirectory());
    const name = bytesOf("security.capability");
    const given = bytesOf("some");
    const isGone = async (): Promise<void> =>
      expect(await failureOf(there.xattrGet(inode, name))).toMatchObject({ kind: "noAttribute" });
    const give = (): Promise<void> => there.xattrSet(inode, name, given, "any");
    await here.write(inode, handle, 0, bytesOf("program"));
    await here.xattrSet(inode, name, given, "any");
    await here.flush(inode, handle);
    expect(await there.xattrGet(inode, name)).toEqual(given);
    await here.write(inode, handle, 0, bytesOf("P"));
    await here.flush(inode, handle);
    await isGone();
    const punch = { how: "punchHole", keepSize: true, offset: 0, length: 1 } as const;
    const changes: (() => Promise<unknown>)[] = [
      () => here.setattr(inode, { size: 3 }, handle, CALLER),
      () => here.setattr(inode, { uid: 7 }, handle, CALLER),
      () => here.allocate(inode, handle, punch),
    ];
    for (const change of changes) {
      await give();
      await change();
      await isGone();
    }
    await give();
    await here.setattr(inode, { mode: 0o700, mtimeNs: 1n }, handle, CALLER);
    expect(await there.xattrGet(inode, name)).toEqual(given);
    await here.release(inode, handle);
  });

  test("lose setuid and setgid by a write, a cut and another owner", async () => {
    const { inode, handle } = await mounts.freshFile(await mounts.freshDirectory());
    const withBits = { mode: 0o6755 };
    await here.setattr(inode, withBits, handle, CALLER);
    await here.write(inode, handle, 0, bytesOf("x"), { clearSetId: true });
    expect((await here.getattr(inode, handle)).mode).toBe(0o755);
    await here.setattr(inode, withBits, handle, CALLER);
    const cut = await here.setattr(inode, { size: 0, clearSetId: true }, handle, CALLER);
    expect([cut.mode, cut.size]).toEqual([0o755, 0]);
    await here.setattr(inode, { mode: 0o6745 }, handle, CALLER);
    const given = await here.setattr(inode, { uid: 7, clearSetId: true }, handle, CALLER);
    expect([given.mode, given.uid]).toEqual([0o2745, 7]); // setgid without execution by the group means locking
    await here.release(inode, handle);
  });

  test("keep the kernel's pages as long as nobody else writes", async () => {
    const directory = await mounts.freshDirectory();
    const { inode, handle } = await mounts.freshFile(directory);
    await here.lookup(directory, bytesOf("f"));
    await here.write(inode, handle, 0, bytesOf("one"));
    await here.flush(inode, handle);
    await here.release(inode, handle);
    const again = await here.open(inode, READ_WRITE);
    expect(again.keepCache).toBe(true);
    await here.release(inode, again.handle);
    const theirs = await there.open(inode, READ_WRITE);
    await there.write(inode, theirs.handle, 0, bytesOf("two"));
    await there.flush(inode, theirs.handle);
    const changed = await here.open(inode, READ_WRITE);
    expect(changed.keepCache).toBe(false);
    told.clear();
    await there.write(inode, theirs.handle, 0, bytesOf("three"));
    await there.release(inode, theirs.handle);
    expect((await here.getattr(inode, changed.handle)).size).toBe(5);
    expect(told.inodes.filter((each) => each.inode === inode)).toEqual([{ inode, content: true }]);
    await here.release(inode, changed.handle);
    here.forget(inode, 2n);
  });

  test("tell of reads once after each change, later than the read, and not at all with noatime", async () => {
    const { inode, handle } = await mounts.freshFile(await mounts.freshDirectory());
    await here.write(inode, handle, 0, bytesOf("x"));
    await here.flush(inode, handle);
    const written = await here.getattr(inode, handle);
    const blind = new DfsFileSystem(await cluster.client(), { accessTimes: "noatime" });
    blind.start(recordedInvalidations());
    const unseen = await blind.open(inode, READ_WRITE);
    await blind.read(inode, unseen.handle, 0, 1);
    expect((await blind.getattr(inode, undefined)).atimeNs).toBe(written.atimeNs);
    await blind.stop();
    await here.read(inode, handle, 0, 1);
    const read = await here.getattr(inode, handle);
    expect(read.atimeNs).toBeGreaterThan(written.mtimeNs);
    await here.read(inode, handle, 0, 1);
    expect((await here.getattr(inode, handle)).atimeNs).toBe(read.atimeNs);
    await until("it is on record", async () => {
      const { atimeNs, ctimeNs } = await there.getattr(inode, undefined);
      expect(ctimeNs).toBe(written.ctimeNs);
      return atimeNs === read.atimeNs;
    });
    const set = await here.setattr(inode, { atimeNs: 5n }, handle, CALLER);
    expect(set.atimeNs).toBe(5n);
    await here.release(inode, handle);
  });

  test("are copied to another place", async () => {
    const directory = await mounts.freshDirectory();
    const from = await mounts.freshFile(directory, "from");
    const to = await mounts.freshFile(directory, "to");
    const bytes = patterned(2 * BLOCK + 9);
    await here.write(from.inode, from.handle, 0, bytes);
    const copied = await here.copyRange({ ...from, offset: 5 }, { ...to, offset: 3 }, 10 * BLOCK);
    expect(copied).toBe(bytes.length - 5);
    await here.flush(to.inode, to.handle);
    const wanted = Buffer.concat([new Uint8Array(3), bytes.subarray(5)]);
    expect(Buffer.compare(await mounts.wholeThere(to.inode), wanted)).toBe(0);
    expect(await here.copyRange({ ...from, offset: bytes.length }, { ...to, offset: 0 }, 9)).toBe(
      0,
    );
    await here.release(from.inode, from.handle);
    await here.release(to.inode, to.handle);
  });

  test("are allocated, zeroed and punched; the size stays when it is to stay", async () => {
    const { inode, handle } = await mounts.freshFile(await mounts.freshDirectory());
    const range = { how: "allocate", offset: 10, length: 90 } as const;
    await here.allocate(inode, handle, { ...range, keepSize: true });
    expect((await here.getattr(inode, handle)).size).toBe(0);
    await here.allocate(inode, handle, { ...range, keepSize: false });
    expect((await here.getattr(inode, handle)).size).toBe(100);
    await here.write(inode, handle, 0, patterned(100));
    await here.allocate(inode, handle, {
      how: "punchHole",
      keepSize: true,
      offset: 90,
      length: 50,
    });
    const zeroes = { how: "zeroRange", offset: 10, length: 20 } as const;
    await here.allocate(inode, handle, { ...zeroes, keepSize: true });
    await here.allocate(inode, handle, {
      how: "zeroRange",
      keepSize: false,
      offset: 95,
      length: 15,
    });
    const wanted = new Uint8Array(110);
    wanted.set(patterned(100));
    wanted.fill(0, 10, 30).fill(0, 90);
    expect(Buffer.compare(await mounts.wholeThere(inode), wanted)).toBe(0);
    const insertion = { ...range, how: "insertRange", keepSize: false } as const;
    expect(await failureOf(here.allocate(inode, handle, insertion))).toMatchObject({
      kind: "notSupported",
    });
    await here.release(inode, handle);
  });
});

describe("directories", () => {
  test("are listed with . and .., from any cookie, and without what was removed", async () => {
    const directory = await mounts.freshDirectory();
    for (const name of ["a", "b", "c", "d"])
      await here.mkdir(directory, bytesOf(name), 0o755, CALLER);
    const handle = await here.openDirectory(directory);
    const all = [...(await here.list(directory, handle, 0n))];
    expect(shown(all)).toEqual([".", "..", "a", "b", "c", "d"]);
    expect([all[0]!.inode, all[1]!.inode]).toEqual([directory, ROOT_INODE]);
    await here.rmdir(directory, bytesOf("c"));
    expect(shown(await here.list(directory, handle, all[2]!.cookie))).toEqual(["b", "d"]);
    expect(shown(await here.list(directory, handle, all[0]!.cookie))).toEqual([".."]);
    expect(shown(await here.list(directory, handle, all[4]!.cookie))).toEqual(["d"]);
    await here.rmdir(directory, bytesOf("d"));
    expect(shown(await here.list(directory, handle, all[4]!.cookie))).toEqual([]);
    here.releaseDirectory(directory, handle);
  });

  test("attributes that this mount has changed meanwhile are not given out", async () => {
    const directory = await mounts.freshDirectory();
    const { inode } = await here.mkdir(directory, bytesOf("a"), 0o755, CALLER);
    const handle = await here.openDirectory(directory);
    const [, dotDot, entry] = await here.list(directory, handle, 0n);
    expect(await here.getattr(inode, undefined)).toMatchObject(entry!.attributes!);
    await here.setattr(inode, { mode: 0o700 }, undefined, CALLER);
    const [late] = await here.list(directory, handle, dotDot!.cookie);
    expect(late!.attributes).toBeUndefined();
    here.releaseDirectory(directory, handle);
  });

  test("of many names are listed page by page, each name once", async () => {
    const directory = await mounts.freshDirectory();
    const names = Array.from({ length: 1500 }, (_, at) => `name-${String(at).padStart(5, "0")}`);
    await Promise.all(
      names.map((name) =>
        here.mknod(directory, bytesOf(name), { type: "fifo", mode: 0o600, rdev: 0 }, CALLER),
      ),
    );
    expect(shown(await listed(there, directory)).slice(2)).toEqual(names);

    // Every cookie stays good, also when a page before it has been fetched once more.
    const handle = await there.openDirectory(directory);
    const first = [...(await there.list(directory, handle, 0n))];
    await there.list(directory, handle, first.at(-1)!.cookie);
    await there.list(directory, handle, first[1]!.cookie);
    const [next] = await there.list(directory, handle, first[100]!.cookie);
    expect(shown([next!])).toEqual([names[99]!]);
    there.releaseDirectory(directory, handle);
  });

  test("that are gone are not found when they are listed", async () => {
    const directory = await mounts.freshDirectory();
    const handle = await there.openDirectory(directory);
    await here.rmdir(ROOT_INODE, mounts.lastName);
    expect(await failureOf(there.list(directory, handle, 0n))).toMatchObject({ kind: "notFound" });
    there.releaseDirectory(directory, handle);
  });

  test("names that do not exist are not found; renames replace, exchange or refuse", async () => {
    const directory = await mounts.freshDirectory();
    const place = (name: string) => ({ parent: directory, name: bytesOf(name) });
    expect(await failureOf(here.lookup(directory, bytesOf("a")))).toMatchObject({
      kind: "notFound",
    });
    const a = await here.mkdir(directory, bytesOf("a"), 0o755, CALLER);
    const b = await here.symlink(directory, bytesOf("b"), bytesOf("target"), CALLER);
    expect(await here.readlink(b.inode)).toEqual(bytesOf("target"));
    expect(await failureOf(here.rename(place("a"), place("b"), "noReplace"))).toMatchObject({
      kind: "exists",
    });
    await here.rename(place("a"), place("b"), "exchange");
    expect((await here.lookup(directory, bytesOf("b"))).inode).toBe(a.inode);
    expect((await there.lookup(directory, bytesOf("a"))).inode).toBe(b.inode);
  });
});

describe("the mount as a whole", () => {
  test("ACLs are refused instead of being stored and not obeyed", async () => {
    const directory = await mounts.freshDirectory();
    const acl = bytesOf("system.posix_acl_access");
    expect(await failureOf(here.xattrSet(directory, acl, bytesOf("x"), "any"))).toMatchObject({
      kind: "notSupported",
    });
    await here.xattrSet(directory, bytesOf("user.x"), bytesOf("1"), "any");
    expect(await there.xattrGet(directory, bytesOf("user.x"))).toEqual(bytesOf("1"));
  });

  test("read-only refuses every change and reads on", async () => {
    const { inode, handle } = await mounts.freshFile(await mounts.freshDirectory());
    await here.write(inode, handle, 0, bytesOf("x"));
    await here.release(inode, handle);
    const fixed = new DfsFileSystem(await cluster.client(), { readOnly: true });
    fixed.start(recordedInvalidations());
    const opened = await fixed.open(inode, { ...READ_WRITE, write: false });
    expect(await fixed.read(inode, opened.handle, 0, 1)).toEqual(bytesOf("x"));
    const refused = [
      fixed.open(inode, READ_WRITE),
      fixed.mkdir(ROOT_INODE, bytesOf("d"), 0o755, CALLER),
      fixed.setattr(inode, { mode: 0o600 }, undefined, CALLER),
      fixed.unlink(ROOT_INODE, bytesOf("d")),
    ];
    for (const each of refused) {
      expect(await failureOf(each)).toMatchObject({ kind: "readOnly" });
    }
    await fixed.stop();
  });

  test("statfs tells the space of the cluster", async () => {
    const space = await here.statfs();
    expect(space.blockSize).toBe(BLOCK);
    expect(space.capacityBytes).toBeGreaterThanOrEqual(space.availableBytes);
  });

  test("stopping writes back what is open", async () => {
    const { inode, handle } = await mounts.freshFile(await mounts.freshDirectory());
    const leaving = new DfsFileSystem(await cluster.client());
    leaving.start(recordedInvalidations());
    const opened = await leaving.open(inode, READ_WRITE);
    await leaving.write(inode, opened.handle, 0, bytesOf("last words"));
    await leaving.stop();
    expect(await mounts.wholeThere(inode)).toEqual(bytesOf("last words"));
    await here.release(inode, handle);
  });
});
