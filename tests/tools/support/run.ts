// Runs the dfs command as a process of its own, with an environment that a test decides.

import { join } from "node:path";
import { startedFrom } from "../../support/bundled-project.ts";

const CLI = join(startedFrom(), "src/cli.ts");

export interface RunOptions {
  /** HOME of the command; without a cluster in it, none is found by accident. */
  readonly home: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: Uint8Array;
  readonly cwd?: string;
}

export interface RunResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `dfs ARGS` to its end. */
export async function dfs(args: readonly string[], options: RunOptions): Promise<RunResult> {
  const child = Bun.spawn([process.execPath, CLI, ...args], {
    cwd: options.cwd ?? options.home,
    env: { ...ownEnvironment(), HOME: options.home, ...options.env },
    stdin: options.stdin ?? "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { code, stdout, stderr };
}

/** This process's environment without the developer's own settings for dfs. */
function ownEnvironment(): Record<string, string> {
  const isOwn = (name: string): boolean =>
    (name.startsWith("DFS_") && name !== "DFS_TEST_RUN") || name === "XDG_DATA_HOME";
  return Object.fromEntries(
    Object.entries(process.env)
      .filter(([name, value]) => value !== undefined && !isOwn(name))
      .map(([name, value]) => [name, value ?? ""]),
  );
}
