// Progress: nothing for short work, a bar on a terminal, plain lines elsewhere, silence with --quiet.

import { expect, test } from "bun:test";
import { Messages } from "../../src/tools/shared/messages.ts";
import { Progress, type ProgressOptions } from "../../src/tools/shared/progress.ts";

const CLEAR = "\r\u001b[K";
const MiB = 1024 * 1024;

type Scene = ProgressOptions & { readonly quiet?: boolean; readonly columns?: number };

function scene(isTerminal: boolean, { quiet = false, columns = 200, ...options }: Scene = {}) {
  let nowMs = 1000;
  let told = "";
  const messages = new Messages("dfs put", (text) => void (told += text));
  messages.quiet = quiet;
  const place = { isTerminal, columns: () => columns, now: () => nowMs };
  const progress = new Progress(messages, options, place);
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
  progress.total = { bytes: 40 * MiB };
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
  const progress = new Progress(messages, { things: ["copy", "copies"] }, options);
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

test("on a narrow terminal the bar and then the figures give way, and nothing wraps", () => {
  const shown = (columns: number): string => {
    const { progress, pass, told } = scene(true, { columns });
    progress.total = { things: 10_000, bytes: 40 * MiB };
    progress.files = 5000;
    progress.bytes = 10 * MiB;
    pass(10_000);
    progress.show();
    progress.end();
    return told().slice(CLEAR.length).split(CLEAR, 1)[0] ?? "";
  };
  const figures = "5,000 of 10,000 files, 10 MiB of 40 MiB, 1 MiB/s, 30 s left";
  expect(shown(100)).toBe(`${"█".repeat(6)}${"░".repeat(18)} ${figures}`);
  expect(shown(80)).toBe(`██░░░░░░ ${figures}`);
  expect(shown(40)).toBe("██░░░░░░ 25 %, 30 s left");
  expect(shown(20)).toBe("25 %, 30 s left");
  for (let columns = 1; columns < 100; columns++) {
    expect(shown(columns).length).toBeLessThan(columns);
  }
});

test("what was done before counts as done, and takes no time", () => {
  const { progress, pass, told } = scene(true);
  progress.total = { things: 100, bytes: 100 * MiB };
  for (let file = 0; file < 50; file++) progress.skip(MiB);
  progress.files = 10;
  progress.bytes = 10 * MiB;
  pass(1000);
  progress.show();
  expect(told()).toContain("60 of 100 files, 60 MiB of 100 MiB, 10 MiB/s, 4.0 s left");
  progress.stop("stored");
  expect(told()).toContain("stored 10 files, 10 MiB in 1.0 s");
});

test("many small files: the remaining time is that of the files, not that of the bytes", () => {
  const { progress, pass, told } = scene(true);
  progress.total = { things: 1000, bytes: 2 * MiB };
  progress.files = 100;
  progress.bytes = MiB;
  pass(1000);
  progress.show();
  expect(told()).toContain("9.0 s left");
  progress.end();
});

test("where nothing can be counted, the time that it has taken", () => {
  const { progress, pass, told } = scene(false, { things: "none", hasBytes: false });
  progress.remark = "copying";
  pass(10_000);
  progress.show();
  progress.stop("copied");
  expect(told()).toBe("dfs put: 10 s, copying\ndfs put: copied in 10 s\n");
});

test("the style can be chosen: plain on a terminal, a bar elsewhere, none", () => {
  const first = (isTerminal: boolean, style: ProgressOptions["style"]): string => {
    const { progress, pass, told } = scene(isTerminal, { style });
    pass(10_000);
    progress.show();
    progress.end();
    return told();
  };
  expect(first(true, "plain")).toBe("dfs put: 0 files, 0 B, 0 B/s\n");
  expect(first(false, "bar")).toStartWith(`${CLEAR}░`);
  expect(first(true, "none")).toBe("");
});

test("the total is asked for once, and what cannot be told is no error", async () => {
  const { progress } = scene(true, { findTotal: () => Promise.reject(new Error("no")) });
  await progress.findTotal();
  expect(progress.total).toEqual({});
  progress.end();
});

test("elsewhere: plain lines", () => {
  const { progress, pass, told } = scene(false);
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
