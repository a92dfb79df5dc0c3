// Files without a name that are open: what is written to them is sent only when somebody else may want to read it.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { ROOT_INODE } from "../../src/base/ids.ts";
import type { OpenFile } from "../../src/client/api.ts";
import {
  bytesOf,
  KiB,
  OWNER,
  patterned,
  startCluster,
  until,
  type Cluster,
  type TestClient,
} from "../support/cluster.ts";

let cluster: Cluster;
let client: TestClient;
let other: TestClient;
beforeAll(async () => {
  cluster = await startCluster({ servers: 3, settings: { blockSize: 64 * KiB } });
  client = await cluster.client();
  other = await cluster.client();
});
afterAll(() => cluster.stop());

const place = (name: string) => ({ parent: ROOT_INODE, name: bytesOf(name) });
const create = async (name: string): Promise<OpenFile> =>
  (await client.inodes.create(place(name), OWNER, true)).file;

test("one that only this client has open is not sent by flush and close", async () => {
  const file = await create("alone");
  const second = await client.inodes.open(file.inode);
  await client.inodes.unlink(place("alone"));
  await file.write(0, patterned(100 * KiB));
  const { version } = await client.inodes.getattr(file.inode);
  await file.flush();
  file.startFlush();
  await file.close();
  expect(second.clean).toBe(false);
  expect((await client.inodes.getattr(second.inode)).version).toBe(version);
  expect(await second.read(0, 100 * KiB)).toEqual(patterned(100 * KiB));
  await second.close();
  expect(client.memory.heldBytes).toBe(0);
});

// A renamed file took the name of one that was open here, and each close of that one went on sending, for nobody, what was written.
test("one that a rename has replaced is not sent either, and is read and written until it is closed", async () => {
  const file = await create("replaced");
  await file.write(0, bytesOf("before"));
  await file.flush();
  await (await create("new")).close();
  await client.inodes.rename(place("new"), place("replaced"), "replace");
  await file.write(6, bytesOf(" and after"));
  const { version, nlink } = await client.inodes.getattr(file.inode);
  expect(nlink).toBe(0);
  await file.flush();
  expect(file.clean).toBe(false);
  expect((await client.inodes.getattr(file.inode)).version).toBe(version);
  expect(await file.read(0, 100)).toEqual(bytesOf("before and after"));
  await file.close();
  expect(client.memory.heldBytes).toBe(0);
});

test("of two that a rename exchanges both keep a name, and one that others have open is sent when it is replaced", async () => {
  const [one, two] = [await create("one"), await create("two")];
  await client.inodes.rename(place("one"), place("two"), "exchange");
  const theirs = await other.inodes.open(two.inode);
  await (await create("three")).close();
  await client.inodes.rename(place("three"), place("one"), "replace");
  for (const file of [one, two]) {
    await file.write(0, bytesOf("for others"));
    await file.flush();
    expect(file.clean).toBe(true);
    await file.close();
  }
  await theirs.close();
});

test("one with another name, and one that another client has open, are sent as ever", async () => {
  const linked = await create("linked");
  await client.inodes.link(linked.inode, place("link"));
  await client.inodes.unlink(place("linked"));
  const shared = await create("shared");
  const theirs = await other.inodes.open(shared.inode);
  await client.inodes.unlink(place("shared"));
  for (const file of [linked, shared]) {
    await file.write(0, bytesOf("for others"));
    await file.close();
  }
  const again = await other.inodes.open(linked.inode);
  expect(await again.read(0, 100)).toEqual(bytesOf("for others"));
  await until("the other client sees it", async () => {
    await other.inodes.getattr(theirs.inode);
    return Bun.deepEquals(await theirs.read(0, 100), bytesOf("for others"));
  });
  await again.close();
  await theirs.close();
});

test("a change that has to be in order with what was written sends it first", async () => {
  const file = await create("cut");
  await client.inodes.unlink(place("cut"));
  await file.write(0, bytesOf("0123456789"));
  await file.truncate(4);
  await file.write(4, bytesOf("x"));
  expect(await file.read(0, 100)).toEqual(bytesOf("0123x"));
  await file.close();
});
