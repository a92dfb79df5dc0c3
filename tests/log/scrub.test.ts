// The scrub: rot that nobody has met yet is found, in every kind of place, whatever else happens to the log meanwhile.

import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { blockId } from "../../src/base/ids.ts";
import { seededRandom } from "../../src/base/random.ts";
import { RECORD_HEADER_BYTES } from "../../src/log/record.ts";
import { SimulatedDisk } from "../support/disk/simulated-disk.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { FaultDisk } from "./fault-disk.ts";
import {
  ids,
  LENGTH,
  MIB,
  openScrubbed,
  passing,
  putAll,
  recordOf,
  scrub,
  statusOf,
  type ScrubbedLog,
} from "./scrub-support.ts";
import {
  cleanUp,
  close,
  eventually,
  expectError,
  expectHeld,
  findingsOf,
  flipBit,
  makeBlock,
  openTestLog,
  segmentFile,
  temporaryFolder,
} from "./support.ts";

afterEach(cleanUp);

/** A sealed segment with blocks 1 to 9, of which 1 and 2 are deleted, and one with 10 to 12 that is being written. */
async function twoSegments(): Promise<ScrubbedLog> {
  const directory = temporaryFolder();
  const opened = await openTestLog(directory);
  await putAll(opened.log, 1, 9);
  await opened.log.delete(ids(1, 2));
  await close(opened);
  const again = await openScrubbed(directory);
  await putAll(again.log, 10, 12);
  return again;
}

describe("a pass", () => {
  test("over a log without damage verifies every record and reports nothing", async () => {
    const { log, corruptions, rotten } = await twoSegments();
    const status = await scrub(log);
    const records = 9 + 1 + 1 + 3; // with a tombstone and a seal
    expect(status).toMatchObject({ state: "idle", records, damage: 0, rotten: 0, rottenEver: 0 });
    expect({ corruptions, rotten }).toEqual({ corruptions: [], rotten: [] });
  });

  test("finds rot in every kind of place, says so once, and serves the rest", async () => {
    const { log, directory, corruptions, rotten } = await twoSegments();
    const { path } = segmentFile(directory);
    const active = segmentFile(directory, 1).path;
    const kinds = findingsOf(directory);
    const tombstone = kinds.find(({ header }) => header?.kind === "tombstone")!.header!.position;
    const seal = kinds.find(({ header }) => header?.kind === "seal")!.header!.position;
    flipBit(path, 20); // the segment's header
    flipBit(path, recordOf(directory, 1) + RECORD_HEADER_BYTES + 50); // a dead block
    flipBit(path, recordOf(directory, 3) + RECORD_HEADER_BYTES + 3); // a hash
    flipBit(path, recordOf(directory, 4) + RECORD_HEADER_BYTES + 500); // a block
    flipBit(path, recordOf(directory, 6) - 1); // padding of block 5
    flipBit(path, recordOf(directory, 7) + 70); // a record's header
    flipBit(path, tombstone + RECORD_HEADER_BYTES); // a tombstone's body
    flipBit(path, seal + 8);
    flipBit(active, recordOf(directory, 11, 1) + RECORD_HEADER_BYTES + 900); // in the segment being written
    const status = await scrub(log);
    const found = corruptions.map(({ kind, block }) => `${kind} ${block ?? ""}`.trim());
    expect(found.toSorted()).toEqual([
      "recordBody",
      "recordBody 1",
      "recordBody 11",
      "recordBody 3",
      "recordBody 4",
      "recordBody 5",
      "recordHeader",
      "recordHeader 7",
      "segmentHeader",
    ]);
    expect(rotten.toSorted((a, b) => a - b)).toEqual([3, 4, 7, 11]);
    expect(status).toMatchObject({ damage: 9, rotten: 4, rottenEver: 4 });
    expect(log.stats().blocks).toBe(6);
    for (const id of [5, 6, 8, 9, 10, 12]) await expectHeld(log, makeBlock(id, LENGTH));
    for (const id of [3, 4, 7, 11]) {
      await expectError("badChecksum", log.get(blockId(BigInt(id)), 0, LENGTH));
    }
  });

  test("reports damage again that is still there at the next pass, once", async () => {
    const { log, directory, corruptions, rotten } = await twoSegments();
    const { path } = segmentFile(directory);
    flipBit(path, recordOf(directory, 4) + RECORD_HEADER_BYTES + 500);
    flipBit(path, recordOf(directory, 7) + 70);
    await scrub(log);
    const first = corruptions.splice(0);
    expect(first).toHaveLength(2);
    expect(await scrub(log)).toMatchObject({ damage: 2, rotten: 2, rottenEver: 4 });
    expect(corruptions).toEqual(first);
    expect(rotten).toEqual([4, 7, 4, 7]);
  });

  test("finds a record right again that was rotten, and says no more about it", async () => {
    const { log, directory, corruptions } = await twoSegments();
    const { path } = segmentFile(directory);
    const places = [
      recordOf(directory, 4) + RECORD_HEADER_BYTES + 500,
      recordOf(directory, 7) + 70,
    ];
    for (const at of places) flipBit(path, at);
    await scrub(log);
    expect(log.stats().blocks).toBe(8);
    for (const at of places) flipBit(path, at);
    corruptions.splice(0);
    expect(await scrub(log)).toMatchObject({ damage: 0, rotten: 0, rottenEver: 2 });
    expect(log.stats().blocks).toBe(10);
    expect(corruptions).toEqual([]);
  });

  test("finds that the end of a segment is missing, and what was in it", async () => {
    const { log, directory, corruptions, rotten } = await twoSegments();
    truncateSync(segmentFile(directory).path, recordOf(directory, 8) + 300);
    const status = await scrub(log);
    expect(rotten.toSorted((a, b) => a - b)).toEqual([8, 9]);
    expect(corruptions.map(({ kind }) => kind)).toEqual(["truncated", "truncated"]);
    expect(status).toMatchObject({ rotten: 2, records: 7 + 3 });
  });

  test("finds bytes behind a seal, and a seal that was cut off", async () => {
    const { log, directory, corruptions } = await twoSegments();
    const { path } = segmentFile(directory);
    const whole = readFileSync(path);
    writeFileSync(path, Buffer.concat([whole, Buffer.alloc(16)]));
    await scrub(log);
    const file = path.slice(directory.length + 1);
    const [from, to] = [whole.length, whole.length + 16];
    expect(corruptions.splice(0)).toEqual([{ kind: "surplus", file, from, to }]);
    const seal = findingsOf(directory).find(({ header }) => header?.kind === "seal")!;
    truncateSync(path, seal.header!.position);
    await scrub(log);
    expect(corruptions.map(({ kind }) => kind)).toEqual(["truncated"]);
  });

  test("says of a sealed segment that its seal is missing", async () => {
    const first = await twoSegments();
    const { directory } = first;
    await close(first);
    const seal = findingsOf(directory).find(({ header }) => header?.kind === "seal")!;
    truncateSync(segmentFile(directory).path, seal.header!.position);
    const { log, corruptions } = await openScrubbed(directory);
    expect(corruptions.splice(0).map(({ kind }) => kind)).toEqual(["unsealed"]);
    expect(await scrub(log)).toMatchObject({ damage: 1, rotten: 0 });
    expect(corruptions.map(({ kind }) => kind)).toEqual(["unsealed"]);
  });

  test("goes over a suspect segment as far as that counts", async () => {
    const disk = new FaultDisk();
    const { log, directory, corruptions } = await openScrubbed(temporaryFolder(), { disk });
    await putAll(log, 1, 4);
    disk.truncateError = "EIO"; // what was being written stays in the file
    disk.syncErrors.push("EIO");
    await expectError("io", log.put(makeBlock(5, LENGTH)));
    await putAll(log, 6, 8);
    flipBit(segmentFile(directory).path, readFileSync(segmentFile(directory).path).length - 100);
    expect(await scrub(log)).toMatchObject({ damage: 0, records: 4 + 1 + 3 });
    expect(corruptions).toEqual([]);
  });

  test("finds a flipped bit in any byte of a log", async () => {
    const disk = new SimulatedDisk(1);
    const opened = await openTestLog("/log", { disk });
    await putAll(opened.log, 1, 3, 99);
    await opened.log.delete(ids(1));
    await close(opened);
    const again = await openScrubbed("/log", { disk });
    await again.log.put(makeBlock(9, 99));
    for (const name of disk.list("/log")!.filter((each) => each.endsWith(".seg"))) {
      const path = join("/log", name);
      for (let at = 0; at < disk.content(path).length; at++) {
        disk.flip(path, at, 1 << (at % 8));
        const { damage } = await scrub(again.log);
        disk.flip(path, at, 1 << (at % 8));
        expect({ path, at, damage }).not.toEqual({ path, at, damage: 0 });
      }
    }
    expect(await scrub(again.log)).toMatchObject({ damage: 0, rotten: 0 });
    for (const id of [2, 3, 9]) await expectHeld(again.log, makeBlock(id, 99));
  });

  test("goes over sectors that cannot be read, and finds what lies around them", async () => {
    const disk = new FaultDisk();
    const directory = temporaryFolder();
    const opened = await openTestLog(directory, { disk });
    await putAll(opened.log, 1, 60);
    await close(opened);
    const again = await openScrubbed(directory, { disk });
    const page = 4096 * 5;
    disk.badPages.add(page);
    await scrub(again.log);
    const hit = [...Array(60).keys()]
      .map((at) => at + 1)
      .filter((id) => {
        const from = recordOf(directory, id);
        return from < page + 4096 && from + RECORD_HEADER_BYTES + 8 + LENGTH > page;
      });
    expect(hit.length).toBeGreaterThan(3);
    expect(again.rotten.toSorted((a, b) => a - b)).toEqual(hit);
  });

  test("over blocks of all sizes, with rot in the last piece of the largest", async () => {
    const directory = temporaryFolder();
    const opened = await openScrubbed(directory);
    const lengths = [1, 65_535, 65_536, 65_537, MIB, 3 * MIB + 5, 16 * MIB, 7];
    for (const [at, length] of lengths.entries()) await opened.log.put(makeBlock(at + 1, length));
    expect(await scrub(opened.log)).toMatchObject({ damage: 0, records: lengths.length });
    const end = recordOf(directory, 8);
    flipBit(segmentFile(directory).path, end - 100_000);
    expect(await scrub(opened.log)).toMatchObject({ damage: 1, rotten: 1 });
    expect(opened.rotten).toEqual([7]);
  });

  test("of a log in which nothing is has nothing to do", async () => {
    const { log } = await openScrubbed(temporaryFolder());
    expect(await scrub(log)).toMatchObject({ state: "idle", records: 0, totalBytes: 0 });
  });

  test("there is none without a clock", async () => {
    const { log, directory } = await openTestLog(temporaryFolder());
    expect(log.scrubber).toBeUndefined();
    expect(existsSync(join(directory, "scrub"))).toBe(false);
  });
});

describe("what reads and compaction meet", () => {
  test("a read tells of a rotten block once, until it was right again", async () => {
    const { log, directory, rotten } = await twoSegments();
    const { path } = segmentFile(directory);
    const at = recordOf(directory, 4) + RECORD_HEADER_BYTES + 500;
    flipBit(path, at);
    for (let read = 0; read < 3; read++) {
      await expectError("badChecksum", log.get(blockId(4n), 0, LENGTH));
    }
    expect(rotten).toEqual([4]);
    flipBit(path, at);
    await expectHeld(log, makeBlock(4, LENGTH));
    flipBit(path, at);
    await expectError("badChecksum", log.get(blockId(4n), 0, LENGTH));
    expect(rotten).toEqual([4, 4]);
  });

  test("compaction tells of a rotten block that it leaves where it is", async () => {
    const { log, directory, rotten } = await twoSegments();
    flipBit(segmentFile(directory).path, recordOf(directory, 9) + RECORD_HEADER_BYTES + 500);
    await log.delete(ids(3, 4, 5, 6));
    await eventually("block 9 was met", () => rotten.length > 0);
    expect(rotten).toEqual([9]);
  });
});

describe("segments that change meanwhile", () => {
  test("one that is deleted while it is being scrubbed, and one before it is", async () => {
    const clock = new ManualClock();
    const { log, directory, corruptions, warnings } = await openScrubbed(temporaryFolder(), {
      clock,
      segmentBytes: 4 * MIB,
      compactionRate: 0,
    });
    await putAll(log, 1, 24, 500_000); // three segments of 8 blocks
    await log.scrubber!.control("start", MIB);
    await passing(clock, 100, "it is inside the first", () => statusOf(log).position > MIB);
    const first = segmentFile(directory).path;
    const second = segmentFile(directory, 1).path;
    await log.delete(
      ids(
        ...Array(16)
          .keys()
          .map((at) => at + 1),
      ),
    );
    await eventually("both are gone", () => !existsSync(first) && !existsSync(second));
    await passing(clock, 100, "the pass is over", () => statusOf(log).lastPassNs > 0n);
    expect({ corruptions, warnings }).toEqual({ corruptions: [], warnings: [] });
    expect(statusOf(log).damage).toBe(0);
    const ran = statusOf(log).records;
    expect(ran).toBeGreaterThanOrEqual(9);
    expect(ran).toBeLessThan(24);
  });

  test("passes, puts, deletions and compaction at the same time find no damage", async () => {
    const seed = Number(process.env["DFS_TEST_SEED"] ?? 2203);
    console.log(`seed ${seed}`);
    const random = seededRandom(seed);
    const { log, corruptions, rotten, warnings } = await openScrubbed(temporaryFolder(), {
      segmentBytes: 64 * 1024,
    });
    const work = { ended: false, passes: 0 };
    const scrubbing = (async () => {
      for (; !work.ended; work.passes++) await scrub(log);
    })();
    const live: number[] = [];
    for (let id = 1; id <= 1500; id++) {
      await log.put(makeBlock(id, 1 + random.below(4000)));
      live.push(id);
      if (live.length > 100) await log.delete(ids(...live.splice(random.below(80), 20)));
    }
    work.ended = true;
    await scrubbing;
    expect(work.passes).toBeGreaterThan(3);
    expect({ corruptions, rotten, warnings }).toEqual({
      corruptions: [],
      rotten: [],
      warnings: [],
    });
  });

  test("one whose file has vanished: its blocks are rotten", async () => {
    const { log, directory, rotten, warnings } = await twoSegments();
    unlinkSync(segmentFile(directory).path);
    const status = await scrub(log);
    expect(rotten.toSorted((a, b) => a - b)).toEqual([3, 4, 5, 6, 7, 8, 9]);
    expect(status).toMatchObject({ rotten: 7, records: 3 });
    expect(warnings.filter((line) => line.includes("cannot scrub segment"))).toHaveLength(1);
  });
});
