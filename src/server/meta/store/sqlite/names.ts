/**
 * What fsck asks of all names: those that lead nowhere, and inodes that no path leads to. For a connection in a thread of
 * its own; each function sees one moment. Numbers in the queries are those of `schema.ts`.
 */
import type { Database } from "bun:sqlite";
import { BELOW, DIRECTORIES, MOST_OF_A_CHECK } from "./checks.ts";

const DIRECTORY = 4;

/** What is wrong with a name: its inode does not exist, or is of another type; or what it lies in is no directory. */
export type NameFault = "noInode" | "otherType" | "noDirectory";

export interface FaultyName {
  readonly fault: NameFault;
  readonly parent: bigint;
  readonly name: Uint8Array;
  readonly inode: bigint;
  readonly detail: string;
}

/** An inode that has not changed as long as its ctime is this one. */
export interface Witness {
  readonly id: bigint;
  readonly ctimeNs: bigint;
}

/**
 * An inode that no path leads to, and that is not merely below another one. As long as none of the witnesses has changed it is
 * still that: an inode without a name gets one only with a change of its own, and a circle of directories is left only with
 * a change of one of them.
 */
export interface Stray {
  readonly id: bigint;
  readonly witnesses: readonly Witness[];
  /** Its names in a circle of directories. */
  readonly names: readonly { readonly parent: bigint; readonly name: Uint8Array }[];
  readonly detail: string;
}

interface NameColumns {
  readonly parent: bigint;
  readonly name: Uint8Array;
  readonly inode: bigint;
  readonly detail: string;
}

const FAULTS: readonly { readonly fault: NameFault; readonly query: string }[] = [
  {
    fault: "noInode",
    query: `SELECT d.parent, d.name, d.inode, 'it leads to inode ' || d.inode || ', which does not exist' AS detail
      FROM dentries d LEFT JOIN inodes i ON i.id = d.inode WHERE i.id IS NULL`,
  },
  {
    fault: "otherType",
    query: `SELECT d.parent, d.name, d.inode, 'it says another type than its inode ' || d.inode AS detail
      FROM dentries d JOIN inodes i ON i.id = d.inode WHERE i.type <> d.type`,
  },
  {
    // A directory without links that has a parent was not removed: its link count is wrong.
    fault: "noDirectory",
    query: `SELECT d.parent, d.name, d.inode, 'it lies in inode ' || d.parent || ', which is no directory with a name' AS detail
      FROM dentries d LEFT JOIN inodes i ON i.id = d.parent
      WHERE i.id IS NULL OR i.type <> ${DIRECTORY} OR (i.nlink = 0 AND i.parent = 0)`,
  },
];

/** Takes the place of the table: names in the directories below one inode. */
const NAMES_BELOW = `WITH RECURSIVE ${BELOW},
  dentries AS (SELECT d.* FROM below CROSS JOIN main.dentries d ON d.parent = below.id) `;

/** Names that are wrong, below `inode` or anywhere; of each kind at most `MOST_OF_A_CHECK` and one. */
export function faultyNames(database: Database, inode?: bigint): FaultyName[] {
  const prefix = inode === undefined ? "" : NAMES_BELOW;
  const more = inode === undefined ? [] : [inode];
  return FAULTS.flatMap(({ fault, query }) =>
    database
      .query<NameColumns, (number | bigint)[]>(`${prefix}${query} LIMIT ?1`)
      .all(MOST_OF_A_CHECK + 1, ...more)
      .map((row) => ({ ...row, fault })),
  );
}

/**
 * Directories that paths lead to, and what should have a path and has none. What a directory is its inode tells, not the name
 * that leads to it: what is below a name of a wrong type has a path. Written with EXCEPT and CROSS JOIN because that is one
 * pass: for a million inodes it takes 2 s, with NOT IN and a free order of the join ten times as long.
 */
const UNREACHED = `reached (id) AS (SELECT 1 UNION
    SELECT d.inode FROM reached r CROSS JOIN dentries d ON d.parent = r.id WHERE d.inode IN ${DIRECTORIES}),
  unreached (id) AS MATERIALIZED (
    SELECT i.id FROM inodes i WHERE i.nlink > 0 OR (i.type = ${DIRECTORY} AND i.parent <> 0)
    EXCEPT SELECT d.inode FROM reached r CROSS JOIN dentries d ON d.parent = r.id
    EXCEPT SELECT 1)`;

/** Of these, what is not below others. */
const HEADS = `${UNREACHED},
  heads (id) AS MATERIALIZED (SELECT id FROM unreached
    WHERE id NOT IN (SELECT d.inode FROM dentries d WHERE d.parent IN (SELECT id FROM unreached)))`;

/**
 * Inodes that should have a path and have none: those at the top, not what is below them. At most `MOST_OF_A_CHECK` and one
 * of a kind.
 */
export function strays(database: Database): Stray[] {
  return database.transaction(() =>
    isAllReached(database) ? [] : [...heads(database), ...circles(database)],
  )();
}

/** Inodes without a name that are not open and do not wait to be removed. */
export function leftovers(database: Database): Stray[] {
  return database
    .query<{ id: bigint; ctime: bigint }, [number]>(
      `SELECT i.id, i.ctime FROM inodes i WHERE nlink = 0 AND (i.type <> ${DIRECTORY} OR i.parent = 0)
       AND NOT EXISTS (SELECT 1 FROM opens o WHERE o.inode = i.id)
       AND NOT EXISTS (SELECT 1 FROM reclaim r WHERE r.inode = i.id)
       AND i.id NOT IN (SELECT inode FROM dentries) LIMIT ?1`,
    )
    .all(MOST_OF_A_CHECK + 1)
    .map(({ id, ctime }) => ({
      id,
      witnesses: [{ id, ctimeNs: ctime }],
      names: [],
      detail: "it has no name, is not open and does not wait to be removed",
    }));
}

function isAllReached(database: Database): boolean {
  return (
    database.query(`WITH RECURSIVE ${UNREACHED} SELECT 1 FROM unreached LIMIT 1`).get() === null
  );
}

function heads(database: Database): Stray[] {
  return database
    .query<{ id: bigint; ctime: bigint; nlink: bigint }, [number]>(
      `WITH RECURSIVE ${HEADS}
       SELECT i.id, i.ctime, i.nlink FROM heads h CROSS JOIN inodes i ON i.id = h.id LIMIT ?1`,
    )
    .all(MOST_OF_A_CHECK + 1)
    .map(({ id, ctime, nlink }) => ({
      id,
      witnesses: [{ id, ctimeNs: ctime }],
      names: [],
      detail: `no path leads to it, though its link count is ${nlink}`,
    }));
}

/** One directory of each circle, the one with the lowest number. */
function circles(database: Database): Stray[] {
  const loose = looseDirectories(database);
  if (loose.size === 0) return [];
  const found: Stray[] = [];
  const seen = new Set<bigint>();
  for (const start of loose.keys()) {
    if (seen.has(start)) continue;
    const circle = circleAbove(start, loose);
    const id = circle.reduce((least, each) => (each < least ? each : least));
    for (const below of allBelow(id, loose)) seen.add(below);
    const ctimeOf = (each: bigint): bigint => loose.get(each)!.ctimeNs;
    found.push({
      id,
      witnesses: circle.map((each) => ({ id: each, ctimeNs: ctimeOf(each) })),
      names: loose.get(id)!.names,
      detail: `it is in a circle of ${circle.length} ${circle.length === 1 ? "directory" : "directories"} that no path leads to`,
    });
    if (found.length > MOST_OF_A_CHECK) break;
  }
  return found;
}

interface Loose {
  readonly ctimeNs: bigint;
  /** In directories that are loose as well. */
  readonly names: { readonly parent: bigint; readonly name: Uint8Array }[];
  readonly children: bigint[];
}

/** Directories that no path leads to, though each has a name: circles and what is below them. */
function looseDirectories(database: Database): Map<bigint, Loose> {
  const loose = new Map<bigint, Loose>();
  const directories = database
    .query<{ id: bigint; ctime: bigint }, []>(
      `WITH RECURSIVE ${HEADS},
         below (id) AS (SELECT id FROM heads UNION SELECT d.inode FROM dentries d JOIN below b ON d.parent = b.id)
       SELECT i.id, i.ctime FROM unreached u CROSS JOIN inodes i ON i.id = u.id
       WHERE i.type = ${DIRECTORY} AND i.id NOT IN (SELECT id FROM below) ORDER BY i.id`,
    )
    .all();
  for (const { id, ctime } of directories)
    loose.set(id, { ctimeNs: ctime, names: [], children: [] });
  if (loose.size === 0) return loose;
  const names = database.query<Omit<NameColumns, "detail">, [string]>(
    `SELECT parent, name, inode FROM dentries WHERE inode IN (SELECT value FROM json_each(?1))`,
  );
  for (const { parent, name, inode } of names.all(`[${[...loose.keys()].join(",")}]`)) {
    loose.get(inode)!.names.push({ parent, name });
    loose.get(parent)?.children.push(inode);
  }
  return loose;
}

/** The circle that one comes to by going up from a loose directory. */
function circleAbove(start: bigint, loose: ReadonlyMap<bigint, Loose>): bigint[] {
  const way: bigint[] = [];
  const places = new Map<bigint, number>();
  let at = start;
  while (!places.has(at)) {
    places.set(at, way.length);
    way.push(at);
    const above = loose.get(at)!.names.find(({ parent }) => loose.has(parent));
    if (above === undefined) return [at]; // not in a circle: the directory above it is none
    at = above.parent;
  }
  return way.slice(places.get(at));
}

function allBelow(top: bigint, loose: ReadonlyMap<bigint, Loose>): Set<bigint> {
  const found = new Set([top]);
  const waiting = [top];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    for (const child of loose.get(at)?.children ?? []) {
      if (found.has(child)) continue;
      found.add(child);
      waiting.push(child);
    }
  }
  return found;
}
