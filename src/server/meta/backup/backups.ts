/**
 * Backups of the metadata on data servers: on a schedule, and whenever somebody asks.
 *
 *     copy.ts          a copy of the database at one moment, in a thread
 *     distribute.ts    onto several data servers (targets.ts, send.ts, backup-bytes.ts)
 *     progress.ts      how far that is
 *     retention.ts     older ones that are not needed any more
 *     holdings.ts      who holds what
 *     inspect.ts       whether they really do; resend.ts gives it to those that do not
 *
 * Invariants
 * - One backup is being made or sent again at a time; who asks for one while it is made gets that one.
 * - A backup is of a position that is durable in the database.
 * - On each server older backups are deleted only when it holds the new one.
 *
 * In the server's directory a backup being made lies in `backup.db`. It is worthless: nothing reads it after a crash.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock, Timer } from "../../../base/clock.ts";
import { DfsError, isDfsError, messageOf } from "../../../base/errors.ts";
import type { ServerId } from "../../../base/ids.ts";
import type { Logger } from "../../../base/logger.ts";
import type { Random } from "../../../base/random.ts";
import {
  backupDelete,
  backupList,
  type BackupManifest,
  type BackupOutcome,
  type BackupStatus,
} from "../../../protocol/messages/backup.ts";
import type { Commands } from "../commands.ts";
import type { Engine } from "../engine.ts";
import { lastAddress } from "../listen-address.ts";
import type { Member, Members } from "../members.ts";
import { ask } from "../store/store.ts";
import { BackupBytes } from "./backup-bytes.ts";
import type { CopyThread } from "./copy.ts";
import { distribute, type Distributed } from "./distribute.ts";
import { Holdings, sorted } from "./holdings.ts";
import { inspectNewest, type Inspection } from "./inspect.ts";
import { backupOn } from "./resend.ts";
import { surplusBackups } from "./retention.ts";
import { BackupProgress } from "./progress.ts";
import type { ReadyBackup } from "./send.ts";
import { BACKUP_COPIES, backupOrder } from "./targets.ts";

/** The backup being made, in the metadata server's directory. */
const DRAFT = "backup.db";

/** Looks at what is due come at least this often. */
const TICK_MS = 15_000;

/** The first backup of a database that has none comes so soon, be the interval ever so long. */
const FIRST_DELAY_MS = 600_000;

/** After a start servers come back and tell what they hold; for so long nothing is begun. */
const SETTLE_MS = 60_000;

/** A backup that failed, or that a server did not take, is tried again after this time, or the interval if that is shorter. */
const RETRY_MS = 300_000;

const ALL = { verify: false, backup: null };

const QUESTION_TIMEOUT_MS = 60_000;

const NS_PER_MS = 1_000_000n;

export interface BackupsOptions {
  readonly engine: Engine;
  readonly commands: Commands;
  readonly members: Members;
  readonly copier: Pick<CopyThread, "copy" | "close">;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** The metadata server's directory. */
  readonly dir: string;
  /** Between two backups of a database that changes. */
  readonly intervalMs: number;
  readonly quarantined: () => number;
}

/** A backup that was begun. */
interface Run {
  readonly backup: bigint;
  readonly progress: BackupProgress;
  readonly made: Promise<Made>;
  done: boolean;
}

interface Made extends Distributed {
  readonly manifest: BackupManifest;
  readonly wanted: number;
}

export class Backups {
  private readonly options: BackupsOptions;
  private readonly holdings = new Holdings();
  private readonly startedMs: number;
  private last: Run | undefined;
  private mending: Promise<unknown> = Promise.resolve();
  private failure: string | undefined;
  /** The newest backup, when no server holds it any more and no newer one has been made. */
  private vanished: BackupManifest | undefined;
  private retryAtMs = 0;
  /** Since when there are changes that are in no backup. */
  private changedMs: number | undefined;
  private wanted = 0;
  private timer: Timer | undefined;
  private stopped = false;

  constructor(options: BackupsOptions) {
    this.options = options;
    this.startedMs = options.clock.monotonicMs();
  }

  start(): void {
    const { clock, intervalMs } = this.options;
    const delayMs = Math.min(TICK_MS, Math.max(100, intervalMs / 10));
    this.timer = clock.setTimer(delayMs, () => void this.tick(), { background: true });
  }

  /** Begins nothing any more, and waits for what is under way. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.timer?.cancel();
    await this.idle();
    await this.mending;
    await this.options.copier.close();
  }

  /** A server has registered: what does it hold? */
  async registered(member: Member): Promise<void> {
    const { engine, logger } = this.options;
    try {
      const options = { timeoutMs: QUESTION_TIMEOUT_MS };
      const { body } = await member.peer.request(backupList, ALL, options);
      for (const each of body.damaged) {
        logger.warn(`data server ${member.server} has a backup that cannot be used: ${each}`);
      }
      const manifests = body.backups.map(({ manifest }) => manifest);
      const held = await engine.question(() => sorted(manifests, engine.durableLsn));
      this.holdings.set(member.server, held);
    } catch (error) {
      if (this.stopped || !member.peer.open) return;
      logger.info(`data server ${member.server} does not tell its backups: ${messageOf(error)}`);
    }
  }

  /** A server was removed from the cluster: what it holds is not counted on any more. */
  dismiss(server: ServerId): void {
    this.holdings.forget(server);
  }

  /** The number of the backup that was begun last; undefined: none by this process. */
  get begun(): bigint | undefined {
    return this.last?.backup;
  }

  /** Resolves when the backup that is being made has been made, or has failed. */
  async idle(): Promise<void> {
    await this.last?.made.catch(() => undefined); // whoever asked for it is told
  }

  /** Asks the servers who holds the newest backup; with `verify` they read it. @throws DfsError when one goes away meanwhile. */
  async inspect(verify: boolean): Promise<Inspection> {
    const { engine, members } = this.options;
    await this.countWanted(); // what servers held that were removed meanwhile does not count
    const known = this.vanished ?? this.holdings.newest()?.manifest;
    const found = await inspectNewest(engine, this.holdings, members.all(), known, verify);
    this.vanished = found.vanished;
    return found;
  }

  /**
   * Brings the newest backup onto as many servers as should hold it: sends it again from one that has it right, in the place
   * of a damaged one first; makes a new one when nobody has.
   * @throws DfsError why that could not be done.
   */
  async mend({ newest, good, bad, away, vanished }: Inspection): Promise<void> {
    await this.idle();
    if (newest === undefined || good.length === 0 || vanished !== undefined) {
      this.begin();
      await this.last?.made;
      return;
    }
    const mended = this.resend(newest, { good, bad, away });
    this.mending = mended.catch(() => undefined); // whoever asked is told
    await mended;
  }

  /** Begins a backup unless one is under way; returns its number. */
  begin(): bigint {
    if (this.last?.done === false) return this.last.backup;
    const backup = this.options.random.id64();
    const { engine, dir } = this.options;
    const progress = new BackupProgress(engine.databasePath, join(dir, DRAFT));
    const run: Run = {
      backup,
      progress,
      made: this.make(backup, progress).finally(() => (run.done = true)),
      done: false,
    };
    run.made.catch((error: unknown) => this.onFailed(error));
    this.last = run;
    return backup;
  }

  /**
   * What became of a backup, at the latest after `waitMs`.
   * @throws DfsError `notFound` when this process has not made it; why it failed.
   */
  async outcome(backup: bigint, waitMs: number): Promise<BackupOutcome> {
    const run = this.last;
    if (run?.backup !== backup) {
      throw new DfsError(
        "notFound",
        "nothing is known of this backup: the metadata service was started anew, or another was made\n" +
          "dfs status tells which backup is the newest",
      );
    }
    const made = await this.within(run.made, waitMs);
    const { servers = [], failures = [], wanted = this.wanted, manifest = null } = made ?? {};
    const lists = { servers: [...servers], failures: [...failures] };
    const figures = await run.progress.figures();
    return { backup, done: made !== undefined, manifest, ...lists, wanted, ...figures };
  }

  async status(): Promise<BackupStatus> {
    const { clock, intervalMs, quarantined } = this.options;
    const servers = await this.countWanted();
    // One that is just being sent is on fewer servers than it will be.
    const newest = this.holdings.newest(this.last?.done === false ? this.last.backup : undefined);
    const changedForMs = clock.monotonicMs() - (this.changedMs ?? Infinity);
    return {
      newest: newest === undefined ? null : newest.manifest,
      servers: [...(newest?.servers ?? [])],
      wanted: this.wanted,
      intervalMs,
      overdue: changedForMs > 2 * intervalMs,
      failure: this.failure ?? null,
      quarantined: quarantined(),
      untold: servers.filter((server) => !this.holdings.isKnown(server)),
    };
  }

  private async tick(): Promise<void> {
    try {
      await this.countWanted();
      this.noteChange();
      if (this.isDue()) this.begin();
    } catch (error) {
      if (this.stopped) return;
      this.options.logger.warn(`cannot tell whether a backup is due: ${messageOf(error)}`);
    }
    if (!this.stopped) this.start();
  }

  private noteChange(): void {
    const { engine, clock } = this.options;
    const isSaved = this.holdings.newest()?.manifest.lsn === engine.durableLsn;
    this.changedMs = isSaved ? undefined : (this.changedMs ?? clock.monotonicMs());
  }

  private isDue(): boolean {
    const { clock, engine, members, intervalMs } = this.options;
    const nowMs = clock.monotonicMs();
    const upMs = nowMs - this.startedMs;
    const connected = members.all().length;
    if (this.last?.done === false || connected === 0 || nowMs < this.retryAtMs) return false;
    if (upMs < Math.min(SETTLE_MS, intervalMs)) return false;
    const newest = this.holdings.newest();
    if (newest === undefined) return upMs >= Math.min(FIRST_DELAY_MS, intervalMs);
    // One server more may be lost than the copies are meant for: that is not put off until something changes.
    if (newest.servers.length < Math.min(this.wanted, connected)) return true;
    const ageNs = clock.nowNs() - newest.manifest.createdNs;
    // One from the future is as good as none: the clock has been set back.
    if (ageNs >= 0n && ageNs < BigInt(Math.ceil(intervalMs)) * NS_PER_MS) return false;
    return newest.manifest.lsn !== engine.durableLsn;
  }

  private async make(backup: bigint, progress: BackupProgress): Promise<Made> {
    const { dir, copier, engine, clock, logger } = this.options;
    await this.mending;
    const draft = join(dir, DRAFT);
    const createdNs = clock.nowNs();
    const startedMs = clock.monotonicMs();
    try {
      await this.requireSomebody();
      progress.wanted(Math.min(this.wanted, this.options.members.all().length));
      const { reign, lsn, files } = await copier.copy(draft);
      await this.countWanted(); // answered when everything that the copy shows is durable
      const bytes = await BackupBytes.open(draft);
      try {
        const { length, chunks, checksum } = await bytes.sum();
        const { cluster } = engine.settings;
        const address = lastAddress(dir) ?? "";
        const told = { backup, cluster, reign, lsn, createdNs, length, checksum, address, files };
        progress.copied(length);
        const made = await this.give({ manifest: told, chunks, bytes }, progress);
        const tookMs = Math.round(clock.monotonicMs() - startedMs);
        const servers = made.servers.join(",");
        logger.info("backed up the metadata", { servers, lsn, bytes: length, files, tookMs });
        this.onMade(startedMs, made);
        return made;
      } finally {
        await bytes.close();
      }
    } finally {
      await rm(draft, { force: true }); // not on the event loop: it may be large
    }
  }

  private async give(ready: ReadyBackup, progress: BackupProgress): Promise<Made> {
    const members = await this.takers();
    const onSent = (bytes: number): void => progress.sent(bytes);
    const distributed = await this.distribute(ready, members, this.wanted, onSent);
    return { ...distributed, manifest: ready.manifest, wanted: this.wanted };
  }

  private distribute(
    ready: ReadyBackup,
    members: readonly Member[],
    wanted: number,
    onSent?: (bytes: number) => void,
  ): Promise<Distributed> {
    const { commands, logger } = this.options;
    const onHeld = (member: Member): Promise<void> => this.onHeld(member, ready.manifest);
    return distribute(ready, { commands, logger, members, wanted, onSent, onHeld });
  }

  /** The servers that are connected, in the order in which they are asked to take a backup. */
  private async takers(): Promise<Member[]> {
    const { engine, members } = this.options;
    const rows = await engine.question(() => ask("server.list"));
    const connected = new Map(members.all().map((member) => [member.server, member]));
    const candidates = rows
      .filter(({ id }) => connected.has(id))
      .map(({ id, zone }) => ({
        server: id,
        zone,
        full: members.lastSign(id)?.condition.full ?? false,
      }));
    return backupOrder(candidates).map((server) => connected.get(server)!);
  }

  private async resend(
    manifest: BackupManifest,
    { good, bad, away }: Pick<Inspection, "good" | "bad" | "away">,
  ): Promise<void> {
    const { commands, logger } = this.options;
    await this.countWanted();
    const ready = await backupOn(manifest, good);
    const missing = Math.max(0, this.wanted - good.length - away.length);
    const holders = new Set([...good.map(({ server }) => server), ...away]);
    const rank = ({ server }: Member): number =>
      bad.some((each) => each.server === server) ? 0 : 1;
    const takers = (await this.takers())
      .filter(({ server }) => !holders.has(server))
      .toSorted((one, other) => rank(one) - rank(other));
    // What is damaged is in the way of what is right: also on a server that has a manifest it cannot read.
    const backups = [manifest.backup];
    for (const member of new Set([...bad, ...takers.slice(0, missing)])) {
      await commands.order(member, backupDelete, { backups }, { timeoutMs: QUESTION_TIMEOUT_MS });
      this.holdings.remove(member.server, backups);
    }
    if (missing === 0) return;
    if (takers.length === 0) {
      throw new DfsError("quorum", "no other data server is connected to take it");
    }
    const { servers, failures } = await this.distribute(ready, takers, missing);
    logger.info("sent the newest backup of the metadata again", { servers: servers.join(",") });
    if (servers.length >= missing) return;
    const reasons = failures.map(({ server, reason }) => `server ${server}: ${reason}`).join("; ");
    throw new DfsError(
      "quorum",
      `only ${good.length + servers.length} data servers take it${reasons === "" ? "" : ` (${reasons})`}`,
    );
  }

  private async onHeld(member: Member, manifest: BackupManifest): Promise<void> {
    const { commands, clock, logger } = this.options;
    const { server } = member;
    this.holdings.add(server, manifest);
    const { own, foreign } = this.holdings.of(server);
    const backups = surplusBackups(own, foreign, clock.nowNs());
    if (backups.length === 0) return;
    try {
      const options = { timeoutMs: QUESTION_TIMEOUT_MS };
      await commands.order(member, backupDelete, { backups }, options);
      this.holdings.remove(server, backups);
    } catch (error) {
      // They are only in the way: the next backup deletes them.
      logger.info(`data server ${server} could not delete old backups: ${messageOf(error)}`);
    }
  }

  /** Before any work is done: is there anybody to give it to? */
  private async requireSomebody(): Promise<void> {
    await this.countWanted();
    if (this.options.members.all().length > 0) return;
    throw new DfsError(
      "quorum",
      "cannot back up the metadata: no data server is connected\nstart the data servers: dfs server list shows them",
    );
  }

  /** Also waits until everything that was committed before is durable, and forgets what removed servers held. Returns the servers. */
  private async countWanted(): Promise<ServerId[]> {
    const rows = await this.options.engine.question(() => ask("server.list"));
    const servers = rows.map(({ id }) => id);
    this.holdings.keep(new Set(servers));
    this.wanted = Math.min(BACKUP_COPIES, servers.length);
    return servers;
  }

  private onMade(startedMs: number, { failures }: Made): void {
    this.failure = undefined;
    this.vanished = undefined;
    // A server that did not take it is not asked at every look whether it does now.
    this.retryAtMs = failures.length > 0 ? this.retryTime() : 0;
    if (this.changedMs !== undefined) this.changedMs = startedMs;
  }

  private onFailed(error: unknown): void {
    if (this.stopped) return;
    const { logger } = this.options;
    this.failure = messageOf(error).slice(0, 1000);
    this.retryAtMs = this.retryTime();
    const level = isDfsError(error, "quorum") ? "warn" : "error";
    logger[level](`the metadata could not be backed up: ${messageOf(error)}`);
  }

  private retryTime(): number {
    const { clock, intervalMs } = this.options;
    return clock.monotonicMs() + Math.min(RETRY_MS, intervalMs);
  }

  /** What `work` resolves with; undefined when that takes longer. */
  private async within<T>(work: Promise<T>, waitMs: number): Promise<T | undefined> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const timer = this.options.clock.setTimer(waitMs, () => resolve(undefined));
    try {
      return await Promise.race([work, promise]);
    } finally {
      timer.cancel();
    }
  }
}
