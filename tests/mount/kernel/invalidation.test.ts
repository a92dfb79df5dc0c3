// The driver `kernel`: what another client has changed reaches programs on the mount, though the kernel was told that it may
// go by what it knows for a minute.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { release } from "node:os";

import { fuseIsThere, MemoryMount } from "../support/memory-mount.ts";
import * as posix from "../support/system-calls.ts";

describe.skipIf(!fuseIsThere())("a change by another client", () => {
  let mount: MemoryMount;
  const at = (name: string): string => mount.at(name);
  const change = (path: string, text: string, tell: boolean): Promise<unknown> =>
    mount.tell({ do: "change", path, text, tell });
  /** Notices are sent by a thread: waits for what they bring about. */
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition()) await Bun.sleep(2);
  };
  const readFrom = (fd: number): string => {
    const buffer = Buffer.alloc(100);
    return buffer.toString("utf8", 0, readSync(fd, buffer, 0, 100, 0));
  };
  beforeAll(async () => {
    mount = await MemoryMount.start({ timeoutMs: 60_000 });
  });
  afterAll(async () => {
    await mount[Symbol.asyncDispose]();
  });

  test("reaches who has the file open, content and size", async () => {
    writeFileSync(at("shared"), "before");
    const fd = openSync(at("shared"), "r");
    expect(readFrom(fd)).toBe("before");
    await change("shared", "after it all", true);
    expect(readFrom(fd)).toBe("after it all");
    expect(statSync(at("shared")).size).toBe(12);
    await change("shared", "same length.", true);
    expect(readFrom(fd)).toBe("same length.");
    closeSync(fd);
  });

  test("without a notice stays unseen until the timeout: what the kernel holds is really held", async () => {
    writeFileSync(at("held"), "before");
    const fd = openSync(at("held"), "r");
    expect(readFrom(fd)).toBe("before");
    await change("held", "AFTER!", false);
    expect(readFrom(fd)).toBe("before");
    await mount.tell({ do: "all" });
    await until(() => readFrom(fd) === "AFTER!");
    closeSync(fd);
  });

  test("without a notice is seen by the next open, which learns the version of the content", async () => {
    writeFileSync(at("closed"), "before");
    expect(readFileSync(at("closed"), "utf8")).toBe("before");
    await change("closed", "after it all", false);
    expect(readFileSync(at("closed"), "utf8")).toBe("after it all");
  });

  test("of a name reaches who knows the old one, and who knows that there was none", async () => {
    writeFileSync(at("old"), "moved");
    expect(existsSync(at("old"))).toBe(true);
    expect(existsSync(at("new"))).toBe(false);
    await mount.tell({ do: "rename", from: "old", to: "new", tell: true });
    await until(() => existsSync(at("new")));
    await until(() => !existsSync(at("old")));
    expect(readFileSync(at("new"), "utf8")).toBe("moved");
  });

  test("of a name is seen when everything is out of date, since Linux 6.16", async () => {
    const [major = 0, minor = 0] = release().split(".").map(Number);
    if (major < 6 || (major === 6 && minor < 16)) {
      console.warn(`skipped: Linux ${release()} cannot be told that all names are out of date`);
      return;
    }
    writeFileSync(at("then"), "moved");
    expect(existsSync(at("now"))).toBe(false);
    await mount.tell({ do: "rename", from: "then", to: "now", tell: false });
    expect(existsSync(at("then"))).toBe(true);
    await mount.tell({ do: "all" });
    await until(() => existsSync(at("now")));
    expect(existsSync(at("then"))).toBe(false);
  });

  test("that nobody tells of is seen after the timeout, also by who has the file open", async () => {
    await using other = await MemoryMount.start({ timeoutMs: 200 });
    writeFileSync(other.at("file"), "before");
    const fd = openSync(other.at("file"), "r");
    expect(readFrom(fd)).toBe("before");
    await other.tell({ do: "change", path: "file", text: "AFTER!", tell: false });
    await until(() => readFrom(fd) === "AFTER!");
    closeSync(fd);
  });

  test("is dropped by the kernel before the notice counts as taken, each time", async () => {
    writeFileSync(at("flood"), "0");
    const fd = openSync(at("flood"), "r");
    for (let i = 1; i <= 200; i++) {
      await change("flood", `number ${i}`, true);
      expect(readFrom(fd)).toBe(`number ${i}`);
    }
    closeSync(fd);
  });

  test("is seen at once by everybody when the kernel keeps nothing", async () => {
    await using other = await MemoryMount.start({ cache: "none" });
    writeFileSync(other.at("file"), "before");
    const fd = openSync(other.at("file"), "r+");
    expect(readFrom(fd)).toBe("before");
    await other.tell({ do: "change", path: "file", text: "AFTER!", tell: false });
    expect(readFrom(fd)).toBe("AFTER!");
    // Mappings need pages all the same.
    const map = posix.mapShared(fd, 6);
    map.bytes.set(new TextEncoder().encode("L"), 3);
    map.close();
    expect(readFrom(fd)).toBe("AFTLR!");
    closeSync(fd);
  });

  // With `auto` the kernel drops all pages of a file when its own writes have changed the mtime; with `always` it keeps them.
  test.each([
    ["auto", 1],
    ["always", 0],
  ] as const)("with cache=%s one's own writes cost %d reads afterwards", async (cache, cost) => {
    await using other = await MemoryMount.start({ cache });
    writeFileSync(other.at("file"), "before");
    const fd = openSync(other.at("file"), "r+");
    readFrom(fd);
    const { reads } = await other.state();
    writeSync(fd, "B");
    expect(readFrom(fd)).toBe("Before");
    expect((await other.state()).reads - reads).toBe(cost);
    closeSync(fd);
  });
});
