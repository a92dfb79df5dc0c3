/**
 * Walks over a segment from record to record and says what it finds. It decides nothing: what damage means is up to
 * recovery.ts, a scrub, or whoever prints a log.
 *
 * - A record whose header is whole is stepped over by its length, which the header's checksum vouches for. Nothing inside
 *   it is ever looked at as if it were a record.
 * - Where no whole header is, the walk searches for the next one at multiples of 8. Only a header that names this segment,
 *   its salt and that very position counts.
 * - Bytes that the disk cannot read are damage like wrong ones.
 */
import { firstBadPiece, hash64, verifyPieceList } from "../base/checksum.ts";
import type { BlockId } from "../base/ids.ts";
import { PIECE_BYTES } from "../base/limits.ts";
import { RECORD_ALIGNMENT, SEGMENT_HEADER_BYTES, viewOf, type SegmentIdentity } from "./format.ts";
import {
  decodeRecordHeader,
  decodeTombstoneBody,
  RECORD_HEADER_BYTES,
  recordBytes,
  startsLikeRecord,
  type PutHeader,
  type RecordHeader,
} from "./record.ts";
import { Window, type WindowSource } from "./window.ts";

/** A whole record. `end` is where the next one begins. */
export interface FoundRecord {
  readonly type: "record";
  readonly header: RecordHeader;
  readonly end: number;
  /** Of a tombstone: its ids. */
  readonly blocks: readonly BlockId[];
}

/** Bytes from `from` to `to` that are not a whole record. */
export interface FoundDamage {
  readonly type: "damage";
  /** No whole header; a body that does not match its header; a record that goes on beyond the segment's end. */
  readonly what: "header" | "body" | "truncated";
  readonly from: number;
  readonly to: number;
  /** The header, where that is whole. */
  readonly header: RecordHeader | undefined;
  /** Of a put: only the zeros behind the body are wrong; hashes and block are right, and can be read. */
  readonly blockIsRight?: true;
}

export type Finding = FoundRecord | FoundDamage;

export interface WalkOptions {
  /** Bodies of tombstones are always verified, because they are used; those of puts only when "all". */
  readonly bodies: "all" | "tombstones";
  /** Only what lies before this position is looked at; the file's end when left out. */
  readonly end?: number;
}

/** What lies behind a segment's header, in order of position. The findings cover every byte up to the end once. */
export function* walkSegment(
  file: WindowSource,
  identity: SegmentIdentity,
  options: WalkOptions,
): Generator<Finding, void, void> {
  const end = Math.min(options.end ?? Infinity, file.size());
  const window = new Window(file, end);
  let position = SEGMENT_HEADER_BYTES;
  while (position < end) {
    const finding = findingAt(window, identity, position, options.bodies);
    yield finding;
    position = finding.type === "record" ? finding.end : finding.to;
  }
}

function findingAt(
  window: Window,
  identity: SegmentIdentity,
  position: number,
  bodies: WalkOptions["bodies"],
): Finding {
  const header = headerAt(window, identity, position);
  if (header === undefined) {
    const to = findHeader(window, identity, position + RECORD_ALIGNMENT) ?? window.end;
    return { type: "damage", what: "header", from: position, to, header: undefined };
  }
  const end = position + recordBytes(header.bodyLength);
  const damage = { type: "damage", from: position, to: Math.min(end, window.end), header } as const;
  if (end > window.end) return { ...damage, what: "truncated" };
  if (header.kind === "tombstone") {
    const body = window.view(position + RECORD_HEADER_BYTES, header.bodyLength);
    if (hash64(body) !== header.bodyChecksum) return { ...damage, what: "body" };
    return { type: "record", header, end, blocks: decodeTombstoneBody(body) };
  }
  if (header.kind === "put" && bodies === "all") {
    if (!putBodyIsRight(window, header)) return { ...damage, what: "body" };
    if (!paddingIsRight(window, header)) return { ...damage, what: "body", blockIsRight: true };
  }
  return { type: "record", header, end, blocks: [] };
}

function headerAt(
  window: Window,
  identity: SegmentIdentity,
  position: number,
): RecordHeader | undefined {
  return decodeRecordHeader(window.view(position, RECORD_HEADER_BYTES), 0, identity, position);
}

/** Position of the first whole header at or behind `from`. */
function findHeader(window: Window, identity: SegmentIdentity, from: number): number | undefined {
  for (let start = from; start + RECORD_HEADER_BYTES <= window.end;) {
    const bytes = window.view(start, PIECE_BYTES);
    const view = viewOf(bytes);
    // The last bytes of a view may be the beginning of a header: they are looked at again in the next one.
    const last = bytes.length - RECORD_HEADER_BYTES;
    for (let at = 0; at <= last; at += RECORD_ALIGNMENT) {
      if (!startsLikeRecord(view, at)) continue;
      if (decodeRecordHeader(bytes, at, identity, start + at) !== undefined) return start + at;
    }
    start += Math.max(0, last - (last % RECORD_ALIGNMENT)) + RECORD_ALIGNMENT;
  }
  return undefined;
}

/** Reads a put's whole body: the hashes against the header, each piece against its hash. */
function putBodyIsRight(window: Window, header: PutHeader): boolean {
  const bodyAt = header.position + RECORD_HEADER_BYTES;
  const listBytes = header.bodyLength - header.length;
  const list = window.view(bodyAt, listBytes).slice();
  if (!verifyPieceList(header.length, list, header.bodyChecksum)) return false;
  const blockAt = bodyAt + listBytes;
  for (let start = 0; start < header.length; start += PIECE_BYTES) {
    const length = Math.min(PIECE_BYTES, header.length - start);
    const piece = window.view(blockAt + start, length);
    if (piece.length < length || firstBadPiece(piece, start / PIECE_BYTES, list) !== -1)
      return false;
  }
  return true;
}

function paddingIsRight(window: Window, header: PutHeader): boolean {
  const bodyEnd = header.position + RECORD_HEADER_BYTES + header.bodyLength;
  const padding = window.view(bodyEnd, header.position + recordBytes(header.bodyLength) - bodyEnd);
  return padding.every((byte) => byte === 0);
}
