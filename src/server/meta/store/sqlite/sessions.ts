/** Primitives of sessions, stored replies and open inodes on SQLite. */
import type { Database } from "bun:sqlite";
import { blockId, inodeId, sessionId } from "../../../../base/ids.ts";
import type { SessionPrimitives } from "../primitives/sessions.ts";
import type { Session, SessionState } from "../rows.ts";
import { Enumeration, orNull, orUndefined, toSigned, toUnsigned } from "./convert.ts";

const STATES = new Enumeration<SessionState>("session state", { live: 0, closed: 1, expired: 2 });

interface SessionColumns {
  readonly id: bigint;
  readonly token: bigint;
  readonly label: string;
  readonly state: bigint;
  readonly opened: bigint;
  readonly ended: bigint | null;
  readonly acknowledged: bigint;
}

type Area<Prefix extends string> = Pick<
  SessionPrimitives,
  Extract<keyof SessionPrimitives, `${Prefix}.${string}`>
>;

export function sessionPrimitives(database: Database): SessionPrimitives {
  return {
    ...sessionArea(database),
    ...endingArea(database),
    ...replyArea(database),
    ...openArea(database),
  };
}

function sessionArea(database: Database): Area<"session"> {
  const insert = database.prepare(
    "INSERT INTO sessions (id, token, label, state, opened, ended, acknowledged) VALUES (?, ?, ?, ?, ?, ?, ?)",
  );
  const get = database.prepare<SessionColumns, [bigint]>("SELECT * FROM sessions WHERE id = ?");
  const list = database.prepare<SessionColumns, [number, bigint, number]>(
    "SELECT * FROM sessions WHERE state = +? AND id > ? ORDER BY id LIMIT +?",
  );
  const count = database.prepare<{ total: bigint }, [number]>(
    "SELECT count(*) AS total FROM sessions WHERE state = ?",
  );
  const end = database.prepare("UPDATE sessions SET state = ?, ended = ? WHERE id = ?");
  const acknowledge = database.prepare("UPDATE sessions SET acknowledged = ? WHERE id = ?");
  const remove = database.prepare("DELETE FROM sessions WHERE id = ?");
  return {
    "session.insert": (row) =>
      void insert.run(
        row.id,
        toSigned(row.token),
        row.label,
        STATES.number(row.state),
        row.openedNs,
        orNull(row.endedNs),
        row.acknowledged,
      ),
    "session.get": (session) => {
      const row = get.get(session);
      return row === null ? undefined : sessionOf(row);
    },
    "session.list": (state, after, limit) =>
      list.all(STATES.number(state), after, limit).map(sessionOf),
    "session.count": (state) => Number(count.get(STATES.number(state))?.total ?? 0n),
    "session.end": (session, state, endedNs) =>
      void end.run(STATES.number(state), endedNs, session),
    "session.setAcknowledged": (session, acknowledged) =>
      void acknowledge.run(acknowledged, session),
    "session.delete": (session) => void remove.run(session),
  };
}

function endingArea(database: Database): Area<"ending"> {
  const put = database.prepare("INSERT OR REPLACE INTO ending (session, after) VALUES (?, ?)");
  const get = database.prepare<{ after: bigint }, [bigint]>(
    "SELECT after FROM ending WHERE session = ?",
  );
  const first = database.prepare<{ session: bigint | null }, []>(
    "SELECT min(session) AS session FROM ending",
  );
  const remove = database.prepare("DELETE FROM ending WHERE session = ?");
  return {
    "ending.put": (session, after) => void put.run(session, after),
    "ending.get": (session) => {
      const row = get.get(session);
      return row === null ? undefined : blockId(row.after);
    },
    "ending.first": () => {
      const session = first.get()?.session ?? null;
      return session === null ? undefined : sessionId(session);
    },
    "ending.delete": (session) => void remove.run(session),
  };
}

function replyArea(database: Database): Area<"reply"> {
  const get = database.prepare<{ reply: Uint8Array }, [bigint, bigint]>(
    "SELECT reply FROM replies WHERE session = ? AND operation = ?",
  );
  const insert = database.prepare(
    "INSERT INTO replies (session, operation, reply) VALUES (?, ?, ?)",
  );
  const nth = database.prepare<{ operation: bigint }, [bigint, number]>(
    "SELECT operation FROM replies WHERE session = +? ORDER BY operation LIMIT 1 OFFSET +?",
  );
  const trim = database.prepare("DELETE FROM replies WHERE session = ? AND operation <= ?");
  const removeAll = database.prepare("DELETE FROM replies WHERE session = ?");
  return {
    "reply.get": (session, operation) => get.get(session, operation)?.reply,
    "reply.insert": (session, operation, reply) => void insert.run(session, operation, reply),
    "reply.nth": (session, number) => nth.get(session, number - 1)?.operation,
    "reply.trim": (session, operation) => void trim.run(session, operation),
    "reply.deleteAll": (session) => void removeAll.run(session),
  };
}

function openArea(database: Database): Area<"open"> {
  const get = database.prepare<{ count: bigint }, [bigint, bigint]>(
    "SELECT count FROM opens WHERE session = ? AND inode = ?",
  );
  const put = database.prepare(
    "INSERT OR REPLACE INTO opens (session, inode, count) VALUES (?, ?, ?)",
  );
  const remove = database.prepare("DELETE FROM opens WHERE session = ? AND inode = ?");
  const any = database.prepare<{ found: bigint }, [bigint]>(
    "SELECT 1 AS found FROM opens WHERE inode = ? LIMIT 1",
  );
  const byOthers = database.prepare<{ found: bigint }, [bigint, bigint]>(
    "SELECT 1 AS found FROM opens WHERE inode = ? AND session <> ? LIMIT 1",
  );
  // From one session to the next: those that have something open are few, their inodes are not.
  const firstOfEnded = database.prepare<{ id: bigint }, []>(
    `WITH RECURSIVE opening (id) AS (
      SELECT min(session) FROM opens
      UNION ALL
      SELECT (SELECT min(session) FROM opens WHERE session > opening.id) FROM opening WHERE opening.id IS NOT NULL
    )
    SELECT s.id AS id FROM opening CROSS JOIN sessions s ON s.id = opening.id
      WHERE s.state <> ${STATES.number("live")} LIMIT 1`,
  );
  const list = database.prepare<{ inode: bigint; count: bigint }, [bigint, bigint, number]>(
    "SELECT inode, count FROM opens WHERE session = +? AND inode > ? ORDER BY inode LIMIT +?",
  );
  return {
    "open.get": (session, inode) => Number(get.get(session, inode)?.count ?? 0n),
    "open.put": (session, inode, count) => void put.run(session, inode, count),
    "open.delete": (session, inode) => void remove.run(session, inode),
    "open.any": (inode) => any.get(inode) !== null,
    "open.byOthers": (session, inode) => byOthers.get(inode, session) !== null,
    "open.firstOfEnded": () => {
      const row = firstOfEnded.get();
      return row === null ? undefined : sessionId(row.id);
    },
    "open.list": (session, after, limit) =>
      list
        .all(session, after, limit)
        .map((row) => ({ inode: inodeId(row.inode), count: Number(row.count) })),
  };
}

function sessionOf(row: SessionColumns): Session {
  return {
    id: sessionId(row.id),
    token: toUnsigned(row.token),
    label: row.label,
    state: STATES.name(row.state),
    openedNs: row.opened,
    endedNs: orUndefined(row.ended),
    acknowledged: row.acknowledged,
  };
}
