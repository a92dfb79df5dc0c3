/**
 * The engine of a running metadata service: the open database, group commit over it, id ranges, checkpoints, the reign.
 * Everything above it hands in operations and awaits results.
 *
 * Invariants: one engine owns a directory (lock); the reign that it begins is durable before anything is served; after
 * `onFatal` nothing is answered any more.
 */
import { mkdirSync } from "node:fs";
import type { Clock } from "../../base/clock.ts";
import { liveOwner, lockDirectory, type DirectoryLock } from "../../base/directory-lock.ts";
import { DfsError, isDfsError, messageOf, systemCodeOf } from "../../base/errors.ts";
import { blockId, inodeId, type Lsn } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import type { Random } from "../../base/random.ts";
import type { ClusterSettings } from "../../protocol/messages/common.ts";
import { acceptOlder } from "./acceptance.ts";
import { CopyThread } from "./backup/copy.ts";
import { Checkpointer, CheckpointThread } from "./checkpoint.ts";
import { openDatabase, type OpenDatabase } from "./database.ts";
import { DiskReserve, type DiskCondition } from "./disk-reserve.ts";
import { classifyEngineError } from "./engine-errors.ts";
import { FiguresThread, type FiguresCounter } from "./figures.ts";
import { GroupCommit } from "./group-commit.ts";
import { IdRanges } from "./id-ranges.ts";
import type { IdSource, RootOwner } from "./namespace/operations.ts";
import { markForRebuild, rebuildIfNeeded } from "./rebuild.ts";
import { beginReign } from "./reign.ts";
import type { SettingsWish } from "./settings.ts";
import type { Reign } from "./store/rows.ts";
import { runSync, type Operation } from "./store/store.ts";
import { diskSync, WalSync, type SyncFile } from "./wal-sync.ts";

export interface EngineOptions {
  readonly dir: string;
  readonly wish: SettingsWish;
  /** Of the root directory, when the cluster is formatted. */
  readonly owner: RootOwner;
  /** The database is an older copy, and the operator wants to go on from it (acceptance.ts). */
  readonly acceptOlder?: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Told once when the service cannot go on; it must end the process. */
  readonly onFatal: (error: DfsError) => void;
  /** The disk seam of the log's sync. */
  readonly syncFile?: SyncFile;
  /** Calls back in a later turn of the event loop. */
  readonly defer?: (callback: () => void) => void;
}

export class Engine {
  readonly settings: ClusterSettings;
  readonly reign: Reign;
  readonly ids: IdRanges;
  readonly idSource: IdSource;
  readonly figures: FiguresCounter;
  /** Whoever uses it closes it before the engine is closed. */
  readonly copier: CopyThread;
  readonly startedNs: bigint;
  private readonly options: EngineOptions;
  private readonly lock: DirectoryLock;
  private readonly database: OpenDatabase;
  private readonly reserve: DiskReserve;
  private readonly mark: WalSync;
  private readonly group: GroupCommit;
  private readonly checkpointer: Checkpointer;

  private constructor(
    options: EngineOptions,
    lock: DirectoryLock,
    database: OpenDatabase,
    reserve: DiskReserve,
  ) {
    const { store } = database;
    this.options = options;
    this.lock = lock;
    this.database = database;
    this.reserve = reserve;
    this.settings = database.settings;
    this.startedNs = options.clock.nowNs();
    this.reign = store.transaction(() => runSync(store.primitives, beginReign(options.random)));
    this.mark = new WalSync(`${store.path}-wal`, options.syncFile ?? diskSync);
    this.ids = new IdRanges(store.primitives);
    // The mark lies above every block on record; were it ever lost, no id of theirs would be given out again.
    store.transaction(() => this.ids.skipTo("block", store.primitives["figures.highestBlock"]()));
    this.idSource = idSourceOf(this.ids);
    this.figures = new FiguresThread(store.path);
    this.copier = new CopyThread(store.path);
    this.checkpointer = new Checkpointer({
      runner: new CheckpointThread(store.path),
      pause: () => this.group.pause(),
      resume: () => this.group.resume(),
      clock: options.clock,
      logger: options.logger,
      onFatal: (error) => this.group.fail(error),
    });
    this.group = new GroupCommit({
      store,
      mark: this.mark,
      reserve,
      defer: options.defer ?? setImmediate,
      nowMs: () => options.clock.monotonicMs(),
      onUndone: () => this.ids.undone(),
      onCommitted: (bytes) => this.checkpointer.logChanged(bytes),
      onFatal: (error) => this.endForGood(error),
    });
  }

  /**
   * Takes the directory, mends and opens its database (formatting it when the directory is new) and begins a reign.
   * @throws DfsError `locked` when another process serves from the directory, and what `openDatabase` throws.
   */
  static async open(options: EngineOptions): Promise<Engine> {
    const { dir, logger } = options;
    makeDirectory(dir);
    const reserve = new DiskReserve(dir, logger);
    if (liveOwner(dir) === undefined) reserve.relieve(); // else it is that of another process
    const lock = ownDirectory(dir);
    try {
      rebuildIfNeeded(dir, logger);
      const engine = Engine.begin(options, lock, reserve);
      reserve.prepare();
      await engine.syncReign();
      return engine;
    } catch (error) {
      lock.release();
      throw startFailure(dir, error);
    }
  }

  /** On a full disk, in the room of the reserve. */
  private static begin(options: EngineOptions, lock: DirectoryLock, reserve: DiskReserve): Engine {
    const { dir, wish, owner, random, logger } = options;
    let database: OpenDatabase | undefined;
    try {
      const nowNs = options.clock.nowNs();
      database = openDatabase({ dir, wish, owner, nowNs, random, logger });
      if (options.acceptOlder === true) accept(database, options);
      return new Engine(options, lock, database, reserve);
    } catch (error) {
      database?.store.close();
      const isFull = !isDfsError(error) && classifyEngineError(error).error.kind === "noSpace";
      if (isFull && reserve.spend()) return Engine.begin(options, lock, reserve);
      throw error;
    }
  }

  /** The database's file, for questions over all of it in a thread of their own. */
  get databasePath(): string {
    return this.database.store.path;
  }

  /** How the disk of the database is. */
  get disk(): DiskCondition {
    return this.reserve.condition();
  }

  /** LSN up to which everything is durable. */
  get durableLsn(): Lsn {
    return this.group.durable;
  }

  /** The operation's moment, for operations that need no session. */
  get nowNs(): bigint {
    return this.options.clock.nowNs();
  }

  /**
   * Runs a change; resolves when it is durable. It may be run again from its start when it was undone. `owner` is who asked for
   * it, if anybody did: however much one asks for, others have their turn.
   */
  change<T>(operation: (lsn: Lsn) => Operation<T>, owner?: unknown): Promise<T> {
    const { primitives } = this.database.store;
    return this.group.change((lsn) => runSync(primitives, operation(lsn)), owner);
  }

  /** Runs a change that must be possible on a full disk: it lets clients read, or makes room. */
  vital<T>(operation: (lsn: Lsn) => Operation<T>, owner?: unknown): Promise<T> {
    const { primitives } = this.database.store;
    return this.group.vital((lsn) => runSync(primitives, operation(lsn)), owner);
  }

  /** Runs a change that need not survive a power cut. */
  lazy<T>(operation: (lsn: Lsn) => Operation<T>, owner?: unknown): Promise<T> {
    const { primitives } = this.database.store;
    return this.group.lazy((lsn) => runSync(primitives, operation(lsn)), owner);
  }

  /** Runs an operation that only reads; resolves when what it may have seen is durable. */
  question<T>(operation: (lsn: Lsn) => Operation<T>, owner?: unknown): Promise<T> {
    const { primitives } = this.database.store;
    return this.group.question((lsn) => runSync(primitives, operation(lsn)), owner);
  }

  /** The owner of work has gone: what it has asked for and has not been begun is dropped. */
  forget(owner: unknown): void {
    this.group.forget(owner);
  }

  /** Resolves when everything that has been committed so far is durable, lazy changes included. */
  settle(): Promise<void> {
    return this.vital(nothing);
  }

  /** Refuses new work; resolves when what has been handed in is durable and answered. */
  finish(): Promise<void> {
    return this.group.close();
  }

  /** Closes the database and gives the directory up. To be called after `finish`. */
  async close(): Promise<void> {
    await this.checkpointer.close();
    await this.figures.close();
    this.mark.close();
    this.database.store.close();
    this.lock.release();
  }

  private syncReign(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.mark.run((error) => {
        if (error === undefined) return resolve();
        const failure = new DfsError(
          "io",
          `the metadata database cannot be made durable: ${error.message}`,
        );
        this.endForGood(failure);
        reject(failure);
      });
    });
  }

  private endForGood(error: DfsError): void {
    const { dir, logger, onFatal } = this.options;
    try {
      markForRebuild(dir, error.message);
      logger.error(`${error.message}; ending now, the next start rebuilds the database`);
    } catch (failure) {
      logger.error(`${error.message}; ending now. The database must be rebuilt`, {
        why: `no marker could be left: ${messageOf(failure)}`,
      });
    }
    onFatal(error);
  }
}

/** Changes nothing, but has an LSN, so that it must become durable, and with it all that was committed before. */
function* nothing(): Operation<void> {}

function idSourceOf(ids: IdRanges): IdSource {
  return {
    nextInode: () => inodeId(ids.take("inode")),
    nextBlocks: (count) => blockId(ids.take("block", count)),
  };
}

function accept({ store }: OpenDatabase, { random, clock, logger }: EngineOptions): void {
  const { servers } = acceptOlder(store, random, clock.nowNs());
  logger.warn(
    "this copy of the metadata database has been accepted, however old it is: data servers go along with it once; " +
      "sessions are ended, later blocks are left alone; " +
      `new data servers get ids from ${servers.upTo + 1} on, since those below may belong to servers that joined later. ` +
      "Start without --accept-older from now on",
  );
}

/** What the engine under us throws becomes an error that says what could not be done. */
function startFailure(dir: string, error: unknown): DfsError {
  if (isDfsError(error)) return error;
  const { kind } = classifyEngineError(error).error;
  return new DfsError(kind, `cannot use the metadata database in ${dir}: ${messageOf(error)}`, {
    cause: error,
  });
}

function ownDirectory(dir: string): DirectoryLock {
  try {
    return lockDirectory(dir);
  } catch (error) {
    if (systemCodeOf(error) !== "ENOSPC") throw error;
    const words = `cannot use ${dir}: its disk is full\nmake room there, then start again`;
    throw new DfsError("noSpace", words, { cause: error });
  }
}

function makeDirectory(dir: string): void {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new DfsError("invalid", `cannot use ${dir} as a directory: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
