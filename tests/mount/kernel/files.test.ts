// The driver `kernel`: what programs do with open files.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";

import { fuseIsThere, MemoryMount } from "../support/memory-mount.ts";
import * as posix from "../support/system-calls.ts";

const MIB = 1024 * 1024;
const PAGE = 4096;

/** Bytes that differ from page to page. */
function pattern(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + Math.floor(i / PAGE)) % 251;
  return bytes;
}

describe.skipIf(!fuseIsThere())("an open file", () => {
  let mount: MemoryMount;
  const at = (name: string): string => mount.at(name);
  const opened = <T>(name: string, flags: number | string, use: (fd: number) => T): T => {
    const fd = openSync(at(name), flags, 0o644);
    try {
      return use(fd);
    } finally {
      closeSync(fd);
    }
  };
  beforeAll(async () => {
    mount = await MemoryMount.start();
  });
  afterAll(async () => {
    await mount[Symbol.asyncDispose]();
  });

  test("takes 1 MiB in one request", async () => {
    const bytes = pattern(3 * MIB);
    const { writes } = await mount.state();
    writeFileSync(at("large"), bytes);
    expect((await mount.state()).writes - writes).toBe(3);
    expect(Buffer.compare(readFileSync(at("large")), bytes)).toBe(0);
  });

  test("takes and gives bytes at any offset", () => {
    const bytes = pattern(2 * MIB);
    opened("odd", "w+", (fd) => {
      expect(writeSync(fd, bytes, 0, MIB, 5)).toBe(MIB);
      expect(writeSync(fd, bytes, MIB, MIB, 5 + MIB)).toBe(MIB);
      fsyncSync(fd);
      const back = new Uint8Array(2 * MIB);
      expect(readSync(fd, back, 0, back.length, 5)).toBe(back.length);
      expect(Buffer.compare(back, bytes)).toBe(0);
    });
    expect(statSync(at("odd")).size).toBe(2 * MIB + 5);
  });

  test("with O_DIRECT passes the page cache by", () => {
    const bytes = pattern(MIB + 512);
    opened("direct", constants.O_RDWR | constants.O_CREAT | constants.O_DIRECT, (fd) => {
      expect(writeSync(fd, bytes, 0, bytes.length, 0)).toBe(bytes.length);
      const back = new Uint8Array(bytes.length);
      expect(readSync(fd, back, 0, back.length, 0)).toBe(back.length);
      expect(Buffer.compare(back, bytes)).toBe(0);
    });
  });

  test("with O_APPEND writes at the end, also where another client has moved it", async () => {
    writeFileSync(at("log"), "one ");
    const fd = openSync(at("log"), "a");
    writeSync(fd, "two ");
    await mount.tell({ do: "change", path: "log", text: "ONE TWO THREE ", tell: true });
    writeSync(fd, "four");
    closeSync(fd);
    expect(readFileSync(at("log"), "utf8")).toBe("ONE TWO THREE four");
  });

  test("with O_TRUNC is emptied, with O_EXCL must be new", () => {
    writeFileSync(at("again"), "before");
    opened("again", "w", (fd) => expect(fstatSync(fd).size).toBe(0));
    const flags = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY;
    expect(() => openSync(at("again"), flags)).toThrow("EEXIST");
  });

  test("lives without a name until it is closed", async () => {
    const before = await mount.state();
    const fd = openSync(at("nameless"), "w+");
    writeSync(fd, "still here");
    unlinkSync(at("nameless"));
    expect(() => statSync(at("nameless"))).toThrow("ENOENT");
    ftruncateSync(fd, 5);
    const back = Buffer.alloc(10);
    expect(readSync(fd, back, 0, 10, 0)).toBe(5);
    expect(fstatSync(fd)).toMatchObject({ size: 5, nlink: 0 });
    closeSync(fd);
    // Release and forget come from the kernel after close has returned.
    let after = before.inodes + 1;
    for (let i = 0; i < 500 && after !== before.inodes; i++) {
      await Bun.sleep(10);
      after = (await mount.state()).inodes;
    }
    expect(after).toBe(before.inodes);
  });

  test("has holes where nothing was written, and tells where they are", () => {
    opened("sparse", "w+", (fd) => {
      writeSync(fd, pattern(PAGE), 0, PAGE, 10 * PAGE);
      ftruncateSync(fd, 20 * PAGE);
      expect(posix.lseek(fd, 0, posix.SEEK_DATA)).toBe(10 * PAGE);
      expect(posix.lseek(fd, 10 * PAGE, posix.SEEK_HOLE)).toBe(11 * PAGE);
      expect(posix.lseek(fd, 0, posix.SEEK_HOLE)).toBe(0);
      expect(() => posix.lseek(fd, 11 * PAGE, posix.SEEK_DATA)).toThrow("ENXIO");
      expect(() => posix.lseek(fd, 20 * PAGE, posix.SEEK_HOLE)).toThrow("ENXIO");
    });
    expect(statSync(at("sparse")).blocks).toBe(8);
  });

  test("has the space of fallocate, its holes and its zeros", () => {
    const { FALLOC_KEEP_SIZE: keep, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE } = posix;
    opened("allocated", "w+", (fd) => {
      writeSync(fd, pattern(4 * PAGE), 0, 4 * PAGE, 0);
      posix.fallocate(fd, 0, 0, 8 * PAGE);
      expect(fstatSync(fd).size).toBe(8 * PAGE);
      posix.fallocate(fd, keep, 0, 16 * PAGE);
      expect(fstatSync(fd).size).toBe(8 * PAGE);
      posix.fallocate(fd, FALLOC_PUNCH_HOLE | keep, PAGE, 2 * PAGE);
      expect(posix.lseek(fd, 0, posix.SEEK_HOLE)).toBe(PAGE);
      posix.fallocate(fd, FALLOC_ZERO_RANGE, 7 * PAGE, 3 * PAGE);
      expect(fstatSync(fd).size).toBe(10 * PAGE);
      expect(() => posix.fallocate(fd, FALLOC_PUNCH_HOLE, 0, PAGE)).toThrow("EOPNOTSUPP");
    });
    const bytes = readFileSync(at("allocated"));
    const expected = new Uint8Array(10 * PAGE);
    expected.set(pattern(4 * PAGE));
    expected.fill(0, PAGE, 3 * PAGE);
    expect(Buffer.compare(bytes, expected)).toBe(0);
  });

  test("is copied by copy_file_range, within itself and to another", () => {
    writeFileSync(at("source"), pattern(3 * PAGE));
    opened("source", "r+", (from) =>
      opened("copy", "w+", (to) => {
        const copied = posix.copyFileRange({ fd: from, offset: 100 }, { fd: to, offset: 7 }, MIB);
        expect(copied).toBe(3 * PAGE - 100);
        posix.copyFileRange({ fd: from, offset: 0 }, { fd: from, offset: 2 * PAGE }, PAGE);
      }),
    );
    const source = pattern(3 * PAGE);
    expect(Buffer.compare(readFileSync(at("copy")).subarray(7), source.subarray(100))).toBe(0);
    expect(
      Buffer.compare(readFileSync(at("source")).subarray(2 * PAGE), source.subarray(0, PAGE)),
    ).toBe(0);
  });

  test("can be mapped and changed through the mapping", () => {
    writeFileSync(at("mapped"), pattern(2 * PAGE + 10));
    opened("mapped", "r+", (fd) => {
      const map = posix.mapShared(fd, 2 * PAGE + 10);
      expect(map.bytes[PAGE]).toBe(pattern(PAGE + 1)[PAGE]);
      map.bytes.set([1, 2, 3], 2 * PAGE + 7);
      // One page cache for all: another descriptor sees it before it is written back.
      const back = Buffer.alloc(3);
      opened("mapped", "r", (other) => readSync(other, back, 0, 3, 2 * PAGE + 7));
      expect([...back]).toEqual([1, 2, 3]);
      map.close();
    });
    expect([...readFileSync(at("mapped")).subarray(-3)]).toEqual([1, 2, 3]);
  });

  // The kernel writes pages of a mapping through any descriptor that may write. When that is one with O_APPEND, a driver that
  // passes the write on like any other puts the page behind the end of the file.
  test("that somebody appends to keeps the pages of its mappings in their place", () => {
    writeFileSync(at("both"), pattern(PAGE));
    const writer = openSync(at("both"), "r+");
    const map = posix.mapShared(writer, PAGE);
    closeSync(writer);
    opened("both", "a", (fd) => {
      map.bytes.set([9, 8, 7], 0);
      map.close();
      expect(fstatSync(fd).size).toBe(PAGE);
    });
    expect([...readFileSync(at("both")).subarray(0, 3)]).toEqual([9, 8, 7]);
    expect(statSync(at("both")).size).toBe(PAGE);
  });

  test("refuses sizes and offsets beyond the largest file with EFBIG", () => {
    opened("huge", "w+", (fd) => {
      expect(() => posix.fallocate(fd, 0, 2 ** 53, 4096)).toThrow("EFBIG");
      expect(() => writeSync(fd, Buffer.from("x"), 0, 1, Number.MAX_SAFE_INTEGER)).toThrow("EFBIG");
      ftruncateSync(fd, 2 ** 52 - 1);
      expect(fstatSync(fd).size).toBe(2 ** 52 - 1);
    });
  });

  test("answers an ioctl that it does not know with ENOTTY, every time", () => {
    opened("ioctl", "w+", (fd) => {
      const FS_IOC_GETFLAGS = 0x80086601;
      expect(() => posix.ioctl(fd, FS_IOC_GETFLAGS)).toThrow("ENOTTY");
      expect(() => posix.ioctl(fd, FS_IOC_GETFLAGS)).toThrow("ENOTTY");
    });
  });

  test("loses setuid when an ordinary user writes, truncates or allocates, and by chown", () => {
    if (process.getuid?.() !== 0) {
      console.warn("skipped: only root can become another user and set setuid for others");
      return;
    }
    // Other users may not pass through the folder of the tests: they start inside the mount.
    const asUser = (...command: string[]): void => {
      const options = { cwd: mount.path };
      const user = ["setpriv", "--reuid=65534", "--clear-groups", ...command];
      expect(Bun.spawnSync(user, options).stderr.toString()).toBe("");
    };
    const mode = (): number => statSync(at("suid")).mode & 0o7777;
    writeFileSync(at("suid"), "program");
    const ways = [
      ["sh", "-c", "echo x >> suid"],
      ["sh", "-c", ": > suid"],
      ["truncate", "-s", "3", "suid"],
      ["fallocate", "-l", "9", "suid"],
    ];
    for (const way of ways) {
      chmodSync(at("suid"), 0o6777);
      asUser(...way);
      expect([way, mode()]).toEqual([way, 0o777]);
    }
    chmodSync(at("suid"), 0o6777);
    appendFileSync(at("suid"), "root may");
    expect(mode()).toBe(0o6777);
    chownSync(at("suid"), 1, 1);
    expect(mode()).toBe(0o777);
  });
});
