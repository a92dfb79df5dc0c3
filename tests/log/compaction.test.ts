// Compaction: space of dead records comes back, and nothing else changes.

import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { blockId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { seededRandom } from "../../src/base/random.ts";
import type { BlockLog } from "../../src/log/log.ts";
import { ASIDE_DIRECTORY } from "../../src/log/segment-copy.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { FaultDisk } from "./fault-disk.ts";
import {
  cleanUp,
  close,
  copyOf,
  editFile,
  eventually,
  expectError,
  expectHeld,
  expectNotHeld,
  findingsOf,
  flipBit,
  forgetCheckpoint,
  idsOf,
  makeBlock,
  openTestLog,
  segmentCount,
  segmentFile,
  temporaryFolder,
} from "./support.ts";

afterEach(cleanUp);

const SEGMENT_BYTES = 16 * 1024;
const SMALL = { segmentBytes: SEGMENT_BYTES };
const BLOCK_BYTES = 1000; // 13 of them fill a segment

/** Puts blocks `from` to `to`, one after the other, so that they lie in this order. */
async function putAll(log: BlockLog, from: number, to: number): Promise<void> {
  for (let id = from; id <= to; id++) await log.put(makeBlock(id, BLOCK_BYTES));
}

function ids(...list: number[]): ReturnType<typeof blockId>[] {
  return list.map((id) => blockId(BigInt(id)));
}

/** Resolves when compaction has nothing to do any more. */
function settled(log: BlockLog): Promise<void> {
  return eventually("compaction rests", () => !log.stats().compaction.running);
}

describe("space", () => {
  test("a segment that is mostly dead is emptied and deleted; its live blocks are where they were", async () => {
    const { log, directory } = await openTestLog(temporaryFolder(), SMALL);
    await putAll(log, 1, 30);
    await log.delete(ids(1, 2, 3, 4, 5, 6, 8, 9, 10));
    await eventually("one segment was emptied", () => log.stats().compaction.segments === 1);
    await settled(log);
    expect(log.stats().compaction.movedBytes).toBeGreaterThan(0);
    for (const id of [7, 11, 12, 13, 20, 30]) await expectHeld(log, makeBlock(id, BLOCK_BYTES));
    await expectNotHeld(log, 1);
    await eventually(
      "the segment is gone",
      () => !readdirSync(directory).some((name) => name.startsWith("000000000001-")),
    );
  });

  test("stays below twice the live bytes and two segments while ten times as much is overwritten", async () => {
    const seed = Number(process.env["DFS_TEST_SEED"] ?? 1117);
    console.log(`seed ${seed}`);
    const random = seededRandom(seed);
    const directory = temporaryFolder();
    const opened = await openTestLog(directory, SMALL);
    let { log } = opened;
    const live = new Set<number>();
    let next = 1;
    for (let round = 0; round < 60; round++) {
      for (let count = 0; count < 20; count++) {
        await log.put(makeBlock(next, BLOCK_BYTES));
        live.add(next++);
      }
      const order = [...live];
      const victims: number[] = [];
      while (live.size > 100) {
        const victim = order[random.below(order.length)]!;
        if (live.delete(victim)) victims.push(victim);
      }
      if (victims.length > 0) await log.delete(ids(...victims));
    }
    const bound = (each: BlockLog): number =>
      2 * (each.stats().segmentBytes - each.stats().deadBytes) + 2 * SEGMENT_BYTES;
    await eventually(
      "the log is small",
      () => !log.stats().compaction.running && log.stats().segmentBytes < bound(log),
    );
    expect(idsOf(log)).toEqual([...live].toSorted((a, b) => a - b));
    await close(opened);
    ({ log } = await openTestLog(directory, SMALL));
    expect(idsOf(log)).toEqual([...live].toSorted((a, b) => a - b));
    for (const id of live) await expectHeld(log, makeBlock(id, BLOCK_BYTES));
    await eventually(
      "the log is small",
      () => !log.stats().compaction.running && log.stats().segmentBytes < bound(log),
    );
  });

  test("tombstones do not pile up, although an old segment with one dead block stays", async () => {
    const { log } = await openTestLog(temporaryFolder(), SMALL);
    await putAll(log, 1, 13);
    await log.delete(ids(5)); // its tombstone is needed as long as the first segment is there
    for (let id = 100; id < 1000; id++) {
      await log.put(makeBlock(id, 10));
      await log.delete(ids(id));
    }
    await eventually(
      "the log is small",
      () => !log.stats().compaction.running && log.stats().segments < 8,
    );
    expect(idsOf(log)).toEqual([1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13]);
  });
});

describe("safety", () => {
  test("any moment's directory opens to the same blocks", async () => {
    const directory = temporaryFolder();
    const { log } = await openTestLog(directory, SMALL);
    await putAll(log, 1, 40);
    const gone = [1, 2, 3, 4, 5, 6, 7, 14, 15, 16, 17, 18, 19, 20];
    await log.delete(ids(...gone));
    const expected = idsOf(log);
    const copies = [copyOf(directory)];
    await eventually("compaction rests", () => {
      copies.push(copyOf(directory));
      return !log.stats().compaction.running;
    });
    copies.push(copyOf(directory));
    for (const copy of copies) {
      const again = await openTestLog(copy, SMALL);
      expect(idsOf(again.log)).toEqual(expected);
      expect(again.corruptions).toEqual([]);
      await settled(again.log);
      expect(idsOf(again.log)).toEqual(expected);
    }
  });

  test("blocks deleted, and put, while their segment is being emptied", async () => {
    const directory = temporaryFolder();
    const opened = await openTestLog(directory, SMALL);
    await putAll(opened.log, 1, 40);
    const deleting = [1, 2, 3, 4, 5, 6].map((id) => opened.log.delete(ids(id)));
    const more = [7, 8, 9, 10].map(async (id) => {
      for (let turn = 0; turn < id * 3; turn++) await Promise.resolve();
      await opened.log.delete(ids(id));
    });
    await Promise.all([...deleting, ...more, putAll(opened.log, 50, 60)]);
    await settled(opened.log);
    const expected = idsOf(opened.log);
    expect(expected.slice(0, 2)).toEqual([11, 12]);
    await close(opened);
    const again = await openTestLog(directory, SMALL);
    expect(idsOf(again.log)).toEqual(expected);
  });

  test("a deletion stays a deletion after its tombstone has been moved", async () => {
    const directory = temporaryFolder();
    const opened = await openTestLog(directory, SMALL);
    await putAll(opened.log, 1, 13); // segment 1 keeps living
    await putAll(opened.log, 14, 24);
    await opened.log.delete(ids(3)); // a tombstone among the blocks of segment 2
    await putAll(opened.log, 25, 40);
    await opened.log.delete(ids(14, 15, 16, 17, 18, 19, 20));
    await eventually("one segment was emptied", () => opened.log.stats().compaction.segments === 1);
    await settled(opened.log);
    await eventually(
      "the segment is gone",
      () => !readdirSync(directory).some((name) => name.startsWith("000000000002-")),
    );
    await close(opened);
    const { log } = await openTestLog(directory, SMALL);
    await expectNotHeld(log, 3);
    await expectHeld(log, makeBlock(2, BLOCK_BYTES));
  });

  test("a segment whose last blocks are deleted while it is being emptied", async () => {
    const warnings: string[] = [];
    const logger = { ...silentLogger, warn: (line: string) => void warnings.push(line) };
    const clock = new ManualClock();
    const segmentBytes = 4 * 1024 * 1024;
    const { log, directory } = await openTestLog(temporaryFolder(), {
      segmentBytes,
      clock,
      logger,
    });
    const all = Array.from({ length: 100 }, (_, at) => at + 1);
    for (const id of all) await log.put(makeBlock(id, 60_000));
    const { path } = segmentFile(directory);
    await log.delete(ids(...all.filter((id) => id <= 60 && id % 2 === 0)));
    await eventually("some were moved", () => log.stats().compaction.running);
    await log.delete(ids(...all.filter((id) => id <= 70 && id % 2 === 1), 62, 64, 66, 68, 70));
    await eventually("the segment is gone", () => !existsSync(path));
    expect(log.stats().compaction.running).toBe(true); // it waits for its rate
    while (log.stats().compaction.running) await clock.advance(1000);
    expect(warnings).toEqual([]);
    expect(idsOf(log)).toEqual(all.filter((id) => id > 70));
  });

  test("what could not be moved for want of space is tried again after a minute", async () => {
    const disk = new FaultDisk();
    const clock = new ManualClock();
    const { log } = await openTestLog(temporaryFolder(), { ...SMALL, disk, clock });
    await putAll(log, 1, 30);
    disk.roomBytes = 250; // for a tombstone, not for a block
    await log.delete(ids(1, 2, 3, 4, 5, 6, 8, 9, 10));
    await settled(log);
    disk.roomBytes = Infinity;
    for (const id of [7, 11, 12, 13]) await expectHeld(log, makeBlock(id, BLOCK_BYTES));
    expect(log.stats().compaction.segments).toBe(0);
    await clock.advance(60_000);
    await eventually("it was emptied", () => log.stats().compaction.segments === 1);
    for (const id of [7, 11, 12, 13]) await expectHeld(log, makeBlock(id, BLOCK_BYTES));
  });

  test("what cannot be read stays, with its segment, and is tried again after an hour", async () => {
    const disk = new FaultDisk();
    const clock = new ManualClock();
    const { log, directory } = await openTestLog(temporaryFolder(), { ...SMALL, disk, clock });
    await putAll(log, 1, 30);
    const { path } = segmentFile(directory);
    disk.readError = "EIO";
    await log.delete(ids(1, 2, 3, 4, 5, 6, 8, 9, 10));
    await settled(log);
    disk.readError = undefined;
    expect(existsSync(path)).toBe(true);
    for (const id of [7, 11, 12, 13]) await expectHeld(log, makeBlock(id, BLOCK_BYTES));
    await clock.advance(60 * 60_000);
    await eventually("the segment is gone", () => !existsSync(path));
    for (const id of [7, 11, 12, 13]) await expectHeld(log, makeBlock(id, BLOCK_BYTES));
  });

  test("a rotten copy stays, with its segment, until it is put again", async () => {
    const directory = temporaryFolder();
    const opened = await openTestLog(directory, SMALL);
    await putAll(opened.log, 1, 30);
    const { path } = segmentFile(directory);
    const found = findingsOf(directory).find(
      ({ header }) => header?.kind === "put" && header.block === 7n,
    );
    flipBit(path, found!.header!.position + 500);
    await opened.log.delete(ids(1, 2, 3, 4, 5, 6, 8, 9, 10));
    await eventually("the others were moved", () => opened.log.stats().compaction.movedBytes > 0);
    await settled(opened.log);
    expect(opened.corruptions.map(({ kind, block }) => [kind, String(block)])).toEqual([
      ["recordBody", "7"],
    ]);
    await expectError("badChecksum", opened.log.get(blockId(7n), 0, 10));
    await close(opened);
    const again = await openTestLog(directory, SMALL);
    await expectError("badChecksum", again.log.get(blockId(7n), 0, 10));
    expect(existsSync(path)).toBe(true);
    await again.log.put(makeBlock(7, BLOCK_BYTES));
    await expectHeld(again.log, makeBlock(7, BLOCK_BYTES));
    await eventually("the segment is gone", () => !existsSync(path));
  });

  test("bytes that are no record are saved aside before their segment goes", async () => {
    const directory = temporaryFolder();
    const opened = await openTestLog(directory, SMALL);
    await putAll(opened.log, 1, 30);
    await close(opened);
    const { path } = segmentFile(directory);
    const found = findingsOf(directory).find(
      ({ header }) => header?.kind === "put" && header.block === 7n,
    );
    const { position } = found!.header!;
    editFile(path, (bytes) => bytes.fill(0xee, position, position + 8));
    forgetCheckpoint(directory);
    const damaged = readFileSync(path);
    const again = await openTestLog(directory, SMALL);
    expect(again.corruptions.map(({ kind }) => kind)).toEqual(["recordHeader"]);
    await again.log.delete(ids(1, 2, 3, 4, 5, 6, 8, 9));
    await eventually("the segment is gone", () => !existsSync(path));
    const [name] = readdirSync(join(directory, ASIDE_DIRECTORY));
    const aside = readFileSync(join(directory, ASIDE_DIRECTORY, name!));
    expect(aside.equals(damaged.subarray(position, position + aside.length))).toBe(true);
    expect(aside.length).toBeGreaterThan(BLOCK_BYTES);
    expect(segmentCount(directory)).toBeGreaterThan(0);
    await expectHeld(again.log, makeBlock(10, BLOCK_BYTES));
  });
});
