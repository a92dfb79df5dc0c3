// What is told when things fail, and the exit codes that come of it.

import { describe, expect, test } from "bun:test";
import { DfsError, ERROR_KINDS, type ErrorKind } from "../../src/base/errors.ts";
import { Reason, report } from "../../src/tools/shared/errors.ts";
import { exitCodeOf } from "../../src/tools/shared/exit-codes.ts";
import { Messages } from "../../src/tools/shared/messages.ts";
import { isFatal, Outcome } from "../../src/tools/shared/outcome.ts";
import { Output, OutputClosed, OutputFailed } from "../../src/tools/shared/output.ts";
import { HardLinks } from "../../src/tools/transfer/jobs.ts";
import { failureOf } from "./support/files.ts";

const { signal } = new AbortController();

function collector(quiet = false) {
  const written: string[] = [];
  const messages = new Messages("dfs test", (text) => void written.push(text));
  messages.quiet = quiet;
  return { messages, text: () => written.join("") };
}

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: what the system says, open '/x'`), {
    code,
    syscall: "open",
    path: "/x",
  });
}

describe("exit codes", () => {
  const OWN: Partial<Record<ErrorKind, number>> = {
    usage: 2,
    notFound: 4,
    unreachable: 5,
    cancelled: 130,
  };
  test.each(Object.keys(ERROR_KINDS) as ErrorKind[])("of %s", (kind) => {
    expect(exitCodeOf(kind)).toBe((OWN[kind] ?? 1) as ReturnType<typeof exitCodeOf>);
  });
});

describe("report", () => {
  test("tells at most three lines, and no stack trace", () => {
    const { messages, text } = collector();
    const error = new DfsError("exists", "one\ntwo\nthree\nfour");
    expect(report(error, messages, false)).toBe(1);
    expect(text()).toBe("dfs test: one\ntwo\nthree\n");
  });

  test("with debug, the traces of the error and its causes follow", () => {
    const { messages, text } = collector();
    const cause = new Error("the deeper reason");
    report(new DfsError("io", "cannot", { cause }), messages, true);
    expect(text()).toContain("at ");
    expect(text()).toContain("caused by: Error: the deeper reason");
  });

  test("says what a system error means", () => {
    const { messages, text } = collector();
    expect(report(systemError("EACCES"), messages, false)).toBe(1);
    expect(text()).toBe("dfs test: cannot open /x: permission denied\n");
    expect(report(systemError("ENOENT"), messages, false)).toBe(4);
  });

  test("owns up to a mistake in dfs", () => {
    const { messages, text } = collector();
    expect(report(new TypeError("x is undefined"), messages, false)).toBe(1);
    expect(text()).toContain("this is a mistake in dfs");
    expect(text()).not.toContain("at ");
  });

  test("controls in a message do not reach the terminal", () => {
    const { messages, text } = collector();
    report(new DfsError("io", "a\u001b[2Jb"), messages, false);
    expect(text()).toBe("dfs test: a\\x1b[2Jb\n");
  });

  test("a reader that went away is nothing to tell", () => {
    const { messages, text } = collector();
    expect(report(new OutputClosed(), messages, false)).toBe(0);
    expect(text()).toBe("");
  });
});

describe("Outcome", () => {
  const notFound = new DfsError("notFound", "inode 5 has no entry 'x'");
  const denied = new DfsError("accessDenied", "no");

  test.each([
    ["nothing to do", 0, [], 0],
    ["all done", 2, [], 0],
    ["some done", 1, [denied], 3],
    ["some done, some not found", 1, [notFound], 3],
    ["none found", 0, [notFound, notFound], 4],
    ["a local file not found", 0, [systemError("ENOENT")], 4],
    ["all failed", 0, [notFound, denied], 1],
  ])("%s", (_title, done, errors, code) => {
    const outcome = new Outcome({ messages: collector().messages, signal });
    for (let index = 0; index < done; index++) outcome.succeed();
    for (const error of errors) outcome.fail("cannot x", error);
    expect(outcome.exitCode).toBe(code as typeof outcome.exitCode);
  });

  test("uses the usual words for usual reasons, and the message for others", () => {
    const { messages, text } = collector();
    const outcome = new Outcome({ messages, signal });
    outcome.fail("cannot list /x", notFound);
    outcome.fail("cannot read /y", new DfsError("io", "block 7 at offset 0: all copies are bad"));
    outcome.fail("cannot store z", new Reason("notFound", "there is no directory /a"));
    outcome.fail("cannot read w", systemError("EISDIR"));
    expect(text()).toBe(
      "dfs test: cannot list /x: no such file or directory\n" +
        "dfs test: cannot read /y: block 7 at offset 0: all copies are bad\n" +
        "dfs test: cannot store z: there is no directory /a\n" +
        "dfs test: cannot read w: is a directory\n",
    );
  });

  test.each([
    ["an unreachable cluster", new DfsError("unreachable", "gone")],
    ["Ctrl-C", new DfsError("cancelled", "interrupted")],
    ["a mistake in dfs", new TypeError("x is undefined")],
    ["a reader that went away", new OutputClosed()],
  ])("%s ends the command", async (_title, error) => {
    const outcome = new Outcome({ messages: collector().messages, signal });
    expect(await failureOf(outcome.attempt("cannot x", () => Promise.reject(error)))).toBe(error);
    expect(outcome.failed).toBe(0);
  });
});

describe("a full disk ends the command and names what did not fit", () => {
  test.each([
    [
      "in the cluster",
      new DfsError("noSpace", "all are full\nmake room"),
      "all are full\nmake room",
    ],
    ["here", systemError("ENOSPC"), "no space left on the local disk"],
  ])("%s", async (_title, error, reason) => {
    const outcome = new Outcome({ messages: collector().messages, signal });
    const failure = await failureOf(outcome.attempt("cannot x", () => Promise.reject(error)));
    expect(failure).toMatchObject({
      kind: "noSpace",
      message: `cannot x: ${reason}`,
      cause: error,
    });
    expect(await failureOf(outcome.attempt("cannot y", () => Promise.reject(failure)))).toBe(
      failure,
    );
    expect(outcome.failed).toBe(0);
  });
});

test("with --quiet, notes are not told; warnings and errors are", () => {
  const { messages, text } = collector(true);
  messages.note("a note");
  messages.warning("a warning");
  messages.error("an error");
  expect(text()).toBe("dfs test: warning: a warning\ndfs test: an error\n");
});

test("what is said stands above the live line", () => {
  const { messages, text } = collector();
  messages.live("50 %");
  messages.error("x");
  messages.live("");
  messages.live("");
  messages.error("y");
  const clear = "\r\u001b[K";
  expect(text()).toBe(`${clear}50 %${clear}dfs test: x\n50 %${clear}dfs test: y\n`);
});

describe("Output", () => {
  function sink(failing?: string) {
    const written: (string | Uint8Array)[] = [];
    return {
      written,
      write: (data: string | Uint8Array) => {
        if (failing !== undefined) throw Object.assign(new Error(failing), { code: failing });
        written.push(data);
      },
      flush: () => undefined,
    };
  }

  test("collects lines, and writes bytes behind the lines before them", async () => {
    const to = sink();
    const out = new Output(to);
    await out.line("a");
    await out.row({ b: 1 });
    expect(to.written).toEqual([]);
    await out.bytes(Uint8Array.of(255));
    expect(to.written).toEqual(['a\n{"b":1}\n', Uint8Array.of(255)]);
  });

  test("does not hold more than it should", async () => {
    const to = sink();
    const out = new Output(to);
    for (let line = 0; line < 1000; line++) await out.line("x".repeat(1000));
    expect(to.written.length).toBeGreaterThan(10);
  });

  test("a closed pipe is told apart from a failed write", async () => {
    const closed = new Output(sink("EPIPE"));
    await closed.line("x");
    expect(await failureOf(closed.flush())).toBeInstanceOf(OutputClosed);
    const full = new Output(sink("ENOSPC"));
    await full.line("x");
    const failure = await failureOf(full.flush());
    expect(failure).toBeInstanceOf(OutputFailed);
    expect(isFatal(failure)).toBe(true);
    expect(String(failure)).toContain(
      "cannot write to standard output: no space left on the local disk",
    );
    await closed.announce("nobody has to listen to this");
  });
});

describe("HardLinks", () => {
  test("further names wait for the first copy and link to it", async () => {
    const links = new HardLinks<string>();
    const gate = Promise.withResolvers<void>();
    const events: string[] = [];
    const first = links.place(
      "inode",
      "a",
      async () => {
        await gate.promise;
        events.push("made a");
      },
      () => Promise.reject(new Error("not the first one's business")),
    );
    const second = links.place(
      "inode",
      "b",
      () => Promise.reject(new Error("must not copy again")),
      async (place) => void events.push(`linked b to ${place}`),
    );
    gate.resolve();
    expect(await first).toBe(false);
    expect(await second).toBe(true);
    expect(events).toEqual(["made a", "linked b to a"]);
  });

  test("when the first copy fails, the others are copied by themselves", async () => {
    const links = new HardLinks<string>();
    const failing = links.place(
      "inode",
      "a",
      () => Promise.reject(new Error("no a")),
      async () => undefined,
    );
    expect(String(await failureOf(failing))).toContain("no a");
    let copied = false;
    const other = await links.place(
      "inode",
      "b",
      async () => void (copied = true),
      async () => undefined,
    );
    expect(other).toBe(false);
    expect(copied).toBe(true);
  });
});
