// The primitives that the namespace does not exercise: rows keep their values, lists come in order and in pages.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { isDfsError, type ErrorKind } from "../../../../src/base/errors.ts";
import {
  blockId,
  incarnationId,
  inodeId,
  instanceId,
  lsn,
  MAX_ID,
  reignId,
  serverId,
  sessionId,
} from "../../../../src/base/ids.ts";
import { PLACEMENT_GROUPS } from "../../../../src/base/limits.ts";
import { decodeRows, encodeRows } from "../../../../src/base/placement.ts";
import type { Inode, Server, Session } from "../../../../src/server/meta/store/rows.ts";
import {
  createSqliteStore,
  type SqliteStore,
} from "../../../../src/server/meta/store/sqlite/store.ts";

let store: SqliteStore;

beforeEach(() => {
  store = createSqliteStore(":memory:");
});

afterEach(() => store.close());

function thrownBy(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return undefined;
}

function refusal(work: () => unknown): ErrorKind | undefined {
  try {
    work();
  } catch (error) {
    if (isDfsError(error)) return error.kind;
    throw error;
  }
  return undefined;
}

describe("rows keep their values", () => {
  const INODE: Inode = {
    id: inodeId(MAX_ID),
    type: "blockDevice",
    mode: 0o7777,
    uid: 2 ** 32 - 1,
    gid: 2 ** 32 - 1,
    nlink: 2 ** 31 - 1,
    size: Number.MAX_SAFE_INTEGER,
    allocated: Number.MAX_SAFE_INTEGER,
    rdev: 2 ** 32 - 1,
    atimeNs: -(1n << 63n),
    mtimeNs: (1n << 63n) - 1n,
    ctimeNs: 1_700_000_000_123_456_789n,
    version: MAX_ID,
    base: 2 ** 32 - 1,
    parent: inodeId(MAX_ID - 1n),
  };

  test("inodes, at their extremes", () => {
    store.primitives["inode.insert"](INODE);
    expect(store.primitives["inode.get"](INODE.id)).toEqual(INODE);
    const changed: Inode = { ...INODE, type: "fifo", size: 0, atimeNs: 0n };
    store.primitives["inode.update"](changed);
    expect(store.primitives["inode.get"](INODE.id)).toEqual(changed);
  });

  test("a fraction is not stored as an integer", () => {
    expect(thrownBy(() => store.primitives["inode.insert"]({ ...INODE, size: 1.5 }))).toBeDefined();
  });

  test("a number that stands for nothing is reported, not guessed", () => {
    store.primitives["inode.insert"](INODE);
    store.database.run("UPDATE inodes SET type = 3");
    expect(refusal(() => store.primitives["inode.get"](INODE.id))).toBe("io");
  });

  test("servers", () => {
    const server: Server = {
      id: serverId(2 ** 32 - 1),
      incarnation: incarnationId(MAX_ID),
      instance: instanceId(5n),
      address: "[::1]:4000",
      zone: "r\u00e4ck 1",
      tags: ["ssd", 'a"b', ""],
      state: "draining",
      filling: true,
      registeredNs: 9n,
    };
    const other = { ...server, id: serverId(3), tags: [], filling: false };
    store.primitives["server.put"](server);
    store.primitives["server.put"](other);
    expect(store.primitives["server.get"](server.id)).toEqual(server);
    const standing = [server.id, other.id, serverId(9)].map(store.primitives["server.standing"]);
    expect(standing).toEqual([
      { state: "draining", filling: true, incarnation: server.incarnation },
      { state: "draining", filling: false, incarnation: other.incarnation },
      undefined,
    ]);
    expect(store.primitives["server.list"]()).toEqual([other, server]);
    store.primitives["server.delete"](server.id);
    expect(store.primitives["server.get"](server.id)).toBeUndefined();
  });

  test("sessions, by state", () => {
    const session = (id: bigint): Session => ({
      id: sessionId(id),
      token: (1n << 64n) - id,
      label: `session ${id}`,
      state: "live",
      openedNs: 3n,
      endedNs: undefined,
      acknowledged: 0n,
    });
    for (const id of [1n, 2n, 3n]) store.primitives["session.insert"](session(id));
    store.primitives["session.end"](sessionId(2n), "expired", 77n);
    store.primitives["session.setAcknowledged"](sessionId(3n), 12n);
    const list = (after: bigint, limit: number): Session[] =>
      store.primitives["session.list"]("live", sessionId(after), limit);
    expect(list(0n, 9)).toEqual([session(1n), { ...session(3n), acknowledged: 12n }]);
    expect(list(1n, 1).map((each) => each.id)).toEqual([sessionId(3n)]);
    expect(store.primitives["session.count"]("live")).toBe(2);
    expect(store.primitives["session.get"](sessionId(2n))).toMatchObject({
      state: "expired",
      endedNs: 77n,
    });
    store.primitives["session.delete"](sessionId(2n));
    expect(store.primitives["session.count"]("expired")).toBe(0);
  });

  test("the placement table, whole and by row; older versions go", () => {
    expect(store.primitives["placement.version"]()).toBe(0n);
    expect(store.primitives["placement.current"]()).toBeUndefined();
    expect(store.primitives["placement.row"](0)).toEqual([]);
    for (const version of [1n, 2n]) {
      const rows = Array.from({ length: PLACEMENT_GROUPS }, (_, group) =>
        [group + 1, 70_000, 3].slice(0, group === 5 ? 1 : 3).map((each) => serverId(each)),
      );
      const bytes = encodeRows({ version, width: 3, rows });
      store.primitives["placement.put"]({ version, width: 3, rows: bytes });
    }
    const current = store.primitives["placement.current"]();
    expect(current).toMatchObject({ version: 2n, width: 3 });
    const rows = decodeRows(current?.rows ?? new Uint8Array(), 3);
    for (const group of [0, 5, PLACEMENT_GROUPS - 1]) {
      expect(store.primitives["placement.row"](group)).toEqual(rows[group] ?? []);
    }
    const count = store.database.prepare("SELECT count(*) AS count FROM placement").get();
    expect(count).toEqual({ count: 1n });
  });

  test("reigns are found by id and followed", () => {
    const reigns = [1n, 2n, 3n].map((number) => ({
      number,
      reign: reignId(MAX_ID - number * 100n),
      startLsn: lsn(number * 10n),
    }));
    for (const reign of reigns) store.primitives["reign.insert"](reign);
    expect(store.primitives["reign.last"]()).toEqual(reigns[2]);
    expect(store.primitives["reign.find"](reignId(MAX_ID - 200n))).toEqual(reigns[1]);
    expect(store.primitives["reign.find"](reignId(4n))).toBeUndefined();
    expect(store.primitives["reign.next"](1n)).toEqual(reigns[1]);
    expect(store.primitives["reign.next"](3n)).toBeUndefined();
  });

  test("settings and counters", () => {
    expect(store.primitives["meta.get"]("blockSize")).toBeUndefined();
    store.primitives["meta.put"]("blockSize", "8");
    store.primitives["meta.put"]("blockSize", "16");
    expect(store.primitives["meta.get"]("blockSize")).toBe("16");
    expect(store.primitives["counter.get"]("block")).toBe(0n);
    store.primitives["counter.put"]("block", MAX_ID);
    expect(store.primitives["counter.get"]("block")).toBe(MAX_ID);
  });
});

describe("replicas and repairs", () => {
  beforeEach(() => {
    for (let id = 1n; id <= 6n; id++) {
      store.primitives["block.insert"]({
        id: blockId(id),
        state: "live",
        length: 10,
        checksum: id,
        group: 0,
        refs: 1,
        inode: inodeId(2n),
        fileOffset: 80,
        diedNs: undefined,
      });
      for (const server of id % 2n === 0n ? [1, 2] : [1, 2, 3]) {
        const replica = { block: blockId(id), server: serverId(server), state: "present" } as const;
        store.primitives["replica.put"](replica);
      }
    }
  });

  const ids = (rows: readonly { readonly block: bigint }[]): bigint[] =>
    rows.map((row): bigint => row.block);

  test("are listed by server, in pages", () => {
    const list = store.primitives["replica.listByServer"];
    expect(ids(list(serverId(3), blockId(0n), 2))).toEqual([1n, 3n]);
    expect(ids(list(serverId(3), blockId(3n), 2))).toEqual([5n]);
    expect(store.primitives["replica.countByServer"](serverId(1))).toBe(6);
    expect(store.primitives["replica.countByServer"](serverId(4))).toBe(0);
  });

  test("are listed with length, checksum and state of their blocks, in pages", () => {
    const three = serverId(3);
    const { primitives } = store;
    primitives["block.setDead"](blockId(3n), 7n);
    primitives["replica.put"]({ block: blockId(9n), server: three, state: "adding" });
    const list = (after: bigint, limit: number) =>
      primitives["replica.listWithBlocks"](three, blockId(after), limit);
    const common = { server: three, state: "present" as const, length: 10 };
    expect(list(0n, 2)).toEqual([
      { ...common, block: blockId(1n), checksum: 1n, blockState: "live" },
      { ...common, block: blockId(3n), checksum: 3n, blockState: "dead" },
    ]);
    expect(list(3n, 9).map(({ block, state, blockState }) => [block, state, blockState])).toEqual([
      [blockId(5n), "present", "live"],
      [blockId(9n), "adding", undefined],
    ]);
  });

  test("unsettled ones are listed by server and state, in pages", () => {
    const two = serverId(2);
    for (const [block, state] of [
      [1n, "removing"],
      [2n, "bad"],
      [4n, "removing"],
      [5n, "removing"],
      [6n, "adding"],
    ] as const) {
      store.primitives["replica.put"]({ block: blockId(block), server: two, state });
    }
    const list = store.primitives["replica.listUnsettled"];
    expect(ids(list(two, "removing", blockId(0n), 2))).toEqual([1n, 4n]);
    expect(ids(list(two, "removing", blockId(4n), 2))).toEqual([5n]);
    expect(ids(list(two, "bad", blockId(0n), 9))).toEqual([2n]);
    expect(ids(list(two, "adding", blockId(0n), 9))).toEqual([6n]);
    expect(ids(list(serverId(1), "removing", blockId(0n), 9))).toEqual([]);
  });

  test("figures count live and dead blocks apart", () => {
    store.primitives["block.setDead"](blockId(6n), 5n);
    expect(store.primitives["figures.store"]()).toMatchObject({
      liveBlocks: 5,
      liveBytes: 50,
      deadBlocks: 1,
    });
    expect(store.primitives["figures.highestBlock"]()).toBe(blockId(6n));
  });

  test("repairs are listed by urgency and block, and what is missing is summed", () => {
    const repair = (block: bigint, missing: number): void =>
      store.primitives["repair.put"]({
        block: blockId(block),
        missing,
        urgency: 3 - missing,
        reason: "serverOut",
        sinceNs: 8n,
      });
    repair(2n, 1);
    repair(4n, 2);
    repair(2n, 2);
    expect(store.primitives["repair.total"]()).toBe(4);
    repair(3n, 3);
    repair(6n, 1);
    const list = store.primitives["repair.list"];
    expect(ids(list(-1, blockId(0n), 9))).toEqual([3n, 2n, 4n, 6n]);
    expect(ids(list(-1, blockId(0n), 2))).toEqual([3n, 2n]);
    expect(ids(list(1, blockId(2n), 9))).toEqual([4n, 6n]);
    expect(ids(list(1, blockId(4n), 9))).toEqual([6n]);
    expect(store.primitives["figures.repairs"]()).toEqual([
      { urgency: 0, blocks: 1, copies: 3, bytes: 30 },
      { urgency: 1, blocks: 2, copies: 4, bytes: 40 },
      { urgency: 2, blocks: 1, copies: 1, bytes: 10 },
    ]);
    store.primitives["repair.delete"](blockId(2n));
    expect(store.primitives["repair.get"](blockId(2n))).toBeUndefined();
    expect(store.primitives["repair.get"](blockId(4n))).toEqual({
      block: blockId(4n),
      missing: 2,
      urgency: 1,
      reason: "serverOut",
      sinceNs: 8n,
    });
  });

  test("surveys are listed by server, and go on where they are put", () => {
    store.primitives["survey.put"]({ server: serverId(3), after: blockId(0n) });
    store.primitives["survey.put"]({ server: serverId(1), after: blockId(7n) });
    store.primitives["survey.put"]({ server: serverId(3), after: blockId(9n) });
    expect(store.primitives["survey.list"]()).toEqual([
      { server: serverId(1), after: blockId(7n) },
      { server: serverId(3), after: blockId(9n) },
    ]);
    store.primitives["survey.delete"](serverId(1));
    expect(store.primitives["survey.list"]()).toHaveLength(1);
  });

  test("adding references to a block that is not there is an error", () => {
    expect(thrownBy(() => store.primitives["block.addRefs"](blockId(99n), 1))).toBeDefined();
  });
});
