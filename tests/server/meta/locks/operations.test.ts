// Locks over the store: who is in whose way, who is granted what when a lock goes, circles of waiters, the ends of sessions.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { InodeId } from "../../../../src/base/ids.ts";
import { inodeId } from "../../../../src/base/ids.ts";
import {
  MAX_FILE_BYTES,
  MAX_LOCK_WAITS_PER_FILE,
  MAX_LOCKS_PER_FILE,
} from "../../../../src/base/limits.ts";
import { seededRandom, systemRandom } from "../../../../src/base/random.ts";
import * as messages from "../../../../src/protocol/messages/locks.ts";
import type { FileLock } from "../../../../src/protocol/messages/locks.ts";
import { getLock, releaseLocks, setLock } from "../../../../src/server/meta/locks/operations.ts";
import {
  clearStep,
  endedUncleared,
  release,
} from "../../../../src/server/meta/namespace/operations.ts";
import type { Lock } from "../../../../src/server/meta/store/rows.ts";
import { Harness, type TestSession } from "../namespace/harness.ts";
import { brokenInvariants } from "../namespace/invariants.ts";
import { createFile, failsWith } from "../namespace/support.ts";

let harness: Harness;
let one: TestSession;
let other: TestSession;
let inode: InodeId;
beforeEach(async () => {
  harness = new Harness();
  one = await harness.openSession();
  other = await harness.openSession();
  inode = (await createFile(one, "f", { open: true })).inode;
});
afterEach(() => {
  expect(brokenInvariants(harness.store.database, harness.settings)).toEqual([]);
  harness.close();
});

const lockOf = (
  type: FileLock["type"],
  start: number,
  end: number,
  owner = 1n,
  kind: FileLock["kind"] = "posix",
): FileLock => ({ kind, type, owner, pid: 42, start, end });

type Wait = "no" | "queue" | "giveUp";
async function set(
  session: TestSession,
  lock: FileLock,
  wait: Wait = "no",
  file: InodeId = inode,
): Promise<boolean> {
  const body = { inode: file, lock, wait };
  return (await session.change(messages.lockSet, setLock, body)).granted;
}

/** What is held, as text: session/owner type start-end. */
function held(kind: FileLock["kind"] = "posix", file: InodeId = inode): string[] {
  return harness.primitives["lock.list"](file, kind).map(
    ({ session, owner, type, start, end }) => `${session}/${owner} ${type} ${start}-${end}`,
  );
}

describe("a lock", () => {
  test("keeps others out where they overlap, and tells who is in the way", async () => {
    expect(await set(one, lockOf("exclusive", 10, 19))).toBe(true);
    expect(await set(other, lockOf("shared", 19, 30))).toBe(false);
    expect(await set(other, lockOf("shared", 20, 30))).toBe(true);
    const { conflict } = await other.ask(getLock, { inode, lock: lockOf("shared", 0, 100) });
    expect(conflict).toEqual(lockOf("exclusive", 10, 19));
    const free = await other.ask(getLock, { inode, lock: lockOf("shared", 0, 9) });
    expect(free.conflict).toBeNull();
    const own = await one.ask(getLock, { inode, lock: lockOf("exclusive", 10, 19) });
    expect(own.conflict).toBeNull();
  });

  test("owners of one session keep one another out as well; the kinds do not", async () => {
    await set(one, lockOf("exclusive", 0, 9, 1n));
    expect(await set(one, lockOf("exclusive", 0, 9, 2n))).toBe(false);
    expect(await set(one, lockOf("exclusive", 0, MAX_FILE_BYTES, 2n, "flock"))).toBe(true);
    expect(held("flock")).toEqual([`${one.id}/2 exclusive 0-${MAX_FILE_BYTES}`]);
  });

  test("is split, changed and joined by its owner; a part is given up though others are in the way of it", async () => {
    await set(one, lockOf("shared", 0, 99));
    await set(other, lockOf("shared", 0, 99));
    expect(await set(one, lockOf("exclusive", 10, 19))).toBe(false);
    await set(other, lockOf("none", 0, 49));
    expect(await set(one, lockOf("exclusive", 10, 19))).toBe(true);
    expect(await set(one, lockOf("none", 90, 99))).toBe(true);
    expect(held()).toEqual([
      `${one.id}/1 shared 0-9`,
      `${one.id}/1 exclusive 10-19`,
      `${one.id}/1 shared 20-89`,
      `${other.id}/1 shared 50-99`,
    ]);
    expect(await set(one, lockOf("shared", 10, 19))).toBe(true);
    expect(held()[0]).toBe(`${one.id}/1 shared 0-89`);
  });

  test("is refused for ranges that cannot be and for what is gone", async () => {
    await failsWith(set(one, lockOf("shared", 5, 4)), "invalid");
    await failsWith(set(one, lockOf("shared", 0, 4), "no", inodeId(99n)), "stale");
  });
});

describe("who waits", () => {
  test("is granted in the order of asking, when the way is free", async () => {
    await set(one, lockOf("exclusive", 0, 9));
    expect(await set(other, lockOf("exclusive", 0, 9, 2n), "queue")).toBe(false);
    expect(await set(other, lockOf("exclusive", 0, 9, 3n), "queue")).toBe(false);
    expect(await set(other, lockOf("exclusive", 0, 9, 2n), "queue")).toBe(false); // keeps its place
    await set(one, lockOf("none", 0, 9));
    expect(held()).toEqual([`${other.id}/2 exclusive 0-9`]);
    expect(await set(other, lockOf("exclusive", 0, 9, 2n), "queue")).toBe(true);
    await other.change(messages.lockRelease, releaseLocks, { inode, kind: "posix", owner: 2n });
    expect(held()).toEqual([`${other.id}/3 exclusive 0-9`]);
    expect(harness.primitives["lockWait.list"](inode, "posix")).toEqual([]);
  });

  test("several are granted at once when they can share, also by a lock that becomes shared", async () => {
    await set(one, lockOf("exclusive", 0, 9));
    await set(other, lockOf("shared", 0, 4, 2n), "queue");
    await set(other, lockOf("exclusive", 5, 9, 3n), "queue");
    await set(other, lockOf("shared", 0, 9, 4n), "queue");
    await set(one, lockOf("shared", 0, 9));
    expect(held()).toEqual([
      `${one.id}/1 shared 0-9`,
      `${other.id}/2 shared 0-4`,
      `${other.id}/4 shared 0-9`,
    ]);
  });

  test("and gives up waits no more; had it been granted, it is told so", async () => {
    await set(one, lockOf("exclusive", 0, 9));
    await set(other, lockOf("exclusive", 0, 9), "queue");
    expect(await set(other, lockOf("exclusive", 0, 9), "giveUp")).toBe(false);
    await set(other, lockOf("shared", 0, 9), "queue");
    await set(one, lockOf("none", 0, 9));
    expect(await set(other, lockOf("shared", 0, 9), "giveUp")).toBe(true);
    expect(held()).toEqual([`${other.id}/1 shared 0-9`]);
  });

  test("for one who waits for him is told of the circle, also over several files and owners", async () => {
    const second = (await createFile(one, "g")).inode;
    const third = (await createFile(one, "h")).inode;
    const all = lockOf("exclusive", 0, 9);
    const third1 = { ...all, owner: 3n };
    await set(one, all, "no", inode);
    await set(other, all, "no", second);
    await set(one, third1, "no", third);
    expect(await set(one, all, "queue", second)).toBe(false);
    expect(await set(other, all, "queue", third)).toBe(false);
    await failsWith(set(one, third1, "queue", inode), "wouldDeadlock");
    await set(other, all, "giveUp", third);
    expect(await set(one, third1, "queue", inode)).toBe(false);
  });

  test("flock knows no circles", async () => {
    const second = (await createFile(one, "g")).inode;
    const whole = lockOf("exclusive", 0, MAX_FILE_BYTES, 1n, "flock");
    await set(one, whole, "no", inode);
    await set(other, whole, "no", second);
    expect(await set(one, whole, "queue", second)).toBe(false);
    expect(await set(other, whole, "queue", inode)).toBe(false);
  });
});

describe("the end", () => {
  test("of a session gives up its locks and waits, and grants what others wait for", async () => {
    await set(one, lockOf("exclusive", 0, 9));
    await set(one, lockOf("exclusive", 0, 9, 1n, "flock"));
    await set(other, lockOf("shared", 0, 4), "queue");
    await set(other, lockOf("exclusive", 20, 29));
    await set(one, lockOf("exclusive", 20, 24, 2n), "queue");
    await one.end();
    expect(held()).toEqual([`${other.id}/1 shared 0-4`, `${other.id}/1 exclusive 20-29`]);
    expect(held("flock")).toEqual([]);
    expect(harness.primitives["lockWait.list"](inode, "posix")).toEqual([]);
  });

  test("of a session's last open of a file gives up its locks of it", async () => {
    await set(one, lockOf("exclusive", 0, 9));
    await set(other, lockOf("exclusive", 0, 9), "queue");
    await one.ask(release, { inodes: [inode] });
    expect(held()).toEqual([`${other.id}/1 exclusive 0-9`]);
  });

  // Waits of an ended session go in steps. Those that were left were granted what others gave up, and were found in circles.
  test("of a session with very many waits leaves none that is granted anything, or that others are in a circle with", async () => {
    const second = (await createFile(one, "g")).inode;
    const all = lockOf("exclusive", 0, 9);
    await set(other, all);
    for (let owner = 1n; owner <= 600n; owner++) await set(one, { ...all, owner }, "queue");
    await set(one, { ...all, owner: 600n }, "no", second);
    const third = await harness.openSession();
    expect(await set(third, all, "queue")).toBe(false);
    await one.end();
    expect(harness.primitives["lockWait.list"](inode, "posix")).toHaveLength(600 - 256 + 1);
    expect(await set(other, all, "queue", second)).toBe(false);
    await set(other, { ...all, type: "none" });
    expect(held()).toEqual([`${third.id}/1 exclusive 0-9`]);
    while ((await harness.run(endedUncleared())) !== undefined) {
      expect(brokenInvariants(harness.store.database, harness.settings)).toEqual([]);
      await harness.run(clearStep({ nowNs: harness.nowNs }, one.id));
    }
    expect(held("posix", second)).toEqual([`${other.id}/1 exclusive 0-9`]);
  });
});

/**
 * 3,000 locks on a file and 1,500 waits for one: the release of one lock held the event loop of the metadata server for 2.5 s,
 * because the locks were read for each who waits, and nothing bounded how many there are.
 */
describe("many locks on one file", () => {
  const OWNERS = 40;

  /** Puts rows on record as `count` owners of one byte each. */
  function hold(count: number, type: "shared" | "exclusive" = "shared"): void {
    for (let number = 0; number < count; number++) {
      const lock = lockOf(type, 2 * number, 2 * number, BigInt(number + 1)) as Lock;
      harness.primitives["lock.put"]({ ...lock, inode, session: one.id });
    }
  }

  /** How often all locks of a file are read meanwhile. */
  async function readings(work: () => Promise<unknown>): Promise<number> {
    const { primitives } = harness;
    const list = primitives["lock.list"];
    let count = 0;
    Object.assign(primitives, {
      "lock.list": (...args: Parameters<typeof list>) => {
        count++;
        return list(...args);
      },
    });
    try {
      await work();
    } finally {
      Object.assign(primitives, { "lock.list": list });
    }
    return count;
  }

  test("are read a few times when one goes, however many wait", async () => {
    hold(OWNERS);
    for (let number = 0; number < OWNERS; number++) {
      await set(other, lockOf("exclusive", 0, 2 * number, BigInt(number)), "queue");
    }
    const released = await readings(() =>
      one.change(messages.lockRelease, releaseLocks, { inode, kind: "posix", owner: 1n }),
    );
    expect(released).toBeLessThan(5);
    expect(held()).toContain(`${other.id}/0 exclusive 0-0`);
    expect(await readings(() => one.end())).toBeLessThan(10);
    expect(harness.primitives["lockWait.list"](inode, "posix")).toHaveLength(OWNERS - 1);
    expect(held()).toEqual([`${other.id}/0 exclusive 0-0`]);
  });

  test("are bounded, and so are waits; who has some can give up and replace them", async () => {
    hold(MAX_LOCKS_PER_FILE);
    const beyond = lockOf("shared", 0, 0, 10_000n);
    await failsWith(set(other, beyond), "tooManyLocks");
    expect(await set(one, lockOf("exclusive", 0, 0, 1n))).toBe(true);
    expect(await set(one, lockOf("none", 0, 0, 1n))).toBe(true);
    expect(await set(other, beyond)).toBe(true);
    for (let number = 0; number < MAX_LOCK_WAITS_PER_FILE; number++) {
      const wait = lockOf("exclusive", 2, 2, BigInt(20_000 + number)) as Lock;
      harness.primitives["lockWait.insert"]({ ...wait, inode, session: one.id });
    }
    await failsWith(set(other, lockOf("exclusive", 2, 2, 5n), "queue"), "tooManyLocks");
  });

  test("and waits through very many are not searched for circles to their end", async () => {
    hold(MAX_LOCKS_PER_FILE);
    const files = 20;
    for (let number = 0; number < files; number++) {
      const wait = lockOf("exclusive", 0, 2 * MAX_LOCKS_PER_FILE, BigInt(number + 1)) as Lock;
      harness.primitives["lockWait.insert"]({ ...wait, inode, session: one.id });
    }
    const wish = set(other, lockOf("exclusive", 0, 2 * MAX_LOCKS_PER_FILE), "queue");
    await failsWith(wish, "tooManyLocks");
  });
});

test("random requests agree with a model of bytes, and nobody waits whose way is free", async () => {
  const seed = Number(systemRandom.id64() % 1_000_000_000n);
  const random = seededRandom(seed);
  const owners = [
    { session: one, owner: 1n },
    { session: one, owner: 2n },
    { session: other, owner: 1n },
  ];
  const BYTES = 12;
  for (let step = 0; step < 400; step++) {
    const what = `seed ${seed}, step ${step}`;
    const { session, owner } = owners[random.below(owners.length)]!;
    const start = random.below(BYTES);
    const end = start + random.below(BYTES - start);
    const type = (["none", "shared", "exclusive"] as const)[random.below(3)]!;
    const wait = random.below(3) === 0 ? "queue" : "no";
    const before = harness.primitives["lock.list"](inode, "posix");
    const free = !before.some(
      (lock) =>
        (lock.session !== session.id || lock.owner !== owner) &&
        lock.start <= end &&
        start <= lock.end &&
        (lock.type === "exclusive" || type === "exclusive"),
    );
    const wanted = lockOf(type, start, end, owner);
    const granted = await set(session, wanted, wait).catch((error: { kind: string }) => {
      expect(error.kind, what).toBe("wouldDeadlock");
      return false;
    });
    expect(granted, what).toBe(type === "none" || free);
    const now = harness.primitives["lock.list"](inode, "posix");
    for (let byte = 0; byte < BYTES; byte++) {
      const here = now.filter((lock) => lock.start <= byte && byte <= lock.end);
      const writers = here.filter((lock) => lock.type === "exclusive");
      expect(writers.length === 0 || here.length === 1, what).toBe(true);
      const owned = new Set(here.map((lock) => `${lock.session}/${lock.owner}`));
      expect(owned.size, what).toBe(here.length);
    }
    for (const waiting of harness.primitives["lockWait.list"](inode, "posix")) {
      const blocked = now.some(
        (lock) =>
          (lock.session !== waiting.session || lock.owner !== waiting.owner) &&
          lock.start <= waiting.end &&
          waiting.start <= lock.end &&
          (lock.type === "exclusive" || waiting.type === "exclusive"),
      );
      expect(blocked, what).toBe(true);
    }
  }
});
