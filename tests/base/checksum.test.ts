import { describe, expect, test } from "bun:test";
import {
  blockChecksum,
  checksumOf,
  firstBadPiece,
  hash64,
  PIECE_HASH_BYTES,
  pieceCount,
  pieceHashes,
  verifiedPieces,
  verifyPieceList,
} from "../../src/base/checksum.ts";
import { MAX_BLOCK_BYTES, PIECE_BYTES } from "../../src/base/limits.ts";
import { seededRandom } from "../../src/base/random.ts";

const encoder = new TextEncoder();

describe("hash64", () => {
  test("is XXH3-64 with seed 0, as the reference implementation computes it", () => {
    expect(hash64(new Uint8Array(0))).toBe(0x2d06800538d394c2n);
    expect(hash64(encoder.encode("abc"))).toBe(0x78af5f94892f3950n);
  });
});

describe("block checksum", () => {
  test("a block of whole and partial pieces has one hash a piece, big-endian, in order", () => {
    const block = seededRandom(1).bytes(2 * PIECE_BYTES + 5);
    const list = pieceHashes(block);
    expect(pieceCount(block.length)).toBe(3);
    expect(list.length).toBe(3 * PIECE_HASH_BYTES);
    expect(new DataView(list.buffer).getBigUint64(16)).toBe(
      hash64(block.subarray(2 * PIECE_BYTES)),
    );
  });

  test("is frozen: these values are in every database and must never change", () => {
    expect(blockChecksum(encoder.encode("abcdefgh"))).toBe(0x761bf2473f51beb9n);
    expect(blockChecksum(new Uint8Array(PIECE_BYTES + 1))).toBe(0xa8d89c202e7386c2n);
  });

  test("is the hash of length and list, for what is longer than any block as well", () => {
    for (const pieces of [
      0,
      1,
      MAX_BLOCK_BYTES / PIECE_BYTES,
      MAX_BLOCK_BYTES / PIECE_BYTES + 1,
      1,
    ]) {
      const list = seededRandom(pieces).bytes(pieces * PIECE_HASH_BYTES);
      const head = Buffer.alloc(8);
      head.writeBigUInt64BE(2n ** 52n + 3n);
      const expected = hash64(Buffer.concat([head, list]));
      expect(checksumOf(2 ** 52 + 3, list)).toBe(expected);
    }
  });

  test("covers the length: the same list with another length is another checksum", () => {
    const list = pieceHashes(encoder.encode("abc"));
    expect(checksumOf(3, list)).not.toBe(checksumOf(4, list));
  });

  test("verifyPieceList accepts the true list only", () => {
    const block = seededRandom(2).bytes(PIECE_BYTES + 100);
    const list = pieceHashes(block);
    const checksum = blockChecksum(block);
    expect(verifyPieceList(block.length, list, checksum)).toBe(true);
    expect(verifyPieceList(block.length - 1, list, checksum)).toBe(false);
    expect(verifyPieceList(block.length, list.subarray(8), checksum)).toBe(false);
    list[3]! ^= 1;
    expect(verifyPieceList(block.length, list, checksum)).toBe(false);
  });

  test.each([1, 5, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])(
    "verifiedPieces of %d bytes are the list, for the right checksum only",
    (length) => {
      const block = seededRandom(length).bytes(length);
      const list = pieceHashes(block);
      const checksum = checksumOf(length, list);
      const found = verifiedPieces(block, checksum);
      verifiedPieces(seededRandom(1).bytes(9), 0n); // what is looked at next leaves the list alone
      expect(found).toEqual(list);
      expect(verifiedPieces(block, checksum ^ 1n)).toBeUndefined();
      block[length - 1]! ^= 1;
      expect(verifiedPieces(block, checksum)).toBeUndefined();
    },
  );

  test("firstBadPiece finds a flipped bit in any byte of a range of pieces", () => {
    const seed = 3;
    const random = seededRandom(seed);
    const block = random.bytes(3 * PIECE_BYTES + 7);
    const list = pieceHashes(block);
    const tail = block.slice(PIECE_BYTES);
    expect(firstBadPiece(tail, 1, list)).toBe(-1);
    for (let round = 0; round < 200; round++) {
      const at = random.below(tail.length);
      tail[at]! ^= 1 << random.below(8);
      const expected = 1 + Math.floor(at / PIECE_BYTES);
      if (firstBadPiece(tail, 1, list) !== expected)
        throw new Error(`seed ${seed}, round ${round}, byte ${at}`);
      tail.set(block.subarray(PIECE_BYTES + at, PIECE_BYTES + at + 1), at);
    }
  });

  test("firstBadPiece refuses more pieces than the list has", () => {
    const block = seededRandom(4).bytes(PIECE_BYTES);
    expect(firstBadPiece(new Uint8Array(2 * PIECE_BYTES), 0, pieceHashes(block))).toBe(0);
    expect(firstBadPiece(block, 1, pieceHashes(block))).toBe(1);
  });
});
