// What readers and writers see while data servers stop, start, and hold rotten copies. Real servers in this process.

import { afterEach, describe, expect, test } from "bun:test";
import type { OpenFile } from "../../src/client/api.ts";
import {
  bytesOf,
  collected,
  KiB,
  OWNER,
  patterned,
  rotIn,
  startCluster,
  until,
  type Cluster,
  type ClusterOptions,
  type TestClient,
} from "../support/cluster.ts";
import { failureOf, messageOfFailure } from "../support/failure.ts";

const BLOCK = 64 * KiB;
const PUT = { ...OWNER, keepReplaced: true };
const PATH = bytesOf("/dir/file");

let cluster: Cluster;
afterEach(() => cluster.stop());

async function clusterWithDirectory(options: ClusterOptions = {}): Promise<TestClient> {
  cluster = await startCluster({ settings: { blockSize: BLOCK }, ...options });
  const client = await cluster.client();
  await client.mkdir(bytesOf("/dir"), { ...OWNER, mode: 0o755 });
  return client;
}

function expectSame(got: Uint8Array, wanted: Uint8Array): void {
  expect(got.length).toBe(wanted.length);
  expect(Buffer.compare(got, wanted)).toBe(0);
}

async function contentOf(client: TestClient, path = PATH): Promise<Uint8Array> {
  return withFile(client, (file) => collected(file.stream()), path);
}

async function withFile<T>(
  client: TestClient,
  work: (file: OpenFile) => Promise<T>,
  path = PATH,
): Promise<T> {
  const file = await client.open(path);
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}

const kinds = (client: TestClient): string[] =>
  client.warnings
    .map(({ kind, server }) => (server === undefined ? kind : `${kind} ${server}`))
    .sort();

/** Ids of the servers that hold the first block of a file, in placement order, and their places in the cluster. */
async function holders(client: TestClient, path = PATH): Promise<number[]> {
  const [row] = await Array.fromAsync(client.explain(path));
  return row!.replicas.map(({ server }) => indexOf(server));
}

const indexOf = (server: number): number =>
  cluster.servers.findIndex(({ running }) => running?.server === server);

/** Waits until the service has noticed that so many servers are up. */
async function serversUp(client: TestClient, count: number): Promise<void> {
  await until(`${count} servers are up`, async () => {
    const servers = await client.servers();
    return servers.filter(({ state }) => state === "up").length === count;
  });
}

describe("reading", () => {
  test("with a server down, then two, is right, with one warning for each server", async () => {
    const writer = await clusterWithDirectory();
    const content = patterned(40 * BLOCK + 5);
    await writer.put(PATH, [content], PUT);
    for (const [gone, index] of [
      [1, 0],
      [2, 2],
    ] as const) {
      await cluster.stopServer(index);
      const reader = await cluster.client();
      expectSame(await contentOf(reader), content);
      expectSame(await contentOf(reader), content);
      expect(kinds(reader)).toHaveLength(gone);
      expect(new Set(kinds(reader)).size).toBe(gone);
    }
  });

  test("goes on when a server stops in the middle", async () => {
    const writer = await clusterWithDirectory();
    const content = patterned(100 * BLOCK);
    await writer.put(PATH, [content], PUT);
    const client = await cluster.client({ bufferBytes: 8 * BLOCK });
    const got = await withFile(client, async (file) => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of file.stream()) {
        if (chunks.length === 10) await cluster.stopServer(1);
        chunks.push(chunk);
      }
      return Buffer.concat(chunks);
    });
    expectSame(got, content);
    expect(kinds(client)).toHaveLength(1);
  });

  test("waits a moment for servers that restart, all three of a block's", async () => {
    const client = await clusterWithDirectory({ servers: 3 });
    const content = patterned(4 * BLOCK);
    await client.put(PATH, [content], PUT);
    const reader = await cluster.client();
    await withFile(reader, async (file) => {
      for (const index of [0, 1, 2]) await cluster.stopServer(index);
      const reading = file.read(0, content.length);
      for (const index of [0, 1, 2]) await cluster.startServer(index);
      expectSame(await reading, content);
    });
  });

  test("fails in time when no server is there, naming file, offset, block and servers", async () => {
    const client = await clusterWithDirectory({ servers: 3, meta: { downDelayMs: 200 } });
    await client.put(PATH, [patterned(4 * BLOCK)], PUT);
    await withFile(client, async (file) => {
      for (const index of [0, 1, 2]) await cluster.stopServer(index);
      const reading = file.read(2 * BLOCK, 10);
      expect(await failureOf(reading)).toMatchObject({
        kind: "io",
        details: { path: "/dir/file", offset: 2 * BLOCK },
      });
      for (const id of [1, 2, 3])
        expect(await messageOfFailure(reading)).toContain(`server ${id}: `);
    });
  });

  test("a file that is overwritten meanwhile follows the map, and reports no bad copies", async () => {
    const client = await clusterWithDirectory({ meta: { reaperIntervalMs: 20, graceMs: 0 } });
    await client.put(PATH, [patterned(6 * BLOCK, 1)], PUT);
    const reader = await cluster.client();
    await withFile(reader, async (file) => {
      await file.read(0, 10); // the map is known from here on
      await withFile(client, async (writing) => {
        await writing.write(0, patterned(6 * BLOCK, 2));
        await writing.flush();
      });
      await until("the old blocks are gone", async () => (await client.status()).deadBlocks === 0);
      expectSame(
        await file.read(3 * BLOCK, BLOCK),
        patterned(6 * BLOCK, 2).subarray(3 * BLOCK, 4 * BLOCK),
      );
    });
    expect(reader.warnings).toEqual([]);
  });
});

describe("a file that is cut by another client while it is read", () => {
  test("ends where it now ends: there are no zeros in place of what was cut", async () => {
    const client = await clusterWithDirectory({ meta: { reaperIntervalMs: 20, graceMs: 0 } });
    const content = patterned(200 * BLOCK);
    await client.put(PATH, [content], PUT);
    const reader = await cluster.client({ bufferBytes: 4 * BLOCK });
    await withFile(reader, async (file) => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of file.stream()) {
        chunks.push(chunk);
        if (chunks.length > 1) continue;
        await client.setattr(PATH, { size: 100 * BLOCK + 5 });
        await until("the blocks are gone", async () => (await client.status()).deadBlocks === 0);
      }
      // Up to the end of the block in which the cut is, old bytes may be read: they are what was written.
      const got = Buffer.concat(chunks);
      expect(got.length).toBeGreaterThanOrEqual(100 * BLOCK + 5);
      expect(got.length).toBeLessThanOrEqual(101 * BLOCK);
      expectSame(got, content.subarray(0, got.length));
      expect(await file.read(150 * BLOCK, 10)).toHaveLength(0);
      expectSame(
        await file.read(100 * BLOCK, BLOCK),
        content.subarray(100 * BLOCK, 100 * BLOCK + 5),
      );
    });
    expect(reader.warnings).toEqual([]);
  });
});

describe("rotten copies", () => {
  /** A file whose first block is rotten on the servers at these places among those that hold it. */
  async function rotten(
    ranks: number[],
  ): Promise<{ client: TestClient; content: Uint8Array; on: number[] }> {
    const writer = await clusterWithDirectory();
    const content = patterned(5 * BLOCK);
    await writer.put(PATH, [content], PUT);
    const on = await holders(writer);
    for (const rank of ranks) {
      // 40,000 bytes into the block: reads of its beginning have the same piece, reads of other blocks have not.
      const found = await rotIn(cluster.server(on[rank]!).dir, content.subarray(40_000, 40_100));
      expect(found).toBe(true);
    }
    return { client: await cluster.client(), content, on };
  }

  test("one is passed over for the whole file, warned of, reported and on record", async () => {
    const { client, content, on } = await rotten([0]);
    expectSame(await contentOf(client), content);
    expectSame(await contentOf(client), content);
    const { server } = cluster.server(on[0]!).running!;
    expect(kinds(client)).toEqual([`badReplica ${server}`]);
    await until("a missing copy is on record", async () => {
      return (await client.status()).missingCopies === 1;
    });
  });

  test("two are passed over for a range of 4 KiB", async () => {
    const { client, content } = await rotten([0, 1]);
    await withFile(client, async (file) => {
      expectSame(await file.read(39_000, 4 * KiB), content.subarray(39_000, 39_000 + 4 * KiB));
      expectSame(
        await file.read(2 * BLOCK, 4 * KiB),
        content.subarray(2 * BLOCK, 2 * BLOCK + 4 * KiB),
      );
    });
    expect(kinds(client)).toHaveLength(2);
  });

  test("three are an error that names file and offset; the rest of the file is readable", async () => {
    const { client, content } = await rotten([0, 1, 2]);
    await withFile(client, async (file) => {
      const reading = file.read(39_000, 4 * KiB);
      expect(await failureOf(reading)).toMatchObject({
        kind: "io",
        details: { path: "/dir/file", offset: 39_000 },
      });
      expect(await messageOfFailure(reading)).toContain("/dir/file at offset 39000");
      expectSame(await file.read(BLOCK, 4 * BLOCK), content.subarray(BLOCK));
    });
    expect(await failureOf(contentOf(client))).toMatchObject({
      kind: "io",
      details: { offset: 0 },
    });
  });

  test("a read quorum of two needs two answers, of which one may be that the copy is rotten", async () => {
    const writer = await clusterWithDirectory({
      settings: { blockSize: BLOCK, readQuorum: 2 },
      meta: { copiesPerServer: 0 }, // or the fourth server gets a copy
    });
    const content = patterned(BLOCK);
    await writer.put(PATH, [content], PUT);
    const on = await holders(writer);
    await rotIn(cluster.server(on[0]!).dir, content.subarray(100, 200));
    expectSame(await contentOf(writer), content);
    expect(kinds(writer)).toEqual([`badReplica ${cluster.server(on[0]!).running!.server}`]);
    for (const each of on.slice(0, 2)) await cluster.stopServer(each);
    const error = await failureOf(contentOf(writer));
    expect(error).toMatchObject({ kind: "quorum", details: { offset: 0 } });
    expect((error as Error).message).toContain("the 2 servers that the read quorum asks for");
  });
});

describe("writing", () => {
  test("with one server down all blocks have three copies; with two down, two, and that is on record", async () => {
    const client = await clusterWithDirectory();
    const content = patterned(20 * BLOCK);
    await cluster.stopServer(3);
    await client.put(PATH, [content], PUT);
    expect((await client.status()).missingCopies).toBe(0);
    const rows = await Array.fromAsync(client.explain(PATH));
    expect(new Set(rows.map(({ replicas }) => replicas.length))).toEqual(new Set([3]));
    await cluster.stopServer(2);
    await client.put(bytesOf("/dir/two"), [content], PUT);
    expect((await client.status()).missingCopies).toBe(20);
    expect(kinds(client).filter((kind) => kind === "missingCopies")).toHaveLength(1);
    expectSame(await contentOf(await cluster.client(), bytesOf("/dir/two")), content);
  });

  test("goes on when a server stops in the middle", async () => {
    const client = await clusterWithDirectory();
    const content = patterned(200 * BLOCK);
    async function* source() {
      for (let at = 0; at < content.length; at += BLOCK) {
        if (at === 60 * BLOCK) await cluster.stopServer(0);
        yield content.subarray(at, at + BLOCK);
      }
    }
    await client.put(PATH, source(), PUT);
    expectSame(await contentOf(await cluster.client()), content);
    const rows = await Array.fromAsync(client.explain(PATH));
    expect(rows.every(({ replicas }) => replicas.length >= 2)).toBe(true);
    expect(rows.at(-1)!.replicas.length).toBe(3);
  });

  test("below the write quorum waits, says so, and goes on when a server is back", async () => {
    const client = await clusterWithDirectory({ servers: 3 });
    for (const index of [0, 1]) await cluster.stopServer(index);
    const content = patterned(3 * BLOCK);
    const put = client.put(PATH, [content], PUT);
    await until("it says that it waits", () => kinds(client).includes("belowQuorum"));
    await cluster.startServer(1);
    await put;
    await cluster.startServer(0);
    await serversUp(client, 3);
    expectSame(await contentOf(await cluster.client()), content);
  });

  test("below the write quorum for too long fails; nothing is visible", async () => {
    await clusterWithDirectory({ servers: 3 });
    const client = await cluster.client({ retryTimeoutMs: 300 });
    for (const index of [0, 1, 2]) await cluster.stopServer(index);
    expect(await failureOf(client.put(PATH, [patterned(10)], PUT))).toMatchObject({
      kind: "quorum",
    });
    expect(await failureOf((await cluster.client()).stat(PATH))).toMatchObject({
      kind: "notFound",
    });
  });

  test("a server that comes back takes its blocks again", async () => {
    const client = await clusterWithDirectory();
    await cluster.stopServer(1);
    await client.put(PATH, [patterned(8 * BLOCK)], PUT);
    const { server } = await cluster.startServer(1).then(({ running }) => running!);
    await serversUp(client, 4);
    await client.put(bytesOf("/dir/later"), [patterned(8 * BLOCK)], PUT);
    const rows = await Array.fromAsync(client.explain(bytesOf("/dir/later")));
    expect(rows.some(({ replicas }) => replicas.some((each) => each.server === server))).toBe(true);
    expect(rows.every(({ replicas }) => replicas.length === 3)).toBe(true);
  });
});

describe("the metadata server restarts", () => {
  test("in the middle of a put and of a get, and both end well", async () => {
    const client = await clusterWithDirectory();
    const content = patterned(150 * BLOCK);
    let steps = 0;
    async function* source() {
      for (let at = 0; at < content.length; at += BLOCK) {
        if (++steps % 60 === 0) await restart();
        yield content.subarray(at, at + BLOCK);
      }
    }
    const restart = async (): Promise<void> => {
      await cluster.stopMeta();
      await cluster.startMeta();
    };
    await client.put(PATH, source(), PUT);
    const reader = await cluster.client();
    const got = await withFile(reader, async (file) => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of file.stream()) {
        if (chunks.length === 50) await restart();
        chunks.push(chunk);
      }
      return Buffer.concat(chunks);
    });
    expectSame(got, content);
  });

  test("while a file is open that has no name any more, and it can still be read", async () => {
    const client = await clusterWithDirectory({ meta: { reaperIntervalMs: 20, graceMs: 0 } });
    const content = patterned(3 * BLOCK);
    await client.put(PATH, [content], PUT);
    await withFile(client, async (file) => {
      await client.unlink(PATH);
      await cluster.stopMeta();
      await cluster.startMeta();
      await client.mkdir(bytesOf("/resumed"), OWNER);
      expectSame(await file.read(0, content.length), content);
    });
    await until("its space is taken back", async () => (await client.status()).liveBlocks === 0);
  });
});
