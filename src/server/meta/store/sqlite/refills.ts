/**
 * Primitives of servers that have lost their disk, on SQLite. They work on hundreds of copies with one statement: a statement for
 * each copy would cost more than everything else that refilling does for a small block.
 */
import type { Database } from "bun:sqlite";
import { blockId, inodeId, serverId, type BlockId, type ServerId } from "../../../../base/ids.ts";
import type { Holders, RefillPrimitives } from "../primitives/refills.ts";
import { toUnsigned } from "./convert.ts";
import { ListStatement } from "./lists.ts";
import { REASONS } from "./queues.ts";

/** Combinations of servers that are remembered. */
const MOST_COMBINATIONS = 4096;

interface RefillColumns {
  readonly id: bigint;
  readonly length: bigint;
  readonly checksum: bigint;
  readonly inode: bigint;
  readonly file_offset: bigint;
  readonly grp: bigint;
  readonly holders: string;
}

/** Rows of a server whose copy is bad: the partial index holds nothing else. `r.state <> 1` lets SQLite use it. */
const BAD = "replicas r INDEXED BY replicas_unsettled";
const IS_BAD = "r.server = +?1 AND r.state = 3 AND r.state <> 1";

type Range = [ServerId, BlockId, BlockId];

export function refillPrimitives(database: Database): RefillPrimitives {
  return { ...losses(database), ...queue(database), ...endings(database) };
}

function losses(
  database: Database,
): Pick<RefillPrimitives, "refill.last" | "refill.count" | "refill.lose"> {
  const last = database.prepare<{ last: bigint | null }, [ServerId, BlockId, number]>(
    `SELECT max(block) AS last FROM (
       SELECT block FROM replicas WHERE server = +? AND block > +? ORDER BY block LIMIT +?)`,
  );
  const count = database.prepare<{ total: bigint }, Range>(
    "SELECT count(*) AS total FROM replicas WHERE server = ? AND block > ? AND block <= ?",
  );
  const lose = database.prepare<never, Range>(
    `UPDATE replicas SET state = 3 WHERE server = ?1 AND block > ?2 AND block <= ?3 AND state = 1
       AND EXISTS (SELECT 1 FROM blocks b WHERE b.id = block AND b.state = 0)`,
  );
  return {
    "refill.last": (server, after, limit) => {
      const found = last.get(server, after, limit)?.last ?? null;
      return found === null ? undefined : blockId(found);
    },
    "refill.count": (server, stretch) =>
      Number(count.get(server, stretch.after, stretch.last)?.total ?? 0n),
    "refill.lose": (server, stretch) => lose.run(server, stretch.after, stretch.last).changes,
  };
}

type Recorded = [...Range, number, number, number, number, bigint];

/** The statement of `refill.record`; copies count that are present and for which `counts` holds. */
function recordStatement(counts: string): string {
  return `INSERT INTO repairs (block, missing, urgency, reason, since)
     SELECT r.block, ?5, ?6, ?7, ?8 FROM ${BAD}
     WHERE ${IS_BAD} AND r.block > ?2 AND r.block <= ?3
       AND EXISTS (SELECT 1 FROM blocks b WHERE b.id = r.block AND b.state = 0)
       AND (SELECT count(*) FROM replicas o WHERE o.block = r.block AND o.state = 1 AND ${counts}) = ?4
     ON CONFLICT (block) DO UPDATE SET missing = excluded.missing, urgency = excluded.urgency`;
}

function queue(
  database: Database,
): Pick<
  RefillPrimitives,
  "refill.recorded" | "refill.record" | "refill.unrecorded" | "refill.window" | "refill.list"
> {
  const recorded = database.prepare<{ block: bigint }, [...Range, number]>(
    `SELECT r.block FROM ${BAD} CROSS JOIN repairs p ON p.block = r.block
     WHERE ${IS_BAD} AND r.block > ?2 AND r.block <= ?3 AND p.urgency = +?4`,
  );
  const record = database.prepare<never, Recorded>(recordStatement("true"));
  const recordWithout = database.prepare<never, [...Recorded, string]>(
    recordStatement("o.server NOT IN (SELECT value FROM json_each(?9))"),
  );
  const unrecorded = database.prepare<{ block: bigint }, [...Range, number]>(
    `SELECT r.block FROM ${BAD} LEFT JOIN repairs p ON p.block = r.block
     WHERE ${IS_BAD} AND r.block > ?2 AND r.block <= ?3 AND p.urgency IS NOT ?4 ORDER BY r.block`,
  );
  const window = database.prepare<{ last: bigint | null }, [...Range, number]>(
    `SELECT max(block) AS last FROM (
       SELECT r.block FROM ${BAD} WHERE ${IS_BAD} AND r.block > ?2 AND r.block <= ?3 ORDER BY r.block LIMIT +?4)`,
  );
  const list = database.prepare<RefillColumns, [...Range, number, number]>(
    `SELECT b.id, b.length, b.checksum, b.inode, b.file_offset, b.grp,
       (SELECT group_concat(iif(o.state = 1, o.server, -o.server)) FROM replicas o WHERE o.block = r.block) AS holders
     FROM ${BAD} CROSS JOIN repairs p ON p.block = r.block CROSS JOIN blocks b ON b.id = r.block
     WHERE ${IS_BAD} AND r.block > ?2 AND r.block <= ?3 AND p.urgency = +?4 AND b.state = 0
     ORDER BY r.block LIMIT +?5`,
  );
  const holdersOf = holdersParser();
  return {
    "refill.recorded": (server, { after, last }, urgency) =>
      recorded.all(server, after, last, urgency).map(({ block }) => blockId(block)),
    "refill.record": (server, { after, last }, { copies, out }, entry) => {
      const { missing, urgency, reason, sinceNs } = entry;
      const number = REASONS.number(reason);
      const values: Recorded = [server, after, last, copies, missing, urgency, number, sinceNs];
      if (out.length === 0) record.run(...values);
      else recordWithout.run(...values, JSON.stringify(out));
    },
    "refill.unrecorded": (server, { after, last }, urgency) =>
      unrecorded.all(server, after, last, urgency).map(({ block }) => blockId(block)),
    "refill.window": (server, { after, last }, limit) => {
      const found = window.get(server, after, last, limit)?.last ?? null;
      return found === null ? undefined : blockId(found);
    },
    "refill.list": (server, { after, last }, urgency, limit) =>
      list.all(server, after, last, urgency, limit).map((row) => ({
        id: blockId(row.id),
        length: Number(row.length),
        checksum: toUnsigned(row.checksum),
        inode: inodeId(row.inode),
        fileOffset: Number(row.file_offset),
        group: Number(row.grp),
        holders: holdersOf(row.holders),
      })),
  };
}

function endings(database: Database): Pick<RefillPrimitives, "refill.finish" | "refill.settle"> {
  const finish = new ListStatement<never>(
    database,
    (blocks) =>
      `UPDATE replicas SET state = 1 WHERE server = ? AND state = 3 AND block IN ${blocks}
         AND EXISTS (SELECT 1 FROM repairs p WHERE p.block = replicas.block AND p.urgency = ?)`,
  );
  const settle = new ListStatement<never>(
    database,
    (blocks) => `DELETE FROM repairs WHERE block IN ${blocks} AND urgency = ?`,
  );
  return {
    "refill.finish": (server, blocks, urgency) => finish.run(blocks, [server], [urgency]),
    "refill.settle": (blocks, urgency) => settle.run(blocks, [], [urgency]),
  };
}

/** Reads lists such as "1,-2,4": servers with a present copy, and with a minus those with another one. Few lists are many. */
function holdersParser(): (list: string) => Holders {
  const known = new Map<string, Holders>();
  return (list) => {
    const found = known.get(list);
    if (found !== undefined) return found;
    const numbers = list.split(",").map(Number);
    const holders = {
      present: numbers.filter((each) => each > 0).map((each) => serverId(each)),
      others: numbers.filter((each) => each < 0).map((each) => serverId(-each)),
    };
    if (known.size >= MOST_COMBINATIONS) known.clear();
    known.set(list, holders);
    return holders;
  };
}
