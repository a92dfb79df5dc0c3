// Deleting segments: which may go, in which order, and that nothing comes back.

import { afterEach, describe, expect, test } from "bun:test";
import { blockId, type Lsn } from "../../src/base/ids.ts";
import { seededRandom } from "../../src/base/random.ts";
import { SegmentLedger, type CountedPut } from "../../src/log/ledger.ts";
import { FaultDisk } from "./fault-disk.ts";
import {
  cleanUp,
  close,
  copyOf,
  eventually,
  expectHeld,
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

const SMALL = { segmentBytes: 4096 }; // one block of 3,000 bytes a segment

describe("the ledger", () => {
  const put = (block: bigint, segment: number): CountedPut => ({
    block: blockId(block),
    segment,
    bytes: 50,
  });

  function ledgerOf(count: number): SegmentLedger {
    const ledger = new SegmentLedger();
    for (let number = 1; number <= count; number++) ledger.add(number, 100).sealed = true;
    ledger.holdsRecord(count, BigInt(count) as Lsn);
    return ledger;
  }

  test("gives out sealed segments without live puts, oldest first, never the newest", () => {
    const ledger = ledgerOf(4);
    ledger.putBecameLive(put(1n, 1), undefined);
    expect(ledger.reclaimable()).toBe(2);
    ledger.remove(2);
    ledger.state(3).sealed = false;
    expect(ledger.reclaimable()).toBeUndefined();
    ledger.state(3).sealed = true;
    expect(ledger.reclaimable()).toBe(3);
    ledger.remove(3);
    expect(ledger.reclaimable()).toBeUndefined();
    expect([ledger.count, ledger.bytes]).toEqual([2, 200]);
  });

  test("keeps the last one with records, as long as there are only empty ones behind it", () => {
    // What broke: with all its blocks deleted it went, and after the next start its log sequence numbers came again.
    const ledger = ledgerOf(2);
    ledger.add(3, 64);
    expect(ledger.reclaimable()).toBe(1);
    ledger.remove(1);
    expect(ledger.reclaimable()).toBeUndefined();
    ledger.holdsRecord(3, BigInt(3) as Lsn);
    expect(ledger.reclaimable()).toBe(2);
  });

  test("keeps tombstones as long as a put that they cover is on disk", () => {
    const ledger = ledgerOf(5);
    ledger.putBecameLive(put(1n, 1), undefined);
    ledger.putBecameLive(put(2n, 1), undefined);
    ledger.putDied(put(1n, 1), 3);
    ledger.remove(2);
    expect(ledger.reclaimable()).toBe(4); // 3 holds the tombstone of a put in 1, which still has block 2
    ledger.remove(4);
    expect(ledger.reclaimable()).toBeUndefined();
    ledger.putDied(put(2n, 1), 5);
    expect(ledger.reclaimable()).toBe(1);
    ledger.remove(1);
    expect(ledger.reclaimable()).toBe(3);
  });

  test("remembers the older, rotten copies of a block that was put again", () => {
    const ledger = ledgerOf(6);
    ledger.putBecameLive(put(9n, 1), undefined); // keeps segment 1
    ledger.putBecameLive(put(1n, 1), undefined);
    ledger.putBecameLive(put(1n, 2), put(1n, 1));
    ledger.putDied(put(1n, 2), 4);
    expect(ledger.reclaimable()).toBe(2);
    ledger.remove(2);
    ledger.remove(3);
    ledger.remove(5);
    expect(ledger.reclaimable()).toBeUndefined(); // 4 still covers the copy in 1
    ledger.putDied(put(9n, 1), 6);
    ledger.remove(1);
    expect(ledger.reclaimable()).toBe(4);
  });

  test("keeps what is damaged, and tombstones behind it", () => {
    const ledger = ledgerOf(4);
    ledger.state(1).damaged = true;
    ledger.state(2).tombstones = true;
    expect(ledger.reclaimable()).toBe(3);
    ledger.remove(3);
    expect(ledger.reclaimable()).toBeUndefined();
  });
});

describe("segments", () => {
  test("without a living block are deleted, durably, one after the other", async () => {
    const disk = new FaultDisk();
    const opened = await openTestLog(temporaryFolder(), { ...SMALL, disk });
    for (let id = 1; id <= 6; id++) await opened.log.put(makeBlock(id, 3000));
    disk.events.length = 0;
    await opened.log.delete([], [{ first: blockId(1n), count: 5 }]);
    await eventually("they are gone", () => segmentCount(opened.directory) <= 3);
    await eventually("the deletions are durable", () => opened.log.stats().segments <= 3);
    const between = disk.events.join(" ").split("unlink").slice(1, -1);
    expect(between.length).toBeGreaterThanOrEqual(2);
    for (const events of between) expect(events).toContain("sync directory");
    await expectHeld(opened.log, makeBlock(6, 3000));
    await close(opened);
    const reopened = await openTestLog(opened.directory, SMALL);
    expect(idsOf(reopened.log)).toEqual([6]);
  });

  test("go at the next opening when the process ended before", async () => {
    const disk = new FaultDisk();
    const { log, directory } = await openTestLog(temporaryFolder(), { ...SMALL, disk });
    for (let id = 1; id <= 4; id++) await log.put(makeBlock(id, 3000));
    disk.holdSyncs = true;
    const deleted = log.delete([], [{ first: blockId(1n), count: 3 }]);
    await eventually("the tombstone is written", () => disk.syncsHeld === 1);
    const killed = copyOf(directory);
    disk.holdSyncs = false;
    disk.releaseSyncs();
    await deleted;
    const reopened = await openTestLog(killed, SMALL);
    expect(idsOf(reopened.log)).toEqual([4]);
    await eventually("they are gone", () => segmentCount(killed) <= 3);
  });

  test("are deleted only after the owner has kept what it needs of them", async () => {
    const oldest: number[] = [];
    const directory = temporaryFolder();
    const { log } = await openTestLog(directory, {
      ...SMALL,
      beforeReclaim: async () => void oldest.push(segmentFile(directory).id.number),
    });
    for (let id = 1; id <= 3; id++) await log.put(makeBlock(id, 3000));
    await log.delete([blockId(1n)]);
    await eventually("the first one is gone", () => segmentFile(directory).id.number > 1);
    expect(oldest).toEqual([1]);
  });

  test("can be read to the end by who had begun", async () => {
    const { log, directory } = await openTestLog(temporaryFolder(), SMALL);
    const block = makeBlock(1, 2 ** 20);
    await log.put(block);
    await log.put(makeBlock(2, 3000));
    await log.put(makeBlock(3, 3000));
    const reads = Array.from({ length: 20 }, () => log.get(block.block, 0, block.length));
    await log.delete([block.block]);
    for (const range of await Promise.all(reads)) {
      expect(Buffer.compare(range.bytes, block.bytes)).toBe(0);
      range.release();
    }
    await eventually("it is gone", () => segmentFile(directory).id.number > 1);
  });

  test("with damage are kept, and so are the tombstones behind them", async () => {
    const { log, directory } = await openTestLog(temporaryFolder(), SMALL);
    for (let id = 1; id <= 3; id++) await log.put(makeBlock(id, 3000));
    const killed = copyOf(directory);
    flipBit(segmentFile(killed, 0).path, 64 + 9); // the header of block 1
    const reopened = await openTestLog(killed, { ...SMALL, compactionRate: 0 });
    await reopened.log.delete([blockId(2n)]);
    await reopened.log.delete([blockId(3n)]);
    for (let id = 4; id <= 6; id++) await reopened.log.put(makeBlock(id, 3000));
    await close(reopened);
    flipBit(segmentFile(killed, 0).path, 64 + 9); // whatever it was, it has passed
    forgetCheckpoint(killed);
    const healed = await openTestLog(killed, { ...SMALL, compactionRate: 0 });
    expect(healed.corruptions).toEqual([]);
    expect(idsOf(healed.log)).toEqual([1, 4, 5, 6]);
  });

  test("a random life of puts, deletes and reopenings keeps exactly what it should", async () => {
    const seed = Number(
      process.env["DFS_TEST_SEED"] ?? crypto.getRandomValues(new Uint32Array(1))[0],
    );
    console.log(`seed ${seed}`);
    const random = seededRandom(seed);
    const held = new Map<number, number>();
    let opened = await openTestLog(temporaryFolder(), SMALL);
    let peak = 0;
    for (let step = 0; step < 1500; step++) {
      const id = 1 + random.below(60);
      const what = random.below(100);
      if (what < 55 && !held.has(id)) {
        const version = random.below(1000);
        await opened.log.put(makeBlock(id, 100 + random.below(1400), version));
        held.set(id, version);
      } else if (what < 97) {
        await opened.log.delete([blockId(BigInt(id))]);
        held.delete(id);
      } else if (what === 97) {
        const killed = copyOf(opened.directory);
        await close(opened);
        opened = await openTestLog(killed, SMALL);
      } else if (what === 98) {
        await close(opened);
        opened = await openTestLog(opened.directory, SMALL);
      }
      peak = Math.max(peak, opened.log.stats().segments);
    }
    expect(idsOf(opened.log)).toEqual([...held.keys()].sort((a, b) => a - b));
    for (const { block, length, checksum } of opened.log.list(blockId(0n), 100).blocks) {
      expect(makeBlock(block, length, held.get(Number(block))).checksum).toBe(checksum);
      (await opened.log.get(block, 0, length)).release();
    }
    expect(opened.corruptions).toEqual([]);
    const { segments } = opened.log.stats();
    console.log(`at most ${peak} segments, ${segments} at the end`);
  });
});
