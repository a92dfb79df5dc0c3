/**
 * What a data server answers: two tables of handlers, one for each kind of connection.
 *
 *     its own listener                  data.put, data.get, data.getMany, data.stats, data.scrub
 *                                       clients and other data servers
 *     its connection to the service     data.delete, data.list, data.copy, data.copyMany, data.verify
 *                                       the metadata service
 *
 * Bytes are verified before they are appended and after they were read; those that are sent straight out of the system's memory of
 * a file are verified by who gets them. Nothing is answered before the server has been
 * accepted by a metadata service whose database is not older than what it has seen.
 *
 * Deletions are executed one after the other, so that the answer to one tells that those before it have ended as well.
 */
import { firstBadPiece, verifyPieceList } from "../../base/checksum.ts";
import type { Clock } from "../../base/clock.ts";
import { DfsError } from "../../base/errors.ts";
import type { InstanceId, ServerId } from "../../base/ids.ts";
import { MAX_BLOCK_BYTES, MAX_GIVEN_BYTES, PIECE_BYTES } from "../../base/limits.ts";
import { MIN_BUFFER_BYTES } from "../../log/buffers.ts";
import type { BlockLog } from "../../log/log.ts";
import type { Scrubber, ScrubStatus } from "../../log/scrub.ts";
import { HandlerTable } from "../../protocol/endpoint.ts";
import type { ReplyOf, RequestOf } from "../../protocol/message.ts";
import {
  blockCopy,
  blockCopyMany,
  blockDelete,
  blockGet,
  blockGetMany,
  blockList,
  blockPut,
  blockVerify,
  dataScrub,
  dataStats,
} from "../../protocol/messages/data.ts";
import type { CommandOrder } from "./command-order.ts";
import { readMany } from "./many.ts";
import type { Replication } from "./replication.ts";
import { Verification } from "./verification.ts";

/** What handlers need of the server. */
export interface ServedLog {
  /** The log, or the reason why nothing is served at the moment. @throws DfsError. */
  log(): BlockLog;
  /** Resolves with the log once the registration under way is through. */
  registered(): Promise<BlockLog>;
  server(): ServerId;
}

export interface HandlerOptions {
  readonly served: ServedLog;
  readonly instance: InstanceId;
  readonly order: CommandOrder;
  readonly replication: Replication;
  readonly clock: Clock;
}

/** Requests since the start of this process. */
interface Counters {
  puts: number;
  gets: number;
  deletes: number;
}

export interface DataHandlers {
  /** For the server's own listener. */
  readonly forClients: HandlerTable;
  /** For the connection to the metadata service. */
  readonly forService: HandlerTable;
}

/** Memory that reading takes: each block may need a buffer of its own, however short it is. */
function bytesToRead(blocks: readonly { readonly length: number }[]): number {
  return blocks.reduce((sum, { length }) => sum + Math.max(length, MIN_BUFFER_BYTES), 0);
}

/** The handlers of a server. */
export function makeHandlers(options: HandlerOptions): DataHandlers {
  const counters: Counters = { puts: 0, gets: 0, deletes: 0 };
  return {
    forClients: handlersForClients(options, counters),
    forService: handlersForService(options, counters),
  };
}

function handlersForClients(options: HandlerOptions, counters: Counters): HandlerTable {
  const { served, instance, clock } = options;
  const startMs = clock.monotonicMs();
  const table = new HandlerTable();
  table.onRequest(blockPut, async ({ body, bulk, release }) => {
    let sequence: bigint;
    try {
      const log = served.log();
      checkBlock(body, bulk);
      const { block, length, checksum, inode, fileOffset, pieces } = body;
      sequence = await log.put({ block, length, checksum, inode, fileOffset, pieces, bytes: bulk });
    } finally {
      release(); // not before: the log writes out of this memory
    }
    counters.puts++;
    return { body: { instance, sequence } };
  });
  table.onRequest(
    blockGet,
    async ({ body: { block, offset, length } }) => {
      const log = served.log();
      const found = await log.find(block, offset, length);
      const range = found ?? (await log.get(block, offset, length));
      counters.gets++;
      return {
        body: { blockLength: range.blockLength, pieces: range.pieces },
        bulk: "part" in range ? range.part : range.bytes,
        sent: () => range.release(),
      };
    },
    // Whole pieces are given.
    { replyBytes: ({ length }) => Math.min(length + 2 * PIECE_BYTES, MAX_BLOCK_BYTES) },
  );
  table.onRequest(
    blockGetMany,
    async ({ body: { blocks } }) => {
      const { given, bytes, release } = await readMany(served.log(), blocks);
      counters.gets += blocks.length;
      return { body: { given }, bulk: bytes, sent: release };
    },
    { replyBytes: ({ blocks }) => Math.min(bytesToRead(blocks), MAX_GIVEN_BYTES) },
  );
  table.onRequest(dataStats, () => {
    const uptimeMs = Math.floor(clock.monotonicMs() - startMs);
    return {
      body: { ...statsOf(served.log()), ...counters, server: served.server(), instance, uptimeMs },
    };
  });
  table.onRequest(dataScrub, async ({ body: { action, bytesPerSecond } }) => {
    const scrubber = scrubberOf(served.log());
    if (action !== "status") await scrubber.control(action, bytesPerSecond ?? undefined);
    else if (bytesPerSecond !== null) {
      throw new DfsError(
        "invalid",
        "cannot change the rate of a scrub while asking for its status",
      );
    }
    return { body: { server: served.server(), ...scrubReply(scrubber.status) } };
  });
  return table;
}

function handlersForService(options: HandlerOptions, counters: Counters): HandlerTable {
  const { served, order, replication } = options;
  const verification = new Verification();
  let deletions: Promise<unknown> = Promise.resolve();
  const table = new HandlerTable();
  table.onRequest(blockDelete, async ({ body }) => {
    const log = await served.registered();
    order.accept(body);
    const { blocks, ranges } = body;
    const ended = replication.end(blocks, ranges);
    const turn = deletions.then(async () => {
      await ended;
      return log.delete(blocks, ranges);
    });
    deletions = turn.catch(() => undefined); // who ordered it is told; the next one does not depend on it
    const deleted = await turn;
    counters.deletes += deleted;
    return { body: { deleted } };
  });
  table.onRequest(blockList, async ({ body: { after, limit } }) => {
    const log = await served.registered();
    return { body: log.list(after, limit) };
  });
  table.onRequest(blockCopy, async ({ body }) => {
    const log = await served.registered();
    order.accept(body);
    return { body: await replication.copy(log, body) };
  });
  table.onRequest(blockCopyMany, async ({ body }) => {
    const log = await served.registered();
    order.accept(body);
    return { body: { results: await replication.copyMany(log, body) } };
  });
  table.onRequest(blockVerify, async ({ body: { blocks } }) => {
    const log = await served.registered();
    return { body: { verdicts: await verification.verify(log, blocks) } };
  });
  return table;
}

/** @throws DfsError `invalid` or `badChecksum` when what came is not the block that the request describes. */
function checkBlock(body: RequestOf<typeof blockPut>, bulk: Uint8Array): void {
  const { block, length, checksum, pieces } = body;
  if (block === 0n || length === 0) {
    throw new DfsError("invalid", `cannot store block ${block} of ${length} bytes: there is none`);
  }
  if (bulk.length !== length) {
    throw new DfsError(
      "badChecksum",
      `cannot store block ${block}: ${bulk.length} bytes came instead of ${length}`,
    );
  }
  if (!verifyPieceList(length, pieces, checksum)) {
    throw new DfsError(
      "badChecksum",
      `cannot store block ${block}: its piece hashes do not match its checksum`,
    );
  }
  const bad = firstBadPiece(bulk, 0, pieces);
  if (bad !== -1) {
    throw new DfsError(
      "badChecksum",
      `cannot store block ${block}: piece ${bad} does not match its hash; it was damaged on the way`,
    );
  }
}

type LogFigures = Omit<
  ReplyOf<typeof dataStats>,
  keyof Counters | "server" | "instance" | "uptimeMs"
>;

function statsOf(log: BlockLog): LogFigures {
  const { blocks, blockBytes, segments, segmentBytes, ...rest } = log.stats();
  const { capacityBytes, availableBytes, syncs, badReplicas, deadBytes, compaction, scrub } = rest;
  return {
    blocks,
    blockBytes,
    segments,
    segmentBytes,
    capacityBytes,
    availableBytes,
    syncs,
    badReplicas,
    deadBytes,
    compacting: compaction.running,
    compactedSegments: compaction.segments,
    movedBytes: compaction.movedBytes,
    freedBytes: compaction.freedBytes,
    scrub: scrub?.state ?? null,
    scrubbedNs: knownTime(scrub?.lastPassNs ?? 0n),
    scrubRotten: scrub?.rottenEver ?? null,
  };
}

function scrubberOf({ scrubber }: BlockLog): Scrubber {
  if (scrubber !== undefined) return scrubber;
  throw new DfsError("unsupported", "this data server was started without a scrub");
}

function scrubReply(status: ScrubStatus): Omit<ReplyOf<typeof dataScrub>, "server"> {
  return {
    ...status,
    startedNs: knownTime(status.startedNs),
    expectedNs: knownTime(status.expectedNs),
    nextNs: knownTime(status.nextNs),
    lastPassNs: knownTime(status.lastPassNs),
  };
}

function knownTime(timeNs: bigint): bigint | null {
  return timeNs === 0n ? null : timeNs;
}
