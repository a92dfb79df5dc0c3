/**
 * Joining a metadata service over a fresh connection: is its database one that this server may serve, and will it have
 * this server?
 *
 * Order matters. The chain of reigns is asked before anything is told to the service. A new server's id, and the reign
 * that it has joined, are durable before anything is served.
 *
 * A database whose chain lacks what this server has seen is refused, with one exception: the operator has accepted an
 * older copy (`--accept-older`, `dfs meta restore`). The database names each such acceptance. One that this server does
 * not know yet lets it go along; from then on it knows it, so the next older copy is refused again.
 */
import { DfsError } from "../../base/errors.ts";
import {
  reignId,
  type BlockId,
  type ClusterId,
  type InstanceId,
  type Lsn,
  type ReignId,
  type ServerId,
} from "../../base/ids.ts";
import { MAX_ACCEPTANCES } from "../../base/limits.ts";
import type { Logger } from "../../base/logger.ts";
import type { RequestOf } from "../../protocol/message.ts";
import { clusterIdOf } from "../../protocol/messages/common.ts";
import { memberChain, memberRegister } from "../../protocol/messages/member.ts";
import type { Peer } from "../../protocol/peer.ts";
import type { IdentityFile, SeenReign } from "./identity.ts";

const TIMEOUT_MS = 10_000;

/** How full a server is, as the service is told. */
export type Condition = Pick<
  RequestOf<typeof memberRegister>,
  "capacityBytes" | "usedBytes" | "full" | "blocks"
>;

export interface JoinOptions {
  readonly identity: IdentityFile;
  readonly instance: InstanceId;
  readonly address: string;
  readonly zone: string;
  readonly tags: readonly string[];
  readonly condition: () => Condition;
  /** Largest block id in the log. */
  readonly highestBlock: () => BlockId;
  readonly logger: Logger;
}

/** What the service answered. It is in the identity file when `join` resolves. */
export interface Joined {
  readonly cluster: ClusterId;
  readonly server: ServerId;
  readonly reign: ReignId;
  readonly lsn: Lsn;
  readonly heartbeatIntervalMs: number;
}

/**
 * Registers this server with the service at the other end of `peer`. `seen` is the newest state that was served.
 * @throws DfsError `databaseOlder`, `wrongPeer`, `wrongCluster` and what the service refuses with; `timeout`,
 * `unreachable`.
 */
export async function join(
  peer: Peer,
  seen: SeenReign | undefined,
  options: JoinOptions,
): Promise<Joined> {
  const { identity } = options;
  const { current } = identity;
  const accepted = await checkChain(peer, seen, current.accepted, options.logger);
  const { body } = await peer.request(memberRegister, registration(options), {
    timeoutMs: TIMEOUT_MS,
  });
  const joined: Joined = {
    cluster: clusterIdOf(body.settings.cluster),
    server: body.server,
    reign: body.reign,
    lsn: body.lsn,
    heartbeatIntervalMs: body.heartbeatIntervalMs,
  };
  if (current.server !== undefined && current.server !== joined.server) {
    throw new DfsError(
      "wrongPeer",
      `${peer.address} calls this server ${joined.server}, but its directory is that of data server ${current.server}`,
    );
  }
  if (current.cluster !== undefined && current.cluster !== joined.cluster) {
    throw new DfsError(
      "wrongCluster",
      `${peer.address} serves cluster ${joined.cluster}, but the directory belongs to ${current.cluster}; check --meta`,
    );
  }
  await identity.change({
    cluster: joined.cluster,
    server: joined.server,
    seen: { reign: joined.reign, lsn: joined.lsn },
    address: options.address,
    accepted: accepted.slice(-MAX_ACCEPTANCES),
  });
  return joined;
}

function registration(options: JoinOptions): RequestOf<typeof memberRegister> {
  const { server, incarnation, recovered, highestBlock } = options.identity.current;
  const inLog = options.highestBlock();
  return {
    server: server ?? null,
    incarnation,
    instance: options.instance,
    recovered,
    address: options.address,
    zone: options.zone,
    tags: [...options.tags],
    highestBlock: inLog > highestBlock ? inLog : highestBlock,
    ...options.condition(),
  };
}

/** Asked for by a server that has served none. */
const NO_REIGN = reignId(0n);

/**
 * Refuses a database that lacks what this server has already served, unless that was accepted and this server did not
 * know. Returns the acceptances that it knows from now on.
 */
async function checkChain(
  peer: Peer,
  seen: SeenReign | undefined,
  known: readonly bigint[],
  logger: Logger,
): Promise<bigint[]> {
  const { body } = await peer.request(
    memberChain,
    { reign: seen?.reign ?? NO_REIGN },
    { timeoutMs: TIMEOUT_MS },
  );
  const news = (body.accepted ?? []).filter((each) => !known.includes(each));
  const accepted = [...known, ...news];
  if (seen === undefined || (body.end !== null && body.end >= seen.lsn)) return accepted;
  if (news.length > 0) {
    logger.error(
      "the operator has accepted an older copy of the metadata; this server goes along. What it holds of later is " +
        "kept, but no file names it",
      { reign: seen.reign, lsn: seen.lsn, ends: body.end ?? undefined },
    );
    return accepted;
  }
  const lacks =
    body.end === null
      ? `knows nothing of reign ${seen.reign}`
      : `ends reign ${seen.reign} at position ${body.end}`;
  throw new DfsError(
    "databaseOlder",
    `the metadata database at ${peer.address} is older than what this server has already served: it ${lacks}, ` +
      `this server has seen position ${seen.lsn}\n` +
      "it was probably restored from an older copy; nothing is served from it. Stop the metadata server, put the newest " +
      "copy of its database back and start it again; if that is lost for good, start it once with --accept-older",
    { details: { reign: seen.reign, lsn: seen.lsn } },
  );
}
