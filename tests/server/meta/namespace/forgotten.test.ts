// Which block ids are dead for good: kept as spans that join, whatever the order in which ids are forgotten; written when a
// block or a reservation is forgotten, and by nothing else.

import { Database } from "bun:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { blockId, type BlockId } from "../../../../src/base/ids.ts";
import { seededRandom, systemRandom } from "../../../../src/base/random.ts";
import {
  isForgotten,
  recordAllForgotten,
  recordForgotten,
} from "../../../../src/server/meta/namespace/content/forgotten.ts";
import {
  createSqliteStore,
  openSqliteStore,
  type SqliteStore,
} from "../../../../src/server/meta/store/sqlite/store.ts";
import { runSync, type Operation } from "../../../../src/server/meta/store/store.ts";
import { temporaryDirectory } from "../support/durable.ts";

let store: SqliteStore;

beforeEach(() => {
  store = createSqliteStore(":memory:");
});

afterEach(() => store.close());

const run = <T>(operation: Operation<T>): T => runSync(store.primitives, operation);

const forget = (first: number, last = first): void =>
  run(recordForgotten(blockId(BigInt(first)), blockId(BigInt(last))));

const spans = (): string[] =>
  store.database
    .prepare<{ first: bigint; last: bigint }, []>("SELECT * FROM forgotten ORDER BY first")
    .all()
    .map(({ first, last }) => `${first}-${last}`);

const isGone = (id: bigint): boolean => run(isForgotten(blockId(id)));

describe("forgotten ids", () => {
  test("join into spans when they are neighbours, from either side and between two", () => {
    forget(5);
    forget(7);
    expect(spans()).toEqual(["5-5", "7-7"]);
    forget(6);
    expect(spans()).toEqual(["5-7"]);
    forget(4);
    forget(8);
    expect(spans()).toEqual(["4-8"]);
    expect([3n, 4n, 8n, 9n].map(isGone)).toEqual([false, true, true, false]);
  });

  test("may be forgotten twice, alone or within more", () => {
    forget(10, 20);
    forget(12);
    forget(10, 20);
    expect(spans()).toEqual(["10-20"]);
    forget(5, 40);
    expect(spans()).toEqual(["5-40"]);
    forget(30, 50);
    expect(spans()).toEqual(["5-50"]);
  });

  test("of a list become one span for each run", () => {
    const ids = [1n, 2n, 3n, 7n, 9n, 10n].map((id) => blockId(id));
    run(recordAllForgotten(ids));
    run(recordAllForgotten([]));
    expect(spans()).toEqual(["1-3", "7-7", "9-10"]);
  });

  test("are exactly those that were forgotten, in any order", () => {
    const seed = systemRandom.below(2 ** 31);
    console.log(`seed ${seed}`);
    const random = seededRandom(seed);
    const gone = new Set<bigint>();
    for (let step = 0; step < 2_000; step++) {
      const first = 1 + random.below(400);
      const last = first + random.below(random.below(10) === 0 ? 20 : 2);
      forget(first, last);
      for (let id = first; id <= last; id++) gone.add(BigInt(id));
      if (step % 50 !== 0 && step > 20) continue;
      for (let id = 0n; id < 430n; id++) {
        if (isGone(id) !== gone.has(id)) throw new Error(`seed ${seed}, step ${step}, id ${id}`);
      }
      const bounds = spans().map((span) => span.split("-").map(Number) as [number, number]);
      for (const [at, [begin]] of bounds.entries()) {
        if (at > 0) expect(begin).toBeGreaterThan(bounds[at - 1]![1] + 1);
      }
    }
  });

  test("can be kept in a database of before, which has no table for them", () => {
    using dir = temporaryDirectory();
    const path = join(dir.path, "old.db");
    createSqliteStore(path).close();
    const old = new Database(path);
    old.run("DROP TABLE forgotten");
    old.close();
    const opened = openSqliteStore(path);
    const id: BlockId = blockId(1n);
    runSync(opened.primitives, recordForgotten(id, id));
    opened.close();
    const again = openSqliteStore(path);
    expect(runSync(again.primitives, isForgotten(id))).toBe(true);
    again.close();
  });
});
