/**
 * The CBOR of the wire (RFC 8949), cut down to what dfs sends.
 *
 * Allowed are integers of at most 64 bits, byte strings, texts of valid UTF-8, arrays, false, true and null, all of
 * definite length, nested at most MAX_CBOR_DEPTH arrays deep. Maps, tags, floats, undefined and indefinite lengths are
 * refused. A linear pass over the raw bytes enforces that before the decoder sees them: the decoder knows many tags,
 * some of which cost quadratic time, and believes lengths. The same pass finds the parts of a frame's array, so that
 * bulk bytes are never decoded at all, and checks what we are about to send.
 */
import { isUtf8 } from "node:buffer";
import { Encoder } from "cbor-x/encode";
import { DfsError } from "../base/errors.ts";
import { MAX_BLOCK_BYTES, MAX_CBOR_DEPTH, MAX_HEAD_BYTES } from "../base/limits.ts";
import type { Item } from "./schema.ts";

/** The kinds of frame, the first element of each. Frozen. */
export const FRAME_KINDS = { request: 0, reply: 1, error: 2, notice: 3 } as const;

/** A frame whose bytes have passed the check. */
export interface Frame {
  /** One of FRAME_KINDS. */
  readonly kind: number;
  /** Number of the request that this is or answers; 0 in a notice. */
  readonly id: number;
  /** Code of the message; error kind in an error; 0 in a reply. */
  readonly code: number;
  /** The buffer that the frame lies in, and where in it its encoded body lies, for {@link decodeBody}. */
  readonly buffer: Uint8Array;
  readonly bodyStart: number;
  readonly bodyEnd: number;
  /** The bulk bytes, a view of the frame; undefined when there are none. */
  readonly bulk: Uint8Array | undefined;
  /** Length of the whole frame, without its length prefix. */
  readonly length: number;
}

// No records, no tags: plain arrays and untagged byte strings. Decoded byte strings are copies, so that a name that is
// kept does not keep its whole frame.
const codec = new Encoder({ useRecords: false, tagUint8Array: false, copyBuffers: true });

/** The decoder's own signature: it stops at `end`, which its type declarations leave out. */
const decoder = codec as unknown as { decode(source: Uint8Array, end?: number): unknown };

// The decoder makes a DataView of whatever it is given and keeps it there, which costs more than copying a small body
// into the same buffer every time. Nothing decoded refers to it, since byte strings are copied.
const scratch = new Uint8Array(512);

const MAJOR = { unsigned: 0, negative: 1, bytes: 2, text: 3, array: 4 } as const;
const ARRAY_OF_4 = 0x84;
const ARRAY_OF_5 = 0x85;
const FALSE = 0xf4;
const NULL = 0xf6;

/** Longest head of a byte string: one byte of type, four of length. */
const MAX_BYTES_HEAD = 5;

/**
 * Encodes a frame but for its bulk bytes: the array's head, its first four elements and, with a `bulkLength`, the head
 * of the byte string that the bulk bytes complete. The result is not changed by later calls.
 * @throws DfsError `invalid` when the head or the bulk bytes are over their limit, `internal` when an item is not
 * allowed on the wire.
 */
export function encodeHead(
  kind: number,
  id: number,
  code: number,
  body: Item,
  bulkLength?: number,
): Uint8Array {
  const encoded = codec.encode([kind, id, code, body]);
  checkOwnItem(encoded);
  const head = bulkLength === undefined ? encoded : withBulkHead(encoded, bulkLength);
  if (head.length > MAX_HEAD_BYTES) {
    throw new DfsError(
      "invalid",
      `cannot send a message of ${head.length} bytes: the limit is ${MAX_HEAD_BYTES}; ask for less at once`,
    );
  }
  return head;
}

/**
 * Checks every byte of the frame that `buffer` holds from `start` to `end` and finds its parts, without copying.
 * @throws DfsError `protocol` when anything is not as docs/protocol.md allows.
 */
export function parseFrame(buffer: Uint8Array, start = 0, end = buffer.length): Frame {
  const first = buffer[start];
  if (first !== ARRAY_OF_4 && first !== ARRAY_OF_5) {
    throw refusal("a frame that is not an array of 4 or 5 elements", 0);
  }
  const walker = new Walker(buffer, start, end);
  walker.at++;
  const kind = walker.uint32();
  const id = walker.uint32();
  const code = walker.uint32();
  const bodyStart = walker.at;
  walker.skipItem(1);
  const bodyEnd = walker.at;
  const bulk = first === ARRAY_OF_5 ? walker.byteString() : undefined;
  walker.finish();
  const frame = { kind, id, code, buffer, bodyStart, bodyEnd, bulk, length: end - start };
  checkShape(frame);
  return frame;
}

/** The item that a checked frame's body encodes. What it holds is copied out of the frame. */
export function decodeBody(frame: Frame): unknown {
  const { buffer, bodyStart, bodyEnd } = frame;
  const length = bodyEnd - bodyStart;
  if (length > scratch.length) return decoder.decode(buffer.subarray(bodyStart, bodyEnd));
  for (let index = 0; index < length; index++) scratch[index] = buffer[bodyStart + index]!;
  return decoder.decode(scratch, length);
}

/**
 * Checks that `bytes` are exactly one allowed item, at most MAX_CBOR_DEPTH arrays deep.
 * @throws DfsError `protocol`.
 */
export function checkItem(bytes: Uint8Array): void {
  const walker = new Walker(bytes, 0, bytes.length);
  walker.skipItem(0);
  walker.finish();
}

function checkShape({ kind, id, code, bulk, length }: Frame): void {
  if (kind > FRAME_KINDS.notice) throw refusal(`a frame of the unknown kind ${kind}`, 1);
  if (kind === FRAME_KINDS.reply && code !== 0) throw refusal("a reply with a code", 1);
  if (kind === FRAME_KINDS.notice && id !== 0) throw refusal("a notice with a number", 1);
  const headLength = length - (bulk?.length ?? 0);
  if (headLength > MAX_HEAD_BYTES) {
    throw refusal(`a head of ${headLength} bytes, over the limit of ${MAX_HEAD_BYTES}`, 0);
  }
  if (bulk === undefined) return;
  if (kind !== FRAME_KINDS.request && kind !== FRAME_KINDS.reply) {
    throw refusal("bulk bytes in an error or notice", 0);
  }
  if (bulk.length > MAX_BLOCK_BYTES) {
    throw refusal(`${bulk.length} bulk bytes, over the limit of ${MAX_BLOCK_BYTES}`, 0);
  }
}

/** Refuses to send what the other side would have to refuse: that is a mistake in our code, not in the peer's. */
function checkOwnItem(encoded: Uint8Array): void {
  try {
    checkItem(encoded);
  } catch (error) {
    throw new DfsError("internal", "internal error: a message has a value that cannot be sent", {
      cause: error,
    });
  }
}

function withBulkHead(encoded: Uint8Array, bulkLength: number): Uint8Array {
  if (bulkLength > MAX_BLOCK_BYTES) {
    throw new DfsError(
      "invalid",
      `cannot send ${bulkLength} bulk bytes in one message: the limit is ${MAX_BLOCK_BYTES}`,
    );
  }
  const head = new Uint8Array(encoded.length + MAX_BYTES_HEAD);
  head.set(encoded);
  head[0] = ARRAY_OF_5;
  return head.subarray(0, writeBytesHead(head, encoded.length, bulkLength));
}

/** Writes the shortest head of a byte string of `length` bytes at `at`; returns the position behind it. */
function writeBytesHead(target: Uint8Array, at: number, length: number): number {
  const type = MAJOR.bytes << 5;
  if (length < 24) {
    target[at] = type | length;
    return at + 1;
  }
  if (length < 0x100) {
    target[at] = type | 24;
    target[at + 1] = length;
    return at + 2;
  }
  if (length < 0x10000) {
    target[at] = type | 25;
    target[at + 1] = length >> 8;
    target[at + 2] = length & 0xff;
    return at + 3;
  }
  target[at] = type | 26;
  new DataView(target.buffer, target.byteOffset).setUint32(at + 1, length);
  return at + 5;
}

/** Elements still to come in each array around a walker's position, the innermost last. One walk runs at a time. */
const openArrays = new Uint32Array(MAX_CBOR_DEPTH);

function refusal(what: string, at: number): DfsError {
  return new DfsError("protocol", `the peer sent ${what} (at byte ${at} of the frame)`);
}

/** Walks over encoded items, checking each. Its work is linear in the bytes; it allocates nothing per item. */
class Walker {
  /** Position of the next byte to look at. */
  at: number;
  private readonly bytes: Uint8Array;
  private readonly start: number;
  private readonly end: number;
  /** Argument of the item head that was read last: its value, length or count. 64-bit values are not exact. */
  private argument = 0;

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
    this.at = start;
  }

  /** Reads an unsigned integer of at most 32 bits. */
  uint32(): number {
    const start = this.at;
    const major = this.readHead();
    if (major !== MAJOR.unsigned || this.at - start > 5) {
      this.refuse("no uint32 where one belongs", start);
    }
    return this.argument;
  }

  /** Reads a byte string as a view. */
  byteString(): Uint8Array {
    const start = this.at;
    if (this.readHead() !== MAJOR.bytes) {
      this.refuse("no byte string where the bulk bytes belong", start);
    }
    this.skipBytes(start);
    return this.bytes.subarray(this.at - this.argument, this.at);
  }

  /** Steps over one item that lies inside `depth` arrays. */
  skipItem(depth: number): void {
    let level = 0;
    for (;;) {
      const start = this.at;
      const major = this.readHead();
      if (major === MAJOR.array) {
        if (depth + level >= MAX_CBOR_DEPTH) this.refuse("arrays nested too deeply", start);
        this.checkFits(start);
        if (this.argument > 0) {
          openArrays[level++] = this.argument;
          continue;
        }
      } else if (major === MAJOR.bytes) this.skipBytes(start);
      else if (major === MAJOR.text) this.skipText(start);
      while (level > 0 && --openArrays[level - 1]! === 0) level--;
      if (level === 0) return;
    }
  }

  /** Checks that nothing is left. */
  finish(): void {
    if (this.at !== this.end) this.refuse("surplus bytes", this.at);
  }

  /** Reads an item's head: returns its major type and sets `argument`. */
  private readHead(): number {
    const start = this.at;
    if (start >= this.end) this.refuse("a truncated item", start);
    const initial = this.bytes[this.at++]!;
    const major = initial >> 5;
    const short = initial & 0x1f;
    if (major > MAJOR.array) {
      if (initial < FALSE || initial > NULL)
        this.refuse("a map, tag, float or unknown value", start);
      return major;
    }
    this.argument = short < 24 ? short : this.readArgument(major, short, start);
    return major;
  }

  private readArgument(major: number, short: number, start: number): number {
    if (short > 27) this.refuse("an indefinite length or reserved head", start);
    const width = 1 << (short - 24);
    if (width === 8 && major > MAJOR.negative) this.refuse("a length of 64 bits", start);
    if (this.end - this.at < width) this.refuse("a truncated item", start);
    let value = 0;
    for (let index = 0; index < width; index++) value = value * 256 + this.bytes[this.at++]!;
    return value;
  }

  private checkFits(start: number): void {
    if (this.argument > this.end - this.at) this.refuse("a length beyond the frame's end", start);
  }

  private skipBytes(start: number): void {
    this.checkFits(start);
    this.at += this.argument;
  }

  private skipText(start: number): void {
    this.checkFits(start);
    const from = this.at;
    this.at += this.argument;
    for (let index = from; index < this.at; index++) {
      if (this.bytes[index]! < 0x80) continue;
      if (!isUtf8(this.bytes.subarray(index, this.at)))
        this.refuse("a text that is not UTF-8", start);
      return;
    }
  }

  private refuse(what: string, at: number): never {
    throw refusal(what, at - this.start);
  }
}
