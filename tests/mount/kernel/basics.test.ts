// The driver `kernel` on a real mount: names, attributes, content. The file system behind it is in memory, in a process of its own.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  statfsSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  chmodSync,
} from "node:fs";

import { mountTable } from "../../../src/base/mounts/table.ts";
import { fuseIsThere, MemoryMount } from "../support/memory-mount.ts";

describe.skipIf(!fuseIsThere())("a mount", () => {
  let mount: MemoryMount;
  const at = (name: string): string => mount.at(name);
  beforeAll(async () => {
    mount = await MemoryMount.start();
  });
  afterAll(async () => {
    await mount[Symbol.asyncDispose]();
  });

  test("is in /proc/mounts with type and source", () => {
    const found = mountTable().find((other) => other.mountPoint === mount.path);
    expect(found).toMatchObject({ type: "fuse.dfs", source: "dfs#127.0.0.1:4000" });
  });

  test("keeps what is written", () => {
    writeFileSync(at("hello"), "hello world");
    expect(readFileSync(at("hello"), "utf8")).toBe("hello world");
    expect(statSync(at("hello"))).toMatchObject({ size: 11, nlink: 1, mode: 0o100644 });
  });

  test("makes, lists, renames and removes names", () => {
    mkdirSync(at("dir"));
    writeFileSync(at("dir/a"), "a");
    linkSync(at("dir/a"), at("dir/b"));
    symlinkSync("a", at("dir/c"));
    expect(readdirSync(at("dir")).sort()).toEqual(["a", "b", "c"]);
    expect(statSync(at("dir/b")).nlink).toBe(2);
    expect(readlinkSync(at("dir/c"))).toBe("a");
    expect(lstatSync(at("dir/c")).isSymbolicLink()).toBe(true);
    renameSync(at("dir/b"), at("dir/d"));
    expect(() => statSync(at("dir/b"))).toThrow("ENOENT");
    for (const name of ["a", "c", "d"]) unlinkSync(at(`dir/${name}`));
    rmdirSync(at("dir"));
    expect(() => statSync(at("dir"))).toThrow("ENOENT");
  });

  test("changes attributes, with times to the nanosecond and before 1970", () => {
    writeFileSync(at("times"), "x");
    chmodSync(at("times"), 0o600);
    utimesSync(at("times"), new Date(-1500), 1_700_000_000.25);
    truncateSync(at("times"), 5);
    const { mode, size, atimeNs } = statSync(at("times"), { bigint: true });
    expect({ mode, size, atimeNs }).toEqual({
      mode: 0o100600n,
      size: 5n,
      atimeNs: -1_500_000_000n,
    });
    expect(readFileSync(at("times"), "latin1")).toBe("x\0\0\0\0");
  });

  test("tells how much space there is", () => {
    const { bsize, blocks, bavail } = statfsSync(mount.path);
    expect([bsize * blocks, bsize * bavail]).toEqual([8 * 1024 ** 3, 4 * 1024 ** 3]);
  });

  test("carries 8 MiB unchanged", () => {
    const bytes = new Uint8Array(8 * 1024 * 1024 + 123);
    for (let i = 0; i < bytes.length; i += 7) bytes[i] = i % 251;
    writeFileSync(at("big"), bytes);
    expect(Bun.hash(readFileSync(at("big")))).toBe(Bun.hash(bytes));
  });
});
