/**
 * The metadata server: one process that owns a directory and serves a cluster's metadata from it.
 *
 * What lies in the directory:
 *
 *     lock                                flock of the process that owns it, with its pid
 *     meta.db, meta.db-wal, meta.db-shm   the database (SQLite): everything there is to know of the cluster
 *     address                             where it listens, so that a restart is found at the same place
 *     rebuild-needed                      a sync failed: the next start copies the database before it uses it
 *     rebuilding.db, rebuilt.db           that copy, being made or complete
 *     formatting.db                       a new database that is not complete yet
 *     backup.db                           a copy of the database that is being sent to data servers; worthless
 *
 * The parts, in the order in which a request meets them:
 *
 *     service.ts            which message goes where, and who may send it
 *     sessions.ts, members.ts   clients and data servers: who is there, who has fallen silent (silence.ts, liveness.ts)
 *     namespace-service.ts  names and content: messages to operations of namespace/
 *     locks/                locks of files
 *     changes.ts, interests.ts, client-notices.ts   tell clients what has changed of what they may have cached
 *     cluster-service.ts    servers, placement, figures (figures.ts counts them in a thread)
 *     engine.ts             runs operations: group-commit.ts over store/, id-ranges.ts, reign.ts
 *     wal-sync.ts, checkpoint.ts   makes commits durable, keeps the log short
 *     reaper.ts             deletes what was given up, through commands.ts
 *     cutting.ts            removes what was cut off long files; operations that wait for it
 *     reconcile.ts          compares what a data server holds with the record
 *     repair/               makes up for copies that are missing or bad, removes those that are too many
 *     quarantine.ts         what data servers hold and the record does not know
 *     backup/               backups of the database onto data servers; restore.ts brings one back
 *     acceptance.ts         going on from an older copy of the database
 *     fsck/                 checks the record and the copies, and watches repair mend them
 *     placement.ts, placement-operations.ts   plans the placement table; edits it
 *     server-change-service.ts, server-changes.ts   servers are drained, replaced, removed
 *     database.ts, rebuild.ts, settings.ts   formats, opens and mends the directory
 *     service-settings.ts                 what was asked for at a start, kept for the next ones
 */
import { systemClock, type Clock } from "../../base/clock.ts";
import { watchDirectory } from "../../base/directory-watch.ts";
import { messageOf, type DfsError } from "../../base/errors.ts";
import type { ClusterId } from "../../base/ids.ts";
import { lineLogger, type Logger } from "../../base/logger.ts";
import { standardErrorWriter } from "../../base/standard-error.ts";
import { guardOwnMemory } from "../../base/memory-guard.ts";
import { systemRandom, type Random } from "../../base/random.ts";
import {
  listenPeers,
  refuseOpenDoor,
  type HandlerTable,
  type PeerListener,
} from "../../protocol/endpoint.ts";
import type { ServiceSettings } from "../../protocol/messages/cluster.ts";
import { clusterIdOf, type ClusterSettings } from "../../protocol/messages/common.ts";
import type { Transport } from "../../protocol/transport.ts";
import { tcpTransport } from "../../protocol/transports/tcp.ts";
import { Backups } from "./backup/backups.ts";
import { ClientNotices } from "./client-notices.ts";
import { Commands } from "./commands.ts";
import { Engine } from "./engine.ts";
import { Fsck } from "./fsck/fsck.ts";
import { addressToListenOn, rememberAddress } from "./listen-address.ts";
import { Members, type Member } from "./members.ts";
import type { RootOwner } from "./namespace/operations.ts";
import { ClusterNotices } from "./notices.ts";
import { Quarantine } from "./quarantine.ts";
import { Reaper } from "./reaper.ts";
import { Repair } from "./repair/repair.ts";
import { reconcile } from "./reconcile.ts";
import { makeService } from "./service.ts";
import { Sessions } from "./sessions.ts";
import { serviceSettings } from "./service-settings.ts";
import type { SettingsWish } from "./settings.ts";
import { ask } from "./store/store.ts";
import type { SyncFile } from "./wal-sync.ts";

const DEFAULT_HEARTBEAT_INTERVAL_MS = 1_000;
const DEFAULT_REAPER_INTERVAL_MS = 1_000;
const DEFAULT_GRACE_MS = 3_600_000;
const DEFAULT_REPAIR_INTERVAL_MS = 1_000;
const DEFAULT_COPIES_PER_SERVER = 4;

const ROOT_MODE = 0o755;

export interface MetaServerOptions extends Partial<ServiceSettings> {
  /** The directory; one that is missing or empty becomes that of a new cluster. */
  readonly dir: string;
  /** `host:port`; left out: where it listened before, else a free port of 127.0.0.1. */
  readonly listen?: string | undefined;
  readonly settings?: SettingsWish;
  /** The cluster key; needed when other machines can reach the address. */
  readonly key?: Uint8Array | undefined;
  /** Owner of the root directory of a new cluster; left out: the user of this process. */
  readonly rootOwner?: RootOwner;
  /** How often data servers report. Default 1 s. */
  readonly heartbeatIntervalMs?: number;
  /** Between two looks for blocks to delete. Default 1 s. */
  readonly reaperIntervalMs?: number;
  /** How long unused blocks of an ended session are left alone. Default 1 h. */
  readonly graceMs?: number;
  /** Between two looks for repairs. Default 1 s. */
  readonly repairIntervalMs?: number;
  /** Repairs at a time to one data server, and from one; of blocks up to 64 KiB 16 count as one. Default 4. */
  readonly copiesPerServer?: number;
  /** Whether copies on stand-ins are moved back when the servers that should have them are. Default true. */
  readonly moveMisplaced?: boolean;
  /** The database is an older copy, and the newer one is lost: go on from it. */
  readonly acceptOlder?: boolean;
  // Seams.
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
  readonly transport?: Transport;
  readonly syncFile?: SyncFile;
  readonly defer?: (callback: () => void) => void;
}

/** A running metadata server. */
export interface MetaServer {
  /** Where it listens. */
  readonly address: string;
  readonly cluster: ClusterId;
  readonly settings: ClusterSettings;
  readonly service: ServiceSettings;
  /** Resolves when the server cannot go on: its disk failed. The process must end; connections are closed already. */
  readonly failed: Promise<DfsError>;
  /** Answers what it has accepted, closes all connections and gives the directory up. */
  stop(): Promise<void>;
}

/**
 * Starts a metadata server.
 * @throws DfsError `locked` when the directory or the port is in use; `usage` for settings that are impossible or not
 * the cluster's; `invalid` for a damaged database or an address that cannot be listened on; `unsupported` for a database
 * of another version; `io` when the disk fails.
 */
export async function startMetaServer(options: MetaServerOptions): Promise<MetaServer> {
  const clock = options.clock ?? systemClock;
  const random = options.random ?? systemRandom;
  const logger = options.logger ?? stderrLogger(clock, false);
  const failure = Promise.withResolvers<DfsError>();
  refuseOpenDoor(addressToListenOn(options.dir, options.listen), options.key); // before anything is made
  const engine = await Engine.open({
    dir: options.dir,
    wish: options.settings ?? {},
    owner: options.rootOwner ?? ownRoot(),
    clock,
    random,
    logger,
    acceptOlder: options.acceptOlder ?? false,
    onFatal: failure.resolve,
    ...(options.syncFile === undefined ? {} : { syncFile: options.syncFile }),
    ...(options.defer === undefined ? {} : { defer: options.defer }),
  });
  const service = await settingsFor(engine, options);
  const running = new Running({ ...options, ...service }, engine, { clock, random, logger });
  try {
    await running.start();
    const listener = await listen(options, engine, running.service, { clock, random, logger });
    void failure.promise.then(() => listener.close());
    logger.info("ready", {
      address: listener.address,
      cluster: clusterIdOf(engine.settings.cluster),
      reign: engine.reign.number,
      pid: process.pid,
    });
    return {
      address: listener.address,
      cluster: clusterIdOf(engine.settings.cluster),
      settings: engine.settings,
      service,
      failed: failure.promise,
      stop: () => running.stop(listener),
    };
  } catch (error) {
    await running.stop(undefined);
    throw error;
  }
}

/** What `dfs meta` starts the server with. */
export interface MetaRunOptions extends MetaServerOptions {
  /** Log everything. */
  readonly debug?: boolean;
  /** Asks the server to end in good order; left out: SIGTERM and SIGINT do. */
  readonly signal?: AbortSignal;
  readonly onReady?: (ready: {
    readonly address: string;
    readonly settings: Required<SettingsWish>;
    readonly service: ServiceSettings;
  }) => void;
}

/**
 * Runs a metadata server until it is asked to end.
 * @throws DfsError as `startMetaServer`, and the reason when it cannot go on; the process should then exit at once.
 */
export async function runMetaServer(options: MetaRunOptions): Promise<void> {
  const asked = options.signal === undefined ? signals() : abortOf(options.signal);
  const logger = options.logger ?? stderrLogger(options.clock ?? systemClock, options.debug);
  const server = await startMetaServer({ ...options, logger });
  const { blockSize, replicas, writeQuorum, readQuorum } = server.settings;
  options.onReady?.({
    address: server.address,
    settings: { blockSize, replicas, writeQuorum, readQuorum },
    service: server.service,
  });
  const watch = watchDirectory(options.dir, options.clock ?? systemClock);
  const stopGuard = guardOwnMemory(options.clock ?? systemClock);
  void watch.lost.then(({ message }) => logger.error(message));
  const failed = await Promise.race([server.failed, watch.lost, asked.then(() => undefined)]);
  watch.stop();
  stopGuard();
  if (failed !== undefined) throw failed;
  logger.info("stopping");
  await server.stop();
  logger.info("stopped");
}

interface Seams {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** The parts of a running server, and the order in which they begin and end. */
class Running {
  readonly service: HandlerTable;
  private readonly engine: Engine;
  private readonly logger: Logger;
  private readonly sessions: Sessions;
  private readonly members: Members;
  private readonly reaper: Reaper;
  private readonly repair: Repair;
  private readonly quarantine: Quarantine;
  private readonly backups: Backups;
  private readonly fsck: Fsck;
  private stopped = false;

  constructor(options: MetaServerOptions & ServiceSettings, engine: Engine, seams: Seams) {
    const { clock, logger } = seams;
    this.engine = engine;
    this.logger = logger;
    const clientNotices = new ClientNotices(clock, (session) => this.sessions.peer(session));
    this.sessions = new Sessions({
      engine,
      ...seams,
      onEnded: (session, changes) => {
        clientNotices.forget(session);
        clientNotices.publish(changes, undefined);
      },
      onLost: (session) => clientNotices.forget(session),
      leaseTimeoutMs: options.leaseTimeoutMs,
    });
    const notices = new ClusterNotices({
      clients: () => this.sessions.clients,
      placementVersion: () => engine.question(() => ask("placement.version")),
      defer: options.defer ?? setImmediate,
      onError: (error) => this.logUnlessStopped("clients were not told of a change", error),
    });
    this.members = new Members({
      engine,
      clock,
      logger,
      heartbeatIntervalMs: options.heartbeatIntervalMs ?? DEFAULT_HEARTBEAT_INTERVAL_MS,
      downDelayMs: options.downDelayMs,
      onChanged: () => notices.changed(),
      outDelayMs: options.outDelayMs,
      onRegistered: (member) => {
        void this.compare(member);
        void this.backups.registered(member);
      },
      onState: () => this.repair.serversChanged(),
      onRotten: () => this.repair.recorded(),
    });
    const commands = new Commands(engine);
    this.repair = new Repair({
      engine,
      commands,
      members: this.members,
      clock,
      logger,
      intervalMs: options.repairIntervalMs ?? DEFAULT_REPAIR_INTERVAL_MS,
      copiesPerServer: options.copiesPerServer ?? DEFAULT_COPIES_PER_SERVER,
      moveMisplaced: options.moveMisplaced ?? true,
      bytesPerSecond: options.repairBytesPerSecond,
    });
    this.quarantine = new Quarantine(engine, this.members);
    this.backups = new Backups({
      engine,
      commands,
      members: this.members,
      copier: engine.copier,
      ...seams,
      dir: options.dir,
      intervalMs: options.backupIntervalMs,
      quarantined: () => this.quarantine.copies,
    });
    this.reaper = new Reaper({
      engine,
      commands,
      clock,
      logger,
      intervalMs: options.reaperIntervalMs ?? DEFAULT_REAPER_INTERVAL_MS,
      graceMs: options.graceMs ?? DEFAULT_GRACE_MS,
      members: () => this.members.all(),
      settled: () => this.members.settled(),
      isCopying: (block, server) => this.repair.isCopying(block, server),
      mayReclaim: () => !this.sessions.recovering,
      onChanged: (changes) => clientNotices.publish(changes, undefined),
      onNeedy: () => this.repair.recorded(),
    });
    const { members, repair, backups } = this;
    const isRecovering = (): boolean => this.sessions.recovering;
    const parts = { engine, commands, members, repair, backups, clock, logger, isRecovering };
    this.fsck = new Fsck({ ...parts, notices: clientNotices });
    this.service = makeService({
      fsck: this.fsck,
      clientNotices,
      engine,
      sessions: this.sessions,
      members: this.members,
      repair: this.repair,
      backups: this.backups,
      quarantine: this.quarantine,
      settings: options,
      clock,
      logger,
      onServersChanged: () => notices.changed(),
    });
  }

  async start(): Promise<void> {
    await this.sessions.start();
    await this.members.start();
    this.reaper.start();
    this.repair.start();
    this.backups.start();
  }

  async stop(listener: PeerListener | undefined): Promise<void> {
    if (this.stopped) return;
    this.stopped = true;
    this.sessions.stop();
    this.members.stop();
    const reaped = Promise.all([this.reaper.stop(), this.repair.stop(), this.fsck.stop()]);
    const backedUp = this.backups.stop();
    await this.engine.finish();
    await listener?.close(); // what was answered before is still sent
    await reaped;
    await backedUp;
    await this.engine.close();
  }

  /** A server that could not be compared is sent away; it comes back and is compared again. */
  private async compare(member: Member): Promise<void> {
    try {
      const { engine, logger, repair } = this;
      const onEmptied = repair.emptied.bind(repair);
      const found = await reconcile({ engine, logger, onEmptied }, member);
      this.quarantine.compared(member.server, found.unknown);
      this.members.isCompared(member);
      this.repair.serversChanged();
    } catch (error) {
      this.logUnlessStopped(`cannot compare data server ${member.server} with the record`, error);
      member.peer.close("what the server holds could not be compared with the record");
    }
  }

  private logUnlessStopped(what: string, error: unknown): void {
    if (!this.stopped) this.logger.warn(`${what}: ${messageOf(error)}`);
  }
}

async function settingsFor(engine: Engine, wish: MetaServerOptions): Promise<ServiceSettings> {
  try {
    return await engine.vital(() => serviceSettings(wish));
  } catch (error) {
    await engine.close();
    throw error;
  }
}

async function listen(
  options: MetaServerOptions,
  engine: Engine,
  handlers: HandlerTable,
  seams: Seams,
): Promise<PeerListener> {
  const listener = await listenPeers({
    transport: options.transport ?? tcpTransport(seams.clock),
    address: addressToListenOn(options.dir, options.listen),
    identity: {
      role: "meta",
      cluster: clusterIdOf(engine.settings.cluster),
      server: undefined,
      incarnation: undefined,
      instance: undefined,
      reign: engine.reign.reign,
      label: `dfs meta, pid ${process.pid}`,
    },
    key: options.key,
    handlers,
    ...seams,
  });
  rememberAddress(options.dir, listener.address);
  return listener;
}

function ownRoot(): RootOwner {
  return { mode: ROOT_MODE, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
}

function stderrLogger(clock: Clock, debug: boolean | undefined): Logger {
  return lineLogger(clock, "meta", standardErrorWriter(), debug === true ? "debug" : "info");
}

function signals(): Promise<void> {
  return new Promise((resolve) => {
    process.once("SIGTERM", () => resolve());
    process.once("SIGINT", () => resolve());
  });
}

function abortOf(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
