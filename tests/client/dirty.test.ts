import { describe, expect, test } from "bun:test";
import { seededRandom } from "../../src/base/random.ts";
import { DirtyRanges, rangesIn } from "../../src/client/dirty.ts";
import { frameMemory } from "../../src/protocol/frame-memory.ts";

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function taken(dirty: DirtyRanges, maxBytes = Infinity, maxRanges = 1000): [number, string][] {
  return dirty
    .take(maxBytes, maxRanges)
    .map(({ offset, bytes }) => [offset, new TextDecoder().decode(bytes)]);
}

describe("DirtyRanges", () => {
  test("a write is cut at multiples of the block size", () => {
    const dirty = new DirtyRanges(4);
    dirty.write(2, text("abcdefg"));
    expect(dirty.end).toBe(9);
    expect(taken(dirty)).toEqual([
      [2, "ab"],
      [4, "cdef"],
      [8, "g"],
    ]);
    expect([dirty.count, dirty.bytes, dirty.end]).toEqual([0, 0, 0]);
  });

  test("writes that follow one another grow one range; overlapping ones are merged", () => {
    const dirty = new DirtyRanges(100);
    dirty.write(10, text("aaa"));
    dirty.write(13, text("bbb"));
    dirty.write(20, text("cc"));
    dirty.write(12, text("-"));
    expect(dirty.count).toBe(2);
    dirty.write(15, text("xxxxx"));
    expect(taken(dirty)).toEqual([[10, "aa-bbxxxxxcc"]]);
  });

  test("keeps copies: the writer may use its buffer again", () => {
    const dirty = new DirtyRanges(100);
    const buffer = text("abc");
    dirty.write(0, buffer);
    buffer.fill(0);
    expect(taken(dirty)).toEqual([[0, "abc"]]);
  });

  test("long ranges that grow, and are put together, keep their bytes in memory that was used before", () => {
    const size = 64 * 1024;
    const used = frameMemory.take(2 * size);
    used.fill(255);
    frameMemory.giveBack(used);
    const dirty = new DirtyRanges(4 * size);
    const expected = new Uint8Array(4 * size);
    for (const [at, from, length] of [
      [1, 0, size],
      [2, 2 * size, size + 5],
      [3, size, size - 7],
      [4, 2 * size - 10, 20],
    ] as const) {
      dirty.write(from, new Uint8Array(length).fill(at));
      expected.fill(at, from, from + length);
    }
    const [range, ...others] = dirty.take(Infinity, 1000);
    expect(others).toEqual([]);
    expect(Buffer.compare(range!.bytes, expected.subarray(0, 3 * size + 5))).toBe(0);
  });

  test("take stops at a number of bytes and of ranges, also inside a block", () => {
    const dirty = new DirtyRanges(100);
    for (const offset of [0, 10, 20, 200, 300]) dirty.write(offset, text("abc"));
    expect(taken(dirty, Infinity, 2)).toEqual([
      [0, "abc"],
      [10, "abc"],
    ]);
    expect(taken(dirty, 6)).toEqual([
      [20, "abc"],
      [200, "abc"],
    ]);
    expect(dirty.end).toBe(303);
    expect(dirty.count).toBe(1);
  });

  test("what is put back lies under what was written meanwhile", () => {
    const dirty = new DirtyRanges(100);
    dirty.write(0, text("old old old"));
    const failed = dirty.take(Infinity, 10);
    dirty.write(4, text("NEW"));
    dirty.putBack(failed);
    expect(taken(dirty)).toEqual([[0, "old NEW old"]]);
  });

  test("random writes and takes agree with a plain image", () => {
    const seed = 31;
    const random = seededRandom(seed);
    for (let round = 0; round < 100; round++) {
      const dirty = new DirtyRanges(1 + random.below(64));
      const image = new Map<number, number>();
      for (let step = 0; step < 60; step++) {
        const choice = random.below(10);
        if (choice === 0) {
          for (const { offset, bytes } of dirty.take(random.below(200), 1 + random.below(5))) {
            bytes.forEach((byte, at) => {
              expect(image.get(offset + at), `seed ${seed}`).toBe(byte);
              image.delete(offset + at);
            });
          }
        } else {
          const offset = random.below(400);
          const bytes = random.bytes(1 + random.below(100));
          dirty.write(offset, bytes);
          bytes.forEach((byte, at) => image.set(offset + at, byte));
        }
        const seen = new Map<number, number>();
        for (const { offset, bytes } of dirty.copiesIn(0, 1000)) {
          bytes.forEach((byte, at) => seen.set(offset + at, byte));
        }
        expect(seen, `seed ${seed}, round ${round}, step ${step}`).toEqual(image);
        expect(dirty.end).toBe(Math.max(0, ...[...image.keys()].map((at) => at + 1)));
      }
    }
  });
});

describe("rangesIn", () => {
  test("cuts ranges to what was asked for", () => {
    const ranges = [
      { offset: 0, bytes: text("abcd") },
      { offset: 10, bytes: text("efgh") },
    ];
    expect(rangesIn(ranges, 2, 10).map((each) => each.offset)).toEqual([2, 10]);
    expect(rangesIn(ranges, 2, 10).map((each) => each.bytes.length)).toEqual([2, 2]);
    expect(rangesIn(ranges, 4, 6)).toEqual([]);
  });
});
