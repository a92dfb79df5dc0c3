/**
 * Schemas: what a message's fields may be. They turn values into plain CBOR items before encoding and check everything
 * that was decoded, so that past this border every value has its type and lies within its bounds.
 *
 * A record is a CBOR array with its fields in the order of the schema. That is smaller and faster than a map, and no
 * decoded key can ever reach a prototype. To evolve: append fields. A longer array is accepted and its surplus
 * ignored; a shorter one is accepted when the missing fields are optional.
 *
 * Integers that may exceed 32 bits are handed to the encoder as BigInt, so that they are CBOR integers, never floats.
 */
import { DfsError, messageOf } from "../base/errors.ts";

/** What the CBOR codec produces and consumes. */
export type Item = number | bigint | string | boolean | null | Uint8Array | Item[];

/** What a schema allows, as data: for whoever makes up values (tests/fuzz). */
export type Shape =
  | {
      readonly kind: "integer";
      readonly least: bigint;
      readonly most: bigint;
      readonly wide: boolean;
    }
  | { readonly kind: "bool" }
  | { readonly kind: "text"; readonly most: number }
  | { readonly kind: "bytes"; readonly least: number; readonly most: number }
  | { readonly kind: "choice"; readonly names: readonly string[] }
  | { readonly kind: "optional"; readonly of: Shape }
  | { readonly kind: "list"; readonly of: Shape; readonly most: number }
  /** A list in one byte string: packed-rows.ts. */
  | {
      readonly kind: "packed";
      readonly of: Shape;
      readonly rowBytes: number;
      readonly most: number;
    }
  | { readonly kind: "record"; readonly fields: readonly (readonly [name: string, of: Shape])[] };

/** One field's type on the wire and in memory. */
export interface Schema<T> {
  readonly shape: Shape;
  /** The notation used in docs/protocol.md. */
  readonly notation: string;
  /** The item for `value`. */
  encode(value: T): Item;
  /** The value of `item`. @throws DfsError `protocol` when it is not of this type or out of its bounds. */
  decode(item: unknown): T;
}

/** The in-memory type of a schema. */
export type Infer<S> = S extends Schema<infer T> ? T : never;

const UINT32_MAX = 2 ** 32 - 1;
const UINT64_MAX = (1n << 64n) - 1n;
const INT64_MAX = (1n << 63n) - 1n;

/** The shape of integers that are numbers in memory, or with `wide` bigints. */
function integer(least: bigint, most: bigint, wide: boolean): Shape {
  return { kind: "integer", least, most, wide };
}

function refuse(expected: string, item: unknown): never {
  throw new DfsError("protocol", `expected ${expected}, got ${shownItem(item)}`);
}

function shownItem(item: unknown): string {
  if (item instanceof Uint8Array) return `${item.length} bytes`;
  if (Array.isArray(item)) return `an array of ${item.length}`;
  if (typeof item === "string") return `a text of ${item.length} characters`;
  return String(item);
}

/** An integer from 0 to `max`, at most 2^32 - 1; a number in memory. */
export function uint(max: number = UINT32_MAX): Schema<number> {
  const notation = max === UINT32_MAX ? "uint32" : `uint(max ${max})`;
  return {
    shape: integer(0n, BigInt(max), false),
    notation,
    encode: (value) => value,
    decode: (item) =>
      typeof item === "number" && Number.isInteger(item) && item >= 0 && item <= max
        ? item
        : refuse(notation, item),
  };
}

/** An integer from 0 to 2^53 - 1 (offsets, lengths, counts); a number in memory. */
export const uint53: Schema<number> = {
  shape: integer(0n, BigInt(Number.MAX_SAFE_INTEGER), false),
  notation: "uint53",
  encode: (value) => (value > UINT32_MAX ? BigInt(value) : value),
  decode: (item) => {
    const value = typeof item === "bigint" ? Number(item) : item;
    return typeof value === "number" && Number.isSafeInteger(value) && value >= 0
      ? value
      : refuse("uint53", item);
  },
};

/** An unsigned 64-bit integer (checksums); a bigint in memory. Always nine bytes on the wire when we send it. */
export const uint64: Schema<bigint> = {
  shape: integer(0n, UINT64_MAX, true),
  notation: "uint64",
  encode: (value) => value,
  decode: (item) => {
    const value = typeof item === "number" && Number.isInteger(item) ? BigInt(item) : item;
    return typeof value === "bigint" && value >= 0n && value <= UINT64_MAX
      ? value
      : refuse("uint64", item);
  },
};

/** An integer from 0 to 2^63 - 1 that is counted up (operations): what a database takes; a bigint in memory. */
export const uint63: Schema<bigint> = id<bigint>("uint63");

/** A signed 64-bit integer (nanoseconds since the epoch); a bigint in memory. */
export const int64: Schema<bigint> = {
  shape: integer(-INT64_MAX - 1n, INT64_MAX, true),
  notation: "int64",
  encode: (value) => value,
  decode: (item) => {
    const value = typeof item === "number" && Number.isInteger(item) ? BigInt(item) : item;
    return typeof value === "bigint" && value >= -INT64_MAX - 1n && value <= INT64_MAX
      ? value
      : refuse("int64", item);
  },
};

/** An id: an integer from 0 to 2^63 - 1, branded in memory. 0 means "none". */
export function id<T extends bigint>(name: string): Schema<T> {
  return {
    shape: integer(0n, INT64_MAX, true),
    notation: name,
    encode: (value) => value,
    decode: (item) => {
      const value = uint64.decode(item);
      return value <= INT64_MAX ? (value as T) : refuse(name, item);
    },
  };
}

/** A small id: an integer from 1 to 2^32 - 1, branded in memory. */
export function smallId<T extends number>(name: string): Schema<T> {
  const inner = uint();
  return {
    shape: integer(1n, BigInt(UINT32_MAX), false),
    notation: name,
    encode: (value) => value,
    decode: (item) => {
      const value = inner.decode(item);
      return value > 0 ? (value as T) : refuse(name, item);
    },
  };
}

export const bool: Schema<boolean> = {
  shape: { kind: "bool" },
  notation: "bool",
  encode: (value) => value,
  decode: (item) => (typeof item === "boolean" ? item : refuse("bool", item)),
};

/** A UTF-8 text of at most `max` UTF-16 units. */
export function text(max: number): Schema<string> {
  const notation = `text(max ${max})`;
  return {
    shape: { kind: "text", most: max },
    notation,
    encode: (value) => value,
    decode: (item) =>
      typeof item === "string" && item.length <= max ? item : refuse(notation, item),
  };
}

/** A byte string of `min` to `max` bytes. */
export function bytes(max: number, min = 0): Schema<Uint8Array> {
  const notation =
    min === max ? `bytes(${max})` : `bytes(${min === 0 ? "" : `min ${min}, `}max ${max})`;
  return {
    shape: { kind: "bytes", least: min, most: max },
    notation,
    encode: (value) => value,
    decode: (item) =>
      item instanceof Uint8Array && item.length >= min && item.length <= max
        ? item
        : refuse(notation, item),
  };
}

/** `inner` or null. A missing last field of a record counts as null. */
export function optional<T>(inner: Schema<T>): Schema<T | null> {
  return {
    shape: { kind: "optional", of: inner.shape },
    notation: `${inner.notation}?`,
    encode: (value) => (value === null ? null : inner.encode(value)),
    decode: (item) => (item === null || item === undefined ? null : inner.decode(item)),
  };
}

/** At most `max` items of one type. */
export function list<T>(inner: Schema<T>, max: number): Schema<T[]> {
  const notation = `[${inner.notation}](max ${max})`;
  return {
    shape: { kind: "list", of: inner.shape, most: max },
    notation,
    encode: (values) => values.map((value) => inner.encode(value)),
    decode: (item) =>
      Array.isArray(item) && item.length <= max
        ? item.map((each) => inner.decode(each))
        : refuse(notation, item),
  };
}

/** One of a few names, sent as its number. Numbers are frozen: append only. */
export function choice<const Names extends Readonly<Record<string, number>>>(
  names: Names,
): Schema<keyof Names & string> {
  const byNumber = new Map(Object.entries(names).map(([name, number]) => [number, name]));
  const notation = Object.entries(names)
    .map(([name, number]) => `${number} ${name}`)
    .join(" | ");
  return {
    shape: { kind: "choice", names: Object.keys(names) },
    notation,
    encode: (value) => names[value] ?? refuse(notation, value),
    decode: (item) =>
      (typeof item === "number" ? byNumber.get(item) : undefined) ?? refuse(notation, item),
  };
}

type RecordOf<F> = { -readonly [K in keyof F]: Infer<F[K]> };

/** A record schema also shows its fields, for documentation and tests. */
export interface RecordSchema<T> extends Schema<T> {
  readonly fields: readonly (readonly [name: string, notation: string])[];
}

/** A record: a CBOR array with the fields in this order. */
// oxlint-disable-next-line no-explicit-any -- a heterogeneous list of schemas has no other type
export function record<F extends Readonly<Record<string, Schema<any>>>>(
  fields: F,
): RecordSchema<RecordOf<F>> {
  const entries = Object.entries(fields);
  return {
    shape: { kind: "record", fields: entries.map(([name, { shape }]) => [name, shape] as const) },
    notation: `{${entries.map(([name]) => name).join(", ")}}`,
    fields: entries.map(([name, schema]) => [name, schema.notation] as const),
    encode: (value) => entries.map(([name, schema]) => schema.encode(value[name as keyof F])),
    decode: (item) => {
      if (!Array.isArray(item)) refuse("a record", item);
      const value: Record<string, unknown> = {};
      for (let index = 0; index < entries.length; index++) {
        const [name, schema] = entries[index]!;
        value[name] = decodeField(name, schema, item[index]);
      }
      return value as RecordOf<F>;
    },
  };
}

function decodeField(name: string, schema: Schema<unknown>, item: unknown): unknown {
  try {
    return schema.decode(item);
  } catch (error) {
    throw new DfsError("protocol", `${name}: ${messageOf(error)}`);
  }
}
