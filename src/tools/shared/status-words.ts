/**
 * The text of `dfs status`, from facts alone: the same facts always make the same lines.
 */
import type { ClusterStatus, ServerList } from "../../client/api.ts";
import { backupLine, backupTroubles, quarantineLine } from "./backup-words.ts";
import { green, red, yellow } from "./colours.ts";
import { counted, countText, durationText, sizeText } from "./format.ts";
import type { Health } from "./health.ts";
import { repairLine, repairSummary } from "./repair-words.ts";
import { scrubLine, type ScrubFact } from "./scrub-words.ts";
import { serverLines } from "./server-words.ts";

/** Everything that `dfs status` tells. */
export interface StatusFacts {
  readonly state: ClusterStatus;
  readonly servers: ServerList;
  readonly health: Health;
  /** Copies that a block should have. */
  readonly replicas: number;
  readonly scrubs: readonly ScrubFact[];
  readonly nowNs: bigint;
}

const TITLE_WIDTH = 10;

export function statusLines(facts: StatusFacts): string[] {
  const { state, servers, health, replicas, scrubs, nowNs } = facts;
  const paint = { healthy: green, degraded: yellow, atRisk: red }[health.level];
  const word = { healthy: "healthy", degraded: "degraded", atRisk: "AT RISK" }[health.level];
  const upForMs = Math.max(0, Number((nowNs - state.startedNs) / 1_000_000n));
  const directories = counted(state.directories, "directory", "directories");
  const moment = { nowNs, startedNs: state.startedNs };
  const scrub = scrubLine(scrubs, nowNs);
  return [
    `The cluster is ${paint(word)}.`,
    ...health.reasons.map((reason) => `  - ${reason}`),
    "",
    titled("Servers", `metadata up for ${durationText(upForMs)}; data: ${serverWords(health)}`),
    ...servers
      .flatMap((server) => serverLines(server, { servers, replicas }, moment))
      .map((line) => titled("", line)),
    titled(
      "Content",
      `${counted(state.files, "file")} in ${directories}, ${sizeText(state.liveBytes)} in ${counted(state.liveBlocks, "block")}`,
    ),
    titled("Copies", copyWords(state, replicas)),
    ...(state.missingCopies === 0
      ? []
      : [
          titled(
            "Missing",
            `${counted(state.missingCopies, "copy", "copies")} on record as missing`,
          ),
        ]),
    ...(state.repair === null
      ? []
      : [titled("Repairs", repairLine(repairSummary(state.repair, servers)))]),
    ...(scrub === undefined ? [] : [titled("Scrub", scrub)]),
    ...backupLines(state, nowNs),
    `If one more server fails: ${health.nextFailure}`,
  ];
}

function titled(title: string, text: string): string {
  return (title === "" ? "" : `${title}:`).padEnd(TITLE_WIDTH) + text;
}

function backupLines({ backup }: ClusterStatus, nowNs: bigint): string[] {
  if (backup === null) return [];
  const line = backupLine(backup, nowNs);
  const isBad = backupTroubles(backup).length > 0;
  const unknown = quarantineLine(backup);
  return [
    titled("Backup", isBad ? yellow(line) : line),
    ...(unknown === undefined ? [] : [titled("Unknown", unknown)]),
  ];
}

function serverWords({ servers: { total, up } }: Health): string {
  if (total === 0) return "none has registered";
  return total === up ? `all ${total} up` : `${up} of ${total} up`;
}

/** `all 1,234 blocks have 3 copies`, or how many have how many. */
function copyWords(state: ClusterStatus, replicas: number): string {
  if (state.liveBlocks === 0) return "no blocks yet";
  if (state.blocksByCopies[replicas] === state.liveBlocks) {
    const copies = counted(replicas, "copy", "copies");
    return state.liveBlocks === 1
      ? `the one block has ${copies}`
      : `all ${counted(state.liveBlocks, "block")} have ${copies}`;
  }
  const parts: string[] = [];
  for (let copies = state.blocksByCopies.length - 1; copies >= 0; copies--) {
    const blocks = state.blocksByCopies[copies] ?? 0;
    if (blocks === 0 && copies !== replicas) continue;
    const word = copies === 0 ? "no copy" : copies === 1 ? "one copy" : `${copies} copies`;
    parts.push(`${countText(blocks)} with ${word}`);
  }
  return `of ${counted(state.liveBlocks, "block")}: ${parts.join(", ")} within reach`;
}
