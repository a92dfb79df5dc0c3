// Faults that the crash test found in the log, each as a story of its own.

import { expect, test } from "bun:test";
import { SEGMENT_HEADER_BYTES } from "../../src/log/format.ts";
import { listSegments, segmentFileName } from "../../src/log/segment.ts";
import { SimulatedDisk, type Fault, type Operation } from "../support/disk/simulated-disk.ts";
import { makeBlock } from "./blocks.ts";
import {
  DIRECTORY,
  faultsOf,
  listed,
  openSimulated,
  put,
  remove,
  type OpenedLog,
} from "./crash/examine.ts";
import { Oracle } from "./crash/oracle.ts";
import { recordBytes } from "../../src/log/record.ts";

const SHAPE = { segmentBytes: 4096, reserveBytes: 0 };
const LARGE = { segmentBytes: 65_536, reserveBytes: 0 };

/** Makes the next operations of these kinds fail, in order. */
function failNext(disk: SimulatedDisk, ...faults: (readonly [Operation["kind"], Fault])[]): void {
  disk.plan = ({ kind }) => (faults[0]?.[0] === kind ? faults.shift()![1] : undefined);
}

async function opened(disk: SimulatedDisk, shape = SHAPE): Promise<OpenedLog> {
  return openSimulated(disk, shape, 1);
}

/** A copy of the disk as a killed process leaves it at the first moment of this kind. */
function killedAt(disk: SimulatedDisk, kind: Operation["kind"]): { disk?: SimulatedDisk } {
  const found: { disk?: SimulatedDisk } = {};
  disk.watch = (operation) => {
    if (operation.kind === kind) found.disk ??= disk.fork(7);
  };
  return found;
}

function newestPath(disk: SimulatedDisk): string {
  return `${DIRECTORY}/${segmentFileName(listSegments(disk, DIRECTORY).at(-1)!)}`;
}

test("a process killed right after a failed sync leaves pages that only look written: they are written again", async () => {
  // What broke: the next process took the records for durable, and went on behind them. A power cut then took them, and
  // left a hole that looked like rot.
  for (let seed = 0; seed < 20; seed++) {
    const disk = new SimulatedDisk(seed); // decides which of the pages were written before the system forgot them
    const { log } = await opened(disk, LARGE);
    const oracle = new Oracle();
    await put(log, oracle, makeBlock(1, 100));
    failNext(disk, ["sync", { code: "EIO", pages: "dropped" }]);
    const killed = killedAt(disk, "sync");
    expect(await put(log, oracle, makeBlock(2, 20_000))).toBeDefined();
    const next = await opened(killed.disk!, LARGE);
    oracle.settle(listed(next.log));
    expect(oracle.ids("held")).toEqual([1, 2]);
    await put(next.log, oracle, makeBlock(3, 100));
    killed.disk!.powerCut("nothing");
    expect(await faultsOf(await opened(killed.disk!, LARGE), oracle.snapshot())).toEqual([]);
  }
});

test("what an opening found cut off an empty segment stays off", async () => {
  // What broke: the truncation after a failed write was not synced by the opening, and a power cut undid it.
  const disk = new SimulatedDisk(3);
  const { log } = await opened(disk);
  const oracle = new Oracle();
  let syncs = 0;
  disk.plan = ({ kind, path }) =>
    kind === "sync" && path.endsWith(".seg") && ++syncs === 1
      ? { code: "EIO", pages: "kept" }
      : undefined;
  const killed = killedAt(disk, "truncate");
  await put(log, oracle, makeBlock(1, 100));
  const next = await opened(killed.disk!);
  oracle.settle(listed(next.log));
  for (let seed = 0; seed < 40; seed++) {
    const copy = killed.disk!.fork(seed);
    copy.powerCut(copy.random);
    expect(await faultsOf(await opened(copy), oracle.snapshot())).toEqual([]);
  }
});

test("a deletion of a block whose put has failed is written: no crash brings the block", async () => {
  // What broke: the block was not held, so its deletion was acknowledged without a record.
  const disk = new SimulatedDisk(3);
  const { log } = await opened(disk);
  const oracle = new Oracle();
  await put(log, oracle, makeBlock(1, 100));
  failNext(disk, ["sync", { code: "EIO", pages: "kept" }], ["truncate", { code: "EIO" }]);
  expect(await put(log, oracle, makeBlock(2, 100))).toBeDefined();
  expect(await remove(log, oracle, [2])).toBeUndefined();
  disk.powerCut("everything");
  const next = await opened(disk);
  expect(await faultsOf(next, oracle.snapshot())).toEqual([]);
  expect(listed(next.log)).toEqual(new Set([1]));
});

test("a put of a held block whose deletion has failed is written: no crash takes the block", async () => {
  // What broke: the put was acknowledged because the block was held, while its tombstone might be on the disk.
  const disk = new SimulatedDisk(3);
  const { log } = await opened(disk);
  const oracle = new Oracle();
  await put(log, oracle, makeBlock(1, 100));
  failNext(disk, ["sync", { code: "EIO", pages: "kept" }], ["create", { code: "ENOSPC" }]);
  expect(await remove(log, oracle, [1])).toBeDefined();
  expect(await put(log, oracle, makeBlock(1, 100))).toBeUndefined();
  for (let seed = 0; seed < 40; seed++) {
    const copy = disk.fork(seed);
    copy.powerCut(copy.random);
    expect(await faultsOf(await opened(copy), oracle.snapshot())).toEqual([]);
  }
});

test("a segment whose name could not be made durable is not taken for one that lost its records", async () => {
  // What broke: the empty file stayed between others without a seal, and each opening reported it as damaged.
  const disk = new SimulatedDisk(3);
  const { log } = await opened(disk);
  const oracle = new Oracle();
  failNext(disk, ["directorySync", { code: "EIO" }]);
  expect(await put(log, oracle, makeBlock(1, 100))).toBeDefined();
  expect(await put(log, oracle, makeBlock(1, 100))).toBeUndefined();
  disk.powerCut("nothing");
  expect(await faultsOf(await opened(disk), oracle.snapshot())).toEqual([]);
});

test("after a failed sync of the directory nothing more is deleted until the log is opened again", async () => {
  // A later sync proves nothing; and what keeps a deleted block deleted must not go before the block is gone for certain.
  const disk = new SimulatedDisk(3);
  const { log } = await opened(disk);
  const oracle = new Oracle();
  for (const id of [1, 2, 3]) await put(log, oracle, makeBlock(id, 3900));
  let unlinks = 0;
  disk.plan = ({ kind }) => {
    if (kind === "unlink") unlinks++;
    return unlinks > 0 && kind === "directorySync" ? { code: "EIO" } : undefined;
  };
  await remove(log, oracle, [1]);
  for (let turn = 0; turn < 100; turn++) await Promise.resolve(); // long enough for the deletion of the file
  await remove(log, oracle, [2]);
  await log.close();
  expect(unlinks).toBe(1);
  disk.plan = undefined;
  const next = await opened(disk);
  await next.log.close();
  expect(listSegments(disk, DIRECTORY).length).toBeLessThan(4);
  expect(await faultsOf(await opened(disk), oracle.snapshot())).toEqual([]);
});

test("rot in the zeros behind a block is reported, and the block stays listed", async () => {
  // What broke: reads found the block right, so a put of it was acknowledged; the next opening hid it as rotten.
  const disk = new SimulatedDisk(3);
  const { log } = await opened(disk);
  const oracle = new Oracle();
  await put(log, oracle, makeBlock(1, 9));
  await put(log, oracle, makeBlock(2, 9));
  disk.flip(newestPath(disk), SEGMENT_HEADER_BYTES + recordBytes(8 + 9) - 1);
  await put(log, oracle, makeBlock(1, 9));
  oracle.rot = true;
  const next = await opened(disk);
  expect(await faultsOf(next, oracle.snapshot())).toEqual([]);
  expect(next.corruptions).toMatchObject([{ kind: "recordBody", block: 1n }]);
});

test.each(["a sector of it cannot be read", "the disk is full"])(
  "a torn tail does not keep the log from opening when %s",
  async (what) => {
    // What broke: the bytes to be kept aside could not be read, or not be kept, and the opening failed.
    const disk = new SimulatedDisk(3);
    const { log } = await opened(disk, LARGE);
    const oracle = new Oracle();
    await put(log, oracle, makeBlock(1, 5000));
    const killed = killedAt(disk, "write");
    await put(log, oracle, makeBlock(2, 9000));
    const left = killed.disk!;
    const path = newestPath(left);
    left.flip(path, 7000);
    if (what === "the disk is full") left.capacityBytes = left.usedBytes();
    else left.unreadable(path, 13_000);
    const next = await opened(left, LARGE);
    expect(listed(next.log)).toEqual(new Set([1]));
    expect(next.corruptions).toEqual([]);
  },
);
