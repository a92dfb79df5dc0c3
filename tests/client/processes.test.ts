// Servers as processes: killed with SIGKILL and frozen in the middle of transfers.

import { afterEach, describe, expect, test } from "bun:test";
import { bytesOf, KiB, MiB, OWNER, patterned, type TestClient } from "../support/cluster.ts";
import { spawnCluster, type ProcessCluster } from "../support/processes.ts";

const BLOCK = 128 * KiB;
const PUT = { ...OWNER, keepReplaced: true };
const PATH = bytesOf("/file");
const CONTENT = patterned(12 * MiB);

let cluster: ProcessCluster;
afterEach(() => cluster.stop());

/** The content, calling `step` before each block. */
async function* source(step: (index: number) => Promise<void> | void) {
  for (let at = 0; at < CONTENT.length; at += BLOCK) {
    await step(at / BLOCK);
    yield CONTENT.subarray(at, at + BLOCK);
  }
}

async function readBack(
  client: TestClient,
  step: (index: number) => Promise<void> | void = () => undefined,
): Promise<void> {
  const file = await client.open(PATH);
  const chunks: Uint8Array[] = [];
  for await (const chunk of file.stream()) {
    await step(chunks.length);
    chunks.push(chunk);
  }
  await file.close();
  expect(Buffer.compare(Buffer.concat(chunks), CONTENT)).toBe(0);
}

const unreachable = (client: TestClient): number =>
  client.warnings.filter(({ kind }) => kind === "serverUnreachable").length;

describe("processes", () => {
  test("data servers killed during a put and a get: right bytes, one warning each", async () => {
    cluster = await spawnCluster({ servers: 4, settings: { blockSize: BLOCK } });
    const client = await cluster.client();
    await client.put(PATH, [CONTENT], PUT);
    await client.put(
      bytesOf("/other"),
      source(async (index) => {
        if (index === 30) await cluster.server(1).kill();
      }),
      PUT,
    );
    await readBack(client, async (index) => {
      if (index === 30) await cluster.server(2).kill();
    });
    // The put may have gone around the first one on the service's advice, without ever meeting it.
    expect([1, 2]).toContain(unreachable(client));
    const fresh = await cluster.client();
    await readBack(fresh);
    await readBack(fresh);
    expect(unreachable(fresh)).toBe(2);
  });

  test("the metadata server killed and started again during a put and a get", async () => {
    cluster = await spawnCluster({ servers: 3, settings: { blockSize: BLOCK } });
    const client = await cluster.client();
    const restart = async (): Promise<void> => {
      await cluster.meta.kill();
      await cluster.startMeta();
    };
    await client.put(
      PATH,
      source(async (index) => {
        if (index === 40) await restart();
      }),
      PUT,
    );
    await readBack(await cluster.client(), async (index) => {
      if (index === 20) await restart();
    });
  });

  test("a client killed in the middle of a put leaves the old file", async () => {
    cluster = await spawnCluster({ servers: 3, settings: { blockSize: BLOCK } });
    const client = await cluster.client();
    await client.put(PATH, [CONTENT], PUT);
    const putter = Bun.spawn(
      [process.execPath, `${import.meta.dir}/support/endless-put.ts`, cluster.meta.address],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    const reader = putter.stdout.getReader();
    await reader.read(); // it has stored some megabytes
    putter.kill("SIGKILL");
    await putter.exited;
    await readBack(client);
    expect((await client.stat(PATH)).size).toBe(CONTENT.length);
  });

  test("a data server that is frozen delays reads by a fraction of a second and writes by five, once", async () => {
    cluster = await spawnCluster({ servers: 4, settings: { blockSize: BLOCK } });
    const client = await cluster.client();
    await client.put(PATH, [CONTENT], PUT);
    cluster.server(0).freeze();
    const reading = await cluster.client();
    let started = performance.now();
    await readBack(reading);
    expect(performance.now() - started).toBeLessThan(15_000);
    started = performance.now();
    await reading.put(bytesOf("/other"), [CONTENT], PUT);
    expect(performance.now() - started).toBeLessThan(20_000);
    cluster.server(0).thaw();
    await readBack(reading);
    expect(unreachable(reading)).toBeLessThanOrEqual(1);
    expect(reading.warnings.filter(({ kind }) => kind === "badReplica")).toEqual([]);
  });
});
