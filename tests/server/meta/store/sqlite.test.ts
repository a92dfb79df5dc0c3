// The SQLite engine: its files, its statements and its transactions.

import { afterEach, beforeEach, describe, expect, spyOn, test } from "bun:test";
import { Database } from "bun:sqlite";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDfsError, type ErrorKind } from "../../../../src/base/errors.ts";
import { SCHEMA_VERSION } from "../../../../src/server/meta/store/sqlite/schema.ts";
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
    database.run(`PRAGMA user_version = ${SCHEMA_VERSION}`);
    database.close();
    store = openSqliteStore(path);
  });

  // A build of before would show again what was cut off a file, when that grows: it does not know the table of cuts.
  test("tables of the version before become this one, which that build refuses", () => {
    store.database.run("DROP TABLE cuts");
    store.database.run("DROP INDEX reservations_by_end");
    store.database.run(
      "CREATE INDEX reservations_ended ON reservations (first) WHERE ended IS NOT NULL",
    );
    store.database.run("PRAGMA user_version = 2");
    store.close();
    store = openSqliteStore(path);
    expect(store.primitives["cut.list"](1)).toEqual([]);
    const indexes = store.database.prepare<{ name: string }, []>("PRAGMA index_list(reservations)");
    expect(indexes.all().map(({ name }) => name)).toEqual(
      expect.arrayContaining(["reservations_by_end", "reservations_by_session"]),
    );
    expect(store.database.prepare("PRAGMA user_version").get()).toEqual({ user_version: 3n });
    store.database.run("PRAGMA user_version = 1");
    store.close();
    expect(refusal(() => openSqliteStore(path))).toBe("unsupported");
    const database = new Database(path);
    database.run(`PRAGMA user_version = ${SCHEMA_VERSION}`);
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

  // Pages of the queue of repairs were read with such a pair: each went through all rows before it.
  test("none goes by a pair of columns of which SQLite looks for the first one only", () => {
    const prepared = preparedBy(() => createSqliteStore(":memory:"));
    expect(prepared.filter((sql) => /\(\w+, \w+\) [<>]/.test(sql))).toEqual([]);
    const pages = prepared.filter((sql) => /FROM repairs WHERE urgency = /.test(sql));
    expect(pages).toHaveLength(1);
    const plan = store.database.prepare<{ detail: string }, []>(`EXPLAIN QUERY PLAN ${pages[0]!}`);
    expect(plan.all()[0]!.detail).toContain("(urgency=? AND block>?)");
  });

  test("none that is run for requests looks at all rows of a table", () => {
    const scans = preparedBy(() => createSqliteStore(":memory:")).filter((sql) => {
      if (!/^\s*(SELECT|UPDATE|DELETE)/.test(sql)) return false;
      const plan = store.database.prepare<{ detail: string }, []>(`EXPLAIN QUERY PLAN ${sql}`);
      return plan.all().some((step) => /^SCAN (?!e$|CONSTANT)/.test(step.detail));
    });
    for (const sql of scans) expect(sql).toMatch(MAY_SCAN);
  });
});

/**
 * Figures for people; small tables; queues in order of their key; sums over all missing copies.
 */
const MAY_SCAN =
  /FROM (inodes|servers|placement(_rows)?|reigns|reclaim|cuts|repairs|surveys|sqlite_schema)\b|count\(\*\)|max\(/;

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
