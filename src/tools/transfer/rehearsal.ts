/**
 * --dry-run: what a transfer would do, told instead of done. One line, or row of --json, for each thing that would be made.
 */
import { counted, sizeText } from "../shared/format.ts";
import type { Output } from "../shared/output.ts";
import { endsInSlash } from "../shared/paths.ts";
import { escaped, jsonName } from "../shared/text.ts";
import type { FileType } from "../../protocol/messages/common.ts";
import type { Tally } from "./jobs.ts";

/** Something that would be made. */
export interface Planned {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
  readonly type: FileType;
  /** Of files. */
  readonly bytes?: number;
}

export class Rehearsal {
  /** Of all files that would be transferred. */
  bytes = 0;
  readonly #out: Output;
  readonly #json: boolean;
  readonly #verb: string;

  constructor(out: Output, json: boolean, verb: string) {
    this.#out = out;
    this.#json = json;
    this.#verb = verb;
  }

  async tell({ from, to, type, bytes }: Planned): Promise<void> {
    this.bytes += bytes ?? 0;
    if (this.#json) {
      const row = { ...jsonName("from", from), ...jsonName("to", to), type, bytes: bytes ?? null };
      await this.#out.row({ would: this.#verb, ...row });
    } else {
      const shown = (path: Uint8Array): string =>
        `${escaped(path)}${type === "directory" && !endsInSlash(path) ? "/" : ""}`;
      await this.#out.line(`${shown(from)} -> ${shown(to)}`);
    }
  }

  /** "dry run: would store 3 files (12 KiB) in 1 directory; 2 files are there already". */
  summary(tally: Tally): string {
    const others = tally.symlinks + tally.others;
    const parts = [
      `${counted(tally.files, "file")} (${sizeText(this.bytes)})`,
      ...(tally.directories > 0 ? [counted(tally.directories, "directory", "directories")] : []),
      ...(others > 0 ? [counted(others, "link or special file", "links and special files")] : []),
    ];
    const { skipped } = tally;
    const there = `; ${counted(skipped, "file")} ${skipped === 1 ? "is" : "are"} there already`;
    return `dry run: would ${this.#verb} ${parts.join(", ")}${skipped > 0 ? there : ""}`;
  }
}
