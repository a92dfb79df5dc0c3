// The checkpoint: what it says, what an opening then reads, and that whatever is wrong with it costs time only.

import { afterEach, describe, expect, test } from "bun:test";
import { truncateSync } from "node:fs";
import { join } from "node:path";
import { realDisk, type Disk } from "../../src/base/disk.ts";
import { blockId, type Lsn } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { seededRandom } from "../../src/base/random.ts";
import { beginOpening } from "../../src/log/beginning.ts";
import { CHECKPOINT_FILE, CHECKPOINT_HEADER_BYTES } from "../../src/log/checkpoint-format.ts";
import { readCheckpoint } from "../../src/log/checkpoint-reader.ts";
import { CompactIndex, type IndexEntry } from "../../src/log/index.ts";
import type { BlockLog } from "../../src/log/log.ts";
import { MANIFEST_FILE } from "../../src/log/manifest.ts";
import { listSegments, segmentFileName } from "../../src/log/segment.ts";
import { SimulatedDisk } from "../support/disk/simulated-disk.ts";
import { DIRECTORY, listed, openSimulated } from "./crash/examine.ts";
import {
  cleanUp,
  close,
  CLUSTER,
  copyOf,
  editFile,
  eventually,
  expectHeld,
  forgetCheckpoint,
  idsOf,
  makeBlock,
  openTestLog,
  segmentFile,
  SERVER,
  temporaryFolder,
} from "./support.ts";

afterEach(cleanUp);

const OWNER = { cluster: CLUSTER, server: SERVER };
const SHAPE = { segmentBytes: 2048, reserveBytes: 0 };
/** A checkpoint with every segment that is sealed. */
const OFTEN = { ...SHAPE, checkpointBytes: 1 };
const PATH = `${DIRECTORY}/${CHECKPOINT_FILE}`;

/** Opens a log, and counts the bytes that this reads of segments. */
async function openCounting(disk: SimulatedDisk, shape: typeof SHAPE = SHAPE) {
  let readBytes = 0;
  disk.plan = ({ kind, path, length }) => {
    if (kind === "read" && path.endsWith(".seg")) readBytes += length;
    return undefined;
  };
  const opened = await openSimulated(disk, shape, 2);
  disk.plan = undefined;
  return { ...opened, readBytes };
}

function segmentBytesOn(disk: SimulatedDisk): number {
  return listSegments(disk, DIRECTORY)
    .map((name) => disk.content(`${DIRECTORY}/${segmentFileName(name)}`).length)
    .reduce((sum, bytes) => sum + bytes, 0);
}

/** What a log holds; not what it has cost to open it. */
function stateOf(log: BlockLog) {
  const { blocks, blockBytes, badReplicas } = log.stats();
  return { ids: idsOf(log), blocks, blockBytes, badReplicas };
}

describe("an opening", () => {
  test("after a closing in good order reads nothing of the segments with records", async () => {
    const disk = new SimulatedDisk(1);
    const { log } = await openSimulated(disk, SHAPE, 1);
    for (let id = 1; id <= 40; id++) await log.put(makeBlock(id, 300));
    await log.close();
    expect(segmentBytesOn(disk)).toBeGreaterThan(40 * 300);
    const opened = await openCounting(disk);
    expect(opened.readBytes).toBeLessThanOrEqual(64); // the header of a spare one
    expect(listed(opened.log).size).toBe(40);
    expect(opened.log.highestBlock).toBe(blockId(40n));
    await expectHeld(opened.log, makeBlock(17, 300));
  });

  test("has few files open at a time, however many segments there are", async () => {
    // What broke: each segment was opened to learn its length, and closed by a thread at some time. With some thousand
    // segments there were more files open than a process may have, and the log could not be opened.
    const disk = new SimulatedDisk(1);
    const { log } = await openSimulated(disk, { ...SHAPE, segmentBytes: 300 }, 1);
    for (let id = 1; id <= 50; id++) await log.put(makeBlock(id, 100));
    await log.close();
    let open = 0;
    let most = 0;
    const counting: Disk = {
      makeDirectory: (path) => disk.makeDirectory(path),
      list: (path) => disk.list(path),
      rename: (from, to) => disk.rename(from, to),
      unlink: (path) => disk.unlink(path),
      syncDirectory: (path) => disk.syncDirectory(path),
      space: (path) => disk.space(path),
      open: (path, mode) => {
        const file = disk.open(path, mode);
        most = Math.max(most, ++open);
        const close = file.close.bind(file);
        file.close = async () => {
          await new Promise((resume) => setImmediate(resume));
          open--;
          await close();
        };
        return file;
      },
    };
    for (const lost of [undefined, MANIFEST_FILE]) {
      if (lost !== undefined) await disk.unlink(`${DIRECTORY}/${lost}`);
      await beginOpening({
        ...OWNER,
        disk: counting,
        directory: DIRECTORY,
        reporter: { report: () => undefined },
        logger: silentLogger,
      });
    }
    expect(listSegments(disk, DIRECTORY).length).toBeGreaterThan(40);
    expect(most).toBeLessThan(4);
  });

  test("after a crash reads what came after the checkpoint, however much is before it", async () => {
    for (const before of [20, 200]) {
      const disk = new SimulatedDisk(1);
      const { log } = await openSimulated(disk, { ...SHAPE, checkpointBytes: 10_000 }, 1);
      for (let id = 1; id <= before; id++) await log.put(makeBlock(id, 300));
      const crashed = disk.fork(1);
      crashed.powerCut("nothing");
      const opened = await openCounting(crashed);
      expect(listed(opened.log).size).toBe(before);
      // Up to 10,000 bytes and a segment, each byte looked at by a walk, some twice, and the last batch written again.
      expect(opened.readBytes).toBeLessThan(3 * (10_000 + 2 * SHAPE.segmentBytes));
      if (before < 100) continue; // no checkpoint yet
      await crashed.unlink(PATH);
      expect((await openCounting(crashed)).readBytes).toBeGreaterThan(before * 300);
    }
  });

  test("with the checkpoint and without it tells the same, after any life", async () => {
    const seed = Number(
      process.env["DFS_TEST_SEED"] ?? crypto.getRandomValues(new Uint16Array(1))[0],
    );
    console.log(`seed ${seed}`);
    const random = seededRandom(seed);
    const disk = new SimulatedDisk(seed);
    let { log } = await openSimulated(disk, OFTEN, seed);
    const held = new Set<number>();
    let nextId = 1;
    let compared = 0;
    for (let step = 0; step < 400; step++) {
      const what = random.below(10);
      if (what < 6) {
        await log.put(makeBlock(nextId, 1 + random.below(600)));
        held.add(nextId++);
      } else if (what < 9) {
        const ids = [...held].filter(() => random.below(4) === 0);
        await log.delete(ids.map((id) => blockId(BigInt(id))));
        for (const id of ids) held.delete(id);
      } else if (random.below(2) === 0) {
        await log.close();
        ({ log } = await openSimulated(disk, OFTEN, seed + step));
      } else {
        const [one, other] = [disk.fork(step), disk.fork(step)];
        if (!one.list(DIRECTORY)!.includes(CHECKPOINT_FILE)) continue;
        await other.unlink(PATH);
        // What follows of an opening by itself, compaction and the deletion of segments, is not what is compared.
        const shape = { ...SHAPE, compactionRate: 0 };
        const [withIt, without] = [
          await openSimulated(one, shape, 1),
          await openSimulated(other, shape, 1),
        ];
        expect(stateOf(withIt.log)).toEqual(stateOf(without.log));
        expect(new Set(idsOf(withIt.log))).toEqual(held);
        expect([...withIt.corruptions, ...without.corruptions]).toEqual([]);
        compared++;
      }
    }
    await log.close();
    expect(compared).toBeGreaterThan(5);
  });
});

describe("a checkpoint", () => {
  test("is made while the log grows, and costs a small part of what is written", async () => {
    const opened = await openTestLog(temporaryFolder(), { segmentBytes: 16_384 });
    for (let id = 1; id <= 500; id++) await opened.log.put(makeBlock(id, 1000));
    await eventually("there is a checkpoint", () => opened.log.stats().checkpoints > 1);
    const { checkpoints, checkpointBytes, segmentBytes } = opened.log.stats();
    expect(checkpoints * checkpointBytes).toBeLessThan(segmentBytes / 4);
    expect(Bun.file(join(opened.directory, CHECKPOINT_FILE)).size).toBeGreaterThan(0);
  });

  test("is not made again by a closing when nothing was written", async () => {
    const opened = await openTestLog(temporaryFolder());
    await opened.log.put(makeBlock(1, 100));
    await close(opened);
    const again = await openTestLog(opened.directory);
    await close(again);
    expect(again.log.stats().checkpoints).toBe(0);
  });

  test("holds what the log was when it was taken, whatever comes while it is written", async () => {
    const index = new CompactIndex();
    const entry = (id: number, position: number): IndexEntry => ({
      block: blockId(BigInt(id)),
      length: 10,
      checksum: BigInt(id),
      segment: 1,
      position: position * 8,
      lsn: BigInt(id) as Lsn,
      rotten: false,
    });
    for (let id = 1; id <= 2000; id++) index.set(entry(id, id));
    const frozen = index.freeze();
    const before = frozen.map((words) => words.slice());
    for (let id = 1; id <= 2000; id += 3) index.delete(blockId(BigInt(id)));
    for (let id = 2; id <= 2000; id += 3) index.set(entry(id, id + 5000));
    for (let id = 3; id <= 2000; id += 3) index.setRotten(entry(id, id), true);
    for (let id = 3000; id <= 4000; id++) index.set(entry(id, id));
    expect(frozen).toEqual(before);
    const copy = new CompactIndex();
    for (const words of before) expect(copy.append(words)).toBe(true);
    expect(copy).toMatchObject({ size: 2000, bytes: 20_000, rotten: 0 });
    expect(copy.get(blockId(1999n))).toEqual(entry(1999, 1999));
  });

  test("that cannot be written leaves the one before, and is tried again", async () => {
    for (const kind of ["create", "write", "sync", "rename", "directorySync"] as const) {
      const disk = new SimulatedDisk(1);
      const { log } = await openSimulated(disk, SHAPE, 1);
      for (let id = 1; id <= 60; id++) await log.put(makeBlock(id, 300));
      await eventually("there is one", () => disk.list(DIRECTORY)!.includes(CHECKPOINT_FILE));
      const fault = { met: false };
      disk.plan = ({ kind: each, path }) => {
        const isOfIt =
          each === "directorySync" ? path === DIRECTORY : path.includes(CHECKPOINT_FILE);
        if (each !== kind || !isOfIt || fault.met) return undefined;
        fault.met = true;
        return { code: "EIO" };
      };
      const { checkpoints } = log.stats();
      for (let id = 61; !fault.met || log.stats().checkpoints === checkpoints; id++) {
        if (id > 5000) throw new Error("no checkpoint was made any more");
        await log.put(makeBlock(id, 300)).catch(() => undefined); // the directory's sync may be that of a segment
      }
      await log.close();
      const { corruptions } = await openSimulated(disk, SHAPE, 2);
      expect(corruptions).toEqual([]);
    }
  });

  test("makes room on a full disk, so that a segment can be deleted", async () => {
    const disk = new SimulatedDisk(1);
    const { log } = await openSimulated(disk, OFTEN, 1);
    for (let id = 1; id <= 12; id++) await log.put(makeBlock(id, 1500));
    await eventually("there is one", () => disk.list(DIRECTORY)!.includes(CHECKPOINT_FILE));
    await log.delete([blockId(12n)]); // the room that a deletion takes in its segment is there now
    const first = segmentFileName(listSegments(disk, DIRECTORY)[0]!);
    disk.plan = ({ kind, path }) =>
      kind === "write" && !path.endsWith(".seg") && disk.list(DIRECTORY)!.includes(CHECKPOINT_FILE)
        ? { code: "ENOSPC" }
        : undefined;
    await log.delete([blockId(1n)]);
    await eventually("it is gone", () => !disk.list(DIRECTORY)!.includes(first));
    expect(disk.list(DIRECTORY)).not.toContain(CHECKPOINT_FILE);
    disk.plan = undefined;
    await log.close();
    const { corruptions, log: again } = await openSimulated(disk, SHAPE, 2);
    expect(corruptions).toEqual([]);
    expect(listed(again)).toEqual(new Set([2, 3, 4, 5, 6, 7, 8, 9, 10, 11]));
  });
});

describe("a checkpoint that is not right", () => {
  async function closedLog(): Promise<string> {
    const opened = await openTestLog(temporaryFolder(), { segmentBytes: 4096 });
    for (let id = 1; id <= 20; id++) await opened.log.put(makeBlock(id, 500));
    await opened.log.delete([3n, 4n, 19n].map(blockId));
    await close(opened);
    return opened.directory;
  }

  test("because it was cut off at any length is damaged, and costs nothing", async () => {
    const directory = await closedLog();
    const path = join(directory, CHECKPOINT_FILE);
    for (let length = Bun.file(path).size - 1; length >= 0; length -= 1 + (length % 13)) {
      truncateSync(path, length);
      expect(readCheckpoint(realDisk, directory, OWNER)).toEqual({
        state: "damaged",
        bytes: length,
      });
    }
    const { log, corruptions } = await openTestLog(directory);
    expect(corruptions.map(({ kind }) => kind)).toEqual(["checkpoint"]);
    expect(idsOf(log)).toEqual([1, 2, ...Array.from({ length: 14 }, (_, at) => at + 5), 20]);
  });

  test("because a chunk is missing, doubled or of another one is damaged", async () => {
    const directory = await closedLog();
    const path = join(directory, CHECKPOINT_FILE);
    const whole = Buffer.from(await Bun.file(path).bytes());
    const chunks: Buffer[] = [];
    for (let at = CHECKPOINT_HEADER_BYTES; at < whole.length;) {
      const length = 16 + Math.ceil(whole.readUInt32BE(at + 4) / 8) * 8;
      chunks.push(whole.subarray(at, at + length));
      at += length;
    }
    expect(chunks.length).toBeGreaterThan(3);
    const head = whole.subarray(0, CHECKPOINT_HEADER_BYTES);
    const isDamaged = (changed: readonly Buffer[]): boolean => {
      editFile(path, () => Buffer.concat([head, ...changed]));
      return readCheckpoint(realDisk, directory, OWNER).state === "damaged";
    };
    expect(isDamaged(chunks)).toBe(false);
    for (let at = 0; at < chunks.length; at++) {
      expect(isDamaged(chunks.toSpliced(at, 1))).toBe(true);
      expect(isDamaged(chunks.toSpliced(at, 0, chunks[at]!))).toBe(true);
    }
    expect(isDamaged([...chunks.slice(0, -2).reverse(), ...chunks.slice(-2)])).toBe(true);
  });

  test("because it is of another server is left alone", async () => {
    const directory = await closedLog();
    const found = readCheckpoint(realDisk, directory, { ...OWNER, server: 9 as never });
    expect(found).toEqual({ state: "other" });
  });

  test("because a segment has another length is not used, and the damage is found", async () => {
    const directory = await closedLog();
    const { path } = segmentFile(directory, 1);
    truncateSync(path, Bun.file(path).size - 200);
    const copy = copyOf(directory);
    forgetCheckpoint(copy);
    const [withIt, without] = [await openTestLog(directory), await openTestLog(copy)];
    expect(withIt.corruptions.length).toBeGreaterThan(0);
    expect(withIt.corruptions).toEqual(without.corruptions);
    expect(idsOf(withIt.log)).toEqual(idsOf(without.log));
  });

  test("because a segment is there that it does not know is not used", async () => {
    const opened = await openTestLog(temporaryFolder(), {
      segmentBytes: 4096,
      checkpointBytes: 1e9,
    });
    for (let id = 1; id <= 20; id++) await opened.log.put(makeBlock(id, 500));
    const early = copyOf(opened.directory); // before the deletion and without a checkpoint
    await opened.log.delete([1n, 2n, 3n, 4n, 5n, 6n, 7n].map(blockId));
    const { path } = segmentFile(early, 0);
    await eventually(
      "the first segment is gone",
      () => !realDisk.list(opened.directory)!.includes(path.split("/").at(-1)!),
    );
    await close(opened);
    const bytes = await Bun.file(path).bytes();
    await Bun.write(join(opened.directory, path.split("/").at(-1)!), bytes);
    const again = await openTestLog(opened.directory);
    // Its blocks are back, because their tombstones went with nothing left to cover; the cluster has them deleted again.
    expect(idsOf(again.log).length).toBeGreaterThanOrEqual(13);
    for (const id of [8, 20]) await expectHeld(again.log, makeBlock(id, 500));
  });
});
