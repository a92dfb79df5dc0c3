/** Primitives of reservations, of forgotten ids and of the queues (files to reclaim or cut, blocks to repair, servers to survey) on SQLite. */
import type { Database } from "bun:sqlite";
import { blockId, inodeId, serverId, sessionId } from "../../../../base/ids.ts";
import type { ContentPrimitives } from "../primitives/content.ts";
import type { Repair, RepairReason, Reservation } from "../rows.ts";
import { Enumeration, orNull, orUndefined } from "./convert.ts";
import { ListStatement } from "./lists.ts";

/** As the column `reason` of `repairs` holds them. */
export const REASONS = new Enumeration<RepairReason>("repair reason", {
  shortWrite: 0,
  badReplica: 1,
  serverOut: 2,
  placement: 3,
});

/** Above every block id. */
const LAST_BLOCK = 2n ** 63n - 1n;

interface ReservationColumns {
  readonly first: bigint;
  readonly count: bigint;
  readonly session: bigint;
  readonly used: Uint8Array;
  readonly ended: bigint | null;
}

interface RepairColumns {
  readonly block: bigint;
  readonly missing: bigint;
  readonly urgency: bigint;
  readonly reason: bigint;
  readonly since: bigint;
}

type Area<Prefix extends string> = Pick<
  ContentPrimitives,
  Extract<keyof ContentPrimitives, `${Prefix}.${string}`>
>;

export function queuePrimitives(
  database: Database,
): Area<"reservation"> &
  Area<"forgotten"> &
  Area<"abandoned"> &
  Area<"reclaim"> &
  Area<"cut"> &
  Area<"repair"> &
  Area<"survey"> {
  return {
    ...reservationArea(database),
    ...forgottenArea(database),
    ...abandonedArea(database),
    ...reclaimArea(database),
    ...cutArea(database),
    ...repairArea(database),
    ...surveyArea(database),
  };
}

function reservationArea(database: Database): Area<"reservation"> {
  const insert = database.prepare(
    "INSERT INTO reservations (first, count, session, used, ended) VALUES (?, ?, ?, ?, ?)",
  );
  const find = database.prepare<ReservationColumns, [bigint]>(
    "SELECT * FROM reservations WHERE first <= +? ORDER BY first DESC LIMIT 1",
  );
  const setUsed = database.prepare("UPDATE reservations SET used = ? WHERE first = ?");
  const remove = database.prepare("DELETE FROM reservations WHERE first = ?");
  const nth = database.prepare<{ first: bigint }, [bigint, bigint, number]>(
    "SELECT first FROM reservations WHERE session = +? AND first > ? ORDER BY first LIMIT 1 OFFSET +?",
  );
  const end = database.prepare(
    `UPDATE reservations INDEXED BY reservations_by_session SET ended = ?
     WHERE session = ? AND first > ? AND first <= ? AND ended IS NULL`,
  );
  const listEnded = database.prepare<ReservationColumns, [bigint, number]>(
    "SELECT * FROM reservations WHERE ended IS NOT NULL AND ended <= +? ORDER BY ended, first LIMIT +?",
  );
  return {
    "reservation.insert": (row) =>
      void insert.run(row.first, row.count, row.session, row.used, orNull(row.endedNs)),
    "reservation.find": (block) => {
      const row = find.get(block);
      return row === null || block >= row.first + row.count ? undefined : reservationOf(row);
    },
    "reservation.setUsed": (first, used) => void setUsed.run(used, first),
    "reservation.delete": (first) => void remove.run(first),
    "reservation.end": (session, after, limit, endedNs) => {
      const last = nth.get(session, after, limit - 1)?.first;
      end.run(endedNs, session, after, last ?? LAST_BLOCK);
      return last === undefined ? undefined : blockId(last);
    },
    "reservation.listEnded": (before, limit) => listEnded.all(before, limit).map(reservationOf),
  };
}

function forgottenArea(database: Database): Area<"forgotten"> {
  const find = database.prepare<{ first: bigint; last: bigint }, [bigint]>(
    "SELECT first, last FROM forgotten WHERE first <= +? ORDER BY first DESC LIMIT 1",
  );
  const insert = database.prepare("INSERT INTO forgotten (first, last) VALUES (?, ?)");
  const remove = database.prepare("DELETE FROM forgotten WHERE first BETWEEN ? AND ?");
  return {
    "forgotten.find": (block) => {
      const row = find.get(block);
      return row === null ? undefined : { first: blockId(row.first), last: blockId(row.last) };
    },
    "forgotten.insert": ({ first, last }) => void insert.run(first, last),
    "forgotten.deleteBetween": (first, last) => void remove.run(first, last),
  };
}

function abandonedArea(database: Database): Area<"abandoned"> {
  const put = database.prepare("INSERT OR REPLACE INTO abandoned (block, server) VALUES (?, ?)");
  const remove = database.prepare("DELETE FROM abandoned WHERE block = ?");
  return {
    "abandoned.put": (block, server) => void put.run(block, server),
    "abandoned.delete": (block) => void remove.run(block),
  };
}

function reclaimArea(database: Database): Area<"reclaim"> {
  const put = database.prepare("INSERT OR REPLACE INTO reclaim (inode, since) VALUES (?, ?)");
  const get = database.prepare<{ since: bigint }, [bigint]>(
    "SELECT since FROM reclaim WHERE inode = ?",
  );
  const list = database.prepare<{ inode: bigint; since: bigint }, [number]>(
    "SELECT inode, since FROM reclaim ORDER BY inode LIMIT +?",
  );
  const remove = database.prepare("DELETE FROM reclaim WHERE inode = ?");
  return {
    "reclaim.put": (entry) => void put.run(entry.inode, entry.sinceNs),
    "reclaim.get": (inode) => {
      const row = get.get(inode);
      return row === null ? undefined : { inode, sinceNs: row.since };
    },
    "reclaim.list": (limit) =>
      list.all(limit).map((row) => ({ inode: inodeId(row.inode), sinceNs: row.since })),
    "reclaim.delete": (inode) => void remove.run(inode),
  };
}

function cutArea(database: Database): Area<"cut"> {
  const put = database.prepare("INSERT OR REPLACE INTO cuts (inode, start) VALUES (?, ?)");
  const get = database.prepare<{ start: bigint }, [bigint]>(
    "SELECT start FROM cuts WHERE inode = ?",
  );
  const list = database.prepare<{ inode: bigint }, [number]>(
    "SELECT inode FROM cuts ORDER BY inode LIMIT +?",
  );
  const remove = database.prepare("DELETE FROM cuts WHERE inode = ?");
  return {
    "cut.put": (inode, start) => void put.run(inode, start),
    "cut.get": (inode) => {
      const row = get.get(inode);
      return row === null ? undefined : Number(row.start);
    },
    "cut.list": (limit) => list.all(limit).map((row) => inodeId(row.inode)),
    "cut.delete": (inode) => void remove.run(inode),
  };
}

function repairArea(database: Database): Area<"repair"> {
  const get = database.prepare<RepairColumns, [bigint]>("SELECT * FROM repairs WHERE block = ?");
  const put = database.prepare(
    "INSERT OR REPLACE INTO repairs (block, missing, urgency, reason, since) VALUES (?, ?, ?, ?, ?)",
  );
  const remove = database.prepare("DELETE FROM repairs WHERE block = ?");
  const getMany = new ListStatement<RepairColumns>(
    database,
    (blocks) => `SELECT * FROM repairs WHERE block IN ${blocks}`,
  );
  const removeMany = new ListStatement<never>(
    database,
    (blocks) => `DELETE FROM repairs WHERE block IN ${blocks}`,
  );
  const putOne = ({ block, missing, urgency, reason, sinceNs }: Repair): void =>
    void put.run(block, missing, urgency, REASONS.number(reason), sinceNs);
  // Not with (urgency, block) > (?, ?): of a pair with the key of the table SQLite looks for the first one only, and goes through
  // all rows of that urgency (seen with 3.54.1: 48 ms for a page behind a million).
  const rest = database.prepare<RepairColumns, [number, bigint, number]>(
    "SELECT * FROM repairs WHERE urgency = +? AND block > ? ORDER BY block LIMIT +?",
  );
  const behind = database.prepare<RepairColumns, [number, number]>(
    "SELECT * FROM repairs WHERE urgency > +? ORDER BY urgency, block LIMIT +?",
  );
  const total = database.prepare<{ total: bigint }, []>(
    "SELECT ifnull(sum(missing), 0) AS total FROM repairs",
  );
  return {
    "repair.get": (block) => {
      const row = get.get(block);
      return row === null ? undefined : repairOf(row);
    },
    "repair.getMany": (blocks) => getMany.all(blocks).map(repairOf),
    "repair.put": putOne,
    "repair.putMany": (repairs) => repairs.forEach(putOne),
    "repair.delete": (block) => void remove.run(block),
    "repair.deleteMany": (blocks) => void removeMany.run(blocks),
    "repair.list": (urgency, after, limit) => {
      const rows = rest.all(urgency, after, limit);
      if (rows.length < limit) rows.push(...behind.all(urgency, limit - rows.length));
      return rows.map(repairOf);
    },
    "repair.total": () => Number(total.get()?.total ?? 0n),
  };
}

function surveyArea(database: Database): Area<"survey"> {
  const put = database.prepare("INSERT OR REPLACE INTO surveys (server, after) VALUES (?, ?)");
  const list = database.prepare<{ server: bigint; after: bigint }, []>(
    "SELECT server, after FROM surveys ORDER BY server",
  );
  const remove = database.prepare("DELETE FROM surveys WHERE server = ?");
  return {
    "survey.put": (survey) => void put.run(survey.server, survey.after),
    "survey.list": () =>
      list
        .all()
        .map((row) => ({ server: serverId(Number(row.server)), after: blockId(row.after) })),
    "survey.delete": (server) => void remove.run(server),
  };
}

function reservationOf(row: ReservationColumns): Reservation {
  return {
    first: blockId(row.first),
    count: Number(row.count),
    session: sessionId(row.session),
    used: row.used,
    endedNs: orUndefined(row.ended),
  };
}

function repairOf(row: RepairColumns): Repair {
  return {
    block: blockId(row.block),
    missing: Number(row.missing),
    urgency: Number(row.urgency),
    reason: REASONS.name(row.reason),
    sinceNs: row.since,
  };
}
