/**
 * The errors that appends fail with.
 */
import { DfsError, isDfsError, messageOf, systemCodeOf } from "../base/errors.ts";
import type { BlockId } from "../base/ids.ts";
import type { Move, PutAppend, TombstoneAppend } from "./batch.ts";

/** True when the file system, or the user's quota, has no room left. */
export function isDiskFull(error: unknown): boolean {
  const code = systemCodeOf(error);
  return code === "ENOSPC" || code === "EDQUOT" || isDfsError(error, "noSpace");
}

/** A put was refused because only the reserve is left, or not even that. */
export function noSpaceForPut(block: BlockId): DfsError {
  return new DfsError("noSpace", `cannot store block ${block}: the disk of this server is full`);
}

/** Nothing is taken any more. */
export function logIsClosed(what: "store" | "move"): DfsError {
  return new DfsError("unreachable", `cannot ${what} anything: the server is shutting down`);
}

/** An append met `error`. */
export function appendFailed(append: PutAppend | TombstoneAppend | Move, error: unknown): DfsError {
  const kind = isDiskFull(error) ? "noSpace" : "io";
  return new DfsError(kind, `cannot ${whatOf(append)}: ${messageOf(error)}`, { cause: error });
}

function whatOf(append: PutAppend | TombstoneAppend | Move): string {
  switch (append.kind) {
    case "put":
      return `store block ${append.put.block}`;
    case "tombstone":
      return `delete ${append.blocks.length} blocks from ${append.blocks[0]} on`;
    case "putMove":
      return `move block ${append.put.block}`;
    case "tombstoneMove":
      return `move ${append.blocks.length} tombstones`;
  }
}
