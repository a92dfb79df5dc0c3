/** Primitives of sessions: the sessions themselves, their stored replies, the inodes that they hold open. */
import type { BlockId, InodeId, SessionId } from "../../../../base/ids.ts";
import type { OpenInode, Session, SessionState } from "../rows.ts";

export interface SessionPrimitives {
  "session.insert"(session: Session): void;
  "session.get"(session: SessionId): Session | undefined;
  /** Sessions in a state with ids above `after`, in order of id. */
  "session.list"(state: SessionState, after: SessionId, limit: number): Session[];
  "session.count"(state: SessionState): number;
  "session.end"(session: SessionId, state: SessionState, endedNs: bigint): void;
  "session.setAcknowledged"(session: SessionId, acknowledged: bigint): void;
  "session.delete"(session: SessionId): void;

  /** The session has ended, and has something left that goes with it: reservations behind `after`, replies or locks. */
  "ending.put"(session: SessionId, after: BlockId): void;
  "ending.get"(session: SessionId): BlockId | undefined;
  /** One of them. */
  "ending.first"(): SessionId | undefined;
  "ending.delete"(session: SessionId): void;

  "reply.get"(session: SessionId, operation: bigint): Uint8Array | undefined;
  "reply.insert"(session: SessionId, operation: bigint, reply: Uint8Array): void;
  /** The operation number of the session's `number`th reply in order, counted from 1; undefined when it has fewer. */
  "reply.nth"(session: SessionId, number: number): bigint | undefined;
  /** Deletes the replies of all operations up to `operation`. */
  "reply.trim"(session: SessionId, operation: bigint): void;
  "reply.deleteAll"(session: SessionId): void;

  /** How many times the session has the inode open; 0 when it has not. */
  "open.get"(session: SessionId, inode: InodeId): number;
  "open.put"(session: SessionId, inode: InodeId, count: number): void;
  "open.delete"(session: SessionId, inode: InodeId): void;
  /** True when any session has the inode open. */
  "open.any"(inode: InodeId): boolean;
  /** True when a session other than this one has the inode open. */
  "open.byOthers"(session: SessionId, inode: InodeId): boolean;
  /** A session that is not live and has an inode open, if there is one. */
  "open.firstOfEnded"(): SessionId | undefined;
  /** Inodes that a session has open, numbers above `after`, in order. */
  "open.list"(session: SessionId, after: InodeId, limit: number): OpenInode[];
}
