// Extended attributes that are not there: asked for once, and again when somebody may have set them.

import { afterAll, beforeAll, expect, spyOn, test, type Mock } from "bun:test";
import { inodeId } from "../../src/base/ids.ts";
import type { Inodes } from "../../src/client/api.ts";
import { AbsentXattrs } from "../../src/mount/cluster/absent-xattrs.ts";
import { DfsFileSystem } from "../../src/mount/dfs-file-system.ts";
import { bytesOf, until } from "../support/cluster.ts";
import { failureOf } from "../support/failure.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { recordedInvalidations } from "./support/invalidations.ts";
import { CALLER, READ_WRITE, TwoMounts } from "./support/two-mounts.ts";

const NAME = bytesOf("security.capability");
const VALUE = bytesOf("value");
const FILE = { mode: 0o644, exclusive: true, flags: READ_WRITE };

let mounts: TwoMounts;
let mount: DfsFileSystem;
let asked: Mock<Inodes["xattrGet"]>;
beforeAll(async () => {
  mounts = await TwoMounts.start();
  const client = await mounts.cluster.client();
  asked = spyOn(client.inodes, "xattrGet");
  // Longer than any test: what is asked for again is so because of a change.
  mount = new DfsFileSystem(client, { timeouts: { attributesMs: 3_600_000 } });
  mount.start(recordedInvalidations());
});
afterAll(async () => {
  await mount.stop();
  await mounts.stop();
});

const absent = { kind: "noAttribute" };

test("a new file has none, which need not be asked", async () => {
  const directory = await mounts.freshDirectory();
  const { attributes, handle } = await mount.create(directory, bytesOf("f"), FILE, CALLER);
  const { inode } = attributes;
  asked.mockClear();
  expect(await failureOf(mount.xattrGet(inode, NAME))).toMatchObject(absent);
  expect(asked).toHaveBeenCalledTimes(0);
  await mount.xattrSet(inode, NAME, VALUE, "any");
  expect(await mount.xattrGet(inode, NAME)).toEqual(VALUE);
  await mount.xattrRemove(inode, NAME);
  expect(await failureOf(mount.xattrGet(inode, NAME))).toMatchObject(absent);
  await mount.release(inode, handle);
});

test("a listing tells which names have none, which need not be asked", async () => {
  const directory = await mounts.freshDirectory();
  const files = [await mounts.freshFile(directory, "with"), await mounts.freshFile(directory, "a")];
  await mounts.here.xattrSet(files[0]!.inode, NAME, VALUE, "any");
  const handle = await mount.openDirectory(directory);
  expect([...(await mount.list(directory, handle, 0n))].length).toBe(4);
  asked.mockClear();
  const [marked, bare] = files;
  expect(await failureOf(mount.xattrGet(bare!.inode, NAME))).toMatchObject(absent);
  expect(asked).toHaveBeenCalledTimes(0);
  expect(await mount.xattrGet(marked!.inode, NAME)).toEqual(VALUE);
  await mounts.here.xattrSet(bare!.inode, NAME, VALUE, "any");
  await until("the change is heard of", async () => {
    const value = await mount.xattrGet(bare!.inode, NAME).catch(() => undefined);
    return value !== undefined && Bun.deepEquals(value, VALUE);
  });
  mount.releaseDirectory(directory, handle);
  for (const { inode, handle: open } of files) await mounts.here.release(inode, open);
});

test("what is not there is asked for once, until another mount sets it", async () => {
  const directory = await mounts.freshDirectory();
  const { inode, handle } = await mounts.freshFile(directory);
  await mount.lookup(directory, bytesOf("f"));
  asked.mockClear();
  expect(await failureOf(mount.xattrGet(inode, NAME))).toMatchObject(absent);
  expect(await failureOf(mount.xattrGet(inode, NAME))).toMatchObject(absent);
  expect(asked).toHaveBeenCalledTimes(1);
  expect(await failureOf(mount.xattrGet(inode, bytesOf("user.other")))).toMatchObject(absent);
  expect(asked).toHaveBeenCalledTimes(2);
  await mounts.here.xattrSet(inode, NAME, VALUE, "any");
  await until("the change is heard of", async () => {
    const value = await mount.xattrGet(inode, NAME).catch(() => undefined);
    return value !== undefined && Bun.deepEquals(value, VALUE);
  });
  await mounts.here.release(inode, handle);
});

test("is forgotten after its time, and an answer from before a change is not believed", async () => {
  const clock = new ManualClock();
  const known = new AbsentXattrs(clock, 1_000);
  const inode = inodeId(7n);
  known.created(inode);
  expect(known.has(inode, NAME)).toBe(true);
  await clock.advance(1_000);
  expect(known.has(inode, NAME)).toBe(false);
  const { moment } = known;
  known.forget(inode);
  known.learn(inode, NAME, moment);
  expect(known.has(inode, NAME)).toBe(false);
  known.learn(inode, NAME, known.moment);
  expect(known.has(inode, NAME)).toBe(true);
  expect(known.has(inode, VALUE)).toBe(false);
});

test("nothing is remembered when the kernel remembers nothing", () => {
  const known = new AbsentXattrs(new ManualClock(), 0);
  known.created(inodeId(7n));
  expect(known.has(inodeId(7n), NAME)).toBe(false);
});
