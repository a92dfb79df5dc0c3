/**
 * Compares what a data server holds with what metadata has on record, when it has registered.
 *
 * For every block id there is one row of this table; nothing is deleted on suspicion.
 *
 *     on record for the server     held    decision
 *     present                      yes     fine (other length or checksum: the copy is lost, as below)
 *     present                      no      the copy becomes `bad`, what is missing goes on record
 *     adding                       yes     nobody knows whether that copy was finished: it becomes `bad`, is verified
 *                                          on its server, and mended or counted then
 *     adding                       no      it was never finished: forgotten
 *     bad                          either  left to whoever mends the copy
 *     removing                     either  left to the reaper
 *     nothing, block live          yes     a late copy or one that came back: recorded if length and checksum match
 *     nothing, block dead          yes     recorded as `removing`, which the reaper deletes
 *     nothing, no such block       yes     forgotten: it is dead for good, recorded as `removing`;
 *                                          reserved: left, the session may commit it, or the reaper deletes it when
 *                                          the session has ended; otherwise unknown: left, counted, logged
 *
 * A page of the record is taken before the page of the server is asked for: what was on record by then was durable on
 * the server, unless it has been lost. What is held and was not on record then is looked up again inside the transaction.
 * While the comparison lasts nothing is copied to the server that it has yet to come to, and no deletion is ordered there, and what was ordered before
 * it registered has ended: so what `data.list` shows stays true, and every copy that is `adding` is one of before. (What is copied to a server that
 * has lost its disk, behind the comparison, stays `bad` until it is there.)
 */
import { DfsError } from "../../base/errors.ts";
import { blockId, type BlockId, type ServerId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import type { ReplyOf } from "../../protocol/message.ts";
import { blockList } from "../../protocol/messages/data.ts";
import type { Engine } from "./engine.ts";
import type { Member } from "./members.ts";
import { isForgotten } from "./namespace/operations.ts";
import { giveUpEmptied, isBeingFilled } from "./reconcile-emptied.ts";
import { clusterView, type ClusterView } from "./repair/need.ts";
import { onPage, readPage, writePage, type BlockPage } from "./repair/page.ts";
import { markLost } from "./replica-operations.ts";
import type { Block, ReplicaWithBlock } from "./store/rows.ts";
import { ask, type Operation } from "./store/store.ts";

const LIST_TIMEOUT_MS = 30_000;

/** Copies compared at a time: few enough that the event loop is never held long. */
const PAGE = 2048;

/** Below every block id. */
const NO_BLOCK = blockId(0n);

type Held = ReplyOf<typeof blockList>["blocks"][number];

/** What a comparison found. */
export interface Reconciliation {
  /** Copies held, on record or not. */
  held: number;
  /** Copies on record that the server does not hold, or holds with other bytes. */
  lost: number;
  /** Copies of live blocks that were not on record and are now. */
  found: number;
  /** Copies of dead blocks that were not on record, be it that these are forgotten; to be deleted. */
  dead: number;
  /** Copies that were being made: those held are to be verified, the others are forgotten. */
  unfinished: number;
  /** Blocks reserved by a session and not committed. */
  reserved: number;
  /** Blocks that metadata knows nothing of; they are left where they are. */
  unknown: number;
}

export interface ReconcileContext {
  readonly engine: Engine;
  readonly logger: Logger;
  readonly pageSize?: number;
  /** The server has lost its disk, and of its copies up to `reach` those that it does not hold have been given up. */
  readonly onEmptied?: (member: Member, reach: BlockId) => void;
}

/**
 * Goes through everything that `member` holds, page by page.
 * @throws DfsError when the server cannot be asked to the end, and registers again then; or when it has been removed.
 */
export async function reconcile(
  context: ReconcileContext,
  member: Member,
): Promise<Reconciliation> {
  const limit = context.pageSize ?? PAGE;
  const total: Reconciliation = {
    held: 0,
    lost: 0,
    found: 0,
    dead: 0,
    unfinished: 0,
    reserved: 0,
    unknown: 0,
  };
  const { engine } = context;
  const { server } = member;
  const isEmptied = await isBeingFilled(engine, server);
  const list = (after: BlockId, most: number) => listHeld(member, after, most);
  // Before anything is given up: what its pass is to make is not made elsewhere in between.
  if (isEmptied) context.onEmptied?.(member, NO_BLOCK);
  for (let after: BlockId | undefined = NO_BLOCK; after !== undefined;) {
    if (isEmptied) {
      for await (const given of giveUpEmptied(engine, server, list, after, limit)) {
        total.lost += given.lost;
        after = given.last;
        context.onEmptied?.(member, given.last);
      }
    }
    after = await reconcilePage(context, member, after, limit, total);
    if (isEmptied && after !== undefined) context.onEmptied?.(member, after);
  }
  report(context.logger, member.server, total);
  return total;
}

/** Returns the last id that was dealt with; undefined when that was the last page. */
async function reconcilePage(
  { engine }: ReconcileContext,
  member: Member,
  after: BlockId,
  limit: number,
  total: Reconciliation,
): Promise<BlockId | undefined> {
  const { server } = member;
  const recorded = await engine.question(() => ask("replica.listWithBlocks", server, after, limit));
  const body = await listHeld(member, after, limit);
  const end = commonEnd(recorded, recorded.length === limit, body);
  const { held, missing, odd } = compare(recorded, body.blocks, end);
  total.held += held;
  const { replicas } = engine.settings;
  const verdicts = [
    ...(missing.length === 0
      ? []
      : await engine.change(() => settleMissing(server, replicas, engine.nowNs, missing))),
    ...(odd.length === 0
      ? []
      : await engine.change(() => settleHeld(server, replicas, engine.nowNs, odd))),
  ];
  for (const verdict of verdicts) total[verdict]++;
  return end;
}

/** What the server holds behind a block. @throws DfsError as `refuseOddPage`, and when it cannot be asked. */
async function listHeld(
  { server, peer }: Member,
  after: BlockId,
  limit: number,
): Promise<ReplyOf<typeof blockList>> {
  const { body } = await peer.request(blockList, { after, limit }, { timeoutMs: LIST_TIMEOUT_MS });
  refuseOddPage(server, after, body);
  return body;
}

/** @throws DfsError `protocol` when it is no page behind `after`: going on from it would never end, or take copies for lost. */
function refuseOddPage(
  server: ServerId,
  after: BlockId,
  { blocks, more }: ReplyOf<typeof blockList>,
): void {
  const isRising = blocks.every(({ block }, at) => block > (blocks[at - 1]?.block ?? after));
  if (isRising && (blocks.length > 0 || !more)) return;
  throw new DfsError(
    "protocol",
    `data server ${server} lists no rising page of its blocks behind ${after}: it must not be used`,
  );
}

/** The last id that both pages cover; undefined when both go to the end. */
function commonEnd(
  recorded: readonly ReplicaWithBlock[],
  moreRecorded: boolean,
  page: ReplyOf<typeof blockList>,
): BlockId | undefined {
  const ends = [
    moreRecorded ? recorded.at(-1)?.block : undefined,
    page.more ? page.blocks.at(-1)?.block : undefined,
  ].filter((end) => end !== undefined);
  return ends.length === 0 ? undefined : ends.reduce((one, other) => (one < other ? one : other));
}

interface Comparison {
  readonly held: number;
  /** On record as present or being made, and not held at all. */
  readonly missing: readonly BlockId[];
  /** Held, and not on record as present with these bytes. */
  readonly odd: readonly Held[];
}

function compare(
  recorded: readonly ReplicaWithBlock[],
  blocks: readonly Held[],
  end: BlockId | undefined,
): Comparison {
  const expected = new Map(
    recorded
      .filter(({ state }) => state === "present" || state === "adding")
      .map((each) => [each.block, each]),
  );
  const inside = (block: BlockId): boolean => end === undefined || block <= end;
  const held = blocks.filter((each) => inside(each.block));
  const isFine = (each: Held): boolean => {
    const row = expected.get(each.block);
    return row?.state === "present" && isSame(each, row);
  };
  const odd = held.filter((each) => !isFine(each));
  for (const each of held) expected.delete(each.block);
  const missing = [...expected.keys()].filter(inside);
  return { held: held.length, missing, odd };
}

type Verdict = keyof Reconciliation;

function* settleMissing(
  server: ServerId,
  replicas: number,
  nowNs: bigint,
  blocks: readonly BlockId[],
): Operation<Verdict[]> {
  const view = yield* clusterView(replicas, nowNs);
  return yield* onPage(view, blocks, (page) =>
    blocks.map((block) => settleLost(page, server, block)).filter((each) => each !== undefined),
  );
}

/** Decides about a copy that is not held. */
function settleLost(page: BlockPage, server: ServerId, block: BlockId): Verdict | undefined {
  if (page.copyOn(block, server) !== "adding") {
    return markLost(page, block, server) ? "lost" : undefined;
  }
  page.setCopy(block, server, undefined);
  return "unfinished";
}

function* settleHeld(
  server: ServerId,
  replicas: number,
  nowNs: bigint,
  batch: readonly Held[],
): Operation<Verdict[]> {
  const view = yield* clusterView(replicas, nowNs);
  refuseRemoved(server, view);
  const ids = batch.map(({ block }) => block);
  const page = yield* readPage(view, ids);
  const verdicts: (Verdict | undefined)[] = [];
  for (const held of batch) {
    const block = page.block(held.block);
    const isOnRecord = block !== undefined || page.copyOn(held.block, server) !== undefined;
    const verdict = isOnRecord
      ? settleOnRecord(page, server, held)
      : yield* settleUnnamed(page, server, held);
    verdicts.push(verdict);
  }
  yield* writePage(page);
  return verdicts.filter((each) => each !== undefined);
}

/**
 * Nothing may go on record of a server that was removed since its page was taken: nobody would ever take it off again.
 * @throws DfsError `notFound`.
 */
function refuseRemoved(server: ServerId, view: ClusterView): void {
  if (view.servers.has(server)) return;
  throw new DfsError("notFound", `data server ${server} was removed while it was compared`);
}

/** Decides about one held copy, as the table above says. */
function settleOnRecord(page: BlockPage, server: ServerId, held: Held): Verdict | undefined {
  const block = page.block(held.block);
  if (block === undefined) return undefined;
  const state = page.copyOn(held.block, server);
  if (block.state === "dead") {
    return state === undefined ? settleDead(page, server, held) : undefined;
  }
  if (state === undefined) return settleSurplus(page, server, held, block);
  if (state === "adding") return settleUnfinished(page, server, block);
  if (state !== "present" || isSame(held, block)) return undefined;
  return markLost(page, held.block, server) ? "lost" : undefined;
}

/** A copy that was being made for a live block. */
function settleUnfinished(page: BlockPage, server: ServerId, block: Block): Verdict {
  page.setCopy(block.id, server, "bad");
  page.judge(block, "badReplica");
  return "unfinished";
}

/** Metadata has no block of this id: not any more, not yet, or it is older than the block. */
function* settleUnnamed(page: BlockPage, server: ServerId, held: Held): Operation<Verdict> {
  if (yield* isForgotten(held.block)) return settleDead(page, server, held);
  const reservation = yield* ask("reservation.find", held.block);
  return reservation === undefined ? "unknown" : "reserved";
}

/** A dead block, and it was not known that this server has it. */
function settleDead(page: BlockPage, server: ServerId, held: Held): Verdict {
  page.setCopy(held.block, server, "removing");
  return "dead";
}

/** A live block, and it was not known that this server has it. */
function settleSurplus(page: BlockPage, server: ServerId, held: Held, block: Block): Verdict {
  if (!isSame(held, block)) return "unknown";
  page.setCopy(held.block, server, "present");
  page.judge(block, "badReplica");
  return "found";
}

function isSame(
  held: Held,
  recorded: Pick<ReplicaWithBlock, "length" | "checksum"> | undefined,
): boolean {
  return held.length === recorded?.length && held.checksum === recorded.checksum;
}

function report(logger: Logger, server: ServerId, found: Reconciliation): void {
  const { held, ...rest } = found;
  if (found.lost > 0) {
    logger.warn(
      `data server ${server} lacks copies that it should hold; they are on record for repair`,
      {
        copies: found.lost,
      },
    );
  }
  if (found.unknown > 0) {
    logger.warn(
      `data server ${server} holds blocks that metadata does not know; they are left alone`,
      {
        blocks: found.unknown,
      },
    );
  }
  logger.info(`compared data server ${server} with the record`, { held, ...rest });
}
