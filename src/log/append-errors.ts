/**
 * The errors that appends fail with.
 */
import { DfsError, isDfsError, messageOf, systemCodeOf } from "../base/errors.ts";
import type { BlockId } from "../base/ids.ts";
import type { PutAppend, TombstoneAppend } from "./batch.ts";

/** True when the file system, or the user's quota, has no room left. */
export function isDiskFull(error: unknown): boolean {
  const code = systemCodeOf(error);
  return code === "ENOSPC" || code === "EDQUOT" || isDfsError(error, "noSpace");
}

/** A put was refused because only the reserve is left, or not even that. */
export function noSpaceForPut(block: BlockId): DfsError {
  return new DfsError("noSpace", `cannot store block ${block}: the disk of this server is full`);
}

/** An append met `error`. */
export function appendFailed(append: PutAppend | TombstoneAppend, error: unknown): DfsError {
  const what =
    append.kind === "put"
      ? `store block ${append.put.block}`
      : `delete ${append.blocks.length} blocks from ${append.blocks[0]} on`;
  const kind = isDiskFull(error) ? "noSpace" : "io";
  return new DfsError(kind, `cannot ${what}: ${messageOf(error)}`, { cause: error });
}
