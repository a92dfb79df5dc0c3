// The manifest: its bytes, and that a segment which disappears is noticed.

import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, renameSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { hash64 } from "../../src/base/checksum.ts";
import { realDisk } from "../../src/base/disk.ts";
import { blockId, clusterId, serverId } from "../../src/base/ids.ts";
import { isDfsError } from "../../src/base/errors.ts";
import { decodeManifest, encodeManifest, MANIFEST_FILE } from "../../src/log/manifest.ts";
import { RECORD_HEADER_BYTES } from "../../src/log/record.ts";
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
  expectError,
  expectHeld,
  findingsOf,
  flipBit,
  idsOf,
  makeBlock,
  openTestLog,
  segmentFile,
  SERVER,
  temporaryFolder,
  tornFiles,
} from "./support.ts";

afterEach(cleanUp);

const OWNER = { cluster: CLUSTER, server: SERVER };
const SEGMENTS = [
  { number: 1, salt: 1n },
  { number: 7, salt: 2n ** 64n - 1n },
  { number: 2 ** 33, salt: 0x1234n },
];
const SMALL = { segmentBytes: 4096, compactionRate: 0 };

describe("the bytes of a manifest", () => {
  test("tell what was written", () => {
    expect(decodeManifest(OWNER, encodeManifest(OWNER, SEGMENTS))).toEqual(SEGMENTS);
    expect(decodeManifest(OWNER, encodeManifest(OWNER, []))).toEqual([]);
  });

  test("tell nothing when they are cut off, too long, or a bit of them has turned over", () => {
    const bytes = encodeManifest(OWNER, SEGMENTS);
    for (let length = 0; length < bytes.length; length++) {
      expect(decodeManifest(OWNER, bytes.subarray(0, length))).toBeUndefined();
    }
    expect(decodeManifest(OWNER, Buffer.concat([bytes, new Uint8Array(16)]))).toBeUndefined();
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = bytes.slice();
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      expect(decodeManifest(OWNER, flipped)).toBeUndefined();
    }
  });

  test("of a newer build, another cluster or another server are refused, and the file is named", async () => {
    const opened = await openTestLog(temporaryFolder());
    await opened.log.put(makeBlock(1, 10));
    await close(opened);
    const path = join(opened.directory, MANIFEST_FILE);
    const write = (bytes: Uint8Array): void => editFile(path, () => Buffer.from(bytes));
    const newer = encodeManifest(OWNER, SEGMENTS);
    newer[11] = 2;
    const view = new DataView(newer.buffer);
    view.setBigUint64(48, hash64(newer.subarray(0, 48)));
    write(newer);
    const error = await expectError("unsupported", openTestLog(opened.directory));
    expect(error.message).toContain(path);
    write(encodeManifest({ ...OWNER, server: serverId(9) }, SEGMENTS));
    await expectError("wrongPeer", openTestLog(opened.directory));
    const cluster = clusterId("ff".repeat(16));
    write(encodeManifest({ ...OWNER, cluster }, SEGMENTS));
    await expectError("wrongCluster", openTestLog(opened.directory));
  });
});

describe("a segment that has disappeared", () => {
  /** A killed log of several segments with a block in each. */
  async function killed(): Promise<string> {
    const { log, directory } = await openTestLog(temporaryFolder(), SMALL);
    for (let id = 1; id <= 4; id++) await log.put(makeBlock(id, 3000));
    return copyOf(directory);
  }

  test("is named once, and everything else is served", async () => {
    const directory = await killed();
    const { path } = segmentFile(directory, 1);
    rmSync(path);
    const opened = await openTestLog(directory, SMALL);
    expect(opened.corruptions).toEqual([
      { kind: "lostSegment", file: basename(path), from: 0, to: 0 },
    ]);
    expect(idsOf(opened.log)).toEqual([1, 3, 4]);
    for (const id of [1, 3, 4]) await expectHeld(opened.log, makeBlock(id, 3000));
    await opened.log.put(makeBlock(2, 3000));
    await close(opened);
    const again = await openTestLog(directory, SMALL);
    expect(again.corruptions).toEqual([]);
    expect(idsOf(again.log)).toEqual([1, 2, 3, 4]);
  });

  test("with the newest records takes no number with it: later ones are higher", async () => {
    const { log, directory } = await openTestLog(temporaryFolder(), SMALL);
    let last = 0n;
    for (let id = 1; id <= 4; id++) last = await log.put(makeBlock(id, 3000));
    const copy = copyOf(directory);
    const { number } = segmentFile(copy, -1).id;
    while (idsIn(copy).includes(4)) rmSync(segmentFile(copy, -1).path);
    const opened = await openTestLog(copy, SMALL);
    expect(opened.corruptions.length).toBeGreaterThan(0);
    expect(await opened.log.put(makeBlock(9, 10))).toBeGreaterThan(last);
    expect(segmentFile(copy, -1).id.number).toBeGreaterThan(number);
  });

  test("makes those before it inner ones: damage in them is not taken for a torn write", async () => {
    const { log, directory } = await openTestLog(temporaryFolder(), SMALL);
    await Promise.all([log.put(makeBlock(1, 500)), log.put(makeBlock(2, 500))]);
    const copy = copyOf(directory);
    const [, second] = findingsOf(copy, 0);
    flipBit(segmentFile(copy, 0).path, second!.header!.position + RECORD_HEADER_BYTES + 100);
    const torn = copyOf(copy);
    const asTail = await openTestLog(torn, SMALL);
    expect(asTail.corruptions).toEqual([]);
    expect(tornFiles(torn)).toHaveLength(1);

    await log.put(makeBlock(3, 3000)); // in the next segment
    const name = basename(segmentFile(directory, -1).path);
    const later = copyOf(directory);
    flipBit(segmentFile(later, 0).path, second!.header!.position + RECORD_HEADER_BYTES + 100);
    while (segmentFile(later, -1).id.number > 1) rmSync(segmentFile(later, -1).path);
    const asInner = await openTestLog(later, SMALL);
    expect(asInner.corruptions.map(({ file }) => file)).toContain(name);
    expect(tornFiles(later)).toEqual([]);
    expect(idsOf(asInner.log)).toEqual([1, 2]);
    await expectError("badChecksum", asInner.log.get(blockId(2n), 0, 500));
  });

  test("is told again, with all that follows from it, until something has been written", async () => {
    // What broke: the first opening wrote a manifest without it. The second one gave its number and its LSNs out again, and
    // took damage in front of it for a torn write: it cut whole records off that had been acknowledged.
    const { log, directory } = await openTestLog(temporaryFolder(), SMALL);
    const lengths = [500, 500, 500, 3000]; // the last one seals the first segment, in the same batch
    const lsns = await Promise.all(lengths.map((length, at) => log.put(makeBlock(at + 1, length))));
    const last = lsns.at(-1)!;
    const copy = copyOf(directory);
    const [, second] = findingsOf(copy, 0);
    flipBit(segmentFile(copy, 0).path, second!.header!.position + RECORD_HEADER_BYTES + 100);
    const { number } = segmentFile(copy, -1).id;
    while (segmentFile(copy, -1).id.number > 1) rmSync(segmentFile(copy, -1).path);

    const killed = [copy];
    for (let opening = 0; opening < 3; opening++) {
      const opened = await openTestLog(killed.at(-1)!, SMALL);
      expect(opened.corruptions.map(({ kind }) => kind)).toContain("lostSegment");
      expect(idsOf(opened.log)).toContain(3);
      expect(tornFiles(killed.at(-1)!)).toEqual([]);
      killed.push(copyOf(killed.at(-1)!));
    }
    const again = killed.at(-1)!;
    const opened = await openTestLog(again, SMALL);
    expect(await opened.log.put(makeBlock(9, 10))).toBeGreaterThan(last);
    expect(segmentFile(again, -1).id.number).toBeGreaterThan(number);
    await close(opened);
    const after = await openTestLog(again, SMALL);
    expect(after.corruptions.map(({ kind }) => kind)).not.toContain("lostSegment");
    expect(idsOf(after.log)).toEqual(idsOf(opened.log));
  });

  test("and comes back is taken like any other", async () => {
    const directory = await killed();
    const { path } = segmentFile(directory, 1);
    const elsewhere = join(temporaryFolder(), "away");
    renameSync(path, elsewhere);
    await close(await openTestLog(directory, SMALL));
    renameSync(elsewhere, path);
    const opened = await openTestLog(directory, SMALL);
    expect(opened.corruptions).toEqual([]);
    expect(idsOf(opened.log)).toEqual([1, 2, 3, 4]);
  });

  function idsIn(directory: string): number[] {
    return listSegments(realDisk, directory).flatMap((_, place) =>
      findingsOf(directory, place).flatMap(({ header }) =>
        header?.kind === "put" ? [Number(header.block)] : [],
      ),
    );
  }
});

test("a manifest that is missing beside records is reported, and made anew", async () => {
  const opened = await openTestLog(temporaryFolder(), SMALL);
  for (let id = 1; id <= 3; id++) await opened.log.put(makeBlock(id, 3000));
  await close(opened);
  const path = join(opened.directory, MANIFEST_FILE);
  rmSync(path);
  const again = await openTestLog(opened.directory, SMALL);
  expect(again.corruptions).toEqual([{ kind: "manifest", file: MANIFEST_FILE, from: 0, to: 0 }]);
  expect(idsOf(again.log)).toEqual([1, 2, 3]);
  expect(existsSync(path)).toBe(true);
});

test("a segment whose deletion a crash cut short between manifest and file is taken again, and nothing is missed", async () => {
  const disk = new SimulatedDisk(1);
  const shape = { segmentBytes: 2048, reserveBytes: 0 };
  const { log } = await openSimulated(disk, shape, 1);
  for (let id = 1; id <= 3; id++) await log.put(makeBlock(id, 1500));
  const first = segmentFileName(listSegments(disk, DIRECTORY)[0]!);
  let cut: SimulatedDisk | undefined;
  disk.plan = ({ kind, path }) => {
    if (kind === "unlink" && path.endsWith(first)) cut ??= disk.fork(1);
    return undefined;
  };
  await log.delete([blockId(1n)]);
  await eventually("the segment is to be deleted", () => cut !== undefined);
  cut!.powerCut("everything");
  const opened = await openSimulated(cut!, shape, 2);
  expect(opened.corruptions).toEqual([]);
  expect(listed(opened.log)).toEqual(new Set([2, 3]));
  await eventually("the segment is deleted", () => !cut!.list(DIRECTORY)!.includes(first));
});

test("a segment that the manifest cannot be told of takes no records", async () => {
  const disk = new SimulatedDisk(1);
  const shape = { segmentBytes: 2048, reserveBytes: 0 };
  const { log } = await openSimulated(disk, shape, 1);
  disk.plan = ({ kind, path }) =>
    kind === "sync" && path.includes(MANIFEST_FILE) ? { code: "EIO" } : undefined;
  const failure: unknown = await log.put(makeBlock(1, 100)).catch((error: unknown) => error);
  expect(isDfsError(failure, "io")).toBe(true);
  for (const name of listSegments(disk, DIRECTORY)) {
    expect(disk.content(`${DIRECTORY}/${segmentFileName(name)}`).length).toBe(64);
  }
  disk.plan = undefined;
  await log.put(makeBlock(1, 100));
  disk.powerCut("nothing");
  const opened = await openSimulated(disk, shape, 2);
  expect(opened.corruptions).toEqual([]);
  expect(listed(opened.log)).toEqual(new Set([1]));
});

test("a spare segment that a full disk kept out of the manifest takes no records before it is in", async () => {
  const disk = new SimulatedDisk(1);
  const shape = { segmentBytes: 2048, reserveBytes: 0 };
  const { log } = await openSimulated(disk, shape, 1);
  await log.put(makeBlock(1, 1500)); // more than half: the next segment is made
  await eventually("there is a spare one", () => listSegments(disk, DIRECTORY).length === 2);
  await log.close();
  await disk.unlink(`${DIRECTORY}/${MANIFEST_FILE}`);
  let writes = 0;
  disk.plan = ({ kind, path }) =>
    kind === "write" && path.includes(MANIFEST_FILE) && writes++ < 2
      ? { code: "ENOSPC" }
      : undefined;
  const opened = await openSimulated(disk, shape, 2);
  expect(writes).toBe(1);
  await expectError("noSpace", opened.log.put(makeBlock(2, 100)));
  const spare = segmentFileName(listSegments(disk, DIRECTORY)[1]!);
  expect(disk.content(`${DIRECTORY}/${spare}`).length).toBe(64);
  await opened.log.put(makeBlock(2, 100));
  await disk.unlink(`${DIRECTORY}/${spare}`);
  const again = await openSimulated(disk, shape, 3);
  expect(again.corruptions).toEqual([{ kind: "lostSegment", file: spare, from: 0, to: 0 }]);
});
