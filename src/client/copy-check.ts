/**
 * Checks one copy of a block: reads all of it from one server and compares it with the checksum that metadata keeps.
 * The answers of several servers are votes: who is right is decided by the checksum and not by the majority, so one right
 * copy among any number of wrong ones is enough.
 */
import { isDfsError, messageOf, type ErrorKind } from "../base/errors.ts";
import type { BlockId, ServerId } from "../base/ids.ts";
import { PIECE_BYTES } from "../base/limits.ts";
import { blockGet } from "../protocol/messages/data.ts";
import type { CopyState, CopyVote, ReplicaProblem } from "./api.ts";
import { READ_TIMEOUT_MS, verifiedBytes } from "./block-reader.ts";
import type { DirectRequests } from "./direct.ts";

/** A block as metadata has it. */
export interface BlockToCheck {
  readonly block: BlockId;
  readonly checksum: bigint;
}

/** What a failure to read a copy says about it. */
export function copyStateOf(kind: ErrorKind): CopyState {
  switch (kind) {
    case "noBlock":
      return "missing";
    case "badChecksum":
      return "rotten";
    case "io":
      return "unreadable";
    default:
      return "unreachable";
  }
}

/** How a wrong copy is reported to the metadata service; undefined for one that is right or was not seen. */
export function problemOf(state: CopyState): ReplicaProblem | undefined {
  switch (state) {
    case "missing":
      return "missing";
    case "rotten":
      return "badChecksum";
    case "unreadable":
      return "unreadable";
    default:
      return undefined;
  }
}

/** Reads the whole copy that `server` should have. Never throws: what goes wrong is the vote. */
export async function checkCopy(
  direct: DirectRequests,
  block: BlockToCheck,
  server: ServerId,
): Promise<CopyVote> {
  try {
    // How long the block is, the first piece tells: the checksum covers the length as well.
    const blockLength = await checkRange(direct, block, server, { from: 0, length: 1 });
    if (blockLength > PIECE_BYTES) {
      const rest = { from: PIECE_BYTES, length: blockLength - PIECE_BYTES };
      await checkRange(direct, block, server, rest);
    }
    return { server, state: "right", reason: "" };
  } catch (error) {
    const kind = isDfsError(error) ? error.kind : "internal";
    return { server, state: copyStateOf(kind), reason: messageOf(error) };
  }
}

/** Checks the pieces that a range touches; returns the length of the block. @throws DfsError. */
async function checkRange(
  direct: DirectRequests,
  { block, checksum }: BlockToCheck,
  server: ServerId,
  range: { readonly from: number; readonly length: number },
): Promise<number> {
  const body = { block, offset: range.from, length: range.length };
  const answer = await direct.request(server, blockGet, body, { timeoutMs: READ_TIMEOUT_MS });
  const { blockLength } = answer.body;
  verifiedBytes({ ...range, extent: { blockLength, checksum } }, answer);
  return blockLength;
}
