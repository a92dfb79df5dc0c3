// Data servers as processes of their own, for tests that kill them.

import { join } from "node:path";
import { startedFrom } from "../../support/bundled-project.ts";

const DATA_PROCESS = join(startedFrom(), "tests/server/data/data-process.ts");

export interface Process {
  readonly child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  /** What it printed when it was ready; undefined when it ended before. */
  readonly ready: string | undefined;
}

const children: Process["child"][] = [];

/** Kills what is left. Every test file calls it after each test. */
export async function endProcesses(): Promise<void> {
  for (const child of children.splice(0)) {
    child.kill("SIGKILL"); // of those that have ended, nobody is left to hear it
    await child.exited;
  }
}

/** Starts data-process.ts with these arguments; resolves when it is ready, or has ended. */
export async function startProcess(...args: string[]): Promise<Process> {
  const child = Bun.spawn([process.execPath, DATA_PROCESS, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  const { value } = await child.stdout.getReader().read();
  return { child, ready: value && new TextDecoder().decode(value).trim() };
}

export function addressOf({ ready }: Process): string {
  if (ready === undefined) throw new Error("the data server did not start");
  return ready.split(" ")[1]!;
}
