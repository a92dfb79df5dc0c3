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
import {
  MAX_BLOCK_BYTES,
  MAX_CBOR_DEPTH,
  MAX_FRAME_BYTES,
  MAX_HEAD_BYTES,
} from "../base/limits.ts";
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
  /** The encoded body, for {@link decodeBody}. */
  readonly body: Uint8Array;
  /** The bulk bytes, a view of the frame; undefined when there are none. */
  readonly bulk: Uint8Array | undefined;
  /** Length of the whole frame, without its length prefix. */
  readonly length: number;
}

// No records, no tags: plain arrays and untagged byte strings. Decoded byte strings are copies, so that a name that is
// kept does not keep its whole frame.
const codec = new Encoder({ useRecords: false, tagUint8Array: false, copyBuffers: true });

const MAJOR = { unsigned: 0, negative: 1, bytes: 2, text: 3, array: 4, tag: 6, simple: 7 } as const;
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
  const head = bulkLength === undefined ? plainBytes(encoded) : withBulkHead(encoded, bulkLength);
  if (head.length > MAX_HEAD_BYTES) {
    throw new DfsError(
      "invalid",
      `cannot send a message of ${head.length} bytes: the limit is ${MAX_HEAD_BYTES}; ask for less at once`,
    );
  }
  return head;
}

/**
 * Checks every byte of a frame and finds its parts, without copying.
 * @throws DfsError `protocol` when anything is not as docs/protocol.md allows.
 */
export function parseFrame(bytes: Uint8Array): Frame {
  const first = bytes[0];
  if (first !== ARRAY_OF_4 && first !== ARRAY_OF_5) {
    refuse("a frame that is not an array of 4 or 5 elements", 0);
  }
  const walker = new Walker(bytes, 1);
  const kind = walker.uint32();
  const id = walker.uint32();
  const code = walker.uint32();
  const bodyStart = walker.at;
  walker.skipItem(1);
  const body = bytes.subarray(bodyStart, walker.at);
  const bulk = first === ARRAY_OF_5 ? walker.byteString() : undefined;
  if (walker.at !== bytes.length) refuse("surplus bytes behind the frame's array", walker.at);
  checkShape(kind, bulk, bytes.length - (bulk?.length ?? 0));
  return { kind, id, code, body, bulk, length: bytes.length };
}

/** The item that a checked frame's body encodes. */
export function decodeBody(frame: Frame): unknown {
  return codec.decode(frame.body);
}

/**
 * Checks that `bytes` are exactly one allowed item, at most MAX_CBOR_DEPTH arrays deep.
 * @throws DfsError `protocol`.
 */
export function checkItem(bytes: Uint8Array): void {
  const walker = new Walker(bytes, 0);
  walker.skipItem(0);
  if (walker.at !== bytes.length) refuse("surplus bytes behind the item", walker.at);
}

function checkShape(kind: number, bulk: Uint8Array | undefined, headLength: number): void {
  if (kind > FRAME_KINDS.notice) refuse(`a frame of the unknown kind ${kind}`, 1);
  if (headLength > MAX_HEAD_BYTES) {
    refuse(`a head of ${headLength} bytes, over the limit of ${MAX_HEAD_BYTES}`, 0);
  }
  if (bulk === undefined) return;
  if (kind !== FRAME_KINDS.request && kind !== FRAME_KINDS.reply) {
    refuse("bulk bytes in an error or notice", 0);
  }
  if (bulk.length > MAX_BLOCK_BYTES) {
    refuse(`${bulk.length} bulk bytes, over the limit of ${MAX_BLOCK_BYTES}`, 0);
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

/** A plain view of the encoder's Buffer. The encoder never writes to these bytes again. */
function plainBytes(encoded: Uint8Array): Uint8Array {
  return new Uint8Array(encoded.buffer, encoded.byteOffset, encoded.length);
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

function refuse(what: string, at: number): never {
  throw new DfsError("protocol", `the peer sent ${what} (at byte ${at} of the frame)`);
}

/** Walks over encoded items, checking each. Its work is linear in the bytes; it allocates nothing per item. */
class Walker {
  readonly bytes: Uint8Array;
  /** Position of the next byte to look at. */
  at: number;
  /** Argument of the item head that was read last: its value, length or count. 64-bit values are not kept. */
  private argument = 0;

  constructor(bytes: Uint8Array, at: number) {
    if (bytes.length > MAX_FRAME_BYTES) refuse(`${bytes.length} bytes in one frame`, 0);
    this.bytes = bytes;
    this.at = at;
  }

  /** Reads an unsigned integer of at most 32 bits. */
  uint32(): number {
    const start = this.at;
    const major = this.readHead();
    if (major !== MAJOR.unsigned || this.at - start > 5)
      refuse("no uint32 where one belongs", start);
    return this.argument;
  }

  /** Reads a byte string as a view. */
  byteString(): Uint8Array {
    const start = this.at;
    if (this.readHead() !== MAJOR.bytes)
      refuse("no byte string where the bulk bytes belong", start);
    this.skipBytes(start);
    return this.bytes.subarray(this.at - this.argument, this.at);
  }

  /** Steps over one item that lies inside `depth` arrays. */
  skipItem(depth: number): void {
    const open = openArrays;
    let level = 0;
    for (;;) {
      const start = this.at;
      const major = this.readHead();
      if (major === MAJOR.array && this.argument > 0) {
        if (depth + level >= MAX_CBOR_DEPTH) refuse("arrays nested too deeply", start);
        this.checkFits(start);
        open[level++] = this.argument;
        continue;
      }
      if (major === MAJOR.bytes) this.skipBytes(start);
      if (major === MAJOR.text) this.skipText(start);
      while (level > 0 && --open[level - 1]! === 0) level--;
      if (level === 0) return;
    }
  }

  /** Reads an item's head: returns its major type and sets `argument`. */
  private readHead(): number {
    const start = this.at;
    if (start >= this.bytes.length) refuse("a truncated item", start);
    const initial = this.bytes[this.at++]!;
    const major = initial >> 5;
    const short = initial & 0x1f;
    if (major === MAJOR.simple) {
      if (initial < FALSE || initial > NULL)
        refuse("a float, undefined or unknown simple value", start);
    } else if (major > MAJOR.array) {
      refuse(major === MAJOR.tag ? "a tag" : "a map", start);
    }
    this.argument = short < 24 ? short : this.readArgument(major, short, start);
    return major;
  }

  private readArgument(major: number, short: number, start: number): number {
    if (short > 27) refuse("an indefinite length or reserved head", start);
    const width = 1 << (short - 24);
    if (width === 8 && major > MAJOR.negative) refuse("a length of 64 bits", start);
    if (this.bytes.length - this.at < width) refuse("a truncated item", start);
    let value = 0;
    for (let index = 0; index < width; index++) value = value * 256 + this.bytes[this.at++]!;
    return value;
  }

  private checkFits(start: number): void {
    if (this.argument > this.bytes.length - this.at)
      refuse("a length beyond the frame's end", start);
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
      if (!isUtf8(this.bytes.subarray(index, this.at))) refuse("a text that is not UTF-8", start);
      return;
    }
  }
}
