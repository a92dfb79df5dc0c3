// What the tests of the log share: folders that vanish, logs with a recorded trail of damage, blocks whose bytes follow
// from their id, and hands to reach into segment files.

import { expect } from "bun:test";
import { cpSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { realDisk } from "../../src/base/disk.ts";
import { isDfsError, type DfsError, type ErrorKind } from "../../src/base/errors.ts";
import { blockId, type BlockId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { systemRandom } from "../../src/base/random.ts";
import { CHECKPOINT_FILE } from "../../src/log/checkpoint-format.ts";
import type { Corruption } from "../../src/log/corruption.ts";
import { segmentIdentity, type SegmentIdentity } from "../../src/log/format.ts";
import { openLog, type BlockLog, type BlockToPut, type LogOptions } from "../../src/log/log.ts";
import { walkSegment, type Finding } from "../../src/log/reader.ts";
import { listSegments, segmentFileName } from "../../src/log/segment.ts";
import { CLUSTER, SERVER } from "./identity.ts";

export { blockOf, makeBlock } from "./blocks.ts";
export { editFile, flipBit } from "./files.ts";
export { CLUSTER, SERVER } from "./identity.ts";

const folders: string[] = [];
const logs: BlockLog[] = [];

/** Ends and removes what a test has made. Every test file calls it after each test: hooks are a file's own. */
export async function cleanUp(): Promise<void> {
  for (const log of logs.splice(0)) await log.close();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
}

/** A folder that is removed after the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "dfs-log-test-"));
  folders.push(folder);
  return folder;
}

/** A log under test, and the damage that it has reported. */
export interface TestLog {
  readonly log: BlockLog;
  readonly directory: string;
  readonly corruptions: Corruption[];
}

/** Opens a log that is closed after the test, unless `close` did so before. */
export async function openTestLog(
  directory: string,
  options: Partial<LogOptions> = {},
): Promise<TestLog> {
  const corruptions: Corruption[] = [];
  const log = await openLog({
    disk: realDisk,
    directory,
    cluster: CLUSTER,
    server: SERVER,
    random: systemRandom,
    logger: silentLogger,
    reporter: { report: (corruption) => corruptions.push(corruption) },
    reserveBytes: 0,
    ...options,
  });
  logs.push(log);
  return { log, directory, corruptions };
}

export async function close({ log }: TestLog): Promise<void> {
  logs.splice(logs.indexOf(log), 1);
  await log.close();
}

/** A copy of the directory as it is now: what a process that is killed at this moment leaves. */
export function copyOf(directory: string): string {
  for (;;) {
    const copy = temporaryFolder();
    const before = readdirSync(directory).join();
    try {
      cpSync(directory, copy, { recursive: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
    // Segments are deleted by threads: a copy that may have seen one of two deletions is no moment in time.
    if (readdirSync(directory).join() === before && readdirSync(copy).join() === before)
      return copy;
  }
}

/** Takes the checkpoint away, so that the next opening looks at all segments. */
export function forgetCheckpoint(directory: string): void {
  rmSync(join(directory, CHECKPOINT_FILE), { force: true });
}

/** Reads a whole block and compares it. */
export async function expectHeld(log: BlockLog, block: BlockToPut): Promise<void> {
  const range = await log.get(block.block, 0, block.length);
  try {
    expect(range.blockLength).toBe(block.length);
    expect(Buffer.compare(range.bytes, block.bytes)).toBe(0);
    expect(Buffer.compare(range.pieces, block.pieces)).toBe(0);
  } finally {
    range.release();
  }
}

export async function expectNotHeld(log: BlockLog, id: number | bigint): Promise<void> {
  await expectError("noBlock", log.get(blockId(BigInt(id)), 0, 1));
}

/** Waits for `promise` to fail with this kind of error, and returns it. */
export async function expectError(kind: ErrorKind, promise: Promise<unknown>): Promise<DfsError> {
  const outcome = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!isDfsError(outcome)) throw new Error(`expected an error ${kind}, got ${String(outcome)}`);
  expect({ kind: outcome.kind, message: outcome.message }).toEqual({
    kind,
    message: outcome.message,
  });
  return outcome;
}

/** Ids that the log lists. */
export function idsOf(log: BlockLog): number[] {
  return log.list(0n as BlockId, 1_000_000).blocks.map(({ block }) => Number(block));
}

/** A segment file of a directory, by its place in the order of numbers (-1: the newest). */
export function segmentFile(directory: string, place = 0): { path: string; id: SegmentIdentity } {
  const name = listSegments(realDisk, directory).at(place);
  if (name === undefined) throw new Error(`${directory} has no segment ${place}`);
  return {
    path: join(directory, segmentFileName(name)),
    id: segmentIdentity(CLUSTER, SERVER, name.number, name.salt),
  };
}

export function segmentCount(directory: string): number {
  return listSegments(realDisk, directory).length;
}

/** What a walk finds in a segment. */
export function findingsOf(directory: string, place = 0): Finding[] {
  const { path, id } = segmentFile(directory, place);
  const file = realDisk.open(path, "read");
  try {
    return [...walkSegment(file, id, { bodies: "all" })];
  } finally {
    void file.close();
  }
}

/** Kinds of the records of a segment, or of its damage. */
export function kindsOf(findings: readonly Finding[]): string[] {
  return findings.map((each) => (each.type === "record" ? each.header.kind : `bad ${each.what}`));
}

/** Files that were cut off and saved aside. */
export function tornFiles(directory: string): string[] {
  try {
    return readdirSync(join(directory, "torn"));
  } catch {
    return []; // no such folder: nothing was ever cut off
  }
}

/** Waits until `holds`, failing after a generous time. */
export async function eventually(what: string, holds: () => boolean): Promise<void> {
  for (let waitedMs = 0; !holds(); waitedMs += 5) {
    if (waitedMs > 20_000) throw new Error(`it never came to be that ${what}`);
    await Bun.sleep(5);
  }
}
