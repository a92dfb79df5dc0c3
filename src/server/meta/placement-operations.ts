/**
 * Operations on the placement table of the record: servers get a place in it, or lose it.
 *
 * Invariant: with every change of the table that makes blocks misplaced, surveys go on record in the same transaction that
 * will find these blocks. A block is misplaced by a slot that goes from one server to another only if the former has a copy,
 * so a survey of the servers that have given slots finds all of them; only while a server is out do others have copies
 * in its place without being on record for that, and then all servers are surveyed; so they are when it comes back to its
 * place (member-operations.ts).
 */
import { blockId, type ServerId } from "../../base/ids.ts";
import { decodeRows, encodeRows, type RingServer } from "../../base/placement.ts";
import { freshRows, ringOrder, rowsWithJoined, rowsWithout, slotsByServer } from "./placement.ts";
import type { Server } from "./store/rows.ts";
import { ask, type Operation } from "./store/store.ts";

/** Below every block id. */
const NO_BLOCK = blockId(0n);

/** The rows of a table. */
export type TableRows = readonly (readonly ServerId[])[];

/** The rows of the newest table; undefined while there is none. */
export function* currentRows(): Operation<TableRows | undefined> {
  const current = yield* ask("placement.current");
  return current === undefined ? undefined : decodeRows(current.rows, current.width);
}

/** Whether the table names the server. */
export function* hasPlace(server: ServerId): Operation<boolean> {
  const rows = yield* currentRows();
  return rows?.some((row) => row.includes(server)) ?? false;
}

/**
 * Gives a server its share of the table. While nothing is stored the table is made afresh; later the server only takes
 * over slots of others.
 */
export function* joinTable(
  width: number,
  others: readonly Server[],
  joined: Server,
): Operation<void> {
  const rows = yield* currentRows();
  const members = [...membersOf(rows, others), joined].map(ringServer);
  const ring = ringOrder(members);
  if (rows === undefined || (yield* holdsNothing(others))) {
    return yield* putRows(width, freshRows(ring, width));
  }
  const next = rowsWithJoined(rows, ring, joined.id, width);
  const before = slotsByServer(rows);
  const after = slotsByServer(next);
  yield* putRows(width, next);
  for (const [server, slots] of before) {
    if ((after.get(server) ?? 0) < slots) yield* survey(server);
  }
}

/**
 * Takes a server's slots away, for good. Returns false when it has none.
 * `all` are all servers of the record; `isOut`: the server is out, or is going to be in this transaction.
 */
export function* leaveTable(
  width: number,
  all: readonly Server[],
  leaving: ServerId,
  isOut: boolean,
): Operation<boolean> {
  const rows = yield* currentRows();
  if (!(rows?.some((row) => row.includes(leaving)) ?? false)) return false;
  yield* putRows(width, rowsAfterLeave(rows!, all, leaving));
  for (const { id } of isOut ? all : all.filter((each) => each.id === leaving)) yield* survey(id);
  return true;
}

/** What the table would be without a server. */
export function rowsAfterLeave(
  rows: TableRows,
  all: readonly Server[],
  leaving: ServerId,
): ServerId[][] {
  const heirs = membersOf(rows, all).filter(({ id, state }) => id !== leaving && state !== "out");
  return rowsWithout(rows, ringOrder(heirs.map(ringServer)), leaving);
}

/** The servers that the table names. */
export function membersOf(rows: TableRows | undefined, all: readonly Server[]): Server[] {
  const named = new Set(rows?.flat());
  return all.filter(({ id }) => named.has(id));
}

/** Has all copies of a server judged anew. */
export function* survey(server: ServerId): Operation<void> {
  yield* ask("survey.put", { server, after: NO_BLOCK });
}

export function ringServer(server: Server): RingServer {
  return { server: server.id, zone: server.zone };
}

function* putRows(width: number, rows: TableRows): Operation<void> {
  const version = (yield* ask("placement.version")) + 1n;
  yield* ask("placement.put", { version, width, rows: encodeRows({ version, width, rows }) });
}

function* holdsNothing(servers: readonly Server[]): Operation<boolean> {
  for (const { id } of servers) {
    if ((yield* ask("replica.listByServer", id, NO_BLOCK, 1)).length > 0) return false;
  }
  return true;
}
