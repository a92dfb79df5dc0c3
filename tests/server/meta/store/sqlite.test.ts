// The SQLite engine: its files, its transactions, and the primitives that the namespace does not exercise.

import { afterEach, beforeEach, describe, expect, spyOn, test } from "bun:test";
import { Database } from "bun:sqlite";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
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
  openSqliteStore,
  type SqliteStore,
} from "../../../../src/server/meta/store/sqlite/store.ts";

let directory: string;
let path: string;
let store: SqliteStore;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "dfs-store-"));
  path = join(directory, "meta.db");
  store = createSqliteStore(path);
});

afterEach(async () => {
  store.close();
  await rm(directory, { recursive: true });
});

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

describe("database files", () => {
  test("what was committed is there after closing and opening", () => {
    store.transaction(() => store.primitives["counter.put"]("x", 7n));
    store.close();
    store = openSqliteStore(path);
    expect(store.primitives["counter.get"]("x")).toBe(7n);
  });

  test("a file that holds a database is not formatted again", () => {
    store.close();
    expect(refusal(() => createSqliteStore(path))).toBe("exists");
    store = openSqliteStore(path);
  });

  test("a missing file is not found, and not made", () => {
    const missing = join(directory, "missing.db");
    expect(refusal(() => openSqliteStore(missing))).toBe("notFound");
    expect(refusal(() => openSqliteStore(missing))).toBe("notFound");
  });

  test("somebody else's database is refused and left alone", () => {
    const foreign = join(directory, "foreign.db");
    const database = new Database(foreign);
    database.run("CREATE TABLE theirs (x)");
    database.close();
    expect(refusal(() => openSqliteStore(foreign))).toBe("invalid");
    expect(refusal(() => createSqliteStore(foreign))).toBe("exists");
  });

  test("a file that is no database is refused", async () => {
    const text = join(directory, "text.db");
    await writeFile(text, "this is no database, but long enough to have a header ".repeat(20));
    expect(refusal(() => openSqliteStore(text))).toBe("invalid");
  });

  test("tables of another version are refused, naming both versions", () => {
    store.database.run("PRAGMA user_version = 99");
    store.close();
    const error = thrownBy(() => openSqliteStore(path));
    expect(isDfsError(error, "unsupported")).toBe(true);
    expect(String(error)).toContain("version 99");
    const database = new Database(path);
    database.run("PRAGMA user_version = 1");
    database.close();
    store = openSqliteStore(path);
  });

  test("the log is written ahead, and nothing checkpoints it unasked", () => {
    const value = (name: string): unknown =>
      Object.values(store.database.prepare(`PRAGMA ${name}`).get() ?? {})[0];
    expect(value("journal_mode")).toBe("wal");
    expect(value("synchronous")).toBe(1n);
    expect(value("wal_autocheckpoint")).toBe(0n);
  });
});

describe("statements", () => {
  /** Everything that an engine prepares. */
  function preparedBy(make: () => SqliteStore): string[] {
    const prepared: string[] = [];
    const spy = spyOn(Database.prototype, "prepare");
    try {
      make().close();
      for (const [sql] of spy.mock.calls) prepared.push(sql);
    } finally {
      spy.mockRestore();
    }
    return prepared;
  }

  test("none is of the kinds that SQLite compiles anew at every use", () => {
    const prepared = preparedBy(() => createSqliteStore(":memory:"));
    expect(prepared.length).toBeGreaterThan(60);
    const slow = prepared.filter(
      (sql) => /LIMIT \?/.test(sql) || (/ORDER BY/.test(sql) && /[^<>]= \?/.test(sql)),
    );
    expect(slow).toEqual([]);
  });

  test("none that is run for requests looks at all rows of a table", () => {
    const scans = preparedBy(() => createSqliteStore(":memory:")).filter((sql) => {
      if (!/^\s*(SELECT|UPDATE|DELETE)/.test(sql)) return false;
      const plan = store.database.prepare<{ detail: string }, []>(`EXPLAIN QUERY PLAN ${sql}`);
      return plan
        .all()
        .some((step) =>
          /^SCAN (?!e$|CONSTANT|\w+ USING INDEX reservations_ended)/.test(step.detail),
        );
    });
    for (const sql of scans) expect(sql).toMatch(MAY_SCAN);
  });
});

/**
 * Figures for people; small tables; queues in order of their key; sums over all missing copies.
 */
const MAY_SCAN =
  /FROM (inodes|servers|placement(_rows)?|reigns|reclaim|repairs|sqlite_schema)\b|count\(\*\)|max\(/;

describe("transactions", () => {
  const put = (name: string): void => store.primitives["counter.put"](name, 1n);
  const get = (name: string): bigint => store.primitives["counter.get"](name);

  test("one that throws leaves nothing", () => {
    const failure = new Error("no");
    expect(
      thrownBy(() =>
        store.transaction(() => {
          put("a");
          throw failure;
        }),
      ),
    ).toBe(failure);
    expect(get("a")).toBe(0n);
    store.transaction(() => put("b"));
    expect(get("b")).toBe(1n);
  });

  test("a savepoint that throws undoes itself only", () => {
    store.begin();
    put("a");
    thrownBy(() =>
      store.savepoint(() => {
        put("b");
        throw new Error("no");
      }),
    );
    store.savepoint(() => put("c"));
    store.commit();
    expect([get("a"), get("b"), get("c")]).toEqual([1n, 0n, 1n]);
  });

  test("savepoints nest", () => {
    store.transaction(() =>
      store.savepoint(() => {
        put("outer");
        thrownBy(() =>
          store.savepoint(() => {
            put("inner");
            throw new Error("no");
          }),
        );
      }),
    );
    expect([get("outer"), get("inner")]).toEqual([1n, 0n]);
  });

  test("rollback without a transaction is harmless", () => {
    store.rollback();
    store.begin();
    put("a");
    store.rollback();
    store.rollback();
    expect(get("a")).toBe(0n);
  });
});

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
    const filling = [server.id, other.id, serverId(9)].map(store.primitives["server.isFilling"]);
    expect(filling).toEqual([true, false, undefined]);
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

  test("copies are counted on given servers", () => {
    const count = (...servers: number[]): number[] =>
      store.primitives["figures.blocksByCopies"](
        servers.map((each) => serverId(each)),
        3,
      );
    expect(count(1, 2, 3)).toEqual([0, 0, 3, 3]);
    expect(count(3)).toEqual([3, 3, 0, 0]);
    expect(count()).toEqual([6, 0, 0, 0]);
    store.primitives["replica.setAll"](blockId(1n), "bad");
    expect(count(1, 2, 3)).toEqual([1, 0, 3, 2]);
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

  test("missing copies are listed by block and summed", () => {
    const repair = (block: bigint, missing: number): void =>
      store.primitives["repair.put"]({
        block: blockId(block),
        missing,
        reason: "serverOut",
        sinceNs: 8n,
      });
    repair(2n, 1);
    repair(4n, 2);
    repair(2n, 2);
    expect(store.primitives["repair.total"]()).toBe(4);
    expect(ids(store.primitives["repair.list"](blockId(0n), 9))).toEqual([2n, 4n]);
    expect(ids(store.primitives["repair.list"](blockId(2n), 9))).toEqual([4n]);
    store.primitives["repair.delete"](blockId(2n));
    expect(store.primitives["repair.get"](blockId(2n))).toBeUndefined();
    expect(store.primitives["repair.get"](blockId(4n))).toEqual({
      block: blockId(4n),
      missing: 2,
      reason: "serverOut",
      sinceNs: 8n,
    });
  });

  test("adding references to a block that is not there is an error", () => {
    expect(thrownBy(() => store.primitives["block.addRefs"](blockId(99n), 1))).toBeDefined();
  });
});
