// Garbage is collected when memory rises above what it ever was, and not again for the same height.

import { expect, test } from "bun:test";
import { guardMemory } from "../../src/base/memory-guard.ts";
import { StillClock } from "../protocol/still-clock.ts";

test("each new height is one collection, and what is low or not new is none", () => {
  const clock = new StillClock();
  const MIB = 2 ** 20;
  let resident = 100 * MIB;
  let collections = 0;
  const stop = guardMemory({
    clock,
    residentBytes: () => resident,
    collect: () => collections++,
  });
  const after = (mib: number): number => {
    resident = mib * MIB;
    clock.advance(1000);
    return collections;
  };
  expect([after(130), after(145), after(200), after(200), after(205), after(120)]).toEqual([
    0, 0, 1, 1, 1, 1,
  ]);
  expect([after(200), after(230), after(230)]).toEqual([1, 2, 2]);
  stop();
  expect(after(500)).toBe(2);
  expect(clock.timers).toBe(0);
});
