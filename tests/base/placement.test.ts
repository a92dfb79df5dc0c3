import { describe, expect, test } from "bun:test";
import { serverId, type ServerId } from "../../src/base/ids.ts";
import { PLACEMENT_GROUPS } from "../../src/base/limits.ts";
import {
  candidateOrder,
  decodeRows,
  encodeRows,
  groupOf,
  pathBase,
} from "../../src/base/placement.ts";

const ids = (...numbers: number[]): ServerId[] => numbers.map(serverId);
const ring = (...zones: string[]) =>
  zones.map((zone, index) => ({ server: serverId(index + 1), zone }));

describe("groupOf", () => {
  test("consecutive blocks fall into consecutive groups and wrap around", () => {
    expect([0, 1, 2].map((index) => groupOf(1022, index))).toEqual([1022, 1023, 0]);
  });

  test("stays exact for the largest base and block index", () => {
    expect(groupOf(2 ** 32 - 1, Number.MAX_SAFE_INTEGER)).toBe((1023 + 1023) % PLACEMENT_GROUPS);
  });
});

describe("pathBase", () => {
  test("is frozen: the base of a path never changes", () => {
    expect(pathBase(new TextEncoder().encode("/a"))).toBe(0xa6b06805);
  });
});

describe("candidateOrder", () => {
  test("a row's servers come first, then the next ones in the ring", () => {
    expect(candidateOrder(ids(4, 5, 1), ring("", "", "", "", "", ""))).toEqual(
      ids(4, 5, 1, 2, 3, 6),
    );
  });

  test("stand-ins from zones that the row does not use are preferred", () => {
    expect(candidateOrder(ids(1, 2), ring("a", "b", "a", "c", "b"))).toEqual(ids(1, 2, 4, 3, 5));
  });

  test("an empty row takes the ring as it is", () => {
    expect(candidateOrder([], ring("", ""))).toEqual(ids(1, 2));
  });
});

describe("placement rows", () => {
  test("survive the wire, short rows included", () => {
    const rows = Array.from({ length: PLACEMENT_GROUPS }, (_, group) =>
      group % 5 === 0 ? ids(7) : ids(1 + (group % 4), 1 + ((group + 1) % 4), 70_000),
    );
    expect(decodeRows(encodeRows({ version: 1n, width: 3, rows }), 3)).toEqual(rows);
  });

  test("missing bytes read as empty rows", () => {
    expect(decodeRows(new Uint8Array(0), 3)).toEqual(
      Array.from({ length: PLACEMENT_GROUPS }, () => []),
    );
  });
});
