// Holes and shared blocks through clients of a whole cluster.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { isDfsError } from "../../src/base/errors.ts";
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
import { failureOf } from "../support/failure.ts";
import { turns } from "../support/manual-clock.ts";

const BLOCK = 64 * KiB;

let cluster: Cluster;
let client: TestClient;
let other: TestClient;
beforeAll(async () => {
  cluster = await startCluster({ servers: 4, settings: { blockSize: BLOCK } });
  client = await cluster.client();
  other = await cluster.client();
});
afterAll(() => cluster.stop());

let number = 0;
async function fresh(name = `file-${number++}`): Promise<OpenFile> {
  const place = { parent: ROOT_INODE, name: bytesOf(name) };
  return (await client.inodes.create(place, OWNER, true)).file;
}

async function blocksAt(path: string): Promise<Set<bigint>> {
  const found = new Set<bigint>();
  for await (const { block } of other.explain(bytesOf(path))) found.add(block);
  return found;
}

async function stored(file: OpenFile): Promise<Uint8Array> {
  const theirs = await other.inodes.open(file.inode);
  const bytes = await theirs.read(0, theirs.attributes.size);
  await theirs.close();
  return bytes;
}

function expectSame(got: Uint8Array, wanted: Uint8Array): void {
  expect(got.length).toBe(wanted.length);
  expect(Buffer.compare(got, wanted)).toBe(0);
}

test("a hole takes what was written before it, committed or not, and nothing that comes later", async () => {
  const file = await fresh();
  const bytes = patterned(3 * BLOCK);
  await file.write(0, bytes);
  await file.flush();
  await file.write(100, patterned(200, 2));
  await file.punch(50, 2 * BLOCK);
  bytes.fill(0, 50, 50 + 2 * BLOCK);
  expectSame(await file.read(0, 3 * BLOCK), bytes);
  await file.write(60, bytesOf("after"));
  bytes.set(bytesOf("after"), 60);
  await file.close();
  expectSame(await stored(file), bytes);
});

// Whether the service makes what was given up depends on the moment. The client must not go on reading what was there before.
test("what comes of a change that is given up is read, whatever that is", async () => {
  const bytes = patterned(2 * BLOCK);
  let made = 0;
  for (let moment = 0; moment < 24; moment++) {
    const file = await fresh();
    await file.write(0, bytes);
    await file.flush();
    await file.read(0, 2 * BLOCK); // its map and size are known now
    const stop = new AbortController();
    const options = { signal: stop.signal };
    const done = file.punch(2 * BLOCK, 0, 3 * BLOCK, options).catch((error: unknown) => error);
    await turns(moment);
    stop.abort();
    const outcome = await done;
    let known = await stored(file);
    await until("what is stored to be read", async () => {
      known = await stored(file);
      return Bun.deepEquals(await file.read(0, 3 * BLOCK), known);
    });
    if (isDfsError(outcome, "cancelled") && known.length > bytes.length) made++;
    await file.close();
  }
  console.log(`${made} of 24 changes that were given up were made all the same`);
});

test("a clone shows what the source shows, uncommitted writes included, and shares the blocks", async () => {
  const source = await fresh("source");
  const target = await fresh("target");
  const bytes = patterned(5 * BLOCK + 77);
  await source.write(0, bytes);
  expect(await target.cloneFrom(source, 1000, 300, 10 * BLOCK)).toBe(bytes.length - 1000);
  const wanted = Buffer.concat([new Uint8Array(300), bytes.subarray(1000)]);
  expectSame(await stored(target), wanted);
  expectSame(await target.read(0, wanted.length), wanted);
  expect((await blocksAt("/target")).size).toBe(6);
  expect((await blocksAt("/target")).isSubsetOf(await blocksAt("/source"))).toBe(true);
  await source.write(2000, bytesOf("changed"));
  await source.close();
  expectSame(await stored(target), wanted);
  await client.unlink(bytesOf("/source"));
  expectSame(await stored(target), wanted);
  const problems: string[] = [];
  for await (const report of client.fsck(undefined, {
    level: "full",
    dryRun: true,
    patienceMs: 1_000,
  })) {
    problems.push(...report.findings.map(({ kind }) => kind));
  }
  expect(problems.filter((kind) => kind !== "orphans")).toEqual([]);
  await target.close();
});

test("a clone within one file, and one of overlapping ranges", async () => {
  const file = await fresh();
  await file.write(0, patterned(BLOCK));
  expect(await file.cloneFrom(file, 0, BLOCK + 5, BLOCK)).toBe(BLOCK);
  expectSame(await file.read(BLOCK + 5, BLOCK), patterned(BLOCK));
  expect(await failureOf(file.cloneFrom(file, 0, 5, BLOCK))).toMatchObject({ kind: "invalid" });
  await file.close();
});
