// Open files: random writes and reads against a plain image, several handles, truncation, failures that are retried.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { seededRandom } from "../../src/base/random.ts";
import type { OpenFile } from "../../src/client/api.ts";
import {
  bytesOf,
  collected,
  KiB,
  MiB,
  OWNER,
  patterned,
  startCluster,
  until,
  type Cluster,
  type TestClient,
} from "../support/cluster.ts";
import { DeafTransport } from "./support/deaf-transport.ts";
import { failureOf } from "../support/failure.ts";

const BLOCK = 64 * KiB;
const PUT = { ...OWNER, keepReplaced: true };

let cluster: Cluster;
let client: TestClient;
beforeAll(async () => {
  cluster = await startCluster({ servers: 4, settings: { blockSize: BLOCK } });
  client = await cluster.client();
});
afterAll(() => cluster.stop());

let number = 0;
const freshPath = (): Uint8Array => bytesOf(`/file-${number++}`);

async function stored(path: Uint8Array): Promise<Uint8Array> {
  const other = await cluster.client();
  const file = await other.open(path);
  try {
    return await collected(file.stream());
  } finally {
    await file.close();
    await other.close();
  }
}

function expectSame(got: Uint8Array, wanted: Uint8Array, what = ""): void {
  expect(got.length, what).toBe(wanted.length);
  expect(Buffer.compare(got, wanted), what).toBe(0);
}

describe("an open file", () => {
  test("shows its own writes at once, and to others after a flush", async () => {
    const path = freshPath();
    const file = await client.create(path, OWNER);
    await file.write(5, bytesOf("hello"));
    expectSame(await file.read(0, 100), bytesOf("\0\0\0\0\0hello"));
    expect(file.attributes.size).toBe(10);
    expect((await client.stat(path)).size).toBe(10);
    expect((await stored(path)).length).toBe(0);
    await file.flush();
    expectSame(await stored(path), bytesOf("\0\0\0\0\0hello"));
    await file.write(4, bytesOf(">"));
    await file.close();
    expectSame(await stored(path), bytesOf("\0\0\0\0>hello"));
  });

  test("shares what was written among the handles of one client", async () => {
    const path = freshPath();
    const writer = await client.create(path, OWNER);
    const reader = await client.open(path);
    await writer.write(0, bytesOf("shared"));
    expectSame(await reader.read(0, 10), bytesOf("shared"));
    await writer.close();
    await reader.write(6, bytesOf("!"));
    await reader.close();
    expectSame(await stored(path), bytesOf("shared!"));
  });

  test("is opened again, not created, unless that is exclusive; links lead to it", async () => {
    const path = freshPath();
    await client.put(path, [bytesOf("old")], PUT);
    const again = await client.create(path, OWNER);
    expectSame(await again.read(0, 10), bytesOf("old"));
    await again.close();
    expect(await failureOf(client.create(path, OWNER, { exclusive: true }))).toMatchObject({
      kind: "exists",
    });
    const link = freshPath();
    await client.symlink(path, link, OWNER);
    const through = await client.create(link, OWNER);
    expectSame(await through.read(0, 10), bytesOf("old"));
    await through.close();
  });

  test("stays readable and writable when its last name is gone", async () => {
    const path = freshPath();
    await client.put(path, [patterned(3 * BLOCK)], PUT);
    const file = await client.open(path);
    const other = await cluster.client();
    await other.unlink(path);
    await file.write(10, bytesOf("still"));
    await file.flush();
    const wanted = patterned(3 * BLOCK);
    wanted.set(bytesOf("still"), 10);
    expectSame(await file.read(0, 3 * BLOCK), wanted);
    await file.close();
  });

  test("truncates what was written and what is stored, and extends with a hole", async () => {
    const path = freshPath();
    const file = await client.create(path, OWNER);
    await file.write(0, patterned(2 * BLOCK));
    await file.truncate(BLOCK + 10);
    expect(file.attributes.size).toBe(BLOCK + 10);
    await file.truncate(2 * BLOCK);
    const wanted = new Uint8Array(2 * BLOCK);
    wanted.set(patterned(2 * BLOCK).subarray(0, BLOCK + 10));
    expectSame(await file.read(0, 3 * BLOCK), wanted);
    await client.setattr(path, { size: 3 });
    expectSame(await file.read(0, 100), wanted.subarray(0, 3));
    await file.close();
    expectSame(await stored(path), wanted.subarray(0, 3));
  });

  test("refuses what makes no sense", async () => {
    const path = freshPath();
    const file = await client.create(path, OWNER);
    expect(await failureOf(file.read(-1, 5))).toMatchObject({ kind: "invalid" });
    expect(await failureOf(file.write(0.5, bytesOf("x")))).toMatchObject({ kind: "invalid" });
    expect(await failureOf(file.write(Number.MAX_SAFE_INTEGER, bytesOf("xx")))).toMatchObject({
      kind: "fileTooBig",
    });
    await file.close();
    await file.close();
    expect(await failureOf(file.read(0, 5))).toMatchObject({ kind: "invalid" });
    await client.mkdir(bytesOf("/a-directory"), OWNER);
    expect(await failureOf(client.open(bytesOf("/a-directory")))).toMatchObject({
      kind: "isDirectory",
    });
    expect(await failureOf(client.open(bytesOf("/nothing")))).toMatchObject({ kind: "notFound" });
  });

  test("random writes, reads, truncations and flushes agree with a plain image", async () => {
    const seed = 77;
    const random = seededRandom(seed);
    const tight = await cluster.client({ bufferBytes: 4 * BLOCK });
    for (let round = 0; round < 4; round++) {
      const path = freshPath();
      const handles: OpenFile[] = [await tight.create(path, OWNER), await tight.open(path)];
      let image = new Uint8Array(0);
      const what = (step: number): string => `seed ${seed}, round ${round}, step ${step}`;
      for (let step = 0; step < 80; step++) {
        const file = handles[random.below(2)]!;
        const offset = random.below(6 * BLOCK);
        const choice = random.below(20);
        if (choice < 9) {
          const bytes = patterned(1 + random.below(2 * BLOCK), step + 1);
          await file.write(offset, bytes);
          image = resized(image, Math.max(image.length, offset + bytes.length));
          image.set(bytes, offset);
        } else if (choice < 17) {
          const length = random.below(3 * BLOCK);
          expectSame(
            await file.read(offset, length),
            image.slice(offset, offset + length),
            what(step),
          );
        } else if (choice === 17) {
          await file.truncate(offset);
          image = resized(image, offset);
        } else {
          await file.flush();
        }
        expect(file.attributes.size, what(step)).toBe(image.length);
      }
      expectSame(await collected(handles[0]!.stream()), image);
      for (const file of handles) await file.close();
      expectSame(await stored(path), image, what(99));
    }
    expect(tight.memory.heldBytes).toBe(0);
  });

  test("reads one after the other are answered from blocks fetched ahead", async () => {
    const path = freshPath();
    const content = patterned(2 * MiB);
    await client.put(path, [content], PUT);
    const reader = await cluster.client();
    const file = await reader.open(path);
    for (let at = 0; at < content.length; at += 5_000) {
      const got = await file.read(at, 5_000);
      expectSame(got, content.subarray(at, at + 5_000), `at ${at}`);
      got.fill(0); // what was returned is the caller's
    }
    expectSame(await file.read(0, content.length), content);
    await file.close();
    expect(reader.memory.heldBytes).toBe(0);
  });

  test("much more than the budget is written through, in bounded memory", async () => {
    const path = freshPath();
    const writer = await cluster.client({ bufferBytes: 1 * MiB });
    const content = patterned(12 * MiB);
    const file = await writer.create(path, OWNER);
    for (let at = 0; at < content.length; at += 100_000) {
      await file.write(at, content.subarray(at, at + 100_000));
    }
    await file.close();
    expectSame(await stored(path), content);
    // Ranges that grow have room behind them: at most as much again.
    expect(writer.memory.peakBytes).toBeLessThanOrEqual(2 * MiB + 2 * BLOCK);
    expect(writer.memory.heldBytes).toBe(0);
  });
});

describe("what cannot be written back", () => {
  let own: Cluster | undefined;
  afterEach(async () => {
    await own?.stop();
    own = undefined;
  });

  test("is reported by flush, kept, and written by the next one", async () => {
    own = await startCluster({ servers: 3, settings: { blockSize: BLOCK } });
    const writer = await own.client({ retryTimeoutMs: 300 });
    const file = await writer.create(bytesOf("/f"), OWNER);
    const content = patterned(3 * BLOCK);
    await file.write(0, content);
    for (const index of [0, 1]) await own.stopServer(index);
    expect(await failureOf(file.flush())).toMatchObject({ kind: "quorum" });
    expectSame(await file.read(0, content.length), content);
    await file.write(1, bytesOf("newer"));
    content.set(bytesOf("newer"), 1);
    for (const index of [0, 1]) await own.startServer(index);
    await until("a flush succeeds", () =>
      file.flush().then(
        () => true,
        () => false,
      ),
    );
    await file.close();
    const reader = await own.client();
    const again = await reader.open(bytesOf("/f"));
    expectSame(await again.read(0, content.length), content);
    await again.close();
  });

  test("because the session expired is written again under new ids", async () => {
    own = await startCluster({
      servers: 3,
      settings: { blockSize: BLOCK },
      meta: { leaseTimeoutMs: 400 },
    });
    const transport = new DeafTransport(own.transport("client"));
    const writer = await own.client({}, transport);
    const watcher = await own.client();
    const file = await writer.create(bytesOf("/f"), OWNER);
    await file.write(0, patterned(BLOCK));
    await file.flush();
    await file.write(BLOCK, patterned(BLOCK, 2));
    const { session } = writer;
    transport.cut();
    await until("the session expired", async () => (await watcher.status()).sessions === 1);
    transport.reconnect();
    await file.flush();
    expect(writer.session).not.toBe(session);
    expectSame(await file.read(BLOCK, BLOCK), patterned(BLOCK, 2));
    await file.close();
  });

  test("because the file was removed while the session had expired says so", async () => {
    own = await startCluster({ servers: 3, meta: { leaseTimeoutMs: 400 } });
    const transport = new DeafTransport(own.transport("client"));
    const writer = await own.client({}, transport);
    const watcher = await own.client();
    const file = await writer.create(bytesOf("/f"), OWNER);
    await file.write(0, bytesOf("lost"));
    transport.cut();
    await until("the session expired", async () => (await watcher.status()).sessions === 1);
    await watcher.unlink(bytesOf("/f"));
    transport.reconnect();
    expect(await failureOf(file.close())).toMatchObject({ kind: "stale" });
  });
});

function resized(image: Uint8Array<ArrayBuffer>, length: number): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(length);
  result.set(image.subarray(0, length));
  return result;
}
