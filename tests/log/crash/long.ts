// The crash test for as long as one likes. It stops at the first fault, which it names with profile and seed.
//
//     bin/dfs-bun tests/log/crash/long.ts                      for a minute, from a random seed
//     bin/dfs-bun tests/log/crash/long.ts --seconds 3600 --seed 7 --profile failures

import { parseArgs } from "node:util";
import { CutCounters } from "./cuts.ts";
import { PROFILES, runProfile } from "./run.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string" },
    steps: { type: "string", default: "40" },
    profile: { type: "string" },
  },
});
const first = Number(values.seed ?? crypto.getRandomValues(new Uint32Array(1))[0]! >>> 2);
const names = values.profile === undefined ? Object.keys(PROFILES) : [values.profile];
const cuts = { chances: 4, positionsPerWrite: 16, secondCutEvery: 20 };
const until = performance.now() + Number(values.seconds) * 1000;
const counters = new CutCounters();
console.log(`first seed ${first}`);
for (let seed = first; performance.now() < until; seed++) {
  for (const name of names) {
    await runProfile(name, { seed, steps: Number(values.steps), cuts }, counters);
    console.log(`up to seed ${seed}, profile ${name}: ${counters.line()}`);
  }
}
