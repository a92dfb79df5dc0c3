// Operations by inode number, over a whole cluster.

import { afterAll, beforeAll, describe, expect, spyOn, test } from "bun:test";
import { ROOT_INODE } from "../../src/base/ids.ts";
import type { ChangeListener, DirectoryEntry, Place } from "../../src/client/api.ts";
import { InodeRequests } from "../../src/client/inode-requests.ts";
import {
  bytesOf,
  KiB,
  OWNER,
  patterned,
  startCluster,
  type Cluster,
  type TestClient,
} from "../support/cluster.ts";
import { failureOf } from "../support/failure.ts";

const BLOCK = 64 * KiB;

let cluster: Cluster;
let client: TestClient;
let other: TestClient;
beforeAll(async () => {
  cluster = await startCluster({ servers: 4, settings: { blockSize: BLOCK } });
  client = await cluster.client();
  other = await cluster.client();
});
afterAll(() => cluster.stop());

const NOTHING_HEARD: ChangeListener = {
  contentChanged: () => undefined,
  attributesChanged: () => undefined,
  entryChanged: () => undefined,
  everythingChanged: () => undefined,
};

let number = 0;
async function freshDirectory(): Promise<(name: string) => Place> {
  const place = { parent: ROOT_INODE, name: bytesOf(`directory-${number++}`) };
  const { inode } = await client.inodes.mkdir(place, { ...OWNER, mode: 0o755 });
  return (name) => ({ parent: inode, name: bytesOf(name) });
}

const namesOf = (entries: readonly DirectoryEntry[]): string[] =>
  entries.map(({ name }) => new TextDecoder().decode(name));

describe("names", () => {
  test("are made, found, moved and removed in a directory that is given by its number", async () => {
    const at = await freshDirectory();
    const { inodes } = client;
    const directory = await inodes.mkdir(at("d"), OWNER);
    expect(directory.type).toBe("directory");
    const fifo = await inodes.mknod(at("fifo"), "fifo", 0, OWNER);
    expect(await inodes.lookup(at("fifo"))).toEqual(fifo);
    const link = await inodes.symlink(at("link"), bytesOf("target"), OWNER);
    expect(await inodes.readlink(link.inode)).toEqual(bytesOf("target"));
    expect((await inodes.link(fifo.inode, at("second"))).nlink).toBe(2);
    await inodes.rename(
      at("second"),
      { parent: directory.inode, name: bytesOf("moved") },
      "replace",
    );
    expect((await inodes.lookup({ parent: directory.inode, name: bytesOf("moved") })).inode).toBe(
      fifo.inode,
    );
    expect((await inodes.lookup({ parent: directory.inode, name: bytesOf("..") })).inode).toBe(
      at("").parent,
    );
    await inodes.unlink(at("fifo"));
    expect(await failureOf(inodes.lookup(at("fifo")))).toMatchObject({ kind: "notFound" });
    expect(await failureOf(inodes.rmdir(at("d")))).toMatchObject({ kind: "notEmpty" });
    expect((await inodes.getattr(fifo.inode)).nlink).toBe(1);
  });

  test("are listed page by page behind a name, also when that name is gone", async () => {
    const at = await freshDirectory();
    for (const name of ["a", "b", "c", "d", "e"]) await client.inodes.mkdir(at(name), OWNER);
    const directory = at("").parent;
    const first = await client.inodes.readdir(directory, undefined, 2);
    expect(namesOf(first.entries)).toEqual(["a", "b"]);
    expect(first.more).toBe(true);
    await client.inodes.rmdir(at("b"));
    const rest = await client.inodes.readdir(directory, bytesOf("b"), 10);
    expect(namesOf(rest.entries)).toEqual(["c", "d", "e"]);
    expect(rest.more).toBe(false);
    expect(rest.entries[0]!.attributes).toEqual(await client.inodes.lookup(at("c")));
  });

  test("extended attributes are set, listed and removed", async () => {
    const at = await freshDirectory();
    const { inode } = await client.inodes.mkdir(at("d"), OWNER);
    await client.inodes.xattrSet(inode, bytesOf("user.x"), bytesOf("1"), "create");
    expect(await client.inodes.xattrGet(inode, bytesOf("user.x"))).toEqual(bytesOf("1"));
    expect(await client.inodes.xattrList(inode)).toEqual([bytesOf("user.x")]);
    await client.inodes.xattrRemove(inode, bytesOf("user.x"));
    expect(await failureOf(client.inodes.xattrGet(inode, bytesOf("user.x")))).toMatchObject({
      kind: "noAttribute",
    });
  });
});

describe("files", () => {
  test("are opened by number, and stay while they are open though their name goes", async () => {
    const at = await freshDirectory();
    const { file, created } = await client.inodes.create(at("f"), OWNER, true);
    expect(created).toBe(true);
    await file.write(0, bytesOf("hello"));
    await file.flush();
    const theirs = await other.inodes.open(file.inode);
    await client.inodes.unlink(at("f"));
    await file.close();
    expect(await theirs.read(0, 10)).toEqual(bytesOf("hello"));
    expect((await other.inodes.getattr(file.inode)).nlink).toBe(0);
    await theirs.close();
  });

  test("that exist are opened by create unless it is exclusive; what is no file is refused", async () => {
    const at = await freshDirectory();
    const first = await client.inodes.create(at("f"), OWNER, true);
    const second = await client.inodes.create(at("f"), OWNER, false);
    expect(second.created).toBe(false);
    expect(second.file.inode).toBe(first.file.inode);
    expect(await failureOf(client.inodes.create(at("f"), OWNER, true))).toMatchObject({
      kind: "exists",
    });
    expect(await failureOf(client.inodes.open(at("").parent))).toMatchObject({
      kind: "isDirectory",
    });
    await first.file.close();
    await second.file.close();
  });

  test("with writes that are not committed show their size and time, here alone", async () => {
    const at = await freshDirectory();
    const { file } = await client.inodes.create(at("f"), OWNER, true);
    const before = file.attributes;
    await file.write(10, bytesOf("x"));
    expect(file.clean).toBe(false);
    const shown = await client.inodes.getattr(file.inode);
    expect(shown.size).toBe(11);
    expect(shown.mtimeNs).toBeGreaterThan(before.mtimeNs);
    expect(shown.ctimeNs).toBeGreaterThan(before.ctimeNs);
    expect(shown.allocated).toBeGreaterThan(0); // programs take a file without allocated bytes for an empty one
    expect((await client.inodes.lookup(at("f"))).size).toBe(11);
    const { entries } = await client.inodes.readdir(at("").parent, undefined, 10);
    expect(entries[0]!.attributes.size).toBe(11);
    expect((await other.inodes.getattr(file.inode)).size).toBe(0);
    await file.flush();
    expect(file.clean).toBe(true);
    const stored = await other.inodes.getattr(file.inode);
    expect([stored.size, stored.mtimeNs]).toEqual([11, shown.mtimeNs]);
    await file.close();
  });

  test("keep a time and a size that are set after a write that was not committed", async () => {
    const at = await freshDirectory();
    const { file } = await client.inodes.create(at("f"), OWNER, true);
    await file.write(0, patterned(100));
    await client.inodes.setattr(file.inode, { mtimeNs: 1_000_000_000n });
    expect((await client.inodes.getattr(file.inode)).mtimeNs).toBe(1_000_000_000n);
    await file.write(100, patterned(100));
    expect((await client.inodes.setattr(file.inode, { size: 50 })).size).toBe(50);
    await file.close();
    expect((await other.inodes.getattr(file.inode)).size).toBe(50);
  });

  test("are given a time of change with the commit of what was written, when nothing else is changed", async () => {
    using changes = spyOn(InodeRequests.prototype, "setattr");
    const at = await freshDirectory();
    const { file } = await client.inodes.create(at("f"), OWNER, true);
    await file.write(0, patterned(3 * BLOCK));
    const before = await client.inodes.getattr(file.inode);
    const set = await client.inodes.setattr(file.inode, { mtimeNs: 5_000_000_005n });
    expect(changes).not.toHaveBeenCalled();
    expect(file.clean).toBe(true);
    expect(set).toMatchObject({ mtimeNs: 5_000_000_005n, size: 3 * BLOCK });
    expect(set.ctimeNs).toBeGreaterThan(before.ctimeNs - 60_000_000_000n);
    const { atimeNs: _, ...stored } = await other.inodes.getattr(file.inode);
    expect(set).toMatchObject(stored);
    await client.inodes.setattr(file.inode, { mtimeNs: 6n }); // nothing is to be committed
    expect(changes).toHaveBeenCalledTimes(1);
    await file.write(0, patterned(10));
    await client.inodes.setattr(file.inode, { mtimeNs: 7n, mode: 0o600 });
    expect(changes).toHaveBeenCalledTimes(2);
    expect(await other.inodes.getattr(file.inode)).toMatchObject({ mtimeNs: 7n, mode: 0o600 });
    await file.write(0, patterned(10));
    await file.close();
    expect((await other.inodes.getattr(file.inode)).mtimeNs).toBeGreaterThan(1_000_000_000_000n);
  });

  test("tell where data and holes are, what is not committed included", async () => {
    const at = await freshDirectory();
    const { file } = await client.inodes.create(at("f"), OWNER, true);
    await file.write(BLOCK, patterned(100));
    await file.flush();
    await file.write(3 * BLOCK, patterned(BLOCK));
    await file.truncate(10 * BLOCK);
    await file.write(6 * BLOCK, patterned(10));
    expect(await file.seek(0, "data")).toBe(BLOCK);
    expect(await file.seek(0, "hole")).toBe(0);
    expect(await file.seek(BLOCK, "hole")).toBe(BLOCK + 100);
    expect(await file.seek(BLOCK + 100, "data")).toBe(3 * BLOCK);
    expect(await file.seek(3 * BLOCK + 5, "hole")).toBe(4 * BLOCK);
    expect(await file.seek(4 * BLOCK, "data")).toBe(6 * BLOCK);
    expect(await file.seek(6 * BLOCK, "hole")).toBe(6 * BLOCK + 10);
    expect(await file.seek(6 * BLOCK + 10, "hole")).toBe(6 * BLOCK + 10);
    expect(await failureOf(file.seek(6 * BLOCK + 10, "data"))).toMatchObject({ kind: "noData" });
    expect(await failureOf(file.seek(10 * BLOCK, "hole"))).toMatchObject({ kind: "noData" });
    await file.close();
  });

  test("that others change are told of when their attributes are looked at", async () => {
    const at = await freshDirectory();
    const told: bigint[] = [];
    const third = await cluster.client();
    third.inodes.listen({ ...NOTHING_HEARD, contentChanged: (inode) => told.push(inode) });
    const { file } = await client.inodes.create(at("f"), OWNER, true);
    const theirs = await third.inodes.open(file.inode);
    await theirs.write(0, bytesOf("own"));
    await theirs.flush();
    await third.inodes.getattr(file.inode);
    expect(told).toEqual([]);
    await file.write(0, bytesOf("others"));
    await file.flush();
    expect((await third.inodes.getattr(file.inode)).size).toBe(6);
    expect(told).toEqual([file.inode]);
    expect(await theirs.read(0, 10)).toEqual(bytesOf("others"));
    await theirs.close();
    await file.close();
  });

  test("a wait is given up by its signal", async () => {
    const at = await freshDirectory();
    const { file } = await client.inodes.create(at("f"), OWNER, true);
    await file.write(0, patterned(100));
    const given = { signal: AbortSignal.abort() };
    expect(await failureOf(file.flush(given))).toMatchObject({ kind: "cancelled" });
    await file.flush();
    expect((await other.inodes.getattr(file.inode)).size).toBe(100);
    await file.close();
  });
});
