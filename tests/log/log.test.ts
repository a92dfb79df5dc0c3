// The log as its owner sees it: put, get, delete, list, figures, and all of it again after a reopening.

import { afterEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { PIECE_BYTES } from "../../src/base/limits.ts";
import { blockId } from "../../src/base/ids.ts";
import { BufferPool } from "../../src/log/buffers.ts";
import {
  cleanUp,
  close,
  copyOf,
  expectError,
  expectHeld,
  expectNotHeld,
  flipBit,
  idsOf,
  kindsOf,
  findingsOf,
  makeBlock,
  openTestLog,
  segmentCount,
  segmentFile,
  temporaryFolder,
} from "./support.ts";

afterEach(cleanUp);

const none = blockId(0n);

describe("blocks", () => {
  const lengths = [1, 7, 8, 4096, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 ** 20, 2 ** 24];

  test.each(lengths)("of %d bytes come back whole, also after a reopening", async (length) => {
    const first = await openTestLog(temporaryFolder());
    const block = makeBlock(5, length);
    await first.log.put(block);
    await expectHeld(first.log, block);
    await close(first);
    const second = await openTestLog(first.directory);
    await expectHeld(second.log, block);
    expect(second.corruptions).toEqual([]);
  });

  test("are not there before they are put nor after they are deleted", async () => {
    const { log } = await openTestLog(temporaryFolder());
    await expectNotHeld(log, 1);
    await log.put(makeBlock(1, 100));
    expect(await log.delete([blockId(1n), blockId(2n)])).toBe(1);
    await expectNotHeld(log, 1);
    expect(await log.delete([blockId(1n)])).toBe(0);
  });

  test("can be put again after they were deleted", async () => {
    const first = await openTestLog(temporaryFolder());
    await first.log.put(makeBlock(1, 100));
    await first.log.delete([blockId(1n)]);
    const again = makeBlock(1, 200, 9);
    await first.log.put(again);
    await close(first);
    const second = await openTestLog(first.directory);
    await expectHeld(second.log, again);
  });

  test("are deleted by ranges of ids, small and vast", async () => {
    const first = await openTestLog(temporaryFolder());
    for (let id = 1; id <= 20; id++) await first.log.put(makeBlock(id, 10));
    expect(await first.log.delete([], [{ first: blockId(3n), count: 4 }])).toBe(4);
    expect(idsOf(first.log)).toEqual([1, 2, ...Array.from({ length: 14 }, (_, at) => at + 7)]);
    const vast = { first: blockId(10n), count: 2 ** 32 - 1 };
    expect(await first.log.delete([blockId(11n)], [vast])).toBe(11);
    expect(idsOf(first.log)).toEqual([1, 2, 7, 8, 9]);
    await close(first);
    const second = await openTestLog(first.directory);
    expect(idsOf(second.log)).toEqual([1, 2, 7, 8, 9]);
  });

  test("more than fit one tombstone are deleted by several", async () => {
    const first = await openTestLog(temporaryFolder());
    const count = 9000;
    await Promise.all(
      Array.from({ length: count }, (_, at) => first.log.put(makeBlock(at + 1, 1))),
    );
    expect(await first.log.delete([], [{ first: blockId(1n), count: count - 1 }])).toBe(count - 1);
    await close(first);
    expect(kindsOf(findingsOf(first.directory)).filter((kind) => kind === "tombstone").length).toBe(
      2,
    );
    const second = await openTestLog(first.directory);
    expect(idsOf(second.log)).toEqual([count]);
  });
});

describe("ranges", () => {
  test("bring the whole pieces that they touch", async () => {
    const { log } = await openTestLog(temporaryFolder());
    const block = makeBlock(1, 3 * PIECE_BYTES + 1000);
    await log.put(block);
    const cases = [
      { offset: 0, length: 1, from: 0, to: 1 },
      { offset: PIECE_BYTES - 1, length: 2, from: 0, to: 2 },
      { offset: PIECE_BYTES, length: PIECE_BYTES, from: 1, to: 2 },
      { offset: 2 * PIECE_BYTES + 5, length: PIECE_BYTES, from: 2, to: 4 },
      { offset: 3 * PIECE_BYTES + 999, length: 1, from: 3, to: 4 },
    ];
    for (const { offset, length, from, to } of cases) {
      const range = await log.get(block.block, offset, length);
      const wanted = block.bytes.subarray(from * PIECE_BYTES, to * PIECE_BYTES);
      expect(Buffer.compare(range.bytes, wanted)).toBe(0);
      expect(Buffer.compare(range.pieces, block.pieces)).toBe(0);
      expect(range.blockLength).toBe(block.length);
      range.release();
    }
  });

  test("outside the block are refused", async () => {
    const { log } = await openTestLog(temporaryFolder());
    const { block } = makeBlock(1, 1000);
    await log.put(makeBlock(1, 1000));
    await expectError("invalid", log.get(block, 0, 1001));
    await expectError("invalid", log.get(block, 1000, 1));
    await expectError("invalid", log.get(block, 10, 0));
  });

  test("are verified piece by piece: rot elsewhere in the block does not matter", async () => {
    const { log, directory, corruptions } = await openTestLog(temporaryFolder());
    const block = makeBlock(1, 4 * PIECE_BYTES);
    await log.put(block);
    flipBit(segmentFile(directory).path, 64 + 120 + 32 + 2 * PIECE_BYTES + 77);
    (await log.get(block.block, 0, 2 * PIECE_BYTES)).release();
    (await log.get(block.block, 3 * PIECE_BYTES, 10)).release();
    expect(corruptions).toEqual([]);
    const error = await expectError("badChecksum", log.get(block.block, 2 * PIECE_BYTES, 1));
    expect(error.details).toEqual({ block: block.block });
    expect(corruptions).toMatchObject([{ kind: "recordBody", block: block.block, from: 64 }]);
  });
});

describe("putting an id that is held", () => {
  test("with the same bytes succeeds and writes nothing", async () => {
    const { log } = await openTestLog(temporaryFolder());
    const sequence = await log.put(makeBlock(1, 5000));
    const { segmentBytes } = log.stats();
    expect(await log.put(makeBlock(1, 5000))).toBe(sequence);
    expect(log.stats().segmentBytes).toBe(segmentBytes);
  });

  test("with other bytes is refused", async () => {
    const { log } = await openTestLog(temporaryFolder());
    await log.put(makeBlock(1, 5000));
    await expectError("conflict", log.put(makeBlock(1, 5000, 1)));
    await expectError("conflict", log.put(makeBlock(1, 5001)));
    await expectHeld(log, makeBlock(1, 5000));
  });

  test("at the same time: the first wins, the same bytes succeed, others are refused", async () => {
    const { log } = await openTestLog(temporaryFolder());
    const outcomes = await Promise.allSettled([
      log.put(makeBlock(1, 5000)),
      log.put(makeBlock(1, 5000)),
      log.put(makeBlock(1, 5000, 1)),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected"]);
    await expectHeld(log, makeBlock(1, 5000));
  });

  test.each(["the same", "other"])("replaces a rotten copy by %s bytes", async (which) => {
    const first = await openTestLog(temporaryFolder());
    await first.log.put(makeBlock(1, 5000));
    await first.log.put(makeBlock(2, 10));
    flipBit(segmentFile(first.directory).path, 64 + 120 + 8 + 4321);
    const good = makeBlock(1, 5000, which === "other" ? 1 : 0);
    await first.log.put(good);
    await expectHeld(first.log, good);
    expect(first.log.stats().badReplicas).toBe(1);
    await close(first);
    const second = await openTestLog(first.directory);
    await expectHeld(second.log, good);
    await second.log.delete([good.block]);
    await close(second);
    const third = await openTestLog(first.directory);
    expect(idsOf(third.log)).toEqual([2]);
  });

  test("a copy found rotten is not listed until it has been replaced", async () => {
    const { log, directory } = await openTestLog(temporaryFolder());
    const block = makeBlock(1, 5000);
    await log.put(block);
    await log.put(makeBlock(2, 10));
    flipBit(segmentFile(directory).path, 64 + 120 + 8);
    await expectError("badChecksum", log.get(block.block, 0, 1));
    expect(idsOf(log)).toEqual([2]);
    expect(log.stats().blocks).toBe(1);
    await log.put(block);
    expect(idsOf(log)).toEqual([1, 2]);
  });
});

describe("listing", () => {
  test("goes by rising id, page by page, and sees what changes meanwhile", async () => {
    const { log } = await openTestLog(temporaryFolder());
    for (const id of [50, 3, 41, 7, 2 ** 40]) await log.put(makeBlock(id, id % 100));
    const first = log.list(none, 2);
    expect(first).toMatchObject({ blocks: [{ block: 3n }, { block: 7n }], more: true });
    await log.put(makeBlock(8, 5));
    await log.delete([blockId(41n)]);
    const second = log.list(blockId(7n), 3);
    expect(second.blocks.map(({ block }) => block)).toEqual([8n, 50n, 1099511627776n].map(blockId));
    expect(second.more).toBe(false);
    expect(log.list(blockId(2n ** 40n), 3)).toEqual({ blocks: [], more: false });
    await log.put(makeBlock(41, 5));
    expect(idsOf(log)).toEqual([3, 7, 8, 41, 50, 2 ** 40]);
  });

  test("tells length and checksum", async () => {
    const { log } = await openTestLog(temporaryFolder());
    const { block, length, checksum } = makeBlock(1, 77);
    await log.put(makeBlock(1, 77));
    expect(log.list(none, 10)).toEqual({ blocks: [{ block, length, checksum }], more: false });
  });
});

describe("the log", () => {
  test("numbers its records in rising order, across segments and reopenings", async () => {
    const first = await openTestLog(temporaryFolder(), { segmentBytes: 4096 });
    const numbers: bigint[] = [];
    for (let id = 1; id <= 10; id++) numbers.push(await first.log.put(makeBlock(id, 1000)));
    await close(first);
    const second = await openTestLog(first.directory, { segmentBytes: 4096 });
    numbers.push(await second.log.put(makeBlock(11, 1000)));
    for (let at = 1; at < numbers.length; at++) {
      expect(numbers[at]! > numbers[at - 1]!).toBe(true);
    }
  });

  test("knows the highest id that it met, also when the block is gone", async () => {
    const first = await openTestLog(temporaryFolder());
    await first.log.put(makeBlock(900, 1));
    await first.log.put(makeBlock(30, 1));
    await first.log.delete([blockId(900n)]);
    expect(first.log.highestBlock).toBe(blockId(900n));
    await close(first);
    const second = await openTestLog(first.directory);
    expect(second.log.highestBlock).toBe(blockId(900n));
  });

  test("tells its figures", async () => {
    const { log } = await openTestLog(temporaryFolder(), { segmentBytes: 10_000 });
    for (let id = 1; id <= 5; id++) await log.put(makeBlock(id, 4000));
    await log.delete([blockId(1n)]);
    const stats = log.stats();
    expect(stats).toMatchObject({ blocks: 4, blockBytes: 16_000, badReplicas: 0, full: false });
    expect(stats.segments).toBeGreaterThanOrEqual(3);
    expect(stats.segmentBytes).toBeGreaterThan(5 * 4128);
    expect(stats.syncs).toBeGreaterThanOrEqual(6);
    expect(stats.capacityBytes).toBe(stats.availableBytes + stats.segmentBytes);
  });

  test("rolls to a new segment, each closed by its seal", async () => {
    const first = await openTestLog(temporaryFolder(), { segmentBytes: 10_000 });
    for (let id = 1; id <= 7; id++) await first.log.put(makeBlock(id, 4000));
    await close(first);
    const count = segmentCount(first.directory);
    const kinds = Array.from({ length: count }, (_, place) =>
      kindsOf(findingsOf(first.directory, place)),
    ).filter((each) => each.length > 0);
    expect(kinds).toEqual([
      ["put", "put", "seal"],
      ["put", "put", "seal"],
      ["put", "put", "seal"],
      ["put", "seal"],
    ]);
    const second = await openTestLog(first.directory, { segmentBytes: 10_000 });
    for (let id = 1; id <= 7; id++) await expectHeld(second.log, makeBlock(id, 4000));
  });

  test("leaves exactly the room of a seal, and fills a segment to its last byte", async () => {
    const record = 120 + 8 + 1000;
    const segmentBytes = 64 + 2 * record + 120; // two records and exactly one header left
    const first = await openTestLog(temporaryFolder(), { segmentBytes });
    for (let id = 1; id <= 3; id++) await first.log.put(makeBlock(id, 1000));
    expect(Bun.file(segmentFile(first.directory).path).size).toBe(segmentBytes);
    await close(first);
    expect(kindsOf(findingsOf(first.directory))).toEqual(["put", "put", "seal"]);
    const second = await openTestLog(first.directory, { segmentBytes });
    expect(idsOf(second.log)).toEqual([1, 2, 3]);
  });

  test("rolls when a record would fit but its seal would not", async () => {
    const segmentBytes = 64 + 2 * (120 + 8 + 1000) + 119;
    const first = await openTestLog(temporaryFolder(), { segmentBytes });
    for (let id = 1; id <= 3; id++) await first.log.put(makeBlock(id, 1000));
    await close(first);
    expect(kindsOf(findingsOf(first.directory))).toEqual(["put", "seal"]);
    for (let place = 0; place < segmentCount(first.directory); place++) {
      const { size } = Bun.file(segmentFile(first.directory, place).path);
      expect(size).toBeLessThanOrEqual(segmentBytes);
    }
  });

  test("puts a record that is larger than a segment alone into one", async () => {
    const first = await openTestLog(temporaryFolder(), { segmentBytes: 4096 });
    for (let id = 1; id <= 3; id++) await first.log.put(makeBlock(id, 20_000));
    await close(first);
    expect(kindsOf(findingsOf(first.directory))).toEqual(["put", "seal"]);
    const second = await openTestLog(first.directory, { segmentBytes: 4096 });
    for (let id = 1; id <= 3; id++) await expectHeld(second.log, makeBlock(id, 20_000));
  });

  test("reopens the segment that was being written when the process was killed", async () => {
    const running = await openTestLog(temporaryFolder());
    await running.log.put(makeBlock(1, 1000));
    const killed = copyOf(running.directory);
    const second = await openTestLog(killed);
    await second.log.put(makeBlock(2, 1000));
    await close(second);
    expect(segmentCount(killed)).toBe(1);
    expect(kindsOf(findingsOf(killed))).toEqual(["put", "put", "seal"]);
    const third = await openTestLog(killed);
    for (const id of [1, 2]) await expectHeld(third.log, makeBlock(id, 1000));
    expect(third.corruptions).toEqual([]);
  });

  test("an empty one can be closed and opened again", async () => {
    const first = await openTestLog(temporaryFolder());
    await close(first);
    const second = await openTestLog(first.directory);
    expect(idsOf(second.log)).toEqual([]);
    expect(second.corruptions).toEqual([]);
  });

  test("removes segments that were never finished, and minds no other files", async () => {
    const folder = temporaryFolder();
    writeFileSync(`${folder}/000000000001-0123456789abcdef.seg.new`, "half a header");
    writeFileSync(`${folder}/notes.txt`, "hands off");
    const { log } = await openTestLog(folder);
    await log.put(makeBlock(1, 10));
    const names = await Array.fromAsync(new Bun.Glob("*").scan({ cwd: folder }));
    expect(names.filter((name) => name.endsWith(".new"))).toEqual([]);
    expect(names).toContain("notes.txt");
  });

  test("keeps no more than a few segments open, however many are read", async () => {
    const { log } = await openTestLog(temporaryFolder(), { segmentBytes: 4096 });
    for (let id = 1; id <= 300; id++) await log.put(makeBlock(id, 4000));
    for (let id = 1; id <= 300; id++) await expectHeld(log, makeBlock(id, 4000));
    const open = await Array.fromAsync(
      new Bun.Glob("*").scan({ cwd: "/proc/self/fd", onlyFiles: false }),
    );
    expect(open.length).toBeLessThan(250);
  });
});

describe("BufferPool", () => {
  test("hands a buffer that was given back to the next one, and none that is in use", () => {
    const pool = new BufferPool();
    const first = pool.take(5000);
    const second = pool.take(5000);
    expect(first.bytes.length).toBe(5000);
    expect(second.bytes.buffer).not.toBe(first.bytes.buffer);
    first.release();
    const third = pool.take(8000);
    expect(third.bytes.buffer).toBe(first.bytes.buffer);
    expect(third.bytes.length).toBe(8000);
    expect(() => first.release()).toThrow("twice");
  });
});
