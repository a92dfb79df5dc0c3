/**
 * Reserved block ids: promised to one session, each good for one commit.
 *
 * A reservation is one row with a bitmap of the ids that were committed. It goes when all are. When its session ends,
 * the rest is garbage: after a grace period, in which writes under way arrive, the ids are deleted on the servers, and
 * then the row is forgotten. What is not in a live reservation cannot be committed, so nothing collected is ever named.
 */
import { DfsError } from "../../../../base/errors.ts";
import { blockId, type BlockId, type SessionId } from "../../../../base/ids.ts";
import { MAX_RESERVED_BLOCKS } from "../../../../base/limits.ts";
import type * as messages from "../../../../protocol/messages/content.ts";
import type { Reservation } from "../../store/rows.ts";
import { ask, type Operation } from "../../store/store.ts";
import type { Body, Done, OperationContext } from "../context.ts";
import { recordAllForgotten } from "./forgotten.ts";

/** @throws DfsError `invalid`. */
export function* reserve(
  context: OperationContext,
  body: Body<typeof messages.reserve>,
): Operation<Done<typeof messages.reserve>> {
  if (body.count < 1 || body.count > MAX_RESERVED_BLOCKS) {
    throw new DfsError(
      "invalid",
      `a reservation is for 1 to ${MAX_RESERVED_BLOCKS} blocks, not ${body.count}`,
    );
  }
  const first = context.ids.nextBlocks(body.count);
  yield* ask("reservation.insert", {
    first,
    count: body.count,
    session: context.session,
    used: new Uint8Array(Math.ceil(body.count / 8)),
    endedNs: undefined,
  });
  return { first, count: body.count, placementVersion: yield* ask("placement.version") };
}

/**
 * Takes ids out of reservations of the session.
 * @throws DfsError `stale` when one is not reserved by this session, or was committed already.
 */
export function* claimBlocks(session: SessionId, blocks: readonly BlockId[]): Operation<void> {
  const touched: Reservation[] = [];
  // In order of id those of one reservation are neighbours, so that each is looked at for its own ids only.
  for (const block of blocks.toSorted(byId)) {
    let reservation = touched.at(-1);
    if (reservation === undefined || !liesIn(reservation, block)) {
      reservation = yield* ownReservation(session, block);
      touched.push(reservation);
    }
    useId(reservation, block);
  }
  for (const reservation of touched) {
    if (isUsedUp(reservation)) yield* ask("reservation.delete", reservation.first);
    else yield* ask("reservation.setUsed", reservation.first, reservation.used);
  }
}

/** Ids that ended sessions reserved and never committed. */
export interface Orphans {
  /** Names the reservation, for `forgetReservation`. */
  readonly first: BlockId;
  readonly blocks: readonly BlockId[];
}

/** Orphans of sessions that ended at `beforeNs` or earlier: their blocks may be deleted on every server. */
export function* orphans(beforeNs: bigint, limit: number): Operation<Orphans[]> {
  const ended = yield* ask("reservation.listEnded", beforeNs, limit);
  return ended.map((each) => ({ first: each.first, blocks: unusedIds(each) }));
}

/** The orphans' blocks are gone from the servers, and dead for good. @throws DfsError `invalid` when the session has not ended. */
export function* forgetReservation(first: BlockId): Operation<void> {
  const reservation = yield* ask("reservation.find", first);
  if (reservation === undefined || reservation.first !== first) return;
  if (reservation.endedNs === undefined) {
    throw new DfsError("invalid", `the reservation of block ${first} is still in use`);
  }
  yield* ask("reservation.delete", first);
  yield* recordAllForgotten(unusedIds(reservation));
}

/** The ids that were not committed. */
export function unusedIds(reservation: Reservation): BlockId[] {
  const ids: BlockId[] = [];
  for (let index = 0; index < reservation.count; index++) {
    if (!isUsed(reservation, index)) ids.push(blockId(reservation.first + BigInt(index)));
  }
  return ids;
}

function isUsedUp({ used, count }: Reservation): boolean {
  const whole = count >> 3;
  for (let at = 0; at < whole; at++) if (used[at] !== 0xff) return false;
  return (count & 7) === 0 || used[whole] === (1 << (count & 7)) - 1;
}

function* ownReservation(session: SessionId, block: BlockId): Operation<Reservation> {
  const found = yield* ask("reservation.find", block);
  if (found === undefined || found.session !== session || found.endedNs !== undefined) {
    throw new DfsError(
      "stale",
      `block ${block} is not reserved by this session; write it again under a new id`,
    );
  }
  return { ...found, used: found.used.slice() };
}

function useId(reservation: Reservation, block: BlockId): void {
  const index = Number(block - reservation.first);
  if (isUsed(reservation, index)) {
    throw new DfsError(
      "stale",
      `block ${block} was committed already; write it again under a new id`,
    );
  }
  const at = index >> 3;
  reservation.used[at] = (reservation.used[at] ?? 0) | (1 << (index & 7));
}

function isUsed(reservation: Reservation, index: number): boolean {
  return ((reservation.used[index >> 3] ?? 0) & (1 << (index & 7))) !== 0;
}

function byId(left: BlockId, right: BlockId): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

function liesIn(reservation: Reservation, block: BlockId): boolean {
  return block >= reservation.first && block < reservation.first + BigInt(reservation.count);
}
