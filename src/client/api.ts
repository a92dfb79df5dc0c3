/**
 * The client module as its users see it: commands and the mount are written against these types.
 *
 * Paths are bytes, because names are bytes; they are absolute, components separated by `/`. Everything throws DfsError
 * (`base/errors.ts`); each call has a deadline (`timeout`, `unreachable`), and where the metadata service restarts or a
 * connection breaks meanwhile, the call goes on by itself and is executed once.
 */
import type { CancelSignal } from "../base/cancellation.ts";
import type { BlockId, ClusterId, InodeId, ServerId, SessionId } from "../base/ids.ts";
import type { DirectoryEntry } from "../protocol/directory-page.ts";
import type { ReplyOf, RequestOf } from "../protocol/message.ts";
import type { clusterBackup, clusterQuarantine } from "../protocol/messages/backup.ts";
import type * as cluster from "../protocol/messages/cluster.ts";
import type { Attributes, FileType } from "../protocol/messages/common.ts";
import type { blockCorrupt, dataScrub, dataStats, ScrubAction } from "../protocol/messages/data.ts";
import type { FsckOptions, FsckReport } from "./fsck.ts";
import type { CallOptions, FileLocks, Inodes } from "./inode-api.ts";

export type { DirectoryEntry, DirectoryPage } from "../protocol/directory-page.ts";
export type { FsckOptions, FsckReport } from "./fsck.ts";
export type {
  CallOptions,
  ChangeListener,
  FileLock,
  FileLocks,
  Inodes,
  LockKind,
  Place,
} from "./inode-api.ts";

/** What a server has to show for a copy that metadata expects on it. */
export type CopyState =
  | "right"
  /** Other bytes than were written. */
  | "rotten"
  | "missing"
  /** The server's disk cannot read it. */
  | "unreadable"
  /** The server does not answer. */
  | "unreachable"
  /** The server was not asked, or not waited for. */
  | "notAsked";

export interface CopyVote {
  readonly server: ServerId;
  readonly state: CopyState;
  /** Why, for people; empty when it is right or was not asked. */
  readonly reason: string;
}

/** How the servers of a block voted when a part of it was read. */
export interface ReadVotes {
  /** The path as it was opened, printable. */
  readonly path: string;
  /** Of the part, in the file. */
  readonly offset: number;
  readonly length: number;
  readonly block: BlockId;
  /** In placement order. */
  readonly votes: readonly CopyVote[];
}

/** A condition that the caller's user should know of but that stopped nothing. */
export interface ClientWarning {
  readonly kind:
    | "serverUnreachable"
    | "badReplica"
    | "missingCopies"
    | "belowQuorum"
    | "metaUnreachable"
    | "metaReachable";
  /** One sentence for people. */
  readonly message: string;
  readonly server?: ServerId;
  readonly block?: BlockId;
}

/** As good as for ever, for the timeouts below: the longest time that a timer can wait, 24 days. */
export const FOREVER_MS = 2 ** 31 - 1;

export interface ClientOptions {
  /** `host:port` of the metadata service. */
  readonly metaAddress: string;
  /** Shown in the service's list of sessions, e.g. `dfs put, pid 4711`. */
  readonly label: string;
  /** The cluster key, where the cluster has one. */
  readonly key?: Uint8Array;
  /** Refuse any cluster but this one. */
  readonly cluster?: ClusterId;
  /** For the first contact with the metadata service; default 4.5 s, so that a command as a whole fails within 5. */
  readonly firstContactTimeoutMs?: number;
  /** To reconnect, and to reach the write quorum; default 60 s. */
  readonly retryTimeoutMs?: number;
  /**
   * How long a read waits when no server of a block answers. Left out it is 5 s, for servers that should be up; given, also those
   * that are down are waited for. Copies that are wrong or missing are an error at once, whatever this says.
   */
  readonly readRetryTimeoutMs?: number;
  /** Upper bound of file bytes held in memory by all transfers together; default 64 MiB. */
  readonly bufferBytes?: number;
  /** Servers that have to answer when a block is read, instead of the cluster's read quorum. */
  readonly readQuorum?: number;
  /**
   * Told at most once for each server and kind of trouble; `metaUnreachable` once for each outage, `belowQuorum` every few
   * seconds while a write waits.
   */
  readonly onWarning?: (warning: ClientWarning) => void;
  /** Told of each read of a block that succeeded. */
  readonly onVotes?: (votes: ReadVotes) => void;
}

export interface FileOwner {
  /** Permission bits, 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface PutOptions extends FileOwner {
  /** Keep mode, owner and extended attributes of a file that is replaced; cp without -p. */
  readonly keepReplaced: boolean;
  /** Refuse (`exists`) when the name is taken. */
  readonly exclusive?: boolean;
  readonly atimeNs?: bigint;
  readonly mtimeNs?: bigint;
  /**
   * The content can be iterated again from its start, each time anew: it is, when the session expires midway. Otherwise
   * that fails with `stale`, nothing being visible. Arrays are restartable without saying so.
   */
  readonly restartable?: boolean;
  /** Bytes stored so far, holes included, for a progress display; from 0 again after a restart. */
  readonly onProgress?: (bytes: number) => void;
  readonly signal?: CancelSignal;
}

export type CloneOptions = Omit<PutOptions, "restartable" | "onProgress">;

export interface SetAttributes {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  /** Nanoseconds since the epoch, or the service's now. */
  readonly atimeNs?: bigint | "now";
  readonly mtimeNs?: bigint | "now";
}

/**
 * A run of file content to store: bytes, or a hole that costs nothing. Bytes given to `put` must not be changed any more:
 * they are sent from where they are.
 */
export type ContentRun = Uint8Array | { readonly holeBytes: number };

/** A file held open: its content at the time of reading, also after its last name is gone. */
export interface OpenFile {
  readonly inode: InodeId;
  /** Attributes as of the open, or of the last call that changed or fetched them. */
  readonly attributes: Attributes;
  /**
   * Reads up to `length` verified bytes; fewer only at the end of the file. Holes read as zeros. Reads see this handle's
   * own writes.
   * @throws DfsError `io` naming file, offset and servers tried when a part cannot be verified; `cancelled` by the signal.
   */
  read(offset: number, length: number, options?: CallOptions): Promise<Uint8Array>;
  /** The whole file from `offset` on, with read-ahead in bounded memory. Chunks follow the blocks; holes come as zeros. */
  stream(options?: {
    readonly offset?: number;
    readonly signal?: CancelSignal;
  }): AsyncIterable<Uint8Array>;
  /** As `stream`, but holes are named instead of filled. */
  runs(options?: { readonly signal?: CancelSignal }): AsyncIterable<ContentRun>;
  /**
   * Writes into the file's buffer; bytes are durable and visible to others after `flush`. Waits while the memory is full.
   * Aborted by the signal while it waits, it throws `cancelled`, and none of the last 1 MiB (or block) has been taken.
   */
  write(offset: number, bytes: Uint8Array, options?: CallOptions): Promise<void>;
  /**
   * Writes to the end of the file, as `write`. The end is where it is at the commit: what other clients have appended before
   * stays. Bytes of one call, up to 1 MiB or a block, stay together. Returns where they begin as far as is known now.
   */
  append(bytes: Uint8Array, options?: CallOptions): Promise<number>;
  truncate(size: number): Promise<void>;
  /**
   * Makes a range a hole, durably and for all; the file has at least `minSize` bytes afterwards. What was written before is
   * committed first. Long ranges of many extents are done in parts: one that is given up may have been done from its start.
   */
  punch(offset: number, length: number, minSize?: number, options?: CallOptions): Promise<void>;
  /**
   * Makes a range show what a range of `source` shows, a file of the same client or this one; the blocks are shared, no content
   * moves. What was written before, to either, is committed first. Durable and visible to others when it returns.
   * Returns how many bytes: fewer than `length` where the source ends, and when it is given up after a part of them.
   * @throws DfsError `invalid` when the ranges overlap in one file.
   */
  cloneFrom(
    source: OpenFile,
    sourceOffset: number,
    offset: number,
    length: number,
    options?: CallOptions,
  ): Promise<number>;
  /**
   * The first place at or behind `offset` that is data, or a hole; the end of the file counts as a hole. lseek(2).
   * @throws DfsError `noData` when there is none.
   */
  seek(offset: number, what: "data" | "hole", options?: CallOptions): Promise<number>;
  /** True when somebody else is known to have changed the attributes since they were last told. */
  readonly isOutdated: boolean;
  /** True when all that was written, by any handle of this client, is durable and visible to others. */
  readonly clean: boolean;
  /** Begins to send what was written; what fails surfaces in the next `flush`, which tries again. */
  startFlush(): void;
  /**
   * Sends and commits what was written; returns when it is durable. Errors of earlier writes surface here. Aborted by the
   * signal it throws `cancelled`, and the work goes on by itself.
   */
  flush(options?: CallOptions): Promise<void>;
  /** Flushes and gives the handle up. */
  close(): Promise<void>;
}

/** Answers of the metadata service about the cluster. */
export type ServerList = ReplyOf<typeof cluster.servers>["servers"];
export type ClusterStatus = ReplyOf<typeof cluster.status>;
/** What a data server tells of itself. */
export type DataStats = ReplyOf<typeof dataStats>;
/** What a change of a data server comes to, and how far it has got. */
export type ServerPlan = ReplyOf<typeof cluster.plan>;
export type Holdings = ReplyOf<typeof cluster.holdings>;
/** A file and a block of it of which no copy counts. */
export type Loss = cluster.LossPage["losses"][number];
/** A fault to be made on purpose, and what it came to. */
export type FaultToInject = RequestOf<typeof blockCorrupt>;
export type InjectedFault = ReplyOf<typeof blockCorrupt>;

/** How a data server's scrub is. */
export type ScrubStatus = ReplyOf<typeof dataScrub>;

/** What became of a backup of the metadata. */
export type BackupOutcome = ReplyOf<typeof clusterBackup>;
/** A block that a data server holds and metadata does not know. */
export type QuarantinedBlock = ReplyOf<typeof clusterQuarantine>["blocks"][number];
export type ExplainRow = ReplyOf<typeof cluster.explain>["rows"][number];
export type ReplicaProblem = RequestOf<typeof cluster.reportReplica>["problem"];

/** One client: a session with the metadata service and connections to data servers. */
export interface DfsClient {
  readonly session: SessionId;
  readonly cluster: ClusterId;
  readonly blockSize: number;
  readonly replicas: number;
  readonly writeQuorum: number;
  /** Servers that have to answer when this client reads a block. */
  readonly readQuorum: number;
  /** File bytes held in memory by this client's transfers: now, and the most there ever were. */
  readonly memory: { readonly heldBytes: number; readonly peakBytes: number };

  // Names. `path` is absolute; the last component's symbolic link is followed where `follow` is true.
  stat(path: Uint8Array, options?: { readonly follow?: boolean }): Promise<Attributes>;
  readlink(path: Uint8Array): Promise<Uint8Array>;
  /** Names of a directory, in byte order. */
  readdir(path: Uint8Array): AsyncIterable<DirectoryEntry>;
  mkdir(path: Uint8Array, owner: FileOwner): Promise<Attributes>;
  symlink(
    target: Uint8Array,
    path: Uint8Array,
    owner: { uid: number; gid: number },
  ): Promise<Attributes>;
  mknod(path: Uint8Array, type: FileType, rdev: number, owner: FileOwner): Promise<Attributes>;
  link(existing: Uint8Array, path: Uint8Array): Promise<Attributes>;
  unlink(path: Uint8Array): Promise<void>;
  rmdir(path: Uint8Array): Promise<void>;
  rename(
    from: Uint8Array,
    to: Uint8Array,
    how?: "replace" | "noReplace" | "exchange",
  ): Promise<void>;
  setattr(
    path: Uint8Array,
    change: SetAttributes,
    options?: { readonly follow?: boolean },
  ): Promise<Attributes>;
  xattrGet(path: Uint8Array, name: Uint8Array): Promise<Uint8Array>;
  xattrSet(
    path: Uint8Array,
    name: Uint8Array,
    value: Uint8Array,
    how?: "any" | "create" | "replace",
  ): Promise<void>;
  xattrList(path: Uint8Array): Promise<Uint8Array[]>;
  xattrRemove(path: Uint8Array, name: Uint8Array): Promise<void>;

  // Content.
  /** Opens an existing regular file. */
  open(path: Uint8Array): Promise<OpenFile>;
  /** Creates and opens a regular file; an existing one is opened unless `exclusive`. */
  create(
    path: Uint8Array,
    owner: FileOwner,
    options?: { readonly exclusive?: boolean },
  ): Promise<OpenFile>;
  /**
   * Stores a whole file atomically: readers see the old file or the new one. Memory is bounded whatever the length;
   * small files cost one round trip to each of their servers and one to the service.
   */
  put(
    path: Uint8Array,
    content: AsyncIterable<ContentRun> | Iterable<ContentRun>,
    options: PutOptions,
  ): Promise<Attributes>;

  /**
   * Stores what the file `source` holds under another name, atomically as `put`; the blocks are shared by both, no content
   * moves. A file of many extents that is written to meanwhile may be a mixture of before and after.
   * @throws DfsError `notFound` when the file or the directory is gone, `invalid` when it is not a regular file.
   */
  clone(
    source: Pick<Attributes, "inode" | "size">,
    path: Uint8Array,
    options: CloneOptions,
  ): Promise<Attributes>;

  /** The same by inode number. */
  readonly inodes: Inodes;
  readonly locks: FileLocks;

  // The cluster.
  statfs(options?: CallOptions): Promise<{
    readonly capacityBytes: number;
    readonly availableBytes: number;
    readonly inodes: number;
  }>;
  servers(): Promise<ServerList>;
  /**
   * Figures of one data server, asked of itself. Not tried again.
   * @throws DfsError `unreachable`, `timeout` and others when it does not answer within 2 s.
   */
  dataStats(server: ServerId): Promise<DataStats>;
  /**
   * Tells the scrub of one data server what to do, and at which rate from now on; returns how it is then. Not tried again.
   * @throws DfsError as `dataStats`; `invalid` for a rate that cannot be, `io` when the server could not write it down.
   */
  scrub(server: ServerId, action: ScrubAction, bytesPerSecond?: number): Promise<ScrubStatus>;
  status(): Promise<ClusterStatus>;
  /**
   * Has the metadata service back its database up onto data servers; resolves when that is done. Meanwhile `onProgress` is
   * told how far it is.
   * @throws DfsError why no server took it; `notFound` when the service was started anew meanwhile.
   */
  backUpMetadata(onProgress?: (outcome: BackupOutcome) => void): Promise<BackupOutcome>;
  /** Blocks on a data server that metadata knows nothing of. @throws DfsError `notFound`, `io` when it is not there. */
  quarantined(server: ServerId): AsyncIterable<QuarantinedBlock>;
  /** Where each block of a file is, from the one at `offset` on. */
  explain(path: Uint8Array, options?: { readonly offset?: number }): AsyncIterable<ExplainRow>;
  /**
   * Has the copies of a block that `servers` should have read as a whole and compares them with its checksum; one vote for
   * each. Wrong ones are reported for repair, with a warning.
   */
  checkCopies(
    block: Pick<ExplainRow, "block" | "checksum">,
    servers: readonly ServerId[],
  ): Promise<CopyVote[]>;
  /**
   * Checks the file or directory and all below it, without a path the whole cluster; yields how far that is and what was
   * found since the last report. It ends with the last report, or when nobody asks for more.
   * When the connection to the metadata service is lost, another run is begun once it is there again.
   * @throws DfsError `locked` while another fsck runs; `notFound`; `unreachable` when the service does not come back in time,
   * or is lost time and again.
   */
  fsck(path: Uint8Array | undefined, options: FsckOptions): AsyncIterable<FsckReport>;
  /**
   * Damages a server's copy of a block, or loses it, durably and without metadata knowing. Not tried again.
   * @throws DfsError `notPermitted` when the server does not allow it; `noBlock`, `notFound` (no such server),
   * `unreachable`, `timeout`, `io`.
   */
  injectFault(server: ServerId, fault: FaultToInject): Promise<InjectedFault>;
  /**
   * Ends a data server, in good order or at once; resolves when it has ended, with the id of its process if it said so.
   * @throws DfsError `notPermitted` when it does not allow a crash; `notFound`, `unreachable`; `timeout` when it was asked
   * and has not ended within 30 s.
   */
  stopServer(server: ServerId, how: "inGoodOrder" | "crash"): Promise<{ pid: number | undefined }>;

  /**
   * What it would come to to drain, replace or remove a data server; changes nothing.
   * @throws DfsError `notFound` when there is none with this id; `invalid` when that cannot be done, with what to do.
   */
  planServer(server: ServerId, change: cluster.ServerChange): Promise<ServerPlan>;
  /** Does it. Copies are moved after that by the service, whether anybody waits or not. @throws DfsError as `planServer`. */
  changeServer(server: ServerId, change: cluster.ServerChange): Promise<void>;
  /** The copies on record of one data server. @throws DfsError `notFound`. */
  holdings(server: ServerId): Promise<Holdings>;
  /** Files with blocks of which no copy counts; with `server` those of which it has or had a copy. In order of block id. */
  losses(server?: ServerId): AsyncIterable<Loss>;

  /** Ends the session and all connections. */
  close(): Promise<void>;
}
