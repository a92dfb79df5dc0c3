// Reads of what the system has in its memory: the right bytes wherever they are, and the event loop goes on meanwhile.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { realDisk, writeFully, type DiskFile } from "../../src/base/disk.ts";
import { seededRandom } from "../../src/base/random.ts";

const MIB = 1024 * 1024;
const SEED = 4711;

let folder: string;
let file: DiskFile;
const content = seededRandom(SEED).bytes(8 * MIB);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "dfs-cached-read-test-"));
  file = realDisk.open(join(folder, "file"), "create");
  writeFully(file, [content], 0);
  await file.syncData();
});

afterAll(async () => {
  await file.close();
  rmSync(folder, { recursive: true });
});

/** Reads and says whether it got what it should have, in full or up to the end of the file. */
async function isRight(position: number, length: number): Promise<boolean> {
  const target = new Uint8Array(length).fill(0xee);
  const expected = content.subarray(position, position + length);
  const count = await file.read(target, position);
  return (
    count === expected.length &&
    Buffer.compare(target.subarray(0, count), expected) === 0 &&
    target.subarray(count).every((byte) => byte === 0xee)
  );
}

describe("reading", () => {
  test("short and long runs, at all places, beyond the end", async () => {
    for (const length of [1, 100, 4096, 65_536, 131_072, 131_073, MIB]) {
      for (const position of [0, 1, 4095, 3 * MIB + 7, content.length - 50, content.length]) {
        expect([length, position, await isRight(position, length)]).toEqual([
          length,
          position,
          true,
        ]);
      }
    }
    expect(await file.read(new Uint8Array(0), 5)).toBe(0);
  });

  test("goes to the right place of a buffer that is a part of another", async () => {
    const whole = new Uint8Array(300);
    expect(await file.read(whole.subarray(100, 200), 4000)).toBe(100);
    expect(whole.subarray(100, 200)).toEqual(content.slice(4000, 4100));
    expect(whole.subarray(0, 100)).toEqual(new Uint8Array(100));
    expect(whole.subarray(200)).toEqual(new Uint8Array(100));
  });

  test("many at once", async () => {
    const random = seededRandom(SEED);
    const reads = Array.from({ length: 500 }, () =>
      isRight(random.below(7 * MIB), 1 + random.below(65_536)),
    );
    expect(await Promise.all(reads)).toEqual(reads.map(() => true));
  });

  test("what the system has dropped from its memory is fetched from the disk", async () => {
    const words = ["dd", `if=${file.path}`, "iflag=nocache", "count=0", "status=none"];
    expect(Bun.spawnSync(words).exitCode).toBe(0);
    for (let position = 0; position < 8 * MIB; position += MIB) {
      expect(await isRight(position, 65_536)).toBe(true);
    }
  });

  test("one after the other, without a pause, leaves the event loop its turns", async () => {
    let turns = 0;
    let reading = true;
    const count = (): void => {
      turns++;
      if (reading) setImmediate(count);
    };
    setImmediate(count);
    const target = new Uint8Array(65_536);
    for (let read = 0; read < 200; read++) await file.read(target, (read % 100) * 65_536); // 12.5 MiB
    reading = false;
    expect(turns).toBeGreaterThanOrEqual(10);
  });
});

test("a read that fails is told with the system's code", async () => {
  const directory = realDisk.open(folder, "read");
  const failed = await directory.read(new Uint8Array(10), 0).catch((error: unknown) => error);
  expect(failed).toMatchObject({ code: "EISDIR" });
  await directory.close();
});
