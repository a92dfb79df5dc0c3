// Unmounting what does not answer: mounts whose process is dead or stands still, made here with the system calls alone.

import { afterEach, describe, expect, test } from "bun:test";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { isDfsError } from "../../src/base/errors.ts";
import { DFS_TYPE, mountAt, mountPointPath } from "../../src/base/mounts/table.ts";
import { usableMountPoint } from "../../src/tools/mounting/preconditions.ts";
import { stateOfMount, unmount } from "../../src/tools/mounting/unmount.ts";
import { failureOf, temporaryFolder } from "../tools/support/files.ts";
import { cannotMount, untilItWaits } from "./support/mounted.ts";
import * as posix from "./support/system-calls.ts";

const AROUND = { timeoutMs: 10_000, signal: new AbortController().signal };

let undo: (() => void)[] = [];
afterEach(() => {
  for (const each of undo.toReversed()) each();
  undo = [];
});

/** A mount that nobody answers for: `close` makes its process a dead one. */
function silentMount(): { readonly path: string; readonly close: () => void } {
  const folder = temporaryFolder("unmount");
  undo.push(() => folder.remove());
  const path = join(folder.path, "mount point");
  mkdirSync(path);
  const device = openSync("/dev/fuse", "r+");
  let isOpen = true;
  const close = (): void => {
    if (isOpen) closeSync(device);
    isOpen = false;
  };
  undo.push(close);
  posix.mount("h:1", path, DFS_TYPE, `fd=${device},rootmode=40000,user_id=0,group_id=0`);
  undo.push(() => {
    while (mountAt(path) !== undefined) posix.detach(path);
  });
  return { path, close };
}

describe.skipIf(cannotMount !== undefined)("a mount that nobody serves", () => {
  test("is dead, and is unmounted without any flag", async () => {
    const { path, close } = silentMount();
    close();
    expect(await stateOfMount(path)).toBe("dead");
    expect(mountPointPath(`${path}/`)).toBe(path);
    expect(await unmount(path, "plain", AROUND)).toEqual({
      mountPoint: path,
      pid: undefined,
      process: "was not running",
    });
    expect(mountAt(path)).toBeUndefined();
  });

  test.each(["lazy", "force"] as const)("is unmounted with --%s", async (how) => {
    const { path, close } = silentMount();
    close();
    await unmount(path, how, AROUND);
    expect(mountAt(path)).toBeUndefined();
  });

  test("is taken away when something is to be mounted there, also several on top of each other", async () => {
    const { path, close } = silentMount();
    close();
    const device = openSync("/dev/fuse", "r+");
    posix.mount("h:2", path, DFS_TYPE, `fd=${device},rootmode=40000,user_id=0,group_id=0`);
    closeSync(device);
    let cleaned = 0;
    expect(await usableMountPoint(path, () => cleaned++)).toBe(path);
    expect(cleaned).toBe(2);
    expect(mountAt(path)).toBeUndefined();
  });
});

describe.skipIf(cannotMount !== undefined)("a mount whose process stands still", () => {
  test("is told from a dead one, and is not mounted over", async () => {
    const { path } = silentMount();
    expect(await stateOfMount(path)).toBe("silent");
    const failure = await failureOf(usableMountPoint(path, () => undefined));
    expect(isDfsError(failure, "locked")).toBe(true);
    expect(String(failure)).toContain(`dfs umount '${path}'`);
    expect(mountAt(path)?.source).toBe("h:1");
  });

  test.each(["lazy", "force"] as const)("is unmounted with --%s", async (how) => {
    const { path } = silentMount();
    await unmount(path, how, AROUND);
    expect(mountAt(path)).toBeUndefined();
  });

  test("gives errors to who waits for it when it is unmounted by force", async () => {
    const { path } = silentMount();
    const reader = Bun.spawn(["ls", path], { stdout: "ignore", stderr: "pipe" });
    await untilItWaits(reader.pid);
    await unmount(path, "force", AROUND);
    expect(await reader.exited).not.toBe(0);
  });
});

describe("what is not a mount of dfs", () => {
  test("is not unmounted", async () => {
    const other = await failureOf(unmount("/proc", "force", AROUND));
    expect(String(other)).toContain("it is no dfs but proc");
    const nothing = await failureOf(unmount("/usr/bin", "plain", AROUND));
    expect(isDfsError(nothing, "notFound")).toBe(true);
  });

  test("is no place to mount on when it is missing or a file", async () => {
    const folder = temporaryFolder("preconditions");
    undo.push(() => folder.remove());
    const missing = await failureOf(usableMountPoint(join(folder.path, "a b"), () => undefined));
    expect(isDfsError(missing, "notFound")).toBe(true);
    expect(String(missing)).toContain(`mkdir -p '${join(folder.path, "a b")}'`);
    const file = await failureOf(usableMountPoint(import.meta.path, () => undefined));
    expect(isDfsError(file, "notDirectory")).toBe(true);
    const below = await failureOf(usableMountPoint(`${import.meta.path}/x`, () => undefined));
    expect(String(below)).toContain("not a directory");
  });
});
