/**
 * A batch: the records that go into a segment under one sync, and their bytes.
 *
 * Positions, log sequence numbers and the synced offset are known only when a batch is made, so this is where headers are
 * encoded. The bytes of blocks are never copied: they are handed to the system from the buffer they came in.
 */
import { hash64, type Checksum } from "../base/checksum.ts";
import type { BlockId, Lsn } from "../base/ids.ts";
import { RECORD_ALIGNMENT, type SegmentIdentity } from "./format.ts";
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

/** Bytes that headers are cut from. */
const HEAD_SPACE_BYTES = 16 * 1024;

const NOTHING = new Uint8Array(0);
const ZEROS = new Uint8Array(RECORD_ALIGNMENT);

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

/** The records that share a sync, laid out from `start` on, and those of their bytes that are still to be written. */
export class Batch {
  readonly start: number;
  end: number;
  /** The segment is durable up to here, as far as is known now: the records that are added say so. */
  synced: number;
  /** Where the next bytes are to be written. */
  written: number;
  private parts: Uint8Array[] = [];
  private readonly identity: SegmentIdentity;
  private readonly heads = new HeadSpace();

  constructor(identity: SegmentIdentity, start: number, synced = start) {
    this.identity = identity;
    this.start = start;
    this.end = start;
    this.synced = synced;
    this.written = start;
  }

  get bytes(): number {
    return this.end - this.start;
  }

  /** Bytes that have been added and not been written. */
  get unwritten(): number {
    return this.end - this.written;
  }

  add(append: Append, lsn: Lsn): Place {
    const position = this.end;
    const body = bodyOf(append);
    const header = headerOf(append, body, position, this.synced, lsn);
    const head = this.heads.take(RECORD_HEADER_BYTES + body.list.length);
    encodeRecordHeader(this.identity, header, head);
    head.set(body.list, RECORD_HEADER_BYTES);
    this.parts.push(head);
    if (body.rest.length > 0) this.parts.push(body.rest);
    const padding = paddingBytes(RECORD_HEADER_BYTES + header.bodyLength);
    if (padding > 0) this.parts.push(ZEROS.subarray(0, padding));
    this.end += recordBytes(header.bodyLength);
    return { segment: this.identity.number, position, lsn };
  }

  /** What is to be written at `written` with the next call, at most `maxBytes` of it; undefined when nothing is left. */
  takeGroup(maxBytes: number): Uint8Array[] | undefined {
    let bytes = 0;
    let count = 0;
    for (const { length } of this.parts) {
      if (count === MAX_PARTS || bytes + length > maxBytes) break;
      bytes += length;
      count++;
    }
    const group = this.parts.splice(0, count);
    const next = this.parts[0];
    if (next !== undefined && count < MAX_PARTS && bytes < maxBytes) {
      group.push(next.subarray(0, maxBytes - bytes));
      this.parts[0] = next.subarray(maxBytes - bytes);
    }
    return group.length > 0 ? group : undefined;
  }
}

/**
 * Memory for what stands before the bytes of blocks, cut from a few large buffers: in 128 buffers of their own, headers
 * would take a good part of the time that a batch of small blocks takes.
 */
class HeadSpace {
  private bytes = new Uint8Array(0);
  private used = 0;
  private nextBytes = HEAD_SPACE_BYTES / 16; // most batches of large blocks need no more

  /** `length` zeros. */
  take(length: number): Uint8Array {
    if (this.bytes.length - this.used < length) {
      this.bytes = new Uint8Array(new ArrayBuffer(Math.max(length, this.nextBytes)));
      this.used = 0;
      this.nextBytes = HEAD_SPACE_BYTES;
    }
    const from = this.used;
    this.used += length;
    return this.bytes.subarray(from, this.used);
  }
}

/** The parts of a record's body: what is small enough to be copied behind the header, and the rest. */
interface Body {
  readonly list: Uint8Array;
  readonly rest: Uint8Array;
}

function bodyOf(append: Append): Body {
  switch (append.kind) {
    case "put":
      return { list: append.pieces, rest: append.bytes };
    case "putMove":
      return { list: NOTHING, rest: append.body };
    case "tombstone":
    case "tombstoneMove":
      return { list: NOTHING, rest: encodeTombstoneBody(append.blocks) };
    case "seal":
      return { list: NOTHING, rest: NOTHING };
  }
}

/** All fields are written out: copying them from objects costs as much as everything else here together. */
function headerOf(
  append: Append,
  { list, rest }: Body,
  position: number,
  synced: number,
  lsn: Lsn,
): RecordHeader {
  const bodyLength = list.length + rest.length;
  switch (append.kind) {
    case "put":
    case "putMove": {
      const { block, length, inode, fileOffset } = append.put;
      const bodyChecksum = append.checksum;
      return {
        kind: "put",
        position,
        synced,
        lsn,
        bodyLength,
        block,
        length,
        inode,
        fileOffset,
        bodyChecksum,
      };
    }
    case "tombstone":
    case "tombstoneMove":
      return { kind: "tombstone", position, synced, lsn, bodyLength, bodyChecksum: hash64(rest) };
    case "seal": {
      const { segment, end, reason } = append.seal;
      const bodyChecksum = hash64(rest);
      return {
        kind: "seal",
        position,
        synced,
        lsn,
        bodyLength,
        segment,
        end,
        reason,
        bodyChecksum,
      };
    }
  }
}
