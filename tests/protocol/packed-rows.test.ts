// Rows that are packed into one byte string: every value there can be comes back, and bytes that are no rows are refused as
// any field is. tests/fuzz makes up more of both.

import { describe, expect, test } from "bun:test";
import { DfsError } from "../../src/base/errors.ts";
import { blockId, inodeId, MAX_ID } from "../../src/base/ids.ts";
import { MAX_BATCHABLE_BYTES, MAX_BATCHED_BLOCKS } from "../../src/base/limits.ts";
import { decodeBody, encodeHead, FRAME_KINDS, parseFrame } from "../../src/protocol/cbor.ts";
import { copyRow, sizedRow, type CopyRow } from "../../src/protocol/messages/block-rows.ts";
import { batchResult } from "../../src/protocol/messages/data.ts";
import { packedBool, packedChoice, packedRows } from "../../src/protocol/packed-rows.ts";
import type { Item, Schema } from "../../src/protocol/schema.ts";

const copies = packedRows(copyRow, MAX_BATCHED_BLOCKS);
const sized = packedRows(sizedRow, MAX_BATCHED_BLOCKS);
const bools = packedRows(packedBool, 3);
const results = packedRows(packedChoice(batchResult), 4);

const LEAST: CopyRow = {
  block: blockId(1n),
  checksum: 0n,
  inode: inodeId(0n),
  fileOffset: 0,
  length: 0,
  source: 0,
};
const MOST: CopyRow = {
  block: blockId(MAX_ID),
  checksum: 2n ** 64n - 1n,
  inode: inodeId(MAX_ID),
  fileOffset: Number.MAX_SAFE_INTEGER,
  length: MAX_BATCHABLE_BYTES,
  source: 2 ** 32 - 1,
};

/** What arrives when this is sent, among other bytes. */
function sent(item: Item): unknown {
  const head = encodeHead(FRAME_KINDS.request, 1, 2, [item]);
  return (
    decodeBody(parseFrame(Buffer.concat([head, Uint8Array.of(1)]), 0, head.length)) as [Item]
  )[0];
}

/** @throws unless `decode` refuses what it gets, as a field that does not fit is. */
function expectRefused(decode: () => unknown): void {
  let refusal: unknown;
  try {
    decode();
  } catch (error) {
    refusal = error;
  }
  expect(refusal).toBeInstanceOf(DfsError);
  expect((refusal as DfsError).kind).toBe("protocol");
}

function packedOf(row: CopyRow): Uint8Array {
  return copies.encode([row]) as Uint8Array;
}

/** The row with one of its bytes changed. */
function changed(row: CopyRow, at: number, byte: number): Uint8Array {
  return packedOf(row).with(at, byte);
}

describe("packed rows", () => {
  test.each<[string, Schema<unknown>, unknown[]]>([
    ["copies", copies, [LEAST, MOST, { ...MOST, fileOffset: 2 ** 32 }]],
    ["blocks and lengths", sized, [{ block: blockId(MAX_ID), length: 7 }]],
    ["bools", bools, [true, false, true]],
    ["names", results, ["stored", "notGiven", "unreachable", "notStored"]],
    ["nothing", copies, []],
  ])("of %s come back as they were", (_, schema, rows) => {
    expect(schema.decode(sent(schema.encode(rows)))).toEqual(rows);
  });

  test("take as many bytes as they say, big-endian", () => {
    const row = { ...LEAST, block: blockId(0x0102n), fileOffset: 2 ** 40 + 3, length: 0x10203 };
    expect(packedOf({ ...row, source: 9 }).toHex()).toBe(
      "0000000000000102" +
        "0000000000000000".repeat(2) +
        "0000010000000003" +
        "00010203" +
        "00000009",
    );
  });

  test("are refused when there are too many, or a part of one", () => {
    const many = Array.from({ length: MAX_BATCHED_BLOCKS + 1 }, () => MOST);
    expect(copies.decode(copies.encode(many.slice(1)))).toHaveLength(MAX_BATCHED_BLOCKS);
    expectRefused(() => copies.decode(copies.encode(many)));
    expectRefused(() => copies.decode(packedOf(MOST).subarray(1)));
    expectRefused(() => copies.decode(new Uint8Array(41)));
    expectRefused(() => copies.decode([packedOf(MOST)]));
    expectRefused(() => bools.decode("abc"));
  });

  test.each([
    ["block 0", changed(LEAST, 7, 0)],
    ["a block over 2^63 - 1", changed(LEAST, 0, 0x80)],
    ["an inode over 2^63 - 1", changed(LEAST, 16, 0x80)],
    ["an offset over 2^53 - 1", changed(LEAST, 25, 0x20)],
    ["a length over the limit", changed(MOST, 35, 1)],
  ])("are refused with %s", (_, bytes) => {
    expectRefused(() => copies.decode(bytes));
  });

  test("of lengths are refused like those of copies", () => {
    const bytes = sized.encode([{ block: blockId(1n), length: MAX_BATCHABLE_BYTES }]) as Uint8Array;
    expectRefused(() => sized.decode(bytes.with(7, 0)));
    expectRefused(() => sized.decode(bytes.with(11, 1)));
  });

  test("of bools and names are refused with others", () => {
    expectRefused(() => bools.decode(Uint8Array.of(0, 2)));
    expectRefused(() => results.decode(Uint8Array.of(0, 4)));
  });
});
