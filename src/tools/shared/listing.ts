/**
 * Rows of `dfs ls -l`.
 */
import type { Attributes } from "../../protocol/messages/common.ts";
import { blue, cyan, yellow } from "./colours.ts";
import { deviceNumbers, localTime, modeText, sizeText } from "./format.ts";
import { OwnerNames } from "./owners.ts";
import { aligned } from "./table.ts";
import { escaped } from "./text.ts";

export interface Listed {
  readonly name: Uint8Array;
  readonly attributes: Attributes;
}

const COLUMNS = [
  { align: "left" },
  { align: "right" },
  { align: "left" },
  { align: "left" },
  { align: "right" },
  { align: "left" },
  { align: "left" },
] as const;

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

/** Makes rows whose columns never get narrower from page to page, so that a long directory stays aligned. */
export class LongListing {
  readonly #numeric: boolean;
  readonly #human: boolean;
  readonly #names = new OwnerNames();
  readonly #widths: number[] = COLUMNS.map(() => 0);

  constructor(options: { readonly numeric: boolean; readonly human: boolean }) {
    this.#numeric = options.numeric;
    this.#human = options.human;
  }

  lines(items: readonly Listed[], targets: readonly (Uint8Array | undefined)[]): string[] {
    const rows = items.map((item, index) => this.#row(item, targets[index]));
    for (const row of rows) {
      row.forEach((cell, column) => {
        this.#widths[column] = Math.max(this.#widths[column] ?? 0, Bun.stringWidth(cell));
      });
    }
    return rows.map((row) => aligned(COLUMNS, this.#widths, row));
  }

  #row({ name, attributes }: Listed, target: Uint8Array | undefined): string[] {
    const arrow = target === undefined ? "" : ` -> ${escaped(target)}`;
    return [
      modeText(attributes.type, attributes.mode),
      String(attributes.nlink),
      this.#numeric ? String(attributes.uid) : this.#names.user(attributes.uid),
      this.#numeric ? String(attributes.gid) : this.#names.group(attributes.gid),
      this.#size(attributes),
      localTime(attributes.mtimeNs),
      `${nameShown(name, attributes)}${arrow}`,
    ];
  }

  #size(attributes: Attributes): string {
    if (attributes.type === "characterDevice" || attributes.type === "blockDevice") {
      const { major, minor } = deviceNumbers(attributes.rdev);
      return `${major}, ${minor}`;
    }
    return this.#human ? sizeText(attributes.size) : String(attributes.size);
  }
}
