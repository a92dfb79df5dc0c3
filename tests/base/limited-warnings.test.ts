// Warnings that strangers cause are limited, and none is lost without a trace.

import { expect, test } from "bun:test";
import {
  limitedWarnings,
  MAX_WARNINGS,
  WARNING_INTERVAL_MS,
} from "../../src/base/limited-warnings.ts";
import { lineLogger } from "../../src/base/logger.ts";
import { StillClock } from "../protocol/still-clock.ts";

test("so many warnings are written, the rest is told as a number, and then it begins anew", () => {
  const clock = new StillClock();
  const lines: string[] = [];
  const inner = lineLogger(clock, "test", (line) => lines.push(line));
  const logger = limitedWarnings(inner, clock, "things happened");
  for (let number = 0; number < MAX_WARNINGS + 100; number++) logger.warn(`warning ${number}`);
  logger.error("an error");
  expect(lines).toHaveLength(MAX_WARNINGS + 1); // errors are not limited
  clock.advance(WARNING_INTERVAL_MS);
  expect(lines.at(-1)).toContain("100 more things happened in 10 s");
  logger.warn("one more");
  expect(lines.at(-1)).toContain("one more");
  const before = lines.length;
  clock.advance(3 * WARNING_INTERVAL_MS);
  expect(lines).toHaveLength(before);
  expect(clock.timers).toBe(0);
});
