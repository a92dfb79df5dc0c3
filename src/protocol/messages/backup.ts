/**
 * Backups of the metadata database, which data servers keep beside their blocks. Codes 0x0710 to 0x0714 are the data
 * servers' (`put`, `commit` and `delete` are commands of the metadata service, on the connection that the data server
 * opened to it; `list` and `get` are answered on the server's own listener too, also when it serves no blocks), 0x0540
 * and 0x0541 are those of clients to the metadata service.
 *
 * A backup is a SQLite database file cut into chunks of BACKUP_CHUNK_BYTES. As with blocks there are two levels of
 * checksum: the hash of each chunk, and the hash of the length and of the list of these (`base/backup.ts`).
 */
import {
  MAX_BACKUP_CHUNKS,
  MAX_BACKUPS,
  MAX_BLOCK_BYTES,
  MAX_BLOCKS_PER_PAGE,
  MAX_SERVERS,
} from "../../base/limits.ts";
import { lsnField, nothing, request } from "../message.ts";
import {
  bool,
  bytes,
  choice,
  int64,
  list,
  optional,
  record,
  text,
  uint,
  uint53,
  uint64,
  type Infer,
} from "../schema.ts";
import { addressField, blockField, instanceField, reignField, serverField } from "./common.ts";

/** The longest that an answer about a backup is waited for. */
export const MAX_BACKUP_WAIT_MS = 5_000;

/** What a backup is, without its content. */
export const backupManifest = record({
  /** Random, and the same on all servers that hold it. */
  backup: uint64,
  cluster: bytes(16, 16),
  /** The position that the copy shows. */
  reign: reignField,
  lsn: lsnField,
  /** When the copy was begun. */
  createdNs: int64,
  length: uint53,
  /** Hash of the length and of the list of the chunks' hashes. */
  checksum: uint64,
  /** Where the metadata service listened that made it. */
  address: addressField,
  /** Files in it, for people. */
  files: uint53,
});
export type BackupManifest = Infer<typeof backupManifest>;

/** A command's place in the order of commands, as in `data.delete`. */
const command = { reign: reignField, instance: instanceField, number: uint64 };

const chunkHashes = bytes(MAX_BACKUP_CHUNKS * 8);

/**
 * A chunk of a backup that is being sent, the chunks of one in their order; answered when it is durable. Chunk 0 begins a
 * backup, and what is there of another one that was never finished is given up. Errors: `wrongPeer` (a stale command),
 * `invalid` (not the chunk that is due), `badChecksum`, `noSpace`, `io`.
 */
export const backupPut = request(
  0x0710,
  "data.backupPut",
  record({
    ...command,
    backup: uint64,
    chunk: uint(MAX_BACKUP_CHUNKS - 1),
    /** Of the whole backup: a server that has no room for it says so at the first chunk. */
    length: uint53,
    hash: uint64,
  }),
  nothing,
  "request",
);

/** All chunks have been sent: from now on the backup is held. Errors: `wrongPeer`, `invalid`, `badChecksum`, `io`. */
export const backupCommit = request(
  0x0711,
  "data.backupCommit",
  record({ ...command, manifest: backupManifest, chunks: chunkHashes }),
  nothing,
);

/** What a server knows of a backup that it holds: nothing, that every byte is right, or what is wrong. */
export const backupState = choice({ unchecked: 0, whole: 1, damaged: 2 });
export type BackupState = Infer<typeof backupState>;

/** The backups that a server holds, the newest first. */
export const backupList = request(
  0x0712,
  "data.backupList",
  record({
    /** Read each one whole, and tell whether it is right. */
    verify: bool,
    /** Only this one; null: all. */
    backup: optional(uint64),
  }),
  record({
    server: optional(serverField),
    backups: list(record({ manifest: backupManifest, state: backupState }), MAX_BACKUPS),
    /** Files of backups that cannot be used, and why, for people. */
    damaged: list(text(500), MAX_BACKUPS),
  }),
);

/** One chunk of a backup. Errors: `notFound`, `io`; whether the bytes are right is for the asker to see. */
export const backupGet = request(
  0x0713,
  "data.backupGet",
  record({ backup: uint64, chunk: uint(MAX_BACKUP_CHUNKS - 1) }),
  record({ chunks: chunkHashes }),
  "reply",
);

/** Deletes backups; those not held are skipped. Errors: `wrongPeer`, `io`. */
export const backupDelete = request(
  0x0714,
  "data.backupDelete",
  record({ ...command, backups: list(uint64, MAX_BACKUPS) }),
  record({ deleted: uint53 }),
);

/** What the service knows of its backups. */
export const backupStatus = record({
  /** The newest one of this database's own past that is held somewhere. */
  newest: optional(
    record({ backup: uint64, createdNs: int64, lsn: lsnField, length: uint53, files: uint53 }),
  ),
  /** The servers that are known to hold it. */
  servers: list(serverField, MAX_SERVERS),
  /** How many should. */
  wanted: uint(MAX_SERVERS),
  /** Between two backups. */
  intervalMs: uint53,
  /** There are changes that should have been in a backup by now. */
  overdue: bool,
  /** Why the last attempt failed; null when it did not. */
  failure: optional(text(1000)),
  /** Copies on data servers that the database knows nothing of; they are left alone. */
  quarantined: uint53,
  /** Servers that have not told what they hold since the service was started. */
  untold: optional(list(serverField, MAX_SERVERS)),
});
export type BackupStatus = Infer<typeof backupStatus>;

/**
 * Makes a backup now, and tells what became of it. Without `backup` one is begun, unless one is under way already; with
 * it, what became of that one is told. Answered when it is done, or after `waitMs` (null: a few seconds, the most there is)
 * with `done` false: then ask again.
 * Errors: `notFound` (the service was started anew since); what made it fail: `quorum` (no data server took it), `noSpace`,
 * `io`.
 */
export const clusterBackup = request(
  0x0540,
  "cluster.backup",
  record({ backup: optional(uint64), waitMs: optional(uint(MAX_BACKUP_WAIT_MS)) }),
  record({
    backup: uint64,
    done: bool,
    manifest: optional(backupManifest),
    servers: list(serverField, MAX_SERVERS),
    wanted: uint(MAX_SERVERS),
    /** Servers that were asked and did not take it. */
    failures: list(record({ server: serverField, reason: text(500) }), MAX_SERVERS),
    /** Bytes that are written, here and on data servers, and that are to be; null from a service that does not count them. */
    doneBytes: optional(uint53),
    totalBytes: optional(uint53),
  }),
);
export type BackupOutcome = Infer<typeof clusterBackup.reply>;

/**
 * A page of the blocks that a data server holds and the database knows nothing of: later ones than an older copy of the
 * database that was put back. They are never deleted. Errors: `notFound` (no such server), `unreachable` (it is not there).
 */
export const clusterQuarantine = request(
  0x0541,
  "cluster.quarantine",
  record({ server: serverField, after: blockField }),
  record({
    blocks: list(
      record({ block: blockField, length: uint(MAX_BLOCK_BYTES), checksum: uint64 }),
      MAX_BLOCKS_PER_PAGE,
    ),
    /** Go on behind this one; null: that was all. */
    next: optional(blockField),
  }),
);
export type QuarantinePage = Infer<typeof clusterQuarantine.reply>;
