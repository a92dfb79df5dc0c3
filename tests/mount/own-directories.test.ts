// What a mount does not ask the service for, because it has just made the change itself; and that changes of others end that.

import { afterAll, beforeAll, beforeEach, expect, spyOn, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { ROOT_INODE, type InodeId } from "../../src/base/ids.ts";
import type { DfsClient } from "../../src/client/api.ts";
import { DfsFileSystem } from "../../src/mount/dfs-file-system.ts";
import { bytesOf, startCluster, until, type Cluster } from "../support/cluster.ts";
import { failureOf } from "../support/failure.ts";
import { recordedInvalidations } from "./support/invalidations.ts";
import { CALLER, READ_WRITE } from "./support/two-mounts.ts";

let cluster: Cluster;
let client: DfsClient;
let here: DfsFileSystem;
let there: DfsFileSystem;
let directory: InodeId;
let number = 0;

beforeAll(async () => {
  cluster = await startCluster({ servers: 4 });
  client = await cluster.client();
  // Nothing is too old to be known, however slow the machine is.
  here = new DfsFileSystem(client, { clock: { ...systemClock, monotonicMs: () => 0 } });
  there = new DfsFileSystem(await cluster.client());
  here.start(recordedInvalidations());
  there.start(recordedInvalidations());
});
afterAll(async () => {
  await here.stop();
  await there.stop();
  await cluster.stop();
});
beforeEach(async () => {
  number++;
  directory = (await here.mkdir(ROOT_INODE, bytesOf(`directory-${number}`), 0o755, CALLER)).inode;
});

async function createEmpty(fileSystem: DfsFileSystem, name: string): Promise<InodeId> {
  const file = { mode: 0o644, exclusive: true, flags: READ_WRITE };
  const made = await fileSystem.create(directory, bytesOf(name), file, CALLER);
  await fileSystem.release(made.attributes.inode, made.handle);
  return made.attributes.inode;
}

/** True when `here` says that there is no such name. */
async function isAbsent(name: string): Promise<boolean> {
  const failure = await failureOf(here.lookup(directory, bytesOf(name))).catch(() => undefined);
  if (failure === undefined) return false;
  expect(failure).toMatchObject({ kind: "notFound" });
  return true;
}

test("names that are made and removed in a directory of its own cost no lookup and no question for the directory", async () => {
  using lookups = spyOn(client.inodes, "lookup");
  using questions = spyOn(client.inodes, "getattr");
  for (const name of ["a", "b", "c"]) {
    expect(await isAbsent(name)).toBe(true);
    await createEmpty(here, name);
    await here.getattr(directory, undefined);
  }
  await here.symlink(directory, bytesOf("link"), bytesOf("a"), CALLER);
  await here.unlink(directory, bytesOf("b"));
  expect(await isAbsent("b")).toBe(true);
  const told = await here.getattr(directory, undefined);
  expect([lookups.mock.calls.length, questions.mock.calls.length]).toEqual([0, 0]);
  const { ageMs, ...attributes } = told;
  expect(ageMs).toBeGreaterThanOrEqual(0);
  expect(attributes).toEqual(await client.inodes.getattr(directory));
  expect((await here.lookup(directory, bytesOf("a"))).type).toBe("file");
});

// The kernel asks about names of more than 255 bytes too. They were said not to be there: ENOENT.
test("a name that is too long is said to be too long, and not to be absent", async () => {
  await createEmpty(here, "n".repeat(255));
  expect(await isAbsent("m".repeat(255))).toBe(true);
  const failure = await failureOf(here.lookup(directory, bytesOf("n".repeat(256))));
  expect(failure).toMatchObject({ kind: "nameTooLong" });
});

test("the number of links is right after directories were made and removed in it", async () => {
  await here.mkdir(directory, bytesOf("one"), 0o755, CALLER);
  await here.mkdir(directory, bytesOf("two"), 0o755, CALLER);
  expect((await here.getattr(directory, undefined)).nlink).toBe(4);
  await here.rmdir(directory, bytesOf("one"));
  expect((await here.getattr(directory, undefined)).nlink).toBe(3);
});

test("a name that another mount has made is found", async () => {
  expect(await isAbsent("theirs")).toBe(true);
  const inode = await createEmpty(there, "theirs");
  await until("it is told", async () => !(await isAbsent("theirs")));
  expect((await here.lookup(directory, bytesOf("theirs"))).inode).toBe(inode);
  await createEmpty(here, "ours");
  const more = await createEmpty(there, "more");
  await until("it is found", async () => !(await isAbsent("more")));
  expect((await here.lookup(directory, bytesOf("more"))).inode).toBe(more);
});

test("attributes of a directory are asked for after another mount, or this one, has changed them", async () => {
  await createEmpty(here, "file");
  await here.setattr(directory, { mode: 0o711 }, undefined, CALLER);
  expect((await here.getattr(directory, undefined)).mode).toBe(0o711);
  await createEmpty(here, "second");
  await there.setattr(directory, { mode: 0o700 }, undefined, CALLER);
  await until("it is told", async () => {
    return (await here.getattr(directory, undefined)).mode === 0o700;
  });
});

test("after a rename, and after a change that failed, the service is asked", async () => {
  await createEmpty(here, "old");
  const from = { parent: directory, name: bytesOf("old") };
  await here.rename(from, { parent: directory, name: bytesOf("new") }, "replace");
  expect(await isAbsent("old")).toBe(true);
  expect(await isAbsent("new")).toBe(false);
  expect(await failureOf(here.unlink(directory, bytesOf("missing")))).toMatchObject({
    kind: "notFound",
  });
  using questions = spyOn(client.inodes, "getattr");
  await here.getattr(directory, undefined);
  expect(questions).toHaveBeenCalledTimes(1);
});
