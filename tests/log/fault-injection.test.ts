// Damage on purpose: what was asked for is what is on disk, what is reported is what happened, and it is met as rot is.

import { afterEach, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { blockId } from "../../src/base/ids.ts";
import type { InjectedFault } from "../../src/log/fault-injection.ts";
import { RECORD_HEADER_BYTES } from "../../src/log/record.ts";
import {
  blockOf,
  cleanUp,
  close,
  expectError,
  expectHeld,
  expectNotHeld,
  forgetCheckpoint,
  idsOf,
  makeBlock,
  openTestLog,
  segmentFile,
  temporaryFolder,
  type TestLog,
} from "./support.ts";

afterEach(cleanUp);

const LENGTH = 70_000; // two pieces
const BLOCK = blockId(2n);

async function logWithBlocks(): Promise<TestLog> {
  const opened = await openTestLog(temporaryFolder());
  for (const id of [1, 2, 3]) await opened.log.put(makeBlock(id, LENGTH));
  return opened;
}

const segmentBytes = ({ directory }: TestLog): Buffer => readFileSync(segmentFile(directory).path);

/** Checks that a segment went from `before` to `now` by what was reported, and by nothing else. */
function expectOnly(fault: InjectedFault, before: Buffer, now: Buffer): void {
  const { position, after } = fault;
  expect(before.subarray(position, position + after.length)).toEqual(Buffer.from(fault.before));
  const expected = Buffer.from(before);
  expected.set(after, position);
  expect(Buffer.compare(now, expected)).toBe(0);
  after.forEach((byte, index) => expect(byte).not.toBe(fault.before[index]!));
}

describe("damage to a block", () => {
  test("changes a few of its bytes on disk and is met by the next read of it alone", async () => {
    for (let seed = 0; seed < 40; seed++) {
      const opened = await logWithBlocks();
      const { log } = opened;
      await expectHeld(log, makeBlock(2, LENGTH)); // nothing of it is kept in memory
      const before = segmentBytes(opened);
      const fault = await log.injectFault({ block: BLOCK, kind: "body", seed });
      expectOnly(fault, before, segmentBytes(opened));
      expect(fault.after.length).toBeGreaterThanOrEqual(1);
      expect(fault.after.length).toBeLessThanOrEqual(8);
      expect(fault.position).toBe(fault.record + RECORD_HEADER_BYTES + 2 * 8 + fault.blockOffset);
      expect(join(opened.directory, fault.file)).toBe(segmentFile(opened.directory).path);
      await expectError("badChecksum", log.get(BLOCK, fault.blockOffset, 1));
      for (const id of [1, 3]) await expectHeld(log, makeBlock(id, LENGTH));
      await close(opened);
    }
  });

  test("is the same for the same seed, and damages further when it is repeated", async () => {
    const faults: InjectedFault[] = [];
    for (let run = 0; run < 2; run++) {
      const opened = await logWithBlocks();
      const first = await opened.log.injectFault({ block: BLOCK, kind: "body", seed: 77 });
      faults.push(first);
      const again = await opened.log.injectFault({ block: BLOCK, kind: "body", seed: 77 });
      expect(again).toMatchObject({ position: first.position, before: first.after });
      await expectError("badChecksum", opened.log.get(BLOCK, first.blockOffset, 1));
    }
    const [one, other] = faults;
    expect({ ...one, file: "" }).toEqual({ ...other!, file: "" });
  });

  test("of a single byte", async () => {
    const { log } = await openTestLog(temporaryFolder());
    await log.put(blockOf(2, Uint8Array.of(0xff)));
    const fault = await log.injectFault({ block: BLOCK, kind: "body", seed: 1 });
    expect([...fault.before]).toEqual([0xff]);
    await expectError("badChecksum", log.get(BLOCK, 0, 1));
  });

  test("in the header of its record", async () => {
    const opened = await logWithBlocks();
    const before = segmentBytes(opened);
    const fault = await opened.log.injectFault({ block: BLOCK, kind: "header", seed: 5 });
    expectOnly(fault, before, segmentBytes(opened));
    expect(fault.position - fault.record).toBeLessThan(RECORD_HEADER_BYTES);
    await expectError("badChecksum", opened.log.get(BLOCK, 0, 1));
    await close(opened);
    forgetCheckpoint(opened.directory);
    const reopened = await openTestLog(opened.directory);
    expect(idsOf(reopened.log)).toEqual([1, 3]);
    expect(reopened.corruptions).toHaveLength(1);
  });

  test("survives a restart, and a put of the block mends it", async () => {
    const opened = await logWithBlocks();
    const { blockOffset } = await opened.log.injectFault({ block: BLOCK, kind: "body", seed: 3 });
    await close(opened);
    const { log } = await openTestLog(opened.directory);
    await expectError("badChecksum", log.get(BLOCK, blockOffset, 1));
    await log.put(makeBlock(2, LENGTH));
    await expectHeld(log, makeBlock(2, LENGTH));
  });

  test("that is not held, or of a log that is closed, is an error", async () => {
    const opened = await logWithBlocks();
    const missing = { block: blockId(9n), kind: "body", seed: 1 } as const;
    await expectError("noBlock", opened.log.injectFault(missing));
    await close(opened);
    await expectError("noBlock", opened.log.injectFault({ ...missing, block: BLOCK }));
  });
});

describe("a copy lost on purpose", () => {
  test("is gone, also after a restart, and can be put again", async () => {
    const opened = await logWithBlocks();
    const fault = await opened.log.injectFault({ block: BLOCK, kind: "lose", seed: 0 });
    expect(fault).toMatchObject({ position: fault.record, blockOffset: 0 });
    expect(fault.before.length + fault.after.length).toBe(0);
    await expectNotHeld(opened.log, 2);
    await expectError("noBlock", opened.log.injectFault({ block: BLOCK, kind: "lose", seed: 0 }));
    await close(opened);
    const { log, corruptions } = await openTestLog(opened.directory);
    expect(idsOf(log)).toEqual([1, 3]);
    expect(corruptions).toEqual([]);
    await log.put(makeBlock(2, LENGTH));
    await expectHeld(log, makeBlock(2, LENGTH));
  });
});
