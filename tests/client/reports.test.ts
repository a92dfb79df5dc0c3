// What a client has found out about bad copies reaches the metadata service, also when the client ends right after.

import { afterEach, describe, expect, test } from "bun:test";
import type { InjectedFault } from "../../src/client/api.ts";
import {
  bytesOf,
  collected,
  KiB,
  OWNER,
  patterned,
  startCluster,
  until,
  type Cluster,
  type TestClient,
} from "../support/cluster.ts";

const BLOCK = 64 * KiB;
const PATH = bytesOf("/file");
const CONTENT = patterned(1000);

let cluster: Cluster;
afterEach(() => cluster.stop());

/** One block with three copies, of which the one that is read first gets the fault. */
async function damaged(client: TestClient, fault: "lose" | "body"): Promise<InjectedFault> {
  await client.put(PATH, [CONTENT], { ...OWNER, keepReplaced: true });
  const [row] = await Array.fromAsync(client.explain(PATH));
  const first = row!.replicas[0]!.server;
  return client.injectFault(first, { block: row!.block, fault, seed: 7 });
}

/** Reads the file as a short-lived command does: opens, reads, closes, ends. */
async function readOnce(): Promise<void> {
  const reader = await cluster.client();
  const file = await reader.open(PATH);
  const got = await collected(file.stream());
  void file.close();
  await reader.close();
  expect(Buffer.compare(got, CONTENT)).toBe(0);
}

describe("a client that closes right after it has read", () => {
  for (const fault of ["lose", "body"] as const) {
    test(`has reported the copy that it met (${fault}): it is made again`, async () => {
      const settings = { blockSize: BLOCK };
      cluster = await startCluster({ servers: 3, settings, allowFaults: true });
      const watcher = await cluster.client();
      await damaged(watcher, fault);
      await readOnce();
      await until("a copy to be made", async () => {
        const { repair } = await watcher.status();
        return repair?.copiedBlocks === 1;
      });
    }, 60_000);
  }

  test("does not wait for long when the metadata service is away", async () => {
    cluster = await startCluster({
      servers: 3,
      settings: { blockSize: BLOCK },
      allowFaults: true,
    });
    const watcher = await cluster.client();
    await damaged(watcher, "lose");
    await watcher.put(bytesOf("/other"), [CONTENT], { ...OWNER, keepReplaced: true });
    const reader = await cluster.client();
    const file = await reader.open(PATH);
    await (await reader.open(bytesOf("/other"))).read(0, 1); // now it knows where the servers are
    await cluster.stopMeta();
    const got = await file.read(0, CONTENT.length);
    expect(Buffer.compare(got, CONTENT)).toBe(0);
    const startMs = performance.now();
    await reader.close();
    expect(performance.now() - startMs).toBeLessThan(10_000); // a request is given up after 60 s
    await cluster.startMeta();
  }, 60_000);
});
