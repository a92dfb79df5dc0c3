/**
 * Reads a range of one block from whichever replica gives verified bytes first.
 *
 * Invariants
 * - Bytes are returned only when they match: the list of piece hashes against the checksum from metadata, then every
 *   piece that was received against its hash in the list.
 * - A replica that fails is replaced by the next one at once; one that is slow is raced against the next one. What is slow
 *   depends on what its server has taken lately (patience.ts), so that a server that stands still is soon left alone.
 * - As many servers have answered as the read quorum asks for. A copy that is wrong or not there is an answer, and what was
 *   verified is returned beside it: the checksum decides, not the majority.
 *
 * Replicas are asked in placement order, which spreads consecutive blocks over the servers and lets each server cache
 * its own share; those that failed lately come last.
 */
import { Cancellation, type CancelSignal } from "../base/cancellation.ts";
import { firstBadPiece, verifyPieceList } from "../base/checksum.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { brieflyOf, DfsError, isDfsError, type ErrorKind } from "../base/errors.ts";
import type { BlockId, ServerId } from "../base/ids.ts";
import { PIECE_BYTES } from "../base/limits.ts";
import type { ReplyOf } from "../protocol/message.ts";
import type { MappedExtent } from "../protocol/messages/common.ts";
import { blockGet } from "../protocol/messages/data.ts";
import type { Answer } from "../protocol/peer.ts";
import { PatienceBook, SLOW_MS } from "./patience.ts";
import { withRelease } from "./read-memory.ts";
import type { DataServers } from "./servers.ts";

/** After this long a replica counts as not answering. */
export const READ_TIMEOUT_MS = 10_000;

/**
 * A timer that fires this late, or later, tells that this process itself was held up: answers may lie there unread. They get
 * as long again.
 */
const HELD_UP_MS = 50;

/** Kinds of failure by which a server has had its say about its copy. */
const ANSWERS: ReadonlySet<ErrorKind> = new Set(["noBlock", "badChecksum", "io"]);

/** A range inside an extent's block. */
export interface BlockRange {
  readonly extent: MappedExtent;
  /** Offset in the block. */
  readonly from: number;
  /** At least 1. */
  readonly length: number;
}

/** Why a replica could not be read. */
export interface ReplicaFailure {
  readonly server: ServerId;
  readonly kind: ErrorKind;
  readonly reason: string;
}

/** What reading came to: bytes, unless too few replicas could be read. */
export interface BlockReadResult {
  readonly bytes: Uint8Array | undefined;
  /** Servers whose replica was read and verified. */
  readonly right: readonly ServerId[];
  /** Replicas that failed on the way. */
  readonly failures: readonly ReplicaFailure[];
}

export interface BlockReaderOptions {
  readonly servers: DataServers;
  /** Servers that have to answer. */
  readonly readQuorum: () => number;
  readonly clock: Clock;
  /** Told of each replica that is there and wrong. */
  readonly onBadReplica: (block: BlockId, failure: ReplicaFailure) => void;
}

export class BlockReader {
  private readonly options: BlockReaderOptions;
  private readonly patience = new PatienceBook();

  constructor(options: BlockReaderOptions) {
    this.options = options;
  }

  /** Reads a range. @throws DfsError `cancelled` only; what failed is in the result. */
  async read(range: BlockRange, signal?: CancelSignal): Promise<BlockReadResult> {
    const { servers, readQuorum, clock } = this.options;
    const race = new ReplicaRace(range, this.preferred(range.extent.servers), {
      servers,
      patience: this.patience,
      clock,
      needed: readQuorum(),
      signal,
    });
    const bytes = await race.run();
    for (const failure of race.failures) {
      if (failure.kind === "badChecksum" || failure.kind === "io") {
        this.options.onBadReplica(range.extent.block, failure);
      }
    }
    return { bytes, right: race.right, failures: race.failures };
  }

  private preferred(replicas: readonly ServerId[]): ServerId[] {
    const usable = replicas.filter((server) => this.options.servers.usable(server));
    return [...usable, ...replicas.filter((server) => !usable.includes(server))];
  }
}

interface RaceOptions {
  readonly servers: DataServers;
  readonly patience: PatienceBook;
  readonly clock: Clock;
  /** Answers to wait for. */
  readonly needed: number;
  readonly signal: CancelSignal | undefined;
}

class ReplicaRace {
  readonly failures: ReplicaFailure[] = [];
  readonly right: ServerId[] = [];
  private readonly range: BlockRange;
  private readonly waiting: ServerId[];
  private readonly options: RaceOptions;
  private readonly over = Promise.withResolvers<Uint8Array | undefined>();
  private readonly stop = new Cancellation();
  private bytes: Uint8Array | undefined;
  private answers = 0;
  private unanswered = 0;
  /** Those of the unanswered that are not slow. */
  private inTime = 0;

  constructor(range: BlockRange, order: readonly ServerId[], options: RaceOptions) {
    this.range = range;
    this.waiting = [...order];
    this.options = options;
  }

  async run(): Promise<Uint8Array | undefined> {
    const { signal } = this.options;
    const onAbort = (): void =>
      this.over.reject(new DfsError("cancelled", "the read was cancelled"));
    if (signal?.aborted) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
    try {
      this.proceed();
      return await this.over.promise;
    } finally {
      signal?.removeEventListener("abort", onAbort);
      this.stop.abort();
    }
  }

  /** Asks as many as are lacking, unless it is over. */
  private proceed(): void {
    if (this.stop.aborted) return;
    const { needed } = this.options;
    if (this.bytes !== undefined && this.answers >= needed) return this.over.resolve(this.bytes);
    const lacking = Math.max(needed - this.answers, this.bytes === undefined ? 1 : 0);
    while (this.inTime < lacking && this.waiting.length > 0) this.ask(this.waiting.shift()!);
    if (this.unanswered === 0) this.over.resolve(undefined); // nobody is left to ask
  }

  private ask(server: ServerId): void {
    const { servers, clock, patience } = this.options;
    const { extent, from, length } = this.range;
    const askedMs = clock.monotonicMs();
    const watch = this.watch(server, askedMs);
    const settled = (): void => {
      watch.cancel();
      this.unanswered--;
      if (!watch.isSlow) this.inTime--;
      this.proceed();
    };
    this.unanswered++;
    this.inTime++;
    const body = { block: extent.block, offset: from, length };
    const options = { timeoutMs: READ_TIMEOUT_MS, signal: this.stop };
    void servers
      .request(server, blockGet, body, options)
      .then((answer) => {
        patience.answered(server, clock.monotonicMs() - askedMs);
        const bytes = verifiedBytes(this.range, answer);
        this.bytes ??= withRelease(bytes, answer.release);
        this.right.push(server);
        this.answers++;
      })
      .catch((error: unknown) => {
        if (this.stop.aborted) return; // it lost the race
        const kind = isDfsError(error) ? error.kind : "internal";
        this.failures.push({ server, kind, reason: brieflyOf(error) });
        if (ANSWERS.has(kind)) this.answers++;
      })
      .finally(settled);
  }

  /** Begins a race against the next replica when it takes too long. */
  private watch(server: ServerId, askedMs: number): SlowWatch {
    const { servers, clock, patience } = this.options;
    const { delayMs, isUsual } = patience.of(server);
    let timer: Timer;
    const watch: SlowWatch = { isSlow: false, cancel: () => timer.cancel() };
    const race = (): void => {
      watch.isSlow = true;
      this.inTime--;
      servers.slow(server);
      this.proceed();
    };
    const isTime = (): void => {
      patience.exceeded(server, delayMs);
      const standsStill = !isUsual && !servers.answeredWithin(server, delayMs);
      if (standsStill || patience.takeToken()) return race();
      timer = clock.setTimer(askedMs + SLOW_MS - clock.monotonicMs(), race);
    };
    timer = clock.setTimer(delayMs, () => {
      const lateMs = clock.monotonicMs() - askedMs - delayMs;
      if (lateMs < HELD_UP_MS) isTime();
      else timer = clock.setTimer(HELD_UP_MS, isTime);
    });
    this.stop.addEventListener("abort", () => watch.cancel());
    return watch;
  }
}

/** What waits for a replica to be slow. */
interface SlowWatch {
  isSlow: boolean;
  readonly cancel: () => void;
}

/** What a reply is verified against, and the part that is wanted of it. */
export interface VerifiedRange {
  readonly extent: Pick<MappedExtent, "blockLength" | "checksum">;
  readonly from: number;
  readonly length: number;
}

/** The wanted bytes of a reply. @throws DfsError `badChecksum` when anything about it does not match. */
export function verifiedBytes(
  { extent, from, length }: VerifiedRange,
  { body, bulk }: Answer<ReplyOf<typeof blockGet>>,
): Uint8Array {
  const { blockLength, checksum } = extent;
  if (body.blockLength !== blockLength) {
    throw bad(`the block has ${body.blockLength} bytes there instead of ${blockLength}`);
  }
  if (!verifyPieceList(blockLength, body.pieces, checksum)) {
    throw bad("its list of hashes does not match the block's checksum");
  }
  const firstPiece = Math.floor(from / PIECE_BYTES);
  const start = firstPiece * PIECE_BYTES;
  const end = Math.min(blockLength, Math.ceil((from + length) / PIECE_BYTES) * PIECE_BYTES);
  if (bulk.length !== end - start)
    throw bad(`it sent ${bulk.length} bytes instead of ${end - start}`);
  const wrong = firstBadPiece(bulk, firstPiece, body.pieces);
  if (wrong >= 0) throw bad(`the bytes from ${wrong * PIECE_BYTES} on do not match their checksum`);
  return bulk.subarray(from - start, from - start + length);
}

function bad(reason: string): DfsError {
  return new DfsError("badChecksum", reason);
}
