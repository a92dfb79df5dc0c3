// Many blocks read together give the same as the blocks read one by one.

import { afterEach, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { blockId, type BlockId } from "../../src/base/ids.ts";
import type { BlockLog, BlockToPut } from "../../src/log/log.ts";
import {
  cleanUp,
  flipBit,
  makeBlock,
  openTestLog,
  segmentCount,
  temporaryFolder,
} from "./support.ts";

afterEach(cleanUp);

/** What is given of these blocks: for each the bytes, or undefined. */
async function near(log: BlockLog, ids: readonly BlockId[]): Promise<(Buffer | undefined)[]> {
  const given: (Buffer | undefined)[] = ids.map(() => undefined);
  await log.getNear(ids, (at, bytes) => (given[at] = Buffer.from(bytes)));
  return given;
}

function damage(directory: string, { bytes }: BlockToPut): void {
  for (const name of readdirSync(directory).filter((each) => each.endsWith(".seg"))) {
    const at = readFileSync(join(directory, name)).indexOf(bytes.subarray(0, 64));
    if (at >= 0) return flipBit(join(directory, name), at);
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
  const given = await near(
    log,
    mixed.map(({ block }) => block),
  );
  expect(given.map((bytes) => bytes !== undefined)).toEqual(mixed.map(() => true));
  for (const [at, { bytes }] of mixed.entries()) expect(given[at]!.equals(bytes)).toBe(true);
});

test("what is rotten, not held or far from all others is not given, and harms none beside it", async () => {
  const { log, directory, corruptions } = await openTestLog(temporaryFolder());
  const blocks = [1, 2, 3, 4].map((id) => makeBlock(id, 4096));
  const far = makeBlock(6, 4096);
  for (const block of [...blocks, makeBlock(5, 200_000), far]) await log.put(block);
  damage(directory, blocks[1]!);
  const ids = [99n, 1n, 2n, 6n, 3n, 4n].map((id) => blockId(id));
  const given = await near(log, ids);
  expect(given.map((bytes) => bytes !== undefined)).toEqual([
    false,
    true,
    false,
    false,
    true,
    true,
  ]);
  expect(corruptions).toEqual([]); // it is told when the block is read by itself
  expect(given[4]!.equals(blocks[2]!.bytes)).toBe(true);
});

test("a closed log gives nothing", async () => {
  const { log } = await openTestLog(temporaryFolder());
  for (const id of [1, 2]) await log.put(makeBlock(id, 100));
  await log.close();
  expect(await near(log, [blockId(1n), blockId(2n)])).toEqual([undefined, undefined]);
});
