/**
 * How the bytes of a backup of the metadata database are checksummed: as those of a block, with larger pieces.
 *
 *     chunk hash   = XXH3-64(chunk)                                     8 bytes, big-endian, in the list
 *     checksum     = XXH3-64(length as 8 bytes big-endian || list)      a 64-bit unsigned integer
 */
import { checksumOf, hash64 } from "./checksum.ts";
import { BACKUP_CHUNK_BYTES } from "./limits.ts";

const HASH_BYTES = 8;

/** Number of chunks in a backup of `length` bytes. */
export function chunkCount(length: number): number {
  return Math.ceil(length / BACKUP_CHUNK_BYTES);
}

/** Bytes of one chunk of a backup of `length` bytes; 0 when there is no such chunk. */
export function chunkLength(length: number, chunk: number): number {
  return Math.max(0, Math.min(BACKUP_CHUNK_BYTES, length - chunk * BACKUP_CHUNK_BYTES));
}

/** The list of chunk hashes, 8 bytes each. */
export function hashList(hashes: readonly bigint[]): Uint8Array {
  const list = new Uint8Array(hashes.length * HASH_BYTES);
  const view = new DataView(list.buffer);
  hashes.forEach((hash, chunk) => view.setBigUint64(chunk * HASH_BYTES, hash));
  return list;
}

/** The checksum of a backup of `length` bytes whose chunk hashes are `list`. */
export function backupChecksum(length: number, list: Uint8Array): bigint {
  return checksumOf(length, list);
}

/** True when `list` is the list of chunk hashes that `checksum` was made of, for a backup of `length` bytes. */
export function verifyChunkList(length: number, list: Uint8Array, checksum: bigint): boolean {
  return (
    list.length === chunkCount(length) * HASH_BYTES && backupChecksum(length, list) === checksum
  );
}

/** True when `bytes` are that chunk of the backup of `length` bytes whose chunk hashes are `list`. */
export function isChunk(
  bytes: Uint8Array,
  chunk: number,
  length: number,
  list: Uint8Array,
): boolean {
  if (bytes.length !== chunkLength(length, chunk) || bytes.length === 0) return false;
  const view = new DataView(list.buffer, list.byteOffset, list.byteLength);
  return view.getBigUint64(chunk * HASH_BYTES) === hash64(bytes);
}

/** A backup's name as people and files have it: 16 hexadecimal digits. */
export function backupName(backup: bigint): string {
  return backup.toString(16).padStart(16, "0");
}
