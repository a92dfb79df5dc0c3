/**
 * A batch: the records that go into a segment with one write and one sync, and their bytes.
 *
 * Positions, log sequence numbers and the synced offset are known only when a batch is made, so this is where headers are
 * encoded. The bytes of blocks are never copied: they are handed to the system from the buffer they came in.
 */
import { hash64, type Checksum } from "../base/checksum.ts";
import type { BlockId, Lsn } from "../base/ids.ts";
import type { SegmentIdentity } from "./format.ts";
import type { IndexEntry } from "./index.ts";
import {
  encodeRecordHeader,
  encodeTombstoneBody,
  paddingBytes,
  putBodyLength,
  recordBytes,
  RECORD_HEADER_BYTES,
  type PutFields,
  type RecordHeader,
  type SealFields,
} from "./record.ts";

/** A block to be stored. `bytes` and `pieces` must not change until it is durable, and must match `checksum`. */
export interface PutAppend {
  readonly kind: "put";
  readonly put: PutFields;
  readonly checksum: Checksum;
  readonly pieces: Uint8Array;
  readonly bytes: Uint8Array;
}

/** Blocks to be deleted. */
export interface TombstoneAppend {
  readonly kind: "tombstone";
  readonly blocks: readonly BlockId[];
}

export interface SealAppend {
  readonly kind: "seal";
  readonly seal: SealFields;
}

/** The live record of a block, to be written again: body and LSN stay as they are. */
export interface PutMove {
  readonly kind: "putMove";
  readonly put: PutFields;
  readonly checksum: Checksum;
  readonly body: Uint8Array;
  /** The record that is to be replaced. */
  readonly source: IndexEntry;
}

/** Tombstones to be written again, with the LSN that they have. */
export interface TombstoneMove {
  readonly kind: "tombstoneMove";
  readonly blocks: readonly BlockId[];
  readonly lsn: Lsn;
  /** How many puts they keep dead, by segment. */
  readonly covers: ReadonlyMap<number, number>;
}

/** What compaction appends. */
export type Move = PutMove | TombstoneMove;

export type Append = PutAppend | TombstoneAppend | SealAppend | Move;

/** Where a record has been put. */
export interface Place {
  readonly segment: number;
  readonly position: number;
  readonly lsn: Lsn;
}

/** Most parts of one writev call, below IOV_MAX (1024) of limits.h. */
const MAX_PARTS = 1000;

/** Bytes that an append takes in a segment. */
export function appendBytes(append: Append): number {
  switch (append.kind) {
    case "put":
    case "putMove":
      return recordBytes(putBodyLength(append.put.length));
    case "tombstone":
    case "tombstoneMove":
      return recordBytes(append.blocks.length * 8);
    case "seal":
      return recordBytes(0);
  }
}

/** The records of one write, laid out from `start` on. */
export class Batch {
  readonly start: number;
  end: number;
  readonly parts: Uint8Array[] = [];
  private readonly identity: SegmentIdentity;

  /** All of the segment before `start` is durable. */
  constructor(identity: SegmentIdentity, start: number) {
    this.identity = identity;
    this.start = start;
    this.end = start;
  }

  get bytes(): number {
    return this.end - this.start;
  }

  add(append: Append, lsn: Lsn): Place {
    const position = this.end;
    const common = { position, synced: this.start, lsn };
    const body = bodyOf(append);
    const bodyLength = body.reduce((sum, part) => sum + part.length, 0);
    const header = headerOf(append, body, { ...common, bodyLength });
    this.parts.push(encodeRecordHeader(this.identity, header), ...body);
    const padding = paddingBytes(RECORD_HEADER_BYTES + bodyLength);
    if (padding > 0) this.parts.push(new Uint8Array(padding));
    this.end += recordBytes(bodyLength);
    return { segment: this.identity.number, position, lsn };
  }

  /** The parts in groups of at most `maxBytes`, for one call each. */
  *groups(maxBytes: number): Generator<Uint8Array[], void, void> {
    let group: Uint8Array[] = [];
    let bytes = 0;
    for (const part of this.parts) {
      for (let from = 0; from < part.length; from += maxBytes) {
        const piece = part.length <= maxBytes ? part : part.subarray(from, from + maxBytes);
        if (group.length === MAX_PARTS || bytes + piece.length > maxBytes) {
          yield group;
          group = [];
          bytes = 0;
        }
        group.push(piece);
        bytes += piece.length;
      }
    }
    if (group.length > 0) yield group;
  }
}

function bodyOf(append: Append): Uint8Array[] {
  switch (append.kind) {
    case "put":
      return [append.pieces, append.bytes];
    case "putMove":
      return [append.body];
    case "tombstone":
    case "tombstoneMove":
      return [encodeTombstoneBody(append.blocks)];
    case "seal":
      return [];
  }
}

function headerOf(
  append: Append,
  body: readonly Uint8Array[],
  common: { position: number; synced: number; lsn: Lsn; bodyLength: number },
): RecordHeader {
  switch (append.kind) {
    case "put":
    case "putMove":
      return { kind: "put", ...common, ...append.put, bodyChecksum: append.checksum };
    case "tombstone":
    case "tombstoneMove":
      return { kind: "tombstone", ...common, bodyChecksum: hash64(body[0]!) };
    case "seal":
      return { kind: "seal", ...common, ...append.seal, bodyChecksum: hash64(new Uint8Array(0)) };
  }
}
