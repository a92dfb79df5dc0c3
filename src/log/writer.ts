/**
 * Appends records to the log with group commit.
 *
 * What arrives while a batch is being written and synced forms the next batch: one fdatasync, then all of its
 * acknowledgements. While the disk is busy with a sync, large puts that come are written already: that batch is begun.
 * Invariants:
 *
 * - One sync at a time, one batch being synced and at most one begun behind it, which is in the same segment and holds
 *   puts alone. The `synced` in a record's header is where a batch begins before which everything was durable by then.
 * - A record is reported durable, and becomes visible to readers, after the sync that covers it, in the order of the log.
 * - A segment gets its first record when all segments before it are sealed durably, or are suspect and named so by the
 *   seals that lead that first batch.
 * - A sync that failed is never tried again. The segment counts up to the last good sync and takes nothing more; what was
 *   begun behind it has failed as well.
 * - When the disk is full, puts fail, and tombstones and moves go on into the reserve.
 * - A move leads its batch, and is written only if the record that it copies is still the live one when everything before
 *   is durable. So a copy always lies before the tombstone that kills it, and no batch is begun while moves wait.
 */
import { writeFully, type DiskFile } from "../base/disk.ts";
import { DfsError, messageOf } from "../base/errors.ts";
import type { Lsn } from "../base/ids.ts";
import { appendFailed, isDiskFull, logIsClosed, noSpaceForPut } from "./append-errors.ts";
import {
  Batch,
  type Append,
  type Move,
  type Place,
  type PutAppend,
  type TombstoneAppend,
} from "./batch.ts";
import { SEGMENT_HEADER_BYTES, type SegmentIdentity } from "./format.ts";
import { SEAL_BYTES, type SealReason } from "./record.ts";
import type { RecoveredLog, Suspect } from "./recovery.ts";
import { idsOf, single, Together, waitingFor, type PutResults, type Waiting } from "./waiting.ts";
import type { WriterOptions } from "./writer-options.ts";

/** A batch takes no further record once it holds this many bytes. */
export const BATCH_BYTES = 8 * 1024 * 1024;

/** Of that, moves take no more than this (and the rest of one record), so that nobody waits long for them. */
const MOVE_BYTES = 1024 * 1024;

/** Bytes handed to the system in one call: more would hold up the event loop. */
const WRITE_BYTES = 1024 * 1024;

/** Puts that take this many bytes are written during the sync before them. Smaller ones are cheaper written together. */
const AHEAD_BYTES = 256 * 1024;

interface WaitingMove extends Waiting {
  readonly append: Move;
  readonly skip: () => void;
}

interface OpenSegment {
  readonly identity: SegmentIdentity;
  readonly file: DiskFile;
  end: number;
}

interface OpenBatch {
  readonly batch: Batch;
  readonly taken: Waiting[];
  /** Why it cannot be written. */
  failure?: Error;
}

interface FilledBatch extends OpenBatch {
  /** The segment is sealed by this batch. */
  readonly seals: boolean;
  /** Suspect segments that this batch's seals name. */
  readonly suspects: readonly Suspect[];
}

export class LogWriter {
  /** Syncs of segments so far. */
  syncs = 0;
  private readonly options: WriterOptions;
  /** The number that the next new record gets. */
  nextLsn: Lsn;
  private current: OpenSegment | undefined;
  private queue: Waiting[] = [];
  private moves: WaitingMove[] = [];
  private running: Promise<void> | undefined;
  /** The batch that is being synced. */
  private syncing: FilledBatch | undefined;
  /** The batch behind that one. */
  private begun: OpenBatch | undefined;
  private isAhead = false;
  private closing = false;
  private suspects: Suspect[];
  private owesSeals = false;

  constructor(
    options: WriterOptions,
    { active, suspects, nextLsn }: Pick<RecoveredLog, "active" | "suspects" | "nextLsn">,
  ) {
    this.options = options;
    this.current = active && { ...active };
    this.suspects = [...suspects];
    this.nextLsn = nextLsn;
  }

  /**
   * Appends a record; resolves when it is durable.
   * @throws DfsError `noSpace`, `io`; `unreachable` when the log has been closed.
   */
  append(append: PutAppend | TombstoneAppend): Promise<Place> {
    return new Promise((resolve, reject) => {
      if (this.closing) return reject(logIsClosed("store"));
      this.enqueue([waitingFor(append, single(resolve, reject))]);
    });
  }

  /** Appends blocks; resolves when it is known of each whether it is durable, or with what error as of `append` it failed. */
  appendMany(appends: readonly PutAppend[]): Promise<PutResults> {
    if (this.closing) return Promise.resolve(appends.map(() => logIsClosed("store")));
    const together = new Together(appends.length);
    if (appends.length > 0) {
      this.enqueue(appends.map((append, at) => waitingFor(append, together, at)));
    }
    return together.done;
  }

  /**
   * Writes a record again at the end of the log; resolves when the copy is durable, or with undefined when the record was
   * not needed any more. @throws DfsError as `append`.
   */
  move(append: Move): Promise<Place | undefined> {
    return new Promise((resolve, reject) => {
      if (this.closing) return reject(logIsClosed("move"));
      const waiting = waitingFor(append, single(resolve, reject));
      this.moves.push({ ...waiting, append, skip: () => resolve(undefined) });
      this.running ??= this.run();
    });
  }

  /** Writes what is waiting, seals the segment and closes the files. */
  async close(): Promise<void> {
    this.closing = true;
    await this.running;
    const written = this.current !== undefined && this.current.end > SEGMENT_HEADER_BYTES;
    if (written || this.suspects.length > 0) await this.commit("closed");
    await this.current?.file.close();
    this.current = undefined;
    await this.options.supply.close();
  }

  private enqueue(waiting: readonly Waiting[]): void {
    for (const each of waiting) this.queue.push(each);
    this.running ??= this.run();
    if (waiting.some((each) => this.isLarge(each))) void this.goAhead();
  }

  private async run(): Promise<void> {
    await Promise.resolve(); // requests that arrive in the same turn join the first batch
    while (this.queue.length > 0 || this.moves.length > 0 || this.owesSeals || this.begun) {
      await this.commit(undefined);
    }
    this.running = undefined;
  }

  /** Writes and syncs one batch. Whatever goes wrong is told to those who wait; this never throws. */
  private async commit(close: SealReason | undefined): Promise<void> {
    this.owesSeals = false;
    const { begun } = this;
    this.begun = undefined;
    let filled: FilledBatch;
    try {
      this.current ??= { ...(await this.options.supply.take(this.nextLsn)) };
      filled = this.fill(this.current, close, begun);
    } catch (error) {
      if (begun !== undefined) this.condemn(this.current!, [begun], error);
      this.failAll(error);
      return;
    }
    if (filled.batch.bytes === 0) return;
    if (!(await this.write(this.current, filled))) return;
    if (!(await this.sync(this.current, filled))) return;
    this.finish(this.current, filled);
  }

  /** Returns false when that failed, after everybody has been told. */
  private async sync(current: OpenSegment, filled: FilledBatch): Promise<boolean> {
    this.syncing = filled;
    // What came while this batch was being written waits already.
    if (this.queue.some((each) => this.isLarge(each))) void this.goAhead();
    try {
      this.syncs++;
      await current.file.syncData();
      return true;
    } catch (error) {
      const { begun } = this;
      this.begun = undefined;
      this.condemn(current, begun === undefined ? [filled] : [filled, begun], error);
      return false;
    } finally {
      this.syncing = undefined;
    }
  }

  private isLarge({ bytes }: Waiting): boolean {
    return bytes >= (this.options.aheadBytes ?? AHEAD_BYTES);
  }

  /** Writes what has come during a sync, what comes in the same turn together. */
  private async goAhead(): Promise<void> {
    if (this.isAhead) return;
    this.isAhead = true;
    await Promise.resolve();
    while (this.writeAhead()) await nextTurn();
    this.isAhead = false;
  }

  /** Begins the next batch while one is being synced, or goes on with it. Returns whether there is more to write. */
  private writeAhead(): boolean {
    const { syncing, current, moves, queue } = this;
    if (syncing === undefined || current === undefined || syncing.seals || moves.length > 0)
      return false;
    const { batch } = syncing;
    const begun = (this.begun ??= {
      batch: new Batch(current.identity, batch.end, batch.start),
      taken: [],
    });
    if (begun.failure !== undefined) return false;
    try {
      const isFull = this.takeQueued(begun, ({ kind }) => kind === "put");
      const group = begun.batch.takeGroup(WRITE_BYTES);
      if (group === undefined) return false;
      this.writeGroup(current, begun.batch, group);
      return begun.batch.unwritten > 0 || (!isFull && queue[0]?.append.kind === "put");
    } catch (error) {
      begun.failure = error as Error; // what it comes to is settled when all before it is durable
      return false;
    }
  }

  /** Takes from the queue what fits into one batch, behind what has been begun of it. */
  private fill(
    current: OpenSegment,
    close: SealReason | undefined,
    begun: OpenBatch | undefined,
  ): FilledBatch {
    const open = begun ?? { batch: new Batch(current.identity, current.end), taken: [] };
    const { batch } = open;
    batch.synced = current.end;
    for (const segment of this.options.supply.takeUncertain()) {
      this.suspects.push({ segment, end: SEGMENT_HEADER_BYTES });
    }
    // An opening goes from the newest segment to the oldest: what a seal says is known in time for older ones only.
    const suspects = this.suspects.filter(({ segment }) => segment < current.identity.number);
    for (const { segment, end } of suspects) this.addSeal(batch, segment, end, "suspect");
    const isFull =
      (begun === undefined && !this.fillMoves(batch, open.taken)) ||
      this.takeQueued(open, () => true);
    const reason = isFull ? "full" : close;
    if (reason !== undefined) this.addSeal(batch, current.identity.number, batch.end, reason);
    return { ...open, seals: reason !== undefined, suspects };
  }

  /** Takes the first of the queue, as long as they are wanted. Returns true when the segment has no room for the next. */
  private takeQueued({ batch, taken }: OpenBatch, isWanted: (append: Append) => boolean): boolean {
    const { queue } = this;
    let room: number | undefined;
    let count = 0;
    try {
      for (; count < queue.length && batch.bytes < BATCH_BYTES; count++) {
        const waiting = queue[count]!;
        const { append, bytes } = waiting;
        if (!isWanted(append)) return false;
        if (this.isFull(batch, bytes)) return true;
        if (append.kind === "put") {
          room ??= this.options.roomForPuts() - batch.unwritten;
          if (bytes > room) {
            waiting.waiter.failed(noSpaceForPut(append.put.block), waiting.at);
            continue;
          }
          room -= bytes;
        }
        waiting.place = batch.add(append, this.takeLsn());
        taken.push(waiting);
      }
      return false;
    } finally {
      queue.splice(0, count); // all at once: each time, the rest of a long queue would be moved
    }
  }

  /** Takes moves into a batch. Returns false when the segment has no room for the next one. */
  private fillMoves(batch: Batch, taken: Waiting[]): boolean {
    const until = batch.end + MOVE_BYTES;
    while (this.moves.length > 0 && batch.end < until) {
      const waiting = this.moves[0]!;
      const { append, bytes } = waiting;
      if (!this.options.events.isWanted(append)) {
        waiting.skip();
      } else if (this.isFull(batch, bytes)) {
        return false;
      } else {
        const lsn = append.kind === "putMove" ? append.source.lsn : append.lsn;
        waiting.place = batch.add(append, lsn);
        taken.push(waiting);
      }
      this.moves.shift();
    }
    return true;
  }

  /** A segment holds any one record, and others as long as its seal fits behind them. */
  private isFull(batch: Batch, bytes: number): boolean {
    return (
      batch.end > SEGMENT_HEADER_BYTES && batch.end + bytes + SEAL_BYTES > this.options.segmentBytes
    );
  }

  private addSeal(batch: Batch, segment: number, end: number, reason: SealReason): void {
    batch.add({ kind: "seal", seal: { segment, end, reason } }, this.takeLsn());
  }

  private takeLsn(): Lsn {
    const lsn = this.nextLsn;
    this.nextLsn = (lsn + 1n) as Lsn;
    return lsn;
  }

  /** Hands the batch to the system. Returns false when that failed, after everybody has been told. */
  private async write(current: OpenSegment, filled: FilledBatch): Promise<boolean> {
    const { batch } = filled;
    try {
      if (filled.failure !== undefined) throw filled.failure;
      for (;;) {
        const group = batch.takeGroup(WRITE_BYTES);
        if (group === undefined) return true;
        if (batch.written > batch.start) await nextTurn();
        this.writeGroup(current, batch, group, true);
      }
    } catch (error) {
      if (isDiskFull(error) && this.takeBack(current, filled)) {
        this.refuseForSpace(filled);
      } else {
        this.condemn(current, [filled], error);
      }
      return false;
    }
  }

  /**
   * Hands a part of a batch to the system, which begins to bring it to the disk: it may be a while until the sync. When that follows
   * on the last part, that is left to it, which does so beside the event loop.
   */
  private writeGroup(
    { file }: OpenSegment,
    batch: Batch,
    group: readonly Uint8Array[],
    syncFollows = false,
  ): void {
    const from = batch.written;
    batch.written = writeFully(file, group, from);
    const length = batch.written - from;
    const isForSync = syncFollows && batch.unwritten === 0;
    if (length >= AHEAD_BYTES && !isForSync) file.beginWriteback?.(from, length);
  }

  /** Removes a batch that was written in part: nothing of it was synced, and everything before it is durable. */
  private takeBack(current: OpenSegment, { batch }: OpenBatch): boolean {
    try {
      current.file.truncate(batch.start);
      return true;
    } catch (error) {
      this.options.logger.error(`cannot shorten ${current.file.path}: ${messageOf(error)}`);
      return false;
    }
  }

  /** The disk is full: puts fail; tombstones are tried again without them, because they need little. */
  private refuseForSpace({ taken }: FilledBatch): void {
    this.options.events.onTakenBack(idsOf(taken));
    const isDeletion = ({ append }: Waiting): boolean => append.kind === "tombstone";
    const refused = taken.filter((each) => !isDeletion(each));
    for (const { append, waiter, at } of refused) {
      if (append.kind === "put") waiter.failed(noSpaceForPut(append.put.block), at);
      else waiter.failed(appendFailed(append, new DfsError("noSpace", "the disk is full")), at);
    }
    this.queue = [...taken.filter(isDeletion), ...this.queue];
    if (refused.length === 0) {
      this.failAll(
        new DfsError("noSpace", "the disk is full: not even a deletion can be recorded"),
      );
    }
  }

  /** Gives a segment up after a failed write or sync: it counts up to the last good sync. */
  private condemn(
    current: OpenSegment,
    batches: readonly [OpenBatch, ...OpenBatch[]],
    error: unknown,
  ): void {
    const { logger, events } = this.options;
    const { number } = current.identity;
    const taken = batches.flatMap((each) => each.taken);
    const end = batches[0].batch.start;
    logger.error(`gave up ${current.file.path} behind byte ${end}: ${messageOf(error)}`);
    this.current = undefined;
    this.suspects.push({ segment: number, end });
    // What could not be written may still be seen by whoever reads the file: nobody shall, whatever comes next.
    this.takeBack(current, batches[0]);
    void current.file.close().catch(() => undefined); // what was good in it has been synced
    events.onTakenBack(idsOf(taken));
    events.onUnsure({ segment: number, end, ...idsOf(taken), error });
    for (const { append, waiter, at } of taken) waiter.failed(appendFailed(append, error), at);
    this.owesSeals = taken.length > 0; // at once, unless it was tried at once and failed
  }

  private finish(current: OpenSegment, { batch, taken, seals, suspects }: FilledBatch): void {
    const { events, supply, segmentBytes } = this.options;
    const { number } = current.identity;
    current.end = batch.end;
    events.onGrown(number, batch.end);
    this.suspects = this.suspects.filter((each) => !suspects.includes(each));
    for (const { segment } of suspects) events.onSuspectSealed(segment, number);
    for (const { append, place, waiter, at } of taken) {
      events.onDurable(append, place!);
      waiter.durable(place!, at);
    }
    if (seals) {
      this.current = undefined;
      void current.file.close().catch(() => undefined); // all of it has been synced
      events.onSealed(number);
    } else if (batch.end > segmentBytes / 2 && !this.closing) {
      supply.prepare(this.nextLsn);
    }
  }

  private failAll(error: unknown): void {
    for (const { append, waiter, at } of [...this.moves.splice(0), ...this.queue.splice(0)]) {
      waiter.failed(appendFailed(append, error), at);
    }
  }
}

/** Lets the event loop do other things. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
