/**
 * Making copies of blocks that other data servers hold, when the metadata service commands it.
 *
 * Invariants
 * - What is stored has been verified against the checksum that the command brought, which is metadata's.
 * - One copy of a block is under way at a time; who orders the same again waits for it.
 * - When `end` or `endAll` has resolved, no copy that was under way before will be stored any more. A deletion calls
 *   `end` for its blocks before it deletes them, and joining the service calls `endAll`; so a copy can outlive neither
 *   the removal of its block nor the connection that brought the order.
 * - A few copies are fetched at a time, a bounded number waits.
 */
import { firstBadPiece, verifyPieceList } from "../../base/checksum.ts";
import { DfsError, isDfsError, messageOf } from "../../base/errors.ts";
import type { BlockId } from "../../base/ids.ts";
import { MAX_BATCHED_BYTES } from "../../base/limits.ts";
import type { BlockLog, IdRange } from "../../log/log.ts";
import type { ReplyOf, RequestOf } from "../../protocol/message.ts";
import { blockGet, type BatchResult, type blockCopy } from "../../protocol/messages/data.ts";
import { CopyBatch, copyTogether, type BatchOrder } from "./batch-copies.ts";
import { checkMany } from "./many.ts";
import { Slots } from "./slots.ts";
import { SourcePeers, type Source, type SourcePeersOptions } from "./source-peers.ts";
import { verdictOn } from "./verification.ts";

/** Copies fetched at a time; each holds its block in memory, up to 16 MiB. */
const AT_ONCE = 4;

/** Blocks up to this length have a queue of their own: of them many at a time share a sync, and hold little memory. */
const SMALL_BYTES = 64 * 1024;
const SMALL_AT_ONCE = 64;

/** Batches at a time, and parts of them, of up to 4 MiB, that are in memory or asked for. */
const BATCHES_AT_ONCE = 8;
const PARTS_IN_MEMORY = 10;

/** Copies of each kind that may wait. The service orders far fewer. */
const MOST_WAITING = 64;

const MAX_DETAIL = 500;

type Outcome = ReplyOf<typeof blockCopy>;
type SourceFailure = Outcome["failures"][number];

/** What a copy is to be. */
export type CopyOrder = Pick<
  RequestOf<typeof blockCopy>,
  "block" | "length" | "checksum" | "inode" | "fileOffset" | "sources"
>;

/** A copy that is under way, or a batch of them. */
interface UnderWay {
  /** The block will not be stored, unless it is being stored by now. */
  end(block: BlockId): void;
  /** What becomes of the block. Rejects as `copy`. */
  outcomeOf(block: BlockId): Promise<Outcome>;
}

interface FetchedBlock {
  readonly pieces: Uint8Array;
  readonly bytes: Uint8Array;
  /** To be called when they have been stored. */
  readonly release: () => void;
}

export class Replication {
  private readonly peers: SourcePeers;
  private readonly slots = new Slots(AT_ONCE, MOST_WAITING);
  private readonly smallSlots = new Slots(SMALL_AT_ONCE, MOST_WAITING);
  private readonly batchSlots = new Slots(BATCHES_AT_ONCE, MOST_WAITING);
  private readonly partSlots = new Slots(PARTS_IN_MEMORY);
  private readonly underWay = new Map<BlockId, UnderWay>();

  constructor(options: SourcePeersOptions) {
    this.peers = new SourcePeers(options);
  }

  /**
   * Makes a copy; resolves when it is durable, or when no source could give the block.
   * @throws DfsError `noSpace`, `io`, `conflict`, `busy`; `cancelled` when it was ended.
   */
  copy(log: BlockLog, order: CopyOrder): Promise<Outcome> {
    const present = this.underWay.get(order.block);
    if (present !== undefined) return present.outcomeOf(order.block);
    const abort = new AbortController();
    const slots = order.length <= SMALL_BYTES ? this.smallSlots : this.slots;
    const done = slots
      .run(() => this.make(log, order, abort.signal), abort.signal)
      .finally(() => this.underWay.delete(order.block));
    this.underWay.set(order.block, { end: () => abort.abort(), outcomeOf: () => done });
    return done;
  }

  /**
   * Makes copies of blocks, each from one of the sources; resolves with what became of each when those made are durable.
   * @throws DfsError `invalid` as `checkMany` and for a source that is not listed, `busy`.
   */
  async copyMany(log: BlockLog, { sources, blocks }: BatchOrder): Promise<BatchResult[]> {
    checkMany(blocks, MAX_BATCHED_BYTES);
    checkSources(blocks, sources);
    const batch = new CopyBatch(blocks, (block) => this.underWay.delete(block));
    const elsewhere: Promise<void>[] = [];
    for (const [at, { block }] of blocks.entries()) {
      const present = this.underWay.get(block);
      if (present === undefined) this.underWay.set(block, batch);
      else elsewhere.push(leaveTo(present, batch, at));
    }
    const { peers, partSlots: slots } = this;
    try {
      await this.batchSlots.run(
        () => copyTogether({ log, peers, slots, batch }, sources),
        batch.signal,
      );
    } catch (error) {
      batch.settleWaiting(blocks.keys(), "notStored");
      // When all of it was ended that is told for each block.
      if (!batch.signal.aborted) throw error;
    }
    await Promise.all(elsewhere);
    return batch.results;
  }

  /** Ends the copies of these blocks that are under way; resolves when none of them will be stored any more. */
  async end(blocks: readonly BlockId[], ranges: readonly IdRange[] = []): Promise<void> {
    if (this.underWay.size === 0) return;
    const named = ranges.length === 0 ? blocks : [...blocks, ...this.underWayIn(ranges)];
    await this.endThose(named);
  }

  /** Ends all copies that are under way; resolves when none of them will be stored any more. */
  endAll(): Promise<void> {
    return this.endThose([...this.underWay.keys()]);
  }

  /** Ends everything, connections too. */
  async close(): Promise<void> {
    this.peers.close();
    await this.endAll();
  }

  private underWayIn(ranges: readonly IdRange[]): BlockId[] {
    return [...this.underWay.keys()].filter((block) =>
      ranges.some(({ first, count }) => block >= first && block < first + BigInt(count)),
    );
  }

  private async endThose(blocks: readonly BlockId[]): Promise<void> {
    const storing: Promise<unknown>[] = [];
    for (const block of blocks) {
      this.underWay.get(block)?.end(block);
      const left = this.underWay.get(block);
      if (left !== undefined) storing.push(left.outcomeOf(block));
    }
    await Promise.allSettled(storing); // who ordered them is told
  }

  private async make(log: BlockLog, order: CopyOrder, signal: AbortSignal): Promise<Outcome> {
    if ((await verdictOn(log, order)) === "right") return { stored: true, failures: [] };
    const failures: SourceFailure[] = [];
    for (const source of order.sources) {
      let fetched: FetchedBlock;
      try {
        fetched = await this.fetch(order, source, signal);
      } catch (error) {
        throwIfEnded(order, signal);
        failures.push(failureOf(source, error));
        continue;
      }
      const { pieces, bytes, release } = fetched;
      const { block, length, checksum, inode, fileOffset } = order;
      try {
        throwIfEnded(order, signal);
        await log.put({ block, length, checksum, inode, fileOffset, pieces, bytes });
      } finally {
        release();
      }
      return { stored: true, failures };
    }
    return { stored: false, failures };
  }

  /** @throws DfsError when the source cannot give the block; `badChecksum` when what it gave is not the block. */
  private async fetch(
    { block, length, checksum }: CopyOrder,
    source: Source,
    signal: AbortSignal,
  ): Promise<FetchedBlock> {
    const range = { block, offset: 0, length };
    const { body, bulk, release } = await this.peers.ask(source, blockGet, range, signal);
    const right =
      body.blockLength === length &&
      bulk.length === length &&
      verifyPieceList(length, body.pieces, checksum) &&
      firstBadPiece(bulk, 0, body.pieces) === -1;
    if (right) return { pieces: body.pieces, bytes: bulk, release };
    throw new DfsError(
      "badChecksum",
      `data server ${source.server} sent other bytes than those of block ${block}`,
    );
  }
}

/** @throws DfsError `invalid` when a block is to come from a source that is not among these. */
function checkSources(
  blocks: readonly { readonly block: BlockId; readonly source: number }[],
  sources: readonly Source[],
): void {
  const lost = blocks.find(({ source }) => source >= sources.length);
  if (lost === undefined) return;
  throw new DfsError(
    "invalid",
    `cannot copy block ${lost.block} from source ${lost.source}: ${sources.length} are named`,
  );
}

/** What becomes of a block of a batch, when somebody else copies it: that is waited for. */
async function leaveTo(present: UnderWay, batch: CopyBatch, at: number): Promise<void> {
  batch.leaveOut(at);
  try {
    const { stored } = await present.outcomeOf(batch.rows[at]!.block);
    if (stored) batch.results[at] = "stored";
  } catch {
    // It stays `notStored`: whoever ordered that copy is told why.
  }
}

function throwIfEnded({ block }: CopyOrder, signal: AbortSignal): void {
  if (!signal.aborted) return;
  throw new DfsError("cancelled", `the copy of block ${block} was ended before it was stored`);
}

function failureOf({ server }: Source, error: unknown): SourceFailure {
  const detail = messageOf(error).slice(0, MAX_DETAIL);
  return { server, problem: problemOf(error), detail };
}

function problemOf(error: unknown): SourceFailure["problem"] {
  if (isDfsError(error, "noBlock")) return "noBlock";
  // A range that is not inside the block: what is held there is another one.
  if (isDfsError(error, "badChecksum") || isDfsError(error, "invalid")) return "badChecksum";
  if (isDfsError(error, "io")) return "unreadable";
  return "unreachable";
}
