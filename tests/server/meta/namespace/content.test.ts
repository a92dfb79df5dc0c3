// Commits, reservations and maps, operation by operation: what must be refused, and what goes on record.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { MAX_FILE_BYTES, MAX_RESERVED_BLOCKS } from "../../../../src/base/limits.ts";
import type { BlockId, InodeId } from "../../../../src/base/ids.ts";
import { blockId, inodeId, serverId } from "../../../../src/base/ids.ts";
import * as cluster from "../../../../src/protocol/messages/content.ts";
import * as operations from "../../../../src/server/meta/namespace/operations.ts";
import { Harness, type TestSession } from "./harness.ts";
import { brokenInvariants } from "./invariants.ts";
import {
  blockAt,
  bytes,
  commit,
  createDirectory,
  createFile,
  createFilled,
  extentAt,
  failsWith,
  reserve,
  wholeBlocks,
  type CommitBody,
} from "./support.ts";

let harness: Harness;
let session: TestSession;
let file: InodeId;

beforeEach(async () => {
  harness = new Harness();
  session = await harness.openSession();
  file = (await createFile(session, "f")).inode;
});

afterEach(() => {
  try {
    expect(brokenInvariants(harness.store.database, harness.settings)).toEqual([]);
  } finally {
    harness.close();
  }
});

/** A commit of one block of 8 bytes at offset 0, with some of it changed. */
function oneBlock(block: BlockId, change: Partial<CommitBody> = {}): CommitBody {
  return { ...wholeBlocks(file, [block]), ...change };
}

describe("reserve", () => {
  test("gives out ids in a row, never twice, with the placement version", async () => {
    const one = await session.change(cluster.reserve, operations.reserve, { count: 5 });
    const two = await session.change(cluster.reserve, operations.reserve, { count: 1 });
    expect(one).toEqual({ first: blockId(1n), count: 5, placementVersion: 1n });
    expect(two).toEqual({ first: blockId(6n), count: 1, placementVersion: 1n });
  });

  test("refuses none and too many", async () => {
    for (const count of [0, MAX_RESERVED_BLOCKS + 1]) {
      const refused = session.change(cluster.reserve, operations.reserve, { count });
      await failsWith(refused, "invalid");
    }
  });

  test("a reservation is gone when all its ids were committed, and not before", async () => {
    const [a, b, c] = (await reserve(session, 3)) as [BlockId, BlockId, BlockId];
    await commit(session, wholeBlocks(file, [b], [0]));
    await commit(session, wholeBlocks(file, [a], [1]));
    expect(harness.primitives["reservation.find"](c)?.used).toEqual(new Uint8Array([0b011]));
    await commit(session, wholeBlocks(file, [c], [2]));
    expect(harness.primitives["reservation.find"](a)).toBeUndefined();
  });
});

describe("commit requires blocks that", () => {
  test("were reserved at all", async () => {
    await failsWith(commit(session, oneBlock(blockId(1n))), "stale");
    await reserve(session, 2);
    await failsWith(commit(session, oneBlock(blockId(3n))), "stale");
  });

  test("were reserved by this session", async () => {
    const other = await harness.openSession();
    const [block] = (await reserve(other, 1)) as [BlockId];
    await failsWith(commit(session, oneBlock(block)), "stale");
    await other.end();
    await failsWith(commit(session, oneBlock(block)), "stale");
  });

  test("were not committed before", async () => {
    const [a] = (await reserve(session, 2)) as [BlockId];
    await commit(session, oneBlock(a));
    await failsWith(commit(session, oneBlock(a)), "stale");
    await commit(session, oneBlock((await reserve(session, 1))[0] as BlockId));
    await failsWith(commit(session, oneBlock(a)), "stale");
  });

  test("are listed once", async () => {
    const [a] = (await reserve(session, 1)) as [BlockId];
    const body = { ...oneBlock(a), blocks: [blockAt(a, 0), blockAt(a, 0)] };
    await failsWith(commit(session, body), "invalid");
  });

  test("a refused commit uses up nothing", async () => {
    const [a] = (await reserve(session, 1)) as [BlockId];
    const short = oneBlock(a, { blocks: [blockAt(a, 0, [1])] });
    await failsWith(commit(session, short), "quorum");
    const { attributes } = await commit(session, oneBlock(a));
    expect(attributes).toMatchObject({ size: 8, allocated: 8, version: 2n });
  });
});

describe("commit refuses", () => {
  let a: BlockId;
  let b: BlockId;

  beforeEach(async () => {
    [a, b] = (await reserve(session, 2)) as [BlockId, BlockId];
  });

  const wrong: readonly (readonly [what: string, change: () => Partial<CommitBody>])[] = [
    ["a block that no extent names", () => ({ blocks: [blockAt(a, 0), blockAt(b, 0)] })],
    ["an extent of a block that is not in it", () => ({ extents: [extentAt(b, 0)] })],
    ["an empty block", () => ({ blocks: [{ ...blockAt(a, 0), length: 0 }] })],
    ["a block longer than the block size", () => ({ blocks: [{ ...blockAt(a, 0), length: 9 }] })],
    ["an empty extent", () => ({ extents: [{ ...extentAt(a, 0), length: 0 }] })],
    [
      "an extent that is longer than its block",
      () => ({ blocks: [{ ...blockAt(a, 0), length: 7 }] }),
    ],
    [
      "an extent that ends behind its block",
      () => ({ extents: [{ ...extentAt(a, 0), length: 4, blockOffset: 5 }] }),
    ],
    ["an extent across two block indexes", () => ({ extents: [{ ...extentAt(a, 0), offset: 1 }] })],
    ["an extent of another placement group", () => ({ blocks: [blockAt(a, 1)] })],
    [
      "extents that overlap",
      () => ({
        extents: [
          { ...extentAt(a, 0), length: 4 },
          { ...extentAt(a, 0), offset: 3, length: 4 },
        ],
      }),
    ],
    ["an extent behind the length that it sets", () => ({ size: 7 })],
    ["a server that is not in the cluster", () => ({ blocks: [blockAt(a, 0, [1, 2, 9])] })],
    ["a server that is named twice", () => ({ blocks: [blockAt(a, 0, [1, 2, 2])] })],
  ];
  test.each(wrong)("%s", async (_what, change) => {
    await failsWith(commit(session, oneBlock(a, change())), "invalid");
    expect(harness.primitives["block.get"](a)).toBeUndefined();
  });

  test("an extent behind the largest file", async () => {
    const offset = Math.floor(MAX_FILE_BYTES / 8) * 8;
    const extents = [{ ...extentAt(a, 0), offset, length: 8 }];
    await failsWith(commit(session, oneBlock(a, { extents })), "fileTooBig");
    await failsWith(commit(session, oneBlock(a, { size: MAX_FILE_BYTES + 1 })), "fileTooBig");
  });

  test("a directory and an inode that is gone", async () => {
    const { inode } = await createDirectory(session, "d");
    await failsWith(commit(session, oneBlock(a, { inode })), "isDirectory");
    await failsWith(commit(session, oneBlock(a, { inode: inodeId(999n) })), "stale");
  });
});

describe("copies of committed blocks", () => {
  test("three are present and nothing is missing", async () => {
    const [a] = (await reserve(session, 1)) as [BlockId];
    await commit(session, oneBlock(a));
    expect(harness.primitives["replica.present"](a).map(Number)).toEqual([1, 2, 3]);
    expect(harness.primitives["repair.get"](a)).toBeUndefined();
  });

  test("with two the third goes on record as missing, in the same transaction", async () => {
    const [a] = (await reserve(session, 1)) as [BlockId];
    await commit(session, oneBlock(a, { blocks: [blockAt(a, 0, [4, 2])] }));
    expect(harness.primitives["replica.present"](a).map(Number)).toEqual([2, 4]);
    expect(harness.primitives["repair.get"](a)).toMatchObject({ missing: 1, reason: "shortWrite" });
    expect(harness.primitives["repair.total"]()).toBe(1);
  });

  test("with one the quorum is missed", async () => {
    const [a] = (await reserve(session, 1)) as [BlockId];
    await failsWith(commit(session, oneBlock(a, { blocks: [blockAt(a, 0, [2])] })), "quorum");
  });

  test("a server that is being refilled does not count for the quorum", async () => {
    const [a] = (await reserve(session, 1)) as [BlockId];
    const two = harness.primitives["server.get"](serverId(2));
    if (two === undefined) throw new Error("server 2 is not there");
    harness.primitives["server.put"]({ ...two, filling: true });
    await failsWith(commit(session, oneBlock(a, { blocks: [blockAt(a, 0, [1, 2])] })), "quorum");
    await commit(session, oneBlock(a, { blocks: [blockAt(a, 0, [1, 2, 3])] }));
    expect(harness.primitives["repair.get"](a)).toBeUndefined();
  });

  test("checksums of all 64 bits come back as they were given", async () => {
    const [a] = (await reserve(session, 1)) as [BlockId];
    const checksum = 0xfedc_ba98_7654_3210n;
    await commit(session, oneBlock(a, { blocks: [{ ...blockAt(a, 0), checksum }] }));
    const page = await session.ask(operations.map, { inode: file, offset: 0, length: 8, limit: 1 });
    expect(page.extents[0]?.checksum).toBe(checksum);
  });
});

describe("overwriting", () => {
  test("a covered block dies, and its copies are to be removed", async () => {
    const [a, b] = (await reserve(session, 2)) as [BlockId, BlockId];
    await commit(session, oneBlock(a, { blocks: [blockAt(a, 0, [1, 2])] }));
    await commit(session, oneBlock(b));
    expect(harness.primitives["block.get"](a)).toMatchObject({ state: "dead", refs: 0 });
    expect(harness.primitives["replica.list"](a).map((each) => each.state)).toEqual([
      "removing",
      "removing",
    ]);
    expect(harness.primitives["repair.get"](a)).toBeUndefined();
  });

  test("a block that is split is named by two extents, and dies with the second", async () => {
    const [a, b, c, d] = (await reserve(session, 4)) as [BlockId, BlockId, BlockId, BlockId];
    const part = (block: BlockId, offset: number, length: number): CommitBody =>
      oneBlock(block, { extents: [{ block, offset, length, blockOffset: 0 }] });
    await commit(session, oneBlock(a));
    await commit(session, part(b, 2, 3));
    expect(harness.primitives["block.get"](a)?.refs).toBe(2);
    expect(harness.primitives["extent.list"](file, 0, 8, 9)).toEqual([
      { offset: 0, length: 2, block: a, blockOffset: 0 },
      { offset: 2, length: 3, block: b, blockOffset: 0 },
      { offset: 5, length: 3, block: a, blockOffset: 5 },
    ]);
    await commit(session, part(c, 0, 2));
    expect(harness.primitives["block.get"](a)?.refs).toBe(1);
    await commit(session, part(d, 5, 3));
    expect(harness.primitives["block.get"](a)?.state).toBe("dead");
  });

  test("a commit may cut the file and write in one step", async () => {
    const blocks = await reserve(session, 5);
    await commit(session, wholeBlocks(file, blocks.slice(0, 4)));
    const last = blocks[4] as BlockId;
    const { attributes } = await commit(session, { ...wholeBlocks(file, [last], [1]), size: 17 });
    expect(attributes).toMatchObject({ size: 17, allocated: 17 });
    const states = blocks.map((block) => harness.primitives["block.get"](block)?.state);
    expect(states).toEqual(["live", "dead", "live", "dead", "live"]);
  });

  test("a commit for a file of another length than expected is refused, and changes nothing", async () => {
    const { size } = await commit(session, wholeBlocks(file, await reserve(session, 1))).then(
      ({ attributes }) => attributes,
    );
    const body = wholeBlocks(file, await reserve(session, 1), [1]);
    await failsWith(commit(session, { ...body, expectedSize: size + 1 }), "conflict");
    const page = await session.ask(operations.map, {
      inode: file,
      offset: 0,
      length: 64,
      limit: 9,
    });
    expect(page).toMatchObject({ size });
    expect((await commit(session, { ...body, expectedSize: size })).attributes.size).toBe(2 * size);
  });

  test("a commit without blocks sets the length and the time", async () => {
    const body = {
      inode: file,
      blocks: [],
      extents: [],
      size: 100,
      mtimeNs: 77n,
      expectedSize: null,
    };
    const { attributes } = await commit(session, body);
    expect(attributes).toMatchObject({ size: 100, allocated: 0, mtimeNs: 77n, version: 2n });
  });
});

describe("map", () => {
  beforeEach(async () => {
    const blocks = await reserve(session, 4);
    await commit(session, wholeBlocks(file, blocks, [0, 1, 3, 5]));
  });

  const mapped = async (offset: number, length: number, limit = 10): Promise<unknown[]> => {
    const page = await session.ask(operations.map, { inode: file, offset, length, limit });
    return [page.extents.map((extent) => extent.offset), page.more];
  };

  test("returns the extents that overlap the range, whole", async () => {
    expect(await mapped(0, 48)).toEqual([[0, 8, 24, 40], false]);
    expect(await mapped(7, 2)).toEqual([[0, 8], false]);
    expect(await mapped(8, 8)).toEqual([[8], false]);
    expect(await mapped(16, 8)).toEqual([[], false]);
    expect(await mapped(15, 10)).toEqual([[8, 24], false]);
    expect(await mapped(48, 1000)).toEqual([[], false]);
    expect(await mapped(0, 0)).toEqual([[], false]);
  });

  test("says when there are more than fit the page", async () => {
    expect(await mapped(0, 48, 2)).toEqual([[0, 8], true]);
    expect(await mapped(16, 32, 2)).toEqual([[24, 40], false]);
    await failsWith(mapped(0, 48, 0), "invalid");
  });

  test("names version and length of the file", async () => {
    const page = await session.ask(operations.map, { inode: file, offset: 0, length: 1, limit: 1 });
    expect(page).toMatchObject({ version: 2n, size: 48 });
  });

  test("orders the servers as the placement table does, stand-ins last", async () => {
    const [block] = (await reserve(session, 1)) as [BlockId];
    // Block index 2 is in group 2, whose row is 3, 4, 1: server 2 is a stand-in for one of them.
    await commit(session, {
      ...wholeBlocks(file, [block], [2]),
      blocks: [blockAt(block, 2, [2, 1, 3])],
    });
    const page = await session.ask(operations.map, {
      inode: file,
      offset: 16,
      length: 8,
      limit: 1,
    });
    expect(page.extents[0]?.servers.map(Number)).toEqual([3, 1, 2]);
  });

  test("leaves out copies that are not present", async () => {
    const [first] = harness.primitives["extent.list"](file, 0, 8, 1);
    if (first === undefined) throw new Error("the file has no extent");
    harness.primitives["replica.put"]({ block: first.block, server: serverId(2), state: "bad" });
    harness.primitives["repair.put"]({
      block: first.block,
      missing: 1,
      urgency: 2,
      reason: "badReplica",
      sinceNs: 1n,
    });
    const page = await session.ask(operations.map, { inode: file, offset: 0, length: 8, limit: 1 });
    expect(page.extents[0]?.servers.map(Number)).toEqual([1, 3]);
  });
});

describe("explain", () => {
  test("shows wanted servers, copies and states, in pages", async () => {
    const { inode } = await createFilled(session, "g", 3);
    const three = harness.primitives["server.get"](serverId(3));
    if (three === undefined) throw new Error("server 3 is not there");
    harness.primitives["server.put"]({ ...three, state: "draining" });
    const first = await session.ask(operations.explain, { inode, offset: 0, limit: 2 });
    expect(first.more).toBe(true);
    expect(first.rows.map((row) => [row.index, row.offset, row.length, row.group])).toEqual([
      [0, 0, 8, 0],
      [1, 8, 8, 1],
    ]);
    expect(first.rows.map((row) => row.wanted.map(Number))).toEqual([
      [1, 2, 3],
      [2, 3, 4],
    ]);
    expect(first.rows[1]?.replicas.map((each) => [Number(each.server), each.state])).toEqual([
      [2, "present"],
      [3, "present"],
      [1, "present"],
    ]);
    expect(first.rows[1]?.replicas.map((each) => each.serverState)).toEqual([
      "up",
      "draining",
      "up",
    ]);
    const rest = await session.ask(operations.explain, { inode, offset: 16, limit: 2 });
    expect(rest.rows.map((row) => row.index)).toEqual([2]);
    expect(rest.more).toBe(false);
  });

  test("takes the word of who knows more about servers than the table", async () => {
    const { inode } = await createFilled(session, "g", 1);
    const body = { inode, offset: 0, limit: 1 };
    const context = harness.context(session.id);
    const { rows } = await harness.run(
      operations.explain(context, body, (server) => (server === 2 ? "suspect" : undefined)),
    );
    expect(rows[0]?.replicas.map((each) => each.serverState)).toEqual(["up", "suspect", "up"]);
  });
});

describe("place", () => {
  const placeAs = (inode: InodeId, name: string, owner = session): Promise<unknown> =>
    owner.change(cluster.place, operations.place, {
      inode,
      parent: inodeId(1n),
      name: bytes(name),
      exclusive: false,
      keepReplaced: false,
      atimeNs: null,
      mtimeNs: null,
    });

  const nameless = async (owner = session): Promise<InodeId> => {
    const birth = { mode: 0o600, uid: 1, gid: 2, base: 0 };
    const reply = await owner.change(cluster.nameless, operations.nameless, birth);
    expect(reply.attributes).toMatchObject({ nlink: 0, type: "file", mode: 0o600 });
    return reply.attributes.inode;
  };

  test("gives a nameless file its name, once", async () => {
    const inode = await nameless();
    await placeAs(inode, "g");
    await failsWith(placeAs(inode, "h"), "invalid");
  });

  test("refuses a file that has a name", async () => {
    await failsWith(placeAs(file, "g"), "invalid");
  });

  test("refuses another session's nameless file", async () => {
    const other = await harness.openSession();
    const inode = await nameless(other);
    await failsWith(placeAs(inode, "g"), "invalid");
    await placeAs(inode, "g", other);
  });

  test("refuses a nameless file of a session that has ended", async () => {
    const other = await harness.openSession();
    const inode = await nameless(other);
    await other.end();
    await failsWith(placeAs(inode, "g"), "stale");
  });
});
