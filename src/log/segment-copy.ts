/**
 * Empties one segment: what is still needed of it is written again at the end of the log, verified on the way.
 *
 * - Live puts are moved as they are, with their LSN.
 * - One that is rotten is reported, and stays where it is, and so does the segment, until the block has been deleted or put
 *   again: it may be the last copy, and its good pieces can be read. At the end of the log an opening would take it for a
 *   write that was torn. So it is with what the disk cannot read, or what is not there to its end.
 * - Of the tombstones those are moved that keep a put dead which is still on disk.
 * - Bytes of unknown content are saved aside, durably, before the segment may go.
 */
import { join } from "node:path";
import { firstBadPiece, verifyPieceList } from "../base/checksum.ts";
import { replaceFile, type Disk } from "../base/disk.ts";
import { messageOf } from "../base/errors.ts";
import type { BlockId, Lsn } from "../base/ids.ts";
import type { Logger } from "../base/logger.ts";
import { AheadFile } from "./ahead-file.ts";
import type { Move } from "./batch.ts";
import type { CorruptionReporter } from "./corruption.ts";
import { SEGMENT_HEADER_BYTES } from "./format.ts";
import type { BlockIndex, IndexEntry } from "./index.ts";
import type { SegmentLedger, SegmentState } from "./ledger.ts";
import { walkSegment, type Finding } from "./reader.ts";
import { RECORD_HEADER_BYTES, recordBytes, type PutHeader } from "./record.ts";
import type { SegmentReaders } from "./segment.ts";
import type { LogWriter } from "./writer.ts";

/** Folder inside a log's directory for damaged bytes of segments that are gone. Nothing reads it; it may be emptied. */
export const ASIDE_DIRECTORY = "aside";

/** Moves that wait for the disk together. */
const BYTES_AT_ONCE = 1024 * 1024;

export interface SegmentCopyOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly ledger: SegmentLedger;
  readonly index: BlockIndex;
  readonly segments: SegmentReaders;
  readonly writer: LogWriter;
  readonly reporter: CorruptionReporter;
  /** Told of blocks that have been found rotten. */
  readonly onRotten: (block: BlockId) => void;
  readonly logger: Logger;
  /** Called after `bytes` more of the segment have been dealt with: waits as long as the rate asks for. */
  readonly pace: (bytes: number) => Promise<void>;
  readonly isStopped: () => boolean;
}

/** Returns the bytes moved, or undefined when it was stopped. @throws DfsError `io`, `noSpace`; what the disk throws. */
export async function emptySegment(
  options: SegmentCopyOptions,
  state: SegmentState,
): Promise<number | undefined> {
  const { segments } = options;
  return segments.use(state.number, async (file, identity) => {
    const end = Math.min(state.end ?? Infinity, file.size());
    const ahead = new AheadFile(file, end);
    const copy = new SegmentCopy(options, state, ahead);
    const walk = walkSegment(ahead, identity, { bodies: "tombstones", end });
    let position = SEGMENT_HEADER_BYTES;
    for (;;) {
      if (options.isStopped()) return copy.abandon();
      await ahead.load(position);
      const step = walk.next();
      if (step.done === true) return copy.finish();
      await copy.take(step.value);
      const next = step.value.type === "record" ? step.value.end : step.value.to;
      await copy.proceed(next - position);
      position = next;
    }
  });
}

class SegmentCopy {
  private readonly options: SegmentCopyOptions;
  private readonly state: SegmentState;
  private readonly file: AheadFile;
  private readonly tombstones: { readonly lsn: Lsn; readonly blocks: readonly BlockId[] }[] = [];
  private moves: Promise<unknown>[] = [];
  private waitingBytes = 0;
  private passedBytes = 0;
  private movedBytes = 0;
  private isBehindSeal = false;

  constructor(options: SegmentCopyOptions, state: SegmentState, file: AheadFile) {
    this.options = options;
    this.state = state;
    this.file = file;
  }

  async take(finding: Finding): Promise<void> {
    const { header } = finding;
    const isUnknown = finding.type === "damage" && header?.kind !== "put";
    if (this.isBehindSeal || isUnknown) return this.saveAside(finding);
    if (header?.kind === "put") return this.takePut(header);
    if (finding.type !== "record") return;
    if (header?.kind === "tombstone") {
      this.tombstones.push({ lsn: header.lsn, blocks: finding.blocks });
    } else if (header?.kind === "seal" && header.segment === this.state.number) {
      this.isBehindSeal = true;
    }
  }

  /** `bytes` more have been dealt with. */
  async proceed(bytes: number): Promise<void> {
    this.passedBytes += bytes;
    if (this.passedBytes < BYTES_AT_ONCE) return;
    const passed = this.passedBytes;
    this.passedBytes = 0;
    await this.settle();
    await this.options.pace(passed);
  }

  async finish(): Promise<number> {
    await this.settle();
    await this.moveTombstones();
    const { ledger } = this.options;
    if (this.state.livePuts === 0) this.state.damaged = false; // all of it is in the folder aside
    ledger.tombstonesMoved(this.state.number);
    return this.movedBytes;
  }

  async abandon(): Promise<undefined> {
    await Promise.allSettled(this.moves);
  }

  private async takePut(header: PutHeader): Promise<void> {
    const entry = this.options.index.get(header.block);
    if (entry?.segment !== this.state.number || entry.position !== header.position) return;
    const body = await this.readBody(header);
    if (body === undefined) return;
    const right = isRight(header, body);
    this.noteRot(entry, right);
    if (!right) return;
    const { block, length, inode, fileOffset, bodyChecksum: checksum } = header;
    const put = { block, length, inode, fileOffset };
    this.move({ kind: "putMove", put, checksum, body, source: entry }, recordBytes(body.length));
    if (this.waitingBytes >= BYTES_AT_ONCE) await this.settle();
  }

  /** Undefined when it cannot be read: then the record stays where it is. */
  private async readBody({
    position,
    bodyLength,
    block,
  }: PutHeader): Promise<Uint8Array | undefined> {
    try {
      return await this.file.copy(position + RECORD_HEADER_BYTES, bodyLength);
    } catch (error) {
      const name = this.options.segments.fileName(this.state.number);
      this.options.logger.warn(
        `cannot read block ${block} in ${name}, so the segment stays: ${messageOf(error)}`,
      );
      return undefined;
    }
  }

  private noteRot(entry: IndexEntry, right: boolean): void {
    const { index, reporter, segments, onRotten } = this.options;
    index.setRotten(entry, !right);
    if (right || entry.rotten) return;
    onRotten(entry.block);
    const file = segments.fileName(entry.segment);
    const to = entry.position + RECORD_HEADER_BYTES + entry.length;
    reporter.report({ kind: "recordBody", file, from: entry.position, to, block: entry.block });
  }

  private async moveTombstones(): Promise<void> {
    const { ledger } = this.options;
    const all = new Set(this.tombstones.flatMap(({ blocks }) => blocks));
    const needed = ledger.neededTombstones(this.state.number, all);
    for (const { lsn, blocks } of this.tombstones) {
      if (needed === undefined) this.moveTombstone(lsn, blocks, this.state.covers);
      else this.moveNeeded(lsn, new Set(blocks), needed);
    }
    await this.settle();
  }

  private moveNeeded(
    lsn: Lsn,
    blocks: ReadonlySet<BlockId>,
    needed: ReadonlyMap<number, readonly BlockId[]>,
  ): void {
    const kept = new Set<BlockId>();
    const covers = new Map<number, number>();
    for (const [segment, ids] of needed) {
      const own = ids.filter((id) => blocks.has(id));
      if (own.length > 0) covers.set(segment, own.length);
      for (const id of own) kept.add(id);
    }
    if (kept.size > 0) this.moveTombstone(lsn, [...kept], covers);
  }

  private moveTombstone(
    lsn: Lsn,
    blocks: readonly BlockId[],
    covers: ReadonlyMap<number, number>,
  ): void {
    this.move({ kind: "tombstoneMove", blocks, lsn, covers: new Map(covers) }, blocks.length * 8);
  }

  private move(move: Move, bytes: number): void {
    this.waitingBytes += bytes;
    this.movedBytes += bytes;
    this.moves.push(this.options.writer.move(move));
  }

  /** Waits for all moves; none may be left behind when another has failed. */
  private async settle(): Promise<void> {
    const outcomes = await Promise.allSettled(this.moves);
    this.moves = [];
    this.waitingBytes = 0;
    const failed = outcomes.find((each) => each.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  private async saveAside(finding: Finding): Promise<void> {
    const { disk, directory, segments } = this.options;
    const from = finding.type === "record" ? finding.header.position : finding.from;
    const to = finding.type === "record" ? finding.end : finding.to;
    const bytes = await this.file.copy(from, to - from);
    if (bytes === undefined) return; // the file has become shorter
    const folder = join(directory, ASIDE_DIRECTORY);
    disk.makeDirectory(folder);
    await replaceFile(disk, folder, `${segments.fileName(this.state.number)}.${from}`, bytes);
  }
}

function isRight({ length, bodyChecksum, bodyLength }: PutHeader, body: Uint8Array): boolean {
  const list = body.subarray(0, bodyLength - length);
  if (!verifyPieceList(length, list, bodyChecksum)) return false;
  return firstBadPiece(body.subarray(list.length), 0, list) === -1;
}
