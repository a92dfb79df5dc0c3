// Opening after crashes and damage: the catalogue of what a segment can look like, made by hand on real files.

import { afterEach, describe, expect, test } from "bun:test";
import { readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { hash64 } from "../../src/base/checksum.ts";
import { blockId, clusterId, lsn, serverId } from "../../src/base/ids.ts";
import { seededRandom } from "../../src/base/random.ts";
import { Batch } from "../../src/log/batch.ts";
import { SEGMENT_HEADER_BYTES } from "../../src/log/format.ts";
import { RECORD_HEADER_BYTES } from "../../src/log/record.ts";
import { FaultDisk } from "./fault-disk.ts";
import {
  blockOf,
  cleanUp,
  close,
  copyOf,
  editFile,
  expectError,
  expectHeld,
  expectNotHeld,
  findingsOf,
  flipBit,
  forgetCheckpoint,
  idsOf,
  kindsOf,
  makeBlock,
  openTestLog,
  segmentCount,
  segmentFile,
  temporaryFolder,
  tornFiles,
} from "./support.ts";

afterEach(cleanUp);

const BODY = 1000; // a multiple of 8, so records have no padding
const RECORD = RECORD_HEADER_BYTES + 8 + BODY;
const at = (index: number): number => SEGMENT_HEADER_BYTES + index * RECORD;

/** A directory as a killed process leaves it after putting these blocks one after the other; none is sealed. */
async function killedAfter(ids: readonly number[], segmentBytes?: number): Promise<string> {
  const options = segmentBytes === undefined ? {} : { segmentBytes };
  const { log, directory } = await openTestLog(temporaryFolder(), options);
  for (const id of ids) await log.put(makeBlock(id, BODY));
  return copyOf(directory);
}

describe("a torn tail", () => {
  test("cut at any byte of the last record: what was before is there, the rest is saved aside", async () => {
    const whole = await killedAfter([1, 2, 3]);
    for (let end = at(2); end < at(3); end += end % 97 === 0 ? 1 : 7) {
      const directory = copyOf(whole);
      editFile(segmentFile(directory).path, (bytes) => bytes.subarray(0, end));
      const reopened = await openTestLog(directory);
      expect(idsOf(reopened.log)).toEqual([1, 2]);
      expect(reopened.corruptions).toEqual([]);
      expect(tornFiles(directory)).toHaveLength(end === at(2) ? 0 : 1);
      await reopened.log.put(makeBlock(4, BODY));
      await close(reopened);
      expect(kindsOf(findingsOf(directory))).toEqual(["put", "put", "put", "seal"]);
    }
  });

  test("is kept, byte for byte, under a name that says where it was", async () => {
    const directory = await killedAfter([1, 2]);
    const { path } = segmentFile(directory);
    editFile(path, (bytes) => bytes.subarray(0, at(2) - 1));
    const lost = readFileSync(path).subarray(at(1));
    await openTestLog(directory);
    const [name] = tornFiles(directory);
    expect(name).toBe(`${path.split("/").at(-1)}.${at(1)}`);
    expect(Buffer.compare(readFileSync(join(directory, "torn", name!)), lost)).toBe(0);
    expect(statSync(path).size).toBe(at(1));
  });

  const damages: readonly [string, (bytes: Buffer) => Buffer | void][] = [
    ["a flipped length", (bytes) => void (bytes[at(2) + 31]! ^= 4)],
    ["a flipped header checksum", (bytes) => void (bytes[at(2) + RECORD_HEADER_BYTES - 1]! ^= 1)],
    [
      "a flipped byte in the body",
      (bytes) => void (bytes[at(2) + RECORD_HEADER_BYTES + 500]! ^= 1),
    ],
    ["a page of zeros", (bytes) => void bytes.fill(0, at(2) + 64, at(2) + 600)],
    ["garbage behind it", (bytes) => Buffer.concat([bytes, seededRandom(1).bytes(500)])],
    ["zeros behind it", (bytes) => Buffer.concat([bytes, Buffer.alloc(8192)])],
  ];
  test.each(damages)("with %s is cut off before it", async (title, damage) => {
    const directory = await killedAfter([1, 2, 3]);
    editFile(segmentFile(directory).path, damage);
    const reopened = await openTestLog(directory);
    expect(idsOf(reopened.log)).toEqual(title.endsWith("behind it") ? [1, 2, 3] : [1, 2]);
    expect(reopened.corruptions).toEqual([]);
    expect(tornFiles(directory)).toHaveLength(1);
    await close(reopened);
    const again = await openTestLog(directory);
    expect(again.corruptions).toEqual([]);
  });

  test("takes whole records behind the damage with it: they were in the same unsynced batch", async () => {
    const { log, directory } = await openTestLog(temporaryFolder());
    await log.put(makeBlock(1, BODY));
    await Promise.all([2, 3, 4].map((id) => log.put(makeBlock(id, BODY)))); // one batch
    const killed = copyOf(directory);
    flipBit(segmentFile(killed).path, at(1) + 3);
    const reopened = await openTestLog(killed);
    expect(idsOf(reopened.log)).toEqual([1]);
    expect(reopened.corruptions).toEqual([]);
    expect(statSync(segmentFile(killed).path).size).toBe(at(1));
  });

  test("that is all there is leaves an empty segment, which is used again", async () => {
    const directory = await killedAfter([1]);
    editFile(segmentFile(directory).path, (bytes) => bytes.subarray(0, at(1) - 8));
    const reopened = await openTestLog(directory);
    expect(idsOf(reopened.log)).toEqual([]);
    await reopened.log.put(makeBlock(2, BODY));
    await close(reopened);
    expect(segmentCount(directory)).toBe(1);
    const again = await openTestLog(directory);
    expect(idsOf(again.log)).toEqual([2]);
  });
});

describe("corruption", () => {
  test("before the last known sync is named, kept, and the rest is served", async () => {
    const directory = await killedAfter([1, 2, 3, 4]);
    flipBit(segmentFile(directory).path, at(1) + 40); // in the header of block 2
    const reopened = await openTestLog(directory);
    const file = segmentFile(directory).path.split("/").at(-1)!;
    expect(reopened.corruptions).toEqual([{ kind: "recordHeader", file, from: at(1), to: at(2) }]);
    expect(idsOf(reopened.log)).toEqual([1, 3, 4]);
    for (const id of [1, 3, 4]) await expectHeld(reopened.log, makeBlock(id, BODY));
    await expectNotHeld(reopened.log, 2);
    expect(tornFiles(directory)).toEqual([]);
    await reopened.log.put(makeBlock(5, BODY));
    await close(reopened);
    forgetCheckpoint(directory);
    const again = await openTestLog(directory);
    expect(idsOf(again.log)).toEqual([1, 3, 4, 5]);
    expect(again.corruptions).toHaveLength(1);
  });

  test("of a body says which block it is; a put replaces the copy", async () => {
    const directory = await killedAfter([1, 2, 3]);
    flipBit(segmentFile(directory).path, at(1) + RECORD_HEADER_BYTES + 300);
    const reopened = await openTestLog(directory);
    expect(reopened.corruptions).toMatchObject([{ kind: "recordBody", block: 2n, from: at(1) }]);
    expect(reopened.log.stats()).toMatchObject({ blocks: 2, badReplicas: 1 });
    expect(idsOf(reopened.log)).toEqual([1, 3]);
    await expectError("badChecksum", reopened.log.get(blockId(2n), 0, 1));
    await reopened.log.put(makeBlock(2, BODY));
    await expectHeld(reopened.log, makeBlock(2, BODY));
  });

  test("and a torn tail at once: each is treated as what it is", async () => {
    const directory = await killedAfter([1, 2, 3, 4]);
    const { path } = segmentFile(directory);
    flipBit(path, at(0) + 10);
    editFile(path, (bytes) => bytes.subarray(0, at(4) - 5));
    const reopened = await openTestLog(directory);
    expect(idsOf(reopened.log)).toEqual([2, 3]);
    expect(reopened.corruptions).toMatchObject([{ kind: "recordHeader", from: at(0), to: at(1) }]);
    expect(tornFiles(directory)).toHaveLength(1);
  });

  test("that reaches from synced bytes into the tail is divided there", async () => {
    const { log, directory } = await openTestLog(temporaryFolder());
    await log.put(makeBlock(1, BODY));
    await log.put(makeBlock(2, BODY));
    await Promise.all([3, 4].map((id) => log.put(makeBlock(id, BODY)))); // one batch, behind what was synced
    const killed = copyOf(directory);
    const { path } = segmentFile(killed);
    flipBit(path, at(1) + 10);
    flipBit(path, at(2) + 10);
    const reopened = await openTestLog(killed);
    expect(idsOf(reopened.log)).toEqual([1]);
    expect(reopened.corruptions).toMatchObject([{ kind: "recordHeader", from: at(1), to: at(2) }]);
    expect(tornFiles(killed).map((name) => name.split(".").at(-1))).toEqual([String(at(2))]);
    await reopened.log.put(makeBlock(5, BODY));
    await close(reopened);
    forgetCheckpoint(killed);
    const again = await openTestLog(killed);
    expect(idsOf(again.log)).toEqual([1, 5]);
    expect(again.corruptions).toMatchObject([{ kind: "recordHeader", from: at(1), to: at(2) }]);
  });

  test("in a sealed segment is corruption wherever it is", async () => {
    const segmentBytes = SEGMENT_HEADER_BYTES + 2 * RECORD + 120;
    const directory = await killedAfter([1, 2, 3], segmentBytes);
    flipBit(segmentFile(directory).path, at(1) + 20);
    const reopened = await openTestLog(directory, { segmentBytes });
    expect(idsOf(reopened.log)).toEqual([1, 3]);
    expect(reopened.corruptions).toMatchObject([{ kind: "recordHeader", from: at(1), to: at(2) }]);
  });

  test("of a seal, or its loss, is named; the records are served", async () => {
    const segmentBytes = SEGMENT_HEADER_BYTES + 2 * RECORD + 120;
    for (const damage of ["flip", "loss", "more"] as const) {
      const directory = await killedAfter([1, 2, 3], segmentBytes);
      const { path } = segmentFile(directory);
      if (damage === "flip") flipBit(path, at(2) + 30);
      if (damage === "loss") editFile(path, (bytes) => bytes.subarray(0, at(2)));
      if (damage === "more") editFile(path, (bytes) => Buffer.concat([bytes, Buffer.alloc(64, 1)]));
      const reopened = await openTestLog(directory, { segmentBytes });
      expect(idsOf(reopened.log)).toEqual([1, 2, 3]);
      const kinds = reopened.corruptions.map(({ kind }) => kind).sort();
      expect(kinds).toEqual(
        { flip: ["recordHeader", "unsealed"], loss: ["unsealed"], more: ["surplus"] }[
          damage
        ] as never,
      );
    }
  });

  test("behind a seal is not believed even when it is a whole record", async () => {
    const opened = await openTestLog(temporaryFolder());
    const { directory } = opened;
    await opened.log.put(makeBlock(1, BODY));
    await close(opened);
    const { path, id } = segmentFile(directory);
    const size = statSync(path).size;
    const { block, length, inode, fileOffset, checksum, pieces, bytes } = makeBlock(2, BODY);
    const batch = new Batch(id, size);
    const put = { block, length, inode, fileOffset };
    batch.add({ kind: "put", put, checksum, pieces, bytes }, lsn(99n));
    editFile(path, (before) => Buffer.concat([before, ...batch.takeGroup(2 ** 20)!]));
    const reopened = await openTestLog(directory);
    expect(idsOf(reopened.log)).toEqual([1]);
    expect(reopened.corruptions).toMatchObject([
      { kind: "surplus", from: size, to: size + RECORD },
    ]);
  });

  test("of a segment's header costs none of its records", async () => {
    for (const place of ["active", "sealed"] as const) {
      const segmentBytes = place === "sealed" ? SEGMENT_HEADER_BYTES + 2 * RECORD + 120 : 2 ** 20;
      const directory = await killedAfter([1, 2, 3], segmentBytes);
      flipBit(segmentFile(directory).path, 44);
      const reopened = await openTestLog(directory, { segmentBytes });
      expect(idsOf(reopened.log)).toEqual([1, 2, 3]);
      expect(reopened.corruptions).toMatchObject([{ kind: "segmentHeader" }]);
      await reopened.log.put(makeBlock(4, BODY));
      await close(reopened);
      const again = await openTestLog(directory, { segmentBytes });
      expect(idsOf(again.log)).toEqual([1, 2, 3, 4]);
    }
  });

  test("of a tombstone is named; the others count", async () => {
    const { log, directory } = await openTestLog(temporaryFolder());
    for (const id of [1, 2, 3]) await log.put(makeBlock(id, BODY));
    await log.delete([blockId(1n)]);
    await log.delete([blockId(2n)]);
    await log.put(makeBlock(4, BODY));
    const killed = copyOf(directory);
    flipBit(segmentFile(killed).path, at(3) + RECORD_HEADER_BYTES + 7); // the id in the first tombstone
    const reopened = await openTestLog(killed);
    expect(idsOf(reopened.log)).toEqual([1, 3, 4]);
    expect(reopened.corruptions).toMatchObject([{ kind: "recordBody", from: at(3) }]);
  });

  test("numbers of new records stay above those that may have been in it", async () => {
    const directory = await killedAfter([1, 2, 3]);
    const { path } = segmentFile(directory);
    flipBit(path, at(1) + 1); // block 2, which had number 2: corruption, because of the header that follows
    flipBit(path, at(2) + RECORD_HEADER_BYTES); // block 3, which had number 3: torn
    const reopened = await openTestLog(directory);
    expect(idsOf(reopened.log)).toEqual([1]);
    expect((await reopened.log.put(makeBlock(9, BODY))) > 2n).toBe(true);
  });
});

describe("what a killed process has left in memory only", () => {
  test("is synced by the opening before it is served", async () => {
    const directory = await killedAfter([1, 2]);
    const disk = new FaultDisk();
    await openTestLog(directory, { disk });
    expect(disk.events).toContain(`sync of ${segmentFile(directory).path}`);
  });

  test("is not served when that sync fails", async () => {
    const directory = await killedAfter([1, 2]);
    const disk = new FaultDisk();
    disk.fullSyncErrors = ["EIO"];
    const error = await expectError("io", openTestLog(directory, { disk }));
    expect(error.message).toContain(segmentFile(directory).path);
    const reopened = await openTestLog(directory);
    expect(idsOf(reopened.log)).toEqual([1, 2]);
  });
});

describe("what only looks like a record", () => {
  test("an image of the segment, stored as a block in that very segment, is not taken for records", async () => {
    const { log, directory } = await openTestLog(temporaryFolder());
    for (const id of [1, 2, 3]) await log.put(makeBlock(id, BODY));
    const image = readFileSync(segmentFile(directory).path);
    for (const shift of [0, 8, 4]) {
      await log.put(blockOf(100 + shift, new Uint8Array([...new Uint8Array(shift), ...image])));
    }
    await log.delete([blockId(1n)]);
    await log.put(makeBlock(4, BODY));
    const killed = copyOf(directory);
    // The header in front of an image is destroyed, so the search goes through the image itself.
    flipBit(segmentFile(killed).path, at(3) + 2);
    const reopened = await openTestLog(killed);
    expect(idsOf(reopened.log)).toEqual([2, 3, 4, 104, 108]);
    expect(reopened.corruptions).toMatchObject([{ kind: "recordHeader", from: at(3) }]);
  });

  test("records of another segment in place of a segment's end are not taken for its own", async () => {
    const directory = await killedAfter([1, 2]);
    const other = await killedAfter([7, 8, 9]);
    const foreign = readFileSync(segmentFile(other).path).subarray(at(2));
    editFile(segmentFile(directory).path, (bytes) => Buffer.concat([bytes, foreign]));
    const reopened = await openTestLog(directory);
    expect(idsOf(reopened.log)).toEqual([1, 2]);
    expect(tornFiles(directory)).toHaveLength(1);
  });

  test("a segment under the name of another one is damage, and nothing of it is served", async () => {
    const directory = await killedAfter([1, 2]);
    const { path } = segmentFile(directory);
    renameSync(path, join(directory, "000000000005-00000000000000aa.seg"));
    const reopened = await openTestLog(directory);
    expect(idsOf(reopened.log)).toEqual([]);
    expect(reopened.corruptions).toMatchObject([
      { kind: "lostSegment", file: basename(path) },
      { kind: "segmentHeader" },
    ]);
    expect(tornFiles(directory)).toHaveLength(1); // the bytes themselves are kept
  });
});

describe("opening is refused", () => {
  /** Rewrites the header of a record, with its checksum made right. */
  function forgeHeader(
    directory: string,
    position: number,
    change: (view: DataView) => void,
  ): void {
    editFile(segmentFile(directory).path, (bytes) => {
      const header = bytes.subarray(position, position + RECORD_HEADER_BYTES);
      const view = new DataView(header.buffer, header.byteOffset, RECORD_HEADER_BYTES);
      change(view);
      const end = RECORD_HEADER_BYTES - 8;
      view.setBigUint64(end, hash64(header.subarray(0, end)));
    });
  }

  test("for a segment of an unknown format version, and nothing is changed", async () => {
    const directory = await killedAfter([1]);
    const { path } = segmentFile(directory);
    editFile(path, (bytes) => {
      bytes.writeUInt32BE(2, 8);
      bytes.writeBigUInt64BE(hash64(bytes.subarray(0, 56)), 56);
    });
    const before = readFileSync(path);
    const error = await expectError("unsupported", openTestLog(directory));
    expect(error.message).toContain(path);
    expect(error.message).toContain("format version 2");
    expect(Buffer.compare(readFileSync(path), before)).toBe(0);
  });

  test("for a record of an unknown kind", async () => {
    const directory = await killedAfter([1, 2]);
    forgeHeader(directory, at(1), (view) => view.setUint8(4, 7));
    const error = await expectError("unsupported", openTestLog(directory));
    expect(error.message).toContain("unknown kind 7");
  });

  test("for the segments of another cluster or server", async () => {
    const directory = await killedAfter([1]);
    const cluster = clusterId("ffffffffffffffffffffffffffffffff");
    const other = await expectError("wrongCluster", openTestLog(directory, { cluster }));
    expect(other.message).toContain("00112233445566778899aabbccddeeff");
    await expectError("wrongPeer", openTestLog(directory, { server: serverId(4) }));
    await openTestLog(directory);
  });
});

test("an unreadable page costs the records on it and nothing else", async () => {
  const { log, directory } = await openTestLog(temporaryFolder());
  for (let id = 1; id <= 40; id++) await log.put(makeBlock(id, BODY));
  const killed = copyOf(directory);
  const disk = new FaultDisk();
  disk.badPages.add(8192);
  const reopened = await openTestLog(killed, { disk });
  const lost = Array.from({ length: 40 }, (_, index) => index + 1).filter(
    (id) => at(id) > 8192 && at(id - 1) < 8192 + 4096,
  );
  expect(lost.length).toBeGreaterThan(3);
  expect(idsOf(reopened.log)).toEqual(
    Array.from({ length: 40 }, (_, index) => index + 1).filter((id) => !lost.includes(id)),
  );
  expect(reopened.corruptions.length).toBeGreaterThan(0);
});

test("files that are not segments are left alone", async () => {
  const directory = await killedAfter([1]);
  writeFileSync(join(directory, "000000000000-0000000000000000.seg"), "number 0 is no segment");
  const reopened = await openTestLog(directory);
  expect(idsOf(reopened.log)).toEqual([1]);
  expect(reopened.corruptions).toEqual([]);
});
