// Blocks found where they lie, for who sends them without having read them: the right bytes, as long as nothing seems to be wrong.

import { afterEach, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { realDisk, type Disk, type DiskFile } from "../../src/base/disk.ts";
import { isDfsError } from "../../src/base/errors.ts";
import type { BlockLog, BlockToPut } from "../../src/log/log.ts";
import { cleanUp, close, flipBit, makeBlock, openTestLog, temporaryFolder } from "./support.ts";
import { failureOf, messageOfFailure } from "../support/failure.ts";

afterEach(cleanUp);

const KIB = 1024;
const block = makeBlock(7, 1_000_000);

/** What is found of a block, read: pieces and bytes; undefined when it is to be read instead. */
async function found(log: BlockLog, { block: id }: BlockToPut, offset: number, length: number) {
  const range = await log.find(id, offset, length);
  if (range === undefined) return undefined;
  const { pieces, part, blockLength } = range;
  const bytes = await part.read(0);
  range.release();
  return { blockLength, pieces, bytes };
}

/** The segment that holds a block, and where its first byte is. */
function placeOf(directory: string, { bytes }: BlockToPut): { path: string; at: number } {
  for (const name of readdirSync(directory).filter((each) => each.endsWith(".seg"))) {
    const at = readFileSync(join(directory, name)).indexOf(bytes.subarray(0, 64));
    if (at >= 0) return { path: join(directory, name), at };
  }
  throw new Error("no segment holds the block");
}

describe("finding a range of a block", () => {
  test("names the whole pieces that it touches, and the hashes of all", async () => {
    const { log } = await openTestLog(temporaryFolder());
    await log.put(block);
    for (const [offset, length] of [
      [0, 1_000_000],
      [1, 999_999],
      [65_535, 131_073],
      [65_536, 131_073],
      [800_000, 200_000],
    ] as const) {
      const from = Math.floor(offset / 65_536) * 65_536;
      const to = Math.min(1_000_000, Math.ceil((offset + length) / 65_536) * 65_536);
      const range = await found(log, block, offset, length);
      expect(range?.blockLength).toBe(1_000_000);
      expect(Buffer.from(range!.pieces).equals(block.pieces)).toBe(true);
      expect(Buffer.compare(range!.bytes, block.bytes.subarray(from, to))).toBe(0);
    }
  });

  test("fails as a read does", async () => {
    const opened = await openTestLog(temporaryFolder());
    const { log } = opened;
    await log.put(block);
    expect(await messageOfFailure(log.find(makeBlock(8, 1).block, 0, 1))).toContain(
      "does not hold block 8",
    );
    expect(await messageOfFailure(log.find(block.block, 999_999, 2))).toContain(
      "cannot read 2 bytes",
    );
    expect(await messageOfFailure(log.find(block.block, 0, 0))).toContain("cannot read 0 bytes");
    await close(opened);
    expect(await messageOfFailure(log.find(block.block, 0, 1))).toContain("shutting down");
  });

  test("is left to a read when it is short, and where nothing is known of the system's memory", async () => {
    const { log } = await openTestLog(temporaryFolder());
    await log.put(block);
    expect(await found(log, block, 0, 128 * KIB)).toBeUndefined();
    expect(await found(log, block, 0, 128 * KIB + 1)).toBeDefined();
    const other = await openTestLog(temporaryFolder(), { disk: withoutParts() });
    await other.log.put(block);
    expect(await found(other.log, block, 0, 1_000_000)).toBeUndefined();
  });

  test("is left to a read, which tells, when header or hashes are wrong; a wrong byte is the receiver's to see", async () => {
    for (const back of [1, 100]) {
      const { log, directory, corruptions } = await openTestLog(temporaryFolder());
      await log.put(block);
      const { path, at } = placeOf(directory, block);
      flipBit(path, at - back); // in the list of hashes, and in the header before that
      expect(await found(log, block, 0, 1_000_000)).toBeUndefined();
      expect(corruptions).toEqual([]);
      expect(await messageOfFailure(log.get(block.block, 0, 1_000_000))).toContain("is damaged");
      expect(corruptions).toHaveLength(1);
    }
    const { log, directory } = await openTestLog(temporaryFolder());
    await log.put(block);
    const { path, at } = placeOf(directory, block);
    flipBit(path, at + 500_000);
    expect((await found(log, block, 0, 1_000_000))?.bytes.length).toBe(1_000_000);
    expect(await messageOfFailure(log.get(block.block, 0, 1_000_000))).toContain("is damaged");
    expect(await found(log, block, 0, 1_000_000)).toBeUndefined(); // known to be rotten now
  });

  test("is left to a read when the file ends before it does", async () => {
    const { log, directory } = await openTestLog(temporaryFolder());
    await log.put(block);
    const { path, at } = placeOf(directory, block);
    truncateSync(path, at + 999_999);
    expect(await found(log, block, 0, 1_000_000)).toBeUndefined();
    expect(await found(log, block, 0, 500_000)).toBeDefined();
  });

  test("is left to a read, which tells, when the segment cannot be opened", async () => {
    const opened = await openTestLog(temporaryFolder());
    await opened.log.put(block);
    await close(opened);
    const { log, directory } = await openTestLog(opened.directory); // has opened no segment for reading yet
    rmSync(placeOf(directory, block).path);
    expect(await found(log, block, 0, 1_000_000)).toBeUndefined();
    expect(isDfsError(await failureOf(log.get(block.block, 0, 1_000_000)), "io")).toBe(true);
  });

  test("is left to a read when the file cannot be looked at, and keeps no segment open", async () => {
    const opened = await openTestLog(temporaryFolder(), { disk: withoutParts(failingPart) });
    await opened.log.put(block);
    expect(await found(opened.log, block, 0, 1_000_000)).toBeUndefined();
    await close(opened); // would wait for who holds a segment
  });

  test("that cannot be sent is read, which tells whether it is rotten", async () => {
    const rotten: bigint[] = [];
    const { log, directory } = await openTestLog(temporaryFolder(), {
      onRotten: (id) => rotten.push(id),
    });
    await log.put(block);
    const range = (await log.find(block.block, 0, 1_000_000))!;
    truncateSync(placeOf(directory, block).path, 4096);
    range.part.failed!();
    range.release();
    while (rotten.length === 0) await Bun.sleep(1);
    expect(rotten).toEqual([7n]);
  });

  test("outlives the deletion of its segment until it is released", async () => {
    const { log, directory } = await openTestLog(temporaryFolder(), { segmentBytes: 1024 * KIB });
    await log.put(block);
    const range = (await log.find(block.block, 0, 1_000_000))!;
    const { path } = placeOf(directory, block);
    await log.put(makeBlock(8, 900_000)); // seals the segment
    await log.delete([block.block]);
    while (readdirSync(directory).some((name) => path.endsWith(name))) await Bun.sleep(1);
    expect(Buffer.compare(await range.part.read(0), block.bytes)).toBe(0);
    range.release();
  });
});

/** A `part` of a file of whose disk nothing comes any more. */
function failingPart(): never {
  throw Object.assign(new Error("EIO: made by a test"), { code: "EIO" });
}

/** A disk that tells nothing of the system's memory, unless by `part`. */
function withoutParts(part?: DiskFile["part"]): Disk {
  const open: Disk["open"] = (path, mode) => {
    const file = realDisk.open(path, mode);
    return {
      path,
      size: () => file.size(),
      readNow: (target, position) => file.readNow(target, position),
      read: (target, position) => file.read(target, position),
      write: (parts, position) => file.write(parts, position),
      truncate: (length) => file.truncate(length),
      syncData: () => file.syncData(),
      sync: () => file.sync(),
      close: () => file.close(),
      ...(part && { part }),
    };
  };
  return { ...realDisk, open };
}
