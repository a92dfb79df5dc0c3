/**
 * Fuzzing for as long as one likes: frames, messages, errors, and everything that is read from a disk.
 *
 *     bin/dfs-bun tests/fuzz/run.ts --seconds 600                     all targets, one after the other
 *     bin/dfs-bun tests/fuzz/run.ts --seconds 60 --target frames      one of them
 *     DFS_TEST_SEED=4711 bin/dfs-bun tests/fuzz/run.ts --seconds 60   with the same choices
 *     ... --keep                                                      adds what made something new happen to the corpus
 *
 * Tells now and then how many inputs were tried and how many different things happened. An input at which something does not
 * hold is printed and put into tests/fuzz/corpus, whose inputs every run begins with, so that it stays there as a test; the run
 * goes on with the next target and exits with 1.
 */
import { seededRandom } from "../../src/base/random.ts";
import { Finding, fuzz, keep, newProgress, TARGETS, type Progress } from "./fuzz.ts";
import type { Target } from "./target.ts";

const TELL_MS = 5_000;

const seconds = Number(option("--seconds") ?? 60);
const only = option("--target");
const seed = Number(process.env["DFS_TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const targets = TARGETS.filter(({ name }) => only === undefined || name === only);
if (targets.length === 0)
  throw new Error(`there is no target ${only}: ${TARGETS.map(({ name }) => name).join(", ")}`);

console.log(`DFS_TEST_SEED=${seed}`);
let failed = false;
for (const target of targets) {
  const progress = newProgress();
  try {
    fuzz(
      target,
      seededRandom(seed),
      progress,
      untilOver(target, progress, (seconds * 1000) / targets.length),
    );
    tell(target, progress);
    if (process.argv.includes("--keep")) keep(target, [...progress.behaviours.values()]);
  } catch (error) {
    if (!(error instanceof Finding)) throw error;
    failed = true;
    tell(target, progress);
    console.log(error.message);
    if (error.cause instanceof Error) console.log(error.cause.stack);
    keep(target, [error.input]);
  }
}
process.exit(failed ? 1 : 0);

/** True until the time is over; tells how it goes meanwhile. */
function untilOver(target: Target, progress: Progress, forMs: number): () => boolean {
  const startMs = performance.now();
  let toldMs = startMs;
  return () => {
    const nowMs = performance.now();
    if (nowMs - toldMs >= TELL_MS) {
      tell(target, progress);
      toldMs = nowMs;
    }
    return nowMs - startMs < forMs;
  };
}

function tell({ name }: Target, { inputs, behaviours }: Progress): void {
  console.log(`${name.padEnd(30)} ${inputs} inputs, ${behaviours.size} behaviours`);
}

function option(name: string): string | undefined {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}
