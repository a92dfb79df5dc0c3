/**
 * The rows of the metadata store as operations see them. Ids, times and versions are bigint; lengths, counts and
 * offsets are numbers below 2^53. Absent is `undefined` for rows and 0n for ids inside rows.
 */
import type { Checksum } from "../../../base/checksum.ts";
import type {
  BlockId,
  IncarnationId,
  InodeId,
  InstanceId,
  Lsn,
  ReignId,
  ServerId,
  SessionId,
} from "../../../base/ids.ts";
import type { ServerState } from "../../../protocol/messages/cluster.ts";
import type { FileType } from "../../../protocol/messages/common.ts";
import type { LockKind } from "../../../protocol/messages/locks.ts";

export interface Inode {
  readonly id: InodeId;
  readonly type: FileType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Names that lead here; of a directory: 2 and one for each subdirectory. 0: nameless, or removed while open. */
  readonly nlink: number;
  readonly size: number;
  /** Sum of the lengths of its extents. */
  readonly allocated: number;
  readonly rdev: number;
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly version: bigint;
  /** Hash of the path at creation. */
  readonly base: number;
  /** Of a directory that has a name: the directory that it is in (the root is in itself); else 0n. */
  readonly parent: InodeId;
}

/** Where a name leads. */
export interface DentryTarget {
  readonly inode: InodeId;
  readonly type: FileType;
}

export interface Dentry extends DentryTarget {
  readonly name: Uint8Array;
}

export interface DentryWithInode {
  readonly name: Uint8Array;
  readonly inode: Inode;
  /** The inode has extended attributes. */
  readonly hasXattrs: boolean;
}

export interface Xattr {
  readonly name: Uint8Array;
  readonly value: Uint8Array;
}

/** A run of a file that lies in a block. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
  readonly block: BlockId;
  readonly blockOffset: number;
}

/** An extent with its block. */
export interface ExtentWithBlock extends Extent {
  readonly blockLength: number;
  readonly checksum: Checksum;
  readonly group: number;
}

/** live: named by an extent. dead: durably given up; copies are being deleted. */
export type BlockState = "live" | "dead";

export interface Block {
  readonly id: BlockId;
  readonly state: BlockState;
  readonly length: number;
  readonly checksum: Checksum;
  readonly group: number;
  /** Extents that name it. */
  readonly refs: number;
  /** The file that it was committed for, and where in it; hints, so that copies describe themselves. */
  readonly inode: InodeId;
  readonly fileOffset: number;
  readonly diedNs: bigint | undefined;
}

/**
 * adding: a copy is being made. present: readable. removing: to be deleted. bad: found rotten or missing, or in doubt; it
 * is verified on its server before anything is done with it.
 */
export type ReplicaState = "adding" | "present" | "removing" | "bad";

export interface Replica {
  readonly block: BlockId;
  readonly server: ServerId;
  readonly state: ReplicaState;
}

/** A replica with what is known of its block; the block may have been forgotten. */
export interface ReplicaWithBlock extends Replica {
  readonly length: number | undefined;
  readonly checksum: Checksum | undefined;
  readonly blockState: BlockState | undefined;
}

/** Ids `first` to `first + count - 1`, promised to one session. */
export interface Reservation {
  readonly first: BlockId;
  readonly count: number;
  readonly session: SessionId;
  /** One bit for each id, least significant bit of the first byte first; set when the id was committed. */
  readonly used: Uint8Array;
  /** When the session ended; unused ids are garbage from then on. */
  readonly endedNs: bigint | undefined;
}

/** Block ids that were given out and are dead for good: `first` to `last`. */
export interface ForgottenSpan {
  readonly first: BlockId;
  readonly last: BlockId;
}

/** live, closed by its client, or expired for want of heartbeats. */
export type SessionState = "live" | "closed" | "expired";

export interface Session {
  readonly id: SessionId;
  readonly token: bigint;
  readonly label: string;
  readonly state: SessionState;
  readonly openedNs: bigint;
  readonly endedNs: bigint | undefined;
  /** Replies up to this operation have been forgotten. */
  readonly acknowledged: bigint;
}

/** A lock of a range of a file, or of a whole file, that an owner within a session holds. */
export interface Lock {
  readonly inode: InodeId;
  readonly kind: LockKind;
  readonly session: SessionId;
  readonly owner: bigint;
  readonly type: "shared" | "exclusive";
  readonly pid: number;
  readonly start: number;
  /** The last byte, inclusive. */
  readonly end: number;
}

/** A lock that is waited for. Lower numbers came earlier. */
export interface LockWait extends Lock {
  readonly number: bigint;
}

export interface OpenInode {
  readonly inode: InodeId;
  readonly count: number;
}

export interface ReclaimEntry {
  readonly inode: InodeId;
  readonly sinceNs: bigint;
}

/** Why copies are missing. */
export type RepairReason = "shortWrite" | "badReplica" | "serverOut" | "placement";

/** What has to be done for a live block, on record until it is done. */
export interface Repair {
  readonly block: BlockId;
  /** Copies that it lacks. */
  readonly missing: number;
  /** The smaller, the sooner: see repair/need.ts. */
  readonly urgency: number;
  readonly reason: RepairReason;
  readonly sinceNs: bigint;
}

/** A data server that has registered. */
export interface Server {
  readonly id: ServerId;
  readonly incarnation: IncarnationId;
  readonly instance: InstanceId;
  readonly address: string;
  readonly zone: string;
  readonly tags: readonly string[];
  readonly state: ServerState;
  /** True from `--recover` until it has been refilled; meanwhile it counts in no quorum. */
  readonly filling: boolean;
  readonly registeredNs: bigint;
}

/** All copies on one server have to be judged anew, because it went out or came back; those up to `after` have been. */
export interface Survey {
  readonly server: ServerId;
  readonly after: BlockId;
}

/** A version of the placement table; `rows` as `encodeRows` of base/placement.ts writes them. */
export interface PlacementVersion {
  readonly version: bigint;
  readonly width: number;
  readonly rows: Uint8Array;
}

/** A link of the chain of reigns. */
export interface Reign {
  readonly number: bigint;
  readonly reign: ReignId;
  readonly startLsn: Lsn;
}
