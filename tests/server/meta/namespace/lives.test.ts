// What lives how long: opens, sessions, inodes without names, dead blocks, orphans, stored replies.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  blockId,
  inodeId,
  ROOT_INODE,
  serverId,
  type BlockId,
  type InodeId,
} from "../../../../src/base/ids.ts";
import * as content from "../../../../src/protocol/messages/content.ts";
import * as names from "../../../../src/protocol/messages/namespace.ts";
import { executeOnce, reopen } from "../../../../src/server/meta/namespace/operations.ts";
import * as operations from "../../../../src/server/meta/namespace/operations.ts";
import { longEnded } from "../../../../src/server/meta/session-operations.ts";
import { Harness, type TestSession } from "./harness.ts";
import { brokenInvariants } from "./invariants.ts";
import {
  blockAt,
  bytes,
  commit,
  createDirectory,
  createFile,
  createFilled,
  failsWith,
  OWNER,
  reserve,
  unlink,
  wholeBlocks,
} from "./support.ts";

const NO_BLOCK = blockId(0n);

let harness: Harness;
let session: TestSession;

beforeEach(async () => {
  harness = new Harness();
  session = await harness.openSession();
});

afterEach(() => {
  try {
    expect(brokenInvariants(harness.store.database, harness.settings)).toEqual([]);
  } finally {
    harness.close();
  }
});

const release = (owner: TestSession, ...inodes: InodeId[]): Promise<unknown> =>
  owner.ask(operations.release, { inodes });

const openInode = (owner: TestSession, start: InodeId): Promise<unknown> =>
  owner.ask(operations.open, { start, path: new Uint8Array(), limit: 0 });

const exists = (inode: InodeId): boolean => harness.primitives["inode.get"](inode) !== undefined;

describe("open inodes", () => {
  test("an unlinked file lives until it was released as often as it was opened", async () => {
    const { inode } = await createFile(session, "f", { open: true });
    await openInode(session, inode);
    await unlink(session, "f");
    await release(session, inode);
    expect(exists(inode)).toBe(true);
    expect((await session.ask(operations.getattr, { inode })).attributes.nlink).toBe(0);
    await release(session, inode);
    expect(exists(inode)).toBe(false);
    await failsWith(session.ask(operations.getattr, { inode }), "stale");
  });

  test("one request may release several, the same one twice among them", async () => {
    const { inode: a } = await createFile(session, "a", { open: true });
    const { inode: b } = await createFile(session, "b", { open: true });
    await openInode(session, a);
    await unlink(session, "a");
    await unlink(session, "b");
    await release(session, a, b, a);
    expect([exists(a), exists(b)]).toEqual([false, false]);
  });

  test("what is not open is passed over by release", async () => {
    const { inode } = await createFile(session, "f");
    await release(session, inode, inodeId(12345n));
    expect(exists(inode)).toBe(true);
  });

  test("a release does not touch what another session has open", async () => {
    const other = await harness.openSession();
    const { inode } = await createFile(session, "f", { open: true });
    await unlink(session, "f");
    await release(other, inode);
    expect(exists(inode)).toBe(true);
    await release(session, inode);
    expect(exists(inode)).toBe(false);
  });

  test("an unlinked open file can be opened by its number by others", async () => {
    const other = await harness.openSession();
    const { inode } = await createFile(session, "f", { open: true });
    await unlink(session, "f");
    await openInode(other, inode);
    await release(session, inode);
    expect(exists(inode)).toBe(true);
    await release(other, inode);
    expect(exists(inode)).toBe(false);
  });

  test("a removed directory that is open has no names and gets none", async () => {
    const { inode } = await createDirectory(session, "d");
    await openInode(session, inode);
    const root = { parent: ROOT_INODE, name: bytes("d") };
    await session.change(names.rmdir, operations.rmdir, root);
    expect((await session.ask(operations.getattr, { inode })).attributes.nlink).toBe(0);
    const page = { directory: inode, after: null, limit: 5, withAttributes: false };
    expect(await session.ask(operations.readdir, page)).toEqual({ entries: [], more: false });
    for (const name of ["x", ".."]) {
      const lookup = session.ask(operations.lookup, { parent: inode, name: bytes(name) });
      await failsWith(lookup, "notFound");
    }
    await failsWith(createFile(session, "x", { parent: inode }), "notFound");
    await release(session, inode);
    expect(exists(inode)).toBe(false);
    await failsWith(createFile(session, "x", { parent: inode }), "notFound");
  });

  test("an unlinked file gets no new name by link", async () => {
    const { inode } = await createFile(session, "f", { open: true });
    await unlink(session, "f");
    const body = { inode, parent: ROOT_INODE, name: bytes("g") };
    await failsWith(session.change(names.link, operations.link, body), "notFound");
    await release(session, inode);
  });

  test("a symbolic link itself cannot be opened", async () => {
    const body = { parent: ROOT_INODE, name: bytes("s"), uid: 0, gid: 0, target: bytes("t") };
    const { attributes } = await session.change(names.symlink, operations.symlink, body);
    await failsWith(openInode(session, attributes.inode), "loop");
  });

  test("open brings the first extents", async () => {
    const { inode } = await createFilled(session, "f", 3);
    const body = { start: ROOT_INODE, path: bytes("/f"), limit: 2 };
    const opened = await session.ask(operations.open, body);
    expect(opened.attributes).toMatchObject({ inode, size: 24 });
    expect(opened.extents.map((extent) => extent.offset)).toEqual([0, 8]);
    expect(opened.more).toBe(true);
    expect((await session.ask(operations.open, { ...body, limit: 3 })).more).toBe(false);
  });

  test("a resumed session has open what it says, if it is there", async () => {
    const { inode: known } = await createFile(session, "known", { open: true });
    const { inode: lost } = await createFile(session, "lost");
    const { inode: unlinked } = await createFile(session, "unlinked");
    await unlink(session, "unlinked");
    const gone = await harness.run(reopen(session.id, [known, lost, unlinked, inodeId(999n)]));
    expect(gone).toEqual([unlinked, inodeId(999n)]);
    expect(harness.primitives["open.list"](session.id, inodeId(0n), 9)).toEqual([
      { inode: known, count: 1 },
      { inode: lost, count: 1 },
    ]);
  });
});

describe("while sessions of before a restart may yet say what they have open", () => {
  /** Removes a name as the service does during that time. */
  const unlinkHeld = async (name: string): Promise<bigint> => {
    const context = { ...harness.context(session.id), holdRemovals: true };
    await harness.run(operations.unlink(context, { parent: ROOT_INODE, name: bytes(name) }));
    return context.nowNs;
  };

  test("nothing is removed at once, and what is claimed is taken back whole", async () => {
    const { inode } = await createFilled(session, "f", 2);
    const since = await unlinkHeld("f");
    expect(exists(inode)).toBe(true);
    expect(await harness.run(reopen(session.id, [inode], since + 1n))).toEqual([inode]);
    expect(await harness.run(reopen(session.id, [inode], since))).toEqual([]);
    const map = { inode, offset: 0, length: 16, limit: 9 };
    expect((await session.ask(operations.map, map)).extents).toHaveLength(2);
    await release(session, inode);
    expect(exists(inode)).toBe(false);
  });

  test("what nobody claims is removed from the queue", async () => {
    const { inode } = await createFile(session, "f");
    await unlinkHeld("f");
    expect(harness.primitives["reclaim.get"](inode)).toBeDefined();
    await harness.reclaimAll();
    expect(exists(inode)).toBe(false);
  });
});

describe("the end of a session", () => {
  test("takes its nameless and unlinked files with it, not those that others have open", async () => {
    const other = await harness.openSession();
    const birth = { mode: 0o600, uid: 1, gid: 2, base: 0 };
    const made = await session.change(content.nameless, operations.nameless, birth);
    const { inode: mine } = await createFile(session, "mine", { open: true });
    const { inode: shared } = await createFile(session, "shared", { open: true });
    const { inode: named } = await createFile(session, "named", { open: true });
    await openInode(other, shared);
    await unlink(session, "mine");
    await unlink(session, "shared");
    await session.end();
    const all = [made.attributes.inode, mine, shared, named];
    expect(all.map(exists)).toEqual([false, false, true, true]);
    await other.end();
    expect(exists(shared)).toBe(false);
  });

  // The end of a session with 100,000 files open held up the metadata server for 0.7 s, with a million for 7 s.
  test("works through hundreds of open files in steps", async () => {
    const inodes: InodeId[] = [];
    for (let index = 0; index < 1200; index++) {
      inodes.push((await createFile(session, `f${index}`, { open: true })).inode);
    }
    for (let index = 0; index < 1200; index += 2) await unlink(session, `f${index}`);
    const opens = () => harness.primitives["open.list"](session.id, inodeId(0n), 2000).length;
    expect(await harness.run(operations.endedWithOpens())).toBeUndefined();
    await session.end();
    for (let left = 1200; left > 0;) {
      expect(left - opens()).toBeWithin(1, 600);
      left = opens();
      expect(inodes.filter(exists)).toHaveLength(600 + left / 2);
      const ended = await harness.run(operations.endedWithOpens());
      const due = await harness.run(longEnded("closed", harness.nowNs, 10));
      expect([ended, due]).toEqual(left > 0 ? [session.id, []] : [undefined, [session.id]]);
      await harness.run(operations.giveUpOpens({ nowNs: harness.nowNs }, session.id));
    }
  });

  test("makes its unused reservations orphans, which are listed after the grace period", async () => {
    const { inode } = await createFile(session, "f");
    const blocks = await reserve(session, 10);
    const other = await harness.openSession();
    await reserve(other, 3);
    await commit(session, wholeBlocks(inode, blocks.slice(2, 4)));
    expect(await harness.run(operations.orphans(1n << 62n, 10))).toEqual([]);
    await session.end();
    const endedNs = harness.nowNs;
    expect(await harness.run(operations.orphans(endedNs - 1n, 10))).toEqual([]);
    const orphans = await harness.run(operations.orphans(endedNs, 10));
    const unused = [...blocks.slice(0, 2), ...blocks.slice(4)];
    expect(orphans).toEqual([{ first: blocks[0] as BlockId, blocks: unused }]);
    await harness.run(operations.forgetReservation(blocks[0] as BlockId));
    await harness.run(operations.forgetReservation(blocks[0] as BlockId));
    expect(await harness.run(operations.orphans(endedNs, 10))).toEqual([]);
  });

  test("a live session's reservation cannot be forgotten", async () => {
    const [first] = (await reserve(session, 2)) as [BlockId];
    await failsWith(harness.run(operations.forgetReservation(first)), "invalid");
  });

  test("forgets its replies and refuses its operations", async () => {
    await createFile(session, "f");
    await session.end();
    await session.end();
    await failsWith(createFile(session, "g"), "stale");
    expect(harness.primitives["reply.get"](session.id, 1n)).toBeUndefined();
    expect(harness.primitives["session.get"](session.id)?.state).toBe("closed");
  });
});

describe("reclaiming", () => {
  test("a small file goes with its last name", async () => {
    const { inode } = await createFilled(session, "f", 16);
    await unlink(session, "f");
    expect(exists(inode)).toBe(false);
    expect(harness.primitives["reclaim.list"](1)).toEqual([]);
    expect(harness.primitives["block.listDead"](NO_BLOCK, 100)).toHaveLength(16);
  });

  test("a large file goes in bounded steps", async () => {
    const { inode } = await createFilled(session, "f", 100);
    await unlink(session, "f");
    expect(harness.primitives["reclaim.list"](9).map((entry) => entry.inode)).toEqual([inode]);
    await failsWith(session.ask(operations.getattr, { inode }), "stale");
    await failsWith(openInode(session, inode), "stale");
    const steps = [];
    for (;;) {
      const step = await harness.run(operations.reclaimStep({ nowNs: harness.nowNs }, 30));
      steps.push(step);
      expect(brokenInvariants(harness.store.database, harness.settings)).toEqual([]);
      if (!step.more) break;
    }
    // 16 of the 100 went at once, with the name.
    expect(steps).toEqual([
      { extents: 30, inodes: 0, more: true },
      { extents: 30, inodes: 0, more: true },
      { extents: 24, inodes: 1, more: false },
    ]);
    expect(exists(inode)).toBe(false);
    expect(harness.primitives["block.listDead"](NO_BLOCK, 200)).toHaveLength(100);
  });

  test("a long tail that is cut off goes in bounded steps, apart from the file", async () => {
    const { inode } = await createFilled(session, "f", 700);
    const body = { inode, blocks: [], extents: [], size: 20, mtimeNs: null, expectedSize: null };
    const { attributes } = await commit(session, body);
    expect(attributes).toMatchObject({ size: 20, allocated: 20 });
    expect(harness.primitives["extent.list"](inode, 0, 10_000, 9)).toHaveLength(3);
    const [grave] = harness.primitives["reclaim.list"](2);
    expect(grave?.inode).not.toBe(inode);
    expect(harness.primitives["inode.get"](grave?.inode ?? inode)?.allocated).toBe(697 * 8);
    expect(brokenInvariants(harness.store.database, harness.settings)).toEqual([]);
    await harness.reclaimAll(100);
    expect(harness.primitives["block.listDead"](NO_BLOCK, 1000)).toHaveLength(697);
    expect(harness.primitives["figures.store"]().inodes).toBe(2);
    const map = { inode, offset: 0, length: 100, limit: 9 };
    expect((await session.ask(operations.map, map)).extents.map((each) => each.length)).toEqual([
      8, 8, 4,
    ]);
  });

  test("several files go in one step, and a step without work does nothing", async () => {
    for (const name of ["a", "b", "c"]) {
      await createFilled(session, name, 20);
      await unlink(session, name);
    }
    const step = await harness.run(operations.reclaimStep({ nowNs: harness.nowNs }, 100));
    expect(step).toEqual({ extents: 12, inodes: 3, more: false });
    const idle = await harness.run(operations.reclaimStep({ nowNs: harness.nowNs }, 100));
    expect(idle).toEqual({ extents: 0, inodes: 0, more: false });
  });

  test("what an inode had besides goes with it", async () => {
    const { inode } = await createFilled(session, "f", 20);
    const attribute = { inode, name: bytes("user.a"), value: bytes("v"), how: "any" as const };
    await session.change(names.xattrSet, operations.xattrSet, attribute);
    await unlink(session, "f");
    await harness.reclaimAll();
    expect(harness.primitives["xattr.list"](inode)).toEqual([]);
  });
});

describe("dead blocks", () => {
  test("are forgotten with their last copy", async () => {
    const { inode } = await createFile(session, "f");
    const [a, b] = (await reserve(session, 2)) as [BlockId, BlockId];
    await commit(session, wholeBlocks(inode, [a, b]));
    await unlink(session, "f");
    const servers = [1, 2, 3].map((each) => serverId(each));
    expect(await harness.run(operations.deadBlocks(NO_BLOCK, 10))).toEqual([
      { block: a, servers },
      { block: b, servers },
    ]);
    expect(await harness.run(operations.deadBlocks(a, 10))).toEqual([{ block: b, servers }]);
    for (const server of servers) {
      expect(harness.primitives["block.get"](a)?.state).toBe("dead");
      expect(await harness.run(operations.forgetReplica(a, server))).toBe(true);
    }
    expect(harness.primitives["block.get"](a)).toBeUndefined();
    expect(await harness.run(operations.forgetReplica(a, serverId(1)))).toBe(false);
    expect(await harness.run(operations.deadBlocks(NO_BLOCK, 1))).toEqual([{ block: b, servers }]);
  });

  test("a copy that is present, and a block that lives or has copies, are not forgotten", async () => {
    const { inode } = await createFile(session, "f");
    const [a] = (await reserve(session, 1)) as [BlockId];
    await commit(session, wholeBlocks(inode, [a]));
    expect(await harness.run(operations.forgetReplica(a, serverId(1)))).toBe(false);
    expect(await harness.run(operations.forgetBlock(a))).toBe(false);
    await unlink(session, "f");
    expect(await harness.run(operations.forgetBlock(a))).toBe(false);
  });

  test("a surplus copy of a live block is forgotten without the block", async () => {
    const { inode } = await createFile(session, "f");
    const [a] = (await reserve(session, 1)) as [BlockId];
    await commit(session, { ...wholeBlocks(inode, [a]), blocks: [blockAt(a, 0, [1, 2, 3, 4])] });
    const four = serverId(4);
    harness.primitives["replica.put"]({ block: a, server: four, state: "removing" });
    expect(await harness.run(operations.forgetReplica(a, four))).toBe(true);
    expect(harness.primitives["block.get"](a)?.state).toBe("live");
    expect(harness.primitives["replica.present"](a)).toHaveLength(3);
  });

  test("a block without any copy on record is forgotten when it dies", async () => {
    const { inode } = await createFile(session, "f");
    const [a] = (await reserve(session, 1)) as [BlockId];
    await commit(session, wholeBlocks(inode, [a]));
    for (const server of [1, 2, 3]) harness.primitives["replica.delete"](a, serverId(server));
    await unlink(session, "f");
    expect(harness.primitives["block.get"](a)).toBeUndefined();
  });
});

describe("operations are executed once", () => {
  const mkdir = (name: string, operation: bigint, acknowledged: bigint): Promise<unknown> => {
    const context = harness.context(session.id);
    const body = { parent: ROOT_INODE, name: bytes(name), ...OWNER };
    return harness.run(
      executeOnce(context, { operation, acknowledged }, names.mkdir, () =>
        operations.mkdir(context, body),
      ),
    );
  };

  test("a repeated operation has its first reply and no effect", async () => {
    const first = await mkdir("a", 1n, 0n);
    await unlinkDirectory("a");
    expect(await mkdir("a", 1n, 0n)).toMatchObject(first as object);
    const page = { directory: ROOT_INODE, after: null, limit: 5, withAttributes: false };
    expect((await session.ask(operations.readdir, page)).entries).toEqual([]);
  });

  test("an operation that failed is executed when it comes again", async () => {
    await mkdir("a", 1n, 0n);
    await failsWith(mkdir("a", 2n, 1n), "exists");
    await unlinkDirectory("a");
    await mkdir("a", 2n, 1n);
  });

  test("replies are kept until they are acknowledged, then forgotten in batches", async () => {
    for (let operation = 1n; operation <= 40n; operation++) {
      await mkdir(`d${operation}`, operation, operation - 1n);
    }
    await failsWith(mkdir("again", 1n, 0n), "outcomeUnknown");
    expect(harness.primitives["session.get"](session.id)?.acknowledged).toBe(32n);
    expect(harness.primitives["reply.get"](session.id, 32n)).toBeUndefined();
    expect(harness.primitives["reply.get"](session.id, 33n)).toBeDefined();
    expect(await mkdir("d40", 40n, 39n)).toBeDefined();
  });

  test("a number that was another operation's is refused", async () => {
    await mkdir("a", 1n, 0n);
    const context = harness.context(session.id);
    const head = { operation: 1n, acknowledged: 0n };
    const body = { parent: ROOT_INODE, name: bytes("a") };
    const reused = executeOnce(context, head, names.rmdir, () => operations.rmdir(context, body));
    await failsWith(harness.run(reused), "protocol");
  });

  test("an operation cannot acknowledge itself", async () => {
    await failsWith(mkdir("a", 3n, 3n), "protocol");
  });

  test("a session that does not exist has no operations", async () => {
    await session.end();
    await failsWith(mkdir("a", 1n, 0n), "stale");
  });

  const unlinkDirectory = async (name: string): Promise<void> => {
    const context = harness.context(session.id);
    const body = { parent: ROOT_INODE, name: bytes(name) };
    await harness.run(operations.rmdir(context, body));
  };
});
