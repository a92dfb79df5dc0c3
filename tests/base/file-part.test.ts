// Parts of files that lie in the system's memory: none is said to that would have to be waited for.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FFIType, ptr } from "bun:ffi";
import { realDisk, type DiskFile } from "../../src/base/disk.ts";
import { loadLibc } from "../../src/base/libc.ts";
import { seededRandom } from "../../src/base/random.ts";

const MIB = 1024 * 1024;
const SEED = 4712;
const POSIX_FADV_DONTNEED = 4; // uapi/linux/fadvise.h
const RWF_NOWAIT = 8; // uapi/linux/fs.h

const { posix_fadvise, readahead, preadv2 } = loadLibc({
  posix_fadvise: {
    args: [FFIType.i32, FFIType.i64_fast, FFIType.i64_fast, FFIType.i32],
    returns: FFIType.i32,
  },
  readahead: {
    args: [FFIType.i32, FFIType.i64_fast, FFIType.u64_fast],
    returns: FFIType.i64_fast,
  },
  preadv2: {
    args: [FFIType.i32, FFIType.ptr, FFIType.i32, FFIType.i64_fast, FFIType.i32],
    returns: FFIType.i64_fast,
  },
});

const content = seededRandom(SEED).bytes(16 * MIB);
let folder: string;
let file: DiskFile;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "dfs-file-part-test-"));
  writeFileSync(join(folder, "file"), content);
  file = realDisk.open(join(folder, "file"), "write");
  await file.syncData();
});

afterAll(async () => {
  await file.close();
  rmSync(folder, { recursive: true });
});

describe("a part of a file", () => {
  test("is known to be there wherever it begins and ends, once all of it has been read", async () => {
    await file.read(new Uint8Array(content.length), 0);
    for (const position of [0, 1, 4095, 4096, 4097, 3 * MIB + 7]) {
      for (const length of [1, 4095, 4096, 4097, 2 * MIB + 1]) {
        expect([position, length, file.part!(position, length)?.length]).toEqual([
          position,
          length,
          length,
        ]);
      }
    }
    expect(file.part!(0, content.length)?.length).toBe(content.length);
  });

  // The system's pages for it are there at once. Their content comes when the disk has given it.
  test("is not said to lie in memory while it is being read", () => {
    const { descriptor } = file.part!(0, 1)!;
    const target = new Uint8Array(MIB);
    const vector = new BigUint64Array([BigInt(ptr(target)), BigInt(MIB)]);
    posix_fadvise(descriptor, 0, content.length, POSIX_FADV_DONTNEED);
    for (let at = 0; at < content.length; at += MIB) {
      readahead(descriptor, at, MIB);
      const part = file.part!(at, MIB);
      const count = Number(preadv2(descriptor, ptr(vector), 1, at, RWF_NOWAIT));
      if (part !== undefined) expect([at, count]).toEqual([at, MIB]);
    }
  });
});
