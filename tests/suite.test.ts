// What bin/test reports: totals read from real `bun test` runs, and what tests leave behind.

import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { markedProcesses, RUN_MARK } from "./support/leftovers.ts";
import { failureReports, readTotals, totalsLine } from "./support/suite-summary.ts";

const IMPORT = 'import { expect, test } from "bun:test";\n';
const PASSES = `${IMPORT}test("passes", () => expect(1).toBe(1));\n`;
const FAILS = `${IMPORT}test("fails", () => expect(1).toBe(2));\n`;

/** Runs `bun test` on made-up test files and reads its totals. */
async function totalsOf(files: Readonly<Record<string, string>>, ...options: string[]) {
  const folder = mkdtempSync(join(tmpdir(), "dfs-suite-"));
  try {
    for (const [name, text] of Object.entries(files)) {
      writeFileSync(join(folder, name), text);
    }
    const run = Bun.spawn([process.execPath, "test", ...options], {
      cwd: folder,
      stdio: ["ignore", "ignore", "pipe"],
    });
    const output = await run.stderr.text();
    return readTotals(output, await run.exited);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe("readTotals", () => {
  test("counts passed, failed, skipped and todo over several files", async () => {
    const mixed = `${PASSES}test.skip("skipped", () => {});\ntest.todo("later");\n`;
    expect(await totalsOf({ "a.test.ts": mixed, "b.test.ts": FAILS })).toEqual({
      passed: 1,
      failed: 1,
      skipped: 2,
    });
  });

  test("reads through colours", () => {
    const output =
      "\u001b[0m\u001b[32m 1 pass\u001b[0m\n\u001b[2m 0 fail\u001b[0m\nRan 1 test across 1 file. [1ms]\n";
    expect(readTotals(output, 0)).toEqual({ passed: 1, failed: 0, skipped: 0 });
  });

  test("a file that cannot be loaded counts as failed", async () => {
    const broken = `import "./missing.ts";\n${PASSES}`;
    expect(await totalsOf({ "a.test.ts": PASSES, "b.test.ts": broken })).toEqual({
      passed: 1,
      failed: 1,
      skipped: 0,
    });
  });

  test("a test that prints what looks like a summary changes nothing", async () => {
    const liar = `${IMPORT}test("liar", () => { console.error("\\n 9 pass\\n 0 fail\\nRan 9 tests across 1 file."); });\n`;
    expect(await totalsOf({ "a.test.ts": liar })).toEqual({ passed: 1, failed: 0, skipped: 0 });
  });

  test("a run that dies halfway counts as failed", async () => {
    const dying = `${IMPORT}test("dies", () => process.kill(process.pid, "SIGKILL"));\n`;
    expect(await totalsOf({ "a.test.ts": dying })).toEqual({ passed: 0, failed: 1, skipped: 0 });
  });

  test("no test at all counts as failed, whatever the exit code", async () => {
    expect(await totalsOf({ "a.test.ts": PASSES }, "nothing-like-it")).toMatchObject({ failed: 1 });
    expect(readTotals("", 0)).toEqual({ passed: 0, failed: 1, skipped: 0 });
  });
});

describe("failureReports", () => {
  test("tells what was printed for failed tests alone, its end when it is long", () => {
    const output = [
      "a.test.ts:",
      "(pass) one [1ms]",
      "12 | line",
      "error: \u001b[31mexpected\u001b[0m 2",
      "",
      "(fail) two [1ms]",
      "noise",
      "(pass) three [1ms]",
      "",
      "1 tests failed:",
      "(fail) two [1ms]",
      " 1 fail",
      "Ran 3 tests across 1 file. [5ms]",
    ].join("\n");
    const [first] = failureReports(output, 40);
    expect(first).toBe("12 | line\nerror: expected 2\n(fail) two [1ms]");
    expect(failureReports(output, 1)[0]).toBe("error: expected 2\n(fail) two [1ms]");
  });
});

describe("totalsLine", () => {
  test("is what scripts look for, skipped only when there are some", () => {
    expect(totalsLine({ passed: 3, failed: 0, skipped: 0 })).toBe("3 passed, 0 failed");
    expect(totalsLine({ passed: 3, failed: 1, skipped: 2 })).toBe("3 passed, 1 failed, 2 skipped");
  });
});

describe("markedProcesses", () => {
  test("finds a process of the run whose parent has gone, and only while it lives", async () => {
    const mark = crypto.randomUUID();
    const parent = Bun.spawnSync(["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"], {
      env: { ...process.env, [RUN_MARK]: mark },
    });
    const pid = Number(parent.stdout.toString());
    expect(markedProcesses(mark).map((found) => found.pid)).toEqual([pid]);

    process.kill(pid, "SIGKILL");
    const deadline = performance.now() + 10_000;
    while (markedProcesses(mark).length > 0 && performance.now() < deadline) {
      await Bun.sleep(5);
    }
    expect(markedProcesses(mark)).toEqual([]);
  });
});
