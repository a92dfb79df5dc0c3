// The arithmetic of locked ranges, against a model that keeps one entry for each byte.

import { describe, expect, test } from "bun:test";
import { MAX_FILE_BYTES } from "../../../../src/base/limits.ts";
import { seededRandom, systemRandom } from "../../../../src/base/random.ts";
import {
  changed,
  excludes,
  isRange,
  type HeldRange,
  type RangeChange,
} from "../../../../src/server/meta/locks/ranges.ts";

const shared = (start: number, end: number): HeldRange => ({ start, end, type: "shared", pid: 1 });
const exclusive = (start: number, end: number): HeldRange => ({
  start,
  end,
  type: "exclusive",
  pid: 1,
});
const none = (start: number, end: number): RangeChange => ({ start, end, type: "none", pid: 1 });

describe("a change of a range", () => {
  test("splits what it lies inside, and cuts what it touches", () => {
    expect(changed([exclusive(0, 9)], none(3, 5))).toEqual([exclusive(0, 2), exclusive(6, 9)]);
    expect(changed([exclusive(0, 9)], shared(3, 5))).toEqual([
      exclusive(0, 2),
      shared(3, 5),
      exclusive(6, 9),
    ]);
    expect(changed([shared(0, 4), shared(8, 9)], none(4, 8))).toEqual([shared(0, 3), shared(9, 9)]);
  });

  test("joins neighbours of the same type, up to the end of the largest file", () => {
    expect(changed([shared(0, 4), shared(6, 9)], shared(5, 5))).toEqual([shared(0, 9)]);
    const all = changed([shared(0, 4)], shared(5, MAX_FILE_BYTES));
    expect(all).toEqual([shared(0, MAX_FILE_BYTES)]);
    expect(changed(all, none(0, MAX_FILE_BYTES))).toEqual([]);
  });
});

test("ranges exclude one another where they share a byte and one of them is exclusive", () => {
  expect(excludes(exclusive(0, 4), shared(4, 9))).toBe(true);
  expect(excludes(exclusive(0, 4), exclusive(5, 9))).toBe(false);
  expect(excludes(shared(0, 4), shared(0, 4))).toBe(false);
  expect(excludes(none(0, 4), exclusive(0, 4))).toBe(false);
});

test("a range has bytes and ends where the largest file does", () => {
  expect(isRange({ start: 0, end: MAX_FILE_BYTES })).toBe(true);
  expect(isRange({ start: 5, end: 4 })).toBe(false);
  expect(isRange({ start: 0, end: MAX_FILE_BYTES + 1 })).toBe(false);
});

test("random changes agree with a map of single bytes", () => {
  const seed = Number(systemRandom.id64() % 1_000_000_000n);
  const random = seededRandom(seed);
  const bytes = 24;
  for (let round = 0; round < 200; round++) {
    let held: HeldRange[] = [];
    const model: RangeChange["type"][] = Array.from({ length: bytes }, () => "none");
    for (let step = 0; step < 30; step++) {
      const start = random.below(bytes);
      const end = start + random.below(bytes - start);
      const type = (["none", "shared", "exclusive"] as const)[random.below(3)]!;
      held = changed(held, { start, end, type, pid: 1 });
      model.fill(type, start, end + 1);
      const got = Array.from(
        { length: bytes },
        (_, at) => held.find((range) => range.start <= at && at <= range.end)?.type ?? "none",
      );
      expect(got, `seed ${seed}, round ${round}, step ${step}`).toEqual(model);
      held.forEach((range, at) => {
        const next = held[at + 1];
        const apart =
          next === undefined ||
          range.end < next.start - 1 ||
          (range.end === next.start - 1 && range.type !== next.type);
        expect(apart, `seed ${seed}, round ${round}, step ${step}`).toBe(true);
      });
    }
  }
});
