/**
 * What every handler gets, and what it gives back.
 */
import type { InodeId } from "../../../base/ids.ts";
import type { Attributes } from "../../../protocol/messages/common.ts";
import type { MountedFileSystem } from "../../file-system.ts";
import { encodeEntry, type Presentation } from "../protocol/attributes.ts";
import type { Encoder, Reply } from "../protocol/reply.ts";
import type { Request } from "../protocol/request.ts";
import type { KnownInodes } from "./known-inodes.ts";
import type { PosixLockOwners } from "./lock-owners.ts";

export interface Context {
  readonly fileSystem: MountedFileSystem;
  readonly presentation: Presentation;
  readonly known: KnownInodes;
  /** What the kernel holds of the inode's attributes is out of date. Unlike an invalidation, it has effect when this returns. */
  readonly dropAttributes: (inode: InodeId) => void;
  readonly posixLockOwners: PosixLockOwners;
  /** Longest reply body that is encoded, in bytes. */
  readonly largestReplyBytes: number;
  /** The kernel shall keep nothing of contents. */
  readonly uncached: boolean;
}

/** Returned by handlers of requests that the kernel does not want an answer to. */
export const NO_REPLY = Symbol("no reply");

/**
 * Carries out one request. It reads everything from the request before it waits, as the memory is used again; and fails by
 * throwing what `errnoFor` understands.
 */
export type Handler = (context: Context, request: Request) => Promise<Reply> | typeof NO_REPLY;

/** The reply that gives the kernel one more reference to an inode. */
export function entryReply(context: Context, attributes: Attributes): Encoder {
  context.known.add(attributes);
  return (body) => encodeEntry(body, attributes, context.presentation);
}
