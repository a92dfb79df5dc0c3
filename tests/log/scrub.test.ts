// The scrub: rot that nobody has met yet is found, in every kind of place, at the pace that was asked for, and a pass goes
// on where it was, whatever came between.

import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { blockId, type BlockId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { seededRandom } from "../../src/base/random.ts";
import { RECORD_HEADER_BYTES } from "../../src/log/record.ts";
import { MAX_SCRUB_RATE, SCRUB_PERIOD_MS, type ScrubStatus } from "../../src/log/scrub.ts";
import { decodeScrubState } from "../../src/log/scrub-file.ts";
import type { BlockLog, LogOptions } from "../../src/log/log.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { FaultDisk } from "./fault-disk.ts";
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
  segmentCount,
  segmentFile,
  temporaryFolder,
  type TestLog,
} from "./support.ts";

afterEach(cleanUp);

const LENGTH = 1001; // seven bytes of padding behind it
const MIB = 1024 * 1024;

/** A log with a scrub, and the blocks that it has called rotten. */
interface ScrubbedLog extends TestLog {
  readonly rotten: number[];
  readonly warnings: string[];
}

async function openScrubbed(
  directory: string,
  options: Partial<LogOptions> = {},
): Promise<ScrubbedLog> {
  const rotten: number[] = [];
  const warnings: string[] = [];
  const keep = (line: string): void => void warnings.push(line);
  const opened = await openTestLog(directory, {
    clock: systemClock,
    logger: { ...silentLogger, warn: keep, error: keep },
    onRotten: (block) => void rotten.push(Number(block)),
    ...options,
  });
  return { ...opened, rotten, warnings };
}

function statusOf(log: BlockLog): ScrubStatus {
  return log.scrubber!.status;
}

/** A whole pass, as fast as it goes. */
async function scrub(log: BlockLog): Promise<ScrubStatus> {
  const before = statusOf(log).lastPassNs;
  await log.scrubber!.control("start", MAX_SCRUB_RATE);
  await eventually("the pass is over", () => statusOf(log).lastPassNs > before);
  return statusOf(log);
}

async function putAll(log: BlockLog, from: number, to: number, length = LENGTH): Promise<void> {
  for (let id = from; id <= to; id++) await log.put(makeBlock(id, length));
}

function ids(...list: number[]): BlockId[] {
  return list.map((id) => blockId(BigInt(id)));
}

/** Where the record of a block begins in a segment. */
function recordOf(directory: string, block: number, place = 0): number {
  const found = findingsOf(directory, place).find(
    ({ header }) => header?.kind === "put" && header.block === BigInt(block),
  );
  if (found?.header === undefined) throw new Error(`segment ${place} has no block ${block}`);
  return found.header.position;
}

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

/** Lets time pass until `holds`, but none while the scrub does something: what takes the disk real time takes no other. */
async function passing(
  clock: ManualClock,
  stepMs: number,
  what: string,
  holds: () => boolean,
): Promise<void> {
  for (let steps = 0; !holds(); steps++) {
    if (steps > 20_000) throw new Error(`it never came to be that ${what}`);
    await eventually("the scrub waits", () => clock.pending > 0 || holds());
    await clock.advance(stepMs);
  }
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

describe("pace", () => {
  test("of a pass that was asked for is the rate, however it changes", async () => {
    const clock = new ManualClock();
    const { log } = await openScrubbed(temporaryFolder(), { clock, segmentBytes: 4 * MIB });
    await putAll(log, 1, 32, 500_000);
    const began = clock.monotonicMs();
    await log.scrubber!.control("start", 2 * MIB);
    const total = statusOf(log).totalBytes;
    const elapsed = (): number => (clock.monotonicMs() - began) / 1000;
    await passing(clock, 50, "half of it is done", () => {
      expect(statusOf(log).doneBytes).toBeLessThanOrEqual(elapsed() * 2 * MIB + 500_200);
      return statusOf(log).doneBytes > total / 2;
    });
    const half = elapsed();
    expect(half).toBeGreaterThan(total / 2 / (2 * MIB) - 0.5);
    await log.scrubber!.control("resume", 16 * MIB);
    await passing(clock, 50, "the pass is over", () => statusOf(log).lastPassNs > 0n);
    expect(elapsed() - half).toBeGreaterThan(total / 2 / (16 * MIB) - 0.2);
    expect(statusOf(log).bytesPerSecond).toBe(16 * MIB);
  });

  test("of the others: spread over what the pause before them leaves of the period", async () => {
    const clock = new ManualClock();
    const { log } = await openScrubbed(temporaryFolder(), { clock, segmentBytes: 4 * MIB });
    await putAll(log, 1, 32, 500_000);
    const hour = 3600_000;
    const began = clock.monotonicMs();
    expect(statusOf(log).state).toBe("idle");
    await passing(clock, hour, "a pass begins", () => statusOf(log).state === "running");
    expect(clock.monotonicMs() - began).toBeGreaterThan(SCRUB_PERIOD_MS / 9);
    const { totalBytes } = statusOf(log);
    const passBegan = clock.monotonicMs();
    await passing(
      clock,
      hour,
      "half of it is done",
      () => statusOf(log).doneBytes > totalBytes / 2,
    );
    expect((clock.monotonicMs() - passBegan) / SCRUB_PERIOD_MS).toBeGreaterThan(0.3);
    expect((clock.monotonicMs() - passBegan) / SCRUB_PERIOD_MS).toBeLessThan(0.5);
    await passing(clock, hour, "it is over", () => statusOf(log).lastPassNs > 0n);
    expect(clock.monotonicMs() - began).toBeLessThan(1.05 * SCRUB_PERIOD_MS);
    await passing(clock, hour, "the next begins", () => statusOf(log).state === "running");
  });

  test("goes on when the wall clock has been set back by years", async () => {
    const directory = temporaryFolder();
    const late = new ManualClock();
    await late.advance(50 * SCRUB_PERIOD_MS);
    await close(await openScrubbed(directory, { clock: late }));
    const clock = new ManualClock();
    const { log } = await openScrubbed(directory, { clock });
    await putAll(log, 1, 3);
    const began = clock.monotonicMs();
    await passing(clock, 3600_000, "a pass begins", () => statusOf(log).state === "running");
    expect(clock.monotonicMs() - began).toBeLessThan(SCRUB_PERIOD_MS / 3);
  });

  test("servers do not begin at the same time", async () => {
    const begins = new Set<bigint>();
    for (let seed = 0; seed < 8; seed++) {
      const options = { clock: new ManualClock(), random: seededRandom(seed) };
      const { log } = await openScrubbed(temporaryFolder(), options);
      begins.add(statusOf(log).nextNs);
    }
    expect(begins.size).toBe(8);
  });

  test("a rate that cannot be is refused", async () => {
    const { log } = await openScrubbed(temporaryFolder());
    await expectError("invalid", log.scrubber!.control("start", 0));
    expect(statusOf(log).state).toBe("idle");
  });
});

describe("over a restart", () => {
  const SMALL = { segmentBytes: 4 * MIB };

  test("a pass goes on where it was, and counts nothing twice", async () => {
    const directory = temporaryFolder();
    const clock = new ManualClock();
    let opened = await openScrubbed(directory, { clock, ...SMALL });
    await putAll(opened.log, 1, 32, 500_000);
    flipBit(segmentFile(directory).path, recordOf(directory, 1) + 5000);
    await opened.log.scrubber!.control("start", MIB);
    const { totalBytes } = statusOf(opened.log);
    for (let restart = 1; restart <= 4; restart++) {
      const { log } = opened;
      const goal = (totalBytes * restart) / 5;
      await passing(clock, 100, "more is done", () => statusOf(log).doneBytes > goal);
      const before = statusOf(log);
      expect(before.state).toBe("running");
      await close(opened);
      opened = await openScrubbed(directory, { clock, ...SMALL });
      const after = statusOf(opened.log);
      expect(after.segment).toBeGreaterThanOrEqual(before.segment);
      expect(after.doneBytes).toBeGreaterThan(goal - MIB);
      expect(after).toMatchObject({
        hurried: true,
        bytesPerSecond: MIB,
        startedNs: before.startedNs,
      });
    }
    const { log } = opened;
    await passing(clock, 100, "the pass is over", () => statusOf(log).lastPassNs > 0n);
    const { records } = statusOf(log); // 31 blocks that are right, and seals, of which closing writes more
    expect(records).toBeGreaterThanOrEqual(31 + 3);
    expect(records).toBeLessThanOrEqual(31 + 8);
    expect(statusOf(log)).toMatchObject({ damage: 1, rotten: 1, rottenEver: 1 });
    await close(opened);
    const last = await openScrubbed(directory, { clock, ...SMALL });
    expect(statusOf(last.log)).toMatchObject({ state: "idle", rottenEver: 1, rotten: 1 });
    expect(statusOf(last.log).lastPassNs).toBe(statusOf(log).lastPassNs);
  });

  test("a scrub that was paused stays paused, at its place, until it is told to go on", async () => {
    const directory = temporaryFolder();
    const clock = new ManualClock();
    const opened = await openScrubbed(directory, { clock, ...SMALL });
    await putAll(opened.log, 1, 16, 500_000);
    await opened.log.scrubber!.control("start", MIB);
    await passing(clock, 100, "some is done", () => statusOf(opened.log).doneBytes > 2 * MIB);
    await opened.log.scrubber!.control("pause");
    await clock.advance(60_000);
    const { doneBytes } = statusOf(opened.log);
    expect(doneBytes).toBeLessThan(4 * MIB);
    await close(opened);
    const { log } = await openScrubbed(directory, { clock, ...SMALL });
    await clock.advance(SCRUB_PERIOD_MS);
    expect(statusOf(log)).toMatchObject({ state: "paused", doneBytes });
    await log.scrubber!.control("resume");
    await passing(clock, 100, "the pass is over", () => statusOf(log).lastPassNs > 0n);
  });

  test("of a process that was killed, the pass goes on from where it was written down", async () => {
    const directory = temporaryFolder();
    const clock = new ManualClock();
    const opened = await openScrubbed(directory, { clock, ...SMALL });
    await putAll(opened.log, 1, 32, 500_000);
    await opened.log.scrubber!.control("start", MIB);
    await passing(clock, 100, "some is done", () => statusOf(opened.log).doneBytes > 12 * MIB);
    const state = decodeScrubState(readFileSync(join(directory, "scrub")));
    expect(state).toMatchObject({ pass: { hurried: true } });
    if (typeof state !== "object") throw new Error(state);
    expect(state.pass!.doneBytes).toBeGreaterThan(2 * MIB);
  });

  test.each([
    ["damaged", (bytes: Buffer) => bytes.with(50, bytes[50]! ^ 1), "it is damaged"],
    ["cut off", (bytes: Buffer) => bytes.subarray(0, 40), "it is damaged"],
    ["empty", () => Buffer.alloc(0), "it is damaged"],
    ["of a later version", (bytes: Buffer) => bytes.with(11, 9), "it is of version 9"],
  ])("a file that is %s is reported, and the scrub begins anew", async (_, edit, why) => {
    const directory = temporaryFolder();
    const opened = await openScrubbed(directory);
    await opened.log.scrubber!.control("pause", 3 * MIB);
    await close(opened);
    const path = join(directory, "scrub");
    const bytes = readFileSync(path);
    writeFileSync(path, edit(bytes));
    const { log, warnings } = await openScrubbed(directory);
    expect(warnings).toEqual([expect.stringContaining(why)]);
    expect(statusOf(log)).toMatchObject({ state: "idle", lastPassNs: 0n });
    await scrub(log);
    expect(segmentCount(directory)).toBe(0);
  });

  test("a disk that is full: the scrub goes on, and says that it will be forgotten", async () => {
    const disk = new FaultDisk();
    const { log, warnings } = await openScrubbed(temporaryFolder(), { disk });
    await putAll(log, 1, 5);
    disk.roomBytes = 0;
    await expectError("io", log.scrubber!.control("start", MAX_SCRUB_RATE));
    await eventually("the pass is over", () => statusOf(log).lastPassNs > 0n);
    expect(statusOf(log).records).toBe(5);
    expect(warnings.filter((line) => line.includes("cannot write"))).toHaveLength(1);
    disk.roomBytes = Infinity;
  });
});
