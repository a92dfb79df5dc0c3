// The pace of the scrub, and what it remembers: a pass takes the time that it should, and goes on where it was, whatever
// came between.

import { afterEach, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { seededRandom } from "../../src/base/random.ts";
import { MAX_SCRUB_RATE, SCRUB_PERIOD_MS } from "../../src/log/scrub.ts";
import { decodeScrubState } from "../../src/log/scrub-file.ts";
import { SimulatedDisk } from "../support/disk/simulated-disk.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { FaultDisk } from "./fault-disk.ts";
import {
  LENGTH,
  MIB,
  openScrubbed,
  passing,
  putAll,
  recordOf,
  scrub,
  statusOf,
} from "./scrub-support.ts";
import {
  cleanUp,
  close,
  eventually,
  expectError,
  flipBit,
  makeBlock,
  segmentCount,
  segmentFile,
  temporaryFolder,
} from "./support.ts";

afterEach(cleanUp);

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

  test("a power cut at any moment leaves what was written down before or after", async () => {
    const disk = new SimulatedDisk(5);
    const opened = await openScrubbed("/log", { disk, clock: new ManualClock() });
    await opened.log.put(makeBlock(1, LENGTH));
    await opened.log.scrubber!.control("pause", 5000);
    const cuts: SimulatedDisk[] = [];
    disk.watch = () => {
      for (let survival = 0; survival < 3; survival++) {
        const cut = disk.fork(cuts.length);
        cut.powerCut(([cut.random, "nothing", "everything"] as const)[survival]!);
        cuts.push(cut);
      }
    };
    await opened.log.scrubber!.control("pause", 6000);
    disk.watch = undefined;
    expect(cuts.length).toBeGreaterThan(10);
    const rates = new Set<number>();
    for (const cut of cuts) {
      const after = await openScrubbed("/log", { disk: cut, clock: new ManualClock() });
      expect(after.warnings).toEqual([]);
      expect(statusOf(after.log).state).toBe("paused");
      rates.add(statusOf(after.log).bytesPerSecond);
      await close(after);
    }
    expect(rates).toEqual(new Set([5000, 6000]));
    const last = disk.fork(0);
    last.powerCut("nothing");
    const { log } = await openScrubbed("/log", { disk: last, clock: new ManualClock() });
    expect(statusOf(log).bytesPerSecond).toBe(6000);
  });

  test("a disk that is full: the scrub goes on, and says that it will be forgotten", async () => {
    const disk = new FaultDisk();
    const { log, warnings } = await openScrubbed(temporaryFolder(), { disk });
    await putAll(log, 1, 5);
    disk.roomBytes = 0;
    await expectError("io", log.scrubber!.control("start", MAX_SCRUB_RATE));
    await eventually("the pass is over", () => statusOf(log).lastPassNs > 0n);
    expect(statusOf(log).records).toBe(5);
    const told = () => warnings.filter((line) => line.includes("cannot write how far"));
    await eventually("it is told", () => told().length > 0);
    expect(told()).toHaveLength(1);
    disk.roomBytes = Infinity;
  });
});
