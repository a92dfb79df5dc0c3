// Files whose long ends are cut off, in a running service: who makes one grow waits for the cut, and a restart goes on with it.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { inodeId, sessionId, type InodeId } from "../../../src/base/ids.ts";
import { HandlerTable } from "../../../src/protocol/endpoint.ts";
import { inodeChanged } from "../../../src/protocol/messages/changes.ts";
import { clone, punch } from "../../../src/protocol/messages/content.ts";
import { getattr, map, setattr } from "../../../src/protocol/messages/namespace.ts";
import { sessionWatch } from "../../../src/protocol/messages/session.ts";
import * as operations from "../../../src/server/meta/namespace/operations.ts";
import { openSqliteStore } from "../../../src/server/meta/store/sqlite/store.ts";
import { runSync } from "../../../src/server/meta/store/store.ts";
import { TestDataServer } from "./support/data-server.ts";
import { temporaryDirectory, until } from "./support/durable.ts";
import { startMeta, TestClient } from "./support/service.ts";
import { NO_CHANGE } from "./namespace/support.ts";

const SETTINGS = { settings: { blockSize: 8 } };

const BLOCKS = 2000;

/** Of the whole file: its blocks and three copies of them. */
const SIZE = 4 * BLOCKS * 8;

/** A file of 8,000 extents. */
async function longFile(client: TestClient, data: readonly TestDataServer[]): Promise<InodeId> {
  const { inode } = await client.put("long", data, BLOCKS);
  for (let end = BLOCKS * 8; end < SIZE;) {
    const ranges = { source: inode, sourceOffset: end - BLOCKS * 8, inode, offset: end };
    end += (await client.change(clone, { ...ranges, length: BLOCKS * 8 })).done;
  }
  return inode;
}

const resize = (client: TestClient, inode: InodeId, size: number) =>
  client.change(setattr, { ...NO_CHANGE, inode, size });

async function start(dir: string, handlers?: HandlerTable) {
  const meta = await startMeta(dir, SETTINGS);
  const data: TestDataServer[] = [];
  for (let index = 0; index < 3; index++) data.push(await TestDataServer.join(meta.address));
  return { meta, data, client: await TestClient.open(meta.address, handlers) };
}

test("a file that is cut and grows again has a hole where it was cut, and its blocks are deleted", async () => {
  using dir = temporaryDirectory();
  const { meta, data, client } = await start(dir.path);
  const inode = await longFile(client, data);
  const cut = resize(client, inode, 80);
  const grown = resize(client, inode, SIZE); // sent before the cut is answered
  expect((await cut).attributes.size).toBe(80);
  expect((await grown).attributes).toMatchObject({ size: SIZE, allocated: 10 });
  const { size, extents } = await client.ask(map, { inode, offset: 0, length: SIZE, limit: 20 });
  expect([size, extents.length]).toEqual([SIZE, 10]);
  await until(() => data.every((server) => server.held.size === 10));
  await meta.stop();
});

test("a cut that a service has left behind is finished by the next one", async () => {
  using dir = temporaryDirectory();
  const { meta, data, client } = await start(dir.path);
  const inode = await longFile(client, data);
  await meta.stop();

  const store = openSqliteStore(join(dir.path, "meta.db"));
  const context = {
    session: sessionId(1n),
    nowNs: BigInt(Date.now()) * 1_000_000n,
    settings: meta.settings,
    ids: { nextInode: () => inodeId(1n << 50n), nextBlocks: () => expect.unreachable() },
  };
  const change = operations.setattr(context, { ...NO_CHANGE, inode, size: 80 });
  store.transaction(() => runSync(store.primitives, change));
  expect(store.primitives["cut.list"](9)).toEqual([inode]);
  store.close();

  const next = await startMeta(dir.path);
  const resumed = await client.resume(next.address);
  for (const server of data) await server.restart(next.address);
  await until(() => data.every((server) => server.held.size === 10));
  expect((await resize(resumed, inode, SIZE)).attributes.allocated).toBe(10);
  const { extents } = await resumed.ask(map, { inode, offset: 0, length: SIZE, limit: 20 });
  expect(extents).toHaveLength(10);
  await next.stop();
});

// A client that has given up an operation asks behind it how the file is then, and goes on writing. While the operation waited for
// a cut, what came later over its connection was executed first: the client took the file for what it was before, and a hole that
// it had given up was made over what it had written since.
test("what a connection asks of a file is executed in order, also behind what waits for a cut", async () => {
  using dir = temporaryDirectory();
  const { meta, data, client } = await start(dir.path);
  const inode = await longFile(client, data);
  const other = await client.put("other", data);
  const cut = resize(client, inode, 80);
  const grown = client.change(punch, { inode, offset: 0, length: 80, minSize: SIZE });
  const copied = client.change(clone, {
    source: other.inode,
    sourceOffset: 0,
    inode,
    offset: 8,
    length: 1,
  });
  await client.create("more"); // behind the hole, which waits by now or is done
  const seen = client.ask(getattr, { inode });
  expect((await cut).attributes.size).toBe(80);
  expect((await grown).attributes).toMatchObject({ size: SIZE, allocated: 0 });
  expect((await copied).attributes).toMatchObject({ size: SIZE, allocated: 1 });
  expect((await seen).attributes).toMatchObject({ size: SIZE, allocated: 1 });
  const { extents } = await client.ask(map, { inode, offset: 0, length: SIZE, limit: 20 });
  expect(extents.map(({ offset, block }) => ({ offset, block }))).toEqual([
    { offset: 8, block: other.blocks[0]! },
  ]);
  await meta.stop();
});

test("who was told a count of allocated bytes before a cut was done is told that it has changed", async () => {
  using dir = temporaryDirectory();
  const handlers = new HandlerTable();
  const told: InodeId[] = [];
  handlers.onNotice(inodeChanged, (changed) => void told.push(changed.inode));
  const { meta, data, client } = await start(dir.path, handlers);
  const inode = await longFile(client, data);
  await client.ask(sessionWatch, { cacheMs: 60_000 });
  const cut = resize(client, inode, 80);
  const seen = client.ask(getattr, { inode });
  await cut;
  // Unless the cut was done by then.
  if ((await seen).attributes.allocated > 10) await until(() => told.includes(inode));
  expect((await client.ask(getattr, { inode })).attributes.allocated).toBe(10);
  await meta.stop();
});
