/**
 * Attacks on the ports of a cluster, and what they do to a client that behaves.
 *
 *     bin/dfs-bun tests/attacks/run.ts                          each attack for a minute on each kind of server, 47 minutes
 *     bin/dfs-bun tests/attacks/run.ts --seconds 5              shorter
 *     bin/dfs-bun tests/attacks/run.ts --only "huge lengths"    one of them; --role meta or data: one kind of server
 *     DFS_TEST_SEED=4711 bin/dfs-bun tests/attacks/run.ts       with the same random choices
 *
 * A new client connects, opens a file of 1 MiB, reads it and goes, again and again: "before", "during" and "after" are the
 * milliseconds that this takes (median; the longest). "RSS" is the most memory of the server that is attacked. "offending" are
 * the connections that did what they must not, "told of" those in the server's log, by lines and numbers. Exits with 1 when these
 * differ, a server has ended, an error was taken by nobody, memory was over the bound, or the client waited longer afterwards.
 */
import { ATTACKS } from "./attacks.ts";
import { faultsOf, median, Victims, type Seen } from "./victims.ts";

const MOST_FAULTS = 5;
const seconds = Number(option("--seconds") ?? 60);
const only = option("--only");
const role = option("--role");
const seed = Number(process.env["DFS_TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 31));

console.log(`DFS_TEST_SEED=${seed}, ${seconds} s each`);
console.log(
  row([
    "attack",
    "on",
    "connections",
    "MiB",
    "before",
    "during",
    "after",
    "RSS MiB",
    "offending",
    "told of",
    "lines",
  ]),
);
let failed = false;
for (const keyed of [false, true]) {
  const attacks = ATTACKS.filter(
    (each) =>
      (each.keyed ?? false) === keyed &&
      (only === undefined || only.split(",").includes(each.name)),
  );
  if (attacks.length === 0) continue;
  const victims = await Victims.start(keyed);
  try {
    for (const attack of attacks) {
      for (const kind of ["meta", "data"] as const) {
        if (role !== undefined && role !== kind) continue;
        const seen = await victims.attack(attack, kind, seconds, seed);
        const { log, connections } = await seen.told;
        console.log(shown(seen, log.length, connections));
        for (const fault of (await faultsOf(seen)).slice(0, MOST_FAULTS)) {
          failed = true;
          console.log(`    ${fault}`);
        }
        if (process.argv.includes("--log"))
          for (const line of log.slice(0, 30)) console.log(`    | ${line}`);
      }
    }
  } finally {
    await victims.stop();
  }
}
process.exit(failed ? 1 : 0);

function shown(seen: Seen, lines: number, told: number): string {
  const { attack, role: on, attacker, before, during, after, residentMiB } = seen;
  const times = (all: readonly number[]): string =>
    `${median(all).toFixed(0)}; ${Math.max(...all).toFixed(0)}`;
  return row([
    attack,
    on,
    `${attacker.connections}, ${attacker.refused} refused`,
    (attacker.bytes / 2 ** 20).toFixed(1),
    times(before),
    times(during),
    times(after),
    residentMiB.toFixed(0),
    `${attacker.offending}${attacker.unsettled > 0 ? ` to ${attacker.offending + attacker.unsettled}` : ""}`,
    String(told),
    String(lines),
  ]);
}

function row(cells: readonly string[]): string {
  const widths = [34, 5, 24, 9, 10, 12, 10, 8, 14, 9, 6];
  return cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(" ");
}

function option(name: string): string | undefined {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}
