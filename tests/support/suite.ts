// Runs the test suite and, with --check, the type check, the format check and the linter before it.
// Started by bin/test, in the project's folder:
//
//   suite.ts [--check] [ARGUMENTS OF bun test]
//
// - Nothing that went wrong passes silently: a check that fails counts as a failed test and is
//   named at the end, and so does a process or a mount that the tests left behind.
// - The whole suite runs several files at a time, as its tests wait about as much as they compute, the longest first,
//   and starts processes from a bundled copy of the project (bundled-project.ts). It ends with the ten longest files and
//   the processor time that all took. Files that are named run one after the other, so that what they print comes as it
//   happens, and start processes from the project itself.
// - The last line is "N passed, N failed[, N skipped]"; the exit code is 0 only if something passed
//   and nothing failed.
// - The tests get a temporary folder of their own, removed at the end, and the mark described in
//   leftovers.ts.

import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { BUNDLED_PROJECT, bundleProject } from "./bundled-project.ts";
import { markedProcesses, mountsBelow, RUN_MARK } from "./leftovers.ts";
import { failureReports, readTotals, totalsLine, type SuiteTotals } from "./suite-summary.ts";
import { keepTimings, longestFiles, readTimings, timingArguments } from "./timings.ts";

/** For tests that say nothing else; Bun's own 5 s is short for a cluster on a busy machine. */
const TEST_TIMEOUT_MS = 30_000;
/** Test files that run at the same time. */
const FILES_AT_ONCE = 4;
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
const isWhole = testArguments.length === 0;
process.exitCode = await main();

async function main(): Promise<number> {
  const problems = withChecks ? await failedChecks() : [];
  const base = mkdtempSync(join(tmpdir(), "dfs-tests-"));
  chmodSync(base, 0o755); // some tests start processes of another user
  const places = {
    folder: join(base, "tmp"),
    bundled: join(base, "project"),
    timings: join(base, "timings.json"),
  };
  mkdirSync(places.folder);
  const mark = crypto.randomUUID();
  let totals: SuiteTotals;
  try {
    totals = await runTests(places, mark);
    problems.push(...(await leftBehind(places.folder, mark)));
  } finally {
    rmSync(base, { recursive: true, force: true });
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

/** Where a run has its files. */
interface Places {
  /** The temporary folder of the tests. */
  readonly folder: string;
  /** For the bundled copy of the project. */
  readonly bundled: string;
  /** For the durations of the test files. */
  readonly timings: string;
}

async function runTests(places: Places, mark: string): Promise<SuiteTotals> {
  if (withChecks) {
    console.log("== tests");
  }
  const several = isWhole
    ? [`--parallel=${FILES_AT_ONCE}`, ...timingArguments(places.timings)]
    : [];
  if (isWhole) await bundleProject(places.bundled);
  const tests = Bun.spawn(
    [process.execPath, "test", `--timeout=${TEST_TIMEOUT_MS}`, ...several, ...testArguments],
    {
      stdio: ["ignore", "inherit", "pipe"],
      env: {
        ...process.env,
        TMPDIR: places.folder,
        [RUN_MARK]: mark,
        ...(isWhole ? { [BUNDLED_PROJECT]: places.bundled } : {}),
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
  if (isWhole) tellTimes(places.timings, tests.resourceUsage());
  return readTotals(output.text(), exitCode);
}

/** Tells which files took longest, and how long processors were busy; keeps the durations when that is asked for. */
function tellTimes(timings: string, usage: Bun.ResourceUsage | undefined): void {
  keepTimings(timings);
  console.log(["\n== the longest files", ...longestFiles(readTimings(timings))].join("\n"));
  const seconds = Number(usage?.cpuTime.total ?? 0) / 1e6;
  console.log(
    `processor time, not counting servers that outlived the command that started them: ${seconds.toFixed(0)} s`,
  );
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

/** Names what the tests left behind, ends such processes, and takes such mounts away. */
async function leftBehind(folder: string, mark: string): Promise<string[]> {
  let processes = markedProcesses(mark);
  for (let waitedMs = 0; processes.length > 0 && waitedMs < SETTLE_MS; waitedMs += SETTLE_STEP_MS) {
    await Bun.sleep(SETTLE_STEP_MS);
    processes = markedProcesses(mark);
  }
  for (const { pid } of processes) {
    endProcess(pid);
  }
  const mounts = mountsBelow(folder);
  // What has lost its server can be taken away only so; and nothing below a mount may be removed with the folder.
  for (const path of mounts) Bun.spawnSync(["umount", "--lazy", path]);
  // Bun keeps what it has compiled in a folder of this name, where there is no home.
  const names = readdirSync(folder).filter((name) => name !== ".bun");
  if (names.length > 0) {
    console.log(`Note: the tests left in the temporary folder: ${names.join(", ")}`);
  }
  return [
    ...processes.map(({ pid, command }) => `process ${pid} was left behind: ${command}`),
    ...mounts.map((path) => `mount left behind: ${path}`),
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
