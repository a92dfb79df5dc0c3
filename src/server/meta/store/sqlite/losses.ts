/**
 * Files with blocks of which no copy counts, for a connection in a thread of its own: finding files and paths may cost a
 * scan. What counts is judged in `repair/need.ts` and on record in `repairs`: these blocks have urgency 0 there.
 */
import type { Database } from "bun:sqlite";
import {
  blockId,
  inodeId,
  serverId,
  type BlockId,
  type InodeId,
  type ServerId,
} from "../../../../base/ids.ts";
import { MAX_LOSS_SERVERS, MAX_LOSSES, MAX_PATH_BYTES } from "../../../../base/limits.ts";
import { IS_PART, pathsOf } from "./checks.ts";

/** Blocks looked at for one page: a block may be in several files. */
const BLOCKS_AT_ONCE = MAX_LOSSES / 2;

/** Files that are named for one block. */
const FILES_OF_A_BLOCK = MAX_LOSSES;

/** A file and a block of it. */
export interface Loss {
  readonly block: BlockId;
  readonly inode: InodeId;
  /** Of the first byte that the block has in the file. */
  readonly offset: number;
  /** Bytes of the file that are in the block. */
  readonly length: number;
  readonly path: Uint8Array | undefined;
  /** Servers that have, or had, a copy on record. */
  readonly servers: readonly ServerId[];
}

interface PlaceColumns {
  readonly block: bigint;
  readonly inode: bigint;
  readonly offset: bigint;
  readonly length: bigint;
}

/** Losses of blocks behind `after`; with `server` those of which it has or had a copy. `next`: the last block looked at, if there are more. */
export function lossesBehind(
  database: Database,
  after: bigint,
  server: number | undefined,
): { readonly losses: Loss[]; readonly next: BlockId | undefined } {
  const blocks = lostBlocks(database, after, server);
  const places = Map.groupBy(placesOf(database, blocks), ({ block }) => block);
  const rows: PlaceColumns[] = [];
  let last: bigint | undefined;
  for (const block of blocks) {
    const found = places.get(block) ?? [];
    if (rows.length + found.length > MAX_LOSSES) break;
    rows.push(...found);
    last = block;
  }
  const isAll = blocks.length < BLOCKS_AT_ONCE && last === blocks.at(-1);
  const next = isAll || last === undefined ? undefined : blockId(last);
  return { losses: withPaths(database, rows), next };
}

function lostBlocks(database: Database, after: bigint, server: number | undefined): bigint[] {
  return database
    .query<{ block: bigint }, [bigint, number | null, number]>(
      `SELECT p.block FROM repairs p WHERE p.urgency = 0 AND p.block > ?1 AND (?2 IS NULL
         OR EXISTS (SELECT 1 FROM replicas r WHERE r.block = p.block AND r.server = ?2)
         OR EXISTS (SELECT 1 FROM abandoned a WHERE a.block = p.block AND a.server = ?2))
       ORDER BY p.block LIMIT +?3`,
    )
    .all(after, server ?? null, BLOCKS_AT_ONCE)
    .map(({ block }) => block);
}

/** The files that name these blocks: the one that it was written for, if only that one does, else all. */
function placesOf(database: Database, blocks: readonly bigint[]): PlaceColumns[] {
  const hinted = database.query<PlaceColumns, [bigint]>(
    `SELECT e.block, e.inode, min(e.offset) AS offset, sum(e.length) AS length
     FROM blocks b JOIN extents e ON e.inode = b.inode AND e.offset >= b.file_offset
       AND e.offset < b.file_offset + b.length AND e.block = b.id
     WHERE b.id = ?1 AND ${IS_PART} GROUP BY e.inode HAVING count(*) = b.refs`,
  );
  const found = blocks.flatMap((block) => hinted.all(block));
  const known = new Set(found.map(({ block }) => block));
  const rest = blocks.filter((block) => !known.has(block));
  if (rest.length === 0) return found;
  const scanned = database.query<PlaceColumns, [string, number]>(
    `SELECT block, inode, offset, length FROM (
       SELECT block, inode, min(offset) AS offset, sum(length) AS length,
         row_number() OVER (PARTITION BY block ORDER BY inode) AS number
       FROM extents e WHERE block IN (SELECT value FROM json_each(?1)) AND ${IS_PART} GROUP BY block, inode)
     WHERE number <= ?2`,
  );
  return [...found, ...scanned.all(`[${rest.join(",")}]`, FILES_OF_A_BLOCK)];
}

function withPaths(database: Database, rows: readonly PlaceColumns[]): Loss[] {
  const inodes = [...new Set(rows.map(({ inode }) => inode))];
  const paths = pathsOf(database, inodes, MAX_PATH_BYTES);
  const holders = database.query<{ server: bigint }, [bigint, number]>(
    `SELECT server FROM replicas WHERE block = ?1 UNION SELECT server FROM abandoned WHERE block = ?1
     ORDER BY server LIMIT ?2`,
  );
  return rows.map((row) => ({
    block: blockId(row.block),
    inode: inodeId(row.inode),
    offset: Number(row.offset),
    length: Number(row.length),
    path: paths.get(row.inode),
    servers: holders.all(row.block, MAX_LOSS_SERVERS).map(({ server }) => serverId(Number(server))),
  }));
}
