// What one transaction does is bounded, whatever a client has let pile up: while it runs nobody else is answered.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { blockId, inodeId, ROOT_INODE, type InodeId } from "../../../../src/base/ids.ts";
import { MAX_PARTS_WALKED } from "../../../../src/base/limits.ts";
import * as content from "../../../../src/protocol/messages/content.ts";
import * as names from "../../../../src/protocol/messages/namespace.ts";
import * as operations from "../../../../src/server/meta/namespace/operations.ts";
import { lockSet } from "../../../../src/protocol/messages/locks.ts";
import { setLock } from "../../../../src/server/meta/locks/operations.ts";
import { acknowledge, longEnded } from "../../../../src/server/meta/session-operations.ts";
import { Harness, type TestSession } from "./harness.ts";
import { brokenInvariants } from "./invariants.ts";
import {
  bytes,
  commit,
  createDirectory,
  createFile,
  failsWith,
  reserve,
  wholeBlocks,
} from "./support.ts";

let harness: Harness;
let session: TestSession;

beforeEach(async () => {
  harness = new Harness();
  session = await harness.openSession();
});

afterEach(() => {
  try {
    expect(brokenInvariants(harness.store.database, harness.settings)).toEqual([]);
  } finally {
    harness.close();
  }
});

const deadBlocks = (): number => harness.primitives["block.listDead"](blockId(0n), 10_000).length;

async function namelessFiles(count: number, blocks: number): Promise<InodeId[]> {
  const inodes: InodeId[] = [];
  for (let made = 0; made < count; made++) {
    const birth = { mode: 0o600, uid: 1, gid: 2, base: 0 };
    const { attributes } = await session.change(content.nameless, operations.nameless, birth);
    await commit(session, wholeBlocks(attributes.inode, await reserve(session, blocks)));
    inodes.push(attributes.inode);
  }
  return inodes;
}

// Each file of up to 16 extents was removed at once: 1,024 of them that one message released took 0.4 s, the end of a
// session with 512 0.3 s.
describe("of open files without a name one operation removes so much and leaves the rest to the reaper", () => {
  test("when it releases many", async () => {
    const inodes = await namelessFiles(40, 10);
    await session.ask(operations.release, { inodes });
    expect(deadBlocks()).toBeWithin(100, 257);
    await harness.reclaimAll(100);
    expect(deadBlocks()).toBe(400);
    expect(harness.primitives["figures.inodes"]()).toBe(1);
  });

  test("when a session ends", async () => {
    await namelessFiles(40, 10);
    await session.end();
    expect(deadBlocks()).toBeWithin(100, 257);
    await harness.reclaimAll(100);
    expect(deadBlocks()).toBe(400);
    expect(harness.primitives["figures.inodes"]()).toBe(1);
  });
});

// A million replies that were acknowledged at once held up everybody for 0.4 s.
test("replies that piled up are forgotten in steps", async () => {
  const insert = harness.store.database.prepare("INSERT INTO replies VALUES (?, ?, x'00')");
  harness.store.transaction(() => {
    for (let number = 1n; number <= 10_000n; number++) insert.run(session.id, number * 2n);
  });
  const left = (): number =>
    Number(
      harness.store.database.prepare<{ n: bigint }, []>("SELECT count(*) AS n FROM replies").get()!
        .n,
    );
  const lefts: number[] = [];
  for (let step = 0; step < 4; step++) {
    await harness.run(acknowledge(session.id, 19_000n));
    lefts.push(left());
    expect(brokenInvariants(harness.store.database, harness.settings)).toEqual([]);
  }
  expect(lefts).toEqual([5904, 1808, 500, 500]);
  expect(harness.primitives["session.get"](session.id)?.acknowledged).toBe(19_000n);
});

// A session that ended took everything with it at once: 1 s for a million reservations and as many replies, 8 us for each lock.
test("a session that ends is cleared of replies, locks and reservations in steps", async () => {
  const { database } = harness.store;
  const count = (table: string, where = "1"): number =>
    Number(
      database
        .prepare<{ n: bigint }, []>(`SELECT count(*) AS n FROM ${table} WHERE ${where}`)
        .get()!.n,
    );
  const other = await harness.openSession();
  const inodes: InodeId[] = [];
  for (let made = 0; made < 600; made++) {
    inodes.push((await createFile(session, `f${made}`)).inode);
  }
  const lock = { kind: "posix", type: "exclusive", pid: 1, start: 0, end: 9 } as const;
  const set = (who: TestSession, inode: InodeId, owner: bigint): Promise<{ granted: boolean }> =>
    who.change(lockSet, setLock, { inode, lock: { ...lock, owner }, wait: "queue" });
  for (const inode of inodes) await set(session, inode, 1n);
  for (const inode of inodes.slice(0, 300)) await set(session, inode, 2n); // each in the way of itself
  const last = inodes.at(-1)!;
  expect(await set(other, last, 3n)).toMatchObject({ granted: false });
  await reserve(other, 5);
  for (let made = 0; made < 2500; made++) await reserve(session, 1);
  const insert = database.prepare("INSERT INTO replies VALUES (?, ?, x'00')");
  harness.store.transaction(() => {
    for (let number = 10_000n; number < 17_000n; number++) insert.run(session.id, number);
  });

  const mine = `session = ${session.id}`;
  const left = (): number[] => [
    count("replies", mine),
    count("lock_waits", mine),
    count("locks", mine),
    count("reservations", `${mine} AND ended IS NULL`),
  ];
  const before = left();
  await session.end();
  const endedNs = harness.nowNs;
  const steps = [before, left()];
  while ((await harness.run(operations.endedUncleared())) !== undefined) {
    expect(await harness.run(longEnded("closed", harness.nowNs, 9))).toEqual([]);
    expect(brokenInvariants(database, harness.settings)).toEqual([]);
    await failsWith(createFile(session, "late"), "stale");
    harness.nowNs += 1_000_000n;
    await harness.run(operations.clearStep({ nowNs: harness.nowNs }, session.id));
    steps.push(left());
  }
  for (const [index, [replies, waits, locks, reservations]] of steps.entries()) {
    if (index === 0) continue;
    expect(steps[index - 1]![0]! - replies!).toBeWithin(0, 4097);
    expect(steps[index - 1]![1]! - waits!).toBeWithin(0, 257);
    expect(steps[index - 1]![2]! - locks!).toBeWithin(0, 257);
    expect(steps[index - 1]![3]! - reservations!).toBeWithin(0, 1025);
  }
  expect(steps.at(-1)).toEqual([0, 0, 0, 0]);
  expect(await harness.run(longEnded("closed", harness.nowNs, 9))).toEqual([session.id]);
  expect(await set(other, last, 3n)).toMatchObject({ granted: true });
  expect(count("reservations", `ended = ${endedNs}`)).toBe(2500);
  expect(count("reservations", "ended IS NULL")).toBe(1);
});

// The walk up from a directory 200,000 directories deep held up everybody for 0.3 s.
test("a directory is not moved into one that is deeper than any path leads", async () => {
  const depth = MAX_PARTS_WALKED + 10;
  let parent = ROOT_INODE;
  for (let made = 0; made < depth; made++) {
    const body = { parent, name: bytes("d"), mode: 0o755, uid: 1, gid: 1 };
    parent = (await session.change(names.mkdir, operations.mkdir, body)).attributes.inode;
  }
  const { inode } = await createDirectory(session, "x");
  const move = (from: InodeId, name: string, to: InodeId, newName: string): Promise<unknown> =>
    session.change(names.rename, operations.rename, {
      parent: from,
      name: bytes(name),
      newParent: to,
      newName: bytes(newName),
      how: "replace",
    });
  await failsWith(move(ROOT_INODE, "x", parent, "x"), "nameTooLong");
  const above = harness.primitives["inode.get"](parent)!.parent;
  await move(above, "d", ROOT_INODE, "deepest"); // out of there is always possible
  await move(ROOT_INODE, "x", parent, "x");
  expect(harness.primitives["inode.get"](inode)?.parent).toBe(inodeId(parent));
});
