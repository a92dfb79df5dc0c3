// What follows an opening with a checkpoint, or one that could not use it: stories of what broke, or would.

import { describe, expect, test } from "bun:test";
import { blockId } from "../../src/base/ids.ts";
import { CHECKPOINT_FILE } from "../../src/log/checkpoint-format.ts";
import type { BlockLog } from "../../src/log/log.ts";
import { listSegments, segmentFileName } from "../../src/log/segment.ts";
import { SimulatedDisk } from "../support/disk/simulated-disk.ts";
import { DIRECTORY, listed, openSimulated } from "./crash/examine.ts";
import { eventually, expectError, expectHeld, expectNotHeld, makeBlock } from "./support.ts";

const SHAPE = { segmentBytes: 2048, reserveBytes: 0 };
/** A checkpoint with every segment that is sealed. */
const OFTEN = { ...SHAPE, checkpointBytes: 1 };
const PATH = `${DIRECTORY}/${CHECKPOINT_FILE}`;

describe("compaction after an opening with a checkpoint", () => {
  const still = { ...OFTEN, compactionRate: 0 };
  const compacting = { ...SHAPE, checkpointBytes: 2 ** 40 };
  const ids = (...numbers: number[]) => numbers.map((id) => blockId(BigInt(id)));
  const segmentsOn = (disk: SimulatedDisk) => listSegments(disk, DIRECTORY).map(segmentFileName);

  /** Fills the first segment. */
  async function withFirstSegment(disk: SimulatedDisk): Promise<BlockLog> {
    const { log } = await openSimulated(disk, still, 1);
    for (let id = 1; id <= 5; id++) await log.put(makeBlock(id, 230));
    return log;
  }

  /** Makes segments dead until all are gone that were there, but the first. */
  async function turnOver(disk: SimulatedDisk, log: BlockLog, firstId: number): Promise<void> {
    const [first, ...others] = segmentsOn(disk);
    for (let id = firstId; id <= firstId + 6; id++) await log.put(makeBlock(id, 500));
    await log.delete(Array.from({ length: 6 }, (_, at) => blockId(BigInt(firstId + at))));
    await eventually("they are gone", () =>
      others.every((name) => !disk.list(DIRECTORY)!.includes(name)),
    );
    expect(disk.list(DIRECTORY)).toContain(first);
  }

  /** What is left when the power fails; the last checkpoint is an old one. */
  function afterPowerCut(disk: SimulatedDisk): SimulatedDisk {
    const crashed = disk.fork(1);
    crashed.powerCut("everything");
    return crashed;
  }

  test("keeps a tombstone that it had copied behind the checkpoint as long as its put is there", async () => {
    // What breaks without the rule for copies (docs/log-format.md, "Checkpoint", 3): the opening does not see what the
    // copy is for, compaction leaves it behind, and the next opening that reads all segments brings the block back.
    const disk = new SimulatedDisk(1);
    let log = await withFirstSegment(disk);
    await log.put(makeBlock(10, 500));
    await log.delete(ids(1)); // in the second segment, and covered by the checkpoint
    for (let id = 11; id <= 13; id++) await log.put(makeBlock(id, 500));
    await log.close();
    ({ log } = await openSimulated(disk, compacting, 2));
    await log.delete(ids(10, 11, 12, 13));
    await eventually("the second is gone", () => segmentsOn(disk)[1]! > "000000000003");

    const crashed = afterPowerCut(disk);
    ({ log } = await openSimulated(crashed, compacting, 3));
    await turnOver(crashed, log, 20);
    const again = afterPowerCut(crashed);
    await again.unlink(PATH);
    ({ log } = await openSimulated(again, still, 4));
    expect(listed(log)).toEqual(new Set([2, 3, 4, 5, 26]));
  });

  test("knows that the blocks of a deleted segment are gone, when their tombstones have gone as well", async () => {
    const disk = new SimulatedDisk(1);
    const first = await withFirstSegment(disk);
    await first.put(makeBlock(10, 500)); // the first segment is sealed, and has a checkpoint
    await first.close();
    let { log } = await openSimulated(disk, compacting, 2);
    const old = disk.content(PATH).slice();
    await log.delete(ids(1, 2, 3, 4, 5));
    const withTombstone = segmentsOn(disk).at(-1)!;
    for (let id = 11; id <= 16; id++) await log.put(makeBlock(id, 500));
    await log.delete(ids(10, 11, 12, 13));
    await eventually("both are gone", () => segmentsOn(disk)[0]! > withTombstone);
    const crashed = afterPowerCut(disk);
    expect(crashed.content(PATH)).toEqual(old);
    ({ log } = await openSimulated(crashed, still, 3));
    expect(listed(log)).toEqual(new Set([14, 15, 16]));
    await expectNotHeld(log, 1);
  });

  test("keeps a copy that has become rotten, when the record that it is a copy of is gone", async () => {
    // What broke: the checkpoint named the record that compaction had deleted since, and that one was preferred to a rotten
    // copy. The block was forgotten, and its copy, whose good pieces can be read, counted as dead and was deleted.
    const disk = new SimulatedDisk(1);
    const first = await withFirstSegment(disk);
    await first.put(makeBlock(10, 500)); // the first segment is sealed, and has a checkpoint
    await first.put(makeBlock(11, 500));
    await first.close();
    let { log } = await openSimulated(disk, compacting, 2);
    const [source] = segmentsOn(disk);
    await log.delete(ids(2, 3, 4));
    await eventually("the source is gone", () => !disk.list(DIRECTORY)!.includes(source!));
    await log.put(makeBlock(12, 100)); // it says that the copies are durable
    const path = `${DIRECTORY}/${segmentsOn(disk).at(-1)!}`;
    const block = makeBlock(1, 230);
    disk.flip(path, Buffer.from(disk.content(path)).indexOf(block.bytes));
    const crashed = afterPowerCut(disk);
    const opened = await openSimulated(crashed, still, 3);
    log = opened.log;
    expect(opened.corruptions).toMatchObject([{ kind: "recordBody", block: 1n }]);
    expect(log.stats().badReplicas).toBe(1);
    await expectError("badChecksum", log.get(block.block, 0, 230));
    await log.put(block);
    await expectHeld(log, block);
  });

  test("keeps the tombstone of a block as long as a rotten copy of it is there, which was put again", async () => {
    const disk = new SimulatedDisk(1);
    let log = await withFirstSegment(disk);
    await log.put(makeBlock(10, 500));
    disk.flip(`${DIRECTORY}/${segmentsOn(disk)[0]!}`, 64 + 200); // in the bytes of block 1
    await log.put(makeBlock(1, 230));
    await log.close();
    ({ log } = await openSimulated(disk, compacting, 2));
    await log.delete(ids(1, 10));
    await turnOver(disk, log, 20);
    const crashed = afterPowerCut(disk);
    await crashed.unlink(PATH);
    ({ log } = await openSimulated(crashed, still, 3));
    expect(listed(log)).toEqual(new Set([2, 3, 4, 5, 26]));
    await expectNotHeld(log, 1);
  });
});

describe("an opening that cannot use the checkpoint", () => {
  const still = { ...OFTEN, compactionRate: 0 };
  const withoutNewOnes = { ...still, checkpointBytes: 2 ** 40 };

  test("takes it away: it knows what the segments do not tell any more", async () => {
    // What broke: a segment with a tombstone was lost, so its block was held again, and a put of it was acknowledged for
    // that. The next opening missed no segment, used the old checkpoint, in which the block was dead, and lost it.
    const disk = new SimulatedDisk(1);
    let { log } = await openSimulated(disk, still, 1);
    for (let id = 1; id <= 5; id++) await log.put(makeBlock(id, 230)); // the first segment
    await log.put(makeBlock(10, 500));
    await log.delete([blockId(1n)]); // in the second one
    for (let id = 11; id <= 13; id++) await log.put(makeBlock(id, 500));
    await log.close();
    expect(disk.list(DIRECTORY)).toContain(CHECKPOINT_FILE);
    await disk.unlink(`${DIRECTORY}/${segmentFileName(listSegments(disk, DIRECTORY)[1]!)}`);

    const opened = await openSimulated(disk, withoutNewOnes, 2);
    log = opened.log;
    expect(opened.corruptions.map(({ kind }) => kind)).toEqual(["lostSegment"]);
    await log.put(makeBlock(1, 230));
    const shown = listed(log);
    expect(shown).toContain(1);
    disk.powerCut("nothing");
    const again = await openSimulated(disk, withoutNewOnes, 3);
    expect(listed(again.log)).toEqual(shown);
    await expectHeld(again.log, makeBlock(1, 230));
  });

  test("has reported that it is damaged, and the next one does not", async () => {
    const disk = new SimulatedDisk(1);
    const { log } = await openSimulated(disk, still, 1);
    for (let id = 1; id <= 5; id++) await log.put(makeBlock(id, 230));
    await log.close();
    disk.flip(PATH, 120);
    const kinds: string[][] = [];
    for (let opening = 0; opening < 2; opening++) {
      const { corruptions } = await openSimulated(disk, withoutNewOnes, 2);
      kinds.push(corruptions.map(({ kind }) => kind));
      disk.powerCut("nothing");
    }
    expect(kinds).toEqual([["checkpoint"], []]);
  });
});
