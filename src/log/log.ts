/**
 * The block log: an append-only store of blocks in a directory of segment files. docs/log-format.md has the bytes and the
 * reasons; the parts are
 *
 *     format.ts record.ts      bytes of segments and records
 *     segment.ts supply.ts     segment files: names, making, open handles
 *     puts.ts                  which puts are appended
 *     batch.ts writer.ts waiting.ts writer-options.ts     appending with group commit
 *     window.ts reader.ts      walking over a segment
 *     inspect.ts recovery-rules.ts recovery.ts replay.ts    opening
 *     index.ts index-page.ts block-reader.ts buffers.ts     finding and reading blocks
 *     manifest.ts              which segments there are
 *     checkpoint.ts checkpoint-image.ts segment-image.ts checkpoint-format.ts checkpoint-reader.ts beginning.ts
 *                              opening without reading all segments
 *     inspect-files.ts         what there is to be said of manifest and checkpoint
 *     state.ts                 what durable records change
 *     deletion.ts              which blocks a deletion is about
 *     ledger.ts id-list.ts counted-put.ts reclaim.ts        deleting segments that nobody needs
 *     compaction.ts compaction-policy.ts segment-copy.ts ahead-file.ts    emptying those that are mostly dead
 *     scrub.ts scrub-pace.ts scrub-segment.ts scrub-file.ts read-ahead.ts    verifying everything, again and again
 *     space.ts                 what puts leave free
 *     fault-injection.ts       damage on purpose
 *     corruption.ts types.ts   how damage is reported; what a log takes and tells
 *
 * Invariants
 * - A put or delete that has resolved survives any crash. One that has failed or was cut off may or may not have happened.
 * - The index names durable records only. Reads never wait for appends, nor appends for reads.
 * - One process uses a directory at a time; the owner of the log sees to that.
 */
import { DfsError, messageOf } from "../base/errors.ts";
import type { BlockId, Lsn } from "../base/ids.ts";
import { isDiskFull } from "./append-errors.ts";
import type { Place } from "./batch.ts";
import { BlockReader, type BlockRange, type StoredRange } from "./block-reader.ts";
import { Checkpointer } from "./checkpoint.ts";
import { captureCheckpoint } from "./checkpoint-image.ts";
import { Compactor } from "./compaction.ts";
import { COMPACTION_BYTES_PER_S } from "./compaction-policy.ts";
import { heldAmong, unsureAmong } from "./deletion.ts";
import { injectFault, type Fault, type InjectedFault } from "./fault-injection.ts";
import { SEGMENT_HEADER_BYTES } from "./format.ts";
import type { BlockIndex, IndexEntry } from "./index.ts";
import type { SegmentLedger } from "./ledger.ts";
import type { Manifest } from "./manifest.ts";
import { Puts } from "./puts.ts";
import { Reclaimer } from "./reclaim.ts";
import { MAX_RECORD_BYTES, MAX_TOMBSTONE_BLOCKS } from "./record.ts";
import { recoverLog, type RecoveredLog } from "./recovery.ts";
import { Scrubber } from "./scrub.ts";
import { SegmentReaders } from "./segment.ts";
import { roomForPuts, SEGMENT_BYTES } from "./space.ts";
import { SegmentSupply } from "./supply.ts";
import type { BlockInfo, BlockToPut, IdRange, LogOptions, LogStats } from "./types.ts";
import { LogState } from "./state.ts";
import { readNear, type NearBlock } from "./near-reads.ts";
import type { PutResults } from "./waiting.ts";
import { LogWriter } from "./writer.ts";
import type { WriterEvents } from "./writer-options.ts";

export type { BlockInfo, BlockToPut, IdRange, LogOptions, LogStats } from "./types.ts";

/** Segments kept open for reading. */
const MAX_OPEN_SEGMENTS = 128;

/**
 * Opens the log in `directory`, making it when there is none.
 * @throws DfsError `unsupported`, `wrongCluster`, `wrongPeer`, `io`.
 */
export async function openLog(options: LogOptions): Promise<BlockLog> {
  const recovered = await recoverLog(options);
  options.logger.info("opened the log", {
    blocks: recovered.index.size,
    segments: recovered.segments.length,
    checkpointBytes: recovered.checkpointBytes,
    readBytes: recovered.readBytes,
  });
  return new BlockLog(options, recovered);
}

export class BlockLog {
  /** Largest block id met since the log was opened or found in it then. Those only in deleted segments are forgotten. */
  highestBlock: BlockId;
  /** Undefined when the log has no clock. */
  readonly scrubber: Scrubber | undefined;
  private readonly options: LogOptions;
  private readonly index: BlockIndex;
  private readonly ledger: SegmentLedger;
  private readonly state: LogState;
  private readonly segments: SegmentReaders;
  private readonly reader: BlockReader;
  private readonly writer: LogWriter;
  private readonly reclaimer: Reclaimer;
  private readonly compactor: Compactor;
  private readonly manifest: Manifest;
  private readonly checkpointer: Checkpointer;
  /** The sealed segment with which the log ends, while it does. */
  private restsAt: number | undefined;
  private readonly badAtOpening: number;
  private closed = false;
  private readonly puts: Puts;
  /**
   * Blocks whose put or deletion failed after it may have reached the disk, so that a crash might still make it happen;
   * until a later record is durable. Puts and deletions of them are written again, whatever the index says.
   */
  private readonly unsure = new Set<BlockId>();

  /** Use `openLog`. */
  constructor(options: LogOptions, recovered: RecoveredLog) {
    const { disk, directory, logger, reporter } = options;
    const onRotten = options.onRotten ?? (() => undefined);
    this.options = options;
    this.index = recovered.index;
    this.ledger = recovered.ledger;
    this.state = new LogState(recovered.index, recovered.ledger);
    this.highestBlock = recovered.highestBlock;
    this.badAtOpening = recovered.index.rotten;
    this.segments = new SegmentReaders(disk, directory, MAX_OPEN_SEGMENTS);
    for (const identity of recovered.segments) this.segments.add(identity);
    this.reader = new BlockReader(this.segments, this.index, reporter, onRotten);
    this.manifest = recovered.manifest;
    this.restsAt = recovered.restsAt;
    this.writer = this.makeWriter(recovered);
    const { index, reader, writer, unsure } = this;
    this.puts = new Puts({ index, reader, writer, unsure });
    this.reclaimer = new Reclaimer({
      ledger: this.ledger,
      segments: this.segments,
      logger,
      beforeDelete: (segment) => this.beforeDelete(segment),
    });
    this.compactor = this.makeCompactor(onRotten);
    this.checkpointer = this.makeCheckpointer(recovered);
    if (this.restsAt !== undefined) this.checkpointer.atRest(this.restsAt);
    this.scrubber = this.makeScrubber(onRotten);
    this.tidy();
  }

  /**
   * Stores a block; resolves when it is durable, with the position in the log that made it so. A block that is held
   * already succeeds when its checksum is the same. A held copy that turns out to be rotten is replaced.
   * @throws DfsError `conflict` when other bytes are held under this id; `noSpace`, `io`.
   */
  put(block: BlockToPut): Promise<Lsn> {
    return this.puts.put(block);
  }

  /**
   * Stores blocks as so many puts that begin now would, for less than each of them costs. Resolves when it is known of each
   * what became of it: in the order of the blocks, undefined of those that are durable.
   */
  putMany(blocks: readonly BlockToPut[]): Promise<PutResults> {
    return this.puts.putMany(blocks);
  }

  /**
   * Reads the pieces that a range of a block touches, verified. The caller releases the result.
   * @throws DfsError `noBlock`, `invalid` (the range is not inside the block), `badChecksum`, `io`; `unreachable` when the
   * log has been closed. A copy that is found rotten is told to `onRotten`, unless `tell` is false.
   */
  get(block: BlockId, offset: number, length: number, tell = true): Promise<BlockRange> {
    try {
      return this.reader.read(this.entryOf(block, offset, length), offset, length, tell);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Finds the pieces that a range touches, for who sends them without having looked at them. Undefined: they are to be read.
   * @throws DfsError as `get`, but for `badChecksum` and `io`.
   */
  async find(block: BlockId, offset: number, length: number): Promise<StoredRange | undefined> {
    return this.reader.find(this.entryOf(block, offset, length), offset, length);
  }

  /**
   * Reads those of the blocks that lie close to each other and have the length named, whole and verified, into `target`: each to
   * where the lengths of those before it end, whether they were read or not. Returns for each whether it was read. What was
   * not may be read by `get` all the same.
   */
  async getNear(blocks: readonly NearBlock[], target: Uint8Array): Promise<boolean[]> {
    return this.closed ? blocks.map(() => false) : await readNear(this.reader, blocks, target);
  }

  /** Bytes of the block, as its copy here was stored, right or rotten; undefined when none is held. */
  lengthOf(block: BlockId): number | undefined {
    return this.index.get(block)?.length;
  }

  /** Whether a copy of the block is held, right or rotten. */
  holds(block: BlockId): boolean {
    return this.index.get(block) !== undefined;
  }

  /**
   * Deletes blocks, and all blocks of ranges of ids; those not held are skipped (but not one whose put has failed: a
   * crash might still bring it). Resolves when that is durable, with the
   * number of blocks that were held.
   * @throws DfsError `io`, `noSpace`.
   */
  async delete(blocks: readonly BlockId[], ranges: readonly IdRange[] = []): Promise<number> {
    const named = { blocks, ranges };
    const held = heldAmong(this.index, this.puts.pending, named);
    const ids = [...held, ...unsureAmong(this.unsure, named, held)];
    const appends: Promise<Place>[] = [];
    for (let at = 0; at < ids.length; at += MAX_TOMBSTONE_BLOCKS) {
      const part = ids.slice(at, at + MAX_TOMBSTONE_BLOCKS);
      appends.push(this.writer.append({ kind: "tombstone", blocks: part }));
    }
    await Promise.all(appends);
    return held.size;
  }

  /** Blocks held, by rising id, from the first one behind `after`. Those known to be rotten are left out. */
  list(after: BlockId, limit: number): { blocks: BlockInfo[]; more: boolean } {
    const entries = this.index.listAfter(after, limit + 1);
    return {
      blocks: entries
        .slice(0, limit)
        .map(({ block, length, checksum }) => ({ block, length, checksum })),
      more: entries.length > limit,
    };
  }

  /** Figures of this moment. */
  stats(): LogStats {
    const availableBytes = Math.max(0, this.roomForPuts());
    return {
      blocks: this.index.size - this.index.rotten,
      blockBytes: this.index.bytes,
      segments: this.ledger.count,
      segmentBytes: this.ledger.bytes,
      capacityBytes: this.ledger.bytes + availableBytes,
      availableBytes,
      full: availableBytes < MAX_RECORD_BYTES,
      syncs: this.writer.syncs,
      badReplicas: this.badAtOpening + this.reader.badReads,
      deadBytes: this.ledger.bytes - this.ledger.liveBytes,
      compaction: this.compactor.stats,
      ...this.checkpointer.stats,
      scrub: this.scrubber?.status,
    };
  }

  /** Damages or loses a copy on purpose: fault-injection.ts. @throws DfsError `noBlock`, `io`, `noSpace`. */
  injectFault(fault: Fault): Promise<InjectedFault> {
    const { index, segments } = this;
    const { disk, directory } = this.options;
    const remove = (block: BlockId): Promise<number> => this.delete([block]);
    return injectFault({ disk, directory, index, segments, remove }, fault);
  }

  /** Finishes what was begun and closes the files. Nothing may be asked of the log after that. */
  async close(): Promise<void> {
    this.closed = true;
    await this.scrubber?.close();
    await this.compactor.close();
    await this.writer.close();
    await this.reclaimer.close();
    await this.manifest.close();
    await this.checkpointer.close(this.restsAt);
    await this.segments.close();
  }

  /** @throws DfsError when there is no such range, or the log has been closed. */
  private entryOf(block: BlockId, offset: number, length: number): IndexEntry {
    if (this.closed) throw new DfsError("unreachable", "the server is shutting down");
    const entry = this.index.get(block);
    if (entry === undefined) {
      throw new DfsError("noBlock", `this server does not hold block ${block}`);
    }
    if (length > 0 && offset + length <= entry.length) return entry;
    const range = `${length} bytes from ${offset}`;
    throw new DfsError("invalid", `block ${block} has ${entry.length} bytes; cannot read ${range}`);
  }

  private makeWriter(recovered: RecoveredLog): LogWriter {
    const { disk, directory, cluster, server, random, logger } = this.options;
    const { segmentBytes, aheadBytes } = this.options;
    const supply = new SegmentSupply(
      {
        disk,
        directory,
        cluster,
        server,
        random,
        logger,
        manifest: this.manifest,
        onCreated: (identity) => {
          this.segments.add(identity);
          this.ledger.add(identity.number, SEGMENT_HEADER_BYTES);
        },
      },
      recovered.spares,
      recovered.nextSegment,
    );
    const options = {
      logger,
      segmentBytes: segmentBytes ?? SEGMENT_BYTES,
      aheadBytes,
      roomForPuts: () => this.roomForPuts(),
      supply,
      events: this.writerEvents(),
    };
    return new LogWriter(options, recovered);
  }

  private makeScrubber(onRotten: (block: BlockId) => void): Scrubber | undefined {
    const { clock } = this.options;
    if (clock === undefined) return undefined;
    const { ledger, index, segments } = this;
    return new Scrubber({ ...this.options, clock, ledger, index, segments, onRotten });
  }

  private makeCompactor(onRotten: (block: BlockId) => void): Compactor {
    const { disk, directory, logger, reporter, clock, segmentBytes, compactionRate } = this.options;
    const { ledger, index, segments, writer } = this;
    return new Compactor({
      disk,
      directory,
      logger,
      reporter,
      onRotten,
      clock,
      ledger,
      index,
      segments,
      writer,
      segmentBytes: segmentBytes ?? SEGMENT_BYTES,
      bytesPerSecond: compactionRate ?? COMPACTION_BYTES_PER_S,
      onEmptied: () => this.reclaimer.kick(),
    });
  }

  private makeCheckpointer({ readBytes, checkpointBytes }: RecoveredLog): Checkpointer {
    const { disk, directory, logger, segmentBytes, checkpointBytes: everyBytes } = this.options;
    const { index, ledger, segments, writer } = this;
    const options = {
      disk,
      directory,
      owner: this.options,
      logger,
      segmentBytes: segmentBytes ?? SEGMENT_BYTES,
      everyBytes,
      capture: (segment: number) =>
        captureCheckpoint(
          { index, ledger, segments, nextLsn: writer.nextLsn, highestBlock: this.highestBlock },
          segment,
        ),
    };
    return new Checkpointer(options, readBytes, checkpointBytes);
  }

  /** A segment that the manifest does not name is not missed. On a full disk the checkpoint makes room for that. */
  private async beforeDelete(segment: number): Promise<void> {
    await this.options.beforeReclaim?.();
    try {
      await this.manifest.remove(segment);
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      await this.checkpointer.discard();
      await this.manifest.remove(segment);
    }
  }

  /** From the first record on, what an opening finds says which numbers come next. */
  private forgetLost(): void {
    this.manifest.forgetLost().catch((error: unknown) => {
      this.options.logger.warn(
        `cannot write the list of the log's segments yet, so what was lost will be told again: ${messageOf(error)}`,
      );
    });
  }

  /** Something may have become needless. */
  private tidy(): void {
    this.reclaimer.kick();
    this.compactor.kick();
  }

  private writerEvents(): WriterEvents {
    return {
      onDurable: (append, place) => {
        if (this.unsure.size > 0) this.unsure.clear();
        const leavesSomething = this.state.take(append, place);
        if (append.kind === "put" && append.put.block > this.highestBlock) {
          this.highestBlock = append.put.block;
        }
        if (leavesSomething) this.tidy();
      },
      isWanted: (move) => this.state.needs(move),
      onGrown: (segment, end) => {
        this.restsAt = undefined;
        this.forgetLost();
        this.checkpointer.grew(end - this.ledger.state(segment).bytes);
        this.ledger.setBytes(segment, end);
      },
      onSealed: (segment) => {
        this.ledger.state(segment).sealed = true;
        this.restsAt = segment;
        this.checkpointer.atRest(segment);
        this.tidy();
      },
      onSuspectSealed: (suspect, by) => {
        const state = this.ledger.state(suspect);
        state.sealed = true;
        state.end = state.bytes; // its records count up to the last good sync
        this.ledger.coverSuspect(by, suspect);
        this.tidy();
      },
      onTakenBack: ({ puts, deletes }) => {
        for (const block of [...puts, ...deletes]) this.unsure.add(block);
      },
      onUnsure: (writes) => this.options.onUnsure?.(writes),
    };
  }

  private roomForPuts(): number {
    return roomForPuts(this.options, this.options.directory);
  }
}
