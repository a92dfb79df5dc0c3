/**
 * Data servers as the sources of a restore: which backups they hold, and the bytes of one.
 *
 * Nobody is there to say which of them is right, so everything is compared: a backup is the same on two servers when its
 * number and its checksum are, and every chunk is verified against the checksum, whoever gave it.
 */
import { backupName, isChunk, verifyChunkList } from "../../../base/backup.ts";
import type { CancelSignal } from "../../../base/cancellation.ts";
import type { Clock } from "../../../base/clock.ts";
import { DfsError, isDfsError, messageOf } from "../../../base/errors.ts";
import type { ClusterId, ServerId } from "../../../base/ids.ts";
import type { Logger } from "../../../base/logger.ts";
import type { Random } from "../../../base/random.ts";
import { connectPeer } from "../../../protocol/endpoint.ts";
import {
  backupGet,
  backupList,
  type BackupManifest,
  type BackupState,
} from "../../../protocol/messages/backup.ts";
import { clusterIdOf } from "../../../protocol/messages/common.ts";
import type { Peer } from "../../../protocol/peer.ts";
import type { Transport } from "../../../protocol/transport.ts";
import { byAge } from "./retention.ts";

const CONNECT_TIMEOUT_MS = 4_000;
const GET_TIMEOUT_MS = 60_000;

/** Reading all backups of a server whole takes as long as its disk does. */
const VERIFY_TIMEOUT_MS = 1_800_000;

export interface SourceOptions {
  /** Addresses of data servers. */
  readonly from: readonly string[];
  readonly key: Uint8Array | undefined;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Have servers read their backups whole, to tell which are right. */
  readonly verify: boolean;
  /** Told of everything that is not as it should be and does not stop the restore. */
  readonly onWarning: (message: string) => void;
  /** Ends it with `cancelled`. */
  readonly signal?: CancelSignal | undefined;
}

/** A server that holds a backup. */
export interface Source {
  readonly peer: Peer;
  readonly server: ServerId | undefined;
  readonly address: string;
  readonly state: BackupState;
}

export interface OfferedBackup {
  readonly manifest: BackupManifest;
  readonly sources: readonly Source[];
}

/** What the servers hold. */
export interface Offer {
  readonly cluster: ClusterId;
  /** The newest first. */
  readonly backups: readonly OfferedBackup[];
  /** Ends the connections. */
  close(): void;
}

interface Reached {
  readonly address: string;
  readonly peer: Peer;
}

/**
 * Asks the servers what they hold.
 * @throws DfsError `unreachable` when none answers; `wrongCluster` when they are not all of one cluster; `unauthorized`;
 * `notFound` when they hold no backup.
 */
export async function surveySources(options: SourceOptions): Promise<Offer> {
  const reached = await reach(options);
  const close = (): void => {
    for (const { peer } of reached) peer.close("the restore has ended");
  };
  try {
    const cluster = oneCluster(reached);
    const listed = await Promise.all(reached.map((each) => listOf(each, cluster, options)));
    const backups = grouped(listed.flat());
    if (backups.length === 0) {
      throw new DfsError(
        "notFound",
        `cannot restore: there is no backup of the metadata of cluster ${cluster} on ${addressesOf(reached)}\n` +
          "name other data servers of the cluster with --from; backups lie on some of them only",
      );
    }
    return { cluster, backups, close };
  } catch (error) {
    close();
    throw error;
  }
}

/**
 * A chunk of a backup, verified, from the first of its sources that can give it. Sources that cannot are told in a warning
 * and left out of `usable`.
 * @throws DfsError `io` when none can; `cancelled`.
 */
export async function fetchChunk(
  { manifest }: OfferedBackup,
  chunk: number,
  usable: Source[],
  { onWarning, signal }: Pick<SourceOptions, "onWarning" | "signal">,
): Promise<Uint8Array> {
  for (;;) {
    const source = usable[0];
    if (source === undefined) {
      throw new DfsError(
        "io",
        `cannot restore backup ${backupName(manifest.backup)}: no server gives chunk ${chunk} of it as it was written`,
      );
    }
    try {
      return (await verifiedChunk(manifest, chunk, source.peer, signal)).bytes;
    } catch (error) {
      if (signal?.aborted === true) throw error;
      usable.shift();
      const next = usable.length === 0 ? "" : `; taking it from ${nameOf(usable[0]!)}`;
      onWarning(
        `backup ${backupName(manifest.backup)} cannot be read from ${nameOf(source)}: ${messageOf(error)}${next}`,
      );
    }
  }
}

/** A source as people know it. */
export function nameOf({ server, address }: Pick<Source, "server" | "address">): string {
  return server === undefined ? `the server at ${address}` : `data server ${server} (${address})`;
}

/**
 * A chunk of a backup from one server, and the list of hashes that it was verified with.
 * @throws DfsError `badChecksum`; what the server answers.
 */
export async function verifiedChunk(
  { backup, length, checksum }: BackupManifest,
  chunk: number,
  peer: Peer,
  signal?: CancelSignal,
): Promise<{ readonly bytes: Uint8Array; readonly chunks: Uint8Array }> {
  const { body, bulk } = await peer.request(
    backupGet,
    { backup, chunk },
    { timeoutMs: GET_TIMEOUT_MS, signal },
  );
  if (!verifyChunkList(length, body.chunks, checksum)) {
    throw new DfsError("badChecksum", "its list of hashes is damaged");
  }
  if (!isChunk(bulk, chunk, length, body.chunks)) {
    throw new DfsError("badChecksum", `chunk ${chunk} is damaged`);
  }
  return { bytes: bulk, chunks: body.chunks };
}

/** The servers that answer, in the order in which they were named. @throws DfsError when none does, or when one refuses for a reason that others have as well. */
async function reach(options: SourceOptions): Promise<Reached[]> {
  const failures: DfsError[] = [];
  const connectOne = async (address: string): Promise<Reached | undefined> => {
    try {
      return { address, peer: await connect(address, options) };
    } catch (error) {
      if (!isDfsError(error)) throw error;
      failures.push(error);
      options.onWarning(`cannot ask the data server at ${address}: ${error.message}`);
      return undefined;
    }
  };
  const all = await Promise.all([...new Set(options.from)].map(connectOne));
  const reached = all.filter((each) => each !== undefined);
  if (reached.length > 0) return reached;
  const { kind } = failures.find((each) => each.kind !== "timeout") ?? { kind: "unreachable" };
  throw new DfsError(
    kind,
    "cannot restore: no data server could be asked\n" +
      "check the addresses given with --from. A data server that is stopped is started, without a metadata server, with:\n" +
      "dfs data --dir DIR --meta HOST:PORT --wait",
  );
}

function connect(address: string, options: SourceOptions): Promise<Peer> {
  const { transport, key, clock, random, logger } = options;
  return connectPeer({
    transport,
    address,
    key,
    identity: {
      role: "client",
      cluster: undefined,
      server: undefined,
      incarnation: undefined,
      instance: undefined,
      reign: undefined,
      label: `dfs meta restore, pid ${process.pid}`,
    },
    expect: { role: "data" },
    clock,
    random,
    logger,
    timeoutMs: CONNECT_TIMEOUT_MS,
  });
}

function oneCluster(reached: readonly Reached[]): ClusterId {
  const known = reached.flatMap(({ address, peer }) =>
    peer.identity.cluster === undefined ? [] : [{ address, cluster: peer.identity.cluster }],
  );
  const first = known[0];
  if (first === undefined) {
    throw new DfsError(
      "notFound",
      `cannot restore: ${addressesOf(reached)} belong to no cluster yet, so they hold no backup`,
    );
  }
  const other = known.find(({ cluster }) => cluster !== first.cluster);
  if (other === undefined) return first.cluster;
  throw new DfsError(
    "wrongCluster",
    `cannot restore: the data servers are of different clusters: ${first.address} of ${first.cluster}, ` +
      `${other.address} of ${other.cluster}\nname servers of one cluster with --from`,
  );
}

type Listed = Pick<OfferedBackup, "manifest"> & { readonly source: Source };

async function listOf(
  { address, peer }: Reached,
  cluster: ClusterId,
  { verify, onWarning, signal }: SourceOptions,
): Promise<Listed[]> {
  try {
    const timeoutMs = verify ? VERIFY_TIMEOUT_MS : GET_TIMEOUT_MS;
    const { body } = await peer.request(
      backupList,
      { verify, backup: null },
      { timeoutMs, signal },
    );
    const server = body.server ?? undefined;
    for (const damage of body.damaged) {
      onWarning(`${nameOf({ server, address })} has a backup that cannot be used: ${damage}`);
    }
    return body.backups
      .filter(({ manifest }) => clusterIdOf(manifest.cluster) === cluster)
      .map(({ manifest, state }) => ({ manifest, source: { peer, server, address, state } }));
  } catch (error) {
    if (signal?.aborted === true) throw error;
    onWarning(`the data server at ${address} does not tell its backups: ${messageOf(error)}`);
    return [];
  }
}

function grouped(listed: readonly Listed[]): OfferedBackup[] {
  const groups = new Map<string, { manifest: BackupManifest; sources: Source[] }>();
  for (const { manifest, source } of listed) {
    const key = `${manifest.backup} ${manifest.checksum}`;
    const group = groups.get(key) ?? { manifest, sources: [] };
    group.sources.push(source);
    groups.set(key, group);
  }
  return newestFirst([...groups.values()]);
}

/**
 * Within a reign the position tells which backup is newer, whatever the clock showed. Only between reigns, which may be of
 * different lives of the database, there is nothing but the clock.
 */
export function newestFirst<Each extends Pick<OfferedBackup, "manifest">>(
  all: readonly Each[],
): Each[] {
  const reigns = Map.groupBy(all, ({ manifest }) => manifest.reign).values();
  const latestNs = (those: readonly Each[]): bigint =>
    those.reduce((most, { manifest: { createdNs: ns } }) => (ns > most ? ns : most), 0n);
  return [...reigns]
    .toSorted((one, other) => (latestNs(one) < latestNs(other) ? 1 : -1))
    .flatMap((those) => those.toSorted((one, other) => byAge(one.manifest, other.manifest)));
}

function addressesOf(reached: readonly Reached[]): string {
  return reached.map(({ address }) => address).join(", ");
}
