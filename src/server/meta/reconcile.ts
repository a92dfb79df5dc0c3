/**
 * Compares what a data server holds with what metadata has on record, when it has registered.
 *
 * For every block id there is one row of this table; nothing is deleted on suspicion.
 *
 *     on record for the server     held    decision
 *     present                      yes     fine (other length or checksum: the copy is lost, as below)
 *     present                      no      the copy becomes `bad`, what is missing goes on record
 *     adding, bad                  either  left to whoever makes or mends the copy
 *     removing                     either  left to the reaper
 *     nothing, block live          yes     a late copy or one that came back: recorded if length and checksum match
 *     nothing, block dead          yes     recorded as `removing`, which the reaper deletes
 *     nothing, no such block       yes     reserved: left, the session may commit it, or the reaper deletes it when
 *                                          the session has ended; otherwise unknown: left, counted, logged
 *
 * A page of the record is taken before the page of the server is asked for: what was on record by then was durable on
 * the server, unless it has been lost. What is held and was not on record then is looked up again inside the transaction.
 */
import { blockId, type BlockId, type ServerId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import type { ReplyOf } from "../../protocol/message.ts";
import { blockList } from "../../protocol/messages/data.ts";
import type { Engine } from "./engine.ts";
import type { Member } from "./members.ts";
import { markAllLost, markLost, recordMissing } from "./replica-operations.ts";
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
  /** Copies of dead blocks that were not on record, to be deleted. */
  dead: number;
  /** Blocks reserved by a session and not committed. */
  reserved: number;
  /** Blocks that metadata knows nothing of; they are left where they are. */
  unknown: number;
}

export interface ReconcileContext {
  readonly engine: Engine;
  readonly logger: Logger;
  readonly pageSize?: number;
}

/**
 * Goes through everything that `member` holds, page by page.
 * @throws DfsError when the server cannot be asked to the end; it registers again then.
 */
export async function reconcile(
  context: ReconcileContext,
  member: Member,
): Promise<Reconciliation> {
  const limit = context.pageSize ?? PAGE;
  const total: Reconciliation = { held: 0, lost: 0, found: 0, dead: 0, reserved: 0, unknown: 0 };
  for (let after: BlockId | undefined = NO_BLOCK; after !== undefined;) {
    after = await reconcilePage(context, member, after, limit, total);
  }
  report(context.logger, member.server, total);
  return total;
}

/** Returns the last id that was dealt with; undefined when that was the last page. */
async function reconcilePage(
  { engine }: ReconcileContext,
  { server, peer }: Member,
  after: BlockId,
  limit: number,
  total: Reconciliation,
): Promise<BlockId | undefined> {
  const recorded = await engine.question(() => ask("replica.listWithBlocks", server, after, limit));
  const { body } = await peer.request(blockList, { after, limit }, { timeoutMs: LIST_TIMEOUT_MS });
  const end = commonEnd(recorded, recorded.length === limit, body);
  const { held, missing, odd } = compare(recorded, body.blocks, end);
  total.held += held;
  const settling = { server, replicas: engine.settings.replicas };
  if (missing.length > 0) {
    total.lost += await engine.change(() =>
      markAllLost(missing, server, settling.replicas, engine.nowNs),
    );
  }
  if (odd.length > 0) {
    const verdicts = await engine.change(() =>
      settleHeld({ ...settling, nowNs: engine.nowNs }, odd),
    );
    for (const verdict of verdicts) total[verdict]++;
  }
  return end;
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
  /** On record as present, and not held at all. */
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
    recorded.filter((each) => each.state === "present").map((each) => [each.block, each]),
  );
  const inside = (block: BlockId): boolean => end === undefined || block <= end;
  const held = blocks.filter((each) => inside(each.block));
  const odd = held.filter((each) => !isSame(each, expected.get(each.block)));
  for (const each of held) expected.delete(each.block);
  const missing = [...expected.keys()].filter(inside);
  return { held: held.length, missing, odd };
}

/** What the decisions about one server's copies depend on. */
interface Settling {
  readonly server: ServerId;
  readonly replicas: number;
  readonly nowNs: bigint;
}

function* settleHeld(
  settling: Settling,
  batch: readonly Held[],
): Operation<(keyof Reconciliation)[]> {
  const verdicts: (keyof Reconciliation)[] = [];
  for (const held of batch) {
    const verdict = yield* settleOne(settling, held);
    if (verdict !== undefined) verdicts.push(verdict);
  }
  return verdicts;
}

/** Decides about one held copy, as the table above says. */
function* settleOne(settling: Settling, held: Held): Operation<keyof Reconciliation | undefined> {
  const { server, replicas, nowNs } = settling;
  const block = yield* ask("block.get", held.block);
  const state = yield* ask("replica.get", held.block, server);
  if (block === undefined) return state === undefined ? yield* settleUnnamed(held) : undefined;
  if (block.state === "dead")
    return state === undefined ? yield* settleDead(settling, held) : undefined;
  if (state === undefined) return yield* settleSurplus(settling, held, block);
  if (state !== "present" || isSame(held, block)) return undefined;
  return (yield* markLost(held.block, server, replicas, nowNs)) ? "lost" : undefined;
}

/** Metadata has no block of this id. */
function* settleUnnamed(held: Held): Operation<keyof Reconciliation> {
  const reservation = yield* ask("reservation.find", held.block);
  return reservation === undefined ? "unknown" : "reserved";
}

/** A dead block, and it was not known that this server has it. */
function* settleDead(settling: Settling, held: Held): Operation<keyof Reconciliation> {
  yield* ask("replica.put", { block: held.block, server: settling.server, state: "removing" });
  return "dead";
}

/** A live block, and it was not known that this server has it. */
function* settleSurplus(
  settling: Settling,
  held: Held,
  block: Block,
): Operation<keyof Reconciliation> {
  if (!isSame(held, block)) return "unknown";
  yield* ask("replica.put", { block: held.block, server: settling.server, state: "present" });
  yield* recordMissing(held.block, settling.replicas, "badReplica", settling.nowNs);
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
