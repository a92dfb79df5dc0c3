// What metadata gives up is deleted on data servers and forgotten; what they hold is compared with the record.

import { describe, expect, test } from "bun:test";
import { blockId, ROOT_INODE, type BlockId } from "../../../src/base/ids.ts";
import {
  explain,
  holdings,
  reportReplica,
  status,
} from "../../../src/protocol/messages/cluster.ts";
import { nameless, reserve } from "../../../src/protocol/messages/content.ts";
import { memberRotten } from "../../../src/protocol/messages/member.ts";
import { open, release, unlink } from "../../../src/protocol/messages/namespace.ts";
import { sessionClose, sessionHeartbeat } from "../../../src/protocol/messages/session.ts";
import { diskSync, type SyncFile } from "../../../src/server/meta/wal-sync.ts";
import { failureOf, temporaryDirectory, turns, until } from "./support/durable.ts";
import { connect } from "./support/connecting.ts";
import { TestDataServer } from "./support/data-server.ts";
import { blockBytes, startMeta, TestClient, text } from "./support/service.ts";

const GRACE_MS = 1_000;

const SETTINGS = { settings: { blockSize: 8 } };

/** Nothing is copied, so that what is on record stays to be seen. */
const NO_REPAIRS = { ...SETTINGS, copiesPerServer: 0 };

async function joinAll(address: string, count: number): Promise<TestDataServer[]> {
  const joined: TestDataServer[] = [];
  for (let index = 0; index < count; index++) joined.push(await TestDataServer.join(address));
  return joined;
}

/** Syncs that the test can hold up. */
class SyncGate {
  private held: (() => void)[] | undefined;

  readonly sync: SyncFile = (descriptor, done) => {
    const go = (): void => diskSync(descriptor, done);
    if (this.held === undefined) go();
    else this.held.push(go);
  };

  get waiting(): number {
    return this.held?.length ?? 0;
  }

  close(): void {
    this.held = [];
  }

  open(): void {
    const held = this.held ?? [];
    this.held = undefined;
    for (const go of held) go();
  }
}

const figures = (client: TestClient) => client.ask(status, {});

/** Servers and states of the copies of a file's blocks, as in "1:present 2:bad". */
async function copies(client: TestClient, inode: TestFile["inode"]): Promise<string[]> {
  const { rows } = await client.ask(explain, { inode, offset: 0, limit: 100 });
  return rows.map((row) =>
    row.replicas
      .map((each) => `${each.server}:${each.state}`)
      .sort()
      .join(" "),
  );
}

type TestFile = Awaited<ReturnType<TestClient["put"]>>;

describe("the reaper", () => {
  test("deletes the blocks of a removed file on every server that has them, then forgets them", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NO_REPAIRS);
    const data = await joinAll(meta.address, 4);
    const client = await TestClient.open(meta.address);
    const kept = await client.put("kept", data.slice(0, 3), 3);
    const { blocks } = await client.put("gone", data.slice(1), 700);
    await client.change(unlink, { parent: ROOT_INODE, name: text("gone") });
    await until(() => data.slice(1).every((server) => server.deleted.length === 700));
    await until(async () => (await figures(client)).deadBlocks === 0);
    expect(new Set(data[1]!.deleted)).toEqual(new Set(blocks));
    expect(data[0]!.held.size).toBe(3);
    expect(kept.blocks.every((block) => data[1]!.held.has(block))).toBe(true);
    for (const { commands } of data) {
      expect(commands).toEqual(commands.toSorted((a, b) => (a < b ? -1 : 1)));
    }
    await meta.stop();
  });

  test("a server that was down deletes what died meanwhile when it is back, also after a restart of the service", async () => {
    using dir = temporaryDirectory();
    const first = await startMeta(dir.path, SETTINGS);
    const data = await joinAll(first.address, 3);
    const client = await TestClient.open(first.address);
    await client.put("gone", data, 5);
    await data[2]!.kill();
    await client.change(unlink, { parent: ROOT_INODE, name: text("gone") });
    await until(() => data.slice(0, 2).every((server) => server.deleted.length === 5));
    expect((await figures(client)).deadBlocks).toBe(5);
    await first.stop();

    const second = await startMeta(dir.path);
    const resumed = await client.resume(second.address);
    await data[2]!.restart(second.address);
    await until(() => data[2]!.deleted.length === 5);
    await until(async () => (await figures(resumed)).deadBlocks === 0);
    await second.stop();
  });

  test("keeps what an open file without a name consists of", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, SETTINGS);
    const data = await joinAll(meta.address, 3);
    const client = await TestClient.open(meta.address);
    const { inode, blocks } = await client.put("f", data, 2);
    await client.ask(open, { start: inode, path: text(""), limit: 10 });
    await client.change(unlink, { parent: ROOT_INODE, name: text("f") });
    // Another file is removed later and collected, so the reaper has been by.
    const other = await client.put("other", data, 1);
    await client.change(unlink, { parent: ROOT_INODE, name: text("other") });
    await until(() => data[0]!.deleted.includes(other.blocks[0]!));
    expect(blocks.every((block) => data[0]!.held.has(block))).toBe(true);
    await client.ask(sessionClose, {});
    await until(() => data.every((server) => server.held.size === 0));
    await meta.stop();
  });

  test("closes what a session with many open files has left open when it ended", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, SETTINGS);
    const data = await joinAll(meta.address, 3);
    const client = await TestClient.open(meta.address);
    const birth = { mode: 0o600, uid: 1, gid: 2, base: 0 };
    const open1 = (): Promise<unknown> => client.change(nameless, birth);
    for (let made = 0; made < 600; made += 100) {
      await Promise.all(Array.from({ length: 100 }, open1));
    }
    const { inode } = await client.put("f", data, 2);
    await client.ask(open, { start: inode, path: text(""), limit: 10 });
    await client.change(unlink, { parent: ROOT_INODE, name: text("f") });
    await client.ask(sessionClose, {});
    await until(() => data.every((server) => server.held.size === 0));
    await meta.stop();
  });

  test("deletes nothing before it is durable that it was given up", async () => {
    using dir = temporaryDirectory();
    const gate = new SyncGate();
    const meta = await startMeta(dir.path, { ...SETTINGS, syncFile: gate.sync });
    const data = await joinAll(meta.address, 3);
    const client = await TestClient.open(meta.address);
    const { inode } = await client.put("f", data, 2);
    await client.ask(open, { start: inode, path: text(""), limit: 10 });
    await client.change(unlink, { parent: ROOT_INODE, name: text("f") });
    gate.close();
    await client.ask(release, { inodes: [inode] }); // written, but not waited for
    await until(() => gate.waiting > 0);
    await turns(200);
    expect(data.map((server) => server.deleted.length)).toEqual([0, 0, 0]);
    gate.open();
    await until(() => data.every((server) => server.deleted.length === 2));
    await meta.stop();
  });

  test("collects what an ended session reserved and stored but did not commit, after the grace period", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, { ...SETTINGS, graceMs: GRACE_MS });
    const data = await joinAll(meta.address, 3);
    await data[2]!.kill();
    const client = await TestClient.open(meta.address);
    const kept = await client.put("kept", data.slice(0, 2), 2);
    const { first } = await client.change(reserve, { count: 4 });
    const stored = [0n, 1n, 2n].map((step) => blockId(first + step));
    for (const id of stored) for (const server of data) server.store(id, blockBytes(id));
    const endedMs = performance.now();
    await client.ask(sessionClose, {});
    await turns(200);
    if (performance.now() - endedMs < GRACE_MS) expect(data[0]!.deleted).toEqual([]);
    await until(() => data.slice(0, 2).every((server) => server.deleted.length === 3));
    expect(data[0]!.held.size).toBe(kept.blocks.length);
    expect(data[2]!.held.size).toBe(3);
    await data[2]!.restart(meta.address); // it was away while they were collected
    await until(() => stored.every((id) => !data[2]!.held.has(id)));
    await meta.stop();
  });

  // What four reservations left for servers that were away was put on record in one transaction: for 16,384 blocks on four
  // servers others waited for 0.15 s, and with more servers for longer.
  test("puts what many servers have to delete on record in steps", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, { ...SETTINGS, graceMs: 1 });
    const data = await joinAll(meta.address, 3);
    for (const server of data.slice(1)) await server.kill();
    const client = await TestClient.open(meta.address);
    const watcher = await TestClient.open(meta.address);
    const position = async (): Promise<number> =>
      Number((await watcher.ask(sessionHeartbeat, { acknowledged: 0n })).lsn);
    const firsts: BlockId[] = [];
    for (const count of [4096, 3000, 5]) {
      firsts.push((await client.change(reserve, { count })).first);
    }
    const before = await position();
    const lasts = [4095n, 2999n, 4n].map((step, index) => blockId(firsts[index]! + step));
    for (const id of [...firsts, ...lasts]) {
      for (const server of data) server.store(id, blockBytes(id));
    }
    await client.ask(sessionClose, {});
    // For each of two servers 4, 3 and 1 steps of 1,024 copies at most.
    await until(async () => (await position()) - before > 2 * (4 + 3 + 1));
    await data[1]!.restart(meta.address);
    await data[2]!.restart(meta.address);
    await until(() => data.every((server) => server.held.size === 0));
    await meta.stop();
  });

  test("what a living session has reserved is left alone", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, SETTINGS);
    const data = await joinAll(meta.address, 3);
    const client = await TestClient.open(meta.address);
    const { first } = await client.change(reserve, { count: 4 });
    data[0]!.store(first, blockBytes(first));
    await data[0]!.kill();
    await data[0]!.restart(meta.address);
    const { blocks } = await client.put("f", data, 1);
    await client.change(unlink, { parent: ROOT_INODE, name: text("f") });
    await until(() => data[0]!.deleted.includes(blocks[0]!));
    expect(data[0]!.held.has(first)).toBe(true);
    await meta.stop();
  });
});

describe("comparing a data server with the record", () => {
  test("copies that it has lost go on record as bad and as missing", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NO_REPAIRS);
    const data = await joinAll(meta.address, 3);
    const client = await TestClient.open(meta.address);
    const file = await client.put("f", data, 3);
    await data[0]!.kill();
    data[0]!.held.delete(file.blocks[1]!);
    await data[0]!.restart(meta.address);
    await until(async () => (await figures(client)).missingCopies === 1);
    expect(await copies(client, file.inode)).toEqual([
      "1:present 2:present 3:present",
      "1:bad 2:present 3:present",
      "1:present 2:present 3:present",
    ]);
    expect((await figures(client)).blocksByCopies).toEqual([0, 0, 1, 2]);
    await meta.stop();
  });

  test("a copy with other bytes than those committed is bad", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NO_REPAIRS);
    const data = await joinAll(meta.address, 3);
    const client = await TestClient.open(meta.address);
    const file = await client.put("f", data, 1);
    await data[1]!.kill();
    data[1]!.store(file.blocks[0]!, new Uint8Array([255]));
    await data[1]!.restart(meta.address);
    await until(async () => (await figures(client)).missingCopies === 1);
    expect(await copies(client, file.inode)).toEqual(["1:present 2:bad 3:present"]);
    expect(data[1]!.held.size).toBe(1);
    await meta.stop();
  });

  // A server that answered with the same page for ever was compared for ever; one that had "more" and told nothing had all its
  // copies taken for lost.
  test("ends with a server that lists what cannot be a page, and nothing is taken for lost", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NO_REPAIRS);
    const data = await joinAll(meta.address, 3);
    const client = await TestClient.open(meta.address);
    const file = await client.put("f", data, 3);
    const odd: (typeof data)[0]["listed"][] = [
      ({ blocks }) => ({ blocks, more: true }), // the first blocks again, whatever is asked for
      () => ({ blocks: [], more: true }),
      ({ blocks }) => ({ blocks: blocks.toReversed(), more: false }),
    ];
    const [first] = data;
    for (const [index, listed] of odd.entries()) {
      await first!.kill();
      const all = [...first!.held].map(([block, held]) => ({ block, ...held }));
      first!.listed = (page) => listed(index === 0 ? { ...page, blocks: all } : page);
      await first!.restart(meta.address);
      await until(() => first!.peer?.open !== true);
    }
    first!.listed = (page) => page;
    await first!.restart(meta.address);
    await until(async () => !(await client.ask(holdings, { server: first!.id })).judging);
    expect(await copies(client, file.inode)).toEqual(
      file.blocks.map(() => "1:present 2:present 3:present"),
    );
    await meta.stop();
  });

  test("a late copy of a live block is recorded, and makes up for one that was missing", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NO_REPAIRS);
    const data = await joinAll(meta.address, 3);
    const client = await TestClient.open(meta.address);
    const file = await client.put("f", data.slice(0, 2), 1);
    expect((await figures(client)).missingCopies).toBe(1);
    await data[2]!.kill();
    data[2]!.store(file.blocks[0]!, blockBytes(file.blocks[0]!));
    await data[2]!.restart(meta.address);
    await until(async () => (await figures(client)).missingCopies === 0);
    expect(await copies(client, file.inode)).toEqual(["1:present 2:present 3:present"]);
    await meta.stop();
  });

  test("a copy of a block that is dead elsewhere is deleted; one that nobody knows is left", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NO_REPAIRS);
    const data = await joinAll(meta.address, 3);
    const client = await TestClient.open(meta.address);
    const file = await client.put("f", data.slice(0, 2), 1);
    await data[1]!.kill(); // so that the block stays dead for now
    await client.change(unlink, { parent: ROOT_INODE, name: text("f") });
    await until(() => data[0]!.deleted.length === 1);
    await data[2]!.kill();
    const unknown = 999_999n as BlockId;
    for (const id of [file.blocks[0]!, unknown]) data[2]!.store(id, blockBytes(id));
    await data[2]!.restart(meta.address);
    await until(() => data[2]!.deleted.length === 1);
    expect(data[2]!.deleted).toEqual([file.blocks[0]!]);
    await turns(200);
    expect([...data[2]!.held.keys()]).toEqual([unknown]);
    await meta.stop();
  });

  test("goes through more than one page on both sides", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NO_REPAIRS);
    const data = await joinAll(meta.address, 3);
    const client = await TestClient.open(meta.address);
    for (let file = 0; file < 3; file++) await client.put(`f-${file}`, data, 2_000);
    await data[0]!.kill();
    const lost = [...data[0]!.held.keys()].filter((id) => id % 3n === 0n);
    for (const id of lost) data[0]!.held.delete(id);
    await data[0]!.restart(meta.address);
    await until(async () => (await figures(client)).missingCopies === lost.length);
    expect((await figures(client)).blocksByCopies).toEqual([
      0,
      0,
      lost.length,
      6_000 - lost.length,
    ]);
    await meta.stop();
  }, 20_000);
});

describe("a report of a bad copy", () => {
  const report = (client: TestClient, block: BlockId, server: TestDataServer) =>
    client.ask(reportReplica, { block, server: server.id, problem: "badChecksum", detail: "" });

  test("of one that is right changes nothing, and of a block that nobody knows neither", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NO_REPAIRS);
    const data = await joinAll(meta.address, 3);
    const client = await TestClient.open(meta.address);
    const file = await client.put("f", data, 1);
    await report(client, file.blocks[0]!, data[0]!);
    await report(client, blockId(77_777n), data[0]!);
    await until(async () => data[0]!.verified.includes(file.blocks[0]!));
    await until(async () => (await figures(client)).repair?.suspects === 0);
    expect(await copies(client, file.inode)).toEqual(["1:present 2:present 3:present"]);
    expect((await figures(client)).missingCopies).toBe(0);
    await meta.stop();
  });

  test("of one that its own server finds rotten marks it bad, and it stays where it is", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NO_REPAIRS);
    const data = await joinAll(meta.address, 3);
    const client = await TestClient.open(meta.address);
    const file = await client.put("f", data, 2);
    data[0]!.rotten.add(file.blocks[0]!);
    for (let twice = 0; twice < 2; twice++) await report(client, file.blocks[0]!, data[0]!);
    await until(async () => (await figures(client)).missingCopies === 1);
    expect(await copies(client, file.inode)).toEqual([
      "1:bad 2:present 3:present",
      "1:present 2:present 3:present",
    ]);
    expect(data[0]!.deleted).toEqual([]);
    await meta.stop();
  });
});

describe("what a server tells of rotten copies of its own", () => {
  const TIMEOUT = { timeoutMs: 20_000 };

  test("makes them bad and puts them on record for repair, however often it is told", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, NO_REPAIRS);
    const data = await joinAll(meta.address, 3);
    const client = await TestClient.open(meta.address);
    const file = await client.put("f", data, 3);
    const blocks = [file.blocks[0]!, file.blocks[2]!, blockId(77_777n)];
    for (const marked of [2, 0]) {
      const { body } = await data[1]!.peer!.request(memberRotten, { blocks }, TIMEOUT);
      expect(body).toEqual({ marked });
      expect((await figures(client)).missingCopies).toBe(2);
    }
    expect(await copies(client, file.inode)).toEqual([
      "1:present 2:bad 3:present",
      "1:present 2:present 3:present",
      "1:present 2:bad 3:present",
    ]);
    expect(data[1]!.deleted).toEqual([]);
    await meta.stop();
  });

  test("has them replaced at once", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, SETTINGS);
    const data = await joinAll(meta.address, 3);
    const client = await TestClient.open(meta.address);
    const file = await client.put("f", data, 2);
    const blocks = [...file.blocks];
    for (const block of blocks) data[1]!.rotten.add(block);
    await data[1]!.peer!.request(memberRotten, { blocks }, TIMEOUT);
    await until(() => blocks.every((block) => data[1]!.copied.includes(block)));
    await until(async () => (await figures(client)).missingCopies === 0);
    const right = "1:present 2:present 3:present";
    expect(await copies(client, file.inode)).toEqual([right, right]);
    await meta.stop();
  });

  test("is not taken from a connection on which no server has registered", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, SETTINGS);
    const stranger = await connect(meta.address, { role: "data", label: "stranger" });
    const asked = stranger.request(memberRotten, { blocks: [blockId(1n)] }, TIMEOUT);
    expect(await failureOf(asked)).toMatchObject({ kind: "stale" });
    const client = await TestClient.open(meta.address);
    const other = client.peer.request(memberRotten, { blocks: [blockId(1n)] }, TIMEOUT);
    expect(await failureOf(other)).toMatchObject({ kind: "protocol" });
    await meta.stop();
  });
});
