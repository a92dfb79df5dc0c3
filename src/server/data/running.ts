/**
 * The parts of a running data server, and the order in which they begin and end.
 *
 * Invariants
 * - Nothing is served before the metadata service has accepted this server, nor while its database is older than what
 *   has been served; `log()` says why.
 * - A new server's log is opened when its id is durable: the id is in every record.
 * - Before a segment is deleted, the highest block id that it may have held is durable.
 * - When this server registers, no copy that it was told to make before is under way any more.
 */
import type { Clock } from "../../base/clock.ts";
import type { Disk } from "../../base/disk.ts";
import { assert, DfsError, messageOf } from "../../base/errors.ts";
import {
  instanceId,
  type InstanceId,
  type Lsn,
  type ReignId,
  type ServerId,
} from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import type { Random } from "../../base/random.ts";
import { describeCorruption } from "../../log/corruption.ts";
import { openLog, type BlockLog } from "../../log/log.ts";
import { roomForPuts } from "../../log/space.ts";
import { connectPeer, type PeerListener } from "../../protocol/endpoint.ts";
import type { Peer, PeerIdentity } from "../../protocol/peer.ts";
import { tcpTransport } from "../../protocol/transports/tcp.ts";
import type { Transport } from "../../protocol/transport.ts";
import { addBackupHandlers } from "./backup-handlers.ts";
import { BackupStore } from "./backups.ts";
import { CommandOrder } from "./command-order.ts";
import type { ServerDirectory } from "./directory.ts";
import { addFaultHandlers } from "./fault-handlers.ts";
import { makeHandlers, type DataHandlers, type ServedLog } from "./handlers.ts";
import type { Identity, SeenReign } from "./identity.ts";
import { join, type Condition } from "./join.ts";
import { listen } from "./listen.ts";
import { Membership } from "./membership.ts";
import type { DataServer, DataServerOptions } from "./options.ts";
import { Replication } from "./replication.ts";
import { RottenReports } from "./rotten-reports.ts";

const CONNECT_TIMEOUT_MS = 5_000;

/** The newest position that was seen is made durable this often, not with each heartbeat. */
const REMEMBER_INTERVAL_MS = 5_000;

export interface RunningOptions extends Omit<DataServerOptions, "meta" | "firstContactTimeoutMs"> {
  readonly meta: readonly string[];
  readonly firstContactTimeoutMs: number;
}

export interface Seams {
  readonly clock: Clock;
  readonly random: Random;
  readonly disk: Disk;
  readonly logger: Logger;
}

export class Running implements ServedLog {
  private readonly options: RunningOptions;
  private readonly directory: ServerDirectory;
  private readonly seams: Seams;
  private readonly transport: Transport;
  private readonly instance: InstanceId;
  private readonly order: CommandOrder;
  private readonly replication: Replication;
  private readonly handlers: DataHandlers;
  private readonly backups: BackupStore;
  private readonly membership: Membership;
  private readonly rottenReports: RottenReports;
  private listener: PeerListener | undefined;
  private opened: BlockLog | undefined;
  /** Why nothing is served; undefined while something is. */
  private refusal: DfsError | undefined = new DfsError(
    "busy",
    "this data server is starting; try again in a moment",
  );
  private joining = Promise.withResolvers<BlockLog>();
  private seen: SeenReign | undefined;
  private rememberedMs = 0;
  private stopping: Promise<void> | undefined;
  /** Who asked for the end: their connections are closed when there is nothing left to do. */
  private readonly askers = new Set<Peer>();

  constructor(options: RunningOptions, directory: ServerDirectory, seams: Seams) {
    this.options = options;
    this.directory = directory;
    this.seams = seams;
    this.transport = options.transport ?? tcpTransport(seams.clock);
    this.instance = instanceId(seams.random.id64());
    this.order = new CommandOrder(this.instance);
    this.seen = directory.identity.current.seen;
    this.replication = new Replication({
      ...seams,
      identity: () => this.peerIdentity(),
      transport: this.transport,
      key: options.key,
    });
    this.handlers = makeHandlers({
      served: this,
      instance: this.instance,
      order: this.order,
      replication: this.replication,
      clock: seams.clock,
    });
    this.backups = new BackupStore({
      ...seams,
      dir: directory.dir,
      room: () => roomForPuts({ ...options, disk: seams.disk }, directory.dir),
    });
    addBackupHandlers(this.handlers, {
      store: this.backups,
      served: this,
      order: this.order,
      server: () => directory.identity.current.server,
    });
    const { ending } = options;
    addFaultHandlers(this.handlers.forClients, {
      served: this,
      allowFaults: options.allowFaults ?? false,
      stop: (asker) => this.stopFor(asker),
      crash: ending && (() => ending.crash()),
      logger: seams.logger,
    });
    this.rottenReports = new RottenReports(seams.clock, seams.logger);
    this.membership = new Membership({
      ...seams,
      addresses: options.meta,
      connect: (address) => this.connect(address),
      join: (peer) => this.join(peer),
      condition: () => this.condition(),
      onSeen: (reign, lsn) => this.sawPosition(reign, lsn),
      onOlder: (error) => {
        this.refusal = error;
        options.onOlder?.(error);
      },
      firstContactTimeoutMs: options.firstContactTimeoutMs,
    });
  }

  async start(signal: AbortSignal | undefined): Promise<DataServer> {
    const { identity } = this.directory;
    const { cluster, server } = identity.current;
    if (cluster !== undefined && server !== undefined) await this.openLog();
    await this.backups.open();
    this.listener = await this.listen();
    const cancel = (): void => void this.membership.stop();
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      const joined = this.membership.start();
      if (signal?.aborted === true) cancel();
      await joined;
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
    this.seams.logger.info("ready", {
      server: this.server(),
      address: this.listener.address,
      blocks: this.opened?.stats().blocks,
      pid: process.pid,
    });
    const joinedCluster = identity.current.cluster;
    assert(joinedCluster !== undefined, "a server that has joined has a cluster");
    return {
      server: this.server(),
      cluster: joinedCluster,
      instance: this.instance,
      address: this.listener.address,
      stop: () => this.stop(),
    };
  }

  /** Ends whatever has begun. */
  stop(): Promise<void> {
    this.stopping ??= this.end();
    return this.stopping;
  }

  log(): BlockLog {
    if (this.refusal !== undefined) throw this.refusal;
    assert(this.opened !== undefined, "a server that serves has a log");
    return this.opened;
  }

  registered(): Promise<BlockLog> {
    return this.joining.promise;
  }

  server(): ServerId {
    const { server } = this.directory.identity.current;
    assert(server !== undefined, "a server that serves has an id");
    return server;
  }

  private async end(): Promise<void> {
    try {
      await this.membership.stop();
      await this.listener?.close(this.askers);
      await this.replication.close();
      await this.backups.close();
      await this.opened?.close();
      await this.remember();
    } finally {
      this.directory.release();
      for (const asker of this.askers) asker.close("the data server has ended");
    }
  }

  private stopFor(asker: Peer): void {
    this.askers.add(asker);
    const { ending } = this.options;
    if (ending !== undefined) return ending.stop();
    this.stop().catch((error: unknown) => this.seams.logger.error(messageOf(error)));
  }

  private async openLog(): Promise<BlockLog> {
    const { clock, disk, random, logger } = this.seams;
    const { cluster, server } = this.directory.identity.current;
    assert(cluster !== undefined && server !== undefined, "a log belongs to a registered server");
    const { segmentBytes, reserveBytes } = this.options;
    const log = await openLog({
      disk,
      directory: this.directory.logDirectory,
      cluster,
      server,
      random,
      logger,
      clock,
      reporter: { report: (found) => logger.warn(`damage: ${describeCorruption(found)}`) },
      segmentBytes,
      reserveBytes,
      onUnsure: ({ segment, puts, deletes, error }) =>
        logger.error(`a write failed; it was not acknowledged: ${messageOf(error)}`, {
          segment,
          puts: puts.length,
          deletes: deletes.length,
        }),
      onRotten: (block) => this.rottenReports.add(block),
      beforeReclaim: () => this.rememberHighestBlock(),
    });
    this.opened = log;
    return log;
  }

  private listen(): Promise<PeerListener> {
    const { clock, random, logger } = this.seams;
    return listen(this.options.listen, this.directory.identity.current.address, {
      transport: this.transport,
      identity: () => this.peerIdentity(),
      handlers: this.handlers.forClients,
      key: this.options.key,
      accept: refuseService,
      clock,
      random,
      logger,
    });
  }

  private connect(address: string): Promise<Peer> {
    const { clock, random, logger } = this.seams;
    this.joining.promise.catch(() => undefined); // commands of the former connection, if any, are told
    this.joining.reject(new DfsError("stale", "this data server has connected anew"));
    this.joining = Promise.withResolvers();
    this.joining.promise.catch(() => undefined); // there may be no command that waits
    const { cluster } = this.directory.identity.current;
    return connectPeer({
      transport: this.transport,
      address,
      identity: this.peerIdentity(),
      expect: { role: "meta", ...(cluster === undefined ? {} : { cluster }) },
      handlers: this.handlers.forService,
      key: this.options.key,
      clock,
      random,
      logger,
      timeoutMs: Math.min(CONNECT_TIMEOUT_MS, this.options.firstContactTimeoutMs),
    });
  }

  private async join(peer: Peer): Promise<number> {
    assert(this.listener !== undefined, "a server listens before it joins");
    try {
      await this.replication.endAll();
      const joined = await join(peer, this.seen, {
        identity: this.directory.identity,
        instance: this.instance,
        address: this.listener.address,
        zone: this.options.zone ?? "",
        tags: this.options.tags ?? [],
        condition: () => this.condition(),
        highestBlock: () =>
          this.opened?.highestBlock ?? this.directory.identity.current.highestBlock,
        logger: this.seams.logger,
      });
      const log = this.opened ?? (await this.openLog());
      this.seen = { reign: joined.reign, lsn: joined.lsn };
      this.order.begin(joined.reign);
      this.refusal = undefined;
      this.joining.resolve(log);
      this.rottenReports.registered(peer);
      return joined.heartbeatIntervalMs;
    } catch (error) {
      this.joining.reject(error);
      throw error;
    }
  }

  private condition(): Condition {
    if (this.opened === undefined) {
      const { disk } = this.seams;
      const room = Math.max(0, roomForPuts({ ...this.options, disk }, this.directory.dir));
      return { capacityBytes: room, usedBytes: 0, full: room === 0, blocks: 0 };
    }
    const { capacityBytes, segmentBytes, full, blocks } = this.opened.stats();
    return { capacityBytes, usedBytes: segmentBytes, full, blocks };
  }

  private peerIdentity(): PeerIdentity {
    const { cluster, server, incarnation, seen }: Identity = this.directory.identity.current;
    return {
      role: "data",
      cluster,
      server,
      incarnation,
      instance: this.instance,
      reign: seen?.reign,
      label: `data-${server ?? "new"}, pid ${process.pid}`,
    };
  }

  private sawPosition(reign: ReignId, lsn: Lsn): void {
    this.seen = { reign, lsn };
    const nowMs = this.seams.clock.monotonicMs();
    if (nowMs - this.rememberedMs < REMEMBER_INTERVAL_MS) return;
    this.rememberedMs = nowMs;
    void this.remember();
  }

  /** Makes durable what was seen, if it is new. A failure is only logged: it makes the memory shorter, not wrong. */
  private async remember(): Promise<void> {
    const { identity } = this.directory;
    const { seen } = identity.current;
    if (this.seen === undefined) return;
    if (this.seen.reign === seen?.reign && this.seen.lsn === seen.lsn) return;
    try {
      await identity.change({ seen: this.seen });
    } catch (error) {
      this.seams.logger.warn(messageOf(error));
    }
  }

  private async rememberHighestBlock(): Promise<void> {
    const { identity } = this.directory;
    const highest = this.opened?.highestBlock;
    if (highest === undefined || highest <= identity.current.highestBlock) return;
    await identity.change({ highestBlock: highest });
  }
}

/** The metadata service never connects to a data server. Whoever says that it does is somebody else. */
function refuseService(peer: Peer): void {
  if (peer.identity.role !== "meta") return;
  throw new DfsError(
    "wrongPeer",
    "a data server takes no connections from a metadata service: it connects to the service itself",
  );
}
