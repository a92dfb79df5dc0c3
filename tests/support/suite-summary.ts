// What a `bun test` run amounted to, read from the summary that it prints last:
//
//    12 pass
//     1 skip
//     1 todo
//     2 fail
//     1 error
//    30 expect() calls
//   Ran 16 tests across 3 files. [5.03s]
//
// The printed summary is read, and not the JUnit report, because a file that cannot be loaded is
// counted as failed in the first and missing from the second.

/** Totals of a test run. Skipped counts what is marked todo as well. */
export interface SuiteTotals {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

const SUMMARY_LINE = /^ *(\d+) (pass|skip|todo|fail|error|errors)$/;
const RESULT_LINE = /^\((pass|fail|skip|todo)\) /;
const END_LINE = /^Ran \d+ tests? across \d+ files?\./;
// eslint-disable-next-line no-control-regex -- colours are what is being removed
const COLOURS = /\u001b\[[0-9;]*m/g;

/**
 * Reads the totals from what `bun test` printed and from its exit code.
 *
 * A run that failed without naming a failed test (it crashed, was killed, found no test file, or
 * an error occurred between tests) has one failure: nothing that went wrong counts as zero.
 */
export function readTotals(output: string, exitCode: number): SuiteTotals {
  const counts = new Map<string, number>();
  for (const line of lastSummary(output.replace(COLOURS, "").split("\n"))) {
    const match = SUMMARY_LINE.exec(line);
    if (match?.[1] !== undefined && match[2] !== undefined) {
      counts.set(match[2], Number(match[1]));
    }
  }
  const count = (name: string): number => counts.get(name) ?? 0;
  const passed = count("pass");
  const skipped = count("skip") + count("todo");
  const named = count("fail");
  const silent = exitCode !== 0 || passed + skipped === 0 ? 1 : 0;
  return { passed, failed: named > 0 ? named : silent, skipped };
}

/** The one line that a run ends with, for people and for scripts. */
export function totalsLine(totals: SuiteTotals): string {
  const skipped = totals.skipped > 0 ? `, ${totals.skipped} skipped` : "";
  return `${totals.passed} passed, ${totals.failed} failed${skipped}`;
}

/**
 * What was printed for each failed test, cut to `most` lines each: it is told again at the end of a run, as the middle of a long
 * output is easily lost.
 */
export function failureReports(output: string, most: number): readonly string[] {
  const reports: string[] = [];
  let lines: string[] = [];
  for (const line of output.replace(COLOURS, "").split("\n")) {
    const result = RESULT_LINE.exec(line)?.[1];
    if (result === undefined && !END_LINE.test(line)) {
      lines.push(line);
      continue;
    }
    const about = lines.filter((each) => each !== "").slice(-most);
    if (result === "fail" && about.length > 0) reports.push([...about, line].join("\n"));
    lines = [];
  }
  return reports;
}

/** The lines directly above the last "Ran N tests", up to the blank line that begins the summary. */
function lastSummary(lines: readonly string[]): readonly string[] {
  const end = lines.findLastIndex((line) => END_LINE.test(line));
  if (end < 0) {
    return [];
  }
  const start = lines.slice(0, end).lastIndexOf("");
  return lines.slice(start + 1, end);
}
