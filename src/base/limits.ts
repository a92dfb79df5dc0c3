/**
 * Every limit of dfs in one place, with the reason for each and the relations that must hold between them
 * (asserted at the end of this file, when the module is loaded).
 */

const KiB = 1024;
const MiB = 1024 * KiB;

/** Unit of verification inside a block: a range read is checked piece by piece. Changing it changes every checksum. */
export const PIECE_BYTES = 64 * KiB;

/** Smallest block size: that of the classic course example, to see blocks on a screen. */
export const MIN_BLOCK_BYTES = 8;

/** Largest block size: one block must fit into one frame and be held in memory several times over. */
export const MAX_BLOCK_BYTES = 16 * MiB;

/** Block size of a cluster that was formatted without a wish. */
export const DEFAULT_BLOCK_BYTES = 1 * MiB;

/** Largest head of a frame: everything but its bulk bytes. Bounds long listings and large commits. */
export const MAX_HEAD_BYTES = 1 * MiB;

/** Largest frame body: one head and the largest block. A longer length prefix ends the connection. */
export const MAX_FRAME_BYTES = MAX_HEAD_BYTES + MAX_BLOCK_BYTES;

/** Largest frame before the hello has succeeded: strangers may make us hold only this much. */
export const MAX_HELLO_FRAME_BYTES = 4 * KiB;

/** Deepest nesting of arrays in a frame; the deepest message needs 5. */
export const MAX_CBOR_DEPTH = 16;

/** Requests that one peer may have unanswered on one connection; more are left unread in its socket. */
export const MAX_REQUESTS_IN_FLIGHT = 256;

/** Bytes of unanswered requests that one connection holds before it stops reading from its peer. */
export const MAX_RECEIVED_BYTES_IN_FLIGHT = MAX_FRAME_BYTES;

/** Bytes queued for a peer that does not read before we stop reading from it as well. */
export const MAX_QUEUED_BYTES = MAX_FRAME_BYTES;

/** Bytes that all connections of one server together may hold of frames that are not answered; long ones wait beyond that. */
export const SHARED_RECEIVED_BYTES = 24 * MiB;

/** Bytes that wait to be sent on all connections of one server together; long replies are not begun beyond that. */
export const SHARED_QUEUED_BYTES = 24 * MiB;

/** Open connections of one server, below the number of files that a process may have open by itself (4,096 on old systems). */
export const MAX_CONNECTIONS = 3_000;

/** And of one address: mounts and commands of one machine are tens, a data server's are one or two. */
export const MAX_CONNECTIONS_PER_ADDRESS = 2_000;

/** Longest name of a directory entry, in bytes, as NAME_MAX of limits.h. */
export const MAX_NAME_BYTES = 255;

/** Longest path, in bytes, as PATH_MAX of limits.h without its terminating NUL. */
export const MAX_PATH_BYTES = 4096;

/** Longest target of a symbolic link, in bytes: PATH_MAX less the terminating NUL, as on Linux. */
export const MAX_SYMLINK_BYTES = 4095;

/** Symbolic links followed in one path resolution before ELOOP, as in path_resolution(7). */
export const MAX_SYMLINKS_FOLLOWED = 40;

/** Parts walked in one path resolution, those of symbolic links included: twice as many as the longest path has. */
export const MAX_PARTS_WALKED = MAX_PATH_BYTES;

/** Longest name and largest value of an extended attribute, as in xattr(7). */
export const MAX_XATTR_NAME_BYTES = 255;
export const MAX_XATTR_VALUE_BYTES = 64 * KiB;

/** Largest sum of extended attribute names of one inode, as in listxattr(2). */
export const MAX_XATTR_LIST_BYTES = 64 * KiB;

/** Largest sum of the values of one inode's extended attributes: all are copied at once when a file takes over another's name. */
export const MAX_XATTR_BYTES = 1 * MiB;

/** Locks of one kind held on one file, and waits for one: all of them are read for each that is asked for. */
export const MAX_LOCKS_PER_FILE = 4096;
export const MAX_LOCK_WAITS_PER_FILE = 1024;

/** Hard links to one inode; that of ext4 is 65,000, ours is bounded only by its field. */
export const MAX_LINKS = 2 ** 31 - 1;

/** Largest file: the largest integer that a JavaScript number holds exactly (8 PiB less one byte). */
export const MAX_FILE_BYTES = Number.MAX_SAFE_INTEGER;

/** Placement groups of a cluster; a block falls into group (base + block index) mod this. */
export const PLACEMENT_GROUPS = 1024;

/** Most copies of a block. */
export const MAX_REPLICAS = 8;

/** Most data servers of a cluster. */
export const MAX_SERVERS = 1024;

/** Blocks that one reservation may ask for. */
export const MAX_RESERVED_BLOCKS = 4096;

/** Extents that one commit may carry, and that one map reply may hold. */
export const MAX_EXTENTS_PER_MESSAGE = 2048;

/** Entries that one page of a listing may hold. */
export const MAX_ENTRIES_PER_PAGE = 1024;

/** Block ids that one page of a data server's listing, or one delete command, may hold. */
export const MAX_BLOCKS_PER_PAGE = 8192;

/** Bytes that one fault on purpose changes: enough to be seen, few enough to be printed. */
export const MAX_FAULT_BYTES = 8;

/** Copies that one request may ask a data server to read and verify: at most 4 GiB of the largest blocks. */
export const MAX_VERIFIED_BLOCKS = 256;

/** Blocks that are copied together from one data server to another: at most so many, of so many bytes in all. */
export const MAX_BATCHED_BLOCKS = 2048;
export const MAX_BATCHED_BYTES = 8 * MiB;

/** Larger blocks are copied one by one: with them an order and two transactions for each cost little. */
export const MAX_BATCHABLE_BYTES = 1 * MiB;

/** Bytes of blocks that one data server gives another in one message: few enough to be held in memory many times. */
export const MAX_GIVEN_BYTES = 4 * MiB;

/** Rotten copies that a data server tells of in one message: few enough for one transaction to hold nothing up for long. */
export const MAX_ROTTEN_PER_MESSAGE = 1024;

/** A backup of the metadata database travels and is verified in chunks of this size; the last one may be shorter. */
export const BACKUP_CHUNK_BYTES = 4 * MiB;

/** Chunks of a backup: their hashes fit a head. The largest database that can be backed up is 256 GiB. */
export const MAX_BACKUP_CHUNKS = 65_536;
export const MAX_BACKUP_BYTES = MAX_BACKUP_CHUNKS * BACKUP_CHUNK_BYTES;

/** Backups that one data server may hold; many more than are kept. */
export const MAX_BACKUPS = 256;

/** How often an older copy of one database may be accepted before the first of these times is forgotten. */
export const MAX_ACCEPTANCES = 64;

/** Findings of fsck in one message, and characters that tell of one. */
export const MAX_FSCK_FINDINGS = 128;
export const MAX_FSCK_DETAIL = 500;

/** Files with lost blocks in one message, and servers that are named for each. */
export const MAX_LOSSES = 128;
export const MAX_LOSS_SERVERS = 2 * MAX_REPLICAS;

/** Paths that stand for the files that a failure would cost. */
export const MAX_RISK_PATHS = 5;

function requireThat(holds: boolean, relation: string): void {
  if (!holds) throw new Error(`limits.ts is inconsistent: ${relation} does not hold`);
}

requireThat(MIN_BLOCK_BYTES <= DEFAULT_BLOCK_BYTES, "MIN_BLOCK_BYTES <= DEFAULT_BLOCK_BYTES");
requireThat(DEFAULT_BLOCK_BYTES <= MAX_BLOCK_BYTES, "DEFAULT_BLOCK_BYTES <= MAX_BLOCK_BYTES");
requireThat(MAX_BLOCK_BYTES % PIECE_BYTES === 0, "MAX_BLOCK_BYTES is a multiple of PIECE_BYTES");
requireThat(MAX_HELLO_FRAME_BYTES < MAX_HEAD_BYTES, "MAX_HELLO_FRAME_BYTES < MAX_HEAD_BYTES");
requireThat(MAX_FRAME_BYTES < 2 ** 31, "MAX_FRAME_BYTES fits a signed 32-bit length");
requireThat(
  MAX_RECEIVED_BYTES_IN_FLIGHT >= MAX_FRAME_BYTES,
  "a largest frame can be received at all",
);
requireThat(
  MAX_FRAME_BYTES <= SHARED_RECEIVED_BYTES && MAX_FRAME_BYTES <= SHARED_QUEUED_BYTES,
  "a largest frame can be received and sent within what connections share",
);
requireThat(MAX_CONNECTIONS_PER_ADDRESS < MAX_CONNECTIONS, "no address can take all connections");
// A map reply's extent takes at most 80 bytes with MAX_REPLICAS servers, a listing's entry at most 400.
requireThat(
  MAX_EXTENTS_PER_MESSAGE * 160 <= MAX_HEAD_BYTES,
  "a full commit or map reply fits a head",
);
requireThat(MAX_ENTRIES_PER_PAGE * 400 <= MAX_HEAD_BYTES, "a full listing page fits a head");
requireThat(MAX_BLOCKS_PER_PAGE * 32 <= MAX_HEAD_BYTES, "a full page of blocks fits a head");
// A row of an order takes 40 bytes; it may name all servers with their addresses, of three bytes a character.
requireThat(
  MAX_BATCHED_BLOCKS * 40 + MAX_SERVERS * (3 * 300 + 32) <= MAX_HEAD_BYTES,
  "a largest order of copies fits a head",
);
requireThat(BACKUP_CHUNK_BYTES <= MAX_BLOCK_BYTES, "a chunk of a backup fits a frame");
requireThat(MAX_BACKUP_CHUNKS * 8 * 2 <= MAX_HEAD_BYTES, "the hashes of a backup fit a head");
requireThat(MAX_BACKUPS * 1024 <= MAX_HEAD_BYTES, "a list of backups fits a head");
// A character of a text takes at most three bytes.
requireThat(
  MAX_FSCK_FINDINGS * (MAX_PATH_BYTES + 3 * MAX_FSCK_DETAIL + 64) <= MAX_HEAD_BYTES,
  "a full list of findings fits a head",
);
requireThat(
  MAX_LOSSES * (MAX_PATH_BYTES + MAX_LOSS_SERVERS * 5 + 64) <= MAX_HEAD_BYTES,
  "a full page of losses fits a head",
);
