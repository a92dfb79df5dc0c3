// Figures and tables for people.

import { describe, expect, test } from "bun:test";
import {
  counted,
  countText,
  deviceNumbers,
  durationText,
  isoTime,
  modeText,
  octalMode,
  shortSize,
  sizeText,
} from "../../src/tools/shared/format.ts";
import { tableLines } from "../../src/tools/shared/table.ts";

test.each([
  [0, "0 B"],
  [1, "1 B"],
  [1023, "1023 B"],
  [1024, "1 KiB"],
  [1536, "1.5 KiB"],
  [10_240, "10 KiB"],
  [1_048_575, "1 MiB"],
  [224_395_264, "214 MiB"],
  [5 * 2 ** 30, "5 GiB"],
  [Number.MAX_SAFE_INTEGER, "8 PiB"],
])("sizeText(%d) is %j", (bytes, text) => expect(sizeText(bytes)).toBe(text));

// Checked against numfmt --to=iec --round=up, which ls, du and df agree with.
test.each([
  [0, "0"],
  [1, "1"],
  [1023, "1023"],
  [1024, "1.0K"],
  [1025, "1.1K"],
  [10_188, "10K"], // 9.949 KiB would be 9.9 if it were rounded to the nearest
  [10_189, "10K"],
  [10_241, "11K"],
  [1_047_552, "1023K"],
  [1_047_553, "1.0M"],
  [5 * 2 ** 30, "5.0G"],
  [Number.MAX_SAFE_INTEGER, "8.0P"],
])("shortSize(%d) is %j", (bytes, text) => expect(shortSize(bytes)).toBe(text));

test("counts have commas, and a plural where it belongs", () => {
  expect([0, 999, 1000, 1_234_567].map(countText)).toEqual(["0", "999", "1,000", "1,234,567"]);
  expect(counted(1, "copy", "copies")).toBe("1 copy");
  expect(counted(2, "copy", "copies")).toBe("2 copies");
});

test.each([
  [40, "0.0 s"],
  [420, "0.4 s"],
  [12_345, "12 s"],
  [200_000, "3 min 20 s"],
  [7_500_000, "2 h 5 min"],
])("durationText(%d) is %j", (ms, text) => expect(durationText(ms)).toBe(text));

test("isoTime is exact to the nanosecond, also before 1970", () => {
  expect(isoTime(1_700_000_000_123_456_789n)).toBe("2023-11-14T22:13:20.123456789Z");
  expect(isoTime(0n)).toBe("1970-01-01T00:00:00.000000000Z");
  expect(isoTime(-1n)).toBe("1969-12-31T23:59:59.999999999Z");
  expect(isoTime(-4_012_345_679n)).toBe("1969-12-31T23:59:55.987654321Z");
});

test.each([
  ["file", 0o644, "-rw-r--r--"],
  ["directory", 0o755, "drwxr-xr-x"],
  ["symlink", 0o777, "lrwxrwxrwx"],
  ["file", 0o4755, "-rwsr-xr-x"],
  ["file", 0o6644, "-rwSr-Sr--"],
  ["directory", 0o1777, "drwxrwxrwt"],
  ["directory", 0o1776, "drwxrwxrwT"],
  ["fifo", 0, "p---------"],
  ["socket", 0o700, "srwx------"],
  ["characterDevice", 0o666, "crw-rw-rw-"],
  ["blockDevice", 0o660, "brw-rw----"],
] as const)("modeText(%s, %o) is %s", (type, mode, text) => {
  expect(modeText(type, mode)).toBe(text);
});

test("modes in octal have four digits, devices two numbers", () => {
  expect(octalMode(0o7)).toBe("0007");
  expect(octalMode(0o4755)).toBe("4755");
  expect(deviceNumbers(0x0103)).toEqual({ major: 1, minor: 3 });
  expect(deviceNumbers(0x1230_0845)).toEqual({ major: 8, minor: 0x12345 });
});

describe("tableLines", () => {
  test("aligns columns by what is seen, and does not pad the last one", () => {
    const lines = tableLines(
      [{ title: "ID", align: "right" }, { title: "NAME" }, { title: "LAST" }],
      [
        ["1", "本本", "x"],
        ["1000", "a", "longer "],
        ["2", "b", ""],
      ],
    );
    expect(lines).toEqual(["  ID  NAME  LAST", "   1  本本  x", "1000  a     longer ", "   2  b"]);
  });

  test("holds a hundred thousand rows", () => {
    const rows = Array.from({ length: 100_000 }, (_, index) => [String(index)]);
    expect(tableLines([{ title: "N", align: "right" }], rows).at(-1)).toBe("99999");
  });
});
