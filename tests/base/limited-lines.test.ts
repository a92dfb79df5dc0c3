// Lines that strangers cause are limited, and none is lost without a trace.

import { expect, test } from "bun:test";
import { INTERVAL_MS, LimitedLines, MAX_LINES, MAX_SUMS } from "../../src/base/limited-lines.ts";
import { lineLogger } from "../../src/base/logger.ts";
import { StillClock } from "../protocol/still-clock.ts";

function limited() {
  const clock = new StillClock();
  const lines: string[] = [];
  const logger = lineLogger(clock, "test", (line) => lines.push(line));
  const tellers = new LimitedLines(logger, clock, ["strangers", "were sent away"]);
  const tell = (why: string, from = "10.0.0.1", level: "info" | "warn" = "warn"): void =>
    tellers.tell({ level, message: "sent a stranger away", from, why, fields: { peer: "me" } });
  const fill = (): void => {
    for (let number = 0; number < MAX_LINES; number++) tell(`reason ${number}`);
  };
  return { clock, lines, tell, fill, tellers };
}

const sumIn = (lines: readonly string[]): number =>
  lines.reduce((sum, line) => sum + Number(/: (\d+) more /.exec(line)?.[1] ?? 0), 0);

test("so many are written, the rest is told as a number, and then it begins anew", () => {
  const { clock, lines, tell, fill } = limited();
  fill();
  for (let number = 0; number < 100; number++) tell(`it was late by ${number} ms`);
  expect(lines).toHaveLength(MAX_LINES);
  expect(lines[0]).toContain("warn  test: sent a stranger away: reason 0  peer=me");
  clock.advance(INTERVAL_MS);
  expect(lines).toHaveLength(MAX_LINES + 1);
  expect(lines.at(-1)).toContain(
    "warn  test: 100 more strangers from 10.0.0.1 were sent away in the last 10 s: it was late by 0 ms",
  );
  tell("one more");
  expect(lines.at(-1)).toContain("one more");
  const before = lines.length;
  clock.advance(3 * INTERVAL_MS);
  expect(lines).toHaveLength(before);
  expect(clock.timers).toBe(0);
});

test("whose and why are told apart, and the level is that of the event", () => {
  const { clock, lines, tell, fill } = limited();
  fill();
  for (const from of ["10.0.0.1", "10.0.0.2"]) {
    tell("a wrong key", from);
    tell("a wrong key", from);
    tell("it went away", from, "info");
  }
  clock.advance(INTERVAL_MS);
  const told = lines.slice(MAX_LINES).map((line) => line.slice(line.indexOf(" ") + 1).trimEnd());
  expect(told).toEqual([
    "warn  test: 2 more strangers from 10.0.0.1 were sent away in the last 10 s: a wrong key",
    "info  test: 1 more strangers from 10.0.0.1 were sent away in the last 10 s: it went away",
    "warn  test: 2 more strangers from 10.0.0.2 were sent away in the last 10 s: a wrong key",
    "info  test: 1 more strangers from 10.0.0.2 were sent away in the last 10 s: it went away",
  ]);
});

test("however many addresses and reasons there are, the lines are few and the numbers add up", () => {
  const { clock, lines, tell } = limited();
  for (let number = 0; number < 5_000; number++) {
    tell("xy".repeat(1 + (number % 7)), `10.0.${number % 50}.1`);
  }
  clock.advance(INTERVAL_MS);
  expect(lines).toHaveLength(MAX_LINES + MAX_SUMS);
  expect(lines.at(-1)).toContain(
    "more strangers were sent away in the last 10 s: for other reasons",
  );
  expect(MAX_LINES + sumIn(lines)).toBe(5_000);
});

test("what was counted is told at the end of the process too", () => {
  const { clock, lines, tell, fill, tellers } = limited();
  fill();
  tell("too late");
  clock.advance(3_000);
  tellers.close();
  expect(lines.at(-1)).toContain("1 more strangers from 10.0.0.1 were sent away in the last 3 s");
  expect(clock.timers).toBe(0);
});
