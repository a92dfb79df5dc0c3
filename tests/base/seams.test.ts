import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { lineLogger } from "../../src/base/logger.ts";
import { seededRandom, systemRandom } from "../../src/base/random.ts";

describe("random", () => {
  test("the same seed gives the same sequence, another seed another one", () => {
    expect(seededRandom(7).bytes(32)).toEqual(seededRandom(7).bytes(32));
    expect(seededRandom(7).bytes(32)).not.toEqual(seededRandom(8).bytes(32));
  });

  test("below stays below, and reaches both ends", () => {
    const random = seededRandom(1);
    const seen = new Set(Array.from({ length: 1000 }, () => random.below(5)));
    expect([...seen].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4]);
    for (let round = 0; round < 1000; round++) expect(systemRandom.below(3)).toBeLessThan(3);
  });

  test("ids are positive and fit a signed 64-bit integer", () => {
    for (const random of [seededRandom(2), systemRandom]) {
      for (let round = 0; round < 1000; round++) {
        const id = random.id64();
        expect(id > 0n && id < 1n << 63n).toBe(true);
      }
    }
  });
});

describe("systemClock", () => {
  test("wall clock is in nanoseconds and close to Date.now", () => {
    const before = BigInt(Date.now()) * 1_000_000n;
    const now = systemClock.nowNs();
    const after = BigInt(Date.now() + 1) * 1_000_000n;
    expect(now >= before && now <= after).toBe(true);
  });

  test("a cancelled timer does not fire; timers fire in order of their delay", async () => {
    const fired: string[] = [];
    systemClock.setTimer(1, () => fired.push("cancelled")).cancel();
    await new Promise<void>((resolve) => {
      systemClock.setTimer(20, () => (fired.push("late"), resolve()));
      systemClock.setTimer(2, () => fired.push("early"));
    });
    expect(fired).toEqual(["early", "late"]);
  });
});

describe("lineLogger", () => {
  const fixed = { ...systemClock, nowNs: () => 1_700_000_000_123_000_000n };

  test("writes one line with time, level, name, message and fields", () => {
    const lines: string[] = [];
    lineLogger(fixed, "data-1", (line) => lines.push(line)).warn("peer gone", {
      peer: "127.0.0.1:9",
      reason: "bad frame",
      none: undefined,
      id: 5n,
    });
    expect(lines).toEqual([
      '2023-11-14T22:13:20.123Z warn  data-1: peer gone  peer=127.0.0.1:9 reason="bad frame" id=5\n',
    ]);
  });

  test("is silent below its level, and never lets a value break the line", () => {
    const lines: string[] = [];
    const logger = lineLogger(fixed, "x", (line) => lines.push(line), "error");
    logger.info("no");
    logger.error("yes", { name: "a\nb" });
    logger.error("it said: a\nb\u001b[2J\u0085\u2028", { name: "\u009b" });
    expect(lines).toEqual([
      '2023-11-14T22:13:20.123Z error x: yes  name="a\\nb"\n',
      '2023-11-14T22:13:20.123Z error x: it said: a\\u000ab\\u001b[2J\\u0085\\u2028  name="\\u009b"\n',
    ]);
  });
});
