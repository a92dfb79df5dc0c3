// Dates as touch -d takes them, compared with date(1) where that has the same notation.

import { describe, expect, test } from "bun:test";
import { parseDate } from "../../src/tools/shared/dates.ts";

const NOW_MS = Date.UTC(2026, 0, 31, 12, 0, 0, 250);

/** What date(1) makes of `text`, in nanoseconds since 1970. */
function dateSays(text: string): bigint {
  const { stdout, exitCode, stderr } = Bun.spawnSync(["date", "-d", text, "+%s %N"], {
    env: { ...process.env, LC_ALL: "C" },
  });
  if (exitCode !== 0) throw new Error(stderr.toString());
  const [seconds, ns] = stdout.toString().trim().split(" ").map(BigInt) as [bigint, bigint];
  return seconds * 1_000_000_000n + ns;
}

describe("a point in time is what date(1) makes of it", () => {
  test.each([
    "2026-01-31",
    "2026-01-31 12:00",
    "2026-01-31 12:00:05.25",
    "2026-07-31T12:00:05,123456789",
    "2026-01-31T12:00:05Z",
    "2026-01-31 12:00 UTC",
    "2026-01-31T12:00:05.5+01:00",
    "2026-01-31 00:00:05 -0730",
    "2024-02-29",
    "1969-12-31 23:59:59.999999999Z",
    "1677-09-21 00:12:44Z",
    "@0",
    "@-1",
    "@1767225600.000000001",
    "2026-01-31 +1 week",
    "2026-01-31 12:00 2 days ago",
    "2026-01-31 1 month ago",
    "2026-01-31 tomorrow",
    "2024-02-29 +1 year",
    "2026-01-31 12:00:00Z 3 hours",
    "2026-01-31 12:00:00Z 5 min ago",
  ])("%s", (text) => {
    expect(parseDate(text, NOW_MS)).toBe(dateSays(text));
  });
});

describe("a span is counted from now", () => {
  const DAY_NS = 86_400_000_000_000n;
  const nowNs = BigInt(NOW_MS) * 1_000_000n;
  test.each([
    ["2 hours ago", nowNs - DAY_NS / 12n],
    ["+90 minutes", nowNs + DAY_NS / 16n],
    ["-1 sec", nowNs - 1_000_000_000n],
    ["next hour", nowNs + DAY_NS / 24n],
    ["last hour", nowNs - DAY_NS / 24n],
    ["a minute ago", nowNs - DAY_NS / 1440n],
    ["today", nowNs],
  ])("%s", (text, expected) => {
    expect(parseDate(text, NOW_MS)).toBe(expected);
  });

  test("in days of the calendar", () => {
    const days = (text: string) => (parseDate(text, NOW_MS) as bigint) - nowNs;
    // An hour more or less where the clocks are changed.
    for (const [text, count] of [
      ["yesterday", -1n],
      ["tomorrow", 1n],
      ["2 weeks ago", -14n],
      ["fortnight", undefined],
    ] as const) {
      if (count === undefined) expect(() => parseDate(text, NOW_MS)).toThrow("expected a date");
      else expect(Number(days(text) - count * DAY_NS)).toBeWithin(-3.7e12, 3.7e12);
    }
  });

  test("now is left to the service", () => {
    expect(parseDate(" NOW ", NOW_MS)).toBe("now");
  });
});

test.each([
  ["", "expected a date"],
  ["soon", "expected a date"],
  ["2026-02-29", "no such day"],
  ["2026-13-01", "no such day"],
  ["2026-01-31 24:00", "no such time of day"],
  ["2026-01-31 12", "expected a date"],
  ["2026-01-31x", "expected a date"],
  ["12:00 +01:00:00", "expected a date"],
  ["2 days ago ago", "expected a date"],
  ["@", "expected a date"],
  ["@99999999999", "1678 to 2262"],
  ["2500-01-01", "1678 to 2262"],
  ["1500-01-01", "1678 to 2262"],
  ["999999999 years", "too far off"],
])("%j is refused", (text, message) => {
  expect(() => parseDate(text, NOW_MS)).toThrow(message);
});
