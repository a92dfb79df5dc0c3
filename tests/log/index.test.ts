// The index against a model that is as simple as can be: a Map, sorted whenever somebody asks for an order.

import { describe, expect, test } from "bun:test";
import { blockId, lsn, type BlockId } from "../../src/base/ids.ts";
import { MAX_BLOCK_BYTES } from "../../src/base/limits.ts";
import { seededRandom, type Random } from "../../src/base/random.ts";
import { CompactIndex, type BlockIndex, type IndexEntry } from "../../src/log/index.ts";
import { Locations, PAGE_ENTRIES, splitId } from "../../src/log/index-page.ts";

/** More a block than this, and the index of a server with many millions of them is too large. */
const BYTES_PER_BLOCK = 48;
/** What a page costs besides its array: two objects and what the allocator adds. */
const PAGE_OVERHEAD_BYTES = 300;

class Model {
  readonly entries = new Map<BlockId, IndexEntry>();

  sorted(): IndexEntry[] {
    return [...this.entries.values()].sort((a, b) => (a.block < b.block ? -1 : 1));
  }

  listAfter(after: bigint, limit: number): IndexEntry[] {
    return this.sorted()
      .filter((entry) => entry.block > after && !entry.rotten)
      .slice(0, limit);
  }

  idsIn(first: bigint, count: number): BlockId[] {
    const ids = this.sorted().map((entry) => entry.block);
    return ids.filter((block) => block >= first && block < first + BigInt(count));
  }
}

/** An entry with nothing left to chance but `random`, over the whole range of each field. */
function entryOf(block: bigint, random: Random): IndexEntry {
  return {
    block: blockId(block),
    length: 1 + random.below(random.below(8) === 0 ? MAX_BLOCK_BYTES : 100),
    checksum: random.id64() * 2n + 1n,
    segment: random.below(8) === 0 ? 10 ** 12 - 1 - random.below(5) : 1 + random.below(9),
    position: random.below(2 ** 31) * 8,
    lsn: lsn(random.id64() * 2n + 1n),
    rotten: random.below(20) === 0,
  };
}

function expectSame(index: BlockIndex, model: Model): void {
  const all = model.sorted();
  expect(index.size).toBe(all.length);
  expect(index.bytes).toBe(all.reduce((sum, entry) => sum + entry.length, 0));
  expect(index.rotten).toBe(all.filter((entry) => entry.rotten).length);
  expect(index.listAfter(blockId(0n), Infinity)).toEqual(all.filter((entry) => !entry.rotten));
  expect(index.idsIn(blockId(0n), 2 ** 65)).toEqual(all.map((entry) => entry.block));
  for (const entry of all) expect(index.get(entry.block)).toEqual(entry);
  expectLocated(index, all);
}

/** Where records lie is told as `get` tells it, of blocks that are held right with the length named, and of no others. */
function expectLocated(index: BlockIndex, entries: readonly IndexEntry[]): void {
  const found = new Locations(entries.length);
  for (const [row, { block, length, rotten }] of entries.entries()) {
    expect(index.locate(block, length + 1, found, row)).toBe(false);
    expect(found.positions[row]).toBe(0);
    expect(index.locate(block, length, found, row)).toBe(!rotten);
  }
  for (const [row, { segment, position, checksum, rotten }] of entries.entries()) {
    if (rotten) continue;
    const words = splitId(checksum, { high: 0, low: 0 });
    expect(found.segments[row]).toBe(segment);
    expect(found.positions[row]).toBe(position);
    expect([...found.checksums.subarray(2 * row, 2 * row + 2)]).toEqual([words.high, words.low]);
  }
  const held = new Set<bigint>(entries.map(({ block }) => block));
  let free = 2n ** 64n - 1n;
  while (held.has(free)) free--;
  expect(index.locate(blockId(free), 1, found, 0)).toBe(false);
}

/** One random change or question, of both. `ids` is how many different ids there are. */
function step(index: BlockIndex, model: Model, random: Random, newId: () => bigint): void {
  const block = blockId(newId());
  const held = model.entries.get(block);
  switch (random.below(10)) {
    case 0:
    case 1:
    case 2:
    case 3: {
      const entry = entryOf(block, random);
      index.set(entry);
      model.entries.set(block, entry);
      break;
    }
    case 4:
    case 5:
    case 6:
      index.delete(block);
      model.entries.delete(block);
      break;
    case 7: {
      if (held === undefined) return;
      const rotten = random.below(2) === 0;
      index.setRotten(held, rotten);
      model.entries.set(block, { ...held, rotten });
      // A word about a record that is not the live one changes nothing.
      index.setRotten({ ...held, position: held.position ^ 8 }, !rotten);
      expect(index.isCurrent(held)).toBe(true);
      expect(index.isCurrent({ ...held, segment: held.segment + 1 })).toBe(false);
      break;
    }
    case 8: {
      const limit = random.below(40);
      expect(index.listAfter(block, limit)).toEqual(model.listAfter(block, limit));
      break;
    }
    default: {
      const count = random.below(300);
      expect(index.idsIn(block, count)).toEqual(model.idsIn(block, count));
    }
  }
  expect(index.get(block)).toEqual(model.entries.get(block));
  expect(index.size).toBe(model.entries.size);
}

describe("the index", () => {
  test("is what a Map is, whatever happens in whatever order", () => {
    const seed = Number(
      process.env["DFS_TEST_SEED"] ?? crypto.getRandomValues(new Uint32Array(1))[0],
    );
    console.log(`seed ${seed}`);
    const random = seededRandom(seed);
    const spaces: (() => bigint)[] = [
      () => BigInt(1 + random.below(200)),
      () => (BigInt(random.below(50)) << 32n) + BigInt(random.below(30)) + 2n ** 32n - 15n,
      () => 2n ** 64n - 1n - BigInt(random.below(100)),
    ];
    for (const newId of spaces) {
      const index = new CompactIndex();
      const model = new Model();
      for (let count = 0; count < 3000; count++) step(index, model, random, newId);
      expectSame(index, model);
    }
  });

  test("stays right while pages fill, are cut, shrink and are joined, in every order of ids", () => {
    const random = seededRandom(7);
    for (const [name, ids] of orders(PAGE_ENTRIES * 6)) {
      const index = new CompactIndex();
      const model = new Model();
      for (const id of ids) {
        const entry = entryOf(id, random);
        index.set(entry);
        model.entries.set(entry.block, entry);
      }
      expectSame(index, model);
      for (const id of shuffled(random, ids).slice(0, -20)) {
        index.delete(blockId(id));
        model.entries.delete(blockId(id));
      }
      expectSame(index, model);
      for (const id of ids) index.delete(blockId(id));
      expect({ name, size: index.size, bytes: index.bytes, rotten: index.rotten }).toEqual({
        name,
        size: 0,
        bytes: 0,
        rotten: 0,
      });
      expect(index.arrayBytes).toBe(0);
    }
  });

  test("takes at most 48 bytes a block, in every order of ids, also after deletions", () => {
    const random = seededRandom(8);
    const entry = entryOf(1n, random);
    for (const [name, ids] of orders(60_000)) {
      const index = new CompactIndex();
      for (const id of ids) index.set({ ...entry, block: blockId(id) });
      const full = bytesPerBlock(index);
      for (const id of ids) if (random.below(10) > 0) index.delete(blockId(id));
      const thinned = bytesPerBlock(index);
      const small = full <= BYTES_PER_BLOCK && thinned <= BYTES_PER_BLOCK;
      expect({ name, full, thinned, small }).toEqual({ name, full, thinned, small: true });
    }
  });

  test("refuses what its words cannot hold, and holds what it held", () => {
    const index = new CompactIndex();
    const good = entryOf(5n, seededRandom(1));
    index.set(good);
    for (const wrong of [
      { position: 12 },
      { position: 2 ** 34 },
      { length: 0 },
      { length: MAX_BLOCK_BYTES + 1 },
      { segment: 2 ** 40 },
    ]) {
      expect(() => index.set({ ...good, block: blockId(4n), ...wrong })).toThrow("the index");
      expect(() => index.set({ ...good, ...wrong })).toThrow("the index");
    }
    expect(index.size).toBe(1);
    expect(index.get(blockId(5n))).toEqual(good);
  });
});

function bytesPerBlock(index: CompactIndex): number {
  return (index.arrayBytes + index.pageCount * PAGE_OVERHEAD_BYTES) / index.size;
}

/** `count` ids as they come to a server: one client, an opening, many clients, chance. */
function orders(count: number): [string, bigint[]][] {
  const rising = Array.from({ length: count }, (_, at) => BigInt(at + 1));
  const runs = 16;
  const interleaved = rising.map((_, at) => BigInt((at % runs) * count + Math.floor(at / runs)));
  const gaps = rising.map((id) => id * 4n);
  return [
    ["rising", rising],
    ["falling", rising.toReversed()],
    ["interleaved", interleaved.map((id) => id + 1n)],
    ["interleaved, falling", interleaved.map((id) => id + 1n).toReversed()],
    ["shuffled", shuffled(seededRandom(9), gaps)],
  ];
}

function shuffled(random: Random, ids: readonly bigint[]): bigint[] {
  const result = [...ids];
  for (let at = result.length - 1; at > 0; at--) {
    const other = random.below(at + 1);
    [result[at], result[other]] = [result[other]!, result[at]!];
  }
  return result;
}
