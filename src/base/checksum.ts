/**
 * The two-level checksum of a block.
 *
 * A block's bytes are cut into pieces of PIECE_BYTES (the last one may be shorter). Level one is the list of the
 * pieces' hashes; level two, the block's checksum, is the hash of the length and that list:
 *
 *     piece hash   = XXH3-64(piece)                                    8 bytes, big-endian, in the list
 *     checksum     = XXH3-64(length as 8 bytes big-endian || list)     a 64-bit unsigned integer
 *
 * Metadata keeps the checksum. A reply to a range read carries the list, so the reader first verifies the list against
 * metadata and then only the pieces it received. XXH3 finds rot and mistakes; it is no defence against forgery.
 *
 * Source: https://github.com/Cyan4973/xxHash, XXH3_64bits with seed 0.
 */
import { MAX_BLOCK_BYTES, PIECE_BYTES } from "./limits.ts";

/** Bytes of one piece hash in a list. */
export const PIECE_HASH_BYTES = 8;

/** A block's checksum: unsigned 64-bit. */
export type Checksum = bigint;

/** Bytes of the length in front of a list. */
const LENGTH_BYTES = 8;

/** What the checksum of any block is the hash of. Fresh memory costs more than the hash of a small block does. */
const hashed = new Uint8Array(LENGTH_BYTES + (MAX_BLOCK_BYTES / PIECE_BYTES) * PIECE_HASH_BYTES);
const hashedView = new DataView(hashed.buffer);
/** For a block of one piece. */
const hashedOfOne = hashed.subarray(0, LENGTH_BYTES + PIECE_HASH_BYTES);

/** Hash of any run of bytes: XXH3-64, unsigned. */
export function hash64(bytes: Uint8Array): bigint {
  return Bun.hash.xxHash3(bytes);
}

/** Number of pieces in a block of `length` bytes. */
export function pieceCount(length: number): number {
  return Math.ceil(length / PIECE_BYTES);
}

/** The list of piece hashes of a whole block: 8 bytes each, big-endian, in order. */
export function pieceHashes(block: Uint8Array): Uint8Array {
  const list = new Uint8Array(pieceCount(block.length) * PIECE_HASH_BYTES);
  const view = new DataView(list.buffer);
  for (let piece = 0; piece * PIECE_BYTES < block.length; piece++) {
    const start = piece * PIECE_BYTES;
    view.setBigUint64(piece * PIECE_HASH_BYTES, hash64(block.subarray(start, start + PIECE_BYTES)));
  }
  return list;
}

/** The checksum of a block of `length` bytes whose piece hashes are `list`. */
export function checksumOf(length: number, list: Uint8Array): Checksum {
  const end = LENGTH_BYTES + list.length;
  if (end > hashed.length) return checksumOfLong(length, list);
  writeLength(hashedView, length);
  hashed.set(list, LENGTH_BYTES);
  return hash64(hashed.subarray(0, end));
}

/** Of more pieces than a block has, as a backup does. */
function checksumOfLong(length: number, list: Uint8Array): Checksum {
  const head = new Uint8Array(LENGTH_BYTES + list.length);
  writeLength(new DataView(head.buffer), length);
  head.set(list, LENGTH_BYTES);
  return hash64(head);
}

/**
 * The piece hashes of a whole block, if they are those that `checksum` was made of. Of a short block it makes nothing but
 * the list: of those there are ten thousands in a second.
 */
export function verifiedPieces(block: Uint8Array, checksum: Checksum): Uint8Array | undefined {
  if (blockChecksum(block) !== checksum) return undefined;
  // It has left them where it hashes.
  const end = LENGTH_BYTES + pieceCount(block.length) * PIECE_HASH_BYTES;
  return end > hashed.length ? pieceHashes(block) : hashed.slice(LENGTH_BYTES, end);
}

function writeLength(target: DataView, length: number): void {
  target.setUint32(0, Math.floor(length / 2 ** 32));
  target.setUint32(4, length % 2 ** 32);
}

/** The checksum of a whole block. */
export function blockChecksum(block: Uint8Array): Checksum {
  const { length } = block;
  if (length === 0 || length > PIECE_BYTES) return checksumOf(length, pieceHashes(block));
  writeLength(hashedView, length);
  hashedView.setBigUint64(LENGTH_BYTES, hash64(block));
  return hash64(hashedOfOne);
}

/** True when `list` is the list of piece hashes that `checksum` was made of, for a block of `length` bytes. */
export function verifyPieceList(length: number, list: Uint8Array, checksum: Checksum): boolean {
  return (
    list.length === pieceCount(length) * PIECE_HASH_BYTES && checksumOf(length, list) === checksum
  );
}

/**
 * Index of the first piece in `pieces` (whole pieces of one block, the first being `firstPiece`) that does not match
 * its hash in `list`, or -1 when all match.
 */
export function firstBadPiece(pieces: Uint8Array, firstPiece: number, list: Uint8Array): number {
  const view = new DataView(list.buffer, list.byteOffset, list.byteLength);
  for (let start = 0, piece = firstPiece; start < pieces.length; start += PIECE_BYTES, piece++) {
    const at = piece * PIECE_HASH_BYTES;
    if (at + PIECE_HASH_BYTES > list.length) return piece;
    if (view.getBigUint64(at) !== hash64(pieces.subarray(start, start + PIECE_BYTES))) return piece;
  }
  return -1;
}
