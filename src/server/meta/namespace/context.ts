/**
 * What an operation is given besides its request's body, and the types of what it takes and gives.
 */
import type { BlockId, InodeId, SessionId } from "../../../base/ids.ts";
import type { MutationHead, ReplyOf, RequestOf } from "../../../protocol/message.ts";
import type { ClusterSettings } from "../../../protocol/messages/common.ts";

/** New ids from durable ranges: none is ever given out twice, whatever crashes. */
export interface IdSource {
  nextInode(): InodeId;
  /** The first of `count` block ids in a row. */
  nextBlocks(count: number): BlockId;
}

/** The time of an operation, in nanoseconds since the epoch. */
export interface Moment {
  readonly nowNs: bigint;
  /**
   * True while sessions of before a restart may yet say what they have open: nothing is removed at once then, because a
   * power cut may have taken the record of an open.
   */
  readonly holdRemovals?: boolean;
}

export interface OperationContext extends Moment {
  /** The live session on whose behalf the operation runs. */
  readonly session: SessionId;
  readonly settings: ClusterSettings;
  readonly ids: IdSource;
}

/** Body of a question, or of a change without its operation numbers. */
export type Body<Definition> = Omit<RequestOf<Definition>, keyof MutationHead>;

/** Reply without the log position, which is known only when the transaction is. */
export type Done<Definition> = Omit<ReplyOf<Definition>, "lsn">;

/** The reply of a change that has nothing to tell but that it was done. */
export type Nothing = Readonly<Record<string, never>>;
