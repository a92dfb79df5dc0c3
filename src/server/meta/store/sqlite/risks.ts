/**
 * What the loss of each server would cost, from the record: queries over all rows, for a connection in a thread of its own.
 * Numbers in the queries are those of `schema.ts`.
 *
 * One look at all blocks and their copies counts them; the files of what is in danger are looked for only when there is
 * something, and among the first `MOST_BLOCKS` blocks only.
 */
import type { Database } from "bun:sqlite";
import { serverId, type ServerId } from "../../../../base/ids.ts";
import { MAX_PATH_BYTES, MAX_RISK_PATHS, MAX_SERVERS } from "../../../../base/limits.ts";
import type { FileSample, RiskStatus } from "../../../../protocol/messages/cluster.ts";
import { blocksWithoutCopyOn, pathsOf, placesOf } from "./checks.ts";

/** Blocks whose files are looked for. */
const MOST_BLOCKS = 1000;

const NO_FILES: FileSample = { files: 0, more: false, paths: [] };

export interface CopyFigures {
  /** Live blocks by number of present copies on servers within reach: index 0 none, 1 one, ... */
  readonly blocksByCopies: readonly number[];
  readonly risk: RiskStatus;
}

interface Row {
  readonly copies: bigint;
  readonly one: bigint | null;
  readonly other: bigint | null;
  readonly everywhere: bigint;
  readonly blocks: bigint;
}

type Toll = { -readonly [Name in keyof RiskStatus["servers"][number]]: number };

/**
 * Counts live blocks by their copies on `reachable`, `most` copies or more as one class, and says what each of these
 * servers would take with it. To be called in a transaction, so that all of it is of one moment.
 */
export function copyFigures(
  database: Database,
  reachable: readonly ServerId[],
  most: number,
): CopyFigures {
  const rows = countedCopies(database, reachable);
  const blocksByCopies = Array.from({ length: most + 1 }, () => 0);
  let lostBlocks = 0;
  for (const { copies, everywhere, blocks } of rows) {
    const at = Math.min(Number(copies), most);
    blocksByCopies[at] = (blocksByCopies[at] ?? 0) + Number(blocks);
    if (everywhere === 0n) lostBlocks += Number(blocks);
  }
  const servers = tollsOf(rows);
  const first = servers
    .filter(({ alone }) => alone > 0)
    .toSorted((one, other) => other.last - one.last || other.alone - one.alone)
    .at(0);
  const worst = first === undefined ? null : worstOf(database, serverId(first.server), reachable);
  const unreadable =
    blocksByCopies[0] === 0
      ? NO_FILES
      : filesOf(database, blocksWithoutCopyOn(database, 0n, reachable, MOST_BLOCKS + 1));
  return {
    blocksByCopies,
    risk: { lostBlocks, unreadable, servers: servers.slice(0, MAX_SERVERS), worst },
  };
}

/** Blocks by what matters of their copies: how many are within reach, where if that is one or two, and whether others are. */
function countedCopies(database: Database, reachable: readonly ServerId[]): Row[] {
  return database
    .query<Row, [string]>(
      `SELECT copies, one, other, everywhere, count(*) AS blocks FROM (
         SELECT copies, iif(copies BETWEEN 1 AND 2, one, NULL) AS one, iif(copies = 2, other, NULL) AS other,
           min(everywhere, 2) AS everywhere
         FROM (
           SELECT count(r.server) AS everywhere, count(r.server) FILTER (WHERE r.near) AS copies,
             min(r.server) FILTER (WHERE r.near) AS one, max(r.server) FILTER (WHERE r.near) AS other
           FROM blocks b LEFT JOIN (
             SELECT block, server, server IN (SELECT value FROM json_each(?)) AS near FROM replicas WHERE state = 1
           ) r ON r.block = b.id WHERE b.state = 0 GROUP BY b.id))
       GROUP BY copies, one, other, everywhere`,
    )
    .all(JSON.stringify(reachable));
}

function tollsOf(rows: readonly Row[]): RiskStatus["servers"] {
  const tolls = new Map<number, Toll>();
  const tollOf = (server: bigint): Toll => {
    const id = Number(server);
    const toll = tolls.get(id) ?? { server: id, alone: 0, last: 0, pairs: 0 };
    tolls.set(id, toll);
    return toll;
  };
  for (const { one, other, everywhere, blocks } of rows) {
    if (one === null) continue;
    if (other === null) {
      tollOf(one).alone += Number(blocks);
      if (everywhere === 1n) tollOf(one).last += Number(blocks);
    } else {
      tollOf(one).pairs += Number(blocks);
      tollOf(other).pairs += Number(blocks);
    }
  }
  return [...tolls.values()]
    .toSorted((one, other) => one.server - other.server)
    .map((toll) => ({ ...toll, server: serverId(toll.server) }));
}

function worstOf(
  database: Database,
  server: ServerId,
  reachable: readonly ServerId[],
): RiskStatus["worst"] {
  const others = reachable.filter((each) => each !== server);
  const blocks = database
    .query<{ block: bigint }, [number, string, number]>(
      `SELECT r.block FROM replicas r CROSS JOIN blocks b ON b.id = r.block
       WHERE r.server = ?1 AND r.state = 1 AND b.state = 0 AND NOT EXISTS (SELECT 1 FROM replicas o
         WHERE o.block = r.block AND o.state = 1 AND o.server IN (SELECT value FROM json_each(?2)))
       ORDER BY r.block LIMIT +?3`,
    )
    .all(server, JSON.stringify(others), MOST_BLOCKS + 1);
  const ids = blocks.map(({ block }) => block);
  return { server, files: filesOf(database, ids) };
}

/** The files of these blocks; of one block more than are looked at, there are more. */
function filesOf(database: Database, blocks: readonly bigint[]): FileSample {
  const places = placesOf(database, blocks.slice(0, MOST_BLOCKS));
  const inodes = [...new Set(places.map(({ inode }) => inode))];
  const paths = pathsOf(database, inodes.slice(0, MAX_RISK_PATHS), MAX_PATH_BYTES);
  return {
    files: inodes.length,
    more: blocks.length > MOST_BLOCKS,
    paths: [...paths.values()].toSorted((one, other) => Buffer.compare(one, other)),
  };
}
