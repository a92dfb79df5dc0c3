/**
 * What must hold in the metadata database after every transaction, checked on the tables themselves, independently of
 * the operations. Each check is a query that finds offenders.
 */
import type { Database } from "bun:sqlite";

interface Check {
  readonly name: string;
  readonly query: string;
}

const DIRECTORY = 4;
const FILE = 8;
const SYMLINK = 10;

const NAMESPACE: readonly Check[] = [
  {
    name: "the root is a directory that is its own parent",
    query: `SELECT 1 AS id WHERE NOT EXISTS (SELECT 1 FROM inodes WHERE id = 1 AND type = ${DIRECTORY} AND parent = 1)`,
  },
  {
    name: "every name leads to an inode of the same type",
    query: `SELECT d.inode AS id FROM dentries d LEFT JOIN inodes i ON i.id = d.inode WHERE i.id IS NULL OR i.type <> d.type`,
  },
  {
    name: "every name is in a directory that has a name itself",
    query: `SELECT d.parent AS id FROM dentries d LEFT JOIN inodes i ON i.id = d.parent
      WHERE i.id IS NULL OR i.type <> ${DIRECTORY} OR i.nlink = 0`,
  },
  {
    name: "nlink of what is no directory is its number of names",
    query: `SELECT id FROM inodes i WHERE type <> ${DIRECTORY}
      AND nlink <> (SELECT count(*) FROM dentries d WHERE d.inode = i.id)`,
  },
  {
    name: "nlink of a directory is 2 and one for each subdirectory",
    query: `SELECT id FROM inodes i WHERE type = ${DIRECTORY} AND nlink > 0
      AND nlink <> 2 + (SELECT count(*) FROM dentries d WHERE d.parent = i.id AND d.type = ${DIRECTORY})`,
  },
  {
    name: "a directory has one name, in the directory that it calls its parent",
    query: `SELECT id FROM inodes i WHERE type = ${DIRECTORY} AND id <> 1 AND nlink > 0
      AND (SELECT group_concat(d.parent) FROM dentries d WHERE d.inode = i.id) IS NOT CAST(i.parent AS TEXT)`,
  },
  {
    name: "everything with a name can be reached from the root",
    query: `WITH RECURSIVE reached (id) AS (SELECT 1 UNION SELECT d.inode FROM dentries d JOIN reached r ON d.parent = r.id)
      SELECT id FROM inodes WHERE nlink > 0 AND id NOT IN (SELECT id FROM reached)`,
  },
  {
    name: "an inode without a name is open or waits to be reclaimed, not both",
    query: `SELECT id FROM inodes i WHERE nlink = 0 AND
      (EXISTS (SELECT 1 FROM opens o WHERE o.inode = i.id)) = (EXISTS (SELECT 1 FROM reclaim r WHERE r.inode = i.id))`,
  },
  {
    name: "what waits to be reclaimed has no name",
    query: `SELECT r.inode AS id FROM reclaim r LEFT JOIN inodes i ON i.id = r.inode WHERE i.nlink IS NOT 0`,
  },
  {
    name: "symbolic links have a target of their size, and nothing else has one",
    query: `SELECT id FROM inodes i LEFT JOIN symlinks s ON s.inode = i.id
      WHERE (i.type = ${SYMLINK}) <> (s.inode IS NOT NULL) OR (s.inode IS NOT NULL AND length(s.target) <> i.size)
      UNION ALL SELECT inode FROM symlinks WHERE inode NOT IN (SELECT id FROM inodes)`,
  },
  {
    name: "extended attributes belong to an inode",
    query: `SELECT inode AS id FROM xattrs WHERE inode NOT IN (SELECT id FROM inodes)`,
  },
  {
    name: "mode, version and size are in their domain",
    query: `SELECT id FROM inodes WHERE mode NOT BETWEEN 0 AND 4095 OR version < 1 OR size < 0 OR nlink < 0`,
  },
];

const CONTENT: readonly Check[] = [
  {
    name: "extents belong to regular files",
    query: `SELECT e.inode AS id FROM extents e LEFT JOIN inodes i ON i.id = e.inode WHERE i.type IS NOT ${FILE}`,
  },
  {
    name: "extents do not overlap and are not empty",
    query: `SELECT inode AS id FROM (SELECT inode, offset, length,
        lead(offset) OVER (PARTITION BY inode ORDER BY offset) AS next FROM extents)
      WHERE length < 1 OR offset + length > next`,
  },
  {
    name: "no extent reaches beyond the file",
    query: `SELECT e.inode AS id FROM extents e JOIN inodes i ON i.id = e.inode
      WHERE e.offset + e.length > i.size AND e.inode NOT IN (SELECT inode FROM reclaim)
        AND e.offset < ifnull((SELECT start FROM cuts c WHERE c.inode = e.inode), e.offset + 1)`,
  },
  {
    name: "what is cut off a file begins behind its end",
    query: `SELECT c.inode AS id FROM cuts c JOIN inodes i ON i.id = c.inode WHERE c.start < i.size`,
  },
  {
    name: "no extent crosses a multiple of the block size",
    query: `SELECT inode AS id FROM extents WHERE offset / $blockSize <> (offset + length - 1) / $blockSize`,
  },
  {
    name: "allocated is the sum of the extents",
    query: `SELECT id FROM inodes i WHERE id NOT IN (SELECT inode FROM reclaim)
      AND allocated <> (SELECT ifnull(sum(length), 0) FROM extents e WHERE e.inode = i.id)`,
  },
  {
    name: "extents lie inside live blocks",
    query: `SELECT e.block AS id FROM extents e LEFT JOIN blocks b ON b.id = e.block
      WHERE b.state IS NOT 0 OR e.block_offset < 0 OR e.block_offset + e.length > b.length`,
  },
  {
    name: "refs is the number of extents; live blocks have some, dead ones none and a time of death",
    query: `SELECT id FROM blocks b WHERE refs <> (SELECT count(*) FROM extents e WHERE e.block = b.id)
      OR (state = 0) <> (refs > 0) OR (state = 1) <> (died IS NOT NULL)`,
  },
  {
    name: "replicas belong to known blocks and servers",
    query: `SELECT block AS id FROM replicas
      WHERE block NOT IN (SELECT id FROM blocks) OR server NOT IN (SELECT id FROM servers)`,
  },
  {
    name: "a live block has a present copy; all copies of a dead one are to be removed",
    query: `SELECT id FROM blocks b WHERE
      (state = 0 AND NOT EXISTS (SELECT 1 FROM replicas r WHERE r.block = b.id AND r.state = 1))
      OR (state = 1 AND EXISTS (SELECT 1 FROM replicas r WHERE r.block = b.id AND r.state <> 2))`,
  },
  {
    name: "missing copies of live blocks are on record, and no others",
    query: `SELECT b.id FROM blocks b LEFT JOIN repairs p ON p.block = b.id
      WHERE ifnull(p.missing, 0) <> CASE WHEN b.state = 1 THEN 0 ELSE
        max(0, $replicas - (SELECT count(*) FROM replicas r JOIN servers s ON s.id = r.server
          WHERE r.block = b.id AND r.state = 1 AND s.state <> 3)) END
      UNION ALL SELECT block FROM repairs WHERE block NOT IN (SELECT id FROM blocks)`,
  },
];

const LOCKS: readonly Check[] = [
  {
    name: "locks and waits belong to live sessions",
    query: `SELECT inode AS id FROM (SELECT inode, session FROM locks UNION ALL SELECT inode, session FROM lock_waits)
      WHERE session NOT IN (SELECT id FROM sessions WHERE state = 0 UNION ALL SELECT session FROM ending)`,
  },
  {
    name: "locks of different owners do not exclude one another, and those of one do not overlap",
    query: `SELECT a.inode AS id FROM locks a JOIN locks b ON a.inode = b.inode AND a.kind = b.kind
      AND (a.session, a.owner, a.start) < (b.session, b.owner, b.start) AND a.start <= b.end AND b.start <= a.end
      WHERE a.type = 2 OR b.type = 2 OR (a.session = b.session AND a.owner = b.owner)`,
  },
  {
    name: "a lock is in the way of whoever waits",
    query: `SELECT inode AS id FROM lock_waits w WHERE session NOT IN (SELECT session FROM ending) AND NOT EXISTS (SELECT 1 FROM locks l
      WHERE l.inode = w.inode AND l.kind = w.kind AND (l.session, l.owner) <> (w.session, w.owner)
        AND l.start <= w.end AND w.start <= l.end AND (l.type = 2 OR w.type = 2))`,
  },
];

const FORGOTTEN: readonly Check[] = [
  {
    name: "what is forgotten has no block",
    query: `SELECT b.id FROM forgotten f JOIN blocks b ON b.id BETWEEN f.first AND f.last`,
  },
  {
    name: "what was given up belongs to a live block",
    query: `SELECT block AS id FROM abandoned WHERE block NOT IN (SELECT id FROM blocks WHERE state = 0)`,
  },
  {
    name: "spans of forgotten ids neither overlap nor touch",
    query: `SELECT first AS id FROM (SELECT first, last, lead(first) OVER (ORDER BY first) AS next FROM forgotten)
      WHERE last < first OR last + 1 >= next`,
  },
];

const SESSIONS: readonly Check[] = [
  {
    name: "open inodes exist and are open in a live session",
    query: `SELECT o.inode AS id FROM opens o LEFT JOIN sessions s ON s.id = o.session
      WHERE s.state IS NOT 0 OR o.count < 1 OR o.inode NOT IN (SELECT id FROM inodes)`,
  },
  {
    name: "replies are kept for live sessions, above what was acknowledged",
    query: `SELECT r.session AS id FROM replies r LEFT JOIN sessions s ON s.id = r.session
      WHERE r.operation <= s.acknowledged
        OR (s.state IS NOT 0 AND r.session NOT IN (SELECT session FROM ending))`,
  },
  {
    name: "a reservation is ended exactly when its session is",
    query: `SELECT first AS id FROM reservations r LEFT JOIN sessions s ON s.id = r.session
      LEFT JOIN ending e ON e.session = r.session
      WHERE (s.state IS 0 OR ifnull(r.first > e.after, 0)) <> (r.ended IS NULL)`,
  },
  {
    name: "what is still to be cleared belongs to sessions that have ended",
    query: `SELECT session AS id FROM ending WHERE session NOT IN (SELECT id FROM sessions WHERE state <> 0)`,
  },
];

/** The invariants that do not hold, each with the ids of some offenders. Empty when all is well. */
export function brokenInvariants(
  database: Database,
  settings: { readonly blockSize: number; readonly replicas: number },
): string[] {
  const problems: string[] = [];
  for (const { name, query } of [...NAMESPACE, ...CONTENT, ...LOCKS, ...FORGOTTEN, ...SESSIONS]) {
    const wanted = Object.entries(settings).filter(([key]) => query.includes(`$${key}`));
    const found = database
      .prepare<{ id: bigint }, [Record<string, number>]>(`${query} LIMIT 5`)
      .all(Object.fromEntries(wanted) as Record<string, number>);
    if (found.length > 0) problems.push(`${name}: ${found.map((row) => row.id).join(", ")}`);
  }
  return [...problems, ...committedReservedIds(database)];
}

/** An id that is not marked as used in its reservation must not be a block, nor be dead for good. */
function committedReservedIds(database: Database): string[] {
  const rows = database
    .prepare<{ first: bigint; count: bigint; used: Uint8Array }, []>(
      "SELECT first, count, used FROM reservations",
    )
    .all();
  const block = database.prepare<{ id: bigint }, [bigint]>("SELECT id FROM blocks WHERE id = ?");
  const forgotten = database.prepare<{ first: bigint }, [bigint]>(
    "SELECT first FROM forgotten WHERE ? BETWEEN first AND last",
  );
  const problems: string[] = [];
  for (const { first, count, used } of rows) {
    for (let index = 0; index < Number(count); index++) {
      const marked = ((used[index >> 3] ?? 0) & (1 << (index & 7))) !== 0;
      const id = first + BigInt(index);
      if (!marked && block.get(id) !== null)
        problems.push(`block ${id} lives but counts as unused`);
      if (!marked && forgotten.get(id) !== null)
        problems.push(`block ${id} is forgotten and may still be committed`);
    }
  }
  return problems;
}
