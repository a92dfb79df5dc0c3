/**
 * Bytes on disk: the header of a segment and the headers of its records. docs/log-format.md says the same with drawings
 * and reasons; both change together, and only with a new format version. Everything in this file is frozen.
 *
 *     segment   = segment header, record*
 *     record    = record header, body, zero bytes up to a multiple of 8
 *     put       : body = piece hashes (8 bytes each), the block's bytes
 *     tombstone : body = ids of blocks (8 bytes each)
 *     seal      : no body
 *
 * Integers are unsigned and big-endian. A record header says where it lies (cluster, server, segment, the segment's random
 * salt, position), so bytes that look like a record, or are one that belongs elsewhere, are never taken for one.
 */
import { hash64 } from "../base/checksum.ts";
import { DfsError } from "../base/errors.ts";
import type { ClusterId, Lsn, ServerId } from "../base/ids.ts";

/** Version of segments and of the records in them. */
export const FORMAT_VERSION = 1;

/** Records begin at multiples of this. */
export const RECORD_ALIGNMENT = 8;

/** Sizes of the fields of headers. */
export const FIELD_BYTES = { u8: 1, u16: 2, u32: 4, u64: 8, cluster: 16 } as const;
const { u32, u64, cluster: clusterBytes } = FIELD_BYTES;

// Segment header. Each offset is the one before it plus the size of the field there.
const SEGMENT_MAGIC = 0x64_66_73_2d_6c_6f_67_0an; // "dfs-log\n"
const SEGMENT_MAGIC_AT = 0;
const SEGMENT_VERSION_AT = SEGMENT_MAGIC_AT + u64;
const SEGMENT_SERVER_AT = SEGMENT_VERSION_AT + u32;
const SEGMENT_CLUSTER_AT = SEGMENT_SERVER_AT + u32;
const SEGMENT_NUMBER_AT = SEGMENT_CLUSTER_AT + clusterBytes;
const SEGMENT_SALT_AT = SEGMENT_NUMBER_AT + u64;
const SEGMENT_LSN_AT = SEGMENT_SALT_AT + u64;
const SEGMENT_CHECKSUM_AT = SEGMENT_LSN_AT + u64;
/** Length of a segment's header; its first record begins here. */
export const SEGMENT_HEADER_BYTES = SEGMENT_CHECKSUM_AT + u64;

/** Which segment a record belongs to. `clusterWords` are the cluster id's bytes as two integers. */
export interface SegmentIdentity {
  readonly cluster: ClusterId;
  readonly clusterWords: readonly [bigint, bigint];
  readonly server: ServerId;
  /** Rises by one with each segment of a log; from 1. */
  readonly number: number;
  /** Random, so that nothing written by a client can name it. */
  readonly salt: bigint;
}

export interface SegmentHeader {
  readonly identity: SegmentIdentity;
  /** No record of the segment has a smaller log sequence number. */
  readonly lsnFloor: Lsn;
}

/** The identity of a segment, with the cluster id also as integers. */
export function segmentIdentity(
  cluster: ClusterId,
  server: ServerId,
  number: number,
  salt: bigint,
): SegmentIdentity {
  const view = viewOf(Uint8Array.fromHex(cluster));
  return {
    cluster,
    clusterWords: [view.getBigUint64(0), view.getBigUint64(u64)],
    server,
    number,
    salt,
  };
}

/** The first bytes of a segment. */
export function encodeSegmentHeader({ identity, lsnFloor }: SegmentHeader): Uint8Array {
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
  const view = viewOf(bytes);
  view.setBigUint64(SEGMENT_MAGIC_AT, SEGMENT_MAGIC);
  view.setUint32(SEGMENT_VERSION_AT, FORMAT_VERSION);
  view.setUint32(SEGMENT_SERVER_AT, identity.server);
  view.setBigUint64(SEGMENT_CLUSTER_AT, identity.clusterWords[0]);
  view.setBigUint64(SEGMENT_CLUSTER_AT + u64, identity.clusterWords[1]);
  view.setBigUint64(SEGMENT_NUMBER_AT, BigInt(identity.number));
  view.setBigUint64(SEGMENT_SALT_AT, identity.salt);
  view.setBigUint64(SEGMENT_LSN_AT, lsnFloor);
  view.setBigUint64(SEGMENT_CHECKSUM_AT, hash64(bytes.subarray(0, SEGMENT_CHECKSUM_AT)));
  return bytes;
}

/**
 * The header in a segment's first bytes, or undefined when they are damaged. Magic, version and checksum are where they
 * are in every version to come.
 * @throws DfsError `unsupported` for a header that is whole but of a version that this build does not know.
 */
export function decodeSegmentHeader(bytes: Uint8Array): SegmentHeader | undefined {
  if (bytes.length < SEGMENT_HEADER_BYTES) return undefined;
  const view = viewOf(bytes);
  if (view.getBigUint64(SEGMENT_MAGIC_AT) !== SEGMENT_MAGIC) return undefined;
  const checksum = hash64(bytes.subarray(0, SEGMENT_CHECKSUM_AT));
  if (view.getBigUint64(SEGMENT_CHECKSUM_AT) !== checksum) return undefined;
  const version = view.getUint32(SEGMENT_VERSION_AT);
  if (version !== FORMAT_VERSION) throw unknownVersion(`a segment of format version ${version}`);
  const cluster = bytes.subarray(SEGMENT_CLUSTER_AT, SEGMENT_CLUSTER_AT + clusterBytes).toHex();
  return {
    identity: segmentIdentity(
      cluster as ClusterId,
      view.getUint32(SEGMENT_SERVER_AT) as ServerId,
      Number(view.getBigUint64(SEGMENT_NUMBER_AT)),
      view.getBigUint64(SEGMENT_SALT_AT),
    ),
    lsnFloor: view.getBigUint64(SEGMENT_LSN_AT) as Lsn,
  };
}

/** For what is whole but was written by a newer build. */
export function unknownVersion(what: string): DfsError {
  return new DfsError(
    "unsupported",
    `it holds ${what}, which this build does not know: start the newer build that wrote it`,
  );
}

/** A view of the same bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
