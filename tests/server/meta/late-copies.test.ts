// Copies that nobody has on record: a server stored a block, and its answer was lost.

import { expect, test } from "bun:test";
import { checksumOf, pieceHashes } from "../../../src/base/checksum.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { inodeId } from "../../../src/base/ids.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import { systemRandom } from "../../../src/base/random.ts";
import { connectPeer } from "../../../src/protocol/endpoint.ts";
import { blockPut } from "../../../src/protocol/messages/data.ts";
import { bytesOf, KiB, OWNER, patterned, startCluster, until } from "../../support/cluster.ts";

test("a copy that nobody has on record goes when its block does", async () => {
  const cluster = await startCluster({
    servers: 4,
    settings: { blockSize: 4 * KiB },
    meta: { heartbeatIntervalMs: 50, reaperIntervalMs: 20 },
  });
  try {
    const client = await cluster.client();
    const path = bytesOf("/file");
    const bytes = patterned(1000);
    await client.put(path, [bytes], { ...OWNER, keepReplaced: false });
    const rows = await Array.fromAsync(client.explain(path));
    const { block, replicas } = rows[0]!;
    const holders = replicas.map(({ server }) => server);
    const other = (await client.servers()).find(({ server }) => !holders.includes(server))!;

    const peer = await connectPeer({
      transport: cluster.transport("late"),
      address: other.address,
      identity: {
        role: "client",
        cluster: client.cluster,
        server: undefined,
        incarnation: undefined,
        instance: undefined,
        reign: undefined,
        label: "late",
      },
      expect: { role: "data", cluster: client.cluster },
      key: undefined,
      clock: systemClock,
      random: systemRandom,
      logger: silentLogger,
      timeoutMs: 5_000,
    });
    const pieces = pieceHashes(bytes);
    const checksum = checksumOf(bytes.length, pieces);
    const described = { block, length: bytes.length, checksum, inode: inodeId(0n), fileOffset: 0 };
    await peer.request(blockPut, { ...described, pieces }, { bulk: bytes, timeoutMs: 5_000 });
    peer.close("the test has what it wanted");
    const held = async (): Promise<number> =>
      (await client.servers()).reduce((sum, { blocks }) => sum + blocks, 0);
    await until("four copies are held", async () => (await held()) === 4);

    await client.unlink(path);
    await until("no copy is held", async () => (await held()) === 0, 5_000);
    expect((await client.status()).deadBlocks).toBe(0);
  } finally {
    await cluster.stop();
  }
}, 30_000);
