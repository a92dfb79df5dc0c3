// Bit rot: a flipped bit anywhere in a stored record is noticed, by a read or by an opening, and costs that record alone.

import { afterEach, describe, expect, test } from "bun:test";
import { blockId } from "../../src/base/ids.ts";
import { SEGMENT_HEADER_BYTES } from "../../src/log/format.ts";
import { RECORD_HEADER_BYTES, recordBytes, SEAL_BYTES } from "../../src/log/record.ts";
import {
  cleanUp,
  close,
  copyOf,
  expectError,
  expectHeld,
  findingsOf,
  flipBit,
  forgetCheckpoint,
  makeBlock,
  openTestLog,
  segmentFile,
  temporaryFolder,
  tornFiles,
} from "./support.ts";

afterEach(cleanUp);

const LENGTH = 1001; // seven bytes of padding behind it
const RECORD = recordBytes(8 + LENGTH);
const at = (index: number): number => SEGMENT_HEADER_BYTES + index * RECORD;

describe("a flipped bit", () => {
  test("in any byte of a record's header, hashes or block makes its read fail and no other", async () => {
    const { log, directory, corruptions } = await openTestLog(temporaryFolder());
    for (const id of [1, 2, 3]) await log.put(makeBlock(id, LENGTH));
    const { path } = segmentFile(directory);
    const bytes = RECORD_HEADER_BYTES + 8 + LENGTH;
    for (let offset = 0; offset < bytes; offset++) {
      flipBit(path, at(1) + offset, offset % 8);
      await expectError("badChecksum", log.get(blockId(2n), 0, LENGTH));
      flipBit(path, at(1) + offset, offset % 8);
      if (offset % 50 === 0) {
        for (const id of [1, 2, 3]) await expectHeld(log, makeBlock(id, LENGTH));
      }
    }
    expect(corruptions).toHaveLength(bytes);
    expect(log.stats().badReplicas).toBe(bytes);
    expect(log.stats().blocks).toBe(2); // it stays on the list of bad ones until it is read whole again
    await expectHeld(log, makeBlock(2, LENGTH));
    expect(log.stats().blocks).toBe(3);
  });

  test("in any byte of a sealed segment is seen by a walk through all of it", async () => {
    const opened = await openTestLog(temporaryFolder());
    for (const id of [1, 2]) await opened.log.put(makeBlock(id, LENGTH));
    await opened.log.delete([blockId(1n)]);
    await close(opened);
    const { path } = segmentFile(opened.directory);
    const { size } = Bun.file(path);
    for (let position = SEGMENT_HEADER_BYTES; position < size; position++) {
      flipBit(path, position, position % 8);
      const damage = findingsOf(opened.directory).filter(({ type }) => type === "damage");
      expect(damage.length).toBeGreaterThan(0);
      flipBit(path, position, position % 8);
    }
    expect(findingsOf(opened.directory).every(({ type }) => type === "record")).toBe(true);
  });

  test("in any byte of a closed log is reported at the opening or by a read, and never served", async () => {
    const opened = await openTestLog(temporaryFolder());
    for (const id of [1, 2]) await opened.log.put(makeBlock(id, LENGTH));
    await opened.log.delete([blockId(1n)]);
    await close(opened);
    const { size } = Bun.file(segmentFile(opened.directory).path);
    for (let position = 0; position < size; position += 7) {
      const directory = copyOf(opened.directory);
      flipBit(segmentFile(directory).path, position, position % 8);
      forgetCheckpoint(directory);
      const { log, corruptions } = await openTestLog(directory);
      // A bad tombstone or header may bring block 1 back or lose block 2; it cannot make wrong bytes of them.
      for (const { block, length } of log.list(blockId(0n), 10).blocks) {
        await expectHeld(log, makeBlock(block, length));
      }
      const isInSeal = position >= size - SEAL_BYTES;
      expect(corruptions.length > 0).toBe(!isInSeal);
      expect(tornFiles(directory).length > 0).toBe(isInSeal); // a seal that is not whole was never finished
    }
  });
});
