// The program busy-files.ts, run beside a test: how far it is, and what came of it.

import { join } from "node:path";
import { expect } from "bun:test";
import { until } from "../../support/local-cluster.ts";
import type { Mounted } from "./mounted.ts";

const PROGRAM = join(import.meta.dir, "busy-files.ts");

/** The seed of a run, told so that it can be repeated. */
export function busySeed(): number {
  const seed = Number(
    process.env["DFS_TEST_SEED"] ?? crypto.getRandomValues(new Uint32Array(1))[0],
  );
  console.log(`DFS_TEST_SEED=${seed}`);
  return seed;
}

export class Busy {
  rounds = 0;
  private readonly child: ReturnType<Mounted["program"]>;
  private readonly reading: Promise<void>;
  private output = "";

  /** Its files are in `directory`, and begin with `name`. */
  constructor(mounted: Mounted, directory: string, seed = busySeed(), name = "file") {
    this.child = mounted.program([process.execPath, PROGRAM, directory, String(seed), name]);
    this.reading = this.read();
  }

  /** Waits until it has done so many more rounds. */
  async more(rounds: number): Promise<void> {
    const goal = this.rounds + rounds;
    const goesOn = (): boolean => this.rounds >= goal || this.child.exitCode !== null;
    await until(goesOn, `the program to come to round ${goal} from ${this.rounds}`, 120_000);
    if (this.child.exitCode !== null) throw new Error(await this.child.stderr.text());
  }

  /** Asks it to end; it must have found everything right. */
  async end(): Promise<void> {
    this.child.kill("SIGTERM");
    const code = await this.child.exited;
    await this.reading;
    expect({ code, stderr: await this.child.stderr.text() }).toEqual({ code: 0, stderr: "" });
    expect(this.output).toEndWith("all files are right\n");
  }

  private async read(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.child.stdout) {
      this.output = (this.output + decoder.decode(chunk)).slice(-10_000);
      const told = [...this.output.matchAll(/^round (\d+)$/gm)].at(-1)?.[1];
      if (told !== undefined) this.rounds = Number(told);
    }
  }
}
