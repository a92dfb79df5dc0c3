// Whole files, in and out: every length around the border of a block, holes, atomic replacement, interruption.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { ContentRun, DfsClient } from "../../src/client/api.ts";
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
import { failureOf, messageOfFailure } from "../support/failure.ts";

const BLOCK = 64 * KiB;
const PUT = { ...OWNER, keepReplaced: true };
const GiB = 1024 * MiB;

let cluster: Cluster;
let client: TestClient;
beforeAll(async () => {
  cluster = await startCluster({ servers: 4, settings: { blockSize: BLOCK } });
  client = await cluster.client({ bufferBytes: 2 * MiB });
});
afterAll(() => cluster.stop());

async function contentOf(from: DfsClient, path: string): Promise<Uint8Array> {
  const file = await from.open(bytesOf(path));
  try {
    return await collected(file.stream());
  } finally {
    await file.close();
  }
}

/** Compares without printing megabytes when it fails. */
function expectSame(got: Uint8Array, wanted: Uint8Array): void {
  expect(got.length).toBe(wanted.length);
  expect(Buffer.compare(got, wanted)).toBe(0);
}

describe("put and get", () => {
  for (const length of [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 17, 4 * MiB]) {
    test(`a file of ${length} bytes`, async () => {
      const content = patterned(length);
      const attributes = await client.put(bytesOf(`/f${length}`), [content], PUT);
      expect(attributes).toMatchObject({ size: length, allocated: length, mode: 0o644, uid: 1000 });
      expectSame(await contentOf(client, `/f${length}`), content);
      const other = await cluster.client();
      expectSame(await contentOf(other, `/f${length}`), content);
    });
  }

  test("a file of more blocks than fit into one commit", async () => {
    const small = await startCluster({ servers: 3, settings: { blockSize: 8 } });
    try {
      const user = await small.client();
      const content = patterned(2_100 * 8 + 3);
      await user.put(bytesOf("/many"), [content], PUT);
      expectSame(await contentOf(user, "/many"), content);
      const rows = await Array.fromAsync(user.explain(bytesOf("/many")));
      expect(rows.length).toBe(2_101);
      expect(rows.map(({ index }) => index)).toEqual(rows.map((_, index) => index));
    } finally {
      await small.stop();
    }
  });

  test("the course example: consecutive blocks walk around the servers", async () => {
    const course = await startCluster({ servers: 4, settings: { blockSize: 8 } });
    try {
      const user = await course.client();
      await user.put(bytesOf("/letters"), [bytesOf("abcdefghijklm")], PUT);
      const rows = await Array.fromAsync(user.explain(bytesOf("/letters")));
      expect(rows.map(({ length }) => length)).toEqual([8, 5]);
      const [first, second] = rows.map(({ replicas }) =>
        replicas.map(({ server }) => Number(server)),
      );
      const next = (server: number): number => (server % 4) + 1;
      expect(first).toEqual([first![0]!, next(first![0]!), next(next(first![0]!))]);
      expect(second).toEqual(first!.map(next));
    } finally {
      await course.stop();
    }
  });

  test("runs of odd lengths and holes, also at the end", async () => {
    const data = patterned(200_000);
    const runs: ContentRun[] = [
      { holeBytes: 10 },
      data.subarray(0, 70_000),
      data.subarray(70_000, 70_001),
      { holeBytes: 3 * BLOCK },
      data.subarray(70_001, 200_000),
      { holeBytes: 123_456 },
    ];
    await client.put(bytesOf("/holes"), runs, PUT);
    const whole = new Uint8Array(10 + 200_000 + 3 * BLOCK + 123_456);
    whole.set(data.subarray(0, 70_001), 10);
    whole.set(data.subarray(70_001), 10 + 70_001 + 3 * BLOCK);
    expectSame(await contentOf(client, "/holes"), whole);
    const attributes = await client.stat(bytesOf("/holes"));
    expect([attributes.size, attributes.allocated]).toEqual([whole.length, 200_000]);
    const file = await client.open(bytesOf("/holes"));
    const holes: number[] = [];
    for await (const run of file.runs())
      if (!(run instanceof Uint8Array)) holes.push(run.holeBytes);
    await file.close();
    expect(holes).toEqual([10, 3 * BLOCK, 123_456]);
  });

  test("a sparse file of 5 GiB costs what its data costs", async () => {
    const [start, middle] = [patterned(1_000, 1), patterned(BLOCK, 2)];
    const content = [start, { holeBytes: 3 * GiB }, middle, { holeBytes: 2 * GiB }];
    await client.put(bytesOf("/sparse"), content, PUT);
    const attributes = await client.stat(bytesOf("/sparse"));
    expect(attributes.size).toBe(5 * GiB + 1_000 + BLOCK);
    expect(attributes.allocated).toBe(1_000 + BLOCK);
    const file = await client.open(bytesOf("/sparse"));
    expectSame(await file.read(0, 1_000), start);
    expectSame(await file.read(1_000 + 3 * GiB, BLOCK), middle);
    expectSame(await file.read(4 * GiB, 10), new Uint8Array(10));
    expect(await file.read(attributes.size - 5, 10)).toHaveLength(5);
    expect(await file.read(attributes.size, 10)).toHaveLength(0);
    let total = 0;
    for await (const run of file.runs()) {
      total += run instanceof Uint8Array ? run.length : run.holeBytes;
    }
    expect(total).toBe(attributes.size);
    await file.close();
  });

  test("progress ends at the length of the file and never goes back", async () => {
    const seen: number[] = [];
    const content = [patterned(3 * BLOCK), { holeBytes: 100 }, patterned(5)];
    const onProgress = (bytes: number): void => void seen.push(bytes);
    await client.put(bytesOf("/progress"), content, { ...PUT, onProgress });
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.at(-1)).toBe(3 * BLOCK + 105);
  });

  test("a stream from the middle", async () => {
    const content = patterned(5 * BLOCK);
    await client.put(bytesOf("/middle"), [content], PUT);
    const file = await client.open(bytesOf("/middle"));
    const offset = 2 * BLOCK + 77;
    expectSame(await collected(file.stream({ offset })), content.subarray(offset));
    expect(await collected(file.stream({ offset: content.length }))).toHaveLength(0);
    await file.close();
  });
});

describe("put is atomic", () => {
  test("a reader that has the old file open goes on reading it", async () => {
    const [old, fresh] = [patterned(20 * BLOCK, 1), patterned(20 * BLOCK, 2)];
    await client.put(bytesOf("/swap"), [old], PUT);
    const other = await cluster.client();
    const file = await other.open(bytesOf("/swap"));
    const chunks: Uint8Array[] = [];
    for await (const chunk of file.stream()) {
      if (chunks.length === 0) await client.put(bytesOf("/swap"), [fresh], PUT);
      chunks.push(chunk);
    }
    expectSame(Buffer.concat(chunks), old);
    expectSame(await file.read(19 * BLOCK, 100), old.subarray(19 * BLOCK, 19 * BLOCK + 100));
    await file.close();
    expectSame(await contentOf(other, "/swap"), fresh);
  });

  test("an interrupted put leaves the old file, whatever it had stored", async () => {
    const old = patterned(100);
    await client.put(bytesOf("/kept"), [old], PUT);
    const stop = new AbortController();
    async function* endless() {
      for (let sent = 0; ; sent++) {
        yield patterned(BLOCK, sent);
        if (sent === 40) stop.abort();
      }
    }
    const options = { ...PUT, signal: stop.signal };
    expect(await failureOf(client.put(bytesOf("/kept"), endless(), options))).toMatchObject({
      kind: "cancelled",
    });
    expectSame(await contentOf(client, "/kept"), old);
    await until("its blocks are not live", async () => {
      const status = await client.status();
      return status.blocksByCopies.reduce((sum, each) => sum + each, 0) === status.liveBlocks;
    });
  });

  test("an interrupted put from a source that never says anything more ends all the same", async () => {
    const stop = new AbortController();
    async function* stuck() {
      yield patterned(10);
      stop.abort();
      await new Promise(() => undefined);
    }
    const options = { ...PUT, signal: stop.signal };
    const put = client.put(bytesOf("/stuck"), stuck(), options);
    expect(await failureOf(put)).toMatchObject({ kind: "cancelled" });
    expect(await failureOf(client.stat(bytesOf("/stuck")))).toMatchObject({ kind: "notFound" });
  });

  test("a source that throws leaves nothing, and its error comes out", async () => {
    async function* broken() {
      yield patterned(3 * BLOCK);
      throw new Error("the disk of the user is broken");
    }
    expect(await messageOfFailure(client.put(bytesOf("/broken"), broken(), PUT))).toContain(
      "of the user",
    );
    expect(await failureOf(client.stat(bytesOf("/broken")))).toMatchObject({ kind: "notFound" });
  });

  test("of many puts of one name at a time, one wins as a whole", async () => {
    const contents = Array.from({ length: 6 }, (_, index) => patterned(3 * BLOCK + index, index));
    const others = await Promise.all([1, 2].map(() => cluster.client()));
    await Promise.all(
      contents.map((content, index) =>
        [client, ...others][index % 3]!.put(bytesOf("/race"), [content], PUT),
      ),
    );
    const got = await contentOf(client, "/race");
    const winner = contents.findIndex((content) => content.length === got.length);
    expectSame(got, contents[winner]!);
  });

  test("replaces keeping mode and owner, or not", async () => {
    const path = bytesOf("/owned");
    await client.put(path, [bytesOf("1")], { ...PUT, mode: 0o600, uid: 5, gid: 6 });
    const kept = await client.put(path, [bytesOf("2")], PUT);
    expect(kept).toMatchObject({ mode: 0o600, uid: 5, gid: 6 });
    const times = { atimeNs: 1_000_000_001n, mtimeNs: 2_000_000_002n };
    const own = await client.put(path, [bytesOf("3")], { ...PUT, keepReplaced: false, ...times });
    expect(own).toMatchObject({ mode: 0o644, uid: 1000, gid: 1000, ...times });
  });

  test("an exclusive put, one over a directory, and one without parent are refused", async () => {
    await client.put(bytesOf("/there"), [bytesOf("x")], PUT);
    const put = (path: string, exclusive = false, content = [bytesOf("y")]) =>
      client.put(bytesOf(path), content, { ...PUT, exclusive });
    expect(await failureOf(put("/there", true))).toMatchObject({ kind: "exists" });
    await client.mkdir(bytesOf("/dir"), OWNER);
    expect(await failureOf(put("/dir"))).toMatchObject({ kind: "isDirectory" });
    expect(await failureOf(put("/dir/"))).toMatchObject({ kind: "isDirectory" });
    expect(await failureOf(put("/none/f"))).toMatchObject({ kind: "notFound" });
    expect(await failureOf(put("/there/f"))).toMatchObject({ kind: "notDirectory" });
    expect(await failureOf(put("relative"))).toMatchObject({ kind: "invalid" });
    expect(await failureOf(put(`/${"x".repeat(256)}`))).toMatchObject({ kind: "nameTooLong" });
    expect(await failureOf(put(`/${"x/".repeat(3_000)}`))).toMatchObject({ kind: "nameTooLong" });
    expectSame(await contentOf(client, "/there"), bytesOf("x"));
  });
});

describe("memory", () => {
  test("transfers hold no more than the budget and one block each", async () => {
    const content = patterned(8 * MiB);
    const limit = 2 * MiB + 4 * BLOCK;
    await Promise.all([1, 2, 3, 4].map((each) => client.put(bytesOf(`/m${each}`), [content], PUT)));
    const sums = await Promise.all(
      [1, 2, 3, 4].map(async (each) => {
        const file = await client.open(bytesOf(`/m${each}`));
        let total = 0;
        for await (const chunk of file.stream()) {
          total += chunk.length;
          await Bun.sleep(0); // a consumer that is slower than the cluster
        }
        await file.close();
        return total;
      }),
    );
    expect(sums).toEqual([1, 2, 3, 4].map(() => 8 * MiB));
    expect(client.memory.peakBytes).toBeGreaterThan(1 * MiB);
    expect(client.memory.peakBytes).toBeLessThanOrEqual(limit);
    expect(client.memory.heldBytes).toBe(0);
  });

  test("a copy from the cluster into itself with the smallest budget comes to an end", async () => {
    const tight = await cluster.client({ bufferBytes: 1 });
    const content = patterned(20 * BLOCK);
    await tight.put(bytesOf("/from"), [content], PUT);
    const file = await tight.open(bytesOf("/from"));
    await tight.put(bytesOf("/to"), file.runs(), PUT);
    await file.close();
    expectSame(await contentOf(tight, "/to"), content);
  });

  test("a reader that stops early gives everything back", async () => {
    await client.put(bytesOf("/early"), [patterned(4 * MiB)], PUT);
    const file = await client.open(bytesOf("/early"));
    for await (const chunk of file.stream()) {
      expect(chunk.length).toBe(BLOCK);
      break;
    }
    expect(client.memory.heldBytes).toBe(0);
    await file.close();
  });
});
