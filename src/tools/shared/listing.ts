/**
 * Rows of `dfs ls`, and their order.
 */
import type { Attributes } from "../../protocol/messages/common.ts";
import { blue, cyan, yellow } from "./colours.ts";
import { deviceNumbers, kibibytes, localTime, modeText, shortSize } from "./format.ts";
import { OwnerNames } from "./owners.ts";
import { aligned, type Column } from "./table.ts";
import { escaped } from "./text.ts";

export interface Listed {
  readonly name: Uint8Array;
  readonly attributes: Attributes;
}

/** What is shown of each thing, besides its name. */
export interface ListingOptions {
  /** Mode, links, owner, group, size, time of change, and where links lead. */
  readonly long: boolean;
  /** Numbers of owners and groups instead of names. */
  readonly numeric: boolean;
  /** Sizes with units. */
  readonly human: boolean;
  readonly inode: boolean;
  /** What the blocks of a file take up. */
  readonly size: boolean;
  /** A character behind the name that tells what it is. */
  readonly classify: boolean;
}

type Align = Pick<Column, "align">;

const SIZE_COLUMN: Align = { align: "right" };
const INODE_COLUMN: Align = { align: "right" };
const LONG_COLUMNS: readonly Align[] = [
  { align: "left" },
  { align: "right" },
  { align: "left" },
  { align: "left" },
  { align: "right" },
  { align: "left" },
];
const NAME_COLUMN: Align = { align: "left" };

const ANY_EXECUTE = 0o111;

/** A name as a list shows it: escaped, coloured by type on a terminal. */
export function nameShown(name: Uint8Array, attributes: Attributes): string {
  const text = escaped(name);
  switch (attributes.type) {
    case "directory":
      return blue(text);
    case "symlink":
      return cyan(text);
    case "file":
      return text;
    default:
      return yellow(text);
  }
}

/** What `ls -F` puts behind the name of a directory, link, fifo, socket or program; nothing behind others. */
export function indicator({ type, mode }: Attributes): string {
  switch (type) {
    case "directory":
      return "/";
    case "symlink":
      return "@";
    case "fifo":
      return "|";
    case "socket":
      return "=";
    case "file":
      return (mode & ANY_EXECUTE) === 0 ? "" : "*";
    default:
      return "";
  }
}

/** Makes rows whose columns never get narrower from page to page, so that a long directory stays aligned. */
export class Listing {
  readonly #options: ListingOptions;
  readonly #names = new OwnerNames();
  readonly #columns: readonly Align[];
  readonly #widths: number[];

  constructor(options: ListingOptions) {
    this.#options = options;
    this.#columns = [
      ...(options.inode ? [INODE_COLUMN] : []),
      ...(options.size ? [SIZE_COLUMN] : []),
      ...(options.long ? LONG_COLUMNS : []),
      NAME_COLUMN,
    ];
    this.#widths = this.#columns.map(() => 0);
  }

  /** One line for each of `items`; `targets` are those of the symbolic links among them. */
  lines(items: readonly Listed[], targets: readonly (Uint8Array | undefined)[]): string[] {
    const rows = items.map((item, index) => this.#row(item, targets[index]));
    if (this.#columns.length === 1) return rows.map(([name = ""]) => name);
    for (const row of rows) {
      row.forEach((cell, column) => {
        this.#widths[column] = Math.max(this.#widths[column] ?? 0, Bun.stringWidth(cell));
      });
    }
    return rows.map((row) => aligned(this.#columns, this.#widths, row));
  }

  #row({ name, attributes }: Listed, target: Uint8Array | undefined): string[] {
    const { long, inode, size, human, classify } = this.#options;
    const { allocated } = attributes;
    const arrow = target === undefined ? "" : ` -> ${escaped(target)}`;
    const mark = classify && target === undefined ? indicator(attributes) : "";
    return [
      ...(inode ? [String(attributes.inode)] : []),
      ...(size ? [human ? shortSize(allocated) : String(kibibytes(allocated))] : []),
      ...(long ? this.#facts(attributes) : []),
      `${nameShown(name, attributes)}${mark}${arrow}`,
    ];
  }

  #facts(attributes: Attributes): string[] {
    const { numeric } = this.#options;
    return [
      modeText(attributes.type, attributes.mode),
      String(attributes.nlink),
      numeric ? String(attributes.uid) : this.#names.user(attributes.uid),
      numeric ? String(attributes.gid) : this.#names.group(attributes.gid),
      this.#size(attributes),
      localTime(attributes.mtimeNs),
    ];
  }

  #size(attributes: Attributes): string {
    if (attributes.type === "characterDevice" || attributes.type === "blockDevice") {
      const { major, minor } = deviceNumbers(attributes.rdev);
      return `${major}, ${minor}`;
    }
    return this.#options.human ? shortSize(attributes.size) : String(attributes.size);
  }
}

/** What a directory's entries, and the paths that were given, are sorted by; largest and newest come first. */
export type SortKey = "name" | "size" | "time";

/** Sorts in place; what is alike in the key goes by the bytes of its name, and `reverse` turns all of it round. */
export function sortListed(items: Listed[], key: SortKey, reverse: boolean): void {
  const sign = reverse ? -1 : 1;
  items.sort((one, other) => {
    const byKey = compareBy(key, one.attributes, other.attributes);
    return sign * (byKey === 0 ? Buffer.compare(one.name, other.name) : byKey);
  });
}

function compareBy(key: SortKey, one: Attributes, other: Attributes): number {
  if (key === "size") return other.size - one.size;
  if (key === "name" || one.mtimeNs === other.mtimeNs) return 0;
  return one.mtimeNs < other.mtimeNs ? 1 : -1;
}
