// What the service remembers of what clients may have cached: for how long, how much, and what is noted of operations.

import { describe, expect, test } from "bun:test";
import { inodeId, sessionId } from "../../../src/base/ids.ts";
import { Changes, watched } from "../../../src/server/meta/changes.ts";
import { Interest, Interests } from "../../../src/server/meta/interests.ts";
import { lookup, mkdir, setattr, unlink } from "../../../src/server/meta/namespace/operations.ts";
import { ROOT_INODE } from "../../../src/base/ids.ts";
import { HandlerTable } from "../../../src/protocol/endpoint.ts";
import {
  entryChanged,
  everythingChanged,
  inodeChanged,
} from "../../../src/protocol/messages/changes.ts";
import { getattr } from "../../../src/protocol/messages/namespace.ts";
import { sessionWatch } from "../../../src/protocol/messages/session.ts";
import { temporaryDirectory } from "./support/durable.ts";
import { ManualClock } from "./support/manual-clock.ts";
import { startMeta, TestClient } from "./support/service.ts";
import { Harness } from "./namespace/harness.ts";
import { bytes, createFile, NO_CHANGE, OWNER } from "./namespace/support.ts";

const file = (id: number) => ({ id: inodeId(BigInt(id)), type: "file" }) as const;
const directory = (id: number) => ({ id: inodeId(BigInt(id)), type: "directory" }) as const;
const never = (): void => {
  throw new Error("there was no overflow to tell of");
};

describe("an interest", () => {
  test("is remembered for the time that the client caches, and told of once", () => {
    const clock = new ManualClock();
    const interest = new Interest(clock, 100, never);
    interest.told(file(1));
    clock.advance(99);
    interest.told(file(2));
    expect(interest.takeInode(inodeId(1n))).toBe(true);
    expect(interest.takeInode(inodeId(1n))).toBe(false);
    clock.advance(99);
    interest.told(file(3));
    expect(interest.takeInode(inodeId(2n))).toBe(true);
  });

  test("is forgotten after that time", () => {
    const clock = new ManualClock();
    const interest = new Interest(clock, 100, never);
    interest.told(directory(1));
    for (let turn = 0; turn < 2; turn++) {
      clock.advance(100);
      interest.told(file(2 + turn));
    }
    expect(interest.hasNamesOf(inodeId(1n))).toBe(false);
    expect(interest.takeInode(inodeId(1n))).toBe(false);
    expect(interest.takeInode(inodeId(3n))).toBe(true);
  });

  test("in names of a directory stays when one was told of; files have no names", () => {
    const interest = new Interest(new ManualClock(), 100, never);
    interest.told(directory(1));
    interest.told(file(2));
    interest.takeInode(inodeId(1n));
    expect(interest.hasNamesOf(inodeId(1n))).toBe(true);
    expect(interest.hasNamesOf(inodeId(2n))).toBe(false);
  });

  test("that grows too large is forgotten whole, which is told", () => {
    let overflows = 0;
    const interest = new Interest(new ManualClock(), 100, () => overflows++, 3);
    for (let id = 1; id <= 3; id++) interest.told(file(id));
    expect(overflows).toBe(0);
    interest.told(file(4));
    expect(overflows).toBe(1);
    expect(interest.takeInode(inodeId(1n))).toBe(false);
    interest.told(file(5));
    expect(interest.takeInode(inodeId(5n))).toBe(true);
  });

  // Sessions with 65,536 inodes each are soon more than the service has memory for: 1,736 of them, opened in 8 s, had 480 MiB.
  test("is forgotten of those with most when there is too much of all together, which is told", () => {
    const interests = new Interests(new ManualClock(), 100);
    const overflows = [0, 0, 0];
    overflows.forEach((_, at) =>
      interests.watch(sessionId(BigInt(at)), 100, () => overflows[at]!++),
    );
    const tell = (session: number, count: number): void => {
      for (let id = 1; id <= count; id++) interests.of(sessionId(BigInt(session)))!.told(file(id));
    };
    tell(0, 20);
    tell(1, 60);
    tell(2, 20);
    expect(overflows).toEqual([0, 0, 0]);
    tell(2, 21);
    expect(overflows).toEqual([0, 1, 0]);
    expect(interests.of(sessionId(1n))!.size).toBe(0);
    interests.of(sessionId(0n))!.takeInode(inodeId(1n));
    tell(1, 60);
    interests.forget(sessionId(2n));
    tell(1, 80);
    expect(overflows).toEqual([0, 1, 0]);
    tell(1, 82);
    expect(overflows).toEqual([0, 2, 0]);
  });

  test("is that of sessions that want to be told, but for who makes the change", () => {
    const interests = new Interests(new ManualClock());
    for (const id of [1n, 2n, 3n]) interests.watch(sessionId(id), 100, never);
    interests.watch(sessionId(3n), 0, never);
    expect([...interests.others(sessionId(1n))].map(([session]) => session)).toEqual([
      sessionId(2n),
    ]);
    interests.forget(sessionId(2n));
    expect([...interests.others(undefined)].map(([session]) => session)).toEqual([sessionId(1n)]);
  });
});

test("a session that is on another connection is told nothing until it asks for it there", async () => {
  using dir = temporaryDirectory();
  const meta = await startMeta(dir.path, {});
  try {
    const handlers = new HandlerTable();
    const told: string[] = [];
    for (const notice of [inodeChanged, entryChanged, everythingChanged])
      handlers.onNotice(notice, () => void told.push(notice.name));
    const first = await TestClient.open(meta.address, handlers);
    const other = await TestClient.open(meta.address);
    await first.ask(sessionWatch, { cacheMs: 60_000 });
    await first.ask(getattr, { inode: ROOT_INODE });
    await other.create("a");
    await first.ask(getattr, { inode: ROOT_INODE });
    expect(told.length).toBeGreaterThan(0);
    first.peer.close("it goes on elsewhere");
    const second = await first.resume(meta.address, [], handlers);
    told.length = 0;
    await second.ask(getattr, { inode: ROOT_INODE });
    await other.create("b");
    await second.ask(getattr, { inode: ROOT_INODE });
    expect(told).toEqual([]);
    for (const { peer } of [second, other]) peer.close("the test is over");
  } finally {
    await meta.stop();
  }
});

test("operations are noted: what they read, what they change, which names", async () => {
  const harness = new Harness();
  const session = await harness.openSession();
  const made = await createFile(session, "f");
  const noted = async (
    start: (context: ReturnType<Harness["context"]>) => Parameters<typeof watched>[0],
  ) => {
    const read = new Set<bigint>();
    const changes = new Changes((inode) => read.add(inode.id));
    await harness.run(watched(start(harness.context(session.id)), changes));
    const entries = changes.entries.map(({ name }) => new TextDecoder().decode(name));
    return { read, inodes: changes.inodes, entries };
  };
  const asked = await noted((context) => lookup(context, { parent: ROOT_INODE, name: bytes("f") }));
  expect(asked.read).toEqual(new Set([ROOT_INODE, made.inode]));
  expect([asked.inodes.size, asked.entries.length]).toEqual([0, 0]);
  const cut = await noted((context) =>
    setattr(context, { ...NO_CHANGE, inode: made.inode, size: 5 }),
  );
  expect(cut.inodes).toEqual(new Map([[made.inode, made.version + 1n]]));
  const added = await noted((context) =>
    mkdir(context, { parent: ROOT_INODE, name: bytes("d"), ...OWNER }),
  );
  expect(added.entries).toEqual(["d"]);
  expect([...added.inodes.keys()]).toEqual([ROOT_INODE]);
  const removed = await noted((context) =>
    unlink(context, { parent: ROOT_INODE, name: bytes("f") }),
  );
  expect(removed.entries).toEqual(["f"]);
  expect(removed.inodes.get(made.inode)).toBe(0n);
  harness.close();
});
