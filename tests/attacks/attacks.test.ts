// Each attack for a moment: the cluster goes on serving and keeps within its memory, and its log tells of each connection that
// offended, once, in few lines. tests/attacks/run.ts attacks for a minute each, and compares how long a client waits.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { INTERVAL_MS, MAX_LINES, MAX_SUMS } from "../../src/base/limited-lines.ts";
import { systemRandom } from "../../src/base/random.ts";
import { ATTACKS } from "./attacks.ts";
import { MOST_RESIDENT_MIB, SERVERS, Victims, type Seen } from "./victims.ts";

setDefaultTimeout(180_000); // servers and attackers; a busy machine is slow

const SECONDS = Number(process.env["DFS_TEST_ATTACK_SECONDS"] ?? 1);
const PROBES = 3;
/** Longer than anything takes but to give up a peer that does not read. */
const SETTLE_SECONDS = 20;
const NEVER_READS = "a reader that never reads";
const seed = Number(process.env["DFS_TEST_SEED"] ?? systemRandom.below(2 ** 31));

for (const keyed of [false, true]) {
  describe(`a cluster ${keyed ? "with" : "without"} a key, DFS_TEST_SEED=${seed}`, () => {
    let victims: Victims;
    beforeAll(async () => {
      victims = await Victims.start(keyed);
    });
    afterAll(() => victims.stop());

    const attacks = ATTACKS.filter((each) => (each.keyed ?? false) === keyed);
    const all = new Map<string, Seen & { readonly startMs: number }>();
    attacks.forEach((attack, index) => {
      // One server after the other: until a server is attacked again it has told of the attack before.
      const turn = (index + seed) % (SERVERS + 1);
      const role = turn === 0 ? "meta" : "data";
      test(`bears ${attack.name} at its ${role} server`, async () => {
        const startMs = performance.now();
        const more = {
          probes: PROBES,
          settleSeconds: attack.name === NEVER_READS ? 2 : SETTLE_SECONDS,
          at: turn - 1,
        };
        const seen = await victims.attack(attack, role, SECONDS, seed, more);
        all.set(attack.name, { ...seen, startMs });
        expect(seen.faults).toEqual([]);
        expect(seen.attacker.connections).toBeGreaterThan(0);
        expect(seen.after).toHaveLength(PROBES);
        expect(seen.residentMiB).toBeLessThan(MOST_RESIDENT_MIB);
      });
    });

    for (const { name } of attacks) {
      test(`has told of each connection of ${name}`, async () => {
        const { attacker, told, startMs } = all.get(name)!;
        const { log, connections } = await told;
        if (name !== NEVER_READS) expect(attacker.unsettled).toBe(0);
        expect(connections).toBeGreaterThanOrEqual(attacker.offending);
        expect(connections).toBeLessThanOrEqual(attacker.offending + attacker.unsettled);
        const intervals = 2 + Math.ceil((performance.now() - startMs) / INTERVAL_MS);
        const lines = log.filter((line) => line.includes(" connection"));
        expect(lines.length).toBeLessThanOrEqual(intervals * (MAX_LINES + MAX_SUMS));
      });
    }
  });
}
