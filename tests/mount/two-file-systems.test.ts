// Two mounts of one cluster: locks that exclude one another and hand over what was written, and changes that are told.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { MAX_FILE_BYTES } from "../../src/base/limits.ts";
import type { DfsFileSystem } from "../../src/mount/dfs-file-system.ts";
import type { Lock } from "../../src/mount/file-system.ts";
import { bytesOf, until, type Cluster } from "../support/cluster.ts";
import { failureOf } from "../support/failure.ts";
import type { RecordedInvalidations } from "./support/invalidations.ts";
import { CALLER, READ_WRITE, TwoMounts } from "./support/two-mounts.ts";

let mounts: TwoMounts;
let cluster: Cluster;
let here: DfsFileSystem;
let there: DfsFileSystem;
let told: RecordedInvalidations;
beforeAll(async () => {
  mounts = await TwoMounts.start();
  ({ cluster, here, there, told } = mounts);
});
afterAll(() => mounts.stop());

describe("locks", () => {
  const whole = { kind: "flock", type: "exclusive", owner: 1n, pid: 1 } as const;
  const LOCK: Lock = { ...whole, start: 0, end: MAX_FILE_BYTES };

  test("hand over what was written under them, and the kernel's old pages go first", async () => {
    const { inode, handle } = await mounts.freshFile(await mounts.freshDirectory());
    const theirs = await there.open(inode, READ_WRITE);
    await there.setLock(inode, LOCK, false);
    const waiting = here.setLock(inode, LOCK, true);
    await there.write(inode, theirs.handle, 0, bytesOf("under the lock"));
    let dropped = false;
    told.beforeDropped = Promise.resolve().then(() => void (dropped = true));
    await there.setLock(inode, { ...LOCK, type: "none" }, false);
    await waiting;
    expect(dropped).toBe(true);
    expect(told.inodes).toContainEqual({ inode, content: true });
    expect(await here.read(inode, handle, 0, 100)).toEqual(bytesOf("under the lock"));
    expect(await there.getLock(inode, { ...LOCK, owner: 7n })).toEqual(LOCK);
    await here.releaseLocks(inode, "flock", 1n);
    expect(await there.getLock(inode, LOCK)).toBeUndefined();
    await there.release(inode, theirs.handle);
    await here.release(inode, handle);
  });

  test("are refused at once, or waited for until somebody gives up", async () => {
    const { inode, handle } = await mounts.freshFile(await mounts.freshDirectory());
    await there.setLock(inode, LOCK, false);
    expect(await failureOf(here.setLock(inode, LOCK, false))).toMatchObject({ kind: "busy" });
    const stop = new AbortController();
    const waiting = here.setLock(inode, LOCK, true, stop.signal);
    stop.abort();
    expect(await failureOf(waiting)).toMatchObject({ kind: "cancelled" });
    await there.releaseLocks(inode, "flock", 1n);
    await here.release(inode, handle);
  });
});

describe("what others change", () => {
  test("is dropped from the kernel at once: names, attributes, content", async () => {
    const directory = await mounts.freshDirectory();
    const { inode, handle } = await mounts.freshFile(directory);
    await here.release(inode, handle);
    await failureOf(here.lookup(directory, bytesOf("missing")));
    told.clear();
    await there.mkdir(directory, bytesOf("missing"), 0o755, CALLER);
    await until("the name is dropped", () => told.entries.some(({ name }) => name === "missing"));
    const theirs = await there.open(inode, READ_WRITE);
    await there.write(inode, theirs.handle, 0, bytesOf("x"));
    await there.release(inode, theirs.handle);
    const dropped = { inode, content: true };
    await until("the content is dropped", () =>
      told.inodes.some((each) => Bun.deepEquals(each, dropped)),
    );
    await here.getattr(inode, undefined);
    told.clear();
    await there.setattr(inode, { mode: 0o600 }, undefined, CALLER);
    await until("the mode is dropped", () => told.inodes.some((each) => each.inode === inode));
  });

  test("is not told of inodes that the kernel has forgotten", async () => {
    const directory = await mounts.freshDirectory();
    const { inode } = await here.mkdir(directory, bytesOf("d"), 0o755, CALLER);
    here.forget(inode, 1n);
    told.clear();
    await there.setattr(inode, { mode: 0o700 }, undefined, CALLER);
    await there.setattr(directory, { mode: 0o700 }, undefined, CALLER);
    await until("the other is told", () => told.inodes.some((each) => each.inode === directory));
    expect(told.inodes.filter((each) => each.inode === inode)).toEqual([]);
  });

  test("is anything after a restart of the service", async () => {
    const before = told.everything;
    await cluster.stopMeta();
    await cluster.startMeta();
    await until("everything is dropped", () => told.everything > before);
  });
});
