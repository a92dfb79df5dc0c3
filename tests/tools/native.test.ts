// System calls through FFI: exact times, special files, extended attributes, holes.

import { afterAll, describe, expect, test } from "bun:test";
import {
  ftruncateSync,
  lstatSync,
  openSync,
  closeSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import type { ContentRun } from "../../src/client/api.ts";
import { localContent } from "../../src/tools/transfer/local-content.ts";
import {
  getAttribute,
  listAttributes,
  makeNode,
  nextData,
  setAttribute,
  setTimes,
} from "../../src/tools/transfer/native.ts";
import { writeContent } from "../../src/tools/transfer/write-content.ts";
import { temporaryFolder } from "./support/files.ts";

const folder = temporaryFolder("native");
afterAll(() => folder.remove());

const at = (name: string): Buffer => Buffer.from(join(folder.path, name), "latin1");

describe("setTimes", () => {
  const times = { atimeNs: 1_700_000_000_123_456_789n, mtimeNs: -4_012_345_679n };

  test("sets nanoseconds, also before 1970", () => {
    writeFileSync(at("times\xff"), "");
    setTimes(at("times\xff"), times);
    expect(lstatSync(at("times\xff"), { bigint: true })).toMatchObject(times);
  });

  test("sets those of a link itself, and of what it leads to when asked", () => {
    writeFileSync(at("target"), "");
    symlinkSync("target", at("link"));
    const before = lstatSync(at("target"), { bigint: true }).mtimeNs;
    setTimes(at("link"), times);
    expect(lstatSync(at("link"), { bigint: true }).mtimeNs).toBe(times.mtimeNs);
    expect(lstatSync(at("target"), { bigint: true }).mtimeNs).toBe(before);
    setTimes(at("link"), times, true);
    expect(lstatSync(at("target"), { bigint: true }).mtimeNs).toBe(times.mtimeNs);
  });

  test("fails with the system's code", () => {
    expect(() => setTimes(at("nowhere"), times)).toThrow("ENOENT: utimensat");
  });
});

test("makeNode makes a fifo, once", () => {
  makeNode(at("fifo"), 0o010600, 0n);
  expect(lstatSync(at("fifo")).isFIFO()).toBe(true);
  expect(() => makeNode(at("fifo"), 0o010600, 0n)).toThrow("EEXIST: mknod");
});

test("extended attributes come back as they were set, also empty and binary ones", () => {
  writeFileSync(at("attributes"), "");
  expect(listAttributes(at("attributes"))).toEqual([]);
  setAttribute(at("attributes"), Buffer.from("user.empty"), new Uint8Array());
  setAttribute(at("attributes"), Buffer.from("user.binary"), Uint8Array.of(0, 255, 10));
  const names = listAttributes(at("attributes")).map(String);
  expect(names.sort()).toEqual(["user.binary", "user.empty"]);
  expect(getAttribute(at("attributes"), Buffer.from("user.binary"))).toEqual(
    Buffer.from([0, 255, 10]),
  );
  expect(getAttribute(at("attributes"), Buffer.from("user.empty"))).toHaveLength(0);
  expect(() => getAttribute(at("attributes"), Buffer.from("user.none"))).toThrow("ENODATA");
});

const MiB = 1024 * 1024;

describe("sparse files", () => {
  const size = 5 * 1024 * MiB;

  function sparseFile(name: string): void {
    const descriptor = openSync(at(name), "w");
    ftruncateSync(descriptor, size);
    writeSync(descriptor, "middle", 1024 * MiB);
    closeSync(descriptor);
  }

  async function collect(runs: AsyncIterable<ContentRun>) {
    const holes: number[] = [];
    let data = 0;
    for await (const run of runs) {
      if (run instanceof Uint8Array) data += run.length;
      else holes.push(run.holeBytes);
    }
    return { holes, data };
  }

  test("nextData finds the data", () => {
    sparseFile("sparse-1");
    const descriptor = openSync(at("sparse-1"), "r");
    const found = nextData(descriptor, 0);
    expect(found?.start).toBe(1024 * MiB);
    expect(found?.end).toBeLessThanOrEqual(1024 * MiB + 64 * 1024);
    expect(nextData(descriptor, found?.end ?? 0)).toBeUndefined();
    closeSync(descriptor);
  });

  test("5 GiB of holes are read in no time, and written back as holes", async () => {
    sparseFile("sparse-2");
    const handle = await open(at("sparse-2"));
    const stats = await handle.stat({ bigint: true });
    const { holes, data } = await collect(localContent(handle.fd, stats));
    expect(holes).toHaveLength(2);
    expect(data).toBeLessThanOrEqual(64 * 1024);
    expect((holes[0] ?? 0) + (holes[1] ?? 0) + data).toBe(size);
    const copy = await open(at("sparse-3"), "w+");
    let told = 0;
    await writeContent(localContent(handle.fd, stats), copy.fd, (bytes) => (told += bytes));
    expect(told).toBe(size);
    const copied = await copy.stat();
    expect(copied.size).toBe(size);
    expect(copied.blocks * 512).toBeLessThan(MiB);
    const buffer = Buffer.alloc(8);
    await copy.read(buffer, 0, 8, 1024 * MiB);
    expect(buffer.toString("latin1")).toBe("middle\0\0");
    await copy.close();
    await handle.close();
  });
});

describe("localContent", () => {
  async function bytesOf(path: string): Promise<number> {
    const handle = await open(path);
    let length = 0;
    const content = localContent(handle.fd, await handle.stat({ bigint: true }));
    for await (const run of content) length += run instanceof Uint8Array ? run.length : 0;
    await handle.close();
    return length;
  }

  test("reads regular files in pieces, and files of /proc, which have no length, to their end", async () => {
    writeFileSync(at("plain"), Buffer.alloc(3 * MiB + 1, 7));
    expect(await bytesOf(at("plain").toString())).toBe(3 * MiB + 1);
    expect(await bytesOf("/proc/self/status")).toBeGreaterThan(100);
  });

  test("a file that shrinks gives what is left", async () => {
    writeFileSync(at("shrinks"), Buffer.alloc(4 * MiB, 1));
    const handle = await open(at("shrinks"), "r+");
    let length = 0;
    for await (const run of localContent(handle.fd, await handle.stat({ bigint: true }))) {
      if (length === 0) await handle.truncate(2 * MiB);
      length += run instanceof Uint8Array ? run.length : 0;
    }
    await handle.close();
    expect(length).toBe(2 * MiB);
  });
});
