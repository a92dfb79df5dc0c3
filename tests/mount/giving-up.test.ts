// With the metadata service away, whoever waits for a change can leave: every call that takes a signal ends when it is aborted.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { ROOT_INODE, type InodeId } from "../../src/base/ids.ts";
import { DfsFileSystem } from "../../src/mount/dfs-file-system.ts";
import { bytesOf, startCluster, type Cluster } from "../support/cluster.ts";
import { failureOf } from "../support/failure.ts";
import { turns } from "../support/manual-clock.ts";
import { recordedInvalidations } from "./support/invalidations.ts";
import { CALLER, READ_WRITE } from "./support/two-mounts.ts";

type Call = (fileSystem: DfsFileSystem, file: InodeId, signal: AbortSignal) => Promise<unknown>;

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

let cluster: Cluster;
let fileSystem: DfsFileSystem;
let file: InodeId;
const told = recordedInvalidations();
beforeAll(async () => {
  cluster = await startCluster({ servers: 0 });
  // As of a hard mount: without the signal, nothing here would end.
  fileSystem = new DfsFileSystem(await cluster.client({ retryTimeoutMs: 2 ** 31 - 1 }));
  fileSystem.start(told);
  file = (await fileSystem.symlink(ROOT_INODE, bytesOf("there"), NAME, CALLER)).inode;
  await cluster.stopMeta();
});
afterAll(async () => {
  await cluster.startMeta();
  await fileSystem.stop();
  await cluster.stop();
});

for (const [name, call] of Object.entries(CALLS)) {
  test(`${name} waits, and ends with its signal`, async () => {
    const stop = new AbortController();
    let over = false;
    const failed = failureOf(call(fileSystem, file, stop.signal)).finally(() => (over = true));
    await turns();
    expect(over).toBe(false);
    stop.abort();
    expect(await failed).toMatchObject({ kind: "cancelled" });
  });
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
