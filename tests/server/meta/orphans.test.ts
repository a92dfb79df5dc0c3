// Copies of which the record says nothing: those of blocks that are dead for good are deleted, when their server is compared
// with the record and by fsck; those of blocks that the database does not know are left alone.

import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { blockId, ROOT_INODE, type BlockId } from "../../../src/base/ids.ts";
import { explain, holdings, setServer, status } from "../../../src/protocol/messages/cluster.ts";
import { reserve } from "../../../src/protocol/messages/content.ts";
import { fsckPoll, fsckStart, fsckStop } from "../../../src/protocol/messages/fsck.ts";
import { unlink } from "../../../src/protocol/messages/namespace.ts";
import { sessionClose } from "../../../src/protocol/messages/session.ts";
import { temporaryDirectory, until } from "./support/durable.ts";
import { TestDataServer } from "./support/data-server.ts";
import { blockBytes, startMeta, TestClient, text } from "./support/service.ts";

/** Nothing is copied or moved, so that what is on record stays to be seen. */
const NO_REPAIRS = { settings: { blockSize: 8 }, copiesPerServer: 0, moveMisplaced: false };

async function joinAll(address: string, count: number): Promise<TestDataServer[]> {
  const joined: TestDataServer[] = [];
  for (let index = 0; index < count; index++) joined.push(await TestDataServer.join(address));
  return joined;
}

const figures = (client: TestClient) => client.ask(status, {});

/** A whole run at the presence level: "outcome kind server" of each finding, without notes of misplaced and away copies. */
async function fsck(client: TestClient, dryRun: boolean, patienceMs = 10_000): Promise<string[]> {
  const start = { level: "presence", inode: null, dryRun, patienceMs } as const;
  const { run } = await client.ask(fsckStart, start);
  const found: string[] = [];
  for (let after = 0; ;) {
    const { findings, finished } = await client.ask(fsckPoll, { run, after });
    after += findings.length;
    for (const { outcome, kind, server } of findings) {
      if (kind !== "misplaced" && kind !== "unchecked") found.push(`${outcome} ${kind} ${server}`);
    }
    if (finished) break;
    await Bun.sleep(10);
  }
  await client.ask(fsckStop, { run });
  return found.toSorted(compare);
}

/** Notes first. */
function compare(one: string, other: string): number {
  const rank = (text: string): string => (text.startsWith("note") ? "0" : "1") + text;
  return rank(one) < rank(other) ? -1 : Number(rank(one) > rank(other));
}

describe("a copy that metadata has forgotten", () => {
  /** The server comes back with these blocks, and has been compared with the record. */
  async function returnWith(
    client: TestClient,
    address: string,
    server: TestDataServer,
    ...blocks: readonly BlockId[]
  ): Promise<void> {
    await server.kill();
    for (const id of blocks) server.store(id, blockBytes(id));
    await server.restart(address);
    await until(async () => !(await client.ask(holdings, { server: server.id })).judging);
  }

  test("is deleted when its server comes back: of a block that was removed, and of one never committed", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NO_REPAIRS);
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    const gone = await client.put("gone", data.slice(0, 3), 3);
    const kept = await client.put("kept", data.slice(0, 3), 2);
    await client.change(unlink, { parent: ROOT_INODE, name: text("gone") });
    const other = await TestClient.open(meta.address);
    const { first: reserved } = await other.change(reserve, { count: 4 });
    await other.ask(sessionClose, {});
    const database = new Database(join(dir.path, "meta.db"), { readonly: true });
    const isForgotten = (id: BlockId): boolean =>
      database.query("SELECT 1 FROM forgotten WHERE ? BETWEEN first AND last").get(id) !== null;
    await until(() => [...gone.blocks, reserved].every(isForgotten));
    database.close();

    // Server 3 brings a copy back that it had deleted, server 4 has copies that nobody ever heard of.
    await returnWith(client, meta.address, data[2]!, gone.blocks[0]!);
    await returnWith(client, meta.address, data[3]!, ...gone.blocks, reserved);
    await until(() => data[3]!.held.size === 0);
    await until(() => data[2]!.held.size === kept.blocks.length);
    expect(new Set(data[3]!.deleted)).toEqual(new Set([...gone.blocks, reserved]));
    expect(new Set(data[2]!.held.keys())).toEqual(new Set(kept.blocks));
    await meta.stop();
  });

  test("is deleted after a restart of the service as well", async () => {
    using dir = temporaryDirectory();
    const first = await startMeta(dir.path, NO_REPAIRS);
    const data = await joinAll(first.address, 4);
    const client = await TestClient.open(first.address);
    const { blocks } = await client.put("gone", data.slice(0, 3), 3);
    await client.change(unlink, { parent: ROOT_INODE, name: text("gone") });
    await until(() => data.slice(0, 3).every((server) => server.deleted.length === 3));
    await until(async () => (await figures(client)).deadBlocks === 0);
    await first.stop();
    for (const id of blocks) data[3]!.store(id, blockBytes(id));
    const second = await startMeta(dir.path, NO_REPAIRS);
    await data[3]!.restart(second.address);
    await until(() => data[3]!.held.size === 0);
    await second.stop();
  });

  test("is told from ids that are reserved, above all that the database knows, or were never given out", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NO_REPAIRS);
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    const gone = await client.put("gone", data.slice(0, 3), 1);
    const { first: reserved } = await client.change(reserve, { count: 4 });
    await client.change(unlink, { parent: ROOT_INODE, name: text("gone") });
    await until(async () => (await figures(client)).deadBlocks === 0);
    const skipped = blockId(reserved + 1_000n); // below the mark of ids, and given to nobody
    const newer = blockId(1n << 50n);
    const others = [reserved, skipped, newer];
    await returnWith(client, meta.address, data[3]!, gone.blocks[0]!, ...others);
    await until(() => data[3]!.deleted.length > 0);
    // The mark of ids is above the newer one by now, which makes that no older.
    await returnWith(client, meta.address, data[3]!, gone.blocks[0]!);
    await until(() => data[3]!.deleted.length > 1);
    expect(data[3]!.deleted).toEqual([gone.blocks[0]!, gone.blocks[0]!]);
    expect(new Set(data[3]!.held.keys())).toEqual(new Set(others));
    await meta.stop();
  });

  test("is counted as unknown until its server is removed", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NO_REPAIRS);
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    const unknown = async () => (await figures(client)).backup!.quarantined;
    await returnWith(client, meta.address, data[3]!, blockId(1n << 50n));
    expect(await unknown()).toBe(1);
    await client.ask(setServer, { server: data[3]!.id, change: "drain" });
    await client.ask(setServer, { server: data[3]!.id, change: "remove" });
    expect(await unknown()).toBe(0);
    await meta.stop();
  });

  test("is not what is committed between the server's list and the decision", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NO_REPAIRS);
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    const gone = await client.put("gone", data.slice(0, 3), 1);
    await client.change(unlink, { parent: ROOT_INODE, name: text("gone") });
    await until(async () => (await figures(client)).deadBlocks === 0);
    await data[3]!.kill();
    data[3]!.store(gone.blocks[0]!, blockBytes(gone.blocks[0]!));
    const listed = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    data[3]!.listGate = () => {
      listed.resolve();
      return gate.promise;
    };
    const file = await client.put("f", data.slice(1), 3, 8, async () => {
      await data[3]!.restart(meta.address);
      await listed.promise; // the blocks are in the list, and reserved
    });
    gate.resolve();
    await until(() => data[3]!.deleted.length === 1);
    await until(async () => !(await client.ask(holdings, { server: data[3]!.id })).judging);
    expect(new Set(data[3]!.held.keys())).toEqual(new Set(file.blocks));
    const { rows } = await client.ask(explain, { inode: file.inode, offset: 0, limit: 10 });
    for (const { replicas } of rows) {
      expect(replicas.map(({ state }) => state)).toEqual(["present", "present", "present"]);
    }
    await meta.stop();
  });

  test("is one whose reservation is given up between the server's list and the decision", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NO_REPAIRS);
    const data = await joinAll(meta.address, 2);
    const client = await TestClient.open(meta.address);
    const writer = await TestClient.open(meta.address);
    const { first } = await writer.change(reserve, { count: 2 });
    await data[1]!.kill();
    data[1]!.store(first, blockBytes(first));
    const listed = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    data[1]!.listGate = () => {
      listed.resolve();
      return gate.promise;
    };
    await data[1]!.restart(meta.address);
    await listed.promise;
    await writer.ask(sessionClose, {});
    const database = new Database(join(dir.path, "meta.db"), { readonly: true });
    const forgotten = database.query("SELECT 1 FROM forgotten WHERE ? BETWEEN first AND last");
    await until(() => forgotten.get(first) !== null);
    database.close();
    // A write of that session that was still under way arrives only now.
    data[1]!.store(first, blockBytes(first));
    gate.resolve();
    await until(async () => !(await client.ask(holdings, { server: data[1]!.id })).judging);
    await until(() => data[1]!.held.size === 0);
    await meta.stop();
  });
});

describe("fsck", () => {
  test("tells of copies of dead blocks, has them deleted, and leaves those of blocks that it does not know", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NO_REPAIRS);
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    const gone = await client.put("gone", data.slice(0, 3), 3);
    await client.put("kept", data.slice(0, 3), 2);
    const { first: reserved } = await client.change(reserve, { count: 4 });
    await client.change(unlink, { parent: ROOT_INODE, name: text("gone") });
    await until(async () => (await figures(client)).deadBlocks === 0);
    await until(() => data.slice(0, 3).every((server) => server.deleted.length === 3));
    const newer = blockId(1n << 50n);
    for (const id of [...gone.blocks, reserved, newer]) data[3]!.store(id, blockBytes(id));

    const orphans = ["orphanCopy 4", "orphanCopy 4", "orphanCopy 4"];
    expect(await fsck(client, true)).toEqual([
      "note orphans 4",
      ...orphans.map((each) => `left ${each}`),
    ]);
    expect(data[3]!.deleted).toEqual([]);
    expect(await fsck(client, false)).toEqual([
      "note orphans 4",
      ...orphans.map((each) => `corrected ${each}`),
    ]);
    expect(new Set(data[3]!.deleted)).toEqual(new Set(gone.blocks));
    expect(new Set(data[3]!.held.keys())).toEqual(new Set([reserved, newer]));
    expect(await fsck(client, false)).toEqual(["note orphans 4"]);
    await meta.stop();
  });

  test("leaves copies whose server goes away before they are deleted to the time when it is back", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, { ...NO_REPAIRS, reaperIntervalMs: 3_600_000 });
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    // Nobody deletes anything in this run of the service, so what it has forgotten is written by hand.
    const gone = blockId(40_000n);
    await meta.stop();
    const database = new Database(join(dir.path, "meta.db"));
    database.run(`INSERT INTO forgotten VALUES (${gone}, ${gone})`);
    database.close();
    const second = await startMeta(dir.path, { ...NO_REPAIRS, reaperIntervalMs: 3_600_000 });
    const listed = Promise.withResolvers<void>();
    data[3]!.listed = (page) => {
      listed.resolve();
      return page;
    };
    for (const server of data) await server.restart(second.address);
    await listed.promise; // else it would be found when the server is compared with the record
    const resumed = await client.resume(second.address);
    data[3]!.store(gone, blockBytes(gone));
    const found = fsck(resumed, false, 60_000);
    const record = new Database(join(dir.path, "meta.db"), { readonly: true });
    const removing = record.query("SELECT 1 FROM replicas WHERE block = ? AND state = 2");
    await until(() => removing.get(gone) !== null);
    record.close();
    await data[3]!.kill();
    expect(await found).toEqual(["left orphanCopy 4"]);
    expect(data[3]!.held.has(gone)).toBe(true);
    await second.stop();
    const third = await startMeta(dir.path, NO_REPAIRS);
    await data[3]!.restart(third.address);
    await until(() => data[3]!.held.size === 0);
    await third.stop();
  });
});
