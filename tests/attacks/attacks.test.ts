// Each attack for a moment: the cluster goes on serving, keeps within its memory, and its log stays short. tests/attacks/run.ts
// attacks for a minute each, and compares how long a client waits.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { MAX_WARNINGS, WARNING_INTERVAL_MS } from "../../src/base/limited-warnings.ts";
import { systemRandom } from "../../src/base/random.ts";
import { ATTACKS } from "./attacks.ts";
import { MOST_RESIDENT_MIB, Victims } from "./victims.ts";

setDefaultTimeout(180_000); // servers and attackers; a busy machine is slow

const SECONDS = Number(process.env["DFS_TEST_ATTACK_SECONDS"] ?? 1);
const PROBES = 3;
const seed = Number(process.env["DFS_TEST_SEED"] ?? systemRandom.below(2 ** 31));

for (const keyed of [false, true]) {
  describe(`a cluster ${keyed ? "with" : "without"} a key, DFS_TEST_SEED=${seed}`, () => {
    let victims: Victims;
    beforeAll(async () => {
      victims = await Victims.start(keyed);
    });
    afterAll(() => victims.stop());

    const attacks = ATTACKS.filter((each) => (each.keyed ?? false) === keyed);
    attacks.forEach((attack, index) => {
      const role = (index + seed) % 2 === 0 ? "meta" : "data";
      test(`bears ${attack.name} at its ${role} server`, async () => {
        const startMs = performance.now();
        const seen = await victims.attack(attack, role, SECONDS, seed, PROBES);
        expect(seen.faults).toEqual([]);
        expect(seen.attacker.connections).toBeGreaterThan(0);
        expect(seen.after).toHaveLength(PROBES);
        expect(seen.residentMiB).toBeLessThan(MOST_RESIDENT_MIB);
        const intervals = 1 + Math.ceil((performance.now() - startMs) / WARNING_INTERVAL_MS);
        const warnings = seen.log.filter((line) => line.includes(" warn "));
        expect(warnings.length).toBeLessThanOrEqual(intervals * (MAX_WARNINGS + 1));
      });
    });
  });
}
