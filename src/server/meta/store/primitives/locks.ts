/** Primitives of locks: those that are held, and those that are waited for. */
import type { InodeId, SessionId } from "../../../../base/ids.ts";
import type { LockKind } from "../../../../protocol/messages/locks.ts";
import type { Lock, LockWait } from "../rows.ts";

export interface LockPrimitives {
  /** True when the inode is locked, in whatever way. */
  "lock.any"(inode: InodeId): boolean;
  /** All locks of one kind on an inode, in order of their first bytes. */
  "lock.list"(inode: InodeId, kind: LockKind): Lock[];
  "lock.ofSession"(session: SessionId, limit: number): Lock[];
  /** Inserts the lock, or replaces that of the same owner with the same first byte. */
  "lock.put"(lock: Lock): void;
  /** Deletes the owner's lock with this first byte. */
  "lock.delete"(lock: Pick<Lock, "inode" | "kind" | "session" | "owner" | "start">): void;

  /** Puts a wait behind all others. */
  "lockWait.insert"(wait: Lock): void;
  /** Waits for locks of one kind on an inode, in the order in which they came. */
  "lockWait.list"(inode: InodeId, kind: LockKind): LockWait[];
  "lockWait.ofOwner"(session: SessionId, owner: bigint): LockWait[];
  "lockWait.ofSession"(session: SessionId, limit: number): LockWait[];
  "lockWait.delete"(number: bigint): void;
}
