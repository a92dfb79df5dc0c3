// The power fails, or the process is killed, at every moment of recorded work on a log, and in the middle of writes; what
// is left is opened and compared with what had been acknowledged. Then the same again during that opening.
//
// The seed differs from run to run and is printed; DFS_TEST_CRASH_SEED repeats one. One seed is some forty thousand moments;
// tests/log/crash/long.ts goes through more of them, for as long as one likes.

import { expect, test } from "bun:test";
import { CutCounters } from "./crash/cuts.ts";
import { PROFILES, runProfile } from "./crash/run.ts";

const SEED = Number(
  process.env["DFS_TEST_CRASH_SEED"] ?? crypto.getRandomValues(new Uint16Array(1))[0],
);
const STEPS = 15;

/** Takes more steps, because only some of them come to what it is about. */
const AHEAD = "writes during syncs";
const PATIENCE_MS = 300_000;
const CUTS = { chances: 3, positionsPerWrite: 8, secondCutEvery: 30 };

/** Over all profiles: one alone may come to few. */
let lostCheckpoints = 0;

for (const name of Object.keys(PROFILES)) {
  test(
    `whatever a crash leaves of the work "${name}", what was acknowledged is there`,
    async () => {
      const counters = new CutCounters();
      await runProfile(
        name,
        { seed: SEED, steps: name === AHEAD ? 2 * STEPS : STEPS, cuts: CUTS },
        counters,
      );
      console.log(`seed ${SEED}: ${counters.line()}`);
      expect(counters.insideWrites).toBeGreaterThan(20);
      expect(counters.secondCuts).toBeGreaterThan(100);
      if (name === AHEAD) expect(counters.duringSyncs).toBeGreaterThan(0);
      lostCheckpoints += counters.lostCheckpoints;
    },
    PATIENCE_MS,
  );
}

test("many of these logs had a checkpoint and lost it", () => {
  expect(lostCheckpoints).toBeGreaterThan(300);
});
