/** Primitives of locks on SQLite. */
import type { Database } from "bun:sqlite";
import { inodeId, sessionId } from "../../../../base/ids.ts";
import type { LockKind } from "../../../../protocol/messages/locks.ts";
import type { LockPrimitives } from "../primitives/locks.ts";
import type { Lock } from "../rows.ts";
import { Enumeration, toSigned, toUnsigned } from "./convert.ts";

const KINDS = new Enumeration<LockKind>("kind of lock", { posix: 0, flock: 1 });
const TYPES = new Enumeration<Lock["type"]>("type of lock", { shared: 1, exclusive: 2 });

interface LockColumns {
  readonly inode: bigint;
  readonly kind: bigint;
  readonly session: bigint;
  readonly owner: bigint;
  readonly start: bigint;
  readonly end: bigint;
  readonly type: bigint;
  readonly pid: bigint;
}

interface WaitColumns extends LockColumns {
  readonly number: bigint;
}

const COLUMNS = "inode, kind, session, owner, start, end, type, pid";

export function lockPrimitives(database: Database): LockPrimitives {
  return { ...heldArea(database), ...waitArea(database) };
}

type Area<Prefix extends string> = Pick<
  LockPrimitives,
  Extract<keyof LockPrimitives, `${Prefix}.${string}`>
>;

function heldArea(database: Database): Area<"lock"> {
  const any = database.prepare<{ found: bigint }, [bigint]>(
    "SELECT 1 AS found FROM locks WHERE inode = ? LIMIT 1",
  );
  const list = database.prepare<LockColumns, [bigint, number]>(
    "SELECT * FROM locks WHERE inode = +? AND kind = +? ORDER BY start, session, owner",
  );
  const ofSession = database.prepare<LockColumns, [bigint, number]>(
    "SELECT * FROM locks WHERE session = +? LIMIT +?",
  );
  const put = database.prepare(
    `INSERT OR REPLACE INTO locks (${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const remove = database.prepare(
    "DELETE FROM locks WHERE inode = ? AND kind = ? AND session = ? AND owner = ? AND start = ?",
  );
  return {
    "lock.any": (inode) => any.get(inode) !== null,
    "lock.list": (inode, kind) => list.all(inode, KINDS.number(kind)).map(lockOf),
    "lock.ofSession": (session, limit) => ofSession.all(session, limit).map(lockOf),
    "lock.put": (lock) => void put.run(...columnsOf(lock)),
    "lock.delete": ({ inode, kind, session, owner, start }) =>
      void remove.run(inode, KINDS.number(kind), session, toSigned(owner), start),
  };
}

function waitArea(database: Database): Area<"lockWait"> {
  const insert = database.prepare(
    `INSERT INTO lock_waits (${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const list = database.prepare<WaitColumns, [bigint, number]>(
    "SELECT * FROM lock_waits WHERE inode = +? AND kind = +? ORDER BY number",
  );
  const ofOwner = database.prepare<WaitColumns, [bigint, bigint]>(
    "SELECT * FROM lock_waits WHERE session = ? AND owner = ?",
  );
  const ofSession = database.prepare<WaitColumns, [bigint, number]>(
    "SELECT * FROM lock_waits WHERE session = +? LIMIT +?",
  );
  const remove = database.prepare("DELETE FROM lock_waits WHERE number = ?");
  const waitOf = (row: WaitColumns) => ({ ...lockOf(row), number: row.number });
  return {
    "lockWait.insert": (wait) => void insert.run(...columnsOf(wait)),
    "lockWait.list": (inode, kind) => list.all(inode, KINDS.number(kind)).map(waitOf),
    "lockWait.ofOwner": (session, owner) => ofOwner.all(session, toSigned(owner)).map(waitOf),
    "lockWait.ofSession": (session, limit) => ofSession.all(session, limit).map(waitOf),
    "lockWait.delete": (number) => void remove.run(number),
  };
}

function columnsOf(lock: Lock): (bigint | number)[] {
  const { inode, session, owner, start, end, pid } = lock;
  const kind = KINDS.number(lock.kind);
  return [inode, kind, session, toSigned(owner), start, end, TYPES.number(lock.type), pid];
}

function lockOf(row: LockColumns): Lock {
  return {
    inode: inodeId(row.inode),
    kind: KINDS.name(row.kind),
    session: sessionId(row.session),
    owner: toUnsigned(row.owner),
    type: TYPES.name(row.type),
    pid: Number(row.pid),
    start: Number(row.start),
    end: Number(row.end),
  };
}
