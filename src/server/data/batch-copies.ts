/**
 * Copies of many blocks, each from one of some sources: fetched in parts, a few of them at a time, so that some are on their way
 * while others are verified and written, and memory does not grow with the batch.
 *
 * Small blocks come by the ten thousand in a second. What there is for each of them is a row, a state, a result, and a place
 * in the list of copies under way (replication.ts); promises are made for parts, and for who waits for a block.
 */
import { verifiedPieces } from "../../base/checksum.ts";
import { DfsError, isDfsError } from "../../base/errors.ts";
import type { BlockId } from "../../base/ids.ts";
import { MAX_GIVEN_BYTES } from "../../base/limits.ts";
import type { BlockLog, BlockToPut } from "../../log/log.ts";
import type { ReplyOf, RequestOf } from "../../protocol/message.ts";
import type { CopyRow } from "../../protocol/messages/block-rows.ts";
import {
  blockGetMany,
  type blockCopy,
  type BatchResult,
  type blockCopyMany,
} from "../../protocol/messages/data.ts";
import type { Slots } from "./slots.ts";
import type { Source, SourcePeers } from "./source-peers.ts";
import { verdictOn } from "./verification.ts";

/** Parts of a batch that are under way from each source. */
const PARTS_AT_ONCE = 2;

/**
 * Bytes of a part: as many as a message may have, of blocks that their source sends from where they lie. Shorter ones it has to
 * gather in its memory.
 */
const LONG_BYTES = 256 * 1024;
const SHORT_PART_BYTES = MAX_GIVEN_BYTES / 4;

/** Copies of blocks, each from one of the sources. */
export type BatchOrder = Pick<RequestOf<typeof blockCopyMany>, "sources" | "blocks">;

type Outcome = ReplyOf<typeof blockCopy>;

/** A block that is neither stored nor given up; one that is on its way into the log; one of which it is known what became of it. */
const WAITING = 0;
const STORING = 1;
const ENDED = 2;

/** The blocks of an order, by their places in it, and what becomes of each. */
export class CopyBatch {
  readonly rows: readonly CopyRow[];
  readonly results: BatchResult[];
  /** Aborted when all of them were ended from outside. */
  readonly signal: AbortSignal;
  private readonly abortion = new AbortController();
  private readonly states: Uint8Array;
  private readonly onEnded: (block: BlockId) => void;
  /** Those of which it is not known what became of them. */
  private left: number;
  /** By block, who waits for what becomes of it. */
  private readonly waiters = new Map<BlockId, PromiseWithResolvers<BatchResult>>();
  /** By block its place; made when somebody asks for a block, which is seldom. */
  private places: ReadonlyMap<BlockId, number> | undefined;

  /** `onEnded` is called for each block when it has ended, before anybody is told. */
  constructor(rows: readonly CopyRow[], onEnded: (block: BlockId) => void) {
    this.rows = rows;
    this.results = rows.map(() => "notStored");
    this.states = new Uint8Array(rows.length);
    this.signal = this.abortion.signal;
    this.onEnded = onEnded;
    this.left = rows.length;
  }

  /** The block is copied by somebody else. */
  leaveOut(at: number): void {
    this.states[at] = ENDED;
    this.left--;
  }

  isWaiting(at: number): boolean {
    return this.states[at] === WAITING;
  }

  /** From now on the block cannot be ended from outside: what becomes of it is for `settle` to tell. */
  beginStoring(at: number): void {
    this.states[at] = STORING;
  }

  settle(at: number, result: BatchResult): void {
    if (this.states[at] === ENDED) return;
    const { block } = this.rows[at]!;
    this.states[at] = ENDED;
    this.results[at] = result;
    this.left--;
    this.onEnded(block);
    if (this.waiters.size === 0) return;
    this.waiters.get(block)?.resolve(result);
    this.waiters.delete(block);
  }

  settleWaiting(places: Iterable<number>, result: BatchResult): void {
    for (const at of places) if (this.isWaiting(at)) this.settle(at, result);
  }

  /** Ends the copy of a block unless it is being stored by now. */
  end(block: BlockId): void {
    const at = this.placeOf(block);
    if (!this.isWaiting(at)) return;
    this.settle(at, "notStored");
    if (this.left === 0) this.abortion.abort();
  }

  /** Resolves with what becomes of a block that has not ended yet. */
  async outcomeOf(block: BlockId): Promise<Outcome> {
    const waiter = this.waiters.get(block) ?? Promise.withResolvers<BatchResult>();
    this.waiters.set(block, waiter);
    return { stored: (await waiter.promise) === "stored", failures: [] };
  }

  private placeOf(block: BlockId): number {
    this.places ??= new Map(this.rows.map((row, at) => [row.block, at]));
    return this.places.get(block)!;
  }
}

/** What is needed to make the copies of a batch. */
export interface BatchCopying {
  readonly log: BlockLog;
  readonly peers: SourcePeers;
  /** Taken by each part that is in memory, of all batches. */
  readonly slots: Slots;
  readonly batch: CopyBatch;
}

/**
 * Makes the copies of a batch; each of its blocks has ended when it resolves. Those that are ended meanwhile are left out.
 * @throws what is no DfsError, and leaves blocks waiting then.
 */
export async function copyTogether(
  copying: BatchCopying,
  sources: readonly Source[],
): Promise<void> {
  const { log, batch } = copying;
  const wanted: number[][] = sources.map(() => []);
  for (const [at, row] of batch.rows.entries()) {
    if (!batch.isWaiting(at)) continue;
    if (log.holds(row.block) && (await verdictOn(log, row)) === "right") batch.settle(at, "stored");
    else wanted[row.source]!.push(at);
  }
  await allOf(sources.map((source, at) => copyFrom(copying, source, wanted[at]!)));
}

/** Makes those copies that come from one source. */
async function copyFrom(
  copying: BatchCopying,
  source: Source,
  places: readonly number[],
): Promise<void> {
  const { batch, slots } = copying;
  const parts = partsOf(batch.rows, places).values();
  let isReached = true;
  const lane = async (): Promise<void> => {
    for (const part of parts) {
      // Who did not answer once is not waited for again and again.
      if (!isReached) batch.settleWaiting(part, "unreachable");
      else if (!(await slots.run(() => copyPart(copying, source, part), batch.signal)))
        isReached = false;
    }
  };
  await allOf(Array.from({ length: PARTS_AT_ONCE }, lane));
}

/** Resolves when all have ended. @throws what the first of them that failed has thrown. */
async function allOf(promises: readonly Promise<void>[]): Promise<void> {
  const ended = await Promise.allSettled(promises);
  const failed = ended.find((each) => each.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

/** What is fetched with one message, again and again. */
function partsOf(rows: readonly CopyRow[], places: readonly number[]): number[][] {
  const parts: number[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const at of places) {
    const { length } = rows[at]!;
    if (bytes + length > (length < LONG_BYTES ? SHORT_PART_BYTES : MAX_GIVEN_BYTES)) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)!.push(at);
    bytes += length;
  }
  return parts;
}

/** Returns false when the source could not be asked. */
async function copyPart(
  copying: BatchCopying,
  source: Source,
  part: readonly number[],
): Promise<boolean> {
  const { batch } = copying;
  const wanted = part.filter((at) => batch.isWaiting(at));
  if (wanted.length === 0) return true;
  let fetched: FetchedPart;
  try {
    fetched = await fetchPart(copying, source, wanted);
  } catch (error) {
    if (!isDfsError(error)) throw error;
    batch.settleWaiting(wanted, "unreachable");
    return false;
  }
  try {
    await storePart(copying, fetched, wanted);
  } finally {
    fetched.release(); // the log has written out of this memory
  }
  return true;
}

/** Stores the blocks that are right and have not been ended; nothing comes between that look and their place in the log. */
async function storePart(
  { log, batch }: BatchCopying,
  { given, bulk }: FetchedPart,
  wanted: readonly number[],
): Promise<void> {
  const places: number[] = [];
  const blocks: BlockToPut[] = [];
  let end = 0;
  for (const [nth, at] of wanted.entries()) {
    const { block, length, checksum, inode, fileOffset } = batch.rows[at]!;
    const start = end;
    if (given[nth] === true) end += length;
    if (!batch.isWaiting(at)) continue;
    const bytes = bulk.subarray(start, end);
    const pieces = given[nth] === true ? verifiedPieces(bytes, checksum) : undefined;
    if (pieces === undefined) {
      batch.settle(at, "notGiven");
      continue;
    }
    batch.beginStoring(at);
    places.push(at);
    blocks.push({ block, length, checksum, inode, fileOffset, pieces, bytes });
  }
  try {
    const failures = await log.putMany(blocks);
    for (const [nth, at] of places.entries()) {
      batch.settle(at, failures[nth] === undefined ? "stored" : "notStored");
    }
  } catch (error) {
    for (const at of places) batch.settle(at, "notStored"); // lest anybody wait for them for ever
    throw error;
  }
}

interface FetchedPart {
  /** For each block whether it is among the bytes. */
  readonly given: readonly boolean[];
  readonly bulk: Uint8Array;
  /** To be called when they have been stored. */
  readonly release: () => void;
}

/** What the source gives. @throws DfsError when it does not answer, or not as it should. */
async function fetchPart(
  { peers, batch: { rows, signal } }: BatchCopying,
  source: Source,
  wanted: readonly number[],
): Promise<FetchedPart> {
  const blocks = wanted.map((at) => rows[at]!);
  const { body, bulk, release } = await peers.ask(source, blockGetMany, { blocks }, signal);
  const { given } = body;
  let bytes = 0;
  for (const [nth, { length }] of blocks.entries()) if (given[nth] === true) bytes += length;
  if (bytes === bulk.length && given.length === blocks.length) return { given, bulk, release };
  throw new DfsError(
    "protocol",
    `data server ${source.server} sent ${bulk.length} bytes for ${blocks.length} blocks, ${bytes} are of those it has given`,
  );
}
