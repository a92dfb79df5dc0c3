// With the metadata service away, whoever waits for a change can leave: every call that takes a signal ends when it is aborted.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { ROOT_INODE, type InodeId } from "../../src/base/ids.ts";
import { DfsFileSystem } from "../../src/mount/dfs-file-system.ts";
import type { Handle } from "../../src/mount/file-system.ts";
import { bytesOf, KiB, startCluster, type Cluster } from "../support/cluster.ts";
import { failureOf } from "../support/failure.ts";
import { turns } from "../support/manual-clock.ts";
import { recordedInvalidations } from "./support/invalidations.ts";
import { CALLER, READ_WRITE } from "./support/two-mounts.ts";

type Call = (fileSystem: DfsFileSystem, file: InodeId, signal: AbortSignal) => Promise<unknown>;
type OpenCall = (inode: InodeId, handle: Handle, signal: AbortSignal) => Promise<unknown>;

const NAME = bytesOf("n");
const FILE = { mode: 0o644, exclusive: true, flags: READ_WRITE };
const FIFO = { type: "fifo", mode: 0o644, rdev: 0 } as const;
const TO = { parent: ROOT_INODE, name: bytesOf("to") };

const CALLS: Readonly<Record<string, Call>> = {
  mkdir: (fs, _, signal) => fs.mkdir(ROOT_INODE, NAME, 0o755, CALLER, signal),
  mknod: (fs, _, signal) => fs.mknod(ROOT_INODE, NAME, FIFO, CALLER, signal),
  "mknod of a file": (fs, _, signal) =>
    fs.mknod(ROOT_INODE, NAME, { ...FIFO, type: "file" }, CALLER, signal),
  symlink: (fs, _, signal) => fs.symlink(ROOT_INODE, NAME, NAME, CALLER, signal),
  link: (fs, file, signal) => fs.link(file, ROOT_INODE, NAME, signal),
  unlink: (fs, _, signal) => fs.unlink(ROOT_INODE, NAME, signal),
  rmdir: (fs, _, signal) => fs.rmdir(ROOT_INODE, NAME, signal),
  rename: (fs, _, signal) => fs.rename({ parent: ROOT_INODE, name: NAME }, TO, "replace", signal),
  setattr: (fs, file, signal) => fs.setattr(file, { mode: 0o600 }, undefined, CALLER, signal),
  "setattr that clears setuid": (fs, file, signal) =>
    fs.setattr(file, { uid: 1, clearSetId: true }, undefined, CALLER, signal),
  xattrGet: (fs, file, signal) => fs.xattrGet(file, bytesOf("user.a"), signal),
  xattrSet: (fs, file, signal) => fs.xattrSet(file, bytesOf("user.a"), NAME, "any", signal),
  xattrList: (fs, file, signal) => fs.xattrList(file, signal),
  xattrRemove: (fs, file, signal) => fs.xattrRemove(file, bytesOf("user.a"), signal),
  create: (fs, _, signal) => fs.create(ROOT_INODE, NAME, FILE, CALLER, signal),
};

/** Calls on a file of 1 MiB that is one hole, and open. */
const OPEN_CALLS: Readonly<Record<string, OpenCall>> = {
  fallocate: (inode, handle, signal) =>
    fileSystem.allocate(inode, handle, { ...RANGE, how: "punchHole", keepSize: true }, signal),
  "fallocate behind the end": (inode, handle, signal) =>
    fileSystem.allocate(inode, handle, { ...RANGE, how: "allocate", keepSize: false }, signal),
  "lseek to data": (inode, handle, signal) => fileSystem.seek(inode, handle, 0, "data", signal),
  "lseek to a hole": (inode, handle, signal) => fileSystem.seek(inode, handle, 0, "hole", signal),
  "copy_file_range of much": (inode, handle, signal) => copy(inode, handle, 512 * KiB, signal),
  "copy_file_range of little": (inode, handle, signal) => copy(inode, handle, KiB, signal),
};

const RANGE = { offset: 0, length: 2048 * KiB };

function copy(inode: InodeId, handle: Handle, length: number, signal: AbortSignal) {
  const place = { inode, handle };
  return fileSystem.copyRange(
    { ...place, offset: 0 },
    { ...place, offset: 512 * KiB },
    length,
    signal,
  );
}

let cluster: Cluster;
let fileSystem: DfsFileSystem;
let file: InodeId;
let opened: InodeId;
let handle: Handle;
const told = recordedInvalidations();
beforeAll(async () => {
  cluster = await startCluster({ servers: 0 });
  // As of a hard mount: without the signal, nothing here would end.
  fileSystem = new DfsFileSystem(await cluster.client({ retryTimeoutMs: 2 ** 31 - 1 }));
  fileSystem.start(told);
  file = (await fileSystem.symlink(ROOT_INODE, bytesOf("there"), NAME, CALLER)).inode;
  const created = await fileSystem.create(ROOT_INODE, bytesOf("open"), FILE, CALLER);
  ({ handle } = created);
  opened = created.attributes.inode;
  await fileSystem.setattr(opened, { size: 1024 * KiB }, handle, CALLER);
  await cluster.stopMeta();
});
afterAll(async () => {
  await cluster.startMeta();
  await fileSystem.stop();
  await cluster.stop();
});

async function endsWithItsSignal(call: (signal: AbortSignal) => Promise<unknown>): Promise<void> {
  const stop = new AbortController();
  let over = false;
  const failed = failureOf(call(stop.signal)).finally(() => (over = true));
  await turns();
  expect(over).toBe(false);
  stop.abort();
  expect(await failed).toMatchObject({ kind: "cancelled" });
}

for (const [name, call] of Object.entries(CALLS)) {
  test(`${name} waits, and ends with its signal`, () =>
    endsWithItsSignal((signal) => call(fileSystem, file, signal)));
}

// These could not be left: a process that had called them on a mount whose cluster was away did not even end by SIGKILL.
for (const [name, call] of Object.entries(OPEN_CALLS)) {
  test(`${name} waits, and ends with its signal`, () =>
    endsWithItsSignal((signal) => call(opened, handle, signal)));
}

test("names of which nobody knows whether they were changed are asked for again", async () => {
  told.clear();
  const stop = new AbortController();
  const from = { parent: ROOT_INODE, name: NAME };
  const failed = failureOf(fileSystem.rename(from, TO, "replace", stop.signal));
  stop.abort();
  await failed;
  expect(told.entries.map(({ name }) => name).toSorted()).toEqual(["n", "to"]);
});
