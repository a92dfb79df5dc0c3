// Rot in any byte of any segment, sectors that cannot be read, and writes that went astray: whatever is wrong is noticed
// and named, everything else is served, and nothing is made up. On the simulated disk, so that every byte gets its turn.

import { describe, expect, test } from "bun:test";
import { blockId } from "../../src/base/ids.ts";
import { isDfsError } from "../../src/base/errors.ts";
import { CHECKPOINT_FILE } from "../../src/log/checkpoint-format.ts";
import { SEGMENT_HEADER_BYTES, segmentIdentity } from "../../src/log/format.ts";
import type { BlockToPut } from "../../src/log/log.ts";
import { MANIFEST_FILE } from "../../src/log/manifest.ts";
import { walkSegment } from "../../src/log/reader.ts";
import { listSegments, segmentFileName } from "../../src/log/segment.ts";
import { PAGE_BYTES, SECTOR_BYTES } from "../support/disk/file-state.ts";
import { SimulatedDisk } from "../support/disk/simulated-disk.ts";
import { blockOf, makeBlock } from "./blocks.ts";
import { DIRECTORY, listed, openSimulated } from "./crash/examine.ts";
import { CLUSTER, SERVER } from "./identity.ts";

const SHAPE = { segmentBytes: 2048, reserveBytes: 0 };

interface Damage {
  readonly file: string;
  readonly from: number;
  readonly to: number;
}

/** A closed log of a few segments: blocks of several sizes, a deletion, and an image of a segment as a block. */
async function closedLog(
  shape = SHAPE,
): Promise<{ disk: SimulatedDisk; blocks: Map<number, BlockToPut> }> {
  const disk = new SimulatedDisk(1);
  const { log } = await openSimulated(disk, shape, 1);
  const blocks = new Map<number, BlockToPut>();
  const put = async (block: BlockToPut): Promise<void> => {
    await log.put(block);
    blocks.set(Number(block.block), block);
  };
  for (const [id, length] of [1, 13, 300, 700, 64, 509].entries()) {
    await put(makeBlock(id + 1, length));
  }
  const newest = pathsOf(disk).at(-1)!;
  await put(blockOf(7, disk.content(newest).slice(SEGMENT_HEADER_BYTES)));
  await put(blockOf(8, disk.content(newest).slice(0, 400)));
  await log.delete([blockId(3n)]);
  blocks.delete(3);
  for (const [id, length] of [200, 31].entries()) await put(makeBlock(id + 9, length));
  await log.close();
  return { disk, blocks };
}

function pathsOf(disk: SimulatedDisk): string[] {
  return listSegments(disk, DIRECTORY).map((name) => `${DIRECTORY}/${segmentFileName(name)}`);
}

/** Opens a log with damage, reads and walks through all of it, and says what it serves and what it found. */
async function lookAt(disk: SimulatedDisk, blocks: ReadonlyMap<number, BlockToPut>) {
  const whole = new Map(pathsOf(disk).map((path) => [path, disk.content(path).length]));
  const { log, corruptions } = await openSimulated(disk, SHAPE, 2);
  const damage: Damage[] = [];
  const served = new Set<number>();
  const made = makeBlock(3, 300); // deleted: back when its tombstone has rotted, but with its own bytes
  for (const id of listed(log)) {
    const block = blocks.get(id) ?? (id === 3 ? made : undefined);
    if (block === undefined) throw new Error(`block ${id} was made up`);
    try {
      const range = await log.get(blockId(BigInt(id)), 0, block.length);
      expect(Buffer.compare(range.bytes, block.bytes)).toBe(0);
      range.release();
      served.add(id);
    } catch (error) {
      if (!isDfsError(error, "badChecksum") && !isDfsError(error, "io")) throw error;
    }
  }
  damage.push(...corruptions);
  for (const name of listSegments(disk, DIRECTORY)) {
    const path = `${DIRECTORY}/${segmentFileName(name)}`;
    const file = segmentFileName(name);
    const identity = segmentIdentity(CLUSTER, SERVER, name.number, name.salt);
    for (const each of walkSegment(disk.open(path, "read"), identity, { bodies: "all" })) {
      if (each.type === "damage") damage.push({ file, from: each.from, to: each.to });
    }
    const cut = disk.content(path).length;
    if (cut < whole.get(path)!) damage.push({ file, from: cut, to: whole.get(path)! });
  }
  return { served, damage };
}

describe("in a closed log", () => {
  test("a flipped bit in any byte is named, and costs at most the record that it is in", async () => {
    const { disk, blocks } = await closedLog();
    let flips = 0;
    for (const path of pathsOf(disk)) {
      const file = path.slice(DIRECTORY.length + 1);
      const records = recordsOf(disk, path);
      for (let position = 0; position < disk.content(path).length; position++, flips++) {
        const copy = disk.fork(position);
        copy.flip(path, position, 1 << (position % 8));
        await copy.unlink(`${DIRECTORY}/${CHECKPOINT_FILE}`);
        const { served, damage } = await lookAt(copy, blocks);
        const where = `${file} byte ${position}`;
        const isNamed = damage.some(
          (each) => each.file === file && each.from <= position && position < each.to,
        );
        expect({ where, isNamed }).toEqual({ where, isNamed: true });
        const hit = records.find(({ from, to }) => from <= position && position < to);
        const lost = [...blocks.keys()].filter((id) => !served.has(id) && id !== hit?.block);
        expect({ where, lost }).toEqual({ where, lost: [] });
        const isBack = served.has(3) && hit?.kind !== "tombstone";
        expect({ where, isBack }).toEqual({ where, isBack: false });
      }
    }
    expect(flips).toBeGreaterThan(4000);
  });

  test("behind a checkpoint, a flipped bit in any byte of a segment costs at most the block that it is in", async () => {
    const { disk, blocks } = await closedLog();
    for (const path of pathsOf(disk)) {
      const records = recordsOf(disk, path);
      for (let position = 0; position < disk.content(path).length; position++) {
        const copy = disk.fork(position);
        copy.flip(path, position, 1 << (position % 8));
        const { served } = await lookAt(copy, blocks);
        const hit = records.find(({ from, to }) => from <= position && position < to);
        const lost = [...blocks.keys()].filter((id) => !served.has(id) && id !== hit?.block);
        const where = `${path} byte ${position}`;
        expect({ where, lost, isBack: served.has(3) }).toEqual({ where, lost: [], isBack: false });
      }
    }
  });

  test.each([MANIFEST_FILE, CHECKPOINT_FILE])(
    "a flipped bit in any byte of the %s is named and costs nothing, and the file is made anew",
    async (file) => {
      const { disk, blocks } = await closedLog();
      const path = `${DIRECTORY}/${file}`;
      for (let position = 0; position < disk.content(path).length; position++) {
        const copy = disk.fork(position);
        copy.flip(path, position, 1 << (position % 8));
        const { log, corruptions } = await openSimulated(copy, SHAPE, 2);
        const { length } = disk.content(path);
        expect(corruptions).toEqual([
          { kind: file === MANIFEST_FILE ? "manifest" : "checkpoint", file, from: 0, to: length },
        ]);
        expect(listed(log)).toEqual(new Set(blocks.keys()));
        await log.close();
        const again = await openSimulated(copy, SHAPE, 2);
        expect(again.corruptions).toEqual([]);
        expect(listed(again.log)).toEqual(new Set(blocks.keys()));
        expect(again.log.stats().checkpointBytes).toBeGreaterThan(0);
      }
    },
  );

  test("a sector that cannot be read is named, and costs at most what lies in its page of 4 KiB", async () => {
    const { disk, blocks } = await closedLog({ ...SHAPE, segmentBytes: 65_536 });
    const { log } = await openSimulated(disk, { ...SHAPE, segmentBytes: 65_536 }, 3);
    for (let id = 11; id < 40; id++) {
      blocks.set(id, makeBlock(id, id * 40));
      await log.put(blocks.get(id)!);
    }
    await log.close();
    for (const path of pathsOf(disk)) {
      const file = path.slice(DIRECTORY.length + 1);
      const records = recordsOf(disk, path);
      const { length } = disk.content(path);
      for (let sector = 0; sector < length; sector += SECTOR_BYTES) {
        const copy = disk.fork(sector);
        copy.unreadable(path, sector);
        const { served, damage } = await lookAt(copy, blocks);
        const page = sector - (sector % PAGE_BYTES);
        const touched = records
          .filter(({ from, to }) => from < page + PAGE_BYTES && to > page)
          .map(({ block }) => block);
        const lost = [...blocks.keys()].filter((id) => !served.has(id) && !touched.includes(id));
        const isNamed = damage.some((each) => each.file === file && each.from < sector + 512);
        expect({ file, sector, lost, isNamed }).toEqual({ file, sector, lost: [], isNamed: true });
      }
    }
  });
});

test("a write that went astray is noticed, and makes nothing up", async () => {
  const blocks = new Map(
    [300, 20, 500, 100, 7, 900, 64, 250].map((length, at) => [at + 1, makeBlock(at + 1, length)]),
  );
  let missing = 0;
  for (let astray = 0; astray < blocks.size; astray++) {
    for (const goesTo of [0, 64, 200, 640, 1000, 1504, 3000]) {
      const disk = new SimulatedDisk(astray);
      let writes = 0;
      const { log } = await openSimulated(disk, SHAPE, astray);
      disk.plan = ({ kind, path, position }) =>
        kind === "write" && path.endsWith(".seg") && position > 0 && writes++ === astray
          ? { goesTo }
          : undefined;
      for (const block of blocks.values()) await log.put(block);
      await log.close();
      disk.plan = undefined;
      disk.powerCut("nothing");
      const { served, damage } = await lookAt(disk, blocks);
      const lost = [...blocks.keys()].filter((id) => !served.has(id));
      missing += lost.length;
      if (lost.length > 0) expect(damage.length).toBeGreaterThan(0);
    }
  }
  expect(missing).toBeGreaterThan(10);
});

/** Where the records of a segment lie, and the blocks that they hold. */
function recordsOf(disk: SimulatedDisk, path: string) {
  const name = listSegments(disk, DIRECTORY).find((each) => path.endsWith(segmentFileName(each)))!;
  const identity = segmentIdentity(CLUSTER, SERVER, name.number, name.salt);
  return [...walkSegment(disk.open(path, "read"), identity, { bodies: "all" })].map((each) => {
    if (each.type !== "record") throw new Error(`${path} is damaged already`);
    const { header, end } = each;
    const block = header.kind === "put" ? Number(header.block) : undefined;
    return { kind: header.kind, block, from: header.position, to: end };
  });
}
