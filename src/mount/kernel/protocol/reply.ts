/**
 * Replies to the kernel.
 *
 *      0  u32 len       of the whole reply
 *      4  i32 error     0 or a negative errno, which has no body
 *      8  u64 unique    of the request
 *     16  body
 *
 * One memory serves for all replies that are encoded, as each is written before the next is made. Bytes of files go to the
 * kernel straight from the array that the file system returned.
 */
import type { Memory } from "../connection/memory.ts";
import { OUT_HEADER_BYTES } from "./constants.ts";

/** Writes the body of one reply. */
export type Encoder = (body: ReplyBody) => void;

/** A reply without a body, with these bytes as its body, or with one that is encoded when it is sent. */
export type Reply = undefined | Uint8Array | Encoder;

export class ReplyBody {
  private readonly memory: Memory;
  private position = OUT_HEADER_BYTES;

  constructor(memory: Memory) {
    this.memory = memory;
  }

  reset(): void {
    this.position = OUT_HEADER_BYTES;
  }

  /** Length of the reply so far, header included. */
  get length(): number {
    return this.position;
  }

  uint16(value: number): void {
    this.memory.view.setUint16(this.position, value, true);
    this.position += 2;
  }

  uint32(value: number): void {
    this.memory.view.setUint32(this.position, value, true);
    this.position += 4;
  }

  uint64(value: bigint): void {
    this.memory.view.setBigUint64(this.position, value, true);
    this.position += 8;
  }

  /** A 64-bit number, unsigned or in two's complement, from a whole JavaScript number within 2^53. */
  number(value: number): void {
    const high = Math.floor(value / 4_294_967_296);
    this.memory.view.setUint32(this.position, value - high * 4_294_967_296, true);
    this.memory.view.setInt32(this.position + 4, high, true);
    this.position += 8;
  }

  bytes(value: Uint8Array): void {
    this.memory.bytes.set(value, this.position);
    this.position += value.length;
  }

  zeros(count: number): void {
    this.memory.bytes.fill(0, this.position, this.position + count);
    this.position += count;
  }
}

/** Writes the header of a reply of `length` bytes in all. */
export function encodeHeader(
  view: DataView,
  length: number,
  error: number,
  unique: { readonly uniqueLow: number; readonly uniqueHigh: number },
): void {
  view.setUint32(0, length, true);
  view.setInt32(4, error, true);
  view.setUint32(8, unique.uniqueLow, true);
  view.setUint32(12, unique.uniqueHigh, true);
}
