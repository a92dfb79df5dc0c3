// The driver `kernel`: names, directories, nodes, extended attributes.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  mkdirSync,
  opendirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";

import { fuseIsThere, MemoryMount } from "../support/memory-mount.ts";
import * as posix from "../support/system-calls.ts";

const BIG = 9_007_199_254_740_993n; // 2^53 + 1: not a JavaScript number

describe.skipIf(!fuseIsThere())("names on a mount", () => {
  let mount: MemoryMount;
  const at = (name: string): string => mount.at(name);
  beforeAll(async () => {
    mount = await MemoryMount.start({ firstInode: String(BIG) });
  });
  afterAll(async () => {
    await mount[Symbol.asyncDispose]();
  });

  test("stand for inodes of 64 bits", () => {
    writeFileSync(at("first"), "1");
    writeFileSync(at("second"), "2");
    expect(statSync(at("first"), { bigint: true }).ino).toBe(BIG);
    expect(statSync(at("second"), { bigint: true }).ino).toBe(BIG + 1n);
    expect(readFileSync(at("second"), "utf8")).toBe("2");
  });

  test("may be any bytes, and 255 of them", () => {
    const name = Buffer.concat([Buffer.from(`${mount.path}/`), Buffer.alloc(255, 0xff)]);
    writeFileSync(name, "x");
    expect(readdirSync(mount.path, { encoding: "buffer" }).some((n) => n.length === 255)).toBe(
      true,
    );
    unlinkSync(name);
    expect(() => writeFileSync(at("n".repeat(256)), "x")).toThrow("ENAMETOOLONG");
  });

  test("are exchanged, or not replaced, by rename", () => {
    writeFileSync(at("a"), "A");
    mkdirSync(at("b"));
    posix.rename(at("a"), at("b"), posix.RENAME_EXCHANGE);
    expect(statSync(at("a")).isDirectory()).toBe(true);
    expect(readFileSync(at("b"), "utf8")).toBe("A");
    expect(() => posix.rename(at("b"), at("a"), posix.RENAME_NOREPLACE)).toThrow("EEXIST");
    posix.rename(at("b"), at("c"), posix.RENAME_NOREPLACE);
    expect(readFileSync(at("c"), "utf8")).toBe("A");
    expect(() => posix.rename(at("c"), at("d"), posix.RENAME_WHITEOUT)).toThrow("EINVAL");
    expect(() => posix.rename(at("c"), at("d"), posix.RENAME_EXCHANGE)).toThrow("ENOENT");
    rmdirSync(at("a"));
  });

  test("stand for fifos, sockets and devices", () => {
    posix.mknod(at("fifo"), posix.S_IFIFO | 0o600);
    posix.mknod(at("socket"), posix.S_IFSOCK | 0o600);
    expect(statSync(at("fifo")).isFIFO()).toBe(true);
    expect(statSync(at("socket")).isSocket()).toBe(true);
    if (process.getuid?.() !== 0) return;
    const device = (11 << 8) | (0xab & 0xff) | (0x12300 << 12); // major 11, minor 0x123ab
    posix.mknod(at("block"), posix.S_IFBLK | 0o600, device >>> 0);
    expect(statSync(at("block")).rdev).toBe(device >>> 0);
    // A device that works: what is read from it comes from the kernel, not from the mount.
    posix.mknod(at("zero"), posix.S_IFCHR | 0o666, (1 << 8) | 5);
    const bytes = Bun.spawnSync(["head", "-c", "5", at("zero")]).stdout;
    expect([...bytes]).toEqual([0, 0, 0, 0, 0]);
  });

  test("that do not exist are remembered, and can be made", () => {
    for (let i = 0; i < 3; i++) expect(() => statSync(at("later"))).toThrow("ENOENT");
    writeFileSync(at("later"), "now");
    expect(readFileSync(at("later"), "utf8")).toBe("now");
  });

  test("lead through symbolic links of 4,095 bytes", () => {
    const target = `./${"./".repeat(2000)}${"x".repeat(93)}`;
    expect(target).toHaveLength(4095);
    symlinkSync(target, at("long"));
    writeFileSync(at("x".repeat(93)), "end");
    expect(readFileSync(at("long"), "utf8")).toBe("end");
  });

  test("carry extended attributes", () => {
    const value = new Uint8Array(65_536).fill(7);
    writeFileSync(at("tagged"), "");
    const names = (): string[] =>
      posix.xattrList(at("tagged")).map((name) => new TextDecoder().decode(name));
    posix.xattrSet(at("tagged"), "user.small", new TextEncoder().encode("v"));
    posix.xattrSet(at("tagged"), "user.empty", new Uint8Array());
    posix.xattrSet(at("tagged"), "user.large", value);
    expect(names()).toEqual(["user.small", "user.empty", "user.large"]);
    expect(posix.xattrSize(at("tagged"), "user.large")).toBe(65_536);
    expect(Buffer.compare(posix.xattrGet(at("tagged"), "user.large"), value)).toBe(0);
    expect(posix.xattrGet(at("tagged"), "user.empty")).toHaveLength(0);
    expect(() => posix.xattrGet(at("tagged"), "user.large", 10)).toThrow("ERANGE");
    expect(() => posix.xattrGet(at("tagged"), "user.none")).toThrow("ENODATA");
    const set = (name: string, flags: number): void =>
      posix.xattrSet(at("tagged"), name, value.subarray(0, 1), flags);
    expect(() => set("user.small", posix.XATTR_CREATE)).toThrow("EEXIST");
    expect(() => set("user.none", posix.XATTR_REPLACE)).toThrow("ENODATA");
    posix.xattrRemove(at("tagged"), "user.small");
    expect(() => posix.xattrRemove(at("tagged"), "user.small")).toThrow("ENODATA");
    expect(names()).toEqual(["user.empty", "user.large"]);
  });
});

describe.skipIf(!fuseIsThere())("a directory of 100,000 entries", () => {
  test("is listed whole, with attributes, while entries are removed", async () => {
    await using mount = await MemoryMount.start({ files: 100_000 });
    // Attributes come with the names: find asks for those of each file, and the mount is asked for next to none.
    const before = await mount.state();
    const found = Bun.spawnSync(["find", mount.path, "-type", "f", "-size", "0"]);
    expect(new Set(found.stdout.toString().trimEnd().split("\n")).size).toBe(100_000);
    const { took, lookups } = await mount.state();
    expect(took - before.took).toBeGreaterThan(90_000);
    expect(lookups - before.lookups).toBeLessThan(10_000);
    const directory = opendirSync(mount.path, { bufferSize: 32 });
    const seen = new Set<string>();
    for (let entry = directory.readSync(); entry !== null; entry = directory.readSync()) {
      seen.add(entry.name);
      if (seen.size <= 1000) unlinkSync(mount.at(entry.name));
    }
    directory.closeSync();
    // What goes on while a directory is read is in the listing or not; everything else is.
    expect(seen.size).toBeGreaterThanOrEqual(99_000);
  });
});
