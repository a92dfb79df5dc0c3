// Read-ahead of a handle: each block is fetched once, however the reads of it fall together in time.

import { expect, spyOn, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { blockId, serverId } from "../../src/base/ids.ts";
import { systemRandom } from "../../src/base/random.ts";
import type { BlockReader } from "../../src/client/block-reader.ts";
import { ByteBudget } from "../../src/client/budget.ts";
import { FileMap } from "../../src/client/file-map.ts";
import { FileReader } from "../../src/client/file-reader.ts";
import { PrefetchingReader } from "../../src/client/prefetch.ts";
import { doneWith, readMemory } from "../../src/client/read-memory.ts";
import { frameMemory } from "../../src/protocol/frame-memory.ts";
import type { MappedExtent } from "../../src/protocol/messages/common.ts";

const BLOCK = 64 * 1024;
const BLOCKS = 32;

function extent(index: number): MappedExtent {
  return {
    offset: index * BLOCK,
    length: BLOCK,
    block: blockId(BigInt(index + 1)),
    blockOffset: 0,
    blockLength: BLOCK,
    checksum: 0n,
    servers: [serverId(1)],
  };
}

/** A file of `BLOCKS` blocks, the bytes of each being its number, and the blocks that were fetched of it. */
function file(): { readonly source: PrefetchingReader; readonly fetched: number[] } {
  const fetched: number[] = [];
  const blocks: Pick<BlockReader, "read"> = {
    read: async ({ extent: { block }, length }) => {
      fetched.push(Number(block));
      await new Promise(setImmediate);
      const bytes = readMemory(length).fill(Number(block));
      return { bytes, right: [serverId(1)], failures: [] };
    },
  };
  const map = new FileMap(() => {
    const extents = Array.from({ length: BLOCKS }, (_, index) => extent(index));
    return Promise.resolve({ version: 1n, size: BLOCKS * BLOCK, extents, more: false });
  });
  const options = {
    blocks: blocks as BlockReader,
    retryTimeoutMs: 5_000,
    mayComeBack: () => false,
    onMissingReplica: () => undefined,
    onDoubt: () => undefined,
    readQuorum: () => 1,
    onVotes: undefined,
    clock: systemClock,
    random: systemRandom,
  };
  const reader = new FileReader(options, { path: "/file" }, map);
  return { source: new PrefetchingReader(reader, new ByteBudget(64 * BLOCK)), fetched };
}

const numbers = (fetched: readonly number[]): number[] => fetched.toSorted((a, b) => a - b);
const all = Array.from({ length: BLOCKS }, (_, index) => index + 1);

/** The number that all of the bytes are, or undefined. */
function only(bytes: Uint8Array): number | undefined {
  return bytes.every((byte) => byte === bytes[0]) ? bytes[0] : undefined;
}

test("reads that are asked for before the ones in front of them are answered fetch no block twice", async () => {
  const { source, fetched } = file();
  const reads = all.map((_, index) => source.range(index * BLOCK, BLOCK));
  expect((await Promise.all(reads)).map(only)).toEqual(all);
  expect(numbers(fetched)).toEqual(all);
  source.close();
});

test("a reader who changes the bytes that it was given does not change what the next one gets", async () => {
  const { source } = file();
  await source.range(0, BLOCK);
  const first = await source.range(BLOCK, BLOCK);
  const half = await source.range(2 * BLOCK, BLOCK / 2);
  first.fill(255);
  half.fill(255);
  await source.range(BLOCK - 4, 4);
  expect(only(await source.range(BLOCK, BLOCK))).toBe(2);
  expect(only(await source.range(2 * BLOCK, BLOCK))).toBe(3);
  source.close();
});

test("reads across the borders of blocks are put together", async () => {
  const { source } = file();
  const step = BLOCK / 2 + BLOCK;
  const reads = Array.from({ length: 20 }, (_, index) => source.range(index * step, step));
  const bytes = Buffer.concat(await Promise.all(reads));
  const expected = Buffer.concat(all.map((value) => Buffer.alloc(BLOCK, value)));
  expect(bytes.equals(expected.subarray(0, 20 * step))).toBe(true);
  source.close();
});

// A mount left all of it to the collector unless a read was just one block: some 3 MiB for a MiB that was read.
test("all memory is given back when the readers are done with what they got, and none before", async () => {
  using takes = spyOn(frameMemory, "take");
  using gives = spyOn(frameMemory, "giveBack");
  const { source } = file();
  const step = BLOCK + BLOCK / 4;
  for (let start = 0; start + 4 * step <= BLOCKS * BLOCK; start += 4 * step) {
    const offsets = [0, 1, 2, 3].map((index) => start + index * step);
    const reads = await Promise.all(offsets.map((offset) => source.range(offset, step)));
    for (const [index, bytes] of reads.entries()) {
      const wanted = Array.from(bytes, (_, at) => Math.floor((offsets[index]! + at) / BLOCK) + 1);
      expect(Buffer.compare(bytes, Uint8Array.from(wanted))).toBe(0);
    }
    for (const bytes of reads) doneWith(bytes);
  }
  source.close();
  await new Promise(setImmediate);
  const lent = new Set(takes.mock.results.map(({ value }) => value as Uint8Array));
  for (const [buffer] of gives.mock.calls) lent.delete(buffer);
  expect(lent.size).toBe(0);
  expect(takes.mock.calls.length).toBeGreaterThan(BLOCKS);
});
