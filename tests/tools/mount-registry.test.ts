// The note of which process serves which mount.

import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDfsError } from "../../src/base/errors.ts";
import {
  claimMountPoint,
  forgetMountPoint,
  mountDirectory,
  mountRecord,
  knownMounts,
  servingProcess,
} from "../../src/tools/mounting/registry.ts";
import { temporaryFolder } from "./support/files.ts";

const folder = temporaryFolder("mount-registry");
afterAll(() => folder.remove());

describe("who serves a mount", () => {
  const uid = process.getuid?.() ?? 0;

  test("is noted while it is served, and by one process only", () => {
    const record = { mountPoint: join(folder.path, "m"), meta: "127.0.0.1:1", dir: "/some/dir" };
    const { mountPoint } = record;
    expect(servingProcess(uid, mountPoint)).toBeUndefined();
    const claim = claimMountPoint(record);
    expect(servingProcess(uid, mountPoint)).toBe(process.pid);
    expect(mountRecord(uid, mountPoint)).toEqual(record);
    expect(knownMounts(uid)).toContainEqual(record);
    expect(() => claimMountPoint(record)).toThrow(`process ${process.pid} serves it already`);
    claim.release();
    expect(servingProcess(uid, mountPoint)).toBeUndefined();
    expect(knownMounts(uid)).not.toContainEqual(record);
    expect(existsSync(mountDirectory(uid, mountPoint))).toBe(false);
  });

  test.each([
    "",
    "{",
    "null",
    "5",
    "[]",
    "{}",
    '{"mountPoint":5,"meta":"a:1"}',
    '{"mountPoint":"/m"}',
  ])("is not known from a note that says %j, and nothing fails by it", (text) => {
    const record = { mountPoint: join(folder.path, "odd"), meta: "127.0.0.1:1" };
    const claim = claimMountPoint(record);
    writeFileSync(join(mountDirectory(uid, record.mountPoint), "mount.json"), text);
    expect(mountRecord(uid, record.mountPoint)).toBeUndefined();
    expect(knownMounts(uid).filter((each) => each.meta === undefined)).toEqual([]);
    expect(servingProcess(uid, record.mountPoint)).toBe(process.pid);
    claim.release();
  });

  test("is nobody when its process was killed, and the next one takes over", async () => {
    const mountPoint = join(folder.path, "killed");
    const script = `
      const { claimMountPoint } = await import(${JSON.stringify(join(import.meta.dir, "../../src/tools/mounting/registry.ts"))});
      claimMountPoint({ mountPoint: process.argv[1], meta: "127.0.0.1:1" });
      console.log("claimed");
      setInterval(() => {}, 1000);
    `;
    const child = Bun.spawn([process.execPath, "-e", script, mountPoint], { stdout: "pipe" });
    const reader = child.stdout.getReader();
    await reader.read();
    expect(servingProcess(uid, mountPoint)).toBe(child.pid);
    child.kill("SIGKILL");
    await child.exited;
    reader.releaseLock();
    expect(servingProcess(uid, mountPoint)).toBeUndefined();
    const claim = claimMountPoint({ mountPoint, meta: "127.0.0.1:2" });
    expect(mountRecord(uid, mountPoint)?.meta).toBe("127.0.0.1:2");
    forgetMountPoint(uid, mountPoint); // has no effect on one that is served
    expect(servingProcess(uid, mountPoint)).toBe(process.pid);
    claim.release();
  });

  test("is forgotten with a mount whose process was killed", () => {
    const mountPoint = join(folder.path, "forgotten");
    const dir = mountDirectory(uid, mountPoint);
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, "mount.json"), JSON.stringify({ mountPoint, meta: "127.0.0.1:1" }));
    expect(knownMounts(uid).map((each) => each.mountPoint)).toContain(mountPoint);
    forgetMountPoint(uid, mountPoint);
    expect(existsSync(dir)).toBe(false);
    forgetMountPoint(uid, mountPoint);
  });

  test("two mount points do not get in each other's way", () => {
    const claims = ["one", "two"].map((name) =>
      claimMountPoint({ mountPoint: join(folder.path, name), meta: "127.0.0.1:1" }),
    );
    try {
      expect(() => claimMountPoint({ mountPoint: join(folder.path, "one"), meta: "h:1" })).toThrow(
        "serves it already",
      );
    } catch (error) {
      expect(isDfsError(error, "locked")).toBe(true);
    } finally {
      for (const claim of claims) claim.release();
    }
  });
});
