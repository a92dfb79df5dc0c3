// The bytes on disk are frozen: tests/golden/log holds the segments, manifest and checkpoint that the little story below leaves. When a
// new format version comes, they stay, are still read, and its own are added beside them. To write them the first time:
//
//     DFS_UPDATE_GOLDEN=1 bin/test tests/log/golden.test.ts

import { afterEach, describe, expect, test } from "bun:test";
import { cpSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../../src/base/random.ts";
import { blockId } from "../../src/base/ids.ts";
import { FaultDisk } from "./fault-disk.ts";
import {
  cleanUp,
  blockOf,
  close,
  copyOf,
  expectError,
  expectHeld,
  findingsOf,
  forgetCheckpoint,
  idsOf,
  kindsOf,
  openTestLog,
  temporaryFolder,
} from "./support.ts";

afterEach(cleanUp);

const FOLDER = join(import.meta.dir, "../golden/log/version-1");
const UPDATE = process.env["DFS_UPDATE_GOLDEN"] === "1";

const letters = blockOf(1, new TextEncoder().encode("abcdefghijklm"));
const pieces = blockOf(
  2,
  new Uint8Array(65_537).map((_, index) => (index * 7) & 0xff),
);
const late = blockOf(5, new Uint8Array([255]));

/** Salts that everybody can guess, for once. */
function countingRandom(): Random {
  let next = 0xd15c_0000_0000_0001n;
  return {
    bytes: (count) => new Uint8Array(count),
    id64: () => next++,
    below: () => 0,
  };
}

/** Two puts, a sync that fails, puts in the segment that follows, a deletion, and a closing in good order. */
async function goldenDirectory(): Promise<string> {
  const disk = new FaultDisk();
  const opened = await openTestLog(temporaryFolder(), {
    disk,
    random: countingRandom(),
    compactionRate: 0,
  });
  await Promise.all([opened.log.put(letters), opened.log.put(blockOf(4, letters.bytes))]);
  disk.syncErrors = ["EIO"];
  await expectError("io", opened.log.put(late));
  await Promise.all([opened.log.put(pieces), opened.log.put(blockOf(3, letters.bytes))]);
  await opened.log.delete([blockId(1n), blockId(3n)]);
  await opened.log.put(late);
  await close(opened);
  return opened.directory;
}

if (UPDATE) {
  const made = await goldenDirectory();
  mkdirSync(FOLDER, { recursive: true });
  cpSync(made, FOLDER, { recursive: true });
}

describe("golden files", () => {
  test("are what the log writes today", async () => {
    const made = await goldenDirectory();
    const names = readdirSync(FOLDER).sort();
    expect(readdirSync(made).sort()).toEqual(names);
    expect(names.length).toBeGreaterThanOrEqual(2);
    for (const name of names) {
      const golden = readFileSync(join(FOLDER, name));
      expect(Buffer.compare(readFileSync(join(made, name)), golden)).toBe(0);
    }
  });

  test("are read as what was written then", async () => {
    const directory = copyOf(FOLDER);
    expect(kindsOf(findingsOf(directory, 0))).toEqual(["put", "put"]);
    expect(kindsOf(findingsOf(directory, -1))).toEqual([
      "seal",
      "put",
      "put",
      "tombstone",
      "put",
      "seal",
    ]);
    const withoutCheckpoint = copyOf(directory);
    forgetCheckpoint(withoutCheckpoint);
    for (const each of [directory, withoutCheckpoint]) {
      const { log, corruptions } = await openTestLog(each);
      expect(corruptions).toEqual([]);
      expect(idsOf(log)).toEqual([2, 4, 5]);
      await expectHeld(log, pieces);
      await expectHeld(log, late);
    }
  });
});
