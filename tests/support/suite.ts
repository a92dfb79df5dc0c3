// Runs the test suite and, with --check, the type check, the format check and the linter before it.
// Started by bin/test, in the project's folder:
//
//   suite.ts [--check] [ARGUMENTS OF bun test]
//
// - Nothing that went wrong passes silently: a check that fails counts as a failed test and is
//   named at the end, and so does a process or a mount that the tests left behind.
// - The whole suite runs three files at a time, as its tests wait more than they compute; files that are
//   named run one after the other, so that what they print comes as it happens.
// - The last line is "N passed, N failed[, N skipped]"; the exit code is 0 only if something passed
//   and nothing failed.
// - The tests get a temporary folder of their own, removed at the end, and the mark described in
//   leftovers.ts.

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { markedProcesses, mountsBelow, RUN_MARK } from "./leftovers.ts";
import { failureReports, readTotals, totalsLine, type SuiteTotals } from "./suite-summary.ts";

/** For tests that say nothing else; Bun's own 5 s is short for a cluster on a busy machine. */
const TEST_TIMEOUT_MS = 30_000;
/** Test files that run at the same time. */
const FILES_AT_ONCE = 3;
/** Of what is printed for a failed test, so many lines are told again at the end. */
const REPORT_LINES = 40;
/** How long processes may take to end after the last test. */
const SETTLE_MS = 5_000;
const SETTLE_STEP_MS = 50;

const CHECKS: readonly { readonly name: string; readonly command: readonly string[] }[] = [
  { name: "type check", command: ["check"] },
  { name: "format check", command: ["fmt", "--check", "."] },
  { name: "lint", command: ["run", "--silent", "lint"] },
];

const options = process.argv.slice(2);
const withChecks = options.includes("--check");
const testArguments = options.filter((option) => option !== "--check");
process.exitCode = await main();

async function main(): Promise<number> {
  const problems = withChecks ? await failedChecks() : [];
  const folder = mkdtempSync(join(tmpdir(), "dfs-tests-"));
  const mark = crypto.randomUUID();
  let totals: SuiteTotals;
  try {
    totals = await runTests(folder, mark);
    problems.push(...(await leftBehind(folder, mark)));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }

  console.log("");
  for (const problem of problems) {
    console.log(`FAILED: ${problem}`);
  }
  const failed = totals.failed + problems.length;
  console.log(totalsLine({ ...totals, failed }));
  return failed === 0 ? 0 : 1;
}

/** Runs every check, showing what it prints; answers with the names of those that failed. */
async function failedChecks(): Promise<string[]> {
  const failed: string[] = [];
  // Colours are for terminals. oxlint prints them wherever CI is set, NO_COLOR or not.
  const plain = { ...process.env, NO_COLOR: "1", CI: undefined };
  const env = process.stdout.isTTY ? process.env : plain;
  for (const { name, command } of CHECKS) {
    console.log(`== ${name}`);
    const check = Bun.spawn([process.execPath, ...command], {
      stdio: ["ignore", "inherit", "inherit"],
      env,
    });
    if ((await check.exited) !== 0) {
      failed.push(name);
    }
  }
  return failed;
}

async function runTests(folder: string, mark: string): Promise<SuiteTotals> {
  if (withChecks) {
    console.log("== tests");
  }
  const several = testArguments.length === 0 ? [`--parallel=${FILES_AT_ONCE}`] : [];
  const tests = Bun.spawn(
    [process.execPath, "test", `--timeout=${TEST_TIMEOUT_MS}`, ...several, ...testArguments],
    {
      stdio: ["ignore", "inherit", "pipe"],
      env: {
        ...process.env,
        TMPDIR: folder,
        [RUN_MARK]: mark,
      },
    },
  );
  // Ended early, the run still says what it saw and leaves nothing behind.
  const stop = (): void => tests.kill();
  process.once("SIGINT", stop).once("SIGTERM", stop);
  const output = forward(tests.stderr);
  const exitCode = await tests.exited;
  // A process left behind may hold the pipe open for ever: what came until now must do.
  await Promise.race([output.closed, Bun.sleep(SETTLE_STEP_MS * 4)]);
  for (const report of failureReports(output.text(), REPORT_LINES)) {
    console.log(`\n== again, what failed\n${report}`);
  }
  return readTotals(output.text(), exitCode);
}

/** Copies a stream to standard error as it comes, and keeps it. */
function forward(stream: ReadableStream<Uint8Array>): {
  closed: Promise<void>;
  text: () => string;
} {
  const decoder = new TextDecoder();
  let text = "";
  const pump = async (): Promise<void> => {
    for await (const chunk of stream) {
      process.stderr.write(chunk);
      text += decoder.decode(chunk, { stream: true });
    }
  };
  return { closed: pump(), text: () => text };
}

/** Names what the tests left behind, and ends such processes. */
async function leftBehind(folder: string, mark: string): Promise<string[]> {
  let processes = markedProcesses(mark);
  for (let waitedMs = 0; processes.length > 0 && waitedMs < SETTLE_MS; waitedMs += SETTLE_STEP_MS) {
    await Bun.sleep(SETTLE_STEP_MS);
    processes = markedProcesses(mark);
  }
  for (const { pid } of processes) {
    endProcess(pid);
  }
  const names = readdirSync(folder);
  if (names.length > 0) {
    console.log(`Note: the tests left in the temporary folder: ${names.join(", ")}`);
  }
  return [
    ...processes.map(({ pid, command }) => `process ${pid} was left behind: ${command}`),
    ...mountsBelow(folder).map((path) => `mount left behind: ${path}`),
  ];
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") {
      throw error; // ESRCH: it has just ended by itself, which is what is wanted
    }
  }
}
