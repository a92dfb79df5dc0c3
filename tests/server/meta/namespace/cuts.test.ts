// Long ends of files that are cut off: gone at once for whoever looks, removed in steps, and never shown again when the file grows.
//
// All of them were moved away by the operation itself, 1.6 us each: a file of two million extents that was cut to nothing held
// up everybody for three seconds.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { ROOT_INODE, type BlockId, type InodeId } from "../../../../src/base/ids.ts";
import { groupOf } from "../../../../src/base/placement.ts";
import { seededRandom, systemRandom } from "../../../../src/base/random.ts";
import * as content from "../../../../src/protocol/messages/content.ts";
import * as names from "../../../../src/protocol/messages/namespace.ts";
import * as operations from "../../../../src/server/meta/namespace/operations.ts";
import { CutPending, cutStep, reopen } from "../../../../src/server/meta/namespace/operations.ts";
import { runSync } from "../../../../src/server/meta/store/store.ts";
import { Harness, type TestSession } from "./harness.ts";
import { brokenInvariants } from "./invariants.ts";
import {
  blockAt,
  bytes,
  commit,
  createFile,
  createFilled,
  NO_CHANGE,
  reserve,
  unlink,
} from "./support.ts";

const BLOCK_SIZE = 4096;

/** Bytes of the extents that the files of these tests begin with. */
const PIECE = 8;

let harness: Harness;
let session: TestSession;

beforeEach(async () => {
  harness = new Harness({ blockSize: BLOCK_SIZE });
  // For the checks of invariants, which look for the extents of each block.
  harness.store.database.run("CREATE INDEX extents_by_block ON extents (block)");
  session = await harness.openSession();
});

afterEach(() => {
  try {
    expect(brokenInvariants(harness.store.database, harness.settings)).toEqual([]);
  } finally {
    harness.close();
  }
});

/** A file of so many extents of 8 bytes, each of a block of its own, without holes. */
async function fragmented(name: string, extents: number): Promise<InodeId> {
  const { inode } = await createFile(session, name);
  for (let at = 0; at < extents; at += 2000) {
    const ids = await reserve(session, Math.min(2000, extents - at));
    const indexOf = (position: number): number =>
      Math.floor(((at + position) * PIECE) / BLOCK_SIZE);
    await commit(session, {
      inode,
      blocks: ids.map((id, position) => blockAt(id, indexOf(position))),
      extents: ids.map((block, position) => ({
        offset: (at + position) * PIECE,
        length: PIECE,
        block,
        blockOffset: 0,
      })),
      size: null,
      mtimeNs: null,
      expectedSize: null,
    });
  }
  return inode;
}

async function resize(inode: InodeId, size: number) {
  const body = { ...NO_CHANGE, inode, size };
  return (await session.change(names.setattr, operations.setattr, body)).attributes;
}

/** True when there is more to do. */
const step = async (inode: InodeId): Promise<boolean> =>
  (await harness.run(cutStep(harness.context(session.id), inode))) !== undefined;

const extentsOnRecord = (inode: InodeId): number =>
  harness.primitives["extent.list"](inode, 0, Number.MAX_SAFE_INTEGER, 100_000).length;

const isPending = (inode: InodeId): boolean => harness.primitives["cut.get"](inode) !== undefined;

/** What each byte of a file shows, as a reader is told: block and place in it, or nothing. */
async function shown(inode: InodeId): Promise<(string | undefined)[]> {
  const { size } = (await session.ask(operations.getattr, { inode })).attributes;
  const cells: (string | undefined)[] = Array.from({ length: size }, () => undefined);
  for (let offset = 0; ;) {
    const body = { inode, offset, length: Number.MAX_SAFE_INTEGER - offset, limit: 2000 };
    const { extents, more } = await session.ask(operations.map, body);
    for (const each of extents) {
      for (let at = 0; at < each.length; at++) {
        cells[each.offset + at] = `${each.block}:${each.blockOffset + at}`;
      }
      offset = each.offset + each.length;
    }
    expect(cells.length).toBe(size);
    if (!more) return cells;
  }
}

describe("a long end that is cut off", () => {
  test("is gone for all who look, though most of it is still on record", async () => {
    const inode = await fragmented("f", 7000);
    const before = await shown(inode);
    expect(await resize(inode, 20)).toMatchObject({ size: 20, allocated: 20 });
    expect(extentsOnRecord(inode)).toBe(7000 - 2048);
    expect(isPending(inode)).toBe(true);
    expect(await shown(inode)).toEqual(before.slice(0, 20));
    const explained = await session.ask(operations.explain, { inode, offset: 0, limit: 9 });
    expect(explained.rows.map((row) => row.length)).toEqual([8, 8, 4]);
    expect(explained.more).toBe(false);
    const path = { start: ROOT_INODE, path: bytes("f"), limit: 9 };
    const opened = await session.ask(operations.open, path);
    expect([opened.extents.length, opened.more]).toEqual([3, false]);
    expect(brokenInvariants(harness.store.database, harness.settings)).toEqual([]);
  });

  test("is removed in steps that may be repeated", async () => {
    const inode = await fragmented("f", 7000);
    await resize(inode, 20);
    const left: number[] = [];
    for (let more = true; more;) {
      more = await step(inode);
      left.push(extentsOnRecord(inode));
      expect(brokenInvariants(harness.store.database, harness.settings)).toEqual([]);
    }
    expect(left).toEqual([2904, 856, 3]);
    expect(isPending(inode)).toBe(false);
    expect(await step(inode)).toBe(false);
    expect(harness.primitives["inode.get"](inode)?.allocated).toBe(20);
    await harness.reclaimAll(1000);
    expect(harness.primitives["block.listDead"](0n as BlockId, 9000)).toHaveLength(6997);
    expect(harness.primitives["figures.inodes"]()).toBe(2);
  });

  test("keeps the file from growing over it, and nothing else", async () => {
    const inode = await fragmented("f", 7000);
    const other = await createFilled(session, "other", 1);
    const before = await shown(inode);
    await resize(inode, 100);
    const start = harness.primitives["cut.get"](inode)!;
    expect(start).toBe(Math.ceil(100 / PIECE + 2048) * PIECE); // what was moved already is not in the way
    const [block, second] = (await reserve(session, 2)) as [BlockId, BlockId];
    const write = (id: BlockId, offset: number, size: number | null) => ({
      inode,
      blocks: [blockAt(id, Math.floor(offset / BLOCK_SIZE))],
      extents: [{ offset, length: PIECE, block: id, blockOffset: 0 }],
      size,
      mtimeNs: null,
      expectedSize: null,
    });
    const context = harness.context(session.id);
    const cloned = { source: other.inode, sourceOffset: 0, inode, offset: start, length: 8 };
    const growing = [
      () => operations.setattr(context, { ...NO_CHANGE, inode, size: start + 1 }),
      () => operations.commit(context, write(block, start - 4, null)),
      () => operations.commit(context, write(block, 8, 50_000)),
      () => operations.punch(context, { inode, offset: 0, length: 8, minSize: start + 1 }),
      () => operations.clone(context, cloned),
    ];
    for (const operation of growing) {
      const run = (): unknown =>
        harness.store.transaction(() => runSync(harness.primitives, operation() as never));
      expect(run).toThrow(CutPending);
    }
    await commit(session, write(second, 8, null));
    await resize(inode, start);
    expect(isPending(inode)).toBe(true);
    // The client only waits: its operation goes on behind the cut.
    await resize(inode, 56_000);
    expect(isPending(inode)).toBe(false);
    const after = await shown(inode);
    expect(after).toHaveLength(56_000);
    expect(after.slice(0, 8)).toEqual(before.slice(0, 8));
    expect(after.slice(16, 100)).toEqual(before.slice(16, 100));
    expect(after.slice(100).every((cell) => cell === undefined)).toBe(true);
  });

  test("goes on with the next cut, which may be deeper or come from a commit", async () => {
    const inode = await fragmented("f", 7000);
    const before = await shown(inode);
    await resize(inode, 30_000);
    const body = { inode, blocks: [], extents: [], size: 13, mtimeNs: null, expectedSize: 30_000 };
    expect((await commit(session, body)).attributes).toMatchObject({ size: 13, allocated: 13 });
    while (await step(inode));
    expect(await resize(inode, 60_000)).toMatchObject({ size: 60_000, allocated: 13 });
    expect(await shown(inode)).toEqual(
      before
        .map((cell, at) => (at < 13 ? cell : undefined))
        .concat(Array.from({ length: 60_000 - 56_000 }, () => undefined)),
    );
  });

  // The row was passed over in a file without extents: what was written behind `start` was cut off by the next step.
  test("is in the way of what is written anew, too, when all of it is gone and only its row is left", async () => {
    const inode = await fragmented("f", 4000);
    const write = async (): Promise<void> => {
      const ids = await reserve(session, 8);
      await commit(session, {
        inode,
        blocks: ids.map((id, index) => ({ ...blockAt(id, index), length: BLOCK_SIZE })),
        extents: ids.map((block, index) => ({
          offset: index * BLOCK_SIZE,
          length: BLOCK_SIZE,
          block,
          blockOffset: 0,
        })),
        size: null,
        mtimeNs: null,
        expectedSize: null,
      });
    };
    await resize(inode, 100);
    expect(await resize(inode, 0)).toMatchObject({ allocated: 0 }); // by the end of the cut,
    await write();
    const written = await shown(inode);
    while (await step(inode));
    expect(await shown(inode)).toEqual(written);

    await resize(inode, 0);
    const again = await fragmented("g", 4000);
    await resize(again, 100);
    const all = { inode: again, offset: 0, length: 40_000, minSize: 0 };
    for (let done = 0; done < all.length;) {
      const rest = { ...all, offset: done, length: all.length - done };
      done += (await session.change(content.punch, operations.punch, rest)).done; // or by holes behind the end
    }
    expect(harness.primitives["inode.get"](again)?.allocated).toBe(0);
    expect(await resize(again, 40_000)).toMatchObject({ size: 40_000, allocated: 0 });
    expect(isPending(again)).toBe(false);
  });

  test("goes with its file", async () => {
    const inode = await fragmented("f", 7000);
    await resize(inode, 20);
    await unlink(session, "f");
    await harness.reclaimAll(1000);
    expect(harness.primitives["inode.get"](inode)).toBeUndefined();
    expect(harness.primitives["block.listDead"](0n as BlockId, 9000)).toHaveLength(7000);
    expect(harness.primitives["cut.list"](9)).toEqual([inode]);
    expect(await step(inode)).toBe(false);
    expect(harness.primitives["cut.list"](9)).toEqual([]);
  });

  test("stays cut off in a file that is taken back from the queue of removal", async () => {
    const inode = await fragmented("f", 7000);
    const before = await shown(inode);
    await resize(inode, 20);
    const context = { ...harness.context(session.id), holdRemovals: true };
    await harness.run(operations.unlink(context, { parent: ROOT_INODE, name: bytes("f") }));
    await step(inode);
    expect(await harness.run(reopen(session.id, [inode], context.nowNs))).toEqual([]);
    await resize(inode, 56_000);
    expect(await shown(inode)).toEqual(before.map((cell, at) => (at < 20 ? cell : undefined)));
  });
});

// A commit removed what it replaces one by one: 32 MiB over extents of 4 KiB took a quarter of a second.
test("a commit over many extents removes some and hands the others over", async () => {
  const inode = await fragmented("f", 2048);
  const before = await shown(inode);
  const [first, last] = (await reserve(session, 2)) as [BlockId, BlockId];
  const length = BLOCK_SIZE - 8;
  await commit(session, {
    inode,
    blocks: [first, last].map((block, index) => ({ ...blockAt(block, 2 * index), length })),
    extents: [first, last].map((block, index) => ({
      offset: 2 * index * BLOCK_SIZE + 4,
      length,
      block,
      blockOffset: 0,
    })),
    size: null,
    mtimeNs: null,
    expectedSize: null,
  });
  const after = await shown(inode);
  for (const [at, cell] of after.entries()) {
    const old = at < BLOCK_SIZE || (at >= 2 * BLOCK_SIZE && at < 3 * BLOCK_SIZE);
    const inBlock = at % BLOCK_SIZE;
    const replaced = old && inBlock >= 4 && inBlock < 4 + length;
    const block = at < BLOCK_SIZE ? first : last;
    expect(cell).toBe(replaced ? `${block}:${inBlock - 4}` : before[at]);
  }
  expect(harness.primitives["block.listDead"](0n as BlockId, 9000).length).toBeLessThan(257);
  await harness.reclaimAll(1000);
  expect(harness.primitives["block.listDead"](0n as BlockId, 9000)).toHaveLength(2 * 510);
});

test("random cuts, growth, writes, holes and copies show what an array of bytes would", async () => {
  const seed = Number(process.env["SEED"] ?? systemRandom.below(1_000_000));
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const inode = await fragmented("f", 6000);
  let model = await shown(inode);
  const hole = (length: number): undefined[] => Array.from({ length }, () => undefined);
  const grown = (size: number): void => {
    if (size > model.length) model = [...model, ...hole(size - model.length)];
  };
  const cut = async (): Promise<void> => {
    const size = random.below(model.length + 1);
    await resize(inode, size);
    model = model.slice(0, size);
  };
  const grow = async (): Promise<void> => {
    const size = model.length + random.below(40_000);
    await resize(inode, size);
    grown(size);
  };
  const write = async (): Promise<void> => {
    const ids = await reserve(session, 6);
    const start = random.below(Math.ceil((model.length + 1) / BLOCK_SIZE) + 1);
    const blocks = ids.map((block, position) => {
      const index = start + position;
      const from = random.below(BLOCK_SIZE);
      const length = 1 + random.below(BLOCK_SIZE - from);
      return { block, index, offset: index * BLOCK_SIZE + from, length };
    });
    await commit(session, {
      inode,
      blocks: blocks.map(({ block, index, length }) => ({
        ...blockAt(block, index),
        length,
        group: groupOf(0, index),
      })),
      extents: blocks.map(({ block, offset, length }) => ({
        block,
        offset,
        length,
        blockOffset: 0,
      })),
      size: null,
      mtimeNs: null,
      expectedSize: null,
    });
    for (const { block, offset, length } of blocks) {
      grown(offset + length);
      for (let at = 0; at < length; at++) model[offset + at] = `${block}:${at}`;
    }
  };
  const punch = async (): Promise<void> => {
    const offset = random.below(model.length + 100);
    const body = { inode, offset, length: random.below(9000), minSize: 0 };
    const { done } = await session.change(content.punch, operations.punch, body);
    for (let at = offset; at < Math.min(offset + done, model.length); at++) model[at] = undefined;
  };
  const copy = async (): Promise<void> => {
    if (model.length < 2) return;
    const length = 1 + random.below(Math.min(3000, Math.floor(model.length / 2)));
    const sourceOffset = random.below(model.length - length);
    const offset = sourceOffset + length + random.below(model.length);
    const body = { source: inode, sourceOffset, inode, offset, length };
    const { done } = await session.change(content.clone, operations.clone, body);
    grown(done === 0 ? 0 : offset + done);
    for (let at = 0; at < done; at++) model[offset + at] = model[sourceOffset + at];
  };
  const work = async (): Promise<void> => {
    for (let left = random.below(3); left > 0; left--) await step(inode);
    await harness.run(operations.reclaimStep({ nowNs: harness.nowNs }, random.below(300)));
  };
  await resize(inode, 10_000);
  model = model.slice(0, 10_000);
  expect(isPending(inode)).toBe(true);
  const choices = [cut, cut, grow, write, write, punch, copy, work];
  for (let turn = 0; turn < 40; turn++) {
    await choices[random.below(choices.length)]!();
    expect(Bun.deepEquals(await shown(inode), model)).toBe(true);
    expect(brokenInvariants(harness.store.database, harness.settings)).toEqual([]);
  }
  while (await step(inode));
  const covered = model.filter((cell) => cell !== undefined).length;
  expect((await session.ask(operations.getattr, { inode })).attributes.allocated).toBe(covered);
  expect(harness.primitives["inode.get"](inode)?.allocated).toBe(covered);
}, 60_000);
