// A metadata server that has just started does not know yet how much room there is on data servers that have not registered
// again. It told them to be full, so a drain in these moments was refused with "the other servers have 0 B free", and a drain
// that went on could not be watched.

import { expect, test } from "bun:test";
import { isDfsError } from "../../../src/base/errors.ts";
import { serverId } from "../../../src/base/ids.ts";
import { bytesOf, KiB, OWNER, patterned, startCluster, until } from "../../support/cluster.ts";

const DRAINED = serverId(1);

test("a drain is not planned with servers that have not been heard of since the start", async () => {
  const cluster = await startCluster({
    settings: { blockSize: 4 * KiB },
    meta: { downDelayMs: 600_000 },
  });
  try {
    const client = await cluster.client();
    await client.put(bytesOf("/file"), [patterned(200 * KiB)], { ...OWNER, keepReplaced: false });
    for (const { index } of cluster.servers.slice(1)) await cluster.stopServer(index);
    await cluster.stopMeta();
    await cluster.startMeta();
    const refusal = await client.planServer(DRAINED, "drain").catch((error: unknown) => error);
    expect(isDfsError(refusal, "invalid")).toBe(true);
    expect(String(refusal)).toContain("on data server 2, 3, 4\ntry again in a few seconds");
    for (const { index } of cluster.servers.slice(1)) await cluster.startServer(index);
    await until("all have registered", async () =>
      (await client.servers()).every(({ state }) => state === "up"),
    );
    const { bytes, moves } = await client.planServer(DRAINED, "drain");
    expect(bytes).toBeGreaterThan(0);
    expect(moves.every(({ freeBytes }) => freeBytes > bytes)).toBe(true);
  } finally {
    await cluster.stop();
  }
});
