// Puts of many blocks together: one promise for all of them, and what became of each. What they share with single puts the
// crash tests go through: tests/log/crash.

import { afterEach, describe, expect, test } from "bun:test";
import { blockId } from "../../src/base/ids.ts";
import type { PutResults } from "../../src/log/waiting.ts";
import { FaultDisk } from "./fault-disk.ts";
import {
  cleanUp,
  close,
  copyOf,
  eventually,
  expectHeld,
  expectNotHeld,
  flipBit,
  idsOf,
  makeBlock,
  openTestLog,
  segmentCount,
  segmentFile,
  temporaryFolder,
} from "./support.ts";

afterEach(cleanUp);

async function openOn(disk: FaultDisk, options = {}) {
  return openTestLog(temporaryFolder(), { disk, ...options });
}

/** The kinds of errors, `durable` where there is none. */
function kindsIn(results: PutResults): string[] {
  return results.map((error) => error?.kind ?? "durable");
}

const blocksOf = (ids: readonly number[], length = 1000) => ids.map((id) => makeBlock(id, length));

const upTo = (count: number): number[] => Array.from({ length: count }, (_, at) => at + 1);

describe("blocks put together", () => {
  test("are durable with one sync, and not before", async () => {
    const disk = new FaultDisk();
    const { log, directory } = await openOn(disk);
    disk.holdSyncs = true;
    let ended = false;
    const blocks = blocksOf(upTo(300));
    const putting = log.putMany(blocks).finally(() => (ended = true));
    await eventually("the sync began", () => disk.syncsHeld === 1);
    await Bun.sleep(20);
    expect(ended).toBe(false);
    await expectNotHeld(log, 1);
    disk.holdSyncs = false;
    disk.releaseSyncs();
    expect(await putting).toEqual(blocks.map(() => undefined));
    expect(log.stats().syncs).toBe(1);
    const killed = await openTestLog(copyOf(directory));
    for (const block of blocks) await expectHeld(killed.log, block);
  });

  test("go into as many segments as they need", async () => {
    const { log, directory } = await openOn(new FaultDisk(), { segmentBytes: 20_000 });
    const blocks = blocksOf(upTo(100));
    expect(new Set(await log.putMany(blocks))).toEqual(new Set([undefined]));
    expect(segmentCount(directory)).toBeGreaterThan(4);
    const killed = await openTestLog(copyOf(directory));
    expect(idsOf(killed.log)).toEqual(upTo(100));
  });

  test("may be none", async () => {
    const { log } = await openOn(new FaultDisk());
    expect(await log.putMany([])).toEqual([]);
  });

  test("are told one by one: what is held already, what is rotten here, and where other bytes are", async () => {
    const { log, directory } = await openOn(new FaultDisk());
    for (const id of [2, 4, 5]) await log.put(makeBlock(id, 1000));
    flipBit(segmentFile(directory).path, 3000); // in the last of them
    const blocks = [1, 2, 3, 4, 5, 6].map((id) => makeBlock(id, 1000, id === 4 ? 1 : 0));
    const results = await log.putMany(blocks);
    expect(kindsIn(results)).toEqual([
      "durable",
      "durable",
      "durable",
      "conflict",
      "durable",
      "durable",
    ]);
    for (const at of [0, 1, 2, 4, 5]) await expectHeld(log, blocks[at]!);
    await expectHeld(log, makeBlock(4, 1000));
  });

  test("wait for puts of the same blocks, single ones and others, and these for them", async () => {
    const disk = new FaultDisk();
    const { log, directory } = await openOn(disk);
    disk.holdSyncs = true;
    const single = log.put(makeBlock(1, 1000));
    const first = log.putMany(blocksOf([1, 2, 3]));
    const second = log.putMany([...blocksOf([3]), makeBlock(2, 1000, 1), ...blocksOf([4])]);
    const late = log.put(makeBlock(3, 1000));
    disk.holdSyncs = false;
    await eventually("all have ended", () => {
      disk.releaseSyncs();
      return idsOf(log).length === 4;
    });
    await single;
    expect(kindsIn(await first)).toEqual(["durable", "durable", "durable"]);
    expect(kindsIn(await second)).toEqual(["durable", "conflict", "durable"]);
    await late;
    const { size } = Bun.file(segmentFile(directory).path);
    expect(size).toBeLessThan(5 * 1136 + 1000); // each of them once
  });

  test("of which one is named twice are stored once", async () => {
    const { log } = await openOn(new FaultDisk());
    expect(await log.putMany(blocksOf([7, 7]))).toEqual([undefined, undefined]);
    expect(idsOf(log)).toEqual([7]);
  });

  test("are deleted by a deletion that comes while they are on their way", async () => {
    const disk = new FaultDisk();
    const { log } = await openOn(disk);
    disk.holdSyncs = true;
    const putting = log.putMany(blocksOf(upTo(5)));
    await eventually("they are being synced", () => disk.syncsHeld === 1);
    const deleting = log.delete([blockId(2n)], [{ first: blockId(4n), count: 1 }]);
    disk.holdSyncs = false;
    disk.releaseSyncs();
    expect(kindsIn(await putting)).toEqual(upTo(5).map(() => "durable"));
    expect(await deleting).toBe(2);
    expect(idsOf(log)).toEqual([1, 3, 5]);
  });

  test("all fail with a sync that fails, and can be put again", async () => {
    const disk = new FaultDisk();
    const opened = await openOn(disk);
    const { log } = opened;
    await log.put(makeBlock(9, 1000));
    disk.syncErrors = ["EIO"];
    const blocks = blocksOf(upTo(3));
    expect(kindsIn(await log.putMany(blocks))).toEqual(["io", "io", "io"]);
    expect(idsOf(log)).toEqual([9]);
    expect(kindsIn(await log.putMany(blocks))).toEqual(upTo(3).map(() => "durable"));
    await close(opened);
    expect(kindsIn(await log.putMany(blocksOf([10])))).toEqual(["unreachable"]);
  });

  test("fail from the one on for which the disk has no room", async () => {
    const disk = new FaultDisk();
    const { log } = await openOn(disk, { reserveBytes: 0 });
    await log.put(makeBlock(9, 1000));
    disk.availableBytes = 4000;
    const results = kindsIn(await log.putMany(blocksOf(upTo(6))));
    const fitting = results.indexOf("noSpace");
    expect(fitting).toBeGreaterThan(0);
    expect(results.slice(fitting)).toEqual(results.slice(fitting).map(() => "noSpace"));
    expect(idsOf(log)).toEqual([...upTo(fitting), 9]);
    disk.availableBytes = undefined;
    expect(kindsIn(await log.putMany(blocksOf(upTo(6))))).toEqual(upTo(6).map(() => "durable"));
  });
});
