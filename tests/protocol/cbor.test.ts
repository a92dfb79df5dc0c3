// What the check of raw bytes lets through, and above all what it does not. Bytes are written as hex, after RFC 8949.

import { describe, expect, test } from "bun:test";
import { DfsError, isDfsError } from "../../src/base/errors.ts";
import { MAX_BLOCK_BYTES, MAX_CBOR_DEPTH, MAX_HEAD_BYTES } from "../../src/base/limits.ts";
import {
  checkItem,
  decodeBody,
  encodeHead,
  FRAME_KINDS,
  parseFrame,
} from "../../src/protocol/cbor.ts";
import type { Item } from "../../src/protocol/schema.ts";
import { patterned, randomFor } from "./support.ts";

function hex(text: string): Uint8Array {
  return Uint8Array.fromHex(text.replaceAll(" ", ""));
}

/** A request frame [0, 1, 2, body] with this body. */
function withBody(body: string): Uint8Array {
  return hex(`84 00 01 02 ${body}`);
}

function bodyOf(body: string): unknown {
  return decodeBody(parseFrame(withBody(body)));
}

function refusal(bytes: Uint8Array): string {
  try {
    parseFrame(bytes);
  } catch (error) {
    expect(isDfsError(error, "protocol")).toBe(true);
    return (error as DfsError).message;
  }
  throw new Error(`these bytes were expected to be refused: ${bytes.toHex().slice(0, 100)}`);
}

describe("parseFrame", () => {
  test("finds the parts of a frame with bulk bytes, without copying them", () => {
    const bytes = hex("85 01 1a ffffffff 00 82 18 2a 61 78 43 aabbcc");
    const frame = parseFrame(bytes);
    expect([frame.kind, frame.id, frame.code, frame.length]).toEqual([1, 0xffffffff, 0, 17]);
    expect(decodeBody(frame)).toEqual([42, "x"]);
    expect(frame.bulk).toEqual(hex("aabbcc"));
    expect(frame.bulk?.buffer).toBe(bytes.buffer);
  });

  test("finds them inside a larger buffer as well", () => {
    const inner = hex("85 00 01 02 81 05 42 0102");
    const buffer = new Uint8Array(100).fill(0xff);
    buffer.set(inner, 50);
    const frame = parseFrame(buffer, 50, 50 + inner.length);
    expect(decodeBody(frame)).toEqual([5]);
    expect(frame.bulk).toEqual(hex("0102"));
    expect(() => parseFrame(buffer, 50, 50 + inner.length - 1)).toThrow("beyond the frame's end");
  });

  const allowed: [what: string, body: string, value: Item][] = [
    ["small integers", "83 00 17 1818", [0, 23, 24]],
    ["integers of 16 and 32 bits", "82 19ffff 1affffffff", [65535, 0xffffffff]],
    ["integers of 64 bits", "81 1bffffffffffffffff", [(1n << 64n) - 1n]],
    ["negative integers", "83 20 3863 3b7fffffffffffffff", [-1, -100, -(1n << 63n)]],
    ["false, true and null", "83 f4 f5 f6", [false, true, null]],
    ["byte strings", "82 40 43 010203", [new Uint8Array(0), hex("010203")]],
    ["texts", "82 60 65 68c3a96c6f", ["", "hélo"]],
    ["nested and empty arrays", "83 80 81 80 82 01 02", [[], [[]], [1, 2]]],
    ["lengths written longer than need be", "81 59 0001 07", [hex("07")]],
  ];
  for (const [what, body, value] of allowed) {
    test(`lets ${what} through`, () => expect(bodyOf(body)).toEqual(value));
  }

  const refused: [what: string, body: string, why: string][] = [
    ["a map", "a0", "a map, tag, float"],
    ["a map with the key __proto__", "a1 69 5f5f70726f746f5f5f 80", "a map, tag, float"],
    ["a positive bignum (tag 2)", "c2 41 01", "a map, tag, float"],
    ["a negative bignum (tag 3)", "c3 41 01", "a map, tag, float"],
    ["a date (tag 0)", "c0 60", "a map, tag, float"],
    ["a shared value (tag 28)", "d81c 80", "a map, tag, float"],
    ["a typed array (tag 64)", "d840 41 01", "a map, tag, float"],
    ["an explicit map (tag 259)", "d90103 a0", "a map, tag, float"],
    ["a record of the decoder's own", "d9dfff 83 00 81 61 61 01", "a map, tag, float"],
    ["a float of 16 bits", "f90000", "a map, tag, float"],
    ["a float of 32 bits", "fa00000000", "a map, tag, float"],
    ["a float of 64 bits", "fb0000000000000000", "a map, tag, float"],
    ["undefined", "f7", "a map, tag, float"],
    ["an unassigned simple value", "e0", "a map, tag, float"],
    ["a break", "ff", "a map, tag, float"],
    ["an array of indefinite length", "9f ff", "indefinite"],
    ["a byte string of indefinite length", "5f 41 00 ff", "indefinite"],
    ["a text of indefinite length", "7f 61 61 ff", "indefinite"],
    ["a reserved head", "1c", "reserved"],
    ["a byte string longer than the frame", "5a 7fffffff 00", "beyond the frame's end"],
    ["a text longer than the frame", "63 6161", "beyond the frame's end"],
    ["an array with more elements than bytes", "9a 7fffffff 00", "beyond the frame's end"],
    ["an array of 64-bit length", "9b 0000000000000001 00", "64 bits"],
    ["a byte string of 64-bit length", "5b 0000000000000001 00", "64 bits"],
    ["a text that is not UTF-8", "61 ff", "not UTF-8"],
    ["an overlong encoding of a slash", "62 c0af", "not UTF-8"],
    ["a lone surrogate in UTF-8", "63 eda080", "not UTF-8"],
    ["a text cut inside a character", "62 61c3", "not UTF-8"],
    ["surplus bytes", "00 00", "surplus"],
    ["a truncated array", "82 1820", "truncated"],
    ["a truncated integer", "1a 0000", "truncated"],
    ["nothing", "", "truncated"],
  ];
  for (const [what, body, why] of refused) {
    test(`refuses ${what}`, () => expect(refusal(withBody(body))).toContain(why));
    test(`refuses ${what} inside an array`, () => {
      expect(() => parseFrame(withBody(`82 00 ${body}`))).toThrow(DfsError);
    });
  }

  test("refuses nesting deeper than the limit, however deep, and takes the limit", () => {
    const nested = (depth: number) => withBody("81".repeat(depth - 1) + "00");
    expect(parseFrame(nested(MAX_CBOR_DEPTH)).kind).toBe(0);
    expect(refusal(nested(MAX_CBOR_DEPTH + 1))).toContain("nested");
    expect(refusal(nested(500_000))).toContain("nested");
    const empty = withBody("81".repeat(MAX_CBOR_DEPTH - 1) + "80");
    expect(refusal(empty)).toContain("nested");
  });

  test("refuses frames whose own array is not as it should be", () => {
    const cases: [bytes: string, why: string][] = [
      ["", "not an array"],
      ["00", "not an array"],
      ["83 00 01 02", "not an array"],
      ["86 00 01 02 80 40 00", "not an array"],
      ["9f 00 01 02 80 ff", "not an array"],
      ["84 04 01 02 80", "unknown kind"],
      ["84 20 01 02 80", "no uint32"],
      ["84 00 1b0000000000000001 02 80", "no uint32"],
      ["84 00 61 31 02 80", "no uint32"],
      ["84 01 01 02 80", "a reply with a code"],
      ["84 03 01 02 80", "a notice with a number"],
      ["85 00 01 02 80 60", "no byte string"],
      ["85 00 01 02 80 f6", "no byte string"],
      ["85 00 01 02 80 44 000000", "beyond the frame's end"],
      ["85 00 01 02 80", "truncated"],
      ["85 02 01 02 82 60 80 40", "bulk bytes in an error"],
      ["85 03 00 02 80 40", "bulk bytes in an error"],
    ];
    for (const [bytes, why] of cases) expect(refusal(hex(bytes))).toContain(why);
  });

  test("refuses a head over its limit, and too many bulk bytes", () => {
    const longHead = encodeHeadUnchecked(new Uint8Array(MAX_HEAD_BYTES));
    expect(refusal(longHead)).toContain("over the limit");
    const bulk = new Uint8Array(MAX_BLOCK_BYTES + 1);
    const head = hex(`85 00 01 02 80 5a ${(MAX_BLOCK_BYTES + 1).toString(16).padStart(8, "0")}`);
    expect(refusal(Buffer.concat([head, bulk]))).toContain("over the limit");
    const most = hex(`85 00 01 02 80 5a ${MAX_BLOCK_BYTES.toString(16).padStart(8, "0")}`);
    const frame = parseFrame(Buffer.concat([most, bulk.subarray(1)]));
    expect(frame.bulk?.length).toBe(MAX_BLOCK_BYTES);
  });

  test("refuses what costs the decoder quadratic time, without trying it", () => {
    const bignum = Buffer.concat([withBody("c2 5a 00020000"), new Uint8Array(0x20000).fill(0xff)]);
    expect(refusal(bignum)).toContain("a map, tag, float");
  });

  test("never throws anything but `protocol` and never lets the decoder fail, on random bytes", () => {
    const random = randomFor("random frames");
    let accepted = 0;
    for (let round = 0; round < 30_000; round++) {
      const bytes = random.bytes(1 + random.below(24));
      bytes.set([0x84, 0, 1, 2].slice(0, bytes.length));
      accepted += acceptsSafely(bytes) ? 1 : 0;
    }
    expect(accepted).toBeGreaterThan(100);
  });

  test("never throws anything but `protocol`, on valid frames with flipped bits and cut ends", () => {
    const random = randomFor("damaged frames");
    const body: Item = [1, "ü", [patterned(30), -5n, [null, true]], 1n << 60n, ["a", ["b", []]]];
    const good = encodeHead(FRAME_KINDS.request, 77, 0x0701, body);
    expect(acceptsSafely(good)).toBe(true);
    for (let round = 0; round < 20_000; round++) {
      const bytes = good.slice(0, random.below(4) === 0 ? random.below(good.length) : good.length);
      for (let flips = 1 + random.below(3); flips > 0 && bytes.length > 0; flips--) {
        const at = random.below(bytes.length);
        bytes[at] = bytes[at]! ^ (1 << random.below(8));
      }
      acceptsSafely(bytes);
    }
  });
});

/** Parses and decodes; true when that worked, false when it was refused as it should be. */
function acceptsSafely(bytes: Uint8Array): boolean {
  let frame;
  try {
    frame = parseFrame(bytes);
  } catch (error) {
    if (!isDfsError(error, "protocol")) throw error;
    return false;
  }
  decodeBody(frame);
  return true;
}

/** A request whose body is one byte string, without the limits of the real encoder. */
function encodeHeadUnchecked(body: Uint8Array): Uint8Array {
  const head = hex(`84 00 01 02 5a ${body.length.toString(16).padStart(8, "0")}`);
  return Buffer.concat([head, body]);
}

describe("decodeBody", () => {
  test("copies byte strings out of the frame", () => {
    for (const length of [3, 5000]) {
      const bytes = Uint8Array.from(encodeHead(0, 1, 2, [patterned(length)]));
      const [copy] = decodeBody(parseFrame(bytes)) as [Uint8Array];
      bytes.fill(0xee);
      expect(copy).toEqual(patterned(length));
      expect(copy.buffer.byteLength).toBe(length);
    }
  });

  test("gives a body the same value whatever was decoded before", () => {
    const long = encodeHead(0, 1, 2, ["x".repeat(400), 1n << 40n]);
    const short = encodeHead(0, 1, 2, [7]);
    for (const [bytes, value] of [
      [long, ["x".repeat(400), 1n << 40n]],
      [short, [7]],
      [long, ["x".repeat(400), 1n << 40n]],
    ] as const) {
      expect(decodeBody(parseFrame(bytes))).toEqual(value as unknown as Item);
    }
  });
});

describe("encodeHead", () => {
  test("is what parseFrame reads back, for bulk lengths around every width of the length", () => {
    for (const length of [0, 1, 23, 24, 255, 256, 65535, 65536, 1 << 20, MAX_BLOCK_BYTES]) {
      const head = encodeHead(FRAME_KINDS.reply, 9, 0, [1], length);
      const bulk = patterned(length);
      const frame = parseFrame(Buffer.concat([head, bulk]));
      expect([frame.kind, frame.id, frame.code]).toEqual([1, 9, 0]);
      expect(Buffer.compare(frame.bulk!, bulk)).toBe(0);
    }
  });

  test("writes no float, tag or map whatever the item", () => {
    const items: Item[] = [
      0,
      2 ** 32 - 1,
      1n << 63n,
      -1n,
      -(1n << 63n),
      "",
      "é€😀",
      true,
      null,
      [],
    ];
    for (const item of items) checkItem(encodeHead(0, 1, 2, [item]));
  });

  test("refuses items that are not allowed on the wire", () => {
    const wrong = [1.5, 2 ** 40, undefined, { a: 1 }, new Map(), "\ud800", 1n << 64n, new Date(0)];
    for (const item of wrong) {
      expect(() => encodeHead(0, 1, 2, [item as Item])).toThrow("cannot be sent");
    }
  });

  test("refuses more than a head or a block may hold, saying the limit", () => {
    expect(() => encodeHead(0, 1, 2, [new Uint8Array(MAX_HEAD_BYTES)])).toThrow(
      String(MAX_HEAD_BYTES),
    );
    expect(() => encodeHead(0, 1, 2, [], MAX_BLOCK_BYTES + 1)).toThrow(String(MAX_BLOCK_BYTES));
  });
});
