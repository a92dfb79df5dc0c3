/**
 * Data servers: blocks. Codes 0x07xx. `put`, `get`, `stats`, `scrub`, `corrupt` and `stop` are for clients and other data
 * servers, on the data server's own listener, and so is `getMany`; `delete`, `list`, `copy`, `copyMany` and `verify` come from
 * the metadata service, on the connection that the data server opened to it.
 */
import {
  MAX_BATCHED_BLOCKS,
  MAX_BLOCK_BYTES,
  MAX_BLOCKS_PER_PAGE,
  MAX_FAULT_BYTES,
  MAX_REPLICAS,
  MAX_SERVERS,
  MAX_VERIFIED_BLOCKS,
  PIECE_BYTES,
} from "../../base/limits.ts";
import { request } from "../message.ts";
import { packedBool, packedChoice, packedRows } from "../packed-rows.ts";
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
import { copyRow, sizedRow } from "./block-rows.ts";
import {
  addressField,
  blockField,
  inodeField,
  instanceField,
  reignField,
  serverField,
} from "./common.ts";

const pieceList = bytes((MAX_BLOCK_BYTES / PIECE_BYTES) * 8);

/**
 * Stores a block; the bulk bytes are its content. Answered when it is durable. A block that is held already with the
 * same checksum succeeds, with another checksum it is refused (`conflict`) unless the held copy is rotten.
 * Errors: `badChecksum` (bytes do not match the checksum given), `noSpace`, `io`.
 */
export const blockPut = request(
  0x0701,
  "data.put",
  record({
    block: blockField,
    length: uint(MAX_BLOCK_BYTES),
    checksum: uint64,
    /** The file and offset that the block was written for, so that blocks describe themselves. */
    inode: inodeField,
    fileOffset: uint53,
    pieces: pieceList,
  }),
  record({
    /** The run of the server that acknowledged, and the position in its log that makes this durable. */
    instance: instanceField,
    sequence: uint64,
  }),
  "request",
);

/**
 * Reads a range of a block. The bulk bytes are the whole pieces that the range touches, starting with piece number
 * floor(offset / 64 KiB). The server has verified the list of hashes, but not always the bytes: whoever gets them does. Errors:
 * `noBlock`, `badChecksum` (the server found its own copy rotten), `io`, `invalid` (the range is not inside the block).
 */
export const blockGet = request(
  0x0702,
  "data.get",
  record({ block: blockField, offset: uint(MAX_BLOCK_BYTES), length: uint(MAX_BLOCK_BYTES) }),
  record({ blockLength: uint(MAX_BLOCK_BYTES), pieces: pieceList }),
  "reply",
);

/** A command's place in the order of commands: a server refuses one that is not newer than the last it has executed. */
const command = { reign: reignField, instance: instanceField, number: uint64 };

/** Deletes blocks, and all blocks of ranges of ids; those not held are skipped. Answered when it is durable. */
export const blockDelete = request(
  0x0703,
  "data.delete",
  record({
    ...command,
    blocks: list(blockField, MAX_BLOCKS_PER_PAGE),
    ranges: list(record({ first: blockField, count: uint() }), 1024),
  }),
  record({ deleted: uint53 }),
);

/** A page of the blocks held, by rising id, starting behind `after`. */
export const blockList = request(
  0x0704,
  "data.list",
  record({ after: blockField, limit: uint(MAX_BLOCKS_PER_PAGE) }),
  record({
    blocks: list(
      record({ block: blockField, length: uint(MAX_BLOCK_BYTES), checksum: uint64 }),
      MAX_BLOCKS_PER_PAGE,
    ),
    more: bool,
  }),
);

/** What a data server's scrub is doing; `idle` between two passes. */
export const scrubState = choice({ idle: 0, running: 1, paused: 2 });
export type ScrubState = Infer<typeof scrubState>;

/** What its scrub can be told. */
export const scrubAction = choice({ status: 0, start: 1, pause: 2, resume: 3 });
export type ScrubAction = Infer<typeof scrubAction>;

/** Figures of a data server. */
export const dataStats = request(
  0x0705,
  "data.stats",
  record({}),
  record({
    server: serverField,
    instance: instanceField,
    uptimeMs: uint53,
    blocks: uint53,
    blockBytes: uint53,
    segments: uint53,
    segmentBytes: uint53,
    capacityBytes: uint53,
    availableBytes: uint53,
    puts: uint53,
    gets: uint53,
    deletes: uint53,
    syncs: uint53,
    badReplicas: uint53,
    deadBytes: uint53,
    compacting: bool,
    compactedSegments: uint53,
    movedBytes: uint53,
    freedBytes: uint53,
    scrub: optional(scrubState),
    /** When the last whole pass ended; null when there was none. */
    scrubbedNs: optional(int64),
    /** Rotten copies that the scrub has found, each once a pass. */
    scrubRotten: optional(uint53),
  }),
);

/**
 * Tells a data server's scrub what to do, and asks how it is. Answered when the server has made durable what it was told.
 * `start` begins a pass over everything as fast as the rate allows, unless one that was asked for is under way; it ends a
 * pause, as `resume` does. What is told twice is as if told once.
 * Errors: `invalid` (a rate that cannot be), `io` (done, but it could not be made durable).
 */
export const dataScrub = request(
  0x0706,
  "data.scrub",
  record({
    action: scrubAction,
    /** The rate from now on; not with `status`. Null leaves it. */
    bytesPerSecond: optional(uint53),
  }),
  record({
    server: serverField,
    state: scrubState,
    /** The pass under way was asked for: it is not spread over the period. */
    hurried: bool,
    segment: uint53,
    position: uint53,
    doneBytes: uint53,
    totalBytes: uint53,
    bytesPerSecond: uint53,
    startedNs: optional(int64),
    expectedNs: optional(int64),
    nextNs: optional(int64),
    lastPassNs: optional(int64),
    records: uint53,
    damage: uint53,
    rotten: uint53,
    rottenEver: uint53,
  }),
);

/** What came of asking one source for a block. */
const sourceFailure = record({
  server: serverField,
  problem: choice({ noBlock: 0, badChecksum: 1, unreadable: 2, unreachable: 3 }),
  /** For people. */
  detail: text(500),
});
export type SourceFailure = Infer<typeof sourceFailure>;

/**
 * Makes this server fetch a block from the first of these servers that can give it, and store it. Answered when it is
 * durable, or when no source was of use. A block that is held and right is a success; a rotten one is replaced. It ends
 * unfinished when the block is deleted here meanwhile, or when this server joins the metadata service anew.
 * Errors: `wrongPeer` (a stale command), `noSpace`, `io`, `conflict` (other bytes are held under this id), `busy` (too
 * many copies wait already), `cancelled` (it was ended).
 */
export const blockCopy = request(
  0x0707,
  "data.copy",
  record({
    ...command,
    block: blockField,
    length: uint(MAX_BLOCK_BYTES),
    checksum: uint64,
    inode: inodeField,
    fileOffset: uint53,
    /** In the order in which they are to be asked. */
    sources: list(record({ server: serverField, address: addressField }), MAX_REPLICAS * 2),
  }),
  record({
    /** True when this server now holds the block durably. */
    stored: bool,
    /** Sources that could not give it, those asked before the one that could among them. */
    failures: list(sourceFailure, MAX_REPLICAS * 2),
  }),
);

/**
 * What became of a block of a batch. `notGiven`: the source answered, and did not give it right; `unreachable`: it did not
 * answer; `notStored`: it could not be stored here, or the copy was ended.
 */
export const batchResult = choice({ stored: 0, notGiven: 1, unreachable: 2, notStored: 3 });
export type BatchResult = Infer<typeof batchResult>;

/**
 * `data.copy` for many blocks, each from one of the sources: fetched with some `data.getMany`, verified each by itself, stored
 * with few syncs. Answered when those that are stored are durable. What is not stored is for `data.copy`, which tells why.
 * Errors: `wrongPeer` (a stale command), `invalid` (a block twice, an empty one, too many bytes in all, or a source that is
 * not listed), `busy`.
 */
export const blockCopyMany = request(
  0x0717,
  "data.copyMany",
  record({
    ...command,
    /** A server that joined later shares blocks with all others. */
    sources: list(record({ server: serverField, address: addressField }), MAX_SERVERS),
    blocks: packedRows(copyRow, MAX_BATCHED_BLOCKS),
  }),
  /** In the order of the request. */
  record({ results: packedRows(packedChoice(batchResult), MAX_BATCHED_BLOCKS) }),
);

/**
 * Reads many blocks whole. The bulk bytes are those of the blocks that can be given, in the order of the request. A
 * block that is not held with this length, or cannot be read, is left out; the server sees to a rotten one by itself. Long ones may not have been verified.
 * Errors: `invalid` (a block twice, an empty one, too many bytes in all).
 */
export const blockGetMany = request(
  0x0718,
  "data.getMany",
  record({ blocks: packedRows(sizedRow, MAX_BATCHED_BLOCKS) }),
  /** Which of them the bulk bytes hold. */
  record({ given: packedRows(packedBool, MAX_BATCHED_BLOCKS) }),
  "reply",
);

/** What a server says of its own copy, having read all of it. `rotten`: damaged, or other bytes than these. */
export const replicaVerdict = choice({ right: 0, rotten: 1, missing: 2, unreadable: 3 });
export type ReplicaVerdict = Infer<typeof replicaVerdict>;

/** Reads copies whole on this server's own disk, and tells for each what it is worth; in the order of the request. */
export const blockVerify = request(
  0x0708,
  "data.verify",
  record({
    blocks: list(
      record({ block: blockField, length: uint(MAX_BLOCK_BYTES), checksum: uint64 }),
      MAX_VERIFIED_BLOCKS,
    ),
  }),
  record({ verdicts: list(replicaVerdict, MAX_VERIFIED_BLOCKS) }),
);

/**
 * Damages or loses the server's copy of a block on purpose; metadata is not told. Sent twice, it damages twice.
 * Errors: `notPermitted` (the server was not started with `--allow-faults`), `noBlock`, `io`, `noSpace`.
 */
export const blockCorrupt = request(
  0x0709,
  "data.corrupt",
  record({
    block: blockField,
    fault: choice({
      /** Some of the block's bytes are changed. */
      body: 0,
      /** Some bytes of its record's header are. */
      header: 1,
      /** The copy is given up, as if it had never been there. */
      lose: 2,
    }),
    /** Decides which bytes, and what becomes of them. */
    seed: uint(),
  }),
  record({
    /** File of the segment, its name in the server's log directory. */
    file: text(255),
    /** Where the copy's record begins in it. */
    record: uint53,
    /** Where the changed bytes begin in the file, and in the block. */
    position: uint53,
    blockOffset: uint(MAX_BLOCK_BYTES),
    before: bytes(MAX_FAULT_BYTES),
    after: bytes(MAX_FAULT_BYTES),
  }),
);

/**
 * Asks the server to end: in good order, and then this connection ends last of all, when the server's directory is free;
 * or at once, as if it had been killed, which is not answered. Errors: `notPermitted` (`crash`, and the server was not
 * started with `--allow-faults`), `unsupported` (`crash`, and it has no process of its own).
 */
export const dataStop = request(
  0x070a,
  "data.stop",
  record({ crash: bool }),
  record({ pid: uint53 }),
);
