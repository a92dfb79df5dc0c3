/**
 * Bytes of a record: its header, and the body of a tombstone. The place of records and the header of segments are in
 * format.ts; docs/log-format.md has the drawings. Everything in this file is frozen.
 *
 * The header is checksummed on its own and holds the checksum of the body, so its lengths can be believed before the body
 * is looked at, and a header is never taken together with the body of another record.
 */
import { hash64, PIECE_HASH_BYTES, pieceCount, type Checksum } from "../base/checksum.ts";
import type { BlockId, InodeId, Lsn } from "../base/ids.ts";
import { MAX_BLOCK_BYTES, MAX_BLOCKS_PER_PAGE } from "../base/limits.ts";
import {
  FIELD_BYTES,
  FORMAT_VERSION,
  RECORD_ALIGNMENT,
  unknownVersion,
  viewOf,
  type SegmentIdentity,
} from "./format.ts";

/** Ids that one tombstone may hold. */
export const MAX_TOMBSTONE_BLOCKS = MAX_BLOCKS_PER_PAGE;

/** Numbers of the kinds of record. */
export const RECORD_KINDS = { put: 1, tombstone: 2, seal: 3 } as const;
export type RecordKind = keyof typeof RECORD_KINDS;

/** Why a segment takes no more records. */
export const SEAL_REASONS = {
  /** The next record did not fit. */
  full: 1,
  /** The log was closed in good order. */
  closed: 2,
  /** A write or sync of it failed: it counts only up to `end`. Written in a later segment, never in the one it seals. */
  suspect: 3,
} as const;
export type SealReason = keyof typeof SEAL_REASONS;

// Layout of the header. Each offset is the one before it plus the size of the field there.
const { u8, u16, u32, u64, cluster: clusterBytes } = FIELD_BYTES;
const ownFieldsBytes = 4 * u64;
const RECORD_MAGIC = 0x64_66_73_52; // "dfsR"
const MAGIC_AT = 0;
const KIND_AT = MAGIC_AT + u32;
const VERSION_AT = KIND_AT + u8;
const ZERO_AT = VERSION_AT + u8;
const CLUSTER_AT = ZERO_AT + u16;
const SERVER_AT = CLUSTER_AT + clusterBytes;
const BODY_LENGTH_AT = SERVER_AT + u32;
const SEGMENT_AT = BODY_LENGTH_AT + u32;
const SALT_AT = SEGMENT_AT + u64;
const POSITION_AT = SALT_AT + u64;
const SYNCED_AT = POSITION_AT + u64;
const LSN_AT = SYNCED_AT + u64;
const OWN_FIELDS_AT = LSN_AT + u64; // each kind has its own; zero where it has none
const BODY_CHECKSUM_AT = OWN_FIELDS_AT + ownFieldsBytes;
const CHECKSUM_AT = BODY_CHECKSUM_AT + u64;
/** Length of a record's header. */
export const RECORD_HEADER_BYTES = CHECKSUM_AT + u64;

// Own fields of a put.
const BLOCK_AT = OWN_FIELDS_AT;
const INODE_AT = BLOCK_AT + u64;
const FILE_OFFSET_AT = INODE_AT + u64;
const BLOCK_LENGTH_AT = FILE_OFFSET_AT + u64;

// Own fields of a seal.
const SEALED_SEGMENT_AT = OWN_FIELDS_AT;
const SEALED_END_AT = SEALED_SEGMENT_AT + u64;
const SEAL_REASON_AT = SEALED_END_AT + u64;

/** What all records have. */
interface RecordCommon {
  /** Offset in the segment. */
  readonly position: number;
  /** Up to here the segment was known to be durable when the record was written. Never above `position`. */
  readonly synced: number;
  readonly lsn: Lsn;
  /** Without the padding. */
  readonly bodyLength: number;
  /** Of a put: the block's checksum. Of the others: the hash of the body. */
  readonly bodyChecksum: Checksum;
}

export interface PutFields {
  readonly block: BlockId;
  /** Length of the block. */
  readonly length: number;
  /** The file and offset that the block was written for. */
  readonly inode: InodeId;
  readonly fileOffset: number;
}

export interface SealFields {
  /** The segment that takes no more records: the one that holds the seal, or an earlier one that is suspect. */
  readonly segment: number;
  /** The sealed segment counts up to here. */
  readonly end: number;
  readonly reason: SealReason;
}

export type PutHeader = RecordCommon & PutFields & { readonly kind: "put" };
export type TombstoneHeader = RecordCommon & { readonly kind: "tombstone" };
export type SealHeader = RecordCommon & SealFields & { readonly kind: "seal" };
export type RecordHeader = PutHeader | TombstoneHeader | SealHeader;

/** Bytes that a record with this body takes in its segment. */
export function recordBytes(bodyLength: number): number {
  const length = RECORD_HEADER_BYTES + bodyLength;
  return length + paddingBytes(length);
}

/** Zero bytes between `length` and the next multiple of RECORD_ALIGNMENT. */
export function paddingBytes(length: number): number {
  return (RECORD_ALIGNMENT - (length % RECORD_ALIGNMENT)) % RECORD_ALIGNMENT;
}

/** Length of a put's body: the piece hashes and the block. */
export function putBodyLength(blockLength: number): number {
  return pieceCount(blockLength) * PIECE_HASH_BYTES + blockLength;
}

/** Where in a put's record a block of this length begins: behind header and piece hashes. */
export function blockOffset(blockLength: number): number {
  return RECORD_HEADER_BYTES + pieceCount(blockLength) * PIECE_HASH_BYTES;
}

/** What a seal takes in a segment. */
export const SEAL_BYTES = recordBytes(0);

/** The largest record there can be. */
export const MAX_RECORD_BYTES = recordBytes(putBodyLength(MAX_BLOCK_BYTES));

/** Where headers are made, before they are copied to their place: views of that would be most of what a header costs. */
const scratch = new Uint8Array(RECORD_HEADER_BYTES);
const scratchView = viewOf(scratch);
const scratchHashed = scratch.subarray(0, CHECKSUM_AT);

/** The header of a record that lies in the segment `identity`, at the beginning of `bytes`. */
export function encodeRecordHeader(
  identity: SegmentIdentity,
  header: RecordHeader,
  bytes: Uint8Array = new Uint8Array(RECORD_HEADER_BYTES),
): Uint8Array {
  const view = scratchView;
  scratch.fill(0);
  view.setUint32(MAGIC_AT, RECORD_MAGIC);
  view.setUint8(KIND_AT, RECORD_KINDS[header.kind]);
  view.setUint8(VERSION_AT, FORMAT_VERSION);
  view.setBigUint64(CLUSTER_AT, identity.clusterWords[0]);
  view.setBigUint64(CLUSTER_AT + u64, identity.clusterWords[1]);
  view.setUint32(SERVER_AT, identity.server);
  view.setUint32(BODY_LENGTH_AT, header.bodyLength);
  setWhole(view, SEGMENT_AT, identity.number);
  view.setBigUint64(SALT_AT, identity.salt);
  setWhole(view, POSITION_AT, header.position);
  setWhole(view, SYNCED_AT, header.synced);
  view.setBigUint64(LSN_AT, header.lsn);
  encodeOwnFields(view, header);
  view.setBigUint64(BODY_CHECKSUM_AT, header.bodyChecksum);
  view.setBigUint64(CHECKSUM_AT, hash64(scratchHashed));
  bytes.set(scratch);
  return bytes;
}

function encodeOwnFields(view: DataView, header: RecordHeader): void {
  if (header.kind === "put") {
    view.setBigUint64(BLOCK_AT, header.block);
    view.setBigUint64(INODE_AT, header.inode);
    setWhole(view, FILE_OFFSET_AT, header.fileOffset);
    view.setUint32(BLOCK_LENGTH_AT, header.length);
  } else if (header.kind === "seal") {
    setWhole(view, SEALED_SEGMENT_AT, header.segment);
    setWhole(view, SEALED_END_AT, header.end);
    view.setUint32(SEAL_REASON_AT, SEAL_REASONS[header.reason]);
  }
}

/** Writes an integer of up to 53 bits as 64: without the bigint that it would otherwise be made into. */
function setWhole(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 2 ** 32));
  view.setUint32(at + u32, value % 2 ** 32);
}

/**
 * The record header at `at` in `bytes`, which is at `position` in the segment `identity`; or undefined when no whole
 * header of a record that belongs exactly there is found.
 * @throws DfsError `unsupported` for a whole header that belongs there but is of a kind or version that this build does
 * not know.
 */
export function decodeRecordHeader(
  bytes: Uint8Array,
  at: number,
  identity: SegmentIdentity,
  position: number,
): RecordHeader | undefined {
  if (bytes.length - at < RECORD_HEADER_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, RECORD_HEADER_BYTES);
  if (view.getUint32(MAGIC_AT) !== RECORD_MAGIC) return undefined;
  if (!liesIn(view, identity, position)) return undefined;
  if (view.getBigUint64(CHECKSUM_AT) !== hash64(bytes.subarray(at, at + CHECKSUM_AT))) {
    return undefined;
  }
  const header = decodeFields(view, position);
  return isConsistent(header) ? header : undefined;
}

/** True when the bytes at `at` begin as every record does: a cheap test before the real one. */
export function startsLikeRecord(view: DataView, at: number): boolean {
  return view.getUint32(at) === RECORD_MAGIC;
}

function liesIn(view: DataView, identity: SegmentIdentity, position: number): boolean {
  return (
    view.getBigUint64(SALT_AT) === identity.salt &&
    view.getBigUint64(POSITION_AT) === BigInt(position) &&
    view.getBigUint64(SEGMENT_AT) === BigInt(identity.number) &&
    view.getUint32(SERVER_AT) === identity.server &&
    view.getBigUint64(CLUSTER_AT) === identity.clusterWords[0] &&
    view.getBigUint64(CLUSTER_AT + u64) === identity.clusterWords[1]
  );
}

function decodeFields(view: DataView, position: number): RecordHeader {
  const kind = view.getUint8(KIND_AT);
  const version = view.getUint8(VERSION_AT);
  if (version !== FORMAT_VERSION) throw unknownVersion(`a record of format version ${version}`);
  const common = {
    position,
    synced: Number(view.getBigUint64(SYNCED_AT)),
    lsn: view.getBigUint64(LSN_AT) as Lsn,
    bodyLength: view.getUint32(BODY_LENGTH_AT),
    bodyChecksum: view.getBigUint64(BODY_CHECKSUM_AT),
  };
  switch (kind) {
    case RECORD_KINDS.put:
      return {
        kind: "put",
        ...common,
        block: view.getBigUint64(BLOCK_AT) as BlockId,
        inode: view.getBigUint64(INODE_AT) as InodeId,
        fileOffset: Number(view.getBigUint64(FILE_OFFSET_AT)),
        length: view.getUint32(BLOCK_LENGTH_AT),
      };
    case RECORD_KINDS.tombstone:
      return { kind: "tombstone", ...common };
    case RECORD_KINDS.seal:
      return {
        kind: "seal",
        ...common,
        segment: Number(view.getBigUint64(SEALED_SEGMENT_AT)),
        end: Number(view.getBigUint64(SEALED_END_AT)),
        reason: sealReasonOf(view.getUint32(SEAL_REASON_AT)),
      };
    default:
      throw unknownVersion(`a record of the unknown kind ${kind}`);
  }
}

/** A length is never believed because its checksum is right: it must also be one that the writer can have written. */
function isConsistent(header: RecordHeader): boolean {
  if (header.synced > header.position) return false;
  switch (header.kind) {
    case "put":
      return (
        header.length > 0 &&
        header.length <= MAX_BLOCK_BYTES &&
        header.bodyLength === putBodyLength(header.length)
      );
    case "tombstone":
      return (
        header.bodyLength > 0 &&
        header.bodyLength % u64 === 0 &&
        header.bodyLength <= MAX_TOMBSTONE_BLOCKS * u64
      );
    case "seal":
      return header.bodyLength === 0;
  }
}

/** The body of a tombstone for `blocks`. */
export function encodeTombstoneBody(blocks: readonly BlockId[]): Uint8Array {
  const bytes = new Uint8Array(blocks.length * u64);
  const view = viewOf(bytes);
  blocks.forEach((block, index) => view.setBigUint64(index * u64, block));
  return bytes;
}

/** The ids in a tombstone's body. */
export function decodeTombstoneBody(body: Uint8Array): BlockId[] {
  const view = viewOf(body);
  return Array.from(
    { length: body.length / u64 },
    (_, index) => view.getBigUint64(index * u64) as BlockId,
  );
}

function sealReasonOf(number: number): SealReason {
  for (const [reason, value] of Object.entries(SEAL_REASONS)) {
    if (value === number) return reason as SealReason;
  }
  throw unknownVersion(`a seal with the unknown reason ${number}`);
}
