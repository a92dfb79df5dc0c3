/**
 * Data servers in words: what state one is in, since when, and what follows next.
 */
import type { ServerInfo } from "../../protocol/messages/cluster.ts";
import { counted, durationText, isoTime, roughDuration } from "./format.ts";

const NS_PER_MS = 1_000_000n;

const MORE_SERVERS = "start it again, or add a server (dfs data --new)";

/** When things are: times of day in nanoseconds. */
export interface Moment {
  readonly nowNs: bigint;
  /** When the metadata service was started. */
  readonly startedNs: bigint;
}

/** The servers of the cluster, and how many copies a block should have. */
export interface Company {
  readonly servers: readonly ServerInfo[];
  readonly replicas: number;
}

/** One line for each thing that is not as usual with a server of `company`; none for one that is up and well. */
export function serverLines(server: ServerInfo, company: Company, moment: Moment): string[] {
  const lines: string[] = [];
  if (server.state !== "up") {
    lines.push(`server ${server.server} is ${server.state}${stateWords(server, company, moment)}`);
  }
  if (server.filling === true && server.state !== "draining") {
    lines.push(
      `server ${server.server} is being refilled: its copies count in no write quorum until that is done ` +
        `(dfs rebuild ${server.server} shows how far it is)`,
    );
  }
  if (server.full) lines.push(`server ${server.server} is full: it takes no new blocks`);
  return lines;
}

/** The same facts for `dfs status --json`. */
export function serverRow(server: ServerInfo): object {
  const { state, heardNs, sinceNs, outInMs, filling, heldBack, refuses, full, replicas } = server;
  return {
    server: server.server,
    state,
    since: timeOrNull(sinceNs),
    heard: timeOrNull(heardNs),
    outInSeconds: outInMs === null ? null : Math.ceil(outInMs / 1000),
    heldBack: heldBack ?? false,
    refuses: refuses ?? false,
    filling: filling ?? false,
    full,
    copies: replicas,
  };
}

function stateWords(server: ServerInfo, company: Company, moment: Moment): string {
  if (server.refuses === true) {
    return ": it refuses this metadata database, which is older than what it has served";
  }
  if (server.state === "draining") return drainWords(server, company, moment);
  if (server.state === "out") {
    const lack = nowhere(server, company);
    const fate =
      lack === undefined
        ? "its copies are made elsewhere, and count again when it is back"
        : `what has not been made elsewhere has no place (${lack}); its copies count again when it is back: ${MORE_SERVERS}`;
    return `: ${silence(server, moment)}; ${fate}`;
  }
  return `: ${silence(server, moment)}; ${outlook(server, company)}`;
}

function drainWords(server: ServerInfo, company: Company, moment: Moment): string {
  const since = server.sinceNs === null ? "" : ` for ${age(server.sinceNs, moment)}`;
  const left =
    server.replicas === 0
      ? `it is empty, dfs server remove ${server.server} strikes it off the list`
      : `${counted(server.replicas, "copy", "copies")} left to be moved`;
  const isSilent = server.outInMs !== null || server.heldBack === true;
  return `${since}: ${left}${isSilent ? `; ${silence(server, moment)}; ${outlook(server, company)}` : ""}`;
}

function outlook(server: ServerInfo, company: Company): string {
  const { outInMs, heldBack } = server;
  if (heldBack === true) {
    return `too many servers are silent at once, so its copies are not made elsewhere: ${advice(server, company)}`;
  }
  if (outInMs === null) return "it is waited for";
  const lack = nowhere(server, company);
  const fate =
    lack === undefined
      ? "then its copies are made elsewhere"
      : `but not all of its copies have a place elsewhere (${lack}): ${MORE_SERVERS}`;
  return `is out in ${durationText(outInMs)}, ${fate}`;
}

/** Why not all copies of a server can be made elsewhere: some blocks are on every server that takes copies. Undefined: they can. */
export function nowhere(
  { server }: Pick<ServerInfo, "server">,
  { servers, replicas }: Company,
): string | undefined {
  const others = takersBesides(server, servers);
  if (others >= replicas) return undefined;
  return `that takes ${othersWanted(replicas, others)}`;
}

function takersBesides(server: ServerInfo["server"], servers: readonly ServerInfo[]): number {
  return servers.filter((each) => each.server !== server && each.state === "up" && !each.full)
    .length;
}

function othersWanted(replicas: number, others: number): string {
  return `${replicas} other servers that are up and not full, there ${others === 1 ? "is" : "are"} ${others}`;
}

/** What to do about a server that nobody replaces by itself: a command is named only when it is not refused and helps. */
function advice({ server, state }: ServerInfo, { servers, replicas }: Company): string {
  if (state === "suspect") return "start it again";
  const others = takersBesides(server, servers);
  const replace = `dfs rebuild ${server} --replace`;
  if (others >= replicas) return `start it again, or ${replace}`;
  return `start it again (${replace} needs ${othersWanted(replicas, others)})`;
}

function silence({ heardNs }: ServerInfo, moment: Moment): string {
  if (heardNs !== null) return `not heard of for ${age(heardNs, moment)}`;
  return `not heard of since the metadata service was started ${age(moment.startedNs, moment)} ago`;
}

function age(ns: bigint, { nowNs }: Moment): string {
  return roughDuration(Math.max(0, Number((nowNs - ns) / NS_PER_MS)));
}

function timeOrNull(ns: bigint | null): string | null {
  return ns === null ? null : isoTime(ns);
}
