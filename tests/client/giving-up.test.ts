// What is given up leaves nothing behind: no memory, and nobody who waits.

import { afterEach, describe, expect, test } from "bun:test";
import {
  bytesOf,
  KiB,
  MiB,
  OWNER,
  patterned,
  startCluster,
  type Cluster,
} from "../support/cluster.ts";
import { failureOf } from "../support/failure.ts";
import { turns } from "../support/manual-clock.ts";

const BLOCK = 64 * KiB;
const PUT = { ...OWNER, keepReplaced: true };
const PATH = bytesOf("/file");

/** Far below the time after which a request to the service is given up by itself. */
const SOON_MS = 10_000;

let cluster: Cluster;
afterEach(() => cluster.stop());

describe("giving up", () => {
  test("a handle that could not be flushed gives its memory back when it is closed", async () => {
    cluster = await startCluster({ servers: 2, settings: { blockSize: BLOCK } });
    const client = await cluster.client({ retryTimeoutMs: 1_000 });
    const one = await client.create(PATH, OWNER);
    const other = await client.open(PATH);
    await one.write(0, patterned(MiB));
    await cluster.stopServer(0);
    await cluster.stopServer(1);
    expect(await failureOf(one.close())).toMatchObject({ kind: "quorum" });
    expect(client.memory.heldBytes).toBeGreaterThan(0); // the other handle may yet store it
    expect(await failureOf(other.close())).toMatchObject({ kind: "quorum" });
    expect(client.memory.heldBytes).toBe(0);
  });

  test("operations in one directory give up together when the metadata service stays away", async () => {
    cluster = await startCluster({ servers: 0 });
    const client = await cluster.client({ retryTimeoutMs: 1_000 });
    await client.mkdir(bytesOf("/d"), OWNER);
    await cluster.stopMeta();
    const failed: string[] = [];
    const made = ["a", "b", "c"].map(async (name) => {
      const error = await failureOf(client.mkdir(bytesOf(`/d/${name}`), OWNER));
      expect(error).toMatchObject({ kind: "unreachable" });
      failed.push(name);
    });
    await made[0];
    await turns();
    expect(failed.toSorted()).toEqual(["a", "b", "c"]);
    await cluster.startMeta();
    // The pause before the next connection may be as long as the deadline: then the first attempt gives up, too.
    const again = (): Promise<unknown> => client.mkdir(bytesOf("/d/a"), OWNER);
    expect(await again().catch(again)).toMatchObject({ type: "directory" });
  });

  test("a put that is cancelled while the metadata service is away ends at once", async () => {
    cluster = await startCluster({ servers: 3, settings: { blockSize: BLOCK } });
    const client = await cluster.client();
    await cluster.stopMeta();
    const stop = new AbortController();
    let startMs = Infinity;
    async function* content(): AsyncGenerator<Uint8Array> {
      yield patterned(BLOCK);
      await turns(); // by now an id for the first block is waited for
      startMs = performance.now();
      stop.abort();
    }
    const putting = client.put(PATH, content(), { ...PUT, signal: stop.signal });
    expect(await failureOf(putting)).toMatchObject({ kind: "cancelled" });
    expect(performance.now() - startMs).toBeLessThan(SOON_MS);
    expect(client.memory.heldBytes).toBe(0);
    await cluster.startMeta();
  }, 60_000);

  test("a put that is cancelled in its last step while the metadata service is away ends at once", async () => {
    cluster = await startCluster({ servers: 3, settings: { blockSize: BLOCK } });
    const client = await cluster.client();
    const stop = new AbortController();
    const stored = Promise.withResolvers<void>();
    let startMs = Infinity;
    async function* content(): AsyncGenerator<Uint8Array> {
      yield patterned(BLOCK);
      await stored.promise;
      await cluster!.stopMeta();
      // By then the file's only transaction is what it waits for.
      void turns().then(() => {
        startMs = performance.now();
        stop.abort();
      });
    }
    const onProgress = (bytes: number): void => {
      if (bytes === BLOCK) stored.resolve();
    };
    const putting = client.put(PATH, content(), { ...PUT, signal: stop.signal, onProgress });
    expect(await failureOf(putting)).toMatchObject({ kind: "cancelled" });
    expect(performance.now() - startMs).toBeLessThan(SOON_MS);
    await cluster.startMeta();
  }, 60_000);
});
