/**
 * The metadata database in a server's directory: formatting it, opening it, making sure that it is whole.
 *
 *     meta.db, meta.db-wal, meta.db-shm   the database, SQLite's files
 *     formatting.db                       a new database that is not complete yet; worthless
 *
 * The caller owns the directory (its lock) and has finished what a rebuild may have left (`rebuild.ts`).
 */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { DfsError, messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Random } from "../../base/random.ts";
import type { ClusterSettings } from "../../protocol/messages/common.ts";
import { removeDurably, renameDurably, syncPath } from "./durable-file.ts";
import { lastAddress } from "./listen-address.ts";
import { formatNamespace, type RootOwner } from "./namespace/operations.ts";
import { DATABASE_FILE } from "./rebuild.ts";
import {
  checkWish,
  loadSettings,
  newSettings,
  storeSettings,
  type SettingsWish,
} from "./settings.ts";
import { createSqliteStore, openSqliteStore, type SqliteStore } from "./store/sqlite/store.ts";
import { runSync } from "./store/store.ts";

const DRAFT = "formatting.db";

/** What may be in a directory that becomes a new cluster's: the lock, a draft, what a fresh file system has. */
const FIRST_FILES: ReadonlySet<string> = new Set([
  "lock",
  "lost+found",
  ...["", "-wal", "-shm"].map((suffix) => DRAFT + suffix),
]);

export interface OpenDatabase {
  readonly store: SqliteStore;
  readonly settings: ClusterSettings;
}

export interface DatabaseOptions {
  readonly dir: string;
  readonly wish: SettingsWish;
  /** Of the root directory, when the cluster is formatted. */
  readonly owner: RootOwner;
  readonly nowNs: bigint;
  readonly random: Random;
  readonly logger: Logger;
}

/**
 * Opens the database of a directory, and formats it first when the directory is new.
 * @throws DfsError `usage` for impossible settings or others than those formatted, and for a directory without a database
 * that is not empty; `invalid` for a database that is
 * damaged or not one of dfs; `unsupported` for one of another version; `notFound` when it has vanished.
 */
export function openDatabase(options: DatabaseOptions): OpenDatabase {
  const { dir } = options;
  const path = join(dir, DATABASE_FILE);
  if (!existsSync(path)) {
    refuseVanished(dir);
    refuseForeign(dir);
    makeDatabase(options);
  }
  const store = openSqliteStore(path);
  try {
    checkIntegrity(store);
    const settings = runSync(store.primitives, loadSettings());
    checkWish(options.wish, settings, dir);
    settle(store);
    return { store, settings };
  } catch (error) {
    store.close();
    throw error;
  }
}

function makeDatabase({ dir, wish, owner, nowNs, random, logger }: DatabaseOptions): void {
  const settings = newSettings(wish, random);
  const draft = join(dir, DRAFT);
  for (const suffix of ["", "-wal", "-shm"]) removeDurably(draft + suffix);
  const store = createSqliteStore(draft);
  store.transaction(() => {
    runSync(store.primitives, storeSettings(settings));
    runSync(store.primitives, formatNamespace(nowNs, owner));
  });
  settle(store);
  store.close();
  for (const suffix of ["-wal", "-shm"]) removeDurably(draft + suffix);
  syncPath(draft);
  renameDurably(draft, join(dir, DATABASE_FILE));
  logger.info("formatted a new cluster", {
    cluster: settings.cluster.toHex(),
    blockSize: settings.blockSize,
    replicas: settings.replicas,
  });
}

/**
 * Copies the whole log into the database file, both made durable. After a crash of the process the log may hold commits
 * that the disk has not seen; from here on what can be read is durable.
 */
function settle(store: SqliteStore): void {
  const counts = store.database
    .query<{ busy: bigint }, []>("PRAGMA wal_checkpoint(TRUNCATE)")
    .get();
  if (counts?.busy === 0n) return;
  throw new DfsError(
    "locked",
    `cannot open ${store.path}: another program is using it; end that program and start again`,
  );
}

function checkIntegrity(store: SqliteStore): void {
  let found: string;
  try {
    const row = store.database.query<{ quick_check: string }, []>("PRAGMA quick_check(1)").get();
    found = row?.quick_check ?? "no answer";
  } catch (error) {
    found = messageOf(error);
  }
  if (found === "ok") return;
  throw damaged(store.path, found);
}

/** What SQLite says may have several lines; commands show three in all, and the last one is what to do. */
function damaged(path: string, how: string): DfsError {
  const words = how.split("\n").filter((line) => line !== "" && !line.startsWith("***"));
  return new DfsError(
    "invalid",
    `the metadata database ${path} is damaged: ${words.join("; ")}\n` +
      "move its directory away and bring the newest backup back from the data servers, into a new one:\n" +
      "dfs meta restore --dir DIR --from HOST:PORT[,HOST:PORT]",
  );
}

/** A directory that has served before is never formatted anew: its data servers would lose their cluster. */
function refuseVanished(dir: string): void {
  if (lastAddress(dir) === undefined) return;
  throw new DfsError(
    "notFound",
    `cannot start: ${dir} has served a cluster before, but its database ${DATABASE_FILE} is gone\n` +
      "put the database back, or bring a backup back from the data servers, into another directory:\n" +
      "dfs meta restore --dir DIR --from HOST:PORT[,HOST:PORT]; for a new cluster use an empty directory",
  );
}

/** A new cluster in the midst of other files would be a mistake, worst of all in a data server's directory. */
function refuseForeign(dir: string): void {
  const foreign = readdirSync(dir).find((name) => !FIRST_FILES.has(name));
  if (foreign === undefined) return;
  throw new DfsError(
    "usage",
    `cannot start a metadata server in ${dir}: it is not empty (${foreign} is in it) and has no ${DATABASE_FILE}\n` +
      "give the server a directory of its own",
  );
}
