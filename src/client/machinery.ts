/**
 * The parts of a client below the API, and how they are put together.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import type { Random } from "../base/random.ts";
import { clusterChanged, placement as placementMessage } from "../protocol/messages/cluster.ts";
import { clusterIdOf } from "../protocol/messages/common.ts";
import { lockGranted } from "../protocol/messages/locks.ts";
import { connectPeer, HandlerTable } from "../protocol/endpoint.ts";
import type { Peer, PeerIdentity } from "../protocol/peer.ts";
import type { Transport } from "../protocol/transport.ts";
import type { ClientOptions } from "./api.ts";
import { AccessTimes } from "./access-times.ts";
import { BlockIds } from "./block-ids.ts";
import { BlockReader } from "./block-reader.ts";
import { BlockStore } from "./block-store.ts";
import { BlockWriter } from "./block-writer.ts";
import { ByteBudget } from "./budget.ts";
import { CopyMender } from "./copy-mender.ts";
import { DirectRequests } from "./direct.ts";
import type { FileReaderOptions } from "./file-reader.ts";
import { Locks } from "./locks.ts";
import { OpenFileTable } from "./open-files.ts";
import { PlacementCache, type KnownServer } from "./placement-cache.ts";
import { Releases } from "./releases.ts";
import { ReplicaReports } from "./replica-reports.ts";
import { DataServers } from "./servers.ts";
import { Session } from "./session.ts";
import { Warnings } from "./warnings.ts";
import { Watcher } from "./watcher.ts";

const FIRST_CONTACT_TIMEOUT_MS = 4_500;
const RETRY_TIMEOUT_MS = 60_000;
const READ_RETRY_TIMEOUT_MS = 5_000;
/** How long closing waits for reports of bad copies to arrive; a command gives all of closing a second. */
const REPORTS_TIMEOUT_MS = 500;
const BUFFER_BYTES = 64 * 1024 * 1024;

/** What a client takes from outside. */
export interface ClientSeams {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

export class Machinery {
  readonly seams: ClientSeams;
  readonly session: Session;
  readonly openFiles = new OpenFileTable();
  readonly releases: Releases;
  readonly accesses: AccessTimes;
  readonly budget: ByteBudget;
  readonly store: BlockStore;
  /** For the readers of files. */
  readonly fileReading: FileReaderOptions;
  private readonly options: ClientOptions;
  private readonly identity: PeerIdentity;
  readonly servers: DataServers;
  /** Questions to one server and no other. */
  readonly direct: DirectRequests;
  readonly reports: ReplicaReports;
  readonly locks: Locks;
  readonly watcher: Watcher;
  private readonly placement: PlacementCache;

  constructor(options: ClientOptions, seams: ClientSeams) {
    const { clock, random, logger } = seams;
    this.options = options;
    this.seams = seams;
    this.identity = {
      role: "client",
      cluster: options.cluster,
      server: undefined,
      incarnation: undefined,
      instance: undefined,
      reign: undefined,
      label: options.label,
    };
    const retryTimeoutMs = options.retryTimeoutMs ?? RETRY_TIMEOUT_MS;
    const warnings = new Warnings(options.onWarning, logger);
    this.session = new Session(
      {
        address: options.metaAddress,
        label: options.label,
        connect: (timeoutMs) => this.connectToMeta(timeoutMs),
        retryTimeoutMs,
        warnings,
        clock,
        random,
        logger,
        onBound: (peer, timeoutMs) => this.watcher.bound(peer, timeoutMs),
        onReplaced: () => {
          for (const inode of this.locks.takeLost()) this.openFiles.locksLost(inode);
        },
      },
      this.openFiles,
    );
    this.locks = new Locks(this.session, clock);
    this.watcher = new Watcher(this.session, this.openFiles);
    const settings = () => this.session.settings;
    this.placement = new PlacementCache(() => this.session.ask(placementMessage, {}));
    const connect = (server: KnownServer, timeoutMs: number) =>
      this.connectToServer(server, timeoutMs);
    const { placement } = this;
    this.direct = new DirectRequests(connect, placement, clock);
    this.servers = new DataServers({ connect, placement, warnings, clock, random });
    placement.onChange = (before, now) => this.servers.learn(before, now);
    this.budget = new ByteBudget(options.bufferBytes ?? BUFFER_BYTES);
    this.releases = new Releases(this.session, clock, logger);
    this.accesses = new AccessTimes(this.session, clock, logger);
    const { servers } = this;
    const quorumTimeoutMs = retryTimeoutMs;
    const ids = new BlockIds(this.session, placement);
    const writing = { servers, placement, settings, warnings, clock, random, quorumTimeoutMs };
    const writer = new BlockWriter(writing);
    this.store = new BlockStore({
      ids,
      writer,
      mender: new CopyMender({
        ids,
        writer,
        servers,
        placement,
        clock,
        random,
        budget: this.budget,
      }),
      blockSize: () => settings().blockSize,
    });
    const reports = new ReplicaReports(this.session, warnings, logger, clock);
    this.reports = reports;
    const readQuorum = (): number => this.readQuorum;
    const blocks = new BlockReader({
      servers,
      readQuorum,
      clock,
      onBadReplica: (block, failure) =>
        reports.report(block, failure, failure.kind === "io" ? "unreadable" : "badChecksum"),
    });
    this.fileReading = {
      blocks,
      retryTimeoutMs: options.readRetryTimeoutMs ?? READ_RETRY_TIMEOUT_MS,
      mayComeBack: (server) => {
        if (options.readRetryTimeoutMs !== undefined) return true;
        const state = placement.last?.server(server)?.state;
        return state === undefined || state === "up" || state === "suspect";
      },
      onMissingReplica: (block, failure) => reports.report(block, failure, "missing"),
      onDoubt: (settled) => reports.expect(settled),
      readQuorum,
      onVotes: options.onVotes,
      clock,
      random,
    };
  }

  /** Servers that have to answer when a block is read. */
  get readQuorum(): number {
    return this.options.readQuorum ?? this.session.settings.readQuorum;
  }

  /** Makes the first contact. @throws DfsError as `connectClient`. */
  async start(): Promise<void> {
    await this.session.start(this.options.firstContactTimeoutMs ?? FIRST_CONTACT_TIMEOUT_MS);
  }

  async close(): Promise<void> {
    await this.reports.delivered(REPORTS_TIMEOUT_MS);
    await this.accesses.flush();
    await this.session.close(); // which also gives up everything that is still open
    this.servers.close();
    this.direct.close();
  }

  private connectToMeta(timeoutMs: number): Promise<Peer> {
    const { clock, random, logger, transport } = this.seams;
    const { metaAddress, key } = this.options;
    // Once a cluster has been met, another one that appears at its address is not taken for it.
    const cluster = this.session.known
      ? clusterIdOf(this.session.settings.cluster)
      : this.options.cluster;
    const handlers = new HandlerTable();
    handlers.onNotice(clusterChanged, () => this.placement.invalidate());
    handlers.onNotice(lockGranted, (owner) => this.locks.granted(owner));
    this.watcher.receive(handlers);
    return connectPeer({
      transport,
      address: metaAddress,
      key,
      clock,
      random,
      logger,
      identity: { ...this.identity, cluster },
      expect: { role: "meta", ...(cluster === undefined ? {} : { cluster }) },
      handlers,
      timeoutMs,
    });
  }

  private connectToServer(known: KnownServer, timeoutMs: number): Promise<Peer> {
    const { clock, random, logger, transport } = this.seams;
    const { server, incarnation, address } = known;
    const cluster = clusterIdOf(this.session.settings.cluster);
    return connectPeer({
      transport,
      address,
      key: this.options.key,
      clock,
      random,
      logger,
      identity: { ...this.identity, cluster },
      expect: { role: "data", cluster, server, incarnation },
      timeoutMs,
    });
  }
}
