// The real disk behind the disk seam, and the two helpers that every implementation is used through.

import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  readWholeFile,
  realDisk,
  replaceFile,
  writeFully,
  type DiskFile,
} from "../../src/base/disk.ts";
import { systemCodeOf } from "../../src/base/errors.ts";

const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "dfs-disk-test-"));
  folders.push(folder);
  return folder;
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function codeOf(work: () => unknown): string | undefined {
  try {
    work();
  } catch (error) {
    return systemCodeOf(error);
  }
  return "no error";
}

describe("realDisk", () => {
  test("writes parts one behind the other, and reads until the file ends", async () => {
    const path = join(temporaryFolder(), "file");
    const file = realDisk.open(path, "create");
    expect(file.write([bytes("abc"), bytes(""), bytes("defg")], 2)).toBe(7);
    await file.syncData();
    await file.sync();
    expect(file.size()).toBe(9);
    const target = new Uint8Array(20);
    expect(file.readNow(target, 4)).toBe(5);
    expect(new TextDecoder().decode(target.subarray(0, 5))).toBe("cdefg");
    expect(await file.read(target.subarray(0, 3), 2)).toBe(3);
    expect(new TextDecoder().decode(target.subarray(0, 3))).toBe("abc");
    expect(await file.read(target, 9)).toBe(0);
    file.truncate(4);
    expect(file.size()).toBe(4);
    await file.close();
  });

  test("opens files as it is told to, and fails with the system's code", async () => {
    const path = join(temporaryFolder(), "file");
    expect(codeOf(() => realDisk.open(path, "read"))).toBe("ENOENT");
    expect(codeOf(() => realDisk.open(path, "write"))).toBe("ENOENT");
    await realDisk.open(path, "create").close();
    expect(codeOf(() => realDisk.open(path, "create"))).toBe("EEXIST");
    const readOnly = realDisk.open(path, "read");
    expect(codeOf(() => readOnly.write([bytes("x")], 0))).toBe("EBADF");
    await readOnly.close();
    const outcome = await realDisk.unlink(`${path}-not-there`).catch(systemCodeOf);
    expect(outcome).toBe("ENOENT");
  });

  test("makes directories with those above, lists them sorted, renames and removes", async () => {
    const folder = temporaryFolder();
    const deep = join(folder, "a/b/c");
    expect(realDisk.list(deep)).toBeUndefined();
    realDisk.makeDirectory(deep);
    realDisk.makeDirectory(deep);
    expect(realDisk.list(deep)).toEqual([]);
    for (const name of ["2", "10", "1"]) writeFileSync(join(deep, name), name);
    expect(realDisk.list(deep)).toEqual(["1", "10", "2"]);
    realDisk.rename(join(deep, "1"), join(deep, "2"));
    await realDisk.unlink(join(deep, "10"));
    await realDisk.syncDirectory(deep);
    expect(realDisk.list(deep)).toEqual(["2"]);
    expect(readFileSync(join(deep, "2"), "utf8")).toBe("1");
  });

  test("knows how much room there is", () => {
    const { capacityBytes, availableBytes } = realDisk.space(tmpdir());
    expect(capacityBytes).toBeGreaterThan(0);
    expect(availableBytes).toBeGreaterThan(0);
    expect(availableBytes).toBeLessThanOrEqual(capacityBytes);
  });
});

describe("replaceFile", () => {
  test("puts a file in place, over an older one and over what a crash has left", async () => {
    const folder = temporaryFolder();
    await replaceFile(realDisk, folder, "name", bytes("first"));
    writeFileSync(join(folder, "name.tmp"), "half of someth");
    await replaceFile(realDisk, folder, "name", bytes("second"));
    expect(new TextDecoder().decode(readWholeFile(realDisk, join(folder, "name")))).toBe("second");
    expect(readdirSync(folder)).toEqual(["name"]);
  });

  test("leaves the former file when it fails", async () => {
    const folder = temporaryFolder();
    await replaceFile(realDisk, folder, "name", bytes("first"));
    const broken = {
      ...realDisk,
      open: (...args: Parameters<typeof realDisk.open>): DiskFile =>
        Object.assign(realDisk.open(...args), {
          sync: () => Promise.reject(new Error("no more disk")),
        }),
    };
    const outcome = await replaceFile(broken, folder, "name", bytes("second")).catch(String);
    expect(outcome).toContain("no more disk");
    expect(readFileSync(join(folder, "name"), "utf8")).toBe("first");
    expect(existsSync(join(folder, "name.tmp"))).toBe(true); // the next one removes it
  });
});

test("writeFully goes on after short writes, in every place they can end", () => {
  for (let limit = 1; limit <= 12; limit++) {
    const written = new Uint8Array(10);
    const file = {
      path: "a file that takes little at once",
      write: (parts: readonly Uint8Array[], position: number) => {
        const chunk = Buffer.concat(parts).subarray(0, limit);
        written.set(chunk, position);
        return chunk.length;
      },
    } as DiskFile;
    const parts = [bytes("ab"), bytes(""), bytes("cde"), bytes("f")];
    expect(writeFully(file, parts, 3)).toBe(9);
    expect(new TextDecoder().decode(written.subarray(3, 9))).toBe("abcdef");
  }
  const stuck = { path: "/d/f", write: () => 0 } as unknown as DiskFile;
  expect(() => writeFully(stuck, [bytes("x")], 0)).toThrow("/d/f");
});
