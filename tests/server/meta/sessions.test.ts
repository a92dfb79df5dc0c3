import { describe, expect, test } from "bun:test";
import { systemClock, type Clock } from "../../../src/base/clock.ts";
import { ROOT_INODE, type InodeId } from "../../../src/base/ids.ts";
import { MAX_LINES } from "../../../src/base/limited-lines.ts";
import { lineLogger } from "../../../src/base/logger.ts";
import { HandlerTable } from "../../../src/protocol/endpoint.ts";
import { commit, nameless, reserve } from "../../../src/protocol/messages/content.ts";
import { status } from "../../../src/protocol/messages/cluster.ts";
import { lockGranted, lockSet } from "../../../src/protocol/messages/locks.ts";
import { memberHeartbeat } from "../../../src/protocol/messages/member.ts";
import {
  getattr,
  lookup,
  map,
  open,
  release,
  unlink,
} from "../../../src/protocol/messages/namespace.ts";
import {
  sessionClose,
  sessionHeartbeat,
  sessionOpen,
  sessionResume,
} from "../../../src/protocol/messages/session.ts";
import { Silence } from "../../../src/server/meta/silence.ts";
import { failureOf, temporaryDirectory, turns, until } from "./support/durable.ts";
import { ManualClock } from "./support/manual-clock.ts";
import { connect } from "./support/connecting.ts";
import { startMeta, TestClient, text } from "./support/service.ts";

const TIMEOUT = { timeoutMs: 20_000 };

describe("Silence", () => {
  const make = (clock: Clock) => {
    const silent: [string, number][] = [];
    const silence = new Silence<string>({
      clock,
      tickMs: 10,
      onSilent: (key, ticks) => silent.push([key, ticks]),
    });
    return { silence, silent };
  };

  test("counts ticks since the last sign of life", () => {
    const clock = new ManualClock();
    const { silence, silent } = make(clock);
    silence.heard("a");
    clock.advance(20);
    silence.heard("a");
    clock.advance(10);
    expect(silent).toEqual([
      ["a", 1],
      ["a", 2],
      ["a", 1],
    ]);
    silence.forget("a");
    clock.advance(100);
    expect(silent).toHaveLength(3);
  });

  test("a stall of this process counts as one tick, however long it was", () => {
    const clock = new ManualClock();
    const { silence, silent } = make(clock);
    silence.heard("a");
    clock.stall(100_000);
    expect(silent).toEqual([["a", 1]]);
    clock.advance(10);
    expect(silent.at(-1)).toEqual(["a", 2]);
  });

  test("ticks no more when stopped", () => {
    const clock = new ManualClock();
    const { silence, silent } = make(clock);
    silence.heard("a");
    silence.stop();
    clock.advance(100);
    expect(silent).toEqual([]);
  });
});

describe("sessions", () => {
  test("a request without a session is stale; one of the wrong role is against the protocol", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path);
    const client = await connect(meta.address);
    const data = await connect(meta.address, { role: "data" });
    const ask = { inode: ROOT_INODE };
    expect(await failureOf(client.request(getattr, ask, TIMEOUT))).toMatchObject({ kind: "stale" });
    expect(await failureOf(data.request(getattr, ask, TIMEOUT))).toMatchObject({
      kind: "protocol",
    });
    const beat = { sequence: 1n, capacityBytes: 0, usedBytes: 0, full: false, blocks: 0 };
    expect(await failureOf(client.request(memberHeartbeat, beat, TIMEOUT))).toMatchObject({
      kind: "protocol",
    });
    expect(await failureOf(data.request(memberHeartbeat, beat, TIMEOUT))).toMatchObject({
      kind: "stale",
    });
    expect(await failureOf(data.request(sessionOpen, { label: "" }, TIMEOUT))).toMatchObject({
      kind: "protocol",
    });
    await meta.stop();
  });

  test("open gives each client an id of its own, a lease and the settings", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, { leaseTimeoutMs: 7_000, settings: { replicas: 2 } });
    const peer = await connect(meta.address);
    const { body } = await peer.request(sessionOpen, { label: "one" }, TIMEOUT);
    expect(body.leaseTimeoutMs).toBe(7_000);
    expect(body.settings).toMatchObject({ replicas: 2, writeQuorum: 2, readQuorum: 1 });
    expect(body.settings.cluster.toHex()).toBe(meta.cluster);
    const other = await TestClient.open(meta.address);
    expect(other.session).not.toBe(body.session);
    expect(await failureOf(peer.request(sessionOpen, { label: "two" }, TIMEOUT))).toMatchObject({
      kind: "protocol",
    });
    await meta.stop();
  });

  test("a silent session expires: its operations are stale, what it had open goes", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, { leaseTimeoutMs: 240 });
    const client = await TestClient.open(meta.address);
    const made = await client.change(nameless, { mode: 0o644, uid: 0, gid: 0, base: 0 });
    const watcher = await TestClient.open(meta.address);
    const { inode } = made.attributes;
    await watcher.ask(getattr, { inode });
    await until(async () => {
      await watcher.ask(sessionHeartbeat, { acknowledged: 0n });
      return watcher.ask(getattr, { inode }).then(
        () => false,
        () => true,
      );
    });
    const late = await failureOf(client.change(reserve, { count: 1 }));
    expect(late).toMatchObject({ kind: "stale" });
    const resumed = await failureOf(client.resume(meta.address));
    expect(resumed).toMatchObject({ kind: "stale" });
    await meta.stop();
  });

  // Sessions that a stranger had opened and left gave a line each: 1,689 in a minute.
  test("however many sessions expire, the log has a few lines, whose numbers add up", async () => {
    using dir = temporaryDirectory();
    const lines: string[] = [];
    const logger = lineLogger(systemClock, "meta", (line) => lines.push(line));
    const meta = await startMeta(dir.path, { leaseTimeoutMs: 240, logger });
    for (let number = 0; number < 3 * MAX_LINES; number++) {
      const client = await TestClient.open(meta.address);
      client.peer.close("left");
    }
    const watcher = await TestClient.open(meta.address);
    await until(async () => (await watcher.ask(status, {})).sessions === 1);
    await meta.stop();
    const expired = lines.filter((line) => line.includes("expired"));
    expect(expired).toHaveLength(MAX_LINES + 1);
    expect(expired[0]).toMatch(/info {2}meta: session \d+ has expired: not heard of for 240 ms/);
    expect(expired.at(-1)).toMatch(
      new RegExp(`: ${2 * MAX_LINES} more sessions have expired in the last \\d+ s: not heard of`),
    );
  });

  test("heartbeats keep a session alive, and so does any request", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, { leaseTimeoutMs: 600 });
    const [one, other] = [await TestClient.open(meta.address), await TestClient.open(meta.address)];
    const endMs = performance.now() + 1_500;
    while (performance.now() < endMs) {
      await one.ask(sessionHeartbeat, { acknowledged: 0n });
      await other.ask(getattr, { inode: ROOT_INODE });
      await Bun.sleep(30);
    }
    await one.create("a");
    await other.create("b");
    await meta.stop();
  });

  test("a session goes on over one connection only: the former one is cut off", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path);
    const client = await TestClient.open(meta.address);
    const resumed = await client.resume(meta.address);
    await client.peer.closed;
    expect(client.peer.open).toBe(false);
    await resumed.create("a");
    await meta.stop();
  });

  test("the token is asked for", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path);
    const client = await TestClient.open(meta.address);
    const peer = await connect(meta.address);
    const { session, token } = client;
    const wrong = { session, token: token + 1n, open: [] };
    expect(await failureOf(peer.request(sessionResume, wrong, TIMEOUT))).toMatchObject({
      kind: "wrongPeer",
    });
    await client.create("a");
    await meta.stop();
  });

  test("close gives up what was open, at once", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path);
    const client = await TestClient.open(meta.address);
    const made = await client.change(nameless, { mode: 0o644, uid: 0, gid: 0, base: 0 });
    await client.ask(sessionClose, {});
    const other = await TestClient.open(meta.address);
    const { inode } = made.attributes;
    expect(await failureOf(other.ask(getattr, { inode }))).toMatchObject({ kind: "stale" });
    expect(await failureOf(client.ask(getattr, { inode }))).toMatchObject({ kind: "stale" });
    expect((await other.ask(status, {})).sessions).toBe(1);
    await meta.stop();
  });

  test("an open file without a name stays until it is released, across a restart", async () => {
    using dir = temporaryDirectory();
    const first = await startMeta(dir.path);
    const client = await TestClient.open(first.address);
    const { inode } = (await client.create("f")).attributes;
    await client.ask(open, { start: inode, path: text(""), limit: 1 });
    await client.change(unlink, { parent: ROOT_INODE, name: text("f") });
    await first.stop();

    const second = await startMeta(dir.path);
    const resumed = await client.resume(second.address, [inode]);
    expect((await resumed.ask(getattr, { inode })).attributes.nlink).toBe(0);
    await resumed.ask(release, { inodes: [inode] });
    await until(() =>
      resumed.ask(getattr, { inode }).then(
        () => false,
        () => true,
      ),
    );
    await second.stop();
  });

  test("after a restart, what another client unlinks waits for the sessions that may have it open", async () => {
    using dir = temporaryDirectory();
    const first = await startMeta(dir.path);
    const client = await TestClient.open(first.address);
    const other = await TestClient.open(first.address);
    const { inode } = (await client.create("f")).attributes;
    await first.stop();

    // The record of the client's open was lost in a power cut: the service knows nothing of it.
    const second = await startMeta(dir.path);
    const remover = await other.resume(second.address);
    await remover.change(unlink, { parent: ROOT_INODE, name: text("f") });
    await turns(200);
    const resumed = await client.resume(second.address, [inode]);
    expect((await resumed.ask(getattr, { inode })).attributes).toMatchObject({ inode, nlink: 0 });
    await resumed.ask(map, { inode, offset: 0, length: 1, limit: 1 });
    await resumed.ask(release, { inodes: [inode] });
    await until(() =>
      remover.ask(getattr, { inode }).then(
        () => false,
        () => true,
      ),
    );
    await second.stop();
  });

  test("after a restart, leases begin anew, and those who do not come back expire", async () => {
    using dir = temporaryDirectory();
    const first = await startMeta(dir.path);
    const gone = await TestClient.open(first.address);
    const made = await gone.change(nameless, { mode: 0o644, uid: 0, gid: 0, base: 0 });
    await first.stop();
    const second = await startMeta(dir.path, { leaseTimeoutMs: 300 });
    const client = await TestClient.open(second.address);
    const { inode } = made.attributes;
    expect((await client.ask(getattr, { inode })).attributes.nlink).toBe(0);
    await until(async () => {
      const live = (await client.ask(status, {})).sessions;
      return live === 1;
    });
    await until(() =>
      client.ask(getattr, { inode }).then(
        () => false,
        () => true,
      ),
    );
    await second.stop();
  });

  test("blocks of an ended session cannot be committed", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path);
    const client = await TestClient.open(meta.address);
    const { first } = await client.change(reserve, { count: 1 });
    await client.ask(sessionClose, {});
    const other = await TestClient.open(meta.address);
    const { inode } = (await other.create("f")).attributes;
    const block = {
      block: first,
      length: 1,
      checksum: 1n,
      group: 0,
      servers: [],
      incarnations: null,
    };
    const failure = await failureOf(
      other.change(commit, {
        inode,
        blocks: [block],
        extents: [{ offset: 0, length: 1, block: first, blockOffset: 0 }],
        size: null,
        mtimeNs: null,
        expectedSize: null,
      }),
    );
    expect(failure).toMatchObject({ kind: "stale" });
    await meta.stop();
  });

  test("of locks that go after the end of their session, who waits for one is told", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path);
    const holder = await TestClient.open(meta.address);
    const handlers = new HandlerTable();
    const granted: bigint[] = [];
    handlers.onNotice(lockGranted, ({ inode }) => void granted.push(inode));
    const waiter = await TestClient.open(meta.address, handlers);
    const lock = { kind: "posix", type: "exclusive", owner: 1n, pid: 1, start: 0, end: 9 } as const;
    const files: bigint[] = [];
    for (let made = 0; made < 600; made += 100) {
      const hundred = Array.from({ length: 100 }, (_, index) => holder.create(`f${made + index}`));
      const inodes = (await Promise.all(hundred)).map(({ attributes }) => attributes.inode);
      const lockOne = (inode: InodeId): Promise<unknown> =>
        holder.change(lockSet, { inode, lock, wait: "no" });
      await Promise.all(inodes.map(lockOne));
      await waiter.change(lockSet, { inode: inodes[99]!, lock, wait: "queue" });
      files.push(...inodes);
    }
    await holder.ask(sessionClose, {});
    await until(() => granted.length === 6);
    expect(granted).toEqual([99, 199, 299, 399, 499, 599].map((index) => files[index]!));
    await meta.stop();
  });

  test("a heartbeat forgets the replies that the client has seen", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path);
    const client = await TestClient.open(meta.address);
    await client.create("a");
    await client.ask(sessionHeartbeat, { acknowledged: 1n });
    const again = failureOf(client.change(reserve, { count: 1 }, 1n));
    expect(await again).toMatchObject({ kind: "outcomeUnknown" });
    const found = await client.ask(lookup, { parent: ROOT_INODE, name: text("a") });
    expect(found.attributes.type).toBe("file");
    await meta.stop();
  });
});
