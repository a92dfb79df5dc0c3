// Progress: nothing for short work, a bar on a terminal, plain lines elsewhere, silence with --quiet.

import { expect, test } from "bun:test";
import { Messages } from "../../src/tools/shared/messages.ts";
import { Progress } from "../../src/tools/shared/progress.ts";

const CLEAR = "\r\u001b[K";
const MiB = 1024 * 1024;

function scene(isTerminal: boolean, { quiet = false, columns = 200 } = {}) {
  let nowMs = 1000;
  let told = "";
  const messages = new Messages("dfs put", (text) => void (told += text));
  messages.quiet = quiet;
  const progress = new Progress(messages, {
    isTerminal,
    columns: () => columns,
    now: () => nowMs,
  });
  return {
    messages,
    progress,
    pass: (ms: number) => void (nowMs += ms),
    told: () => {
      const text = told;
      told = "";
      return text;
    },
  };
}

test("short work shows nothing", () => {
  for (const isTerminal of [true, false]) {
    const { progress, pass, told } = scene(isTerminal);
    pass(100);
    if (isTerminal) progress.show();
    progress.stop("stored");
    expect(told()).toBe("");
  }
});

test("on a terminal: a bar with rate and remaining time, a summary at the end", () => {
  const { progress, pass, told } = scene(true);
  progress.files = 1;
  progress.bytes = 10 * MiB;
  pass(1000);
  progress.show();
  expect(told()).toBe(`${CLEAR}${"░".repeat(24)} 1 file, 10 MiB, 10 MiB/s`);
  progress.totalBytes = 40 * MiB;
  progress.files = 1234;
  progress.bytes = 20 * MiB;
  pass(1000);
  progress.show();
  expect(told()).toBe(
    `${CLEAR}${"█".repeat(12)}${"░".repeat(12)} 1,234 files, 20 MiB of 40 MiB, 10 MiB/s, 2.0 s left`,
  );
  progress.bytes = 40 * MiB;
  progress.stop("stored");
  expect(told()).toBe(`${CLEAR}dfs put: stored 1,234 files, 40 MiB in 2.0 s (20 MiB/s)\n`);
});

test("other things than files are counted by their name, and a remark stands behind the figures", () => {
  let told = "";
  let nowMs = 0;
  const messages = new Messages("dfs fsck", (text) => void (told += text));
  const options = { isTerminal: true, columns: () => 200, now: () => nowMs };
  const progress = new Progress(messages, options, ["copy", "copies"]);
  progress.files = 3;
  progress.remark = "1 error";
  nowMs = 1000;
  progress.show();
  expect(told).toBe(`${CLEAR}${"░".repeat(24)} 3 copies, 0 B, 0 B/s, 1 error`);
  progress.files = 1;
  progress.stop("checked");
  expect(told).toContain("dfs fsck: checked 1 copy, 0 B");
});

test("a warning stands above the bar, which stays", () => {
  const { messages, progress, pass, told } = scene(true);
  pass(1000);
  progress.show();
  const bar = told().slice(CLEAR.length);
  messages.warning("data server 2 does not answer");
  expect(told()).toBe(`${CLEAR}dfs put: warning: data server 2 does not answer\n${bar}`);
  progress.stop("stored");
});

test("the bar never wraps, however narrow the terminal", () => {
  const { progress, pass, told } = scene(true, { columns: 20 });
  pass(1000);
  progress.show();
  expect(told()).toBe(`${CLEAR}${"░".repeat(19)}`);
  progress.stop("stored");
});

test("elsewhere: plain lines", () => {
  const { progress, pass, told } = scene(false);
  expect(progress.wantsTotal).toBe(false);
  progress.files = 5;
  progress.bytes = MiB;
  pass(10_000);
  progress.show();
  expect(told()).toBe("dfs put: 5 files, 1 MiB, 102 KiB/s\n");
  progress.stop("stored");
  expect(told()).toBe("dfs put: stored 5 files, 1 MiB in 10 s (102 KiB/s)\n");
});

test("with --quiet: nothing", () => {
  const { progress, pass, told } = scene(false, { quiet: true });
  pass(60_000);
  progress.show();
  progress.stop("stored");
  expect(told()).toBe("");
});
