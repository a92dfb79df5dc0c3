// Calls on files of a real mount that programs seldom make, and with which other file systems came to grief: each does on the mount
// what it does in a local directory, where that can do it. (The driver alone, and with more cases: kernel/files.test.ts.)

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import * as fs from "node:fs";
import { MAX_FILE_BYTES } from "../../src/base/limits.ts";
import { patterned } from "../support/cluster.ts";
import { cannotMount, Mounted } from "./support/mounted.ts";
import * as posix from "./support/system-calls.ts";

setDefaultTimeout(120_000); // clusters on a busy machine

const PAGE = 4096;
const MIB = 1024 * 1024;
const KEEP = posix.FALLOC_KEEP_SIZE;

let mounted: Mounted;
/** The mount, and a directory of the local disk. */
let places: readonly string[];

/** Memory of a process in MiB. */
function residentMib(pid: number): number {
  const status = fs.readFileSync(`/proc/${pid}/status`, "latin1");
  return Number(/^VmRSS:\s*(\d+) kB/m.exec(status)?.[1]) / 1024;
}

/** Does the same in all places; what comes of it must be the same. Returns it. */
function everywhere<T>(name: string, work: (path: string) => T): T {
  const [here, ...others] = places.map((place) => {
    const path = `${place}/${name}`;
    const result = work(path);
    return { result, bytes: fs.existsSync(path) ? fs.readFileSync(path) : undefined };
  });
  for (const other of others) {
    expect(here!.result).toEqual(other.result);
    expect(Buffer.compare(here!.bytes ?? Buffer.of(), other.bytes ?? Buffer.of())).toBe(0);
  }
  return here!.result;
}

function opened<T>(path: string, flags: string | number, work: (fd: number) => T): T {
  const fd = fs.openSync(path, flags);
  try {
    return work(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/** The name of the error that a call fails with; undefined when it does not. */
function errorOf(call: () => unknown): string | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  }
}

describe.skipIf(cannotMount !== undefined)("a file on a mount", () => {
  beforeAll(async () => {
    mounted = await Mounted.up({ flags: ["--data-servers", "3", "--block-size", "64K"] });
    const local = mounted.cluster.path("local");
    fs.mkdirSync(local);
    places = [mounted.path, local];
  });
  afterAll(() => mounted.stop());

  // GlusterFS shows the old bytes there.
  test("zeroed beyond its end (ZERO_RANGE) shows zeros to a mapping that there was before, and to a new one", () => {
    everywhere("zeroed", (path) => {
      fs.writeFileSync(path, patterned(8 * PAGE));
      return opened(path, "r+", (fd) => {
        const before = posix.mapShared(fd, 8 * PAGE);
        const seen = [before.bytes[5 * PAGE], before.bytes[8 * PAGE - 1]]; // the pages are there
        posix.fallocate(fd, posix.FALLOC_ZERO_RANGE, 4 * PAGE + 7, 8 * PAGE);
        const after = posix.mapShared(fd, 12 * PAGE + 7);
        const bytes = [
          seen,
          fs.fstatSync(fd).size,
          Buffer.from(before.bytes).toString("base64"),
          Buffer.from(after.bytes).toString("base64"),
        ];
        expect(after.bytes.subarray(4 * PAGE + 7).every((byte) => byte === 0)).toBe(true);
        expect(before.bytes.subarray(4 * PAGE + 7).every((byte) => byte === 0)).toBe(true);
        before.close();
        after.close();
        return bytes;
      });
    });
  });

  test("cut and made longer again shows zeros to a mapping where there was something", () => {
    everywhere("cut", (path) => {
      fs.writeFileSync(path, patterned(4 * PAGE));
      opened(path, "r+", (fd) => {
        const map = posix.mapShared(fd, 4 * PAGE);
        expect(map.bytes[2 * PAGE]).toBe(patterned(2 * PAGE + 1)[2 * PAGE]);
        fs.ftruncateSync(fd, PAGE + 10);
        fs.ftruncateSync(fd, 4 * PAGE);
        expect(map.bytes.subarray(PAGE + 10).every((byte) => byte === 0)).toBe(true);
        map.close();
      });
    });
  });

  test("takes fallocate in every mode that there is, or refuses it as it should", () => {
    const modes = [
      [0, 3 * PAGE, 3 * PAGE],
      [KEEP, 5 * PAGE, 9 * PAGE],
      [posix.FALLOC_PUNCH_HOLE | KEEP, PAGE - 3, PAGE],
      [posix.FALLOC_PUNCH_HOLE | KEEP, 100 * PAGE, PAGE],
      [posix.FALLOC_ZERO_RANGE | KEEP, 5 * PAGE, 40 * PAGE],
      [posix.FALLOC_ZERO_RANGE, 7 * PAGE, 2 * PAGE],
      [posix.FALLOC_PUNCH_HOLE, 0, PAGE],
      [0, 0, 0],
    ] as const;
    const results = everywhere("allocated", (path) => {
      fs.writeFileSync(path, patterned(4 * PAGE));
      return opened(path, "r+", (fd) =>
        modes.map(([mode, offset, length]) => [
          errorOf(() => posix.fallocate(fd, mode, offset, length)),
          fs.fstatSync(fd).size,
        ]),
      );
    });
    expect(results.map(([, size]) => size)).toEqual([6, 6, 6, 6, 6, 9, 9, 9].map((n) => n * PAGE));
    expect(results.map(([error]) => error).slice(-2)).toEqual(["EOPNOTSUPP", "EINVAL"]);
    // What moves the rest of a file (ext4 can) is refused with words that programs know.
    opened(`${mounted.path}/allocated`, "r+", (fd) => {
      for (const mode of [8, 0x20]) {
        expect(errorOf(() => posix.fallocate(fd, mode, 0, PAGE))).toBe("EOPNOTSUPP");
      }
    });
  });

  test("tells where its data and its holes are", () => {
    everywhere("holes", (path) => {
      opened(path, "w+", (fd) => {
        fs.writeSync(fd, patterned(64 * 1024), 0, 64 * 1024, MIB);
        fs.fsyncSync(fd);
        fs.ftruncateSync(fd, 3 * MIB);
        expect(posix.lseek(fd, 0, posix.SEEK_HOLE)).toBe(0);
        expect(posix.lseek(fd, 0, posix.SEEK_DATA)).toBe(MIB);
        expect(posix.lseek(fd, MIB + 5, posix.SEEK_HOLE)).toBe(MIB + 64 * 1024);
        expect(errorOf(() => posix.lseek(fd, 2 * MIB, posix.SEEK_DATA))).toBe("ENXIO");
        expect(errorOf(() => posix.lseek(fd, 3 * MIB, posix.SEEK_HOLE))).toBe("ENXIO");
      });
    });
  });

  // MooseFS's metadata server took 19 GiB.
  test("as long as a file can be costs nothing: no space, no memory, no time", async () => {
    const { metaPid, servers } = mounted.cluster.describe();
    const pids = [mounted.at(0).pid, metaPid, ...servers.map(({ pid }) => pid)];
    const before = pids.map(residentMib);
    const path = `${mounted.path}/huge`;
    opened(path, "w+", (fd) => {
      for (const size of [2 ** 40, 2 ** 50, MAX_FILE_BYTES, 2 ** 45, MAX_FILE_BYTES]) {
        posix.truncate(path, size); // the functions of Bun take no such lengths
        expect(fs.fstatSync(fd)).toMatchObject({ size, blocks: 0 });
      }
      const back = Buffer.alloc(MIB, 1);
      for (const offset of [0, 2 ** 33, 2 ** 44 + 11, MAX_FILE_BYTES - MIB]) {
        expect(fs.readSync(fd, back, 0, MIB, offset)).toBe(MIB);
        expect(back.every((byte) => byte === 0)).toBe(true);
      }
      expect(errorOf(() => posix.lseek(fd, 0, posix.SEEK_DATA))).toBe("ENXIO");
      fs.writeSync(fd, "end", MAX_FILE_BYTES - 3);
      fs.fsyncSync(fd);
      expect(posix.lseek(fd, 0, posix.SEEK_DATA)).toBe(MAX_FILE_BYTES - 3);
      expect(fs.fstatSync(fd).blocks).toBe(1);
    });
    for (const size of [2 ** 40, 2 ** 50]) posix.truncate(path, size);
    expect(await mounted.cluster.rows("explain", "/huge")).toEqual([]);
    fs.unlinkSync(path);
    for (const [index, pid] of pids.entries()) {
      expect(residentMib(pid) - before[index]!).toBeLessThan(64);
    }
  });

  test("is copied by copy_file_range without moving data: the blocks are shared", async () => {
    const bytes = patterned(5 * 64 * 1024 + 77);
    fs.writeFileSync(`${mounted.path}/original`, bytes);
    opened(`${mounted.path}/original`, "r", (from) =>
      opened(`${mounted.path}/copy`, "w+", (to) => {
        for (let offset = 0; offset < bytes.length;) {
          const range = [{ fd: from, offset }, { fd: to, offset }, bytes.length] as const;
          offset += posix.copyFileRange(...range);
        }
      }),
    );
    const blocksOf = async (path: string): Promise<unknown[]> =>
      (await mounted.cluster.rows<{ id: unknown }>("explain", path)).map(({ id }) => id);
    expect(await blocksOf("/copy")).toEqual(await blocksOf("/original"));
    const [status] = await mounted.cluster.rows<{ liveBlocks: number }>("status");
    expect(Buffer.compare(fs.readFileSync(`${mounted.path}/copy`), bytes)).toBe(0);
    // A later change is one of one file.
    opened(`${mounted.path}/copy`, "r+", (fd) => fs.writeSync(fd, "changed", 100));
    expect(Buffer.compare(fs.readFileSync(`${mounted.path}/original`), bytes)).toBe(0);
    expect((await mounted.cluster.rows<typeof status>("status"))[0]!.liveBlocks).toBe(
      status!.liveBlocks + 1,
    );
  });

  test("opened with O_DIRECT, O_APPEND, O_TRUNC and O_EXCL does as asked, to any offset and length", () => {
    const { O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECT } = fs.constants;
    everywhere("flags", (path) => {
      opened(path, O_RDWR | O_CREAT | O_EXCL, (fd) => fs.writeSync(fd, patterned(3 * PAGE)));
      expect(errorOf(() => fs.openSync(path, O_RDWR | O_CREAT | O_EXCL))).toBe("EEXIST");
      opened(path, O_RDWR | O_APPEND, (fd) => {
        fs.writeSync(fd, "at the end", 0);
        return fs.fstatSync(fd).size;
      });
    });
    // A local disk wants whole sectors of aligned memory; here anything goes.
    const path = `${mounted.path}/flags`;
    opened(path, O_RDWR | O_DIRECT, (fd) => {
      fs.writeSync(fd, "direct", 4097);
      const back = Buffer.alloc(6);
      expect(fs.readSync(fd, back, 0, 6, 4097)).toBe(6);
      expect(back.toString()).toBe("direct");
    });
    expect(fs.readFileSync(path).subarray(4097, 4103).toString()).toBe("direct");
    opened(path, O_RDWR | O_TRUNC, (fd) => expect(fs.fstatSync(fd).size).toBe(0));
  });

  test("has times to the nanosecond, also before 1970 and after 2106", () => {
    everywhere("times", (path) => {
      fs.writeFileSync(path, "x");
      return [-1n, 1_000_000_007n, 5_000_000_000_123_456_789n].map((ns) => {
        posix.setTimes(path, ns, ns + 1n, true);
        const { atimeNs, mtimeNs } = fs.statSync(path, { bigint: true });
        return [atimeNs, mtimeNs];
      });
    });
  });

  test("may have a path of 4,095 bytes and a name of 255, and no longer ones", () => {
    const deep = Array.from({ length: 15 }, () => "d".repeat(255));
    const errors = everywhere("long", (path) => {
      fs.mkdirSync(path);
      const cwd = process.cwd();
      try {
        process.chdir(path);
        fs.mkdirSync(deep.join("/"), { recursive: true });
        const inside = `${deep.join("/")}/${"n".repeat(4095 - 15 * 256)}`;
        fs.writeFileSync(inside, "deep");
        const longer = [`${inside}n`, "n".repeat(256), `${"d".repeat(255)}/${"n".repeat(256)}`];
        return [
          fs.readFileSync(inside, "utf8"),
          ...longer.map((each) => errorOf(() => fs.statSync(each))),
          ...longer.map((each) => errorOf(() => fs.writeFileSync(each, "x"))),
          ...longer.map((each) => errorOf(() => fs.renameSync(inside, each))),
        ];
      } finally {
        process.chdir(cwd);
        fs.rmSync(path, { recursive: true });
      }
    });
    expect(errors).toEqual(["deep", ...Array.from({ length: 9 }, () => "ENAMETOOLONG")]);
  });

  test("device nodes, fifos and sockets are kept as they are", () => {
    for (const [name, mode, device] of [
      ["character", posix.S_IFCHR, 0x0103],
      ["block", posix.S_IFBLK, 0x0807],
      ["fifo", posix.S_IFIFO, 0],
      ["socket", posix.S_IFSOCK, 0],
    ] as const) {
      everywhere(`node-${name}`, (path) => {
        posix.mknod(path, mode | 0o640, device);
        const { mode: found, rdev } = fs.statSync(path);
        fs.unlinkSync(path);
        return [found, rdev];
      });
    }
    // The device behind a node is the system's.
    posix.mknod(`${mounted.path}/null`, posix.S_IFCHR | 0o666, 0x0103);
    fs.writeFileSync(`${mounted.path}/null`, "gone");
    expect(fs.readFileSync(`${mounted.path}/null`, "utf8")).toBe("");
  });

  test("names are exchanged, and not replaced, by renameat2", () => {
    everywhere("exchange", (path) => {
      fs.writeFileSync(path, "one");
      fs.mkdirSync(`${path}-two`);
      expect(errorOf(() => posix.rename(path, `${path}-two`, posix.RENAME_NOREPLACE))).toBe(
        "EEXIST",
      );
      posix.rename(path, `${path}-two`, posix.RENAME_EXCHANGE);
      expect(fs.readFileSync(`${path}-two`, "utf8")).toBe("one");
      fs.rmdirSync(path);
      posix.rename(`${path}-two`, path, posix.RENAME_NOREPLACE);
    });
  });
});
