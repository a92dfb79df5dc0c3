/**
 * Walks over a segment from record to record and says what it finds. It decides nothing: what damage means is up to
 * recovery.ts, scrub.ts, or whoever prints a log.
 *
 * The walk itself is a generator that asks for the bytes it wants to see, so that it exists once: an opening drives it with
 * reads that block (`walkSegment`), a scrub with reads that do not (scrub-segment.ts).
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
  const steps = segmentSteps(identity, { bodies: options.bodies, from: SEGMENT_HEADER_BYTES, end });
  let step = steps.next();
  while (step.done !== true) {
    if (step.value.type === "wanted") {
      step = steps.next(window.view(step.value.position, step.value.length));
    } else {
      yield step.value;
      step = steps.next();
    }
  }
}

/**
 * The bytes that a walk wants to see next. It must be answered with a view of `length` bytes at `position`, fewer only at
 * the end of the walk; the view is looked at until the next request. Positions rise, except that a request may reach back
 * into the answer to the one before. The object is used again for each request.
 */
export interface Wanted {
  readonly type: "wanted";
  position: number;
  length: number;
}

/** No request is for more than this. */
export const MAX_WANTED_BYTES = PIECE_BYTES;

export interface StepOptions {
  readonly bodies: WalkOptions["bodies"];
  /** Where a record begins: behind the segment's header or at the end of a finding. */
  readonly from: number;
  /** Only what lies before this position is looked at. Must not be behind the file's end. */
  readonly end: number;
}

type Steps<T> = Generator<Wanted | Finding, T, Uint8Array | undefined>;

/** The walk of `walkSegment`, driven by its caller, who answers each `Wanted`; a finding is answered with nothing. */
export function segmentSteps(identity: SegmentIdentity, options: StepOptions): Steps<void> {
  return new Walk(identity, options).steps();
}

class Walk {
  private readonly identity: SegmentIdentity;
  private readonly options: StepOptions;
  private readonly wanted: Wanted = { type: "wanted", position: 0, length: 0 };

  constructor(identity: SegmentIdentity, options: StepOptions) {
    this.identity = identity;
    this.options = options;
  }

  *steps(): Steps<void> {
    const { from, end } = this.options;
    let position = from;
    while (position < end) {
      const bytes = (yield this.want(position, RECORD_HEADER_BYTES))!;
      const header = decodeRecordHeader(bytes, 0, this.identity, position);
      const finding: Finding =
        header === undefined
          ? yield* this.withoutHeader(position)
          : yield* this.withHeader(header, position);
      yield finding;
      position = finding.type === "record" ? finding.end : finding.to;
    }
  }

  private *withoutHeader(position: number): Steps<FoundDamage> {
    const to = (yield* this.findHeader(position + RECORD_ALIGNMENT)) ?? this.options.end;
    return { type: "damage", what: "header", from: position, to, header: undefined };
  }

  private *withHeader(header: RecordHeader, position: number): Steps<Finding> {
    const { bodies, end: walkEnd } = this.options;
    const end = position + recordBytes(header.bodyLength);
    const damage = { type: "damage", from: position, to: Math.min(end, walkEnd), header } as const;
    if (end > walkEnd) return { ...damage, what: "truncated" };
    if (header.kind === "tombstone") {
      const body = (yield this.want(position + RECORD_HEADER_BYTES, header.bodyLength))!;
      if (hash64(body) !== header.bodyChecksum) return { ...damage, what: "body" };
      return { type: "record", header, end, blocks: decodeTombstoneBody(body) };
    }
    if (header.kind === "put" && bodies === "all") {
      if (!(yield* this.putBodyIsRight(header))) return { ...damage, what: "body" };
      if (!(yield* this.paddingIsRight(header)))
        return { ...damage, what: "body", blockIsRight: true };
    }
    return { type: "record", header, end, blocks: [] };
  }

  /** Position of the first whole header at or behind `from`. */
  private *findHeader(from: number): Steps<number | undefined> {
    const { end } = this.options;
    for (let start = from; start + RECORD_HEADER_BYTES <= end;) {
      const bytes = (yield this.want(start, PIECE_BYTES))!;
      const view = viewOf(bytes);
      // The last bytes of a view may be the beginning of a header: they are looked at again in the next one.
      const last = bytes.length - RECORD_HEADER_BYTES;
      for (let at = 0; at <= last; at += RECORD_ALIGNMENT) {
        if (!startsLikeRecord(view, at)) continue;
        if (decodeRecordHeader(bytes, at, this.identity, start + at) !== undefined) {
          return start + at;
        }
      }
      start += Math.max(0, last - (last % RECORD_ALIGNMENT)) + RECORD_ALIGNMENT;
    }
    return undefined;
  }

  /** Reads a put's whole body: the hashes against the header, each piece against its hash. */
  private *putBodyIsRight(header: PutHeader): Steps<boolean> {
    const bodyAt = header.position + RECORD_HEADER_BYTES;
    const listBytes = header.bodyLength - header.length;
    if (header.bodyLength <= MAX_WANTED_BYTES) {
      const body = (yield this.want(bodyAt, header.bodyLength))!;
      return isWholeBody(body, header, listBytes);
    }
    const list = (yield this.want(bodyAt, listBytes))!.slice();
    if (!verifyPieceList(header.length, list, header.bodyChecksum)) return false;
    const blockAt = bodyAt + listBytes;
    for (let start = 0; start < header.length; start += PIECE_BYTES) {
      const length = Math.min(PIECE_BYTES, header.length - start);
      const piece = (yield this.want(blockAt + start, length))!;
      if (piece.length < length || firstBadPiece(piece, start / PIECE_BYTES, list) !== -1)
        return false;
    }
    return true;
  }

  private *paddingIsRight(header: PutHeader): Steps<boolean> {
    const bodyEnd = header.position + RECORD_HEADER_BYTES + header.bodyLength;
    const length = header.position + recordBytes(header.bodyLength) - bodyEnd;
    if (length === 0) return true;
    const padding = (yield this.want(bodyEnd, length))!;
    return padding.every((byte) => byte === 0);
  }

  private want(position: number, length: number): Wanted {
    this.wanted.position = position;
    this.wanted.length = length;
    return this.wanted;
  }
}

function isWholeBody(body: Uint8Array, header: PutHeader, listBytes: number): boolean {
  if (body.length < header.bodyLength) return false;
  const list = body.subarray(0, listBytes);
  return (
    verifyPieceList(header.length, list, header.bodyChecksum) &&
    firstBadPiece(body.subarray(listBytes), 0, list) === -1
  );
}
