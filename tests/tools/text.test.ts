// Names on the screen and in JSON: nothing drives a terminal, nothing is lost.

import { describe, expect, test } from "bun:test";
import { seededRandom } from "../../src/base/random.ts";
import { escaped, jsonName, jsonRow, printable, quoted } from "../../src/tools/shared/text.ts";

const bytes = (...parts: (string | number[])[]): Uint8Array =>
  Buffer.concat(
    parts.map((part) => (typeof part === "string" ? Buffer.from(part) : Buffer.from(part))),
  );

// oxlint-disable-next-line no-control-regex -- what must never come out
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/u;

describe("escaped", () => {
  const cases: readonly (readonly [title: string, name: Uint8Array, shown: string])[] = [
    ["plain text stays", bytes("report-1.txt"), "report-1.txt"],
    ["so does any script", bytes("Bücher 本 🙂"), "Bücher 本 🙂"],
    ["newline, tab and return by letter", bytes("a\nb\tc\rd"), "a\\nb\\tc\\rd"],
    ["a backslash is doubled", bytes("a\\nb"), "a\\\\nb"],
    ["escape sequences are spelled out", bytes("\u001b[31mred"), "\\x1b[31mred"],
    ["so are C1 controls", bytes("\u009b31m"), "\\u{009b}31m"],
    ["and what reorders text", bytes("abc\u202etxt.exe"), "abc\\u{202e}txt.exe"],
    ["and what is invisible", bytes("a\u200bb\ufeff"), "a\\u{200b}b\\u{feff}"],
    ["bytes that are no UTF-8", bytes("a", [0xff, 0xfe], "b"), "a\\xff\\xfeb"],
    ["a cut sequence", bytes("a", [0xe2, 0x82]), "a\\xe2\\x82"],
    ["an overlong sequence", bytes([0xc0, 0xaf]), "\\xc0\\xaf"],
    ["a surrogate", bytes([0xed, 0xa0, 0x80]), "\\xed\\xa0\\x80"],
    ["bad bytes beside good letters and controls", bytes("é\n", [0x80]), "é\\n\\x80"],
    ["a replacement character that is really there", bytes("\ufffd", [0x80]), "\ufffd\\x80"],
    ["nothing", bytes(), ""],
  ];
  test.each(cases)("%s", (_title, name, shown) => expect(escaped(name)).toBe(shown));

  test("random names: no control gets through, and different names look different", () => {
    const seed = 20_260_131;
    const random = seededRandom(seed);
    const seen = new Map<string, string>();
    for (let round = 0; round < 20_000; round++) {
      const name = random.bytes(1 + random.below(6));
      const shown = escaped(name);
      expect(shown, `seed ${seed}`).not.toMatch(CONTROLS);
      const other = seen.get(shown);
      expect(other ?? name.toHex(), `seed ${seed}, shown as ${shown}`).toBe(name.toHex());
      seen.set(shown, name.toHex());
    }
  });
});

test("quoted puts quotes around what would be hard to see in a sentence", () => {
  expect(quoted(bytes("/plain"))).toBe("/plain");
  expect(quoted(bytes("/with space"))).toBe("'/with space'");
  expect(quoted(bytes(""))).toBe("''");
  expect(quoted(bytes("/a\nb"))).toBe("'/a\\nb'");
});

test("printable keeps lines apart and nothing else", () => {
  expect(printable("one\ntwo\u001b[2J\u0007")).toBe("one\ntwo\\x1b[2J\\x07");
});

describe("jsonName", () => {
  test("has the bytes in base64 only where the text cannot give them back", () => {
    expect(jsonName("name", bytes("a\nb"))).toEqual({ name: "a\nb" });
    expect(jsonName("name", bytes("\ufffd"))).toEqual({ name: "\ufffd" });
    expect(jsonName("path", bytes("a", [0xff]))).toEqual({ path: "a\ufffd", pathBase64: "Yf8=" });
  });

  test("a byte order mark is part of the name", () => {
    expect(jsonName("name", bytes("\ufeffa"))).toEqual({ name: "\ufeffa" });
  });
});

describe("jsonRow", () => {
  test("is one line without controls that reads back as it was", () => {
    const row = { name: "a\n\u001b\u009b\u2028\u202eb", size: 1 };
    const text = jsonRow(row);
    expect(text).not.toMatch(CONTROLS);
    expect(JSON.parse(text)).toEqual(row);
  });

  test("64-bit integers become text", () => {
    expect(jsonRow({ id: 2n ** 60n })).toBe(`{"id":"${2n ** 60n}"}`);
  });
});
