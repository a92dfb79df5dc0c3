// What dfs scrub takes and what it does not: told before anything is asked of a cluster.

import { expect, test } from "bun:test";
import { tmpdir } from "node:os";
import { dfs } from "./support/run.ts";

const USAGE = "usage is told by: dfs scrub --help";

test.each([
  [[], "something is missing: dfs scrub [SERVER...] start|pause|resume|status"],
  [["2"], "say one of start, pause, resume, status"],
  [["start", "stop"], 'cannot use "stop": neither the id of a server, such as 2, nor one of'],
  [["start", "pause"], "say one of start, pause, resume, status"],
  [["0", "start"], 'cannot use "0": neither the id of a server'],
  [["2", "start", "--rate", "0"], "expected a number of MiB per second, such as 16 or 0.5"],
  [["2", "start", "--rate", "fast"], "expected a number of MiB per second"],
  [["status", "--rate", "5"], "--rate goes with start, pause and resume, not with status"],
])("dfs scrub %j is a mistake", async (args, message) => {
  const { code, stdout, stderr } = await dfs(["scrub", ...args], { home: tmpdir() });
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toContain(message);
  expect(stderr.split("\n").length).toBeLessThanOrEqual(4);
  if (args.length === 0 || args.includes("--rate")) return;
  expect(stderr).not.toContain("at ");
});

test("without a cluster there is nothing to scrub", async () => {
  const { code, stderr } = await dfs(["scrub", "status"], { home: tmpdir() });
  expect(code).toBe(5);
  expect(stderr).toContain("cannot tell where the cluster is");
  expect(stderr).not.toContain(USAGE);
});
