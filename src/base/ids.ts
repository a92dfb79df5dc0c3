/**
 * Identifiers of dfs, as branded types, so that a block id is never passed where an inode number is meant.
 *
 * Inode, block and session ids are 64-bit on the wire and on disk and `bigint` in memory. They are given out from
 * durable ranges, are never reused, and stay below 2^63 because SQLite and PostgreSQL integers are signed.
 * Id 0 is never given out and means "none".
 */

declare const brand: unique symbol;

type Branded<T, Name extends string> = T & { readonly [brand]: Name };

/** Number of an inode. The root directory is {@link ROOT_INODE}. */
export type InodeId = Branded<bigint, "InodeId">;

/** Id of a block: an immutable run of bytes. Never reused, whatever crashes. */
export type BlockId = Branded<bigint, "BlockId">;

/** Id of a client's registration with the metadata service. */
export type SessionId = Branded<bigint, "SessionId">;

/** Small positive number of a data server, given at its first registration and kept in its directory. */
export type ServerId = Branded<number, "ServerId">;

/** Random id of one run of the metadata service. */
export type ReignId = Branded<bigint, "ReignId">;

/** Random id of one run of a data server's process. */
export type InstanceId = Branded<bigint, "InstanceId">;

/** Random id of one life of a data server's directory; a new one is made by each `--recover`. */
export type IncarnationId = Branded<bigint, "IncarnationId">;

/** Position in a server's log: rises by at least one with each durable change. */
export type Lsn = Branded<bigint, "Lsn">;

/** The 16 random bytes that name a cluster, as 32 lower-case hexadecimal digits. */
export type ClusterId = Branded<string, "ClusterId">;

export const inodeId = (value: bigint): InodeId => value as InodeId;
export const blockId = (value: bigint): BlockId => value as BlockId;
export const sessionId = (value: bigint): SessionId => value as SessionId;
export const serverId = (value: number): ServerId => value as ServerId;
export const reignId = (value: bigint): ReignId => value as ReignId;
export const instanceId = (value: bigint): InstanceId => value as InstanceId;
export const incarnationId = (value: bigint): IncarnationId => value as IncarnationId;
export const lsn = (value: bigint): Lsn => value as Lsn;
export const clusterId = (value: string): ClusterId => value as ClusterId;

/** The root directory's inode number; 1 as on most Unix file systems and as FUSE requires. */
export const ROOT_INODE = inodeId(1n);

/** Largest value an id may take: the largest signed 64-bit integer. */
export const MAX_ID = (1n << 63n) - 1n;
