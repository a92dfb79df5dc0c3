// Appending: what shares a sync, when it is acknowledged and visible, and what happens when the disk does not play along.

import { afterEach, describe, expect, test } from "bun:test";
import { statSync } from "node:fs";
import { blockId } from "../../src/base/ids.ts";
import { SEGMENT_HEADER_BYTES } from "../../src/log/format.ts";
import type { UnsureWrites } from "../../src/log/writer-options.ts";
import { FaultDisk } from "./fault-disk.ts";
import {
  cleanUp,
  close,
  copyOf,
  eventually,
  expectError,
  expectHeld,
  expectNotHeld,
  findingsOf,
  idsOf,
  kindsOf,
  makeBlock,
  openTestLog,
  segmentCount,
  segmentFile,
  temporaryFolder,
  type TestLog,
} from "./support.ts";

afterEach(cleanUp);

async function openOn(
  disk: FaultDisk,
  options = {},
): Promise<TestLog & { unsure: UnsureWrites[] }> {
  const unsure: UnsureWrites[] = [];
  const opened = await openTestLog(temporaryFolder(), {
    disk,
    onUnsure: (writes) => unsure.push(writes),
    ...options,
  });
  return { ...opened, unsure };
}

/** Whether a promise has been settled by now. */
function watch(promise: Promise<unknown>): { settled: boolean } {
  const state = { settled: false };
  const settle = (): void => void (state.settled = true);
  promise.then(settle, settle);
  return state;
}

/** Bytes of all writes so far. */
function writtenBytes(disk: FaultDisk): number {
  return disk.events
    .filter((event) => event.startsWith("write "))
    .reduce((sum, event) => sum + Number(event.slice(6)), 0);
}

describe("group commit", () => {
  test("puts of one turn share one write and one sync", async () => {
    const disk = new FaultDisk();
    const { log } = await openOn(disk);
    disk.events.length = 0;
    await Promise.all(Array.from({ length: 100 }, (_, id) => log.put(makeBlock(id + 1, 1000))));
    const syncs = disk.events.filter((event) => event === "sync start");
    expect(syncs).toHaveLength(1);
    expect(log.stats().syncs).toBe(1);
  });

  test("what arrives during a sync forms the next batch", async () => {
    const disk = new FaultDisk();
    const { log } = await openOn(disk);
    disk.holdSyncs = true;
    const first = log.put(makeBlock(1, 1000));
    await eventually("the first sync began", () => disk.syncsHeld === 1);
    const later = Array.from({ length: 50 }, (_, id) => log.put(makeBlock(id + 2, 1000)));
    later.push(log.delete([blockId(1n)]).then(() => 0n as never));
    disk.holdSyncs = false;
    disk.releaseSyncs();
    await first;
    await Promise.all(later);
    expect(log.stats().syncs).toBe(2);
    expect(idsOf(log)).toEqual(Array.from({ length: 50 }, (_, id) => id + 2));
  });

  test("large puts that come during a sync are written before it has ended, and synced after it", async () => {
    const disk = new FaultDisk();
    const { log, directory } = await openOn(disk);
    disk.holdSyncs = true;
    const small = log.put(makeBlock(1, 1000));
    await eventually("the first sync began", () => disk.syncsHeld === 1);
    disk.events.length = 0;
    const large = [2, 3, 4].map((id) => makeBlock(id, 2 ** 20));
    const puts = large.map((block) => log.put(block));
    const states = puts.map(watch);
    await eventually("all of them were written", () => writtenBytes(disk) > 3 * 2 ** 20);
    expect(disk.events).not.toContain("sync start");
    expect(kindsOf(findingsOf(directory, 0))).toEqual(["put", "put", "put", "put"]);
    const killed = await openTestLog(copyOf(directory)); // they may be there, nobody was told
    for (const block of large) await expectHeld(killed.log, block);
    const deleted = log.delete([blockId(2n)]);
    disk.releaseSyncs();
    await small;
    await eventually("they are synced", () => disk.syncsHeld === 1);
    expect(states.map(({ settled }) => settled)).toEqual([false, false, false]);
    disk.holdSyncs = false;
    disk.releaseSyncs();
    await Promise.all([...puts, deleted]);
    expect(log.stats().syncs).toBe(2);
    expect(idsOf(log)).toEqual([1, 3, 4]);
    expect(kindsOf(findingsOf(directory, 0)).slice(4)).toEqual(["tombstone"]);
  });

  test("large puts that come while a batch is being written go on during its sync, in the system's memory and on the disk", async () => {
    const disk = new FaultDisk();
    const { log, directory } = await openOn(disk);
    disk.holdSyncs = true;
    const first = [1, 2, 3].map((id) => log.put(makeBlock(id, 2 ** 20)));
    disk.events.length = 0;
    while (writtenBytes(disk) < 2 ** 20) await new Promise((resolve) => setImmediate(resolve));
    expect(disk.events).not.toContain("sync start");
    const late = [4, 5].map((id) => log.put(makeBlock(id, 2 ** 20)));
    await eventually("its sync is under way", () => disk.syncsHeld === 1);
    await eventually("what came late was written", () => writtenBytes(disk) > 5 * 2 ** 20);
    expect(disk.syncsHeld).toBe(1);
    const behind = findingsOf(directory, 0)[3]!.header!.position;
    const begun = disk.events.filter((event) => event.startsWith("writeback "));
    expect(begun.some((event) => Number(event.split(" ")[1]) >= behind)).toBe(true);
    disk.holdSyncs = false;
    disk.releaseSyncs();
    await Promise.all([...first, ...late]);
    expect(log.stats().syncs).toBe(2);
    expect(idsOf(log)).toEqual([1, 2, 3, 4, 5]);
  });

  test("the last part of a batch is left to the sync that follows, those before are not", async () => {
    const disk = new FaultDisk();
    const { log, directory } = await openOn(disk);
    const writebacks = (): number[] =>
      disk.events
        .filter((event) => event.startsWith("writeback "))
        .map((event) => Number(event.split(" ")[2]));
    await log.put(makeBlock(1, 512 * 1024));
    expect(writebacks()).toEqual([]);
    const end = statSync(segmentFile(directory).path).size;
    await log.put(makeBlock(2, 2.5 * 2 ** 20));
    expect(writebacks()).toEqual([2 ** 20, 2 ** 20]);
    expect(statSync(segmentFile(directory).path).size - end).toBeGreaterThan(2.5 * 2 ** 20);
  });

  test("what is written during a sync says that only what was durable then is durable", async () => {
    const disk = new FaultDisk();
    const { log, directory } = await openOn(disk, { aheadBytes: 1 });
    await log.put(makeBlock(1, 1000));
    disk.holdSyncs = true;
    const puts = [log.put(makeBlock(2, 1000))];
    await eventually("a sync is under way", () => disk.syncsHeld === 1);
    puts.push(log.put(makeBlock(3, 1000)));
    await eventually("block 3 was written", () => findingsOf(directory, 0).length === 3);
    disk.holdSyncs = false;
    disk.releaseSyncs();
    await Promise.all(puts);
    await log.put(makeBlock(4, 1000));
    const [, second, third, fourth] = findingsOf(directory, 0).map((each) => each.header!);
    expect(third!.synced).toBe(second!.position);
    expect(fourth!.synced).toBe(fourth!.position);
  });

  test("nothing is written during a sync that seals the segment, nor while compaction waits", async () => {
    const disk = new FaultDisk();
    const { log, directory } = await openOn(disk, { aheadBytes: 1, segmentBytes: 4096 });
    await log.put(makeBlock(1, 3000));
    disk.holdSyncs = true;
    const second = log.put(makeBlock(2, 3000)); // does not fit: the seal of the first segment comes first
    await eventually("the seal is being synced", () => disk.syncsHeld === 1);
    const sealed = statSync(segmentFile(directory).path).size;
    const third = log.put(makeBlock(3, 100));
    await Bun.sleep(20);
    expect(statSync(segmentFile(directory).path).size).toBe(sealed);
    // The next segment may have been made by now.
    if (segmentCount(directory) > 1) expect(findingsOf(directory, 1)).toEqual([]);
    disk.holdSyncs = false;
    disk.releaseSyncs();
    await Promise.all([second, third]);
    expect(idsOf(log)).toEqual([1, 2, 3]);
  });

  test("nothing is acknowledged or readable before its sync has ended", async () => {
    const disk = new FaultDisk();
    const { log } = await openOn(disk);
    await log.put(makeBlock(1, 1000));
    disk.holdSyncs = true;
    const put = log.put(makeBlock(2, 1000));
    const deleted = log.delete([blockId(1n)]);
    const states = [watch(put), watch(deleted)];
    await eventually("the bytes were written and the sync began", () => disk.syncsHeld === 1);
    await Bun.sleep(20);
    expect(states.map(({ settled }) => settled)).toEqual([false, false]);
    await expectNotHeld(log, 2);
    await expectHeld(log, makeBlock(1, 1000));
    disk.holdSyncs = false;
    disk.releaseSyncs();
    await Promise.all([put, deleted]);
    await expectHeld(log, makeBlock(2, 1000));
    await expectNotHeld(log, 1);
  });

  test("reads are served while a sync takes its time", async () => {
    const disk = new FaultDisk();
    const { log } = await openOn(disk);
    await log.put(makeBlock(1, 200_000));
    disk.holdSyncs = true;
    const put = log.put(makeBlock(2, 1000));
    await eventually("a sync is under way", () => disk.syncsHeld === 1);
    await expectHeld(log, makeBlock(1, 200_000));
    disk.holdSyncs = false;
    disk.releaseSyncs();
    await put;
  });

  test("writes are at most 1 MiB a call, and short ones are gone on with", async () => {
    const disk = new FaultDisk();
    disk.maxWriteBytes = 70_001;
    const { log, directory } = await openOn(disk);
    const blocks = [makeBlock(1, 2 ** 24), makeBlock(2, 5), makeBlock(3, 300_000)];
    await Promise.all(blocks.map((block) => log.put(block)));
    disk.maxWriteBytes = Infinity;
    disk.events.length = 0;
    const large = makeBlock(4, 2 ** 24);
    await log.put(large);
    const writes = disk.events.filter((event) => event.startsWith("write "));
    expect(writes.length).toBeGreaterThanOrEqual(16);
    for (const event of writes) expect(Number(event.slice(6))).toBeLessThanOrEqual(2 ** 20);
    const killed = await openTestLog(copyOf(directory));
    for (const block of [...blocks, large]) await expectHeld(killed.log, block);
  });

  test("a segment gets its first record after the seal of the one before is durable", async () => {
    const disk = new FaultDisk();
    const { log } = await openOn(disk, { segmentBytes: 4096 });
    disk.events.length = 0;
    for (let id = 1; id <= 4; id++) await log.put(makeBlock(id, 3000));
    const kinds = disk.events.filter((event) => /^(write (3128|120)|sync end)$/.test(event));
    expect(kinds.slice(0, 6)).toEqual([
      "write 3128",
      "sync end",
      "write 120", // the seal
      "sync end",
      "write 3128",
      "sync end",
    ]);
  });

  test("the next segment and its name are durable before the present one is full", async () => {
    const disk = new FaultDisk();
    const { log, directory } = await openOn(disk, { segmentBytes: 10_000 });
    await log.put(makeBlock(1, 6000));
    await eventually("a second segment exists", () => segmentCount(directory) === 2);
    await eventually("its name is durable", () => disk.events.at(-1) === "sync directory");
    expect(kindsOf(findingsOf(directory, 1))).toEqual([]);
  });
});

describe("a failed sync", () => {
  test("fails those who wait for it, and the log goes on in a fresh segment", async () => {
    const disk = new FaultDisk();
    const opened = await openOn(disk);
    const { log, directory, unsure } = opened;
    await log.put(makeBlock(1, 1000));
    disk.syncErrors = ["EIO"];
    const failing = [log.put(makeBlock(2, 1000)), log.delete([blockId(1n)])];
    for (const each of failing) await expectError("io", each);
    await expectNotHeld(log, 2);
    await expectHeld(log, makeBlock(1, 1000));
    const end = SEGMENT_HEADER_BYTES + 120 + 8 + 1000;
    expect(unsure).toMatchObject([{ segment: 1, end, puts: [2n], deletes: [1n] }]);
    await log.put(makeBlock(2, 1000));
    await log.put(makeBlock(3, 1000));
    expect(segmentCount(directory)).toBe(2);
    expect(kindsOf(findingsOf(directory, 0))).toEqual(["put"]);
    expect(kindsOf(findingsOf(directory, 1))).toEqual(["seal", "put", "put"]);

    const killed = await openTestLog(copyOf(directory));
    expect(idsOf(killed.log)).toEqual([1, 2, 3]);
    expect(killed.corruptions).toEqual([]);
    await close(opened);
    const reopened = await openTestLog(directory);
    expect(idsOf(reopened.log)).toEqual([1, 2, 3]);
    expect(reopened.corruptions).toEqual([]);
  });

  test("fails what was written during it as well", async () => {
    const disk = new FaultDisk();
    const { log, directory, unsure } = await openOn(disk, { aheadBytes: 1 });
    await log.put(makeBlock(1, 1000));
    const end = statSync(segmentFile(directory).path).size;
    disk.syncErrors = ["EIO"];
    disk.holdSyncs = true;
    const failing = [log.put(makeBlock(2, 1000))];
    await eventually("a sync is under way", () => disk.syncsHeld === 1);
    failing.push(log.put(makeBlock(3, 1000)));
    await eventually("block 3 was written", () => findingsOf(directory, 0).length === 3);
    disk.holdSyncs = false;
    disk.releaseSyncs();
    for (const each of failing) await expectError("io", each);
    expect(unsure).toMatchObject([{ segment: 1, end, puts: [2n, 3n] }]);
    expect(statSync(segmentFile(directory).path).size).toBe(end);
    await log.put(makeBlock(5, 1000));
    const killed = await openTestLog(copyOf(directory));
    expect(idsOf(killed.log)).toEqual([1, 5]);
    expect(killed.corruptions).toEqual([]);
  });

  test("is never tried again on that file, and what it left there never counts", async () => {
    const disk = new FaultDisk();
    const { log, directory } = await openOn(disk);
    await log.put(makeBlock(1, 1000));
    disk.syncErrors = ["EIO"];
    disk.truncateError = "EIO"; // so that the record stays in the file, as if the system still showed it
    await expectError("io", log.put(makeBlock(2, 1000)));
    expect(kindsOf(findingsOf(directory, 0))).toEqual(["put", "put"]);
    await log.put(makeBlock(3, 1000));
    const killed = await openTestLog(copyOf(directory));
    expect(idsOf(killed.log)).toEqual([1, 3]);
    expect(killed.corruptions).toEqual([]);
  });

  test("of several segments in a row: all of them are named suspect once a sync works", async () => {
    const disk = new FaultDisk();
    const { log, directory, unsure } = await openOn(disk);
    await log.put(makeBlock(1, 1000));
    for (let round = 0; round < 3; round++) {
      disk.syncErrors = ["EIO", "EIO"]; // the put's batch, and the seals that follow at once
      await expectError("io", log.put(makeBlock(10 + round, 1000)));
      await eventually("the seals were tried", () => disk.syncErrors.length === 0);
    }
    await log.put(makeBlock(2, 1000));
    expect(unsure.length).toBe(6);
    const seals = findingsOf(directory, -1).filter(({ header }) => header?.kind === "seal");
    expect(seals).toHaveLength(6);
    const killed = await openTestLog(copyOf(directory));
    expect(idsOf(killed.log)).toEqual([1, 2]);
    expect(killed.corruptions).toEqual([]);
  });

  test("a failed write gives the segment up as well", async () => {
    const disk = new FaultDisk();
    const { log, directory, unsure } = await openOn(disk);
    await log.put(makeBlock(1, 1000));
    disk.writeErrors = ["EIO"];
    await expectError("io", log.put(makeBlock(2, 1000)));
    expect(unsure).toHaveLength(1);
    await log.put(makeBlock(3, 1000));
    const killed = await openTestLog(copyOf(directory));
    expect(idsOf(killed.log)).toEqual([1, 3]);
  });

  test("a suspect segment whose blocks are all deleted goes, and its seal only after it", async () => {
    const disk = new FaultDisk();
    const { log, directory } = await openOn(disk, { segmentBytes: 4096 });
    await log.put(makeBlock(1, 1000));
    disk.syncErrors = ["EIO"];
    await expectError("io", log.put(makeBlock(2, 1000)));
    for (let id = 3; id <= 9; id++) await log.put(makeBlock(id, 3000));
    await log.delete([], [{ first: blockId(1n), count: 8 }]);
    await eventually("old segments are gone", () => segmentCount(directory) <= 3);
    const killed = await openTestLog(copyOf(directory));
    expect(idsOf(killed.log)).toEqual([9]);
    expect(killed.corruptions).toEqual([]);
  });
});

describe("a suspect segment, after a reopening", () => {
  /** Segment 1 is suspect and holds block 1; segment 2 begins with its seal and holds block 2; block 3 is in a third. */
  async function reopened(): Promise<TestLog> {
    const disk = new FaultDisk();
    const opened = await openOn(disk, { segmentBytes: 4096, compactionRate: 0 });
    await opened.log.put(makeBlock(1, 1000));
    disk.syncErrors = ["EIO"];
    await expectError("io", opened.log.put(makeBlock(9, 1000)));
    await opened.log.put(makeBlock(2, 3000));
    await opened.log.put(makeBlock(3, 3000));
    await close(opened);
    return openTestLog(opened.directory, { segmentBytes: 4096, compactionRate: 0 });
  }

  test("goes when its blocks have been deleted", async () => {
    const { log, directory } = await reopened();
    expect(segmentFile(directory).id.number).toBe(1);
    await log.delete([blockId(1n)]);
    await eventually("it is gone", () => segmentFile(directory).id.number > 1);
  });

  test("is emptied by compaction at once, however alive it is", async () => {
    const { directory } = await reopened();
    const { log } = await openTestLog(copyOf(directory), { segmentBytes: 4096 });
    await eventually("it was emptied", () => log.stats().compaction.segments === 1);
    await expectHeld(log, makeBlock(1, 1000));
    await expectHeld(log, makeBlock(2, 3000));
  });

  test("is outlived by the segment with its seal", async () => {
    const opened = await reopened();
    await opened.log.delete([blockId(2n)]);
    await opened.log.delete([blockId(3n)]);
    await eventually("what is unneeded is gone", () => opened.log.stats().segments <= 4);
    await close(opened);
    const again = await openTestLog(opened.directory, { segmentBytes: 4096, compactionRate: 0 });
    expect(again.corruptions).toEqual([]);
    expect(idsOf(again.log)).toEqual([1]);
  });
});

describe("a full disk", () => {
  test("refuses puts that would go into the reserve; deletes go on", async () => {
    const disk = new FaultDisk();
    disk.availableBytes = 110_000;
    const { log } = await openOn(disk, { reserveBytes: 100_000 });
    await log.put(makeBlock(1, 5000));
    const error = await expectError("noSpace", log.put(makeBlock(2, 10_000)));
    expect(error.message).toContain("block 2");
    expect(log.stats()).toMatchObject({ availableBytes: 10_000, full: true });
    await log.put(makeBlock(3, 4000)); // a smaller one fits still
    disk.availableBytes = 50_000;
    await expectError("noSpace", log.put(makeBlock(4, 1)));
    await log.delete([blockId(1n)]);
    await expectHeld(log, makeBlock(3, 4000));
    disk.availableBytes = 2 ** 30;
    await log.put(makeBlock(4, 1));
  });

  test("the reserve is the larger of 5 % and 4 segments when nothing else is said", async () => {
    const disk = new FaultDisk();
    const { log } = await openTestLogWithReserve(disk, 2 ** 40);
    const { capacityBytes } = disk.space("/");
    disk.availableBytes = 2 ** 42;
    expect(log.stats().availableBytes).toBe(2 ** 42 - 4 * 2 ** 40);
    const small = await openTestLogWithReserve(disk, 4096);
    expect(small.log.stats().availableBytes).toBe(2 ** 42 - Math.ceil(capacityBytes * 0.05));
  });

  test("met while a sync is under way: those puts fail when it has ended, what it covers does not", async () => {
    const disk = new FaultDisk();
    const { log, directory } = await openOn(disk, { aheadBytes: 1 });
    await log.put(makeBlock(1, 1000));
    disk.holdSyncs = true;
    const covered = log.put(makeBlock(2, 1000));
    await eventually("a sync is under way", () => disk.syncsHeld === 1);
    const end = statSync(segmentFile(directory).path).size;
    disk.roomBytes = 500;
    const refused = log.put(makeBlock(3, 1000));
    const isRefused = watch(refused);
    await eventually("as much as fits was written", () => disk.roomBytes === 0);
    expect(isRefused.settled).toBe(false);
    const deleted = log.delete([blockId(1n)]);
    disk.holdSyncs = false;
    disk.releaseSyncs();
    await covered;
    await expectError("noSpace", refused);
    await deleted;
    expect(statSync(segmentFile(directory).path).size).toBe(end + 128);
    expect(idsOf(log)).toEqual([2]);
    const killed = await openTestLog(copyOf(directory));
    expect(idsOf(killed.log)).toEqual([2]);
    expect(killed.corruptions).toEqual([]);
  });

  test("met in the middle of a write: puts fail, the deletes of the batch do not, nothing is lost", async () => {
    const disk = new FaultDisk();
    const { log, directory } = await openOn(disk);
    await log.put(makeBlock(1, 1000));
    await log.put(makeBlock(2, 1000));
    const before = statSync(segmentFile(directory).path).size;
    disk.roomBytes = 3000;
    const puts = [log.put(makeBlock(3, 2500)), log.put(makeBlock(4, 2500))];
    const deleted = log.delete([blockId(1n)]);
    for (const each of puts)
      await expectError("noSpace", each).finally(() => (disk.roomBytes = 2000));
    await deleted;
    expect(statSync(segmentFile(directory).path).size).toBe(before + 128);
    expect(idsOf(log)).toEqual([2]);
    disk.roomBytes = Infinity;
    await log.put(makeBlock(5, 2500));
    const killed = await openTestLog(copyOf(directory));
    expect(idsOf(killed.log)).toEqual([2, 5]);
    expect(killed.corruptions).toEqual([]);
  });

  test("with no room even for a tombstone: deletes fail, and work again later", async () => {
    const disk = new FaultDisk();
    const { log } = await openOn(disk);
    await log.put(makeBlock(1, 1000));
    disk.roomBytes = 50;
    await expectError("noSpace", log.delete([blockId(1n)]));
    await expectError("noSpace", log.put(makeBlock(2, 1000)));
    disk.roomBytes = Infinity;
    await expectHeld(log, makeBlock(1, 1000));
    await log.delete([blockId(1n)]);
    expect(idsOf(log)).toEqual([]);
  });

  test("when a segment is to be made: those who wait fail, later ones go on", async () => {
    const disk = new FaultDisk();
    const { log } = await openOn(disk, { segmentBytes: 4096 });
    await log.put(makeBlock(1, 1500));
    disk.roomBytes = 120; // the seal fits, no new segment does
    await expectError("noSpace", log.put(makeBlock(2, 3000)));
    disk.roomBytes = Infinity;
    await log.put(makeBlock(3, 3000));
    expect(idsOf(log)).toEqual([1, 3]);
  });
});

describe("a disk that cannot read", () => {
  test("is an error that says so, and the block is good again when the disk is", async () => {
    const disk = new FaultDisk();
    const { log } = await openOn(disk);
    await log.put(makeBlock(1, 200_000));
    disk.readError = "EIO";
    const error = await expectError("io", log.get(blockId(1n), 100_000, 10));
    expect(error.message).toContain("block 1");
    disk.readError = undefined;
    await expectHeld(log, makeBlock(1, 200_000));
  });
});

describe("closing", () => {
  test("finishes what was begun and takes nothing more", async () => {
    const opened = await openTestLog(temporaryFolder());
    const puts = Array.from({ length: 20 }, (_, id) => opened.log.put(makeBlock(id + 1, 100_000)));
    await close(opened);
    await Promise.all(puts);
    await expectError("unreachable", opened.log.put(makeBlock(99, 10)));
    const reopened = await openTestLog(opened.directory);
    expect(idsOf(reopened.log)).toHaveLength(20);
  });
});

async function openTestLogWithReserve(disk: FaultDisk, segmentBytes: number): Promise<TestLog> {
  const options = { disk, segmentBytes };
  // The option is left out, not undefined: that is what makes the rule of the design count.
  return openTestLog(temporaryFolder(), { ...options, reserveBytes: undefined as never });
}
