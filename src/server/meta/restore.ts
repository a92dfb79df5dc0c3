/**
 * Brings the metadata back from the backups on data servers, into a fresh directory.
 *
 * Steps: ask the servers what they hold; fetch the newest backup, every chunk verified; check the database as a whole;
 * accept it as an older copy (acceptance.ts), so that data servers go along with it; and only then give it its name. What
 * happens before that is done in `restoring.db`, which is worthless: a restore that was interrupted is begun anew.
 */
import { mkdirSync, readdirSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { backupName, chunkCount } from "../../base/backup.ts";
import { systemClock, type Clock } from "../../base/clock.ts";
import { lockDirectory } from "../../base/directory-lock.ts";
import { DfsError, isDfsError, messageOf, systemCodeOf } from "../../base/errors.ts";
import { silentLogger, type Logger } from "../../base/logger.ts";
import { BACKUP_CHUNK_BYTES } from "../../base/limits.ts";
import { systemRandom, type Random } from "../../base/random.ts";
import type { BackupManifest } from "../../protocol/messages/backup.ts";
import { clusterIdOf } from "../../protocol/messages/common.ts";
import type { Transport } from "../../protocol/transport.ts";
import { tcpTransport } from "../../protocol/transports/tcp.ts";
import { acceptOlder } from "./acceptance.ts";
import { fetchChunk, surveySources, type OfferedBackup, type Source } from "./backup/sources.ts";
import { removeDurably, renameDurably, syncPath } from "./durable-file.ts";
import { LSN_COUNTER } from "./group-commit.ts";
import { DATABASE_FILE } from "./rebuild.ts";
import { loadSettings } from "./settings.ts";
import { openSqliteStore, type SqliteStore } from "./store/sqlite/store.ts";
import { runSync } from "./store/store.ts";

const DRAFT = "restoring.db";
const DRAFT_FILES: readonly string[] = ["", "-wal", "-shm", "-journal"].map((end) => DRAFT + end);

/** What may be in a directory that is restored into. */
const NOTHING: ReadonlySet<string> = new Set(["lock", "lost+found", ...DRAFT_FILES]);

export interface RestoreOptions {
  /** Addresses of data servers. */
  readonly from: readonly string[];
  /** The cluster key. */
  readonly key?: Uint8Array | undefined;
  /** Told of what is not as it should be and does not stop the restore. */
  readonly onWarning: (message: string) => void;
  readonly signal?: AbortSignal | undefined;
  // Seams.
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
  readonly transport?: Transport;
}

export interface RestoreInto extends RestoreOptions {
  /** Missing or empty. */
  readonly dir: string;
  /** Which backup; left out: the newest that can be read. */
  readonly backup?: bigint | undefined;
  /** Told how much of the backup has been fetched. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/** A backup on data servers. */
export interface FoundBackup {
  readonly manifest: BackupManifest;
  readonly ageMs: number;
  readonly holders: readonly Pick<Source, "server" | "address" | "state">[];
}

export interface Restored extends FoundBackup {
  /** Backups that are newer, and could not be read or were not wanted. */
  readonly newer: number;
}

/**
 * The backups on these data servers, the newest first, each read whole where it lies.
 * @throws DfsError `unreachable`, `wrongCluster`, `unauthorized`, `notFound` when there is none.
 */
export async function listBackups(options: RestoreOptions): Promise<FoundBackup[]> {
  const seams = seamsOf(options);
  const offer = await surveySources({ ...options, ...seams, key: options.key, verify: true });
  offer.close();
  return offer.backups.map((each) => foundBackup(each, seams.clock));
}

/**
 * Restores into a directory, which a metadata server can then be started on.
 * @throws DfsError `usage` when the directory is not empty; `locked`; as `listBackups`; `notFound` for a backup that
 * nobody has; `io` when none can be read or the disk fails; `cancelled`.
 */
export async function restoreMetadata(options: RestoreInto): Promise<Restored> {
  const { dir } = options;
  const seams = seamsOf(options);
  refuseFilled(dir);
  const offer = await surveySources({ ...options, ...seams, key: options.key, verify: false });
  try {
    const wanted = wantedBackups(offer.backups, options.backup);
    makeDirectory(dir);
    const lock = lockDirectory(dir);
    try {
      refuseFilled(dir);
      const taken = await fetchFirst(wanted, options, seams);
      renameDurably(join(dir, DRAFT), join(dir, DATABASE_FILE));
      const newer = offer.backups.indexOf(taken);
      return { ...foundBackup(taken, seams.clock), newer };
    } catch (error) {
      for (const name of DRAFT_FILES) removeDurably(join(dir, name));
      throw error;
    } finally {
      lock.release();
    }
  } catch (error) {
    throw asDfsError(dir, error);
  } finally {
    offer.close();
  }
}

type Seams = Required<Pick<RestoreOptions, "clock" | "random" | "logger" | "transport">>;

function seamsOf(options: RestoreOptions): Seams {
  const clock = options.clock ?? systemClock;
  return {
    clock,
    random: options.random ?? systemRandom,
    logger: options.logger ?? silentLogger,
    transport: options.transport ?? tcpTransport(clock),
  };
}

function foundBackup({ manifest, sources }: OfferedBackup, clock: Clock): FoundBackup {
  const ageMs = Math.max(0, Number((clock.nowNs() - manifest.createdNs) / 1_000_000n));
  const holders = sources
    .map(({ server, address, state }) => ({ server, address, state }))
    .toSorted((one, other) => (one.server ?? 0) - (other.server ?? 0));
  return { manifest, ageMs, holders };
}

function wantedBackups(
  offered: readonly OfferedBackup[],
  backup: bigint | undefined,
): readonly OfferedBackup[] {
  if (backup === undefined) return offered;
  const found = offered.filter(({ manifest }) => manifest.backup === backup);
  if (found.length > 0) return found;
  throw new DfsError(
    "notFound",
    `cannot restore: none of the data servers holds backup ${backupName(backup)}\n` +
      "dfs meta restore --list shows those that they hold",
  );
}

/** The first backup that can be read as a whole; it is then in the draft, durable and accepted. */
async function fetchFirst(
  wanted: readonly OfferedBackup[],
  options: RestoreInto,
  seams: Seams,
): Promise<OfferedBackup> {
  let last: unknown;
  for (const offered of wanted) {
    try {
      await fetchInto(join(options.dir, DRAFT), offered, options);
      accept(join(options.dir, DRAFT), offered.manifest, seams);
      return offered;
    } catch (error) {
      if (!isDfsError(error) || error.kind === "cancelled") throw error;
      last = error;
      if (wanted.length > 1) options.onWarning(`${error.message}; trying the one before`);
    }
  }
  if (wanted.length === 1) throw last;
  throw new DfsError("io", "cannot restore: none of the backups can be read as it was written");
}

async function fetchInto(
  path: string,
  offered: OfferedBackup,
  options: RestoreInto,
): Promise<void> {
  const { onProgress, signal } = options;
  const usable = [...offered.sources];
  const { length } = offered.manifest;
  const file = await open(path, "w", 0o600);
  try {
    for (let chunk = 0; chunk < chunkCount(length); chunk++) {
      if (signal?.aborted === true) throw new DfsError("cancelled", "the restore was interrupted");
      const bytes = await fetchChunk(offered, chunk, usable, options);
      for (let at = 0; at < bytes.length;) {
        const rest = bytes.length - at;
        at += (await file.write(bytes, at, rest, chunk * BACKUP_CHUNK_BYTES + at)).bytesWritten;
      }
      onProgress?.(chunk * BACKUP_CHUNK_BYTES + bytes.length, length);
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Checks the database in `path`, and accepts it. @throws DfsError `io` when it is not what its manifest says. */
function accept(path: string, manifest: BackupManifest, { clock, random }: Seams): void {
  const store = openSqliteStore(path);
  try {
    checkWhole(store, manifest);
    acceptOlder(store, random, clock.nowNs());
    store.database.run("PRAGMA wal_checkpoint(TRUNCATE)");
  } finally {
    store.close();
  }
  for (const end of ["-wal", "-shm"]) removeDurably(path + end);
  syncPath(path);
}

function checkWhole(store: SqliteStore, manifest: BackupManifest): void {
  const { primitives, database } = store;
  const found = database
    .query<{ integrity_check: string }, []>("PRAGMA integrity_check(1)")
    .get()?.integrity_check;
  const settings = runSync(primitives, loadSettings());
  const cluster = clusterIdOf(settings.cluster);
  const lsn = primitives["counter.get"](LSN_COUNTER);
  const reign = primitives["reign.last"]()?.reign;
  const wrong =
    found !== "ok"
      ? (found ?? "SQLite does not answer")
      : cluster !== clusterIdOf(manifest.cluster)
        ? `it is of cluster ${cluster}`
        : lsn !== manifest.lsn || reign !== manifest.reign
          ? `it shows position ${lsn} of reign ${reign ?? "none"}`
          : undefined;
  if (wrong === undefined) return;
  throw new DfsError(
    "io",
    `backup ${backupName(manifest.backup)} is not what it should be: ${wrong}`,
  );
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

/** What is there is never replaced: it may be newer than any backup. */
function refuseFilled(dir: string): void {
  let names: string[];
  try {
    names = readdirSync(dir);
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === "ENOENT") return;
    const why = code === "ENOTDIR" ? "something else is there" : messageOf(error);
    throw new DfsError("invalid", `cannot use ${dir} as a directory: ${why}`, { cause: error });
  }
  const found = names.find((name) => !NOTHING.has(name));
  if (found === undefined) return;
  throw new DfsError(
    "usage",
    `cannot restore into ${dir}: it is not empty (${found} is in it), and nothing is ever restored over something\n` +
      "name a directory that is missing or empty; keep the old one, it may hold what the backup lacks",
  );
}

function asDfsError(dir: string, error: unknown): DfsError {
  if (isDfsError(error)) return error;
  if (systemCodeOf(error) === "ENOSPC") {
    return new DfsError(
      "noSpace",
      `cannot restore into ${dir}: its disk is full; nothing is restored\n` +
        "make room there, or name a directory on another disk",
      { cause: error },
    );
  }
  return new DfsError("io", `cannot restore into ${dir}: ${messageOf(error)}`, { cause: error });
}
