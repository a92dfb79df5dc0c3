/**
 * `dfs status`: the health of the cluster in plain words, and in the exit code.
 */
import { systemClock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { ClusterStatus, DataStats, DfsClient, ServerList } from "../client/api.ts";
import { backupRow } from "./shared/backup-words.ts";
import { defineCommand } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { EXIT, type ExitCode } from "./shared/exit-codes.ts";
import { isoTime } from "./shared/format.ts";
import { assess, type Health } from "./shared/health.ts";
import { repairSummary } from "./shared/repair-words.ts";
import { riskRow } from "./shared/risk-words.ts";
import { scrubRow, type ScrubFact } from "./shared/scrub-words.ts";
import { serviceRow } from "./shared/service-options.ts";
import { serverRow } from "./shared/server-words.ts";
import { statusLines } from "./shared/status-words.ts";
import { outputColumns } from "./shared/terminal.ts";
import { wrapped } from "./shared/wrap.ts";

export const status = defineCommand({
  usage: "status",
  description: `
Tells how the cluster is: its servers and what becomes of those that are away, what it holds, how many blocks have how many
copies on servers that are up, what is being repaired and how long that takes, how old the oldest scrub and the newest backup of
the metadata are, and what one more failure would cost: which server, how many blocks, which files.`,
  options: { ...clientOptions, ...jsonOption },
  operands: { least: 0, most: 0 },
  examples: ["dfs status", "dfs status --json || echo look at it"],
  json: [
    "health            healthy, degraded or atRisk",
    "reasons           why, a list of texts",
    "nextFailure       what one more failure would cost, in words",
    "cluster           its id",
    "meta              reign, lsn (64-bit numbers as text), started (UTC)",
    "metadataDisk      the disk that holds the metadata database: full (changes are refused, but for what makes room), freeBytes,",
    "                  neededBytes (so much must be free for changes to go on; missing when the service does not tell)",
    "blockSize replicas writeQuorum",
    "service           how the metadata server goes on: leaseTimeoutSeconds downDelaySeconds outDelaySeconds",
    "                  repairBytesPerSecond backupIntervalSeconds (missing when it is an older one that does not tell)",
    "servers           total, and how many are up, suspect, down, out, draining, full, filling (being refilled)",
    "inodes files directories liveBytes liveBlocks deadBlocks missingCopies sessions",
    "blocksByCopies    list: blocks with no copy on a server that is up, with 1, with 2, ...",
    "placementVersion  64-bit number as text",
    "repair            blocksToCopy (list: blocks to copy with 1 good copy, with 2, ...), copiesToMake, bytesToCopy,",
    "                  blocksWithoutPlace copiesWithoutPlace bytesWithoutPlace (of these, what no server can take now),",
    "                  blocksWithoutGoodCopy, misplacedBlocks, surplusBlocks, copying, suspects, copiedBlocks,",
    "                  copiedBytes, bytesPerSecond, secondsLeft (missing while nothing is copied)",
    "backup            of the metadata: newest (backup, created, lsn, bytes, files; null when there is none), servers",
    "                  (ids of those that hold it), wanted, intervalSeconds, overdue, failure (text or null),",
    "                  quarantinedCopies (of blocks that metadata does not know), untold (ids of servers that have not said",
    "                  what they hold since the service was started)",
    "risk              lostBlocks (no good copy is on record anywhere), unreadable (files of blocks without a copy within reach:",
    "                  files, more, paths of some), servers (for each: server, and blocks of which it has onlyCopyWithinReach,",
    "                  onlyCopyAnywhere, oneOfTwoWithinReach), worst (the server that would cost most: server, files, more,",
    "                  paths; or null)",
    "dataServers       list: server, state, since, heard (UTC or null: before the service was started, not since then),",
    "                  outInSeconds (or null), heldBack (too many are silent for it to go out), refuses (this metadata is",
    "                  older than what it has served), filling, full, copies",
    "scrub             oldest (server, lastPass in UTC; or null), never, paused, silent (ids of servers that never ended a",
    "                  pass, of those that were told to pause, and of those that do not answer)",
    "storage           list, one for each data server: server, blocks, blockBytes, segments, segmentBytes, deadBytes,",
    "                  badReplicas, compaction (running, segments, movedBytes, freedBytes), scrub (state, lastPass in UTC",
    "                  or null, rotten); or server, error",
  ],
  exits: [
    [0, "healthy"],
    [
      6,
      "degraded: all data is there, but copies, servers, backups of the metadata or room for it are missing",
    ],
    [7, "at risk or lost: one more failure would lose data, or some cannot be read now"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    return withClient(context, async (client) => {
      const [state, servers] = await Promise.all([client.status(), client.servers()]);
      const nowNs = systemClock.nowNs(); // not later: servers that do not answer about their storage are waited for
      const { replicas, writeQuorum, blockSize } = client;
      const health = assess(state, servers, { replicas, writeQuorum });
      const storage = await Promise.all(servers.map((each) => storageOf(client, each)));
      const scrubs = scrubFacts(storage);
      if (context.options.json) {
        const { cluster } = client;
        await context.out.row({
          ...jsonStatus(state, health, { cluster, blockSize, replicas, writeQuorum }),
          ...(state.repair === null ? {} : { repair: repairSummary(state.repair, servers) }),
          dataServers: servers.map(serverRow),
          scrub: scrubRow(scrubs),
          storage: storage.map(jsonStorage),
        });
      } else {
        const facts = { state, servers, health, replicas, scrubs, nowNs };
        const columns = outputColumns();
        for (const line of statusLines(facts)) {
          await context.out.line(columns === undefined ? line : wrapped(line, columns));
        }
      }
      return exitCode(health);
    });
  },
});

function exitCode(health: Health): ExitCode {
  return { healthy: EXIT.done, degraded: EXIT.degraded, atRisk: EXIT.atRisk }[health.level];
}

/** What a data server says of its log; why it says nothing, when it does not. */
interface Storage {
  readonly server: ServerList[number];
  readonly stats: DataStats | undefined;
  readonly error: string;
}

async function storageOf(client: DfsClient, server: ServerList[number]): Promise<Storage> {
  const { state } = server;
  if (state === "down" || state === "out") {
    return { server, stats: undefined, error: `the server is ${state}` };
  }
  try {
    return { server, stats: await client.dataStats(server.server), error: "" };
  } catch (error) {
    return { server, stats: undefined, error: messageOf(error) };
  }
}

/** Of all servers that should be there. */
function scrubFacts(storage: readonly Storage[]): ScrubFact[] {
  return storage
    .filter(({ server: { state } }) => state !== "down" && state !== "out")
    .map(({ server, stats }) => ({
      server: server.server,
      lastPassNs: stats?.scrubbedNs,
      paused: stats?.scrub === "paused",
    }));
}

function jsonStorage({ server: { server }, stats, error }: Storage): object {
  if (stats === undefined) return { server, error };
  const { blocks, blockBytes, segments, segmentBytes, deadBytes, badReplicas } = stats;
  const { compacting, compactedSegments, movedBytes, freedBytes } = stats;
  const compaction = { running: compacting, segments: compactedSegments, movedBytes, freedBytes };
  const lastPass = stats.scrubbedNs === null ? null : isoTime(stats.scrubbedNs);
  const scrub = { state: stats.scrub, lastPass, rotten: stats.scrubRotten };
  const figures = { blocks, blockBytes, segments, segmentBytes, deadBytes, badReplicas };
  return { server, ...figures, compaction, scrub };
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
    ...(state.service === null ? {} : { service: serviceRow(state.service) }),
    meta: {
      reign: state.reign.toString(),
      lsn: state.lsn.toString(),
      started: isoTime(state.startedNs),
    },
    ...(state.metadataDisk === null ? {} : { metadataDisk: state.metadataDisk }),
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
    ...(state.backup === null ? {} : { backup: backupRow(state.backup) }),
    ...(state.risk === null ? {} : { risk: riskRow(state.risk) }),
  };
}
