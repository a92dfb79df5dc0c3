/**
 * Reads the items of a body one after the other, in place: nothing is made of what is passed over. For long replies, of which
 * decoding makes an object for each part.
 *
 * The bytes have passed the check of `parseFrame`, so that they are whole items; here each is looked at for its type and bounds.
 */
import { DfsError } from "../base/errors.ts";

const MAJOR = { unsigned: 0, negative: 1, bytes: 2, text: 3, array: 4 } as const;
const FALSE = 0xf4;
const TRUE = 0xf5;
const NULL = 0xf6;

const TWO_TO_THE_32 = 4_294_967_296;
const FIRST_UNSAFE_HIGH_WORD = 0x20_0000;
const FIRST_NEGATIVE_HIGH_WORD = 0x8000_0000;

export class ItemReader {
  readonly bytes: Uint8Array;
  /** Position of the next item. */
  at: number;
  /** The argument of the head that was read last: a value, length or count. */
  private high = 0;
  private low = 0;

  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }

  /** Steps into an array of at least `least` elements; returns how many it has. */
  array(least: number, what: string): number {
    if (this.head() !== MAJOR.array || this.low < least) this.refuse(what);
    return this.low;
  }

  /** Steps over null, if that is what comes. */
  isNull(): boolean {
    if (this.bytes[this.at] !== NULL) return false;
    this.at++;
    return true;
  }

  bool(what: string): boolean {
    const value = this.bytes[this.at++];
    if (value !== TRUE && value !== FALSE) this.refuse(what);
    return value === TRUE;
  }

  /** An unsigned integer of at most `max`, itself at most 2^53 - 1. */
  uint(max: number, what: string): number {
    if (this.head() !== MAJOR.unsigned || this.high >= FIRST_UNSAFE_HIGH_WORD) this.refuse(what);
    const value = this.high * TWO_TO_THE_32 + this.low;
    if (value > max) this.refuse(what);
    return value;
  }

  /** An unsigned integer of 64 bits, 63 if it is an id, into `target` at `offset`, little-endian. */
  uint64(target: DataView, offset: number, what: string, bits: 63 | 64 = 64): void {
    if (this.head() !== MAJOR.unsigned) this.refuse(what);
    if (bits === 63 && this.high >= FIRST_NEGATIVE_HIGH_WORD) this.refuse(what);
    target.setUint32(offset, this.low, true);
    target.setUint32(offset + 4, this.high, true);
  }

  /** A signed integer of 64 bits into `target` at `offset`, little-endian, in two's complement. */
  int64(target: DataView, offset: number, what: string): void {
    const major = this.head();
    if (major > MAJOR.negative || this.high >= FIRST_NEGATIVE_HIGH_WORD) this.refuse(what);
    const flip = major === MAJOR.negative ? -1 : 0; // -1 - n is n with all bits turned over
    target.setUint32(offset, (this.low ^ flip) >>> 0, true);
    target.setUint32(offset + 4, (this.high ^ flip) >>> 0, true);
  }

  /** Steps over a byte string of at most `max` bytes; returns where its bytes begin. They end where the next item is. */
  byteString(max: number, what: string): number {
    if (this.head() !== MAJOR.bytes || this.low > max) this.refuse(what);
    this.at += this.low;
    return this.at - this.low;
  }

  /** Steps over `count` items, whatever they are. */
  skip(count: number): void {
    for (let left = count; left > 0; left--) {
      const major = this.head();
      if (major === MAJOR.array) left += this.low;
      else if (major === MAJOR.bytes || major === MAJOR.text) this.at += this.low;
    }
  }

  /** @throws DfsError `protocol`: there is something else than `what`. */
  refuse(what: string): never {
    throw new DfsError("protocol", `expected ${what}, got something else`);
  }

  /** Reads the head of an item: returns its major type, and sets its argument. */
  private head(): number {
    const initial = this.bytes[this.at++] ?? NULL;
    const short = initial & 0x1f;
    this.high = 0;
    if (short < 24 || initial >= FALSE) this.low = short;
    else if (short === 27) {
      this.high = this.word(4);
      this.low = this.word(4);
    } else this.low = this.word(1 << (short - 24));
    return initial >> 5;
  }

  private word(width: number): number {
    let value = 0;
    for (let index = 0; index < width; index++) value = value * 256 + this.bytes[this.at++]!;
    return value;
  }
}
