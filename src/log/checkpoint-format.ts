/**
 * Bytes of a checkpoint: an image of the index and of the ledger as they were when the log ended with a certain sealed
 * segment. docs/log-format.md, "Checkpoint", has the drawings. Frozen, as format.ts.
 *
 *     checkpoint = header chunk* end
 *     chunk      = kind (4), length of the content (4), XXH3 of the content (8), content, zeros up to a multiple of 8
 *     end        = a chunk without content, whose hash is that of the header and of all chunks' first 16 bytes
 *
 * So no chunk can be missing, doubled or of another checkpoint. The header is big-endian like everything else on disk. The
 * content of chunks is an image of memory, in little-endian words: those of 64 bits for a segment, those of index-page.ts for
 * entries of the index. A checkpoint is only ever read by the machine that wrote it; where that is not so it is
 * made anew from the segments, as when it is damaged.
 */
import { hash64 } from "../base/checksum.ts";
import type { BlockId, ClusterId, Lsn } from "../base/ids.ts";
import { FIELD_BYTES, segmentIdentity, viewOf } from "./format.ts";
import type { LogOwner } from "./manifest.ts";

export const CHECKPOINT_FILE = "checkpoint";

const CHECKPOINT_VERSION = 1;

const { u32, u64, cluster: clusterBytes } = FIELD_BYTES;
const MAGIC = 0x64_66_73_2d_63_6b_70_0an; // "dfs-ckp\n"
const MAGIC_AT = 0;
const VERSION_AT = MAGIC_AT + u64;
const SERVER_AT = VERSION_AT + u32;
const CLUSTER_AT = SERVER_AT + u32;
const SEGMENT_AT = CLUSTER_AT + clusterBytes;
const NEXT_LSN_AT = SEGMENT_AT + u64;
const HIGHEST_LSN_AT = NEXT_LSN_AT + u64;
const HIGHEST_LSN_SEGMENT_AT = HIGHEST_LSN_AT + u64;
const HIGHEST_BLOCK_AT = HIGHEST_LSN_SEGMENT_AT + u64;
const SEGMENTS_AT = HIGHEST_BLOCK_AT + u64;
const ENTRIES_AT = SEGMENTS_AT + u64;
const CHECKSUM_AT = ENTRIES_AT + u64;
export const CHECKPOINT_HEADER_BYTES = CHECKSUM_AT + u64;

/** What a checkpoint says besides its segments and entries. */
export interface CheckpointHeader {
  /** Everything up to the seal of this segment is in the checkpoint, nothing behind it. */
  readonly segment: number;
  /** The log sequence number that the next record was to get. */
  readonly nextLsn: Lsn;
  /** The highest number of a record that was first written where it lies, and the segment of that record. */
  readonly highestLsn: Lsn;
  readonly highestLsnSegment: number;
  readonly highestBlock: BlockId;
  /** Number of segments, and of entries of the index. */
  readonly segments: number;
  readonly entries: number;
}

export function encodeCheckpointHeader(owner: LogOwner, header: CheckpointHeader): Uint8Array {
  const bytes = new Uint8Array(CHECKPOINT_HEADER_BYTES);
  const view = viewOf(bytes);
  const { clusterWords } = segmentIdentity(owner.cluster, owner.server, 0, 0n);
  view.setBigUint64(MAGIC_AT, MAGIC);
  view.setUint32(VERSION_AT, CHECKPOINT_VERSION);
  view.setUint32(SERVER_AT, owner.server);
  view.setBigUint64(CLUSTER_AT, clusterWords[0]);
  view.setBigUint64(CLUSTER_AT + u64, clusterWords[1]);
  view.setBigUint64(SEGMENT_AT, BigInt(header.segment));
  view.setBigUint64(NEXT_LSN_AT, header.nextLsn);
  view.setBigUint64(HIGHEST_LSN_AT, header.highestLsn);
  view.setBigUint64(HIGHEST_LSN_SEGMENT_AT, BigInt(header.highestLsnSegment));
  view.setBigUint64(HIGHEST_BLOCK_AT, header.highestBlock);
  view.setBigUint64(SEGMENTS_AT, BigInt(header.segments));
  view.setBigUint64(ENTRIES_AT, BigInt(header.entries));
  view.setBigUint64(CHECKSUM_AT, hash64(bytes.subarray(0, CHECKSUM_AT)));
  return bytes;
}

/**
 * The header of a checkpoint; undefined when it is damaged, `other` when it is whole but of another version, cluster or
 * server: then it tells nothing about this log.
 */
export function decodeCheckpointHeader(
  owner: LogOwner,
  bytes: Uint8Array,
): CheckpointHeader | "other" | undefined {
  if (bytes.length < CHECKPOINT_HEADER_BYTES) return undefined;
  const view = viewOf(bytes);
  if (view.getBigUint64(MAGIC_AT) !== MAGIC) return undefined;
  if (view.getBigUint64(CHECKSUM_AT) !== hash64(bytes.subarray(0, CHECKSUM_AT))) return undefined;
  const cluster = bytes.subarray(CLUSTER_AT, CLUSTER_AT + clusterBytes).toHex() as ClusterId;
  const isOurs =
    view.getUint32(VERSION_AT) === CHECKPOINT_VERSION &&
    view.getUint32(SERVER_AT) === owner.server &&
    cluster === owner.cluster;
  if (!isOurs) return "other";
  return {
    segment: Number(view.getBigUint64(SEGMENT_AT)),
    nextLsn: view.getBigUint64(NEXT_LSN_AT) as Lsn,
    highestLsn: view.getBigUint64(HIGHEST_LSN_AT) as Lsn,
    highestLsnSegment: Number(view.getBigUint64(HIGHEST_LSN_SEGMENT_AT)),
    highestBlock: view.getBigUint64(HIGHEST_BLOCK_AT) as BlockId,
    segments: Number(view.getBigUint64(SEGMENTS_AT)),
    entries: Number(view.getBigUint64(ENTRIES_AT)),
  };
}

/** Numbers of the kinds of chunk: one segment of the ledger; entries of the index, by rising id; the end. */
export const CHUNK_KINDS = { segment: 1, entries: 2, end: 3 } as const;

export const CHUNK_HEADER_BYTES = u32 + u32 + u64;

/** What the first bytes of a chunk say. `kind` may be one that we do not know. */
export interface ChunkHeader {
  readonly kind: number;
  readonly length: number;
  readonly hash: bigint;
}

export function encodeChunkHeader({ kind, length, hash }: ChunkHeader): Uint8Array {
  const bytes = new Uint8Array(CHUNK_HEADER_BYTES);
  const view = viewOf(bytes);
  view.setUint32(0, kind);
  view.setUint32(u32, length);
  view.setBigUint64(u32 + u32, hash);
  return bytes;
}

export function decodeChunkHeader(bytes: Uint8Array): ChunkHeader {
  const view = viewOf(bytes);
  return {
    kind: view.getUint32(0),
    length: view.getUint32(u32),
    hash: view.getBigUint64(u32 + u32),
  };
}

/** Zeros behind a chunk's content. */
export function chunkPadding(length: number): number {
  return (u64 - (length % u64)) % u64;
}
