// Whole files under another name, sharing their blocks: what is seen, what is refused, and what is left of one that failed.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { ROOT_INODE } from "../../src/base/ids.ts";
import { change } from "../../src/tools/shared/changing.ts";
import {
  bytesOf,
  OWNER,
  patterned,
  startCluster,
  until,
  type Cluster,
} from "../support/cluster.ts";
import type { TestClient } from "../support/cluster.ts";
import { failureOf } from "../support/failure.ts";

const HOW = { ...OWNER, keepReplaced: true };

let cluster: Cluster;
let client: TestClient;
beforeAll(async () => {
  cluster = await startCluster({ servers: 3, settings: { blockSize: 4096 } });
  client = await cluster.client();
});
afterAll(() => cluster.stop());

async function contentOf(path: string): Promise<Buffer> {
  const file = await client.open(bytesOf(path));
  const bytes = await file.read(0, file.attributes.size);
  await file.close();
  return Buffer.from(bytes);
}

test("replaces a file in one step; its mode stays, and who has the old one open keeps it", async () => {
  const bytes = patterned(10_000);
  const source = await client.put(bytesOf("/source"), [bytes], HOW);
  await client.put(bytesOf("/target"), [bytesOf("old")], { ...HOW, mode: 0o600 });
  const old = await client.open(bytesOf("/target"));
  const copy = await client.clone(source, bytesOf("/target"), HOW);
  expect(copy).toMatchObject({ size: 10_000, mode: 0o600, nlink: 1, allocated: 10_000 });
  expect(Buffer.from(await old.read(0, 10)).toString()).toBe("old");
  await old.close();
  await client.unlink(bytesOf("/source"));
  expect((await contentOf("/target")).equals(bytes)).toBeTrue();
});

test("refuses what cannot be, and leaves nothing behind", async () => {
  const source = await client.put(bytesOf("/file"), [patterned(5000)], HOW);
  const directory = await client.mkdir(bytesOf("/directory"), OWNER);
  const before = (await client.statfs()).inodes;
  const clone = (path: string, more: object = {}) =>
    failureOf(client.clone(source, bytesOf(path), { ...HOW, ...more }));
  expect(await clone("/directory")).toMatchObject({ kind: "isDirectory" });
  expect(await clone("/none/x")).toMatchObject({ kind: "notFound" });
  expect(await clone("/file/x")).toMatchObject({ kind: "notDirectory" });
  expect(await clone("/new/")).toMatchObject({ kind: "notDirectory" });
  expect(await clone("/target", { exclusive: true })).toMatchObject({ kind: "exists" });
  expect(await clone("/x", { signal: AbortSignal.abort() })).toMatchObject({ kind: "cancelled" });
  const asFile = { inode: directory.inode, size: 1 };
  expect(await failureOf(client.clone(asFile, bytesOf("/x"), HOW))).toMatchObject({
    kind: "isDirectory",
  });
  expect(await failureOf(client.stat(bytesOf("/x")))).toMatchObject({ kind: "notFound" });
  await until(
    "clones without a name to be gone",
    async () => (await client.statfs()).inodes <= before,
  );
});

test("a file that is removed meanwhile is missing, for copies and for changes of attributes", async () => {
  const source = await client.put(bytesOf("/gone"), [patterned(5000)], HOW);
  await client.unlink(bytesOf("/gone"));
  const copying = client.clone(source, bytesOf("/copy"), HOW);
  expect(await failureOf(copying)).toMatchObject({ kind: "notFound" });
  const changing = change(client, source.inode, { mode: 0o700 });
  expect(await failureOf(changing)).toMatchObject({ kind: "notFound" });
  const place = { parent: ROOT_INODE, name: bytesOf("copy") };
  expect(await failureOf(client.inodes.lookup(place))).toMatchObject({ kind: "notFound" });
});
