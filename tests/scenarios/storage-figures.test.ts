// What `dfs status --json` tells of the logs of data servers.

import { afterEach, expect, test } from "bun:test";
import { LocalCluster } from "../support/local-cluster.ts";

let cluster: LocalCluster | undefined;

afterEach(async () => {
  await cluster?.stop();
  cluster = undefined;
});

test("status --json has a row of storage figures for each data server, or says why not", async () => {
  cluster = await LocalCluster.up("--block-size", "4096");
  const put = await cluster.run(["put", "-", "/file"], { stdin: new Uint8Array(5000).fill(7) });
  expect(put.code).toBe(0);
  await cluster.kill(cluster.server(2).pid);
  const { text } = await cluster.run(["status", "--json"]);
  const { storage } = JSON.parse(text) as { storage: Record<string, unknown>[] };
  expect(storage.map((each) => each["server"])).toEqual([1, 2, 3, 4]);
  expect(storage[1]).toEqual({ server: 2, error: expect.any(String) });
  for (const each of [storage[0], storage[2], storage[3]]) {
    expect(each).toMatchObject({
      badReplicas: 0,
      compaction: { running: false, segments: 0, movedBytes: 0, freedBytes: 0 },
    });
    const { blockBytes, deadBytes, segmentBytes } = each as Record<string, number>;
    expect(segmentBytes! - deadBytes!).toBeGreaterThanOrEqual(blockBytes!);
  }
}, 120_000);
