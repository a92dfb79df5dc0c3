/**
 * What a copy of the database has to forget before it takes the place of a newer one that is lost. The reasons are in
 * `../../acceptance.ts`; these are the statements, which go through whole tables.
 */
import type { Database } from "bun:sqlite";

/** Sessions that are still there when they should not be: 2 is `expired`. */
const END_SESSIONS = "UPDATE sessions SET state = 2, ended = ? WHERE state = 0";

const FORGET = [
  "DELETE FROM replies",
  "DELETE FROM reservations",
  "DELETE FROM opens",
  "DELETE FROM locks",
  "DELETE FROM lock_waits",
  // Files without a name that are not in the queue: they were open.
  `CREATE TEMP TABLE nameless AS
     SELECT id FROM inodes WHERE nlink = 0 AND id NOT IN (SELECT inode FROM reclaim)`,
  `CREATE TEMP TABLE released AS
     SELECT block AS id, count(*) AS refs FROM extents
     WHERE inode IN (SELECT id FROM nameless) GROUP BY block`,
  `UPDATE blocks SET refs = refs - (SELECT refs FROM released WHERE released.id = blocks.id)
     WHERE id IN (SELECT id FROM released)`,
  "DELETE FROM released WHERE id NOT IN (SELECT id FROM blocks WHERE refs = 0)",
  "DELETE FROM blocks WHERE id IN (SELECT id FROM released)",
  "DELETE FROM replicas WHERE block IN (SELECT id FROM released)",
  "DELETE FROM repairs WHERE block IN (SELECT id FROM released)",
  "DELETE FROM abandoned WHERE block IN (SELECT id FROM released)",
  "DELETE FROM extents WHERE inode IN (SELECT id FROM nameless)",
  "DELETE FROM xattrs WHERE inode IN (SELECT id FROM nameless)",
  "DELETE FROM symlinks WHERE inode IN (SELECT id FROM nameless)",
  "DELETE FROM inodes WHERE id IN (SELECT id FROM nameless)",
  "DROP TABLE nameless",
  "DROP TABLE released",
  // Copies of live blocks: 0 is `adding`, 2 is `removing`.
  "DELETE FROM replicas WHERE state IN (0, 2) AND block IN (SELECT id FROM blocks WHERE state = 0)",
  // What is on record for repair was judged by copies that have just been forgotten.
  "INSERT OR REPLACE INTO surveys (server, after) SELECT id, 0 FROM servers",
];

/** Forgets what may have become something else since the copy was made. To be called in a transaction. */
export function forgetUnsettled(database: Database, nowNs: bigint): void {
  database.prepare(END_SESSIONS).run(nowNs);
  for (const statement of FORGET) database.run(statement);
}
