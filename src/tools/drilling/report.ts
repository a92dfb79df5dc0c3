/**
 * The report of a drill: a table, what was not as expected, and a summary.
 */
import { green, red } from "../shared/colours.ts";
import { counted, durationText, sizeText } from "../shared/format.ts";
import { tableLines, type Column } from "../shared/table.ts";
import { printable } from "../shared/text.ts";
import type { DrillFiles } from "./files.ts";
import type { DrillRow } from "./run.ts";

const COLUMNS: readonly Column[] = [
  { title: "FAULT" },
  { title: "EXPECTED" },
  { title: "OBSERVED" },
  { title: "THREE COPIES", align: "right" },
];

/** Problems shown of one fault; the others are counted. */
const SHOWN_PROBLEMS = 5;

export interface DrillEnd {
  readonly rows: readonly DrillRow[];
  readonly files: DrillFiles;
  readonly elapsedMs: number;
  readonly seed: number;
}

export function isAsExpected({ problems }: DrillRow): boolean {
  return problems.length === 0;
}

/** The lines for people. `copies`: how many copies a block has. */
export function reportLines({ rows, files, elapsedMs, seed }: DrillEnd): string[] {
  const failed = rows.filter((row) => !isAsExpected(row));
  const verdict =
    failed.length === 0
      ? green("all as expected")
      : red(`${counted(failed.length, "fault")} NOT as expected`);
  const stored = `${counted(files.stored.length, "file")}, ${sizeText(files.bytes)}`;
  return [
    ...tableLines(COLUMNS, rows.map(cells)),
    "",
    ...failed.flatMap(problemLines),
    `${verdict}: ${counted(rows.length - 1, "fault")} on ${stored} in ${durationText(elapsedMs)}, seed ${seed}`,
  ];
}

/** A row of --json. */
export function jsonFault({ fault, expected, observed, problems, healedMs }: DrillRow): object {
  return {
    fault,
    expected,
    observed,
    asExpected: problems.length === 0,
    problems,
    healedSeconds: healedMs === undefined ? null : Math.round(healedMs) / 1000,
  };
}

/** The last row of --json. */
export function jsonSummary({ rows, files, elapsedMs, seed }: DrillEnd): object {
  return {
    summary: {
      seed,
      faults: rows.length - 1,
      asExpected: rows.every(isAsExpected),
      files: files.stored.length,
      bytes: files.bytes,
      seconds: Math.round(elapsedMs) / 1000,
    },
  };
}

function cells(row: DrillRow): string[] {
  const { fault, expected, observed, healedMs } = row;
  const seen = isAsExpected(row)
    ? observed
    : `NOT AS EXPECTED${observed === "" ? "" : `: ${observed}`}`;
  const time = healedMs === undefined ? "never" : healedMs === 0 ? "-" : secondsText(healedMs);
  return [fault, expected, seen, time];
}

function secondsText(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

function problemLines({ fault, problems }: DrillRow): string[] {
  const more = problems.length - SHOWN_PROBLEMS;
  return [
    red(`${fault}:`),
    ...problems
      .slice(0, SHOWN_PROBLEMS)
      .map((problem) => `  ${printable(problem).replaceAll("\n", "\n  ")}`),
    ...(more > 0 ? [`  and ${more} more`] : []),
    "",
  ];
}
