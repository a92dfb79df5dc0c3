/**
 * From figures to a judgement: is the cluster healthy, degraded or at risk, why, and what would one more failure cost?
 *
 * - at risk: some block has no copy on a server that is up (it cannot be read now, and is lost unless a server returns),
 *   or just one although more are wanted.
 * - degraded: everything has two copies or more, but not all the copies or servers that should be there, or a server is being
 *   refilled, or the metadata is not backed up as it should be, or its disk is full.
 */
import { isStrict } from "../../client/block-writer.ts";
import type { ClusterStatus, ServerList } from "../../client/api.ts";
import type { MetadataDisk, ServerState } from "../../protocol/messages/cluster.ts";
import { backupTroubles } from "./backup-words.ts";
import { counted, sizeText } from "./format.ts";
import { fileWords, lossWords, mostPairs } from "./risk-words.ts";

export interface ServerCounts {
  readonly total: number;
  readonly up: number;
  readonly suspect: number;
  readonly down: number;
  readonly out: number;
  readonly draining: number;
  readonly full: number;
  /** Of those that are up: being refilled, so that their copies count in no write quorum. */
  readonly filling: number;
}

export interface Health {
  readonly level: "healthy" | "degraded" | "atRisk";
  /** Sentences without a full stop; none when healthy. */
  readonly reasons: readonly string[];
  readonly nextFailure: string;
  readonly servers: ServerCounts;
}

type Copies = Pick<ClusterStatus, "blocksByCopies"> & Partial<Pick<ClusterStatus, "risk">>;

interface Wanted {
  readonly replicas: number;
  readonly writeQuorum: number;
}

/** Judges the figures of a cluster with these settings. */
export function assess(
  state: Pick<ClusterStatus, "blocksByCopies" | "missingCopies" | "liveBlocks"> &
    Partial<Pick<ClusterStatus, "backup" | "risk" | "metadataDisk">>,
  servers: ServerList,
  wanted: Wanted,
): Health {
  const counts = countServers(servers);
  const dangers = dangersOf(state, wanted);
  const backup = state.backup ? backupTroubles(state.backup) : [];
  const reasons = [
    ...refusals(servers),
    ...(state.metadataDisk?.full === true ? [fullDiskWords(state.metadataDisk)] : []),
    ...dangers,
    ...shortcomings(state, counts, wanted),
    ...backup,
  ];
  return {
    level: dangers.length > 0 ? "atRisk" : reasons.length > 0 ? "degraded" : "healthy",
    reasons,
    nextFailure: nextFailure(state, counts, wanted),
    servers: counts,
  };
}

function refusals(servers: ServerList): string[] {
  const count = servers.filter(({ refuses }) => refuses === true).length;
  if (count === 0) return [];
  return [
    `${counted(count, "data server")} ${count === 1 ? "refuses" : "refuse"} this metadata database: it is older than what ` +
      "they have served; put the newer one back, or, if that is lost, start dfs meta once with --accept-older",
  ];
}

function fullDiskWords({ freeBytes, neededBytes }: MetadataDisk): string {
  return (
    "the disk that holds the metadata database is full: everything can be read and files removed, other changes are refused; " +
    `make room on it: ${sizeText(neededBytes)} must be free, ${sizeText(freeBytes)} ${freeBytes === 1 ? "is" : "are"}`
  );
}

function countServers(servers: ServerList): ServerCounts {
  const of = (state: ServerState): number =>
    servers.filter((server) => server.state === state).length;
  return {
    total: servers.length,
    up: of("up"),
    suspect: of("suspect"),
    down: of("down"),
    out: of("out"),
    draining: of("draining"),
    full: servers.filter((server) => server.full).length,
    filling: servers.filter(({ state, filling }) => state === "up" && filling === true).length,
  };
}

function withCopies(state: Pick<ClusterStatus, "blocksByCopies">, copies: number): number {
  return state.blocksByCopies[copies] ?? 0;
}

function dangersOf(state: Copies, wanted: Wanted): string[] {
  const dangers: string[] = [];
  const none = withCopies(state, 0);
  const one = withCopies(state, 1);
  if (none > 0) {
    const files = state.risk ? fileWords(state.risk.unreadable) : "";
    const what = files === "" ? counted(none, "block") : `${counted(none, "block")} of ${files}`;
    dangers.push(`${what} cannot be read now: no good copy is on a server that is up`);
  }
  const lost = state.risk?.lostBlocks ?? 0;
  if (lost > 0) {
    dangers.push(
      `${counted(lost, "block")} ${lost === 1 ? "has" : "have"} no good copy on any server: lost, unless one taken for bad turns out right`,
    );
  }
  if (one > 0 && wanted.replicas > 1) {
    dangers.push(
      `${counted(one, "block")} ${one === 1 ? "has" : "have"} just one copy within reach`,
    );
  }
  return dangers;
}

function shortcomings(
  state: Pick<ClusterStatus, "blocksByCopies" | "missingCopies">,
  counts: ServerCounts,
  wanted: Wanted,
): string[] {
  const found: string[] = [];
  let fewer = 0;
  for (let copies = 2; copies < wanted.replicas; copies++) fewer += withCopies(state, copies);
  if (fewer > 0) {
    found.push(`${counted(fewer, "block")} with fewer than ${wanted.replicas} copies within reach`);
  }
  if (state.missingCopies > 0) {
    found.push(`${counted(state.missingCopies, "copy", "copies")} still to be made`);
  }
  const absent = counts.suspect + counts.down + counts.out;
  if (absent > 0) found.push(`${counted(absent, "data server")} not up`);
  if (counts.full > 0) found.push(`${counted(counts.full, "data server")} full`);
  if (counts.filling > 0) found.push(`${counted(counts.filling, "data server")} being refilled`);
  const counting = counts.up - counts.filling;
  if (counting < wanted.writeQuorum) {
    const refilled = counts.filling > 0 ? " and not being refilled" : "";
    found.push(
      `nothing can be written: ${wanted.writeQuorum} data servers must be up${refilled}, ${counting} are`,
    );
  } else if (isStrict(wanted) && absent + counts.full + counts.filling > 0) {
    found.push(
      `some writes wait or fail: with a write quorum of ${wanted.writeQuorum} all servers of a block must be up, not full and ` +
        "not being refilled",
    );
  } else if (counts.up < wanted.replicas) {
    found.push(`new blocks get ${counts.up} copies instead of ${wanted.replicas}`);
  }
  return found;
}

/** In plain words, for the worst server that could be next. */
function nextFailure(
  state: Copies & Pick<ClusterStatus, "liveBlocks">,
  counts: ServerCounts,
  wanted: Wanted,
): string {
  if (counts.up === 0) return "nothing changes, no data server is up";
  const parts: string[] = [];
  const one = withCopies(state, 1);
  const rest = withCopies(state, 0) > 0 ? "everything else" : "everything";
  const loss = state.risk ? lossWords(state.risk) : undefined;
  const two = state.risk ? mostPairs(state.risk) : withCopies(state, 2);
  if (loss !== undefined) parts.push(loss);
  else if (one > 0) parts.push(`up to ${counted(one, "block")} could not be read`);
  else if (state.liveBlocks > withCopies(state, 0)) parts.push(`${rest} could still be read`);
  if (two > 0) parts.push(`up to ${counted(two, "block")} would be down to one copy`);
  const left = isStrict(wanted) ? "some writes would wait for it" : "writing would go on";
  parts.push(counts.up - counts.filling - 1 < wanted.writeQuorum ? "writing would stop" : left);
  return parts.join(", ");
}
