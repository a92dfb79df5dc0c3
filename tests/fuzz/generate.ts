// Made-up values: right ones for a schema, wrong ones, and CBOR of any kind, also such as dfs never sends.

import type { Random } from "../../src/base/random.ts";
import type { Item, Shape } from "../../src/protocol/schema.ts";

/** Characters that are easily got wrong: of one to four bytes, a control character, and one that writes backwards. */
const CHARACTERS = ["a", "/", "\0", "\n", "\u001b", "ä", "\u202e", "€", "\u{1f4be}"];

/** How large what is made up may become. */
export interface Extent {
  /** Items of a list, characters of a text, bytes of a byte string, at most. */
  readonly length: number;
}

export const SMALL: Extent = { length: 20 };

/** A value that a schema of this shape takes, often one at its bounds. */
export function valueOf(shape: Shape, random: Random, extent: Extent = SMALL): unknown {
  switch (shape.kind) {
    case "integer": {
      const value = integerWithin(shape.least, shape.most, random);
      return shape.wide ? value : Number(value);
    }
    case "bool":
      return random.below(2) === 1;
    case "text":
      return textOf(random.below(Math.min(shape.most, extent.length) + 1), random);
    case "bytes": {
      const most = Math.max(shape.least, Math.min(shape.most, extent.length));
      return random.bytes(shape.least + random.below(most - shape.least + 1));
    }
    case "choice":
      return pick(shape.names, random);
    case "optional":
      return random.below(3) === 0 ? null : valueOf(shape.of, random, extent);
    case "list":
    case "packed": {
      const count = random.below(Math.min(shape.most, extent.length) + 1);
      const inner = { length: Math.ceil(extent.length / 2) };
      return Array.from({ length: count }, () => valueOf(shape.of, random, inner));
    }
    case "record":
      return Object.fromEntries(
        shape.fields.map(([name, of]) => [name, valueOf(of, random, extent)]),
      );
  }
}

/** An item as it may stand on the wire, of no type in particular. */
export function anyItem(random: Random, depth = 3): Item {
  switch (random.below(depth > 0 ? 9 : 8)) {
    case 0:
      return random.below(2 ** 32);
    case 1:
      return integerWithin(-(1n << 63n), (1n << 64n) - 1n, random);
    case 2:
      return random.bytes(random.below(40));
    case 3:
      return textOf(random.below(40), random);
    case 4:
      return null;
    case 5:
      return random.below(2) === 1;
    case 6:
      return 0;
    case 7:
      return [];
    default:
      return Array.from({ length: random.below(6) }, () => anyItem(random, depth - 1));
  }
}

/** `item` with one part of it, or all of it, replaced, dropped, doubled or wrapped. */
export function mutatedItem(item: Item, random: Random): Item {
  // Byte strings have an inner life as well: rows.
  if (item instanceof Uint8Array && random.below(2) === 0) return mutatedBytes(item, random);
  if (!Array.isArray(item) || item.length === 0 || random.below(4) === 0) return anyItem(random);
  const copy = [...item];
  const at = random.below(copy.length);
  switch (random.below(6)) {
    case 0:
      copy.splice(at, 1);
      break;
    case 1:
      copy.splice(at, 0, anyItem(random));
      break;
    case 2:
      copy.push(...copy.slice(0, at));
      break;
    case 3:
      copy[at] = [copy[at]!];
      break;
    default:
      copy[at] = mutatedItem(copy[at]!, random);
  }
  return copy;
}

/** The bytes of some CBOR item: all types of RFC 8949, whether dfs takes them or not, and lengths that may be lies. */
export function anyCbor(random: Random, depth = 4): Uint8Array {
  const major = random.below(8);
  const head = cborHead(major, random);
  if (major <= 1 || major === 7) return head.bytes;
  if (major <= 3) {
    const length = random.below(4) === 0 ? random.below(30) : Math.min(head.argument, 30);
    return joined([head.bytes, random.bytes(length)]);
  }
  if (depth === 0) return head.bytes;
  const count = Math.min(head.argument * (major === 5 ? 2 : 1), 6);
  const parts = Array.from({ length: count }, () => anyCbor(random, depth - 1));
  return joined([head.bytes, ...parts, ...(random.below(8) === 0 ? [Uint8Array.of(0xff)] : [])]);
}

/** `bytes` with a few of them changed, left out, doubled or cut off, or with others put in between. */
export function mutatedBytes(bytes: Uint8Array, random: Random): Uint8Array {
  let result = Uint8Array.from(bytes);
  for (let count = 1 + random.below(4); count > 0; count--) result = mutatedOnce(result, random);
  return result;
}

export function pick<T>(from: readonly T[], random: Random): T {
  return from[random.below(from.length)]!;
}

export function joined(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts));
}

function mutatedOnce(bytes: Uint8Array, random: Random): Uint8Array<ArrayBuffer> {
  const at = random.below(bytes.length + 1);
  const end = Math.min(bytes.length, at + random.below(9));
  switch (random.below(7)) {
    case 0: // a bit
      return Uint8Array.from(bytes, (byte, index) =>
        index === at ? byte ^ (1 << random.below(8)) : byte,
      );
    case 1: // a byte that means something in CBOR, or a bound
      return Uint8Array.from(bytes, (byte, index) =>
        index === at
          ? pick([0, 0x18, 0x1b, 0x5b, 0x7f, 0x80, 0x9f, 0xbf, 0xc0, 0xf7, 0xff], random)
          : byte,
      );
    case 2:
      return Uint8Array.from(Buffer.concat([bytes.subarray(0, at), bytes.subarray(end)]));
    case 3:
      return Uint8Array.from(Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)]));
    case 4:
      return Uint8Array.from(bytes.subarray(0, at));
    case 5: {
      const put = random.bytes(random.below(9));
      return Uint8Array.from(Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at)]));
    }
    default: {
      const put = random.bytes(end - at);
      return Uint8Array.from(bytes, (byte, index) =>
        index >= at && index < end ? put[index - at]! : byte,
      );
    }
  }
}

function cborHead(major: number, random: Random): { bytes: Uint8Array; argument: number } {
  const short = random.below(32);
  if (short < 24 || short > 27)
    return { bytes: Uint8Array.of((major << 5) | short), argument: short % 24 };
  const width = 1 << (short - 24);
  const argument = random.below(3) === 0 ? random.below(2 ** 32) : random.below(8);
  const bytes = new Uint8Array(1 + width);
  bytes[0] = (major << 5) | short;
  for (let index = 0, left = argument; index < width; index++) {
    bytes[width - index] = left % 256;
    left = Math.floor(left / 256);
  }
  return { bytes, argument };
}

function textOf(length: number, random: Random): string {
  let text = "";
  while (text.length < length) {
    const next = pick(CHARACTERS, random);
    text += text.length + next.length <= length ? next : "b";
  }
  return text;
}

function integerWithin(least: bigint, most: bigint, random: Random): bigint {
  const bounds = [
    least,
    most,
    least + 1n,
    most - 1n,
    23n,
    24n,
    255n,
    256n,
    65535n,
    65536n,
    (1n << 32n) - 1n,
    1n << 32n,
    (1n << 53n) - 1n,
    1n << 53n,
  ];
  if (random.below(2) === 0) {
    const bound = pick(bounds, random);
    if (bound >= least && bound <= most) return bound;
  }
  const bytes = random.bytes(8);
  const wide =
    new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0) >> BigInt(random.below(64));
  return least + (wide % (most - least + 1n));
}
