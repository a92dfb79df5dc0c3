/**
 * Making blocks live: their copies go on record as the servers acknowledged them, and copies that are missing go on
 * record for repair, in the transaction that names the blocks.
 */
import { DfsError } from "../../../../base/errors.ts";
import type { InodeId, ServerId } from "../../../../base/ids.ts";
import type { NewBlock } from "../../../../protocol/messages/common.ts";
import { ask, type Operation } from "../../store/store.ts";
import type { OperationContext } from "../context.ts";
import type { CheckedContent } from "./check.ts";
import { claimBlocks } from "./reservations.ts";

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
  const filling = new Map<ServerId, boolean>();
  for (const block of content.blocks) {
    yield* checkCopies(context, block, filling);
    yield* ask("block.insert", {
      id: block.block,
      state: "live",
      length: block.length,
      checksum: block.checksum,
      group: block.group,
      refs: content.refs.get(block.block) ?? 0,
      inode,
      diedNs: undefined,
    });
    for (const server of block.servers) {
      yield* ask("replica.put", { block: block.block, server, state: "present" });
    }
    yield* recordMissing(context, block);
  }
}

function* recordMissing(context: OperationContext, block: NewBlock): Operation<void> {
  const missing = context.settings.replicas - block.servers.length;
  if (missing <= 0) return;
  yield* ask("repair.put", {
    block: block.block,
    missing,
    reason: "shortWrite",
    sinceNs: context.nowNs,
  });
}

/** A server that is being refilled after it lost its disk holds copies but counts in no quorum. */
function* checkCopies(
  context: OperationContext,
  block: NewBlock,
  known: Map<ServerId, boolean>,
): Operation<void> {
  if (new Set(block.servers).size !== block.servers.length) {
    throw new DfsError("invalid", `cannot commit: block ${block.block} names a server twice`);
  }
  let counting = 0;
  for (const id of block.servers) {
    const filling = known.get(id) ?? (yield* ask("server.isFilling", id));
    if (filling === undefined) {
      throw new DfsError(
        "invalid",
        `cannot commit: block ${block.block} names server ${id}, which is not in the cluster`,
      );
    }
    known.set(id, filling);
    if (!filling) counting++;
  }
  const { writeQuorum } = context.settings;
  if (counting < writeQuorum) {
    throw new DfsError(
      "quorum",
      `cannot commit: block ${block.block} has ${counting} copies that count, the write quorum is ${writeQuorum}`,
      { details: { block: block.block, copies: counting, writeQuorum } },
    );
  }
}
