/**
 * Making blocks live: their copies go on record as the servers acknowledged them, and copies that are missing go on
 * record for repair, in the transaction that names the blocks.
 */
import { DfsError } from "../../../../base/errors.ts";
import type { BlockId, InodeId, ServerId } from "../../../../base/ids.ts";
import type { NewBlock } from "../../../../protocol/messages/common.ts";
import { needOf } from "../../repair/need.ts";
import { SERVER_COUNTER } from "../../server-ids.ts";
import { ask, type Operation } from "../../store/store.ts";
import type { Replica, Server } from "../../store/rows.ts";
import type { OperationContext } from "../context.ts";
import type { CheckedContent } from "./check.ts";
import { claimBlocks } from "./reservations.ts";

/** What decides whether a server's copies count, and are to be elsewhere. */
type Standing = Pick<Server, "state" | "filling" | "incarnation">;

/** @throws DfsError `stale` (not reserved), `quorum` (too few copies), `invalid` (copies on servers that cannot be). */
export function* insertBlocks(
  context: OperationContext,
  inode: InodeId,
  content: CheckedContent,
): Operation<void> {
  if (content.blocks.length === 0) return;
  yield* claimBlocks(
    context.session,
    content.blocks.map((block) => block.block),
  );
  const known = new Map<ServerId, Standing>();
  const offsets = fileOffsets(content);
  for (const sent of content.blocks) {
    const block = yield* withoutRemoved(sent, known);
    yield* checkCopies(context, block, known);
    yield* ask("block.insert", {
      id: block.block,
      state: "live",
      length: block.length,
      checksum: block.checksum,
      group: block.group,
      refs: content.refs.get(block.block) ?? 0,
      inode,
      fileOffset: offsets.get(block.block) ?? 0,
      diedNs: undefined,
    });
    const replicas = block.servers.map((server, index): Replica => {
      const state = isInDoubt(block, index, known) ? "bad" : "present";
      return { block: block.block, server, state };
    });
    for (const replica of replicas) yield* ask("replica.put", replica);
    yield* recordNeed(context, block, replicas, known);
  }
}

/** The offsets in the file that the blocks were written for: where their first extents would have them begin. */
function fileOffsets({ extents }: CheckedContent): Map<BlockId, number> {
  const offsets = new Map<BlockId, number>();
  for (const { block, offset, blockOffset } of extents) {
    if (!offsets.has(block)) offsets.set(block, Math.max(0, offset - blockOffset));
  }
  return offsets;
}

/**
 * The block without copies on servers that have been removed since the client chose them: they are lost, not a mistake of
 * the client's.
 */
function* withoutRemoved(
  block: NewBlock,
  known: ReadonlyMap<ServerId, Standing>,
): Operation<NewBlock> {
  const servers: ServerId[] = [];
  for (const server of block.servers) {
    const isThere = known.has(server) || (yield* ask("server.standing", server)) !== undefined;
    if (isThere || BigInt(server) > (yield* ask("counter.get", SERVER_COUNTER)))
      servers.push(server);
  }
  if (servers.length === block.servers.length) return block;
  const stays = (_: unknown, index: number): boolean => servers.includes(block.servers[index]!);
  return { ...block, servers, incarnations: block.incarnations?.filter(stays) ?? null };
}

/**
 * True when the server has lost its disk since it acknowledged the copy at `index`. It goes on record as bad, which means
 * that its server reads it before anything else is done.
 */
function isInDoubt(
  { servers, incarnations }: NewBlock,
  index: number,
  known: ReadonlyMap<ServerId, Standing>,
): boolean {
  if (incarnations === null) return false;
  return known.get(servers[index]!)?.incarnation !== incarnations[index];
}

function countsInQuorum({ filling, state }: Standing): boolean {
  return !filling && state !== "out";
}

/** Puts on record what the block needs, by the rules of need.ts: most blocks need nothing. */
function* recordNeed(
  context: OperationContext,
  block: NewBlock,
  replicas: readonly Replica[],
  known: Map<ServerId, Standing>,
): Operation<void> {
  const wanted = context.settings.replicas;
  const row = yield* ask("placement.row", block.group);
  const isPlain = ({ server, state }: Replica): boolean =>
    state === "present" && known.get(server)?.state !== "out" && row.includes(server);
  const isLeaving = block.servers.some((server) => known.get(server)?.state === "draining");
  if (replicas.length === wanted && replicas.every(isPlain) && !isLeaving) return;
  for (const server of row) {
    if (known.has(server)) continue;
    const standing = yield* ask("server.standing", server);
    if (standing !== undefined) known.set(server, standing);
  }
  const { missing, urgency } = needOf({ replicas: wanted, servers: known }, replicas, row);
  if (urgency === undefined) return;
  const reason = missing > 0 ? "shortWrite" : "placement";
  yield* ask("repair.put", {
    block: block.block,
    missing,
    urgency,
    reason,
    sinceNs: context.nowNs,
  });
}

/**
 * A server that is being refilled after it lost its disk holds copies but counts in no quorum; a copy in doubt counts in none,
 * nor does one on a server that is out. The writer makes other copies then, and commits again.
 */
function* checkCopies(
  context: OperationContext,
  block: NewBlock,
  known: Map<ServerId, Standing>,
): Operation<void> {
  if (new Set(block.servers).size !== block.servers.length) {
    throw new DfsError("invalid", `cannot commit: block ${block.block} names a server twice`);
  }
  if (block.incarnations !== null && block.incarnations.length !== block.servers.length) {
    throw new DfsError(
      "invalid",
      `cannot commit: block ${block.block} has ${block.servers.length} servers and ${block.incarnations.length} incarnations`,
    );
  }
  let counting = 0;
  for (const [index, id] of block.servers.entries()) {
    const standing = known.get(id) ?? (yield* ask("server.standing", id));
    if (standing === undefined) {
      throw new DfsError(
        "invalid",
        `cannot commit: block ${block.block} names server ${id}, which is not in the cluster`,
      );
    }
    known.set(id, standing);
    if (countsInQuorum(standing) && !isInDoubt(block, index, known)) counting++;
  }
  const { writeQuorum } = context.settings;
  if (counting < writeQuorum) {
    throw new DfsError(
      "quorum",
      `cannot commit: block ${block.block} has ${counting} of the ${writeQuorum} copies that the write quorum asks for`,
      { details: { block: block.block, copies: counting, writeQuorum } },
    );
  }
}
