/**
 * fsck: the metadata service checks the cluster, and a client watches. Client to metadata service, codes 0x051x.
 *
 * One run at a time. It belongs to the connection that asked for it and ends with it.
 */
import { MAX_FSCK_DETAIL, MAX_FSCK_FINDINGS, MAX_PATH_BYTES } from "../../base/limits.ts";
import { nothing, request } from "../message.ts";
import {
  bool,
  bytes,
  choice,
  list,
  optional,
  record,
  text,
  uint,
  uint53,
  uint64,
  type Infer,
} from "../schema.ts";
import { blockField, inodeField, serverField } from "./common.ts";

/** How deep to look; each level does what those before it do. */
export const fsckLevel = choice({
  /** The record alone: names, inodes, extents, blocks, and the copies that it counts. */
  meta: 0,
  /** And whether the data servers hold what the record counts. */
  presence: 1,
  /** And whether every copy has the right bytes, read on its own server. */
  full: 2,
});
export type FsckLevel = Infer<typeof fsckLevel>;

/** What can be wrong. Numbers from 64 on are notes: nothing is wrong, but worth telling. */
export const fsckKind = choice({
  /** An inode that no path leads to, and that is neither open nor about to be removed. */
  unreachableInode: 0,
  /** An inode whose link count is not its number of names. */
  wrongLinkCount: 1,
  /** A name that leads nowhere, to something of another type, or lies in what is no directory. */
  danglingName: 2,
  /** A directory that has not exactly one name, in the directory that it calls its parent. */
  wrongParent: 3,
  /** An extent behind the end of its file, or in something that is no file. */
  extentBeyondEnd: 4,
  /** An extent whose bytes lie in no live block. */
  extentWithoutBlock: 5,
  /** An extent that is empty or reaches into the next one. */
  extentOverlap: 6,
  /** A file whose allocated bytes are not the sum of its extents. */
  wrongAllocated: 7,
  /** A block whose count of extents, or whose life, does not agree with the extents that name it. */
  wrongRefs: 8,
  /** A block with fewer copies on record than it should have. */
  missingCopies: 9,
  /** A copy that is on record and that its server does not hold. */
  lostCopy: 10,
  /** A copy whose bytes are not those that were written. */
  rottenCopy: 11,
  /** A copy that its server cannot read. */
  unreadableCopy: 12,
  /** A block of which no copy is on a server that can be reached. */
  unavailableBlock: 13,
  /** The newest backup of the metadata, on a server where its bytes are not those that were written. */
  damagedBackup: 14,
  /** The newest backup of the metadata is on fewer servers than should hold it, or there is none. */
  missingBackup: 15,
  /** A copy of a block that is dead for good, of which the record knows nothing. */
  orphanCopy: 16,
  /** Copies that could not be checked. */
  unchecked: 64,
  /** Blocks with more copies than they should have. */
  surplus: 65,
  /** Blocks with copies on stand-ins. */
  misplaced: 66,
  /** Blocks that a server holds and metadata knows nothing of: it may be older than they are. */
  orphans: 67,
});
export type FsckKind = Infer<typeof fsckKind>;

export const fsckFinding = record({
  kind: fsckKind,
  outcome: choice({ left: 0, corrected: 1, note: 2 }),
  inode: optional(inodeField),
  block: optional(blockField),
  server: optional(serverField),
  /** Where the block begins in the file. */
  offset: optional(uint53),
  /** A path of the file; null when none leads there, or it is too long. */
  path: optional(bytes(MAX_PATH_BYTES)),
  /** What exactly, for people. */
  detail: text(MAX_FSCK_DETAIL),
});
export type FsckFinding = Infer<typeof fsckFinding>;

/** Errors: `locked` (another run is under way), `notFound` (no such inode). */
export const fsckStart = request(
  0x0510,
  "cluster.fsckStart",
  record({
    level: fsckLevel,
    /** Check only this and what is below it; null: everything. */
    inode: optional(inodeField),
    /** Only look. */
    dryRun: bool,
    /** What is not mended is given up as left when for so long nothing was. */
    patienceMs: uint(),
  }),
  record({ run: uint64 }),
);

/** Errors: `stale` (this run has ended, with its connection or because the service was restarted), and what it failed of. */
export const fsckPoll = request(
  0x0511,
  "cluster.fsckPoll",
  record({ run: uint64, after: uint53 }),
  record({
    /** Findings behind the first `after`, which are forgotten. */
    findings: list(fsckFinding, MAX_FSCK_FINDINGS),
    phase: choice({ record: 0, copies: 1, mending: 2, done: 3 }),
    doneCopies: uint53,
    totalCopies: uint53,
    doneBytes: uint53,
    totalBytes: uint53,
    /** Errors met so far. */
    found: uint53,
    /** Of these, the ones that wait to be mended. */
    waiting: uint53,
    /** True with the last findings. */
    finished: bool,
  }),
);

export const fsckStop = request(0x0512, "cluster.fsckStop", record({ run: uint64 }), nothing);
