/**
 * Verifies a part of one segment for a scrub: its header, every record with header, body and padding, its seal, and that
 * nothing is missing at its end or stands behind its seal.
 *
 * - The segment being written counts up to what is durable, which the ledger knows; a suspect up to where its seal says.
 * - Damage is reported once, where it is met. A live block that it hits becomes rotten in the index and is told to the
 *   owner; one that was rotten and is found right is rotten no longer.
 * - Where a record's header is gone, the index still knows which block lies there: it is searched once for all such places
 *   that a part has. Until that is done, the place up to which the part was verified is not told.
 * - The event loop is never held for long: nothing is read synchronously, and other work gets its turn every millisecond.
 */
import type { Clock } from "../base/clock.ts";
import type { DiskFile } from "../base/disk.ts";
import { isDfsError } from "../base/errors.ts";
import type { BlockId } from "../base/ids.ts";
import type { CorruptionKind, CorruptionReporter } from "./corruption.ts";
import { decodeSegmentHeader, SEGMENT_HEADER_BYTES, type SegmentIdentity } from "./format.ts";
import type { BlockIndex, IndexEntry } from "./index.ts";
import type { SegmentState } from "./ledger.ts";
import { CHUNK_BYTES, ReadAhead, readAheadBuffers } from "./read-ahead.ts";
import { segmentSteps, type Finding, type FoundDamage } from "./reader.ts";
import { putBodyLength, recordBytes, type PutHeader } from "./record.ts";
import type { SegmentReaders } from "./segment.ts";

/** After this time without a turn for others they get one. */
const SLICE_MS = 1;

/** Entries of the index looked through at once. */
const INDEX_PAGE = 512;

const LARGEST_ID = 2n ** 63n - 1n;

export interface SegmentScrubOptions {
  readonly index: BlockIndex;
  readonly segments: SegmentReaders;
  readonly reporter: CorruptionReporter;
  readonly clock: Clock;
  readonly onRotten: (block: BlockId) => void;
  /**
   * Called when `bytes` more have been verified, up to `position`, and waits as long as the rate asks for. Returns whether
   * to go on with this part.
   */
  readonly pace: (bytes: number) => Promise<boolean>;
}

/** What a part of a segment came to. */
export interface ScrubbedPart {
  /** Where the next part begins. */
  readonly position: number;
  /** Nothing of the segment is left. */
  readonly finished: boolean;
  readonly records: number;
  readonly damage: number;
  readonly rotten: number;
}

/** Bytes that are no whole record, so that only the index can tell what was there. */
interface LostRange {
  readonly kind: CorruptionKind;
  readonly from: number;
  readonly to: number;
}

export class SegmentScrubber {
  private readonly options: SegmentScrubOptions;
  private buffers: readonly [Uint8Array, Uint8Array] | undefined;

  constructor(options: SegmentScrubOptions) {
    this.options = options;
  }

  /**
   * Verifies from `position` on (0, or where a part ended), reading nothing ahead that lies `aheadBytes` behind it or more.
   * @throws DfsError `noBlock` when the segment has been removed; what the disk throws, other than EIO for single places.
   */
  async scrub(state: SegmentState, position: number, aheadBytes: number): Promise<ScrubbedPart> {
    const part = new Part(this.options, state, position);
    this.buffers ??= readAheadBuffers();
    const buffers = this.buffers;
    await this.options.segments.use(state.number, (file, identity) =>
      part.run(file, identity, aheadBytes, buffers),
    );
    await part.settleLost();
    return part;
  }

  /** The file of a segment is gone or cannot be opened: everything from `position` on is lost. */
  async giveUp(state: SegmentState, position: number): Promise<ScrubbedPart> {
    const part = new Part(this.options, state, position);
    part.loseAll();
    await part.settleLost();
    return part;
  }
}

class Part implements ScrubbedPart {
  position: number;
  finished = false;
  records = 0;
  damage = 0;
  rotten = 0;
  private readonly options: SegmentScrubOptions;
  private readonly state: SegmentState;
  private readonly fileName: string;
  private readonly lost: LostRange[] = [];
  private unpacedBytes = 0;
  private sliceBeganMs: number;

  constructor(options: SegmentScrubOptions, state: SegmentState, position: number) {
    this.options = options;
    this.state = state;
    this.position = position;
    this.fileName = options.segments.fileName(state.number);
    this.sliceBeganMs = options.clock.monotonicMs();
  }

  async run(
    file: DiskFile,
    identity: SegmentIdentity,
    aheadBytes: number,
    buffers: readonly [Uint8Array, Uint8Array],
  ): Promise<void> {
    // All of this is of one moment: a segment that is sealed meanwhile is left as one that was being written.
    const { sealed, end: suspectEnd, bytes } = this.state;
    const expected = Math.min(suspectEnd ?? Infinity, bytes);
    const end = Math.min(expected, file.size());
    const source = new ReadAhead(file, end, this.position + aheadBytes, buffers);
    try {
      if (this.position === 0) await this.verifyHeader(source, identity);
      const last = await this.verifyRecords(source, identity, file, end);
      if (this.finished || this.position < end) return;
      this.finished = true;
      if (end < expected) this.lose({ kind: "truncated", from: end, to: expected });
      else if (sealed && suspectEnd === undefined && last?.type !== "damage") {
        this.report("unsealed", end, end);
      }
    } finally {
      await source.settle();
    }
  }

  loseAll(): void {
    this.lose({ kind: "truncated", from: this.position, to: this.state.bytes });
    this.position = this.state.bytes;
    this.finished = true;
  }

  /** Finds out which blocks lay where no record is, and reports both. */
  async settleLost(): Promise<void> {
    const ranges = this.lost.splice(0);
    if (ranges.length === 0) return;
    const hit = new Set<LostRange>();
    for await (const entry of this.entriesOfSegment()) {
      const range = ranges.find(({ from, to }) => entry.position >= from && entry.position < to);
      if (range === undefined) continue;
      hit.add(range);
      const entryEnd = entry.position + recordBytes(putBodyLength(entry.length));
      this.markRotten(entry);
      this.report(range.kind, entry.position, entryEnd, entry.block);
    }
    for (const range of ranges) if (!hit.has(range)) this.report(range.kind, range.from, range.to);
  }

  private async verifyHeader(source: ReadAhead, identity: SegmentIdentity): Promise<void> {
    const bytes = await source.load(0, SEGMENT_HEADER_BYTES);
    if (!isHeaderOf(bytes, identity)) this.report("segmentHeader", 0, SEGMENT_HEADER_BYTES);
    this.proceedTo(SEGMENT_HEADER_BYTES);
  }

  /** Returns the last finding. */
  private async verifyRecords(
    source: ReadAhead,
    identity: SegmentIdentity,
    file: DiskFile,
    end: number,
  ): Promise<Finding | undefined> {
    let last: Finding | undefined;
    const steps = segmentSteps(identity, { bodies: "all", from: this.position, end });
    let step = steps.next();
    while (step.done !== true) {
      if (step.value.type === "wanted") {
        const { position, length } = step.value;
        if (this.options.clock.monotonicMs() - this.sliceBeganMs >= SLICE_MS) await this.rest();
        step = steps.next(source.loaded(position, length) ?? (await source.load(position, length)));
        continue;
      }
      last = step.value;
      this.take(last);
      if (isOwnSeal(last, identity)) {
        this.finished = true;
        const size = file.size();
        if (size > last.end) this.report("surplus", last.end, size);
        return last;
      }
      if (this.unpacedBytes >= CHUNK_BYTES && !(await this.pace())) return last;
      step = steps.next();
    }
    return last;
  }

  private take(finding: Finding): void {
    if (finding.type === "damage") {
      this.takeDamage(finding);
      this.proceedTo(finding.to);
      return;
    }
    this.records++;
    if (finding.header.kind === "put") this.foundRight(finding.header);
    this.proceedTo(finding.end);
  }

  private takeDamage({ what, from, to, header, blockIsRight }: FoundDamage): void {
    if (what === "header") return this.lose({ kind: "recordHeader", from, to });
    if (what === "truncated") return this.lose({ kind: "truncated", from, to });
    if (header?.kind !== "put") return this.report("recordBody", from, to);
    const entry = this.liveEntry(header);
    if (entry !== undefined && blockIsRight !== true) this.markRotten(entry);
    this.report("recordBody", from, to, header.block);
  }

  private foundRight(header: PutHeader): void {
    if (this.options.index.rotten === 0) return;
    const entry = this.liveEntry(header);
    if (entry?.rotten === true) this.options.index.setRotten(entry, false);
  }

  /** The index's entry of a block, when it names this very record. */
  private liveEntry({ block, position }: PutHeader): IndexEntry | undefined {
    const entry = this.options.index.get(block);
    return entry?.segment === this.state.number && entry.position === position ? entry : undefined;
  }

  private markRotten(entry: IndexEntry): void {
    this.rotten++;
    this.options.index.setRotten(entry, true);
    this.options.onRotten(entry.block);
  }

  private lose(range: LostRange): void {
    const before = this.lost.at(-1);
    if (before?.kind === range.kind && before.to === range.from) {
      this.lost[this.lost.length - 1] = { ...before, to: range.to };
    } else {
      this.lost.push(range);
    }
  }

  private report(kind: CorruptionKind, from: number, to: number, block?: BlockId): void {
    this.damage++;
    const file = this.fileName;
    this.options.reporter.report({
      kind,
      file,
      from,
      to,
      ...(block === undefined ? {} : { block }),
    });
  }

  private proceedTo(position: number): void {
    this.unpacedBytes += position - this.position;
    this.position = position;
  }

  private async pace(): Promise<boolean> {
    const bytes = this.unpacedBytes;
    this.unpacedBytes = 0;
    const goesOn = await this.options.pace(bytes);
    this.sliceBeganMs = this.options.clock.monotonicMs();
    return goesOn;
  }

  private async rest(): Promise<void> {
    await nextTurn();
    this.sliceBeganMs = this.options.clock.monotonicMs();
  }

  /** The entries of blocks whose live record is in this segment, rotten ones included. */
  private async *entriesOfSegment(): AsyncGenerator<IndexEntry, void> {
    const { index } = this.options;
    let after = 0n as BlockId;
    for (;;) {
      // Rotten blocks are not listed, so a page only tells how far it reaches: what is in it is asked for by id.
      const last = index.listAfter(after, INDEX_PAGE).at(-1)?.block;
      for (const block of index.idsIn((after + 1n) as BlockId, idsUpTo(after, last))) {
        if (last !== undefined && block > last) break;
        const entry = index.get(block);
        if (entry?.segment === this.state.number) yield entry;
      }
      if (last === undefined) return;
      after = last;
      await nextTurn();
    }
  }
}

/** Number of ids behind `after` up to `last`, or of all; a little more for numbers that a double cannot hold. */
function idsUpTo(after: BlockId, last: BlockId | undefined): number {
  const count = Number((last ?? LARGEST_ID) - after);
  return Number.isSafeInteger(count) ? count : count * (1 + 2 * Number.EPSILON);
}

function isHeaderOf(bytes: Uint8Array, identity: SegmentIdentity): boolean {
  try {
    const header = decodeSegmentHeader(bytes);
    return (
      header?.identity.number === identity.number &&
      header.identity.salt === identity.salt &&
      header.identity.server === identity.server &&
      header.identity.cluster === identity.cluster
    );
  } catch (error) {
    if (isDfsError(error, "unsupported")) return false; // it was ours when the log was opened
    throw error;
  }
}

function isOwnSeal(
  finding: Finding,
  { number }: SegmentIdentity,
): finding is Extract<Finding, { type: "record" }> {
  return (
    finding.type === "record" && finding.header.kind === "seal" && finding.header.segment === number
  );
}

/** Lets the event loop do other things. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
