// Servers that lost their disk: what they held counts for nothing before it is known what they lack.

import { expect, test } from "bun:test";
import { incarnationId } from "../../../../src/base/ids.ts";
import { systemRandom } from "../../../../src/base/random.ts";
import { holdings, setServer, status } from "../../../../src/protocol/messages/cluster.ts";
import { failureOf } from "../../../support/failure.ts";
import { temporaryDirectory, until } from "../support/durable.ts";
import { TestDataServer } from "../support/data-server.ts";
import { startMeta, TestClient } from "../support/service.ts";

/** The server is gone, and comes back with an empty disk when it registers next. */
async function loseDisk(server: TestDataServer): Promise<void> {
  await server.kill();
  server.held.clear();
  server.recovered = true;
  server.incarnation = incarnationId(systemRandom.id64());
}

async function withThree(
  work: (parts: {
    readonly address: string;
    readonly data: readonly TestDataServer[];
    readonly client: TestClient;
  }) => Promise<void>,
): Promise<void> {
  using dir = temporaryDirectory();
  const options = { settings: { blockSize: 8 }, repairIntervalMs: 1, downDelayMs: 60_000 };
  const meta = await startMeta(dir.path, options);
  try {
    const { address } = meta;
    const data: TestDataServer[] = [];
    for (let index = 0; index < 3; index++) data.push(await TestDataServer.join(address));
    await work({ address, data, client: await TestClient.open(address) });
  } finally {
    await meta.stop();
  }
}

const isFilling = async (client: TestClient, { id: server }: TestDataServer): Promise<boolean> =>
  (await client.ask(holdings, { server })).filling;

/** Recovered, compared, and found to lack nothing. */
async function recover(client: TestClient, server: TestDataServer, address: string): Promise<void> {
  await loseDisk(server);
  await server.restart(address);
  await until(async () => !(await isFilling(client, server)));
}

// Between the end of its connection and the record of that the server seemed up and compared, and nothing of its copies was
// known to be lost: it was declared refilled with an empty disk, and `dfs rebuild` said so.
test("a recovered server whose connection breaks before it was compared is still being refilled", () =>
  withThree(async ({ address, data, client }) => {
    await client.put("f", data, 100);
    const lost = data[0]!;
    await loseDisk(lost);
    for (let round = 0; round < 50; round++) {
      await lost.register(address);
      await lost.kill();
      expect(await isFilling(client, lost)).toBe(true);
    }
    await lost.restart(address);
    await until(async () => !(await isFilling(client, lost)));
    expect(lost.held.size).toBe(100);
  }));

// The server had acknowledged the block, lost its disk, and was compared with the record, where the block was not yet. The
// commit put its copy on record, and it was taken for a good one until somebody read it.
test("a copy on a disk that was lost between write and commit does not count, and is made again", () =>
  withThree(async ({ address, data, client }) => {
    const lost = data[0]!;
    await client.put("f", data, 5, 8, () => recover(client, lost, address));
    await until(() => lost.held.size === 5);
    await until(async () => {
      const { blocksByCopies, missingCopies } = await client.ask(status, {});
      return blocksByCopies[3] === 5 && missingCopies === 0;
    });
  }));

test("with two such copies of three the write quorum is not reached", () =>
  withThree(async ({ address, data, client }) => {
    const write = client.put("f", data, 1, 8, async () => {
      for (const server of data.slice(1)) await recover(client, server, address);
    });
    expect(await failureOf(write)).toMatchObject({ kind: "quorum", details: { copies: 1 } });
  }));

test("a server that was merely restarted between write and commit keeps its copy", () =>
  withThree(async ({ address, data, client }) => {
    await client.put("f", data, 5, 8, async () => {
      await data[0]!.kill();
      await data[0]!.restart(address);
    });
    expect((await client.ask(status, {})).blocksByCopies[3]).toBe(5);
    expect(data[0]!.copied).toEqual([]);
  }));

// While pages of what it lists were compared it was not usable yet, and what the first of them had shown to be lost was made on
// stand-ins at once: with fast copies that was most of a server, which was then moved back.
test("what a server has lost is not made on stand-ins while it is still being compared", async () => {
  using dir = temporaryDirectory();
  const options = {
    settings: { blockSize: 8 },
    repairIntervalMs: 1,
    downDelayMs: 60_000,
    moveMisplaced: false,
  };
  const meta = await startMeta(dir.path, options);
  const data: TestDataServer[] = [];
  for (let index = 0; index < 4; index++) data.push(await TestDataServer.join(meta.address));
  const client = await TestClient.open(meta.address);
  const [lost, , , other] = data as [
    TestDataServer,
    TestDataServer,
    TestDataServer,
    TestDataServer,
  ];
  await client.put("f", data.slice(0, 3), 2000);
  await client.put("g", data.slice(0, 3), 2000); // more than one page of the comparison
  await recover(client, lost, meta.address);
  expect(lost.held.size).toBe(4000);
  expect(other.copied).toEqual([]);
  await meta.stop();
});

// It was said to be refilled for ever, when nothing of it was needed any more, and `dfs rebuild` waited for the end of that.
test("one that loses its disk while it is drained is emptied, and that is the end of its refill", async () => {
  using dir = temporaryDirectory();
  const options = { settings: { blockSize: 8 }, repairIntervalMs: 1, downDelayMs: 60_000 };
  const meta = await startMeta(dir.path, options);
  const data: TestDataServer[] = [];
  for (let index = 0; index < 4; index++) data.push(await TestDataServer.join(meta.address));
  const client = await TestClient.open(meta.address);
  const lost = data[0]!;
  await client.put("f", data.slice(0, 3), 100);
  await loseDisk(lost);
  await client.ask(setServer, { server: lost.id, change: "drain" });
  await lost.restart(meta.address);
  await until(async () => {
    const { filling, state, present, bad } = await client.ask(holdings, { server: lost.id });
    return state === "draining" && present.copies + bad.copies === 0 && !filling;
  });
  await until(async () => (await client.ask(status, {})).blocksByCopies[3] === 100);
  await meta.stop();
});
