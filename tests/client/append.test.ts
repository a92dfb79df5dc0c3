// Appends of several clients to one file: each record is there once and whole, wherever the others move the end.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { seededRandom, type Random } from "../../src/base/random.ts";
import type { OpenFile } from "../../src/client/api.ts";
import { isNoAnswer } from "../../src/client/retry.ts";
import { commit } from "../../src/protocol/messages/content.ts";
import {
  bytesOf,
  collected,
  OWNER,
  startCluster,
  until,
  type Cluster,
  type TestClient,
} from "../support/cluster.ts";
import { failureOf } from "../support/failure.ts";
import { HoldingProxy } from "../support/holding-proxy.ts";
import { DeafTransport } from "./support/deaf-transport.ts";

/** Small, so that records cross the borders of blocks and bytes that are moved have to be cut anew. */
const BLOCK = 64;
const CLIENTS = 3;

let cluster: Cluster;
const clients: TestClient[] = [];
beforeAll(async () => {
  cluster = await startCluster({ servers: 3, settings: { blockSize: BLOCK } });
  for (let count = 0; count < CLIENTS; count++) clients.push(await cluster.client());
});
afterAll(() => cluster.stop());

/** Opens one file with every client. */
async function openedByAll(name: string): Promise<OpenFile[]> {
  const path = bytesOf(name);
  await (await clients[0]!.create(path, OWNER)).close();
  return Promise.all(clients.map((client) => client.open(path)));
}

async function content(name: string): Promise<string> {
  const file = await clients[0]!.open(bytesOf(name));
  try {
    return new TextDecoder().decode(await collected(file.stream()));
  } finally {
    await file.close();
  }
}

test("what two clients append without knowing of each other stays, both of it", async () => {
  const [first, second] = (await openedByAll("/two")) as [OpenFile, OpenFile];
  expect(await first.append(bytesOf("first one\n"))).toBe(0);
  expect(await second.append(bytesOf("second one\n"))).toBe(0);
  expect(await second.append(bytesOf("second two\n"))).toBe(11);
  await first.flush();
  await second.flush();
  expect(await content("/two")).toBe("first one\nsecond one\nsecond two\n");
  const seen = await second.read(0, 100);
  expect(new TextDecoder().decode(seen)).toBe(await content("/two"));
});

test("bytes that are moved are seen where they come to lie, with those that are appended after them", async () => {
  const [first, second] = (await openedByAll("/moved")) as [OpenFile, OpenFile];
  await first.append(bytesOf("a".repeat(100)));
  await second.append(bytesOf("b".repeat(100)));
  await first.flush();
  const flushed = second.flush();
  await second.append(bytesOf("c"));
  await flushed;
  const text = new TextDecoder().decode(await second.read(0, 1000));
  expect(text).toBe("a".repeat(100) + "b".repeat(100) + "c");
  await second.flush();
  expect(await content("/moved")).toBe(text);
});

test("bytes that are moved by less than a block, and have been cut at its borders, are cut anew", async () => {
  const [first, second] = (await openedByAll("/cut-anew")) as [OpenFile, OpenFile];
  const record = Array.from({ length: 2 * BLOCK + 12 }, (_, at) =>
    String.fromCharCode(33 + (at % 90)),
  );
  await second.append(bytesOf(record.join("")));
  await first.append(bytesOf("-".repeat(BLOCK - 12)));
  await first.flush();
  await second.flush();
  expect(await content("/cut-anew")).toBe("-".repeat(BLOCK - 12) + record.join(""));
});

test("a file that was cut meanwhile is appended to at its new end", async () => {
  const [first, second] = (await openedByAll("/cut")) as [OpenFile, OpenFile];
  await first.append(bytesOf("x".repeat(200)));
  await first.flush();
  await second.append(bytesOf("y"));
  await first.truncate(3);
  await second.flush();
  expect(await content("/cut")).toContain("xxx");
  expect((await content("/cut")).endsWith("y")).toBe(true);
});

test("what is written to a place stays there when appended bytes around it are moved", async () => {
  const [first, second] = (await openedByAll("/mixed")) as [OpenFile, OpenFile];
  await second.append(bytesOf("tail"));
  await second.write(0, bytesOf("H"));
  await second.append(bytesOf("end"));
  await first.append(bytesOf("others"));
  await first.flush();
  await second.flush();
  expect(await content("/mixed")).toBe("Htherstailend");
});

function recordOf(random: Random, client: number, index: number): string {
  return `<${client}:${index}:${"x".repeat(random.below(3 * BLOCK))}>`;
}

test("records that several clients append and flush at random are each there once, whole and in each one's order", async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const files = await openedByAll("/random");
  const written = await Promise.all(
    files.map(async (file, client) => {
      const records: string[] = [];
      for (let index = 0; index < 30; index++) {
        const record = recordOf(random, client, index);
        records.push(record);
        await file.append(bytesOf(record));
        const then = random.below(8);
        if (then < 2) await file.flush();
        else if (then < 4) file.startFlush();
      }
      await file.close();
      return records;
    }),
  );
  const whole = await content("/random");
  const found = whole.match(/<\d+:\d+:x*>/g) ?? [];
  expect(found.join(""), `seed ${seed}`).toBe(whole);
  for (const [client, records] of written.entries()) {
    const own = found.filter((record) => record.startsWith(`<${client}:`));
    expect(own, `seed ${seed}`).toEqual(records);
  }
});

test("an append whose commit was done, and whose session expired before the answer came, is there once", async () => {
  const leased = await startCluster({ servers: 3, meta: { leaseTimeoutMs: 400 } });
  try {
    const transport = new DeafTransport(leased.transport("client"));
    const writer = await leased.client({}, transport);
    const path = bytesOf("/once");
    const file = await writer.create(path, OWNER);
    await file.append(bytesOf("first "));
    await file.flush();
    await file.append(bytesOf("second "));
    const size = async (): Promise<number> => {
      const witness = await leased.client({}, leased.transport("witness"));
      const found = await witness.stat(path);
      await witness.close();
      return found.size;
    };
    transport.deafTo(leased.metaAddress);
    const flushed = file.flush();
    flushed.catch(() => undefined);
    await until("it is committed", async () => (await size()) === 13);
    const before = writer.session;
    transport.cut();
    const witness = await leased.client({}, leased.transport("witness"));
    await until("the session has expired", async () => (await witness.status()).sessions === 1);
    transport.reconnect();
    await flushed;
    expect(writer.session).not.toBe(before);
    await file.append(bytesOf("third"));
    await file.flush();
    expect(await textOf(witness, path)).toBe("first second third");
    expect(new TextDecoder().decode(await file.read(0, 100))).toBe("first second third");
  } finally {
    await leased.stop();
  }
});

// As on a soft mount: the flush gave up while the answer to its commit was outstanding, and the next one appended the bytes again.
test("an append whose commit was done, and whose flush gave up before the answer came, is there once", async () => {
  const cluster = await startCluster({ servers: 3, transport: "tcp" });
  const proxy = await HoldingProxy.to(cluster.metaAddress);
  try {
    const witness = await cluster.client();
    const writer = await cluster.client({ metaAddress: proxy.address, retryTimeoutMs: 1_000 });
    const path = bytesOf("/soft");
    const file = await writer.create(path, OWNER);
    await file.append(bytesOf("first "));
    await file.flush();
    await file.append(bytesOf("second "));
    proxy.hold(commit);
    const flushed = failureOf(file.flush());
    await proxy.untilHeld(1);
    proxy.releaseAndLoseAnswers();
    expect(isNoAnswer(await flushed)).toBe(true);
    await until("it is committed", async () => (await witness.stat(path)).size === 13);
    await file.append(bytesOf("third "));
    expect(isNoAnswer(await failureOf(file.flush()))).toBe(true); // it cannot be learned yet whether it was
    await file.append(bytesOf("fourth"));
    expect(await textOf(witness, path)).toBe("first second ");
    proxy.cut();
    await until("it is reached again", () => file.flush().then(always, never));
    expect(await textOf(witness, path)).toBe("first second third fourth");
    expect(new TextDecoder().decode(await file.read(0, 100))).toBe("first second third fourth");
  } finally {
    await cluster.stop();
    proxy.close();
  }
});

test("an append whose commit never arrived, and whose flush gave up, is there once, behind what others appended", async () => {
  const cluster = await startCluster({ servers: 3, transport: "tcp" });
  const proxy = await HoldingProxy.to(cluster.metaAddress);
  try {
    const witness = await cluster.client();
    const writer = await cluster.client({ metaAddress: proxy.address, retryTimeoutMs: 1_000 });
    const path = bytesOf("/soft");
    const file = await writer.create(path, OWNER);
    await file.append(bytesOf("mine "));
    proxy.hold(commit);
    expect(isNoAnswer(await failureOf(file.flush()))).toBe(true);
    const other = await witness.open(path);
    await other.append(bytesOf("another's "));
    await other.close();
    await file.append(bytesOf("mine too"));
    proxy.cut();
    proxy.release();
    await until("it is reached again", () => file.flush().then(always, never));
    expect(await textOf(witness, path)).toBe("another's mine mine too");
    expect(new TextDecoder().decode(await file.read(0, 100))).toBe("another's mine mine too");
  } finally {
    await cluster.stop();
    proxy.close();
  }
});

const always = (): boolean => true;
const never = (): boolean => false;

async function textOf(client: TestClient, path: Uint8Array): Promise<string> {
  const file = await client.open(path);
  const text = new TextDecoder().decode(await collected(file.stream()));
  await file.close();
  return text;
}
