// Primitives over many rows say and do the same as those over one, for lists of any length.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { blockId, inodeId, serverId, type BlockId } from "../../../../src/base/ids.ts";
import { PLACEMENT_GROUPS } from "../../../../src/base/limits.ts";
import { encodeRows } from "../../../../src/base/placement.ts";
import type { Repair, Replica, ReplicaState } from "../../../../src/server/meta/store/rows.ts";
import {
  createSqliteStore,
  type SqliteStore,
} from "../../../../src/server/meta/store/sqlite/store.ts";

/** Around the lengths that there are statements for, and more than the longest of them. */
const LENGTHS = [0, 1, 2, 15, 16, 17, 255, 256, 257, 512, 700];

const BLOCKS = 800;
const STATES: readonly ReplicaState[] = ["adding", "present", "removing", "bad"];

let store: SqliteStore;

beforeEach(() => {
  store = createSqliteStore(":memory:");
});

afterEach(() => store.close());

const idOf = (number: number): BlockId => blockId(BigInt(number));

/** Some ids from high to low, every fifth of which no row is named by. */
const idsOf = (length: number): BlockId[] =>
  Array.from({ length }, (_, at) => (at % 5 === 4 ? idOf(5000 + at) : idOf(length - at)));

const byBlock = <T extends { readonly block: bigint }>(rows: readonly T[]): T[] =>
  rows.toSorted((one, other) => Number(one.block - other.block));

function insertAll(): void {
  for (let number = 1; number <= BLOCKS; number++) {
    store.primitives["block.insert"]({
      id: idOf(number),
      state: number % 7 === 0 ? "dead" : "live",
      length: number,
      checksum: 2n ** 64n - BigInt(number),
      group: number,
      refs: 1,
      inode: inodeId(BigInt(number)),
      fileOffset: number,
      diedNs: number % 7 === 0 ? 9n : undefined,
    });
  }
  store.primitives["replica.putMany"](allCopies((number) => STATES[number % 4]!));
  store.primitives["repair.putMany"](allRepairs(1));
}

/** Copies on two servers each, the higher one first. */
function allCopies(state: (number: number) => ReplicaState): Replica[] {
  return Array.from({ length: BLOCKS }, (_, at) => at + 1).flatMap((number) =>
    [3, 1].map((id) => ({ block: idOf(number), server: serverId(id), state: state(number + id) })),
  );
}

function allRepairs(missing: number): Repair[] {
  return Array.from({ length: BLOCKS }, (_, at) => at + 1)
    .filter((number) => number % 3 !== 0)
    .map((number) => ({
      block: idOf(number),
      missing,
      urgency: number % 4,
      reason: number % 2 === 0 ? "serverOut" : "badReplica",
      sinceNs: BigInt(number),
    }));
}

describe("for lists of any length", () => {
  test("blocks, copies and repairs are those that are got one by one", () => {
    insertAll();
    const { primitives } = store;
    for (const length of LENGTHS) {
      const ids = idsOf(length);
      const blocks = primitives["block.getMany"](ids);
      expect(byBlock(blocks.map((block) => ({ block: block.id, all: block })))).toEqual(
        byBlock(
          ids
            .map((id) => primitives["block.get"](id))
            .filter((block) => block !== undefined)
            .map((block) => ({ block: block.id, all: block })),
        ),
      );
      const copies = primitives["replica.listMany"](ids); // toSorted keeps the order of one block's
      expect(byBlock(copies)).toEqual(byBlock(ids.flatMap((id) => primitives["replica.list"](id))));
      expect(byBlock(primitives["repair.getMany"](ids))).toEqual(
        byBlock(ids.map((id) => primitives["repair.get"](id)).filter((each) => each !== undefined)),
      );
    }
  });

  test("repairs are deleted, those and no others", () => {
    for (const length of LENGTHS) {
      store.close();
      store = createSqliteStore(":memory:");
      insertAll();
      const { primitives } = store;
      const ids = idsOf(length);
      primitives["repair.deleteMany"](ids);
      const left = allRepairs(1).filter(({ block }) => !ids.includes(block));
      expect(byBlock(primitives["repair.list"](-1, idOf(0), BLOCKS))).toEqual(left);
    }
  });

  test("servers of groups are those of the placement table", () => {
    const rows = Array.from({ length: PLACEMENT_GROUPS }, (_, group) =>
      [group + 1, group + 2].map((id) => serverId(id)),
    );
    const { primitives } = store;
    primitives["placement.put"]({
      version: 1n,
      width: 2,
      rows: encodeRows({ version: 1n, width: 2, rows }),
    });
    for (const length of LENGTHS) {
      const groups = Array.from({ length }, (_, at) => PLACEMENT_GROUPS - 1 - at);
      const found = primitives["placement.rows"]([...groups, PLACEMENT_GROUPS + 1]);
      expect(found.toSorted((one, other) => other.group - one.group)).toEqual(
        groups.map((group) => ({ group, servers: primitives["placement.row"](group) })),
      );
    }
  });
});

test("what is put over something else takes its place", () => {
  insertAll();
  const { primitives } = store;
  const changed = allCopies((number) => STATES[(number + 1) % 4]!);
  primitives["replica.putMany"](changed);
  const ids = Array.from({ length: BLOCKS }, (_, at) => idOf(at + 1));
  const inOrder = changed.toSorted(
    (one, other) => Number(one.block - other.block) || one.server - other.server,
  );
  expect(byBlock(primitives["replica.listMany"](ids))).toEqual(inOrder);
  const unsettled = (state: Exclude<ReplicaState, "present">) =>
    primitives["replica.listUnsettled"](serverId(1), state, idOf(0), BLOCKS);
  for (const state of ["adding", "removing", "bad"] as const) {
    const those = inOrder.filter((copy) => copy.server === 1 && copy.state === state);
    expect(unsettled(state)).toEqual(those);
  }
  primitives["repair.putMany"](allRepairs(2));
  expect(byBlock(primitives["repair.getMany"](ids))).toEqual(allRepairs(2));
});
