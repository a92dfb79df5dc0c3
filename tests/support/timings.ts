// How long each test file took, as `bun test --timings` reads and writes it: the longest files begin first, so that none of
// them runs alone at the end, and a run tells which these are.

import { copyFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Durations of a whole run, with a name of this variable they are put here anew: `DFS_UPDATE_TIMINGS=1 bin/test`. */
const KEPT = join(import.meta.dir, "timings.json");
const UPDATE = "DFS_UPDATE_TIMINGS";

/** How many files are told at the end of a run. */
const LONGEST = 10;

/** Milliseconds by test file. */
export type Timings = ReadonlyMap<string, number>;

/** Copies what is known to `path`, where a run will write its own durations; returns the arguments for `bun test`. */
export function timingArguments(path: string): readonly string[] {
  if (existsSync(KEPT)) copyFileSync(KEPT, path);
  return [`--timings=${path}`, "--update-timings"];
}

/** Keeps the durations that a run wrote to `path`, when that is asked for. */
export function keepTimings(path: string): void {
  if (process.env[UPDATE] && existsSync(path)) copyFileSync(path, KEPT);
}

/** The durations in the file at `path`; none when there is no such file. */
export function readTimings(path: string): Timings {
  if (!existsSync(path)) return new Map();
  const { files } = JSON.parse(readFileSync(path, "utf8")) as { files: Record<string, number> };
  return new Map(Object.entries(files));
}

/** The files that took longest, for people. */
export function longestFiles(timings: Timings): readonly string[] {
  return [...timings]
    .sort(([, one], [, other]) => other - one)
    .slice(0, LONGEST)
    .map(([file, ms]) => `${(ms / 1000).toFixed(1).padStart(7)} s  ${file}`);
}
