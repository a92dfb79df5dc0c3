/**
 * What fsck asks of the whole record: queries over all rows, for a connection in a thread of its own.
 *
 * Each check is one query, and so sees one moment: an operation that runs meanwhile is seen whole or not at all, and a
 * sound database has no finding however busy it is. Numbers in the queries are those of `schema.ts`.
 */
import type { Database } from "bun:sqlite";
import type { FsckKind } from "../../../../protocol/messages/fsck.ts";

/** Findings of one check that are told; a record with more damage than that is not mended one by one. */
export const MOST_OF_A_CHECK = 10_000;

const DIRECTORY = 4;
const FILE = 8;
const OUT = 3;

/** All directories. A name says a type as well, which may be wrong. */
export const DIRECTORIES = `(SELECT id FROM inodes WHERE type = ${DIRECTORY})`;

/** Condition for an extent `e` that is a part of its file: what has been cut off and is still to be removed is none. */
export const IS_PART = `e.offset < ifnull((SELECT start FROM cuts c WHERE c.inode = e.inode), e.offset + 1)`;

/** What a check found. Ids that it has nothing to say of are 0. */
export interface RecordFinding {
  readonly kind: FsckKind;
  readonly inode: bigint;
  readonly block: bigint;
  /** Where in the file. */
  readonly offset: number | undefined;
  readonly detail: string;
  /** What the count should be, and the inode's ctime when it was wrong; for what can be mended. */
  readonly right: number;
  readonly ctimeNs: bigint;
  /** The one name of a directory that calls another one its parent. */
  readonly place: { readonly parent: bigint; readonly name: Uint8Array } | undefined;
}

interface Check {
  readonly kind: FsckKind;
  /** Selects some of inode, block, offset, right, ctime, place with placeName, and detail. */
  readonly query: string;
}

const CHECKS: readonly Check[] = [
  {
    kind: "wrongLinkCount",
    query: `SELECT i.id AS inode, i.ctime, n.names AS right, 'its link count is ' || i.nlink || ', its names are ' || n.names AS detail
      FROM inodes i JOIN (SELECT inode, count(*) AS names FROM dentries GROUP BY inode) n ON n.inode = i.id
      WHERE i.type <> ${DIRECTORY} AND i.nlink <> n.names`,
  },
  {
    kind: "wrongLinkCount",
    query: `SELECT i.id AS inode, i.ctime, 2 + ifnull(s.below, 0) AS right,
        'its link count is ' || i.nlink || ', it has ' || ifnull(s.below, 0) || ' directories in it' AS detail
      FROM inodes i
      LEFT JOIN (SELECT parent, count(*) AS below FROM dentries WHERE inode IN ${DIRECTORIES} GROUP BY parent) s ON s.parent = i.id
      WHERE i.type = ${DIRECTORY} AND (i.nlink > 0 OR i.parent <> 0) AND i.nlink <> 2 + ifnull(s.below, 0)`,
  },
  {
    kind: "wrongParent",
    // The one name that it has says where it is; with several no program can know which of them is right.
    query: `SELECT i.id AS inode, i.ctime, CASE WHEN n.number = 1 THEN n.parent END AS place, CASE WHEN n.number = 1 THEN n.name END AS placeName,
        'it calls inode ' || i.parent || ' its parent, and has names in ' || n.parents AS detail
      FROM inodes i JOIN (SELECT inode, group_concat(parent) AS parents, count(*) AS number, min(parent) AS parent, min(name) AS name
          FROM dentries WHERE inode IN ${DIRECTORIES} GROUP BY inode) n
        ON n.inode = i.id
      WHERE i.type = ${DIRECTORY} AND i.id <> 1 AND n.parents <> CAST(i.parent AS TEXT)`,
  },
  {
    kind: "extentBeyondEnd",
    query: `SELECT e.inode, e.offset, e.block,
        CASE WHEN i.type IS NOT ${FILE} THEN 'an extent at ' || e.offset || ' of what is no file'
        ELSE 'the extent at ' || e.offset || ' ends at ' || (e.offset + e.length) || ', the file at ' || i.size END AS detail
      FROM extents e LEFT JOIN inodes i ON i.id = e.inode
      WHERE i.type IS NOT ${FILE} OR (e.offset + e.length > i.size AND e.inode NOT IN (SELECT inode FROM reclaim)
        AND ${IS_PART})`,
  },
  {
    kind: "extentWithoutBlock",
    query: `SELECT e.inode, e.offset, e.block, CASE WHEN b.id IS NULL THEN 'the block of its extent does not exist'
        WHEN b.state <> 0 THEN 'the block of its extent has been given up'
        ELSE 'its extent reaches out of the block' END || ': bytes ' || e.offset || ' to ' || (e.offset + e.length) AS detail
      FROM extents e LEFT JOIN blocks b ON b.id = e.block
      WHERE b.state IS NOT 0 OR e.block_offset < 0 OR e.block_offset + e.length > b.length`,
  },
  {
    kind: "extentOverlap",
    query: `SELECT inode, offset, block, 'the extent at ' || offset || ' has ' || length || ' bytes, the next begins at '
        || ifnull(next, 'no place') AS detail
      FROM (SELECT inode, offset, length, block, lead(offset) OVER (PARTITION BY inode ORDER BY offset) AS next FROM extents)
      WHERE length < 1 OR offset + length > next`,
  },
  {
    kind: "wrongAllocated",
    query: `SELECT i.id AS inode, i.ctime, ifnull(s.total, 0) AS right,
        'it counts ' || i.allocated || ' allocated bytes, its extents have ' || ifnull(s.total, 0) AS detail
      FROM inodes i LEFT JOIN (SELECT inode, sum(length) AS total FROM extents GROUP BY inode) s ON s.inode = i.id
      WHERE i.allocated <> ifnull(s.total, 0) AND i.id NOT IN (SELECT inode FROM reclaim UNION ALL SELECT inode FROM cuts)`,
  },
  {
    kind: "wrongRefs",
    query: `SELECT b.id AS block, 'it counts ' || b.refs || ' extents, ' || ifnull(s.named, 0) || ' name it, and it is '
        || CASE b.state WHEN 0 THEN 'live' ELSE 'given up' END AS detail
      FROM blocks b LEFT JOIN (SELECT block, count(*) AS named FROM extents GROUP BY block) s ON s.block = b.id
      WHERE b.refs <> ifnull(s.named, 0) OR (b.state = 0) <> (b.refs > 0)`,
  },
];

interface Columns {
  readonly inode?: bigint;
  readonly block?: bigint;
  readonly offset?: bigint;
  readonly place?: bigint | null;
  readonly placeName?: Uint8Array | null;
  readonly right?: bigint;
  readonly ctime?: bigint;
  readonly detail: string;
}

/** Inode ?2 and everything below it. */
export const BELOW = `below (id) AS (SELECT ?2 UNION
  SELECT d.inode FROM main.dentries d JOIN below ON d.parent = below.id)`;

/**
 * Takes the place of the tables in a check: of what is below one inode there is nothing else in them. All names of these inodes
 * are there, wherever they are, so that links are counted right; that costs a look at every name, and the rest only what is
 * below.
 */
const ONLY_BELOW = `WITH RECURSIVE ${BELOW},
  inodes AS (SELECT i.* FROM below CROSS JOIN main.inodes i ON i.id = below.id),
  dentries AS (SELECT d.* FROM main.dentries d WHERE d.parent IN (SELECT id FROM below) OR d.inode IN (SELECT id FROM below)),
  extents AS (SELECT e.* FROM below CROSS JOIN main.extents e ON e.inode = below.id),
  blocks AS (SELECT b.* FROM (SELECT DISTINCT block FROM extents) named CROSS JOIN main.blocks b ON b.id = named.block)`;

/**
 * Everything that is wrong with inodes, extents and blocks, and not with names (`names.ts`), below `inode` or anywhere; of a
 * kind at most `MOST_OF_A_CHECK` and one.
 */
export function checkRecord(database: Database, inode?: bigint): RecordFinding[] {
  return CHECKS.flatMap((check) => {
    if (inode === undefined) return findingsOf(database, check, "");
    const found = findingsOf(database, check, `${ONLY_BELOW} `, inode);
    // A file that is elsewhere may have the block as well.
    return check.kind === "wrongRefs" ? confirmed(database, check, found) : found;
  });
}

function findingsOf(
  database: Database,
  { kind, query }: Check,
  prefix: string,
  ...inode: readonly bigint[]
): RecordFinding[] {
  return database
    .query<Columns, (number | bigint)[]>(`${prefix}${query} LIMIT ?1`)
    .all(MOST_OF_A_CHECK + 1, ...inode)
    .map((row) => findingOf(kind, row));
}

/** Of these findings about blocks those that are findings with regard to all files. */
function confirmed(
  database: Database,
  { kind, query }: Check,
  found: readonly RecordFinding[],
): RecordFinding[] {
  if (found.length === 0) return [];
  return database
    .query<Columns, [string]>(
      `SELECT * FROM (${query}) WHERE block IN (SELECT value FROM json_each(?1))`,
    )
    .all(jsonIds(found.map(({ block }) => block)))
    .map((row) => findingOf(kind, row));
}

function findingOf(kind: FsckKind, row: Columns): RecordFinding {
  return {
    kind,
    inode: row.inode ?? 0n,
    block: row.block ?? 0n,
    offset: row.offset === undefined ? undefined : Number(row.offset),
    detail: row.detail,
    right: Number(row.right ?? 0n),
    ctimeNs: row.ctime ?? 0n,
    place: placeOf(row),
  };
}

function placeOf({ place, placeName }: Columns): RecordFinding["place"] {
  if (place === undefined || place === null) return undefined;
  return placeName === undefined || placeName === null
    ? undefined
    : { parent: place, name: placeName };
}

/** An inode and everything below it, and the blocks of these files, each in rising order. */
export function subtree(
  database: Database,
  inode: bigint,
): { readonly inodes: bigint[]; readonly blocks: bigint[] } {
  const ids = (query: string): bigint[] =>
    database
      .query<{ id: bigint }, [null, bigint]>(`WITH RECURSIVE ${BELOW} ${query}`)
      .all(null, inode)
      .map(({ id }) => id);
  return {
    inodes: ids("SELECT id FROM below ORDER BY id"),
    blocks: ids(
      `SELECT DISTINCT e.block AS id FROM below CROSS JOIN extents e ON e.inode = below.id WHERE ${IS_PART} ORDER BY id`,
    ),
  };
}

/** Copies that are to be checked on these servers, of these live blocks or of all, and their bytes. */
export function countCopies(
  database: Database,
  servers: readonly number[],
  blocks: readonly bigint[] | undefined,
): { readonly copies: number; readonly bytes: number } {
  const those = blocks === undefined ? "" : "(SELECT value FROM json_each(?2)) wanted CROSS JOIN";
  const on = blocks === undefined ? "" : "ON r.block = wanted.value";
  const row = database
    .query<{ copies: bigint; bytes: bigint }, [string, string | null]>(
      `SELECT count(*) AS copies, ifnull(sum(b.length), 0) AS bytes FROM ${those} replicas r ${on} JOIN blocks b ON b.id = r.block
       WHERE r.state IN (1, 3) AND b.state = 0 AND r.server IN (SELECT value FROM json_each(?1)) AND ?2 IS ?2`,
    )
    .get(JSON.stringify(servers), blocks === undefined ? null : jsonIds(blocks));
  return { copies: Number(row?.copies ?? 0n), bytes: Number(row?.bytes ?? 0n) };
}

/** Live blocks behind `after` with fewer present copies than `replicas` on servers that are not out, in order of id. */
export function lackingBlocks(
  database: Database,
  after: bigint,
  replicas: number,
  limit: number,
): bigint[] {
  return database
    .query<{ id: bigint }, [bigint, number, number]>(
      `SELECT b.id FROM blocks b WHERE b.state = 0 AND b.id > ?1 AND ?2 > (SELECT count(*) FROM replicas r
         JOIN servers s ON s.id = r.server WHERE r.block = b.id AND r.state = 1 AND s.state <> ${OUT})
       ORDER BY b.id LIMIT ?3`,
    )
    .all(after, replicas, limit)
    .map(({ id }) => id);
}

/** Live blocks behind `after` without a present copy on any of `servers`, in order of id. */
export function blocksWithoutCopyOn(
  database: Database,
  after: bigint,
  servers: readonly number[],
  limit: number,
): bigint[] {
  return database
    .query<{ id: bigint }, [bigint, string, number]>(
      `SELECT b.id FROM blocks b WHERE b.state = 0 AND b.id > ?1 AND NOT EXISTS (SELECT 1 FROM replicas r
         WHERE r.block = b.id AND r.state = 1 AND r.server IN (SELECT value FROM json_each(?2)))
       ORDER BY b.id LIMIT ?3`,
    )
    .all(after, JSON.stringify(servers), limit)
    .map(({ id }) => id);
}

/** Of these blocks those that are live and have no present copy on any of `servers`, in order of id. */
export function withoutCopyAmong(
  database: Database,
  blocks: readonly bigint[],
  servers: readonly number[],
): bigint[] {
  return database
    .query<{ id: bigint }, [string, string]>(
      `SELECT b.id FROM json_each(?1) wanted CROSS JOIN blocks b ON b.id = wanted.value WHERE b.state = 0 AND NOT EXISTS (
         SELECT 1 FROM replicas r WHERE r.block = b.id AND r.state = 1 AND r.server IN (SELECT value FROM json_each(?2)))
       ORDER BY b.id`,
    )
    .all(jsonIds(blocks), JSON.stringify(servers))
    .map(({ id }) => id);
}

/** A file that has the block, and where in it. */
export interface BlockPlace {
  readonly block: bigint;
  readonly inode: bigint;
  readonly offset: number;
}

/** For each of these blocks a file that names it; blocks that none names are left out. */
export function placesOf(database: Database, blocks: readonly bigint[]): BlockPlace[] {
  const hinted = database.query<BlockColumns, [bigint]>(
    `SELECT e.block, e.inode, e.offset FROM blocks b JOIN extents e ON e.inode = b.inode AND e.block = b.id
     WHERE b.id = ?1 AND ${IS_PART} LIMIT 1`,
  );
  const found = blocks.map((block) => hinted.get(block)).filter((row) => row !== null);
  const known = new Set(found.map(({ block }) => block));
  const rest = blocks.filter((block) => !known.has(block));
  if (rest.length > 0) {
    const scanned = database.query<BlockColumns, [string]>(
      `SELECT block, inode, min(offset) AS offset FROM extents e
       WHERE block IN (SELECT value FROM json_each(?1)) AND ${IS_PART} GROUP BY block`,
    );
    found.push(...scanned.all(jsonIds(rest)));
  }
  return found.map((row) => ({ ...row, offset: Number(row.offset) }));
}

interface BlockColumns {
  readonly block: bigint;
  readonly inode: bigint;
  readonly offset: bigint;
}

const ROOT = 1n;
const SLASH = 0x2f;

/** A path of each of these inodes; those that the root does not lead to are left out. Names without a root: none. */
export function pathsOf(
  database: Database,
  inodes: readonly bigint[],
  longest: number,
): Map<bigint, Uint8Array> {
  const paths = new Map<bigint, Uint8Array>();
  const names = database
    .query<{ inode: bigint; parent: bigint; name: Uint8Array }, [string]>(
      `SELECT inode, parent, name FROM dentries WHERE inode IN (SELECT value FROM json_each(?1))`,
    )
    .all(jsonIds(inodes));
  const climb = directoryPaths(database, longest);
  for (const { inode, parent, name } of names) {
    if (paths.has(inode)) continue;
    const path = joined(climb(parent), name);
    if (path !== undefined && path.length <= longest) paths.set(inode, path);
  }
  if (inodes.includes(ROOT)) paths.set(ROOT, Uint8Array.of(SLASH));
  return paths;
}

/** Paths of directories, by the parent that each of them names. */
function directoryPaths(
  database: Database,
  longest: number,
): (inode: bigint) => Uint8Array | undefined {
  const nameIn = database.query<{ name: Uint8Array; parent: bigint }, [bigint]>(
    `SELECT d.name, d.parent FROM inodes i JOIN dentries d ON d.parent = i.parent AND d.inode = i.id WHERE i.id = ?1`,
  );
  const known = new Map<bigint, Uint8Array | undefined>([[ROOT, new Uint8Array(0)]]);
  const climb = (inode: bigint, depth: number): Uint8Array | undefined => {
    if (known.has(inode)) return known.get(inode);
    if (depth > longest) return undefined; // a circle
    const row = nameIn.get(inode);
    const path = row === null ? undefined : joined(climb(row.parent, depth + 1), row.name);
    known.set(inode, path);
    return path;
  };
  return (inode) => climb(inode, 0);
}

function joined(directory: Uint8Array | undefined, name: Uint8Array): Uint8Array | undefined {
  return directory === undefined
    ? undefined
    : Buffer.concat([directory, Uint8Array.of(SLASH), name]);
}

/** Ids as JSON, whose integers SQLite reads in all their 64 bits. */
function jsonIds(ids: readonly bigint[]): string {
  return `[${ids.join(",")}]`;
}
