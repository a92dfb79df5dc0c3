/**
 * What `dfs log dump` has to say, row by row, and how people see it. The rows are what --json prints: their keys are
 * frozen. Positions and lengths are bytes; 64-bit numbers become text in JSON.
 */
import { red, yellow } from "./colours.ts";
import { counted, countText } from "./format.ts";
import { tableLines, type Column } from "./table.ts";
import { printable } from "./text.ts";

/** First: the log as a whole. */
export interface LogRow {
  readonly row: "log";
  readonly directory: string;
  /** Null when there is nothing that tells. */
  readonly cluster: string | null;
  readonly server: number | null;
  readonly segments: number;
  readonly bytes: number;
  /** Files cut off torn tails by earlier starts. */
  readonly torn: readonly string[];
  /** Segments that were being made when the server ended. */
  readonly unfinished: readonly string[];
}

/** The list of segments. */
export interface ManifestRow {
  readonly row: "manifest";
  readonly state: "whole" | "damaged" | "missing";
  readonly bytes: number;
  readonly segments: number;
}

/** The image of the index that shortens an opening. */
export interface CheckpointRow {
  readonly row: "checkpoint";
  readonly state: "whole" | "damaged" | "missing" | "other" | "unfit";
  readonly bytes: number;
  readonly segment: number;
  readonly entries: number;
  readonly misfit: string | null;
}

export interface SegmentRow {
  readonly row: "segment";
  readonly segment: number;
  readonly file: string;
  readonly bytes: number;
  readonly header: "whole" | "damaged" | "foreign" | "newer";
  readonly place: "tail" | "inner";
  readonly seal: "own" | "suspect" | "none";
  /** Row of the table in docs/log-format.md, "Opening". */
  readonly decision: string;
  /** The segment counts up to here; less than `bytes` when it is suspect or has a torn tail. */
  readonly end: number;
}

export interface RecordRow {
  readonly row: "record";
  readonly segment: number;
  readonly position: number;
  readonly bytes: number;
  readonly lsn: bigint;
  readonly synced: number;
  readonly kind: "put" | "tombstone" | "seal";
  /** kept; torn: the next start cuts it off; surplus: behind the seal, and never used. */
  readonly state: "kept" | "torn" | "surplus";
  // put
  readonly block?: bigint;
  readonly length?: number;
  readonly inode?: bigint;
  readonly fileOffset?: number;
  readonly checksum?: string;
  // tombstone
  readonly blocks?: readonly bigint[];
  // seal
  readonly sealed?: number;
  readonly end?: number;
  readonly reason?: string;
}

/** Bytes that are not what was written, and were durable. */
export interface DamageRow {
  readonly row: "damage";
  /** Null for what is no segment, or is not there. */
  readonly segment: number | null;
  readonly file: string;
  readonly kind: string;
  readonly from: number;
  readonly to: number;
  /** The block, where the header of its record is whole. */
  readonly block: bigint | null;
  readonly text: string;
}

/** Bytes that were being written when the server ended. */
export interface TornRow {
  readonly row: "torn";
  readonly segment: number;
  readonly file: string;
  readonly from: number;
  readonly to: number;
}

/** Last. */
export interface TotalRow {
  readonly row: "total";
  readonly segments: number;
  readonly puts: number;
  readonly tombstones: number;
  readonly seals: number;
  readonly damages: number;
  readonly tornBytes: number;
  /** Whether the blocks of all segments were read and verified, or only those of the last. */
  readonly verified: boolean;
}

export type DumpRow =
  LogRow | ManifestRow | CheckpointRow | SegmentRow | RecordRow | DamageRow | TornRow | TotalRow;

const ROWS_AT_ONCE = 1000;
const SHOWN_BLOCKS = 8;

const COLUMNS: readonly Column[] = [
  { title: "POSITION", align: "right" },
  { title: "BYTES", align: "right" },
  { title: "LSN", align: "right" },
  { title: "KIND" },
  { title: "BLOCK", align: "right" },
  { title: "LENGTH", align: "right" },
  { title: "INODE", align: "right" },
  { title: "OFFSET", align: "right" },
  { title: "CHECKSUM" },
  { title: "NOTE" },
];

/** Turns rows into lines for people: a table for each segment, and all damage once more at the end. */
export class DumpText {
  readonly #line: (text: string) => Promise<void>;
  #cells: string[][] = [];
  /** Damage and torn tails, told once more at the end. */
  readonly #findings: string[] = [];

  constructor(line: (text: string) => Promise<void>) {
    this.#line = line;
  }

  async add(row: DumpRow): Promise<void> {
    switch (row.row) {
      case "log":
        return this.#log(row);
      case "manifest":
        return this.#line(manifestText(row));
      case "checkpoint":
        return this.#line(checkpointText(row));
      case "segment":
        await this.#flush();
        await this.#line("");
        return this.#line(segmentText(row));
      case "record":
        return this.#cellsOf(recordCells(row));
      case "damage":
        this.#findings.push(`damage: ${row.text}`);
        if (row.segment === null) return this.#line(red(printable(row.text)));
        return this.#cellsOf(rangeCells(row, red("damage"), row.kind));
      case "torn":
        this.#findings.push(tornText(row));
        return this.#cellsOf(rangeCells(row, yellow("torn"), "the next start cuts this off"));
      case "total":
        return this.#total(row);
    }
  }

  async #log({ directory, cluster, server, segments, bytes, torn, unfinished }: LogRow) {
    const owner = server === null ? "of nobody knows whom" : `of data server ${server}`;
    await this.#line(`log ${owner} in ${printable(directory)}`);
    if (cluster !== null) await this.#line(`cluster ${cluster}`);
    await this.#line(`${counted(segments, "segment")}, ${counted(bytes, "byte")}`);
    for (const file of torn) {
      await this.#line(`cut off by an earlier start: ${printable(file)}`);
    }
    for (const file of unfinished) {
      await this.#line(`was being made, the next start removes it: ${printable(file)}`);
    }
  }

  async #cellsOf(cells: string[]): Promise<void> {
    this.#cells.push(cells);
    if (this.#cells.length >= ROWS_AT_ONCE) await this.#flush();
  }

  async #flush(): Promise<void> {
    const rows = this.#cells;
    this.#cells = [];
    if (rows.length === 0) return;
    for (const line of tableLines(COLUMNS, rows)) await this.#line(line);
  }

  async #total({ segments, puts, tombstones, seals, damages, verified }: TotalRow): Promise<void> {
    await this.#flush();
    await this.#line("");
    for (const text of this.#findings) await this.#line(printable(text));
    const places = damages === 0 ? "no damage found" : `${counted(damages, "damage")} found`;
    await this.#line(
      `${counted(segments, "segment")}, ${counted(puts, "put")}, ${counted(tombstones, "tombstone")}, ` +
        `${counted(seals, "seal")}: ${places}`,
    );
    if (!verified) {
      await this.#line("blocks were verified at most in the last segment; --verify reads them all");
    }
  }
}

function manifestText({ state, segments }: ManifestRow): string {
  return state === "whole" ? `manifest: ${counted(segments, "segment")}` : `manifest: ${state}`;
}

function checkpointText({ state, segment, entries, bytes, misfit }: CheckpointRow): string {
  const what = `segments up to ${segment} with ${counted(entries, "block")}, ${counted(bytes, "byte")}`;
  switch (state) {
    case "whole":
      return `checkpoint: ${what}`;
    case "unfit":
      return `checkpoint: ${what}; the next start does not use it: ${printable(misfit ?? "")}`;
    case "other":
      return "checkpoint: of another log or version; the next start does not use it";
    default:
      return `checkpoint: ${state}`;
  }
}

function segmentText(row: SegmentRow): string {
  const text = `segment ${row.segment}: ${row.file}, ${counted(row.bytes, "byte")}, ${stateText(row)}`;
  return row.header === "whole" ? text : red(text);
}

/** What an opening makes of the segment, in a few words. */
function stateText({ header, place, seal, end, bytes, decision }: SegmentRow): string {
  if (header === "newer") return "written by a newer build";
  if (header === "foreign") return "of another cluster or server";
  const rot = header === "damaged" ? ", its header is damaged" : "";
  if (decision === "C" || decision === "D") return `empty${rot}`;
  if (seal === "suspect")
    return `suspect after a failed sync, counts up to ${countText(end)}${rot}`;
  if (seal === "own") return `sealed${rot}`;
  if (place === "inner") return `not sealed, though a later one has records${rot}`;
  const torn = end < bytes ? `, torn from ${countText(end)} on` : "";
  return `being written when the server ended${torn}${rot}`;
}

function recordCells(row: RecordRow): string[] {
  return [
    countText(row.position),
    countText(row.bytes),
    row.lsn.toString(),
    row.kind,
    row.block?.toString() ?? "",
    row.length === undefined ? "" : countText(row.length),
    row.inode?.toString() ?? "",
    row.fileOffset === undefined ? "" : countText(row.fileOffset),
    row.checksum ?? "",
    [noteOf(row), row.state === "kept" ? "" : yellow(row.state)].filter((text) => text).join("; "),
  ];
}

function noteOf({ kind, segment, blocks = [], sealed, end, reason }: RecordRow): string {
  if (kind === "tombstone") {
    const more = blocks.length > SHOWN_BLOCKS ? ` and ${blocks.length - SHOWN_BLOCKS} more` : "";
    return `deletes ${blocks.slice(0, SHOWN_BLOCKS).join(", ")}${more}`;
  }
  if (kind !== "seal") return "";
  return sealed === segment
    ? `this segment ends: ${reason}`
    : `segment ${sealed} counts up to ${countText(end ?? 0)}: ${reason}`;
}

function rangeCells({ from, to }: DamageRow | TornRow, kind: string, note: string): string[] {
  return [countText(from), countText(to - from), "", kind, "", "", "", "", "", note];
}

function tornText({ file, from, to }: TornRow): string {
  return (
    `torn tail: ${file}, bytes ${from} to ${to}: being written when the server ended, ` +
    "and not acknowledged; the next start cuts it off"
  );
}
