/**
 * Lists of many small rows, packed into one byte string: each row takes the same number of bytes, its integers are big-endian.
 *
 * As CBOR each field of each row is an item of its own, to be made, checked and collected. A message about thousands of
 * blocks costs a fraction of that when its rows are packed. What has been decoded is checked as that of any schema.
 */
import { DfsError } from "../base/errors.ts";
import { MAX_ID } from "../base/ids.ts";
import type { Schema, Shape } from "./schema.ts";

/** How a row lies in its bytes. */
export interface RowLayout<T> {
  /** What is in a row, as docs/protocol.md says it. */
  readonly notation: string;
  readonly rowBytes: number;
  readonly shape: Shape;
  write(view: DataView, at: number, row: T): void;
  /** @throws DfsError `protocol` when no row is like that. */
  read(view: DataView, at: number): T;
}

/** At most `max` rows of one kind, in one byte string. */
export function packedRows<T>(layout: RowLayout<T>, max: number): Schema<T[]> {
  const { rowBytes } = layout;
  const each = rowBytes === 1 ? "1 byte each" : `${rowBytes} bytes each`;
  const notation = `packed ${layout.notation} (${each}, max ${max})`;
  return {
    shape: { kind: "packed", of: layout.shape, rowBytes, most: max },
    notation,
    encode: (rows) => {
      const bytes = new Uint8Array(rows.length * rowBytes);
      const view = new DataView(bytes.buffer);
      let at = 0;
      for (const row of rows) {
        layout.write(view, at, row);
        at += rowBytes;
      }
      return bytes;
    },
    decode: (item) => {
      if (!(item instanceof Uint8Array)) refuseRow(notation, item);
      if (item.length % rowBytes !== 0 || item.length > max * rowBytes) {
        refuseRow(notation, `${item.length} bytes`);
      }
      const view = new DataView(item.buffer, item.byteOffset, item.length);
      const rows: T[] = [];
      for (let at = 0; at < item.length; at += rowBytes) rows.push(layout.read(view, at));
      return rows;
    },
  };
}

/** Yes or no, in a byte. */
export const packedBool: RowLayout<boolean> = {
  notation: "bool",
  rowBytes: 1,
  shape: { kind: "bool" },
  write: (view, at, value) => view.setUint8(at, value ? 1 : 0),
  read: (view, at) => {
    const byte = view.getUint8(at);
    return byte <= 1 ? byte === 1 : refuseRow("0 or 1", byte);
  },
};

/** One of a few names, as its number in a byte. */
export function packedChoice<T>(choice: Schema<T>): RowLayout<T> {
  return {
    notation: choice.notation,
    rowBytes: 1,
    shape: choice.shape,
    write: (view, at, value) => view.setUint8(at, choice.encode(value) as number),
    read: (view, at) => choice.decode(view.getUint8(at)),
  };
}

/** An id of 8 bytes: `least` to 2^63 - 1. @throws DfsError `protocol`. */
export function readId(view: DataView, at: number, least: bigint, name: string): bigint {
  const value = view.getBigUint64(at);
  return value >= least && value <= MAX_ID ? value : refuseRow(name, value);
}

/** An integer from 0 to 2^53 - 1 in 8 bytes. @throws DfsError `protocol`. */
export function readUint53(view: DataView, at: number, name: string): number {
  const value = view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4);
  return Number.isSafeInteger(value) ? value : refuseRow(name, view.getBigUint64(at));
}

/** The other way. */
export function writeUint53(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 2 ** 32));
  view.setUint32(at + 4, value % 2 ** 32);
}

/** An integer from 0 to `max` in 4 bytes. @throws DfsError `protocol`. */
export function readUint32(view: DataView, at: number, max: number, name: string): number {
  const value = view.getUint32(at);
  return value <= max ? value : refuseRow(`${name} of at most ${max}`, value);
}

function refuseRow(expected: string, got: unknown): never {
  throw new DfsError("protocol", `expected ${expected}, got ${shown(got)}`);
}

function shown(value: unknown): string {
  return typeof value === "object" && value !== null ? "something else" : String(value);
}
