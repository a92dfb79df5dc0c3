/**
 * The SQLite engine of the metadata store: opens or formats a database file and answers primitives with prepared
 * statements.
 *
 * Settings that the rest relies on: WAL with synchronous=NORMAL, so that a commit does not wait for the disk (whoever
 * answers clients syncs the WAL file first); automatic checkpoints off, because checkpoints are scheduled elsewhere;
 * no other code of this process may open and close the database's files, which would drop SQLite's locks.
 *
 * Statements write `= +?` beside ORDER BY and `LIMIT +?`: for a bare parameter there SQLite peeks at its value to plan and
 * compiles the statement anew whenever another one is bound (seen with 3.54.1: 4 us instead of 0.5). The plus is no
 * arithmetic and does not keep an index from being used.
 */
import { Database, type Statement } from "bun:sqlite";
import { DfsError, messageOf } from "../../../../base/errors.ts";
import type { Primitives, SyncStore } from "../store.ts";
import { clusterPrimitives } from "./cluster.ts";
import { blockPrimitives } from "./content.ts";
import { lockPrimitives } from "./locks.ts";
import { queuePrimitives } from "./queues.ts";
import { refillPrimitives } from "./refills.ts";
import { ADDED_TABLES, APPLICATION_ID, OLDEST_VERSION, SCHEMA, SCHEMA_VERSION } from "./schema.ts";
import { sessionPrimitives } from "./sessions.ts";
import { treePrimitives } from "./tree.ts";

/** Page cache of the connection, in KiB. */
const CACHE_KIB = 64 * 1024;

/** How long to wait for a lock that a checkpoint or backup of another thread holds. */
const BUSY_TIMEOUT_MS = 10_000;

/** An open SQLite database. */
export interface SqliteStore extends SyncStore {
  readonly path: string;
  /** For checkpoints, backups and pragmas; operations never see it. */
  readonly database: Database;
}

/**
 * Makes a new database with empty tables at `path` (`:memory:` for one that is not kept).
 * @throws DfsError `exists` when the file holds a database already.
 */
export function createSqliteStore(path: string): SqliteStore {
  const database = openDatabase(path, true);
  try {
    if (pragma(database, "application_id") !== 0 || hasTables(database)) {
      throw new DfsError("exists", `cannot format ${path}: it holds a database already`);
    }
    database.transaction(() => {
      database.run(SCHEMA);
      database.run(ADDED_TABLES);
      database.run(`PRAGMA application_id = ${APPLICATION_ID}`);
      database.run(`PRAGMA user_version = ${SCHEMA_VERSION}`);
    })();
    return storeOf(path, database);
  } catch (error) {
    database.close();
    throw error;
  }
}

/**
 * Opens the database at `path`.
 * @throws DfsError `notFound` when there is none, `invalid` when it is not one of dfs, `unsupported` when its tables
 * are of a version that this build does not know.
 */
export function openSqliteStore(path: string): SqliteStore {
  const database = openDatabase(path, false);
  try {
    checkFormat(path, database);
    database.transaction(() => {
      database.run(ADDED_TABLES);
      database.run(`PRAGMA user_version = ${SCHEMA_VERSION}`);
    })();
    return storeOf(path, database);
  } catch (error) {
    database.close();
    throw error;
  }
}

function openDatabase(path: string, create: boolean): Database {
  let database: Database;
  try {
    database = new Database(path, { create, readwrite: true, strict: true, safeIntegers: true });
  } catch (error) {
    throw new DfsError(
      "notFound",
      `cannot open the metadata database ${path}: ${messageOf(error)}`,
      { cause: error },
    );
  }
  finalizeOnClose(database);
  try {
    database.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
    database.run("PRAGMA journal_mode = WAL");
    database.run("PRAGMA synchronous = NORMAL");
    database.run("PRAGMA wal_autocheckpoint = 0");
    database.run("PRAGMA trusted_schema = OFF");
    database.run(`PRAGMA cache_size = -${CACHE_KIB}`);
    return database;
  } catch (error) {
    database.close();
    throw new DfsError("invalid", `cannot use ${path} as a database: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function checkFormat(path: string, database: Database): void {
  if (pragma(database, "application_id") !== APPLICATION_ID) {
    throw new DfsError("invalid", `${path} is not a metadata database of dfs`);
  }
  const version = pragma(database, "user_version");
  if (version < OLDEST_VERSION || version > SCHEMA_VERSION) {
    throw new DfsError(
      "unsupported",
      `cannot use the metadata database ${path}: its tables have version ${version}, this build knows ${SCHEMA_VERSION}\n` +
        (version > SCHEMA_VERSION
          ? "start it with the newer dfs that wrote it"
          : "start it once with the dfs that wrote it and make a backup, then upgrade step by step"),
      { details: { version } },
    );
  }
}

function storeOf(path: string, database: Database): SqliteStore {
  const primitives: Primitives = {
    ...treePrimitives(database),
    ...blockPrimitives(database),
    ...queuePrimitives(database),
    ...refillPrimitives(database),
    ...sessionPrimitives(database),
    ...lockPrimitives(database),
    ...clusterPrimitives(database),
  };
  const begin = database.prepare("BEGIN IMMEDIATE");
  const commit = database.prepare("COMMIT");
  const rollback = database.prepare("ROLLBACK");
  const store: SqliteStore = {
    path,
    database,
    primitives,
    begin: () => void begin.run(),
    commit: () => void commit.run(),
    rollback: () => {
      if (database.inTransaction) rollback.run();
    },
    savepoint: savepointOf(database),
    transaction: (work) => {
      begin.run();
      try {
        const result = work();
        commit.run();
        return result;
      } catch (error) {
        store.rollback();
        throw error;
      }
    },
    close: () => database.close(),
  };
  return store;
}

/**
 * Makes `close` finalize every statement that is prepared from here on. SQLite keeps the files of a closed database open,
 * and its log beside it, as long as there is a statement left.
 */
export function finalizeOnClose(database: Database): void {
  const statements: Statement[] = [];
  const prepare = database.prepare.bind(database) as (sql: string) => Statement;
  const close = database.close.bind(database);
  database.prepare = ((sql: string) => {
    const statement = prepare(sql);
    statements.push(statement);
    return statement;
  }) as Database["prepare"];
  database.close = () => {
    for (const statement of statements.splice(0)) statement.finalize();
    close();
  };
}

function savepointOf(database: Database): SyncStore["savepoint"] {
  const set = database.prepare("SAVEPOINT operation");
  const release = database.prepare("RELEASE operation");
  const undo = database.prepare("ROLLBACK TO operation");
  return (work) => {
    set.run();
    try {
      const result = work();
      release.run();
      return result;
    } catch (error) {
      // After some errors (a full disk) SQLite has already ended the whole transaction.
      if (database.inTransaction) {
        undo.run();
        release.run();
      }
      throw error;
    }
  };
}

function pragma(database: Database, name: string): number {
  const row = database.prepare<Record<string, bigint>, []>(`PRAGMA ${name}`).get();
  return Number(row?.[name] ?? 0n);
}

function hasTables(database: Database): boolean {
  return database.prepare("SELECT 1 FROM sqlite_schema LIMIT 1").get() !== null;
}
