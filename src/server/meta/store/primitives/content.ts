/** Primitives of content: extents, blocks, replicas, reservations, reclaim queue, missing copies. */
import type { BlockId, InodeId, ServerId, SessionId } from "../../../../base/ids.ts";
import type {
  Block,
  Extent,
  ExtentWithBlock,
  ForgottenSpan,
  ReclaimEntry,
  Repair,
  Replica,
  ReplicaState,
  ReplicaWithBlock,
  Reservation,
  Survey,
} from "../rows.ts";

export interface ContentPrimitives {
  /** Extents that overlap [from, to), in order, at most `limit`. */
  "extent.list"(inode: InodeId, from: number, to: number, limit: number): Extent[];
  /** The same with the blocks. */
  "extent.listWithBlocks"(
    inode: InodeId,
    from: number,
    to: number,
    limit: number,
  ): ExtentWithBlock[];
  "extent.insert"(inode: InodeId, extent: Extent): void;
  /** Changes the length of the extent that begins at `offset`. */
  "extent.setLength"(inode: InodeId, offset: number, length: number): void;
  "extent.delete"(inode: InodeId, offset: number): void;
  /** Where the `number`th extent begins of those that begin at `from` or behind it, counted from 1; undefined: there are fewer. */
  "extent.nth"(inode: InodeId, from: number, number: number): number | undefined;
  /** Gives the extents that begin in [from, end) to another inode, which has none there; returns their total length. */
  "extent.move"(inode: InodeId, from: number, end: number, to: InodeId): number;

  "block.get"(block: BlockId): Block | undefined;
  /** Those of the blocks that are on record, in any order. */
  "block.getMany"(blocks: readonly BlockId[]): Block[];
  "block.insert"(block: Block): void;
  /** Adds `delta` to the number of extents that name the block, and returns the new number. */
  "block.addRefs"(block: BlockId, delta: number): number;
  "block.setDead"(block: BlockId, diedNs: bigint): void;
  "block.delete"(block: BlockId): void;
  /** Dead blocks with ids above `after`, in order of id. */
  "block.listDead"(after: BlockId, limit: number): BlockId[];

  "replica.get"(block: BlockId, server: ServerId): ReplicaState | undefined;
  /** Puts the replica, over its former state if there is one. */
  "replica.put"(replica: Replica): void;
  /** The same for many, each of another block or server. */
  "replica.putMany"(replicas: readonly Replica[]): void;
  /** Sets the state of all replicas of a block. */
  "replica.setAll"(block: BlockId, state: ReplicaState): void;
  "replica.delete"(block: BlockId, server: ServerId): void;
  /** All replicas of a block, in order of server id. */
  "replica.list"(block: BlockId): Replica[];
  /** All replicas of the blocks: those of one block behind each other, in order of server id. */
  "replica.listMany"(blocks: readonly BlockId[]): Replica[];
  /** Servers with a present replica, in order of id. */
  "replica.present"(block: BlockId): ServerId[];
  /** Replicas on one server with block ids above `after`, in order of id. */
  "replica.listByServer"(server: ServerId, after: BlockId, limit: number): Replica[];
  /** The same with the length, checksum and state of the blocks, for comparing them with what the server holds. */
  "replica.listWithBlocks"(server: ServerId, after: BlockId, limit: number): ReplicaWithBlock[];
  /** The same, only those that are adding, removing or bad. */
  "replica.listUnsettled"(
    server: ServerId,
    state: Exclude<ReplicaState, "present">,
    after: BlockId,
    limit: number,
  ): Replica[];
  "replica.countByServer"(server: ServerId): number;

  "reservation.insert"(reservation: Reservation): void;
  /** The reservation that `block` lies in. */
  "reservation.find"(block: BlockId): Reservation | undefined;
  "reservation.setUsed"(first: BlockId, used: Uint8Array): void;
  "reservation.delete"(first: BlockId): void;
  /**
   * Marks the first `limit` reservations of a session behind `after` as ended; returns the last one of them, or undefined when
   * there are no others behind.
   */
  "reservation.end"(
    session: SessionId,
    after: BlockId,
    limit: number,
    endedNs: bigint,
  ): BlockId | undefined;
  /** Reservations of sessions that ended at `before` or earlier, those that ended first come first. */
  "reservation.listEnded"(before: bigint, limit: number): Reservation[];

  /** The last span that begins at `block` or below it. */
  "forgotten.find"(block: BlockId): ForgottenSpan | undefined;
  "forgotten.insert"(span: ForgottenSpan): void;
  /** Deletes the spans that begin in [first, last]. */
  "forgotten.deleteBetween"(first: BlockId, last: BlockId): void;

  /** The server was given up with a copy of the block when no other counted. */
  "abandoned.put"(block: BlockId, server: ServerId): void;
  /** Deletes what is on record of the block. */
  "abandoned.delete"(block: BlockId): void;

  "reclaim.put"(entry: ReclaimEntry): void;
  "reclaim.get"(inode: InodeId): ReclaimEntry | undefined;
  "reclaim.list"(limit: number): ReclaimEntry[];
  "reclaim.delete"(inode: InodeId): void;

  /** The extents of the inode that begin at `start` or behind it are no part of it any more. */
  "cut.put"(inode: InodeId, start: number): void;
  /** Where they begin, if there are any. */
  "cut.get"(inode: InodeId): number | undefined;
  /** Inodes with such extents, the lowest ids first. */
  "cut.list"(limit: number): InodeId[];
  "cut.delete"(inode: InodeId): void;

  "repair.get"(block: BlockId): Repair | undefined;
  /** The entries of those of the blocks that have one, in any order. */
  "repair.getMany"(blocks: readonly BlockId[]): Repair[];
  "repair.put"(repair: Repair): void;
  /** The same for many, each of another block. */
  "repair.putMany"(repairs: readonly Repair[]): void;
  "repair.delete"(block: BlockId): void;
  "repair.deleteMany"(blocks: readonly BlockId[]): void;
  /** Entries behind the one of `after` with this urgency, in order of urgency and id. */
  "repair.list"(urgency: number, after: BlockId, limit: number): Repair[];
  /** Copies missing in all. */
  "repair.total"(): number;

  /** Puts the survey, over the server's former one if there is one. */
  "survey.put"(survey: Survey): void;
  /** All surveys that have not ended, in order of server id. */
  "survey.list"(): Survey[];
  "survey.delete"(server: ServerId): void;
}
