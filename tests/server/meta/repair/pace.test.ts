// How fast repairs go, and when what failed is tried again.

import { expect, test } from "bun:test";
import { blockId, serverId } from "../../../../src/base/ids.ts";
import { Pace } from "../../../../src/server/meta/repair/pace.ts";
import { Retries } from "../../../../src/server/meta/repair/retries.ts";
import { ManualClock } from "../support/manual-clock.ts";

const ONE = blockId(1n);

test("copies begin at the rate on average, whatever their size, and nothing is saved up", () => {
  const clock = new ManualClock();
  const pace = new Pace(clock, 1000);
  expect(pace.waitMs()).toBe(0);
  pace.begin(500);
  expect(pace.waitMs()).toBe(500);
  pace.begin(1500);
  expect(pace.waitMs()).toBe(2000);
  clock.advance(60_000);
  pace.begin(1000);
  expect(pace.waitMs()).toBe(1000);
});

test("small copies begin many together, and then wait until all of these have had their time", () => {
  const clock = new ManualClock();
  const pace = new Pace(clock, 1024 * 1024);
  let begun = 0;
  for (let allowed = pace.allowance(); allowed > 0; allowed -= 4096) {
    pace.begin(4096);
    begun++;
  }
  expect([begun, pace.allowance(), pace.waitMs()]).toEqual([256, 0, 1000]);
  clock.advance(999);
  expect(pace.allowance()).toBe(0);
  clock.advance(1);
  expect(pace.allowance()).toBe(1024 * 1024);
  expect(new Pace(clock, 0).allowance()).toBe(Number.POSITIVE_INFINITY);
});

test("so much begins at once as a tenth of a second allows, a megabyte at least and a batch at most", () => {
  const MiB = 1024 * 1024;
  const burst = (rate: number): number => new Pace(new ManualClock(), rate).allowance();
  expect([0.5, 1, 4, 10, 40, 80, 1000].map((rate) => burst(rate * MiB) / MiB)).toEqual([
    0.5, 1, 1, 1, 4, 8, 8,
  ]);
});

test("without a limit nothing waits", () => {
  const pace = new Pace(new ManualClock(), 0);
  pace.begin(1e12);
  expect(pace.waitMs()).toBe(0);
});

test("the rate is that of the last seconds; what was copied is counted from the start", () => {
  const clock = new ManualClock();
  const pace = new Pace(clock, 0);
  expect(pace.rate()).toBe(0);
  for (let second = 0; second < 20; second++) {
    pace.made(3000);
    clock.advance(1000);
  }
  expect(pace.rate()).toBeGreaterThan(2500);
  expect(pace.rate()).toBeLessThan(3500);
  expect([pace.copiedBlocks, pace.copiedBytes]).toEqual([20, 60_000]);
  clock.advance(20_000);
  expect(pace.rate()).toBe(0);
});

// Repairs that had just begun were said to take many times as long as they did, unless they were the first.
test("the rate of work that has begun a moment ago is not that of the time before", () => {
  const clock = new ManualClock();
  const pace = new Pace(clock, 0);
  pace.made(1_000_000);
  clock.advance(60_000);
  for (let second = 0; second < 3; second++) {
    pace.made(3000);
    clock.advance(1000);
  }
  expect(pace.rate()).toBeGreaterThan(2000);
  expect(pace.rate()).toBeLessThan(4000);
});

test("what failed waits longer each time, up to a minute, and another server is tried", () => {
  const clock = new ManualClock();
  const retries = new Retries(clock);
  expect(retries.waits(ONE)).toBe(false);
  for (const waitMs of [1_000, 2_000, 4_000]) {
    retries.failed(ONE, serverId(3));
    clock.advance(waitMs - 10);
    expect(retries.waits(ONE)).toBe(true);
    clock.advance(20);
    expect(retries.waits(ONE)).toBe(false);
  }
  retries.failed(ONE, serverId(4));
  expect([...retries.failedServers(ONE)].map(Number)).toEqual([3, 4]);
  for (let time = 0; time < 10; time++) retries.failed(ONE);
  clock.advance(59_000);
  expect(retries.waits(ONE)).toBe(true);
  clock.advance(2_000);
  expect(retries.waits(ONE)).toBe(false);
  expect(retries.failedServers(ONE).size).toBe(0); // each of them has had its minute
  retries.failed(ONE);
  retries.clear();
  expect(retries.waits(ONE)).toBe(false);
});

test("so many failures at most are remembered", () => {
  const retries = new Retries(new ManualClock());
  for (let id = 1n; id <= 20_000n; id++) retries.failed(blockId(id));
  expect(retries.waits(ONE)).toBe(false);
  expect(retries.waits(blockId(20_000n))).toBe(true);
});
