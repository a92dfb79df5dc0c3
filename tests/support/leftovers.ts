// Finds what a test run left behind on the machine: processes, mounts and temporary files.
//
// Every process of a run inherits the environment variable DFS_TEST_RUN with a value of this run
// alone, so a daemon that a test forgot is found however it was started and whoever its parent is
// by now. Linux only (/proc); elsewhere no process and no mount is found.

import { existsSync, readdirSync, readFileSync } from "node:fs";

/** The environment variable that marks the processes of a run. */
export const RUN_MARK = "DFS_TEST_RUN";

/** A process that carries the mark of a run. */
export interface MarkedProcess {
  readonly pid: number;
  readonly command: string;
}

/** Processes other than this one that carry `mark` in their environment. Zombies do not count. */
export function markedProcesses(mark: string): MarkedProcess[] {
  if (!existsSync("/proc/self/environ")) {
    return [];
  }
  const entry = `${RUN_MARK}=${mark}`;
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => readProc(`/proc/${pid}/environ`).split("\0").includes(entry))
    .map((pid) => ({
      pid: Number(pid),
      command: readProc(`/proc/${pid}/cmdline`).split("\0").join(" ").trim(),
    }));
}

/** The mount points of this machine below `folder`. */
export function mountsBelow(folder: string): string[] {
  return readProc("/proc/self/mounts")
    .split("\n")
    .map((line) => unescapeMount(line.split(" ")[1] ?? ""))
    .filter((path) => path.startsWith(`${folder}/`));
}

/** A file of /proc as text, empty when it is gone, another user's, or when there is no /proc. */
function readProc(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // processes end while we look, and those of other users are not ours to judge
  }
}

/** /proc/self/mounts writes blanks and backslashes of a path as three octal digits. */
function unescapeMount(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}
