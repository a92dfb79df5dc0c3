// Blocks for tests: their bytes follow from their id, so that whoever reads one knows what it must be.

import { checksumOf, pieceHashes } from "../../src/base/checksum.ts";
import { blockId, inodeId } from "../../src/base/ids.ts";
import { seededRandom } from "../../src/base/random.ts";
import type { BlockToPut } from "../../src/log/log.ts";

/** A block whose bytes follow from its id and `seed`. */
export function makeBlock(id: number | bigint, length: number, seed = 0): BlockToPut {
  const chunk = seededRandom(Number(id) * 31 + seed).bytes(Math.min(length, 4096));
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += chunk.length) {
    bytes.set(chunk.subarray(0, length - at), at);
  }
  for (let piece = 0; piece * 65536 < length; piece++) bytes[piece * 65536]! ^= piece;
  return blockOf(id, bytes);
}

/** The block with this id and these bytes. */
export function blockOf(id: number | bigint, bytes: Uint8Array): BlockToPut {
  const pieces = pieceHashes(bytes);
  return {
    block: blockId(BigInt(id)),
    length: bytes.length,
    checksum: checksumOf(bytes.length, pieces),
    inode: inodeId(BigInt(id) + 1000n),
    fileOffset: Number(id) * 4096,
    pieces,
    bytes,
  };
}

/** Segments of the logs that are killed: small, so that many rolls are hit. */
export const KILL_SEGMENT_BYTES = 512 * 1024;

/** The block that a process which is killed puts under this id: from 1 byte to 100 KB. */
export function killedBlock(id: number): BlockToPut {
  return makeBlock(id, id % 7 === 0 ? 1 + (id % 100_000) : 1 + ((id * 37) % 6000));
}
