/**
 * Rebuilding the database after a failed sync.
 *
 * When a sync fails, the kernel may hold pages that it believes to be on disk and that are not. The process ends and
 * leaves a marker. The next start reads the database as the kernel shows it, writes all of it into a new file, makes that
 * durable and puts it in the old one's place. The marker itself need not be durable: after a power cut the kernel has
 * forgotten its wrong beliefs, and what is on disk is the truth, none of which was ever promised to anybody and lost.
 *
 *     rebuild-needed   the marker; its text is the reason
 *     rebuilding.db    a copy being made; worthless
 *     rebuilt.db       a whole, durable copy that is to replace the database; the old one is not needed any more
 *
 * Whatever moment a crash chooses, a start goes on from what it finds: `rebuilt.db` is put in place, else a marker
 * begins anew.
 */
import { Database } from "bun:sqlite";
import { existsSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DfsError, messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { readIfThere, removeDurably, renameDurably, syncPath } from "./durable-file.ts";

const MARKER = "rebuild-needed";
const DRAFT = "rebuilding.db";
const REBUILT = "rebuilt.db";

/** The database file in a metadata server's directory. */
export const DATABASE_FILE = "meta.db";

/** Leaves the marker, so that the next start rebuilds the database of `dir`. */
export function markForRebuild(dir: string, reason: string): void {
  writeFileSync(join(dir, MARKER), `${reason}\n`);
}

/**
 * Rebuilds the database of `dir` if that is needed. The caller owns the directory and has not opened the database.
 * @returns true when it was rebuilt.
 * @throws DfsError `io` when the copy cannot be made; the marker stays.
 */
export function rebuildIfNeeded(dir: string, logger: Logger): boolean {
  const reason = readIfThere(join(dir, MARKER));
  const finished = existsSync(join(dir, REBUILT));
  if (reason === undefined && !finished) return false;
  if (!finished) {
    logger.warn("rebuilding the metadata database", { reason: reason?.trim() });
    copyDatabase(dir);
  }
  replaceDatabase(dir);
  logger.info("the metadata database has been rebuilt");
  return true;
}

function copyDatabase(dir: string): void {
  const draft = join(dir, DRAFT);
  removeDurably(draft);
  try {
    const database = new Database(join(dir, DATABASE_FILE), { create: false, readwrite: true });
    try {
      database.run("PRAGMA wal_autocheckpoint = 0");
      database.query("VACUUM INTO ?").run(draft);
    } finally {
      database.close();
    }
    syncPath(draft);
  } catch (error) {
    throw new DfsError(
      "io",
      `cannot rebuild the metadata database in ${dir}: ${messageOf(error)}\n` +
        "check the disk (dmesg, smartctl) and its free space, then start again",
      { cause: error },
    );
  }
  renameDurably(draft, join(dir, REBUILT));
}

/** The old log goes before the new file comes: SQLite would apply it to whatever database lies beside it. */
function replaceDatabase(dir: string): void {
  const path = join(dir, DATABASE_FILE);
  removeDurably(`${path}-wal`);
  removeDurably(`${path}-shm`);
  renameSync(join(dir, REBUILT), path);
  syncPath(dir);
  removeDurably(join(dir, MARKER));
}
