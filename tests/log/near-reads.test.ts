// Many blocks read together give the same as the blocks read one by one.

import { afterEach, expect, test } from "bun:test";
import { readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BlockLog, BlockToPut } from "../../src/log/log.ts";
import { blockOffset } from "../../src/log/record.ts";
import {
  cleanUp,
  expectError,
  flipBit,
  makeBlock,
  openTestLog,
  segmentCount,
  temporaryFolder,
} from "./support.ts";

afterEach(cleanUp);

/** Header and list of a block of one piece. */
const headBytes = blockOffset(4096);

type Wanted = Pick<BlockToPut, "block" | "length">;

/** What is given of these blocks: for each the bytes, or undefined. */
async function near(log: BlockLog, wanted: readonly Wanted[]): Promise<(Buffer | undefined)[]> {
  const target = Buffer.alloc(wanted.reduce((sum, { length }) => sum + length, 0));
  const given = await log.getNear(wanted, target);
  let end = 0;
  return wanted.map(({ length }, at) => {
    end += length;
    return given[at] ? target.subarray(end - length, end) : undefined;
  });
}

const isGiven = (given: readonly (Buffer | undefined)[]): boolean[] =>
  given.map((bytes) => bytes !== undefined);

/** The segment in which a block lies, and where its bytes begin there. */
function placeOf(directory: string, { bytes }: BlockToPut): { file: string; at: number } {
  for (const name of readdirSync(directory).filter((each) => each.endsWith(".seg"))) {
    const file = join(directory, name);
    const at = readFileSync(file).indexOf(bytes.subarray(0, 64));
    if (at >= 0) return { file, at };
  }
  throw new Error("no segment holds the block");
}

test("neighbours are given, in whatever order and segments they lie", async () => {
  const { log, directory } = await openTestLog(temporaryFolder(), { segmentBytes: 256 * 1024 });
  const blocks = Array.from({ length: 200 }, (_, at) =>
    makeBlock(at + 1, 64 + ((at * 997) % 5000)),
  );
  for (let at = 0; at < blocks.length; at += 50) {
    await Promise.all(blocks.slice(at, at + 50).map((block) => log.put(block)));
  }
  expect(segmentCount(directory)).toBeGreaterThan(1);
  const rank = ({ block }: BlockToPut): number => (Number(block) * 77) % 211;
  const mixed = blocks.toSorted((one, other) => rank(one) - rank(other));
  const given = await near(log, mixed);
  expect(isGiven(given)).toEqual(mixed.map(() => true));
  for (const [at, { bytes }] of mixed.entries()) expect(given[at]!.equals(bytes)).toBe(true);
});

test("what is rotten, not held or far from all others is not given, and harms none beside it", async () => {
  const { log, directory, corruptions } = await openTestLog(temporaryFolder());
  const blocks = [1, 2, 3, 4].map((id) => makeBlock(id, 4096));
  const far = makeBlock(6, 4096);
  for (const block of [...blocks, makeBlock(5, 200_000), far]) await log.put(block);
  const rotten = placeOf(directory, blocks[1]!);
  flipBit(rotten.file, rotten.at);
  const [one, two, three, four] = blocks as [BlockToPut, BlockToPut, BlockToPut, BlockToPut];
  const given = await near(log, [makeBlock(99, 10), one, two, far, three, four]);
  expect(isGiven(given)).toEqual([false, true, false, false, true, true]);
  expect(corruptions).toEqual([]); // it is told when the block is read by itself
  expect(given[4]!.equals(three.bytes)).toBe(true);
});

test("what is held with another length is not given, and none of its bytes are", async () => {
  const { log } = await openTestLog(temporaryFolder());
  const blocks = [1, 2, 3, 4].map((id) => makeBlock(id, 1000));
  for (const block of blocks) await log.put(block);
  const wanted = blocks.map(({ block }, at) => ({ block, length: [1000, 999, 1001, 1000][at]! }));
  const target = new Uint8Array(4000);
  expect(await log.getNear(wanted, target)).toEqual([true, false, false, true]);
  expect(target.subarray(1000, 3000)).toEqual(new Uint8Array(2000));
});

test("bytes of another record are not given for a block, however right they are there", async () => {
  const { log, directory } = await openTestLog(temporaryFolder());
  const blocks = [1, 2, 3].map((id) => makeBlock(id, 4096));
  for (const block of blocks) await log.put(block);
  const { file, at } = placeOf(directory, blocks[1]!);
  const other = placeOf(directory, blocks[2]!);
  const recordBytes = other.at - at;
  const content = readFileSync(file);
  content.copyWithin(at - headBytes, other.at - headBytes, other.at - headBytes + recordBytes);
  writeFileSync(file, content);
  expect(isGiven(await near(log, blocks))).toEqual([true, false, true]);
});

test("a block whose header alone is damaged is given: what was stored is still there", async () => {
  const { log, directory } = await openTestLog(temporaryFolder());
  const blocks = [1, 2].map((id) => makeBlock(id, 4096));
  for (const block of blocks) await log.put(block);
  const { file, at } = placeOf(directory, blocks[0]!);
  flipBit(file, at - headBytes + 40);
  const given = await near(log, blocks);
  expect(given[0]!.equals(blocks[0]!.bytes)).toBe(true);
  expect(isGiven(given)).toEqual([true, true]);
});

test("a copy that was found rotten is left out, until a read by itself has found it right", async () => {
  const { log, directory } = await openTestLog(temporaryFolder());
  const blocks = [70_000, 4096, 70_000].map((length, at) => makeBlock(at + 1, length)); // of two pieces and of one
  for (const block of blocks) await log.put(block);
  const rotten = blocks[1]!;
  const { file, at } = placeOf(directory, rotten);
  const inHeader = at - headBytes + 40;
  flipBit(file, inHeader); // the bytes themselves are right
  await expectError("badChecksum", log.get(rotten.block, 0, 4096));
  expect(isGiven(await near(log, blocks))).toEqual([true, false, true]);
  expect(log.stats().blocks).toBe(2);
  flipBit(file, inHeader);
  (await log.get(rotten.block, 0, 4096)).release();
  const given = await near(log, blocks);
  expect(isGiven(given)).toEqual([true, true, true]);
  for (const [row, { bytes }] of blocks.entries()) expect(given[row]!.equals(bytes)).toBe(true);
});

test("what the file does not hold any more is not given out of the memory of a read before", async () => {
  const { log, directory } = await openTestLog(temporaryFolder());
  const blocks = [1, 2].map((id) => makeBlock(id, 4096));
  for (const block of blocks) await log.put(block);
  expect(isGiven(await near(log, blocks))).toEqual([true, true]);
  const { file, at } = placeOf(directory, blocks[1]!);
  truncateSync(file, at);
  expect(isGiven(await near(log, blocks))).toEqual([true, false]);
});

test("a closed log gives nothing", async () => {
  const { log } = await openTestLog(temporaryFolder());
  const blocks = [1, 2].map((id) => makeBlock(id, 100));
  for (const block of blocks) await log.put(block);
  await log.close();
  expect(await near(log, blocks)).toEqual([undefined, undefined]);
});
