/**
 * `dfs status`: the health of the cluster in plain words, and in the exit code.
 */
import { messageOf } from "../base/errors.ts";
import type { ClusterStatus, DfsClient, ServerList } from "../client/api.ts";
import { backupLine, backupRow, backupTroubles, quarantineLine } from "./shared/backup-words.ts";
import { green, red, yellow } from "./shared/colours.ts";
import { defineCommand } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { EXIT, type ExitCode } from "./shared/exit-codes.ts";
import { assess, type Health } from "./shared/health.ts";
import { counted, durationText, isoTime, sizeText } from "./shared/format.ts";
import { repairLine, repairSummary } from "./shared/repair-words.ts";

export const status = defineCommand({
  usage: "status",
  description: `
Tells how the cluster is: its servers, what it holds, how many blocks have how many copies on servers that are up, and
what one more failure would cost.`,
  options: { ...clientOptions, ...jsonOption },
  operands: { least: 0, most: 0 },
  examples: ["dfs status", "dfs status --json || echo look at it"],
  json: [
    "health            healthy, degraded or atRisk",
    "reasons           why, a list of texts",
    "cluster           its id",
    "meta              reign, lsn (64-bit numbers as text), started (UTC)",
    "blockSize replicas writeQuorum",
    "servers           total, and how many are up, suspect, down, out, draining, full",
    "inodes files directories liveBytes liveBlocks deadBlocks missingCopies sessions",
    "blocksByCopies    list: blocks with no copy on a server that is up, with 1, with 2, ...",
    "placementVersion  64-bit number as text",
    "repair            blocksToCopy (list: blocks to copy with 1 good copy, with 2, ...), copiesToMake, bytesToCopy,",
    "                  blocksWithoutGoodCopy, misplacedBlocks, surplusBlocks, copying, suspects, copiedBlocks,",
    "                  copiedBytes, bytesPerSecond, secondsLeft (missing while nothing is copied)",
    "backup            of the metadata: newest (backup, created, lsn, bytes, files; null when there is none), servers",
    "                  (ids of those that hold it), wanted, intervalSeconds, overdue, failure (text or null),",
    "                  quarantinedCopies (of blocks that metadata does not know)",
    "storage           list, one for each data server: server, blocks, blockBytes, segments, segmentBytes, deadBytes,",
    "                  badReplicas, compaction (running, segments, movedBytes, freedBytes), scrub (state, lastPass in UTC",
    "                  or null, rotten); or server, error",
  ],
  exits: [
    [0, "healthy"],
    [6, "degraded: all data is there, but copies or servers are missing"],
    [7, "at risk or lost: one more failure would lose data, or some cannot be read now"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    return withClient(context, async (client) => {
      const [state, servers] = await Promise.all([client.status(), client.servers()]);
      const { replicas, writeQuorum, blockSize } = client;
      const health = assess(state, servers, { replicas, writeQuorum });
      if (context.options.json) {
        const { cluster } = client;
        const storage = await Promise.all(servers.map((each) => jsonStorage(client, each)));
        await context.out.row({
          ...jsonStatus(state, health, { cluster, blockSize, replicas, writeQuorum }),
          storage,
        });
      } else {
        for (const line of lines(state, servers, health, replicas)) await context.out.line(line);
      }
      return exitCode(health);
    });
  },
});

function exitCode(health: Health): ExitCode {
  return { healthy: EXIT.done, degraded: EXIT.degraded, atRisk: EXIT.atRisk }[health.level];
}

function lines(
  state: ClusterStatus,
  servers: ServerList,
  health: Health,
  replicas: number,
): string[] {
  const paint = { healthy: green, degraded: yellow, atRisk: red }[health.level];
  const word = { healthy: "healthy", degraded: "degraded", atRisk: "AT RISK" }[health.level];
  const upForMs = Date.now() - Number(state.startedNs / 1_000_000n);
  return [
    `The cluster is ${paint(word)}.`,
    ...health.reasons.map((reason) => `  - ${reason}`),
    "",
    `Servers:  metadata up for ${durationText(Math.max(0, upForMs))}; data: ${serverWords(health, servers)}`,
    `Content:  ${counted(state.files, "file")} in ${counted(state.directories, "directory", "directories")}, ` +
      `${sizeText(state.liveBytes)} in ${counted(state.liveBlocks, "block")}`,
    `Copies:   ${copyWords(state, replicas)}`,
    `Missing:  ${state.missingCopies === 0 ? "no copy is missing" : `${counted(state.missingCopies, "missing copy", "missing copies")} on record`}`,
    ...(state.repair === null ? [] : [`Repairs:  ${repairLine(repairSummary(state.repair))}`]),
    ...backupLines(state),
    `If one more server fails: ${health.nextFailure}`,
  ];
}

function backupLines({ backup }: ClusterStatus): string[] {
  if (backup === null) return [];
  const line = backupLine(backup, BigInt(Date.now()) * 1_000_000n);
  const isThin = backup.newest !== null && backup.servers.length < backup.wanted;
  const isBad = isThin || backupTroubles(backup).length > 0;
  const unknown = quarantineLine(backup);
  return [
    `Backup:   ${isBad ? yellow(line) : line}`,
    ...(unknown === undefined ? [] : [`Unknown:  ${unknown}`]),
  ];
}

function serverWords(health: Health, servers: ServerList): string {
  const { total, up } = health.servers;
  if (total === 0) return "none has registered";
  if (total === up) return `all ${total} up`;
  const others = servers
    .filter((server) => server.state !== "up")
    .map((server) => `${server.server} ${server.state}`);
  return `${up} of ${total} up (${others.join(", ")})`;
}

function copyWords(state: ClusterStatus, replicas: number): string {
  if (state.liveBlocks === 0) return "no blocks yet";
  const parts: string[] = [];
  for (let copies = state.blocksByCopies.length - 1; copies >= 0; copies--) {
    const blocks = state.blocksByCopies[copies] ?? 0;
    if (blocks === 0 && (copies > replicas || copies < 1)) continue;
    if (blocks === 0 && copies !== replicas) continue;
    const word = copies === 0 ? "none within reach" : counted(copies, "copy", "copies");
    parts.push(`${counted(blocks, "block")} with ${word}`);
  }
  return parts.join(", ");
}

/** What a data server says of its log; why it says nothing, when it does not. */
async function jsonStorage(
  client: DfsClient,
  { server, state }: ServerList[number],
): Promise<object> {
  if (state === "down" || state === "out") return { server, error: `the server is ${state}` };
  try {
    const stats = await client.dataStats(server);
    const { blocks, blockBytes, segments, segmentBytes, deadBytes, badReplicas } = stats;
    const { compacting, compactedSegments, movedBytes, freedBytes } = stats;
    const compaction = { running: compacting, segments: compactedSegments, movedBytes, freedBytes };
    const lastPass = stats.scrubbedNs === null ? null : isoTime(stats.scrubbedNs);
    const scrub = { state: stats.scrub, lastPass, rotten: stats.scrubRotten };
    const figures = { blocks, blockBytes, segments, segmentBytes, deadBytes, badReplicas };
    return { server, ...figures, compaction, scrub };
  } catch (error) {
    return { server, error: messageOf(error) };
  }
}

interface Settings {
  readonly cluster: string;
  readonly blockSize: number;
  readonly replicas: number;
  readonly writeQuorum: number;
}

function jsonStatus(state: ClusterStatus, health: Health, settings: Settings): object {
  return {
    health: health.level,
    reasons: health.reasons,
    nextFailure: health.nextFailure,
    ...settings,
    meta: {
      reign: state.reign.toString(),
      lsn: state.lsn.toString(),
      started: isoTime(state.startedNs),
    },
    servers: health.servers,
    inodes: state.inodes,
    files: state.files,
    directories: state.directories,
    liveBytes: state.liveBytes,
    liveBlocks: state.liveBlocks,
    blocksByCopies: state.blocksByCopies,
    missingCopies: state.missingCopies,
    deadBlocks: state.deadBlocks,
    sessions: state.sessions,
    placementVersion: state.placementVersion.toString(),
    ...(state.repair === null ? {} : { repair: repairSummary(state.repair) }),
    ...(state.backup === null ? {} : { backup: backupRow(state.backup) }),
  };
}
