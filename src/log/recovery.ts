/**
 * Opens the segments of a directory after whatever ended the last process, and rebuilds index and ledger.
 *
 * What a checkpoint covers is taken from there (beginning.ts); only the segments behind it are read. Those are taken from the newest to the oldest, because only a later segment can say that an earlier one is suspect.
 * What a segment, or damage in it, means is decided by recovery-rules.ts; the letters below are the rows of its tables.
 * What the records mean for the index is in replay.ts.
 */
import { join } from "node:path";
import { replaceFile, writeFully, type DiskFile } from "../base/disk.ts";
import { assert, DfsError, messageOf } from "../base/errors.ts";
import type { BlockId, Lsn } from "../base/ids.ts";
import type { Logger } from "../base/logger.ts";
import { isDiskFull } from "./append-errors.ts";
import { beginOpening, type Beginning } from "./beginning.ts";
import { removeCheckpoint, removeUnfinishedCheckpoint } from "./checkpoint.ts";
import type { CorruptionKind, CorruptionReporter } from "./corruption.ts";
import { SEGMENT_HEADER_BYTES, segmentIdentity, type SegmentIdentity } from "./format.ts";
import { CompactIndex, type BlockIndex } from "./index.ts";
import {
  inspectSegment,
  knownSynced,
  type InspectedSegment,
  type InspectOptions,
} from "./inspect.ts";
import { SegmentLedger } from "./ledger.ts";
import { Manifest } from "./manifest.ts";
import type { Finding, FoundDamage } from "./reader.ts";
import { RECORD_HEADER_BYTES } from "./record.ts";
import { damageRow, segmentRow } from "./recovery-rules.ts";
import { Replay } from "./replay.ts";
import { removeUnfinishedSegments, type SegmentName } from "./segment.ts";
import { SEGMENT_BYTES } from "./space.ts";
import { Window } from "./window.ts";

/** Folder inside a log's directory for what was cut off torn tails. Nothing ever reads it; it may be emptied. */
export const TORN_DIRECTORY = "torn";

const READ_BYTES = 64 * 1024;

export interface RecoveryOptions extends InspectOptions {
  readonly reporter: CorruptionReporter;
  readonly logger: Logger;
  readonly segmentBytes?: number | undefined;
}

/** A segment that takes records at `end`. */
export interface WritableSegment {
  readonly identity: SegmentIdentity;
  readonly file: DiskFile;
  readonly end: number;
}

/** A segment that counts only up to `end`, which no seal says yet. */
export interface Suspect {
  readonly segment: number;
  readonly end: number;
}

/** What a writer needs to go on. */
export interface RecoveredLog {
  readonly index: BlockIndex;
  readonly ledger: SegmentLedger;
  readonly segments: readonly SegmentIdentity[];
  /** Names the segments above, on the disk as well (when that is full, with the next change). */
  readonly manifest: Manifest;
  /** Length of the checkpoint that was used; 0: there was none. */
  readonly checkpointBytes: number;
  /** Bytes of segments that were read, because no checkpoint covers them. */
  readonly readBytes: number;
  /** The sealed segment with which the log ends; undefined when it does not end with one, or is empty. */
  readonly restsAt: number | undefined;
  /** The segment that was being written; undefined when it was sealed or there is none. Synced up to its end. */
  readonly active: WritableSegment | undefined;
  /** Empty segments, made ahead of need, by rising number. */
  readonly spares: readonly WritableSegment[];
  /** Older than the one being written, and without a seal. */
  readonly suspects: readonly Suspect[];
  readonly nextLsn: Lsn;
  readonly nextSegment: number;
  readonly highestBlock: BlockId;
}

/**
 * Brings the directory into a state from which a writer can go on, and says what is in it.
 * @throws DfsError `unsupported` (rows A), `wrongCluster` or `wrongPeer` (row B), `io`.
 */
export async function recoverLog(options: RecoveryOptions): Promise<RecoveredLog> {
  const { disk, directory } = options;
  disk.makeDirectory(directory);
  await removeUnfinishedSegments(disk, directory);
  await removeUnfinishedCheckpoint(disk, directory);
  const beginning = await beginOpening(options);
  const recovery = new Recovery(options, beginning);
  try {
    await recovery.takeAll();
    // Before the manifest forgets what is lost: a later opening would not know that the checkpoint is not to be used.
    if (beginning.checkpoint === undefined) await removeCheckpoint(disk, directory);
    // A segment's name was durable before its first record, but maybe not before that of an empty one.
    await disk.syncDirectory(directory);
    const manifest = new Manifest(disk, directory, options, beginning.segments, beginning.lost);
    if (beginning.manifestIsRight) manifest.isRight = true;
    else await writeIfThereIsRoom(manifest, options.logger);
    return recovery.result(manifest);
  } catch (error) {
    await recovery.abandon();
    throw error;
  }
}

/** A full disk does not keep a log from being opened: the manifest is written when a segment comes or goes. */
async function writeIfThereIsRoom(manifest: Manifest, logger: Logger): Promise<void> {
  try {
    await manifest.write();
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    logger.warn("the disk is too full to write the list of the log's segments anew");
  }
}

class Recovery {
  private readonly options: RecoveryOptions;
  private readonly beginning: Beginning;
  private readonly index: CompactIndex;
  private readonly ledger: SegmentLedger;
  private readonly replay: Replay;
  /** Segments up to this number are not read: the checkpoint tells what is in them. */
  private readonly coveredTo: number;
  /** A segment that has been lost may have held records, so those with lower numbers are inner ones. */
  private readonly newestLost: number;
  private readBytes = 0;
  private readonly spares: WritableSegment[] = [];
  private active: WritableSegment | undefined;
  /** Older than the one being written, and without a seal. */
  private readonly suspects: Suspect[] = [];
  /**
   * True until a segment has been met that holds more than seals of suspects. Those are written together, before anything
   * else in their segment; of a batch that was torn some may be there, and tell nothing about segments that they do not name.
   */
  private inTail = true;
  private corruptBytes = 0;

  constructor(options: RecoveryOptions, beginning: Beginning) {
    const { checkpoint, lost, deleted } = beginning;
    this.options = options;
    this.beginning = beginning;
    this.index = checkpoint?.index ?? new CompactIndex();
    this.ledger = checkpoint?.ledger ?? new SegmentLedger();
    this.replay = new Replay(this.index, this.ledger, checkpoint?.header.nextLsn, deleted);
    this.replay.highestBlock = checkpoint?.header.highestBlock ?? (0n as BlockId);
    this.coveredTo = checkpoint?.header.segment ?? 0;
    this.newestLost = lost.at(-1)?.number ?? 0;
    this.corruptBytes = lost.length * Math.max(options.segmentBytes ?? 0, SEGMENT_BYTES);
  }

  async takeAll(): Promise<void> {
    for (const name of this.beginning.segments.toReversed()) {
      if (name.number <= this.coveredTo) break;
      await this.take(name);
    }
    this.replay.finish();
    this.forgetDeleted();
  }

  /**
   * Deleted segments were not needed any more: what was alive in them when the checkpoint was made has a copy behind it,
   * which has been taken, or has died.
   */
  private forgetDeleted(): void {
    const { deleted } = this.beginning;
    if ([...deleted].some((number) => this.ledger.state(number).livePuts > 0)) {
      this.index.deleteIn(deleted);
    }
    for (const number of deleted) this.ledger.remove(number);
  }

  private async take(name: SegmentName): Promise<void> {
    const suspectEnd = this.replay.suspectEnds.get(name.number);
    const isInner = !this.inTail || suspectEnd !== undefined || name.number < this.newestLost;
    const place = isInner ? "inner" : "tail";
    const segment = inspectSegment(this.options, name, place, suspectEnd);
    const row = segmentRow(segment.facts);
    if (segment.refusal !== undefined) throw segment.refusal; // rows A and B
    this.ledger.add(name.number, segment.size);
    this.readBytes += segment.size - Math.min(segment.size, SEGMENT_HEADER_BYTES);
    this.replay.raiseLsn(segment.lsnFloor);
    if (segment.facts.header === "damaged")
      this.report(segment, "segmentHeader", 0, SEGMENT_HEADER_BYTES);
    switch (row) {
      case "A":
      case "B":
        throw new DfsError("internal", `segment ${name.number} was refused without a reason`);
      case "C":
        return this.addSpare(segment);
      case "D":
        return; // empty, and its header is damaged: of no use, of no harm
      case "E":
      case "F":
        return this.takeTail(segment);
      case "G":
      case "H":
      case "I":
        if (row === "I") this.reportUnsealed(segment);
        return this.takeRecords(segment, this.withoutSurplus(segment, segment.findings));
    }
  }

  /** Row I: it takes no more records, and what is missing may have been anything. */
  private reportUnsealed(segment: InspectedSegment): void {
    this.report(segment, "unsealed", segment.size, segment.size);
    const state = this.ledger.state(segment.identity.number);
    state.sealed = true;
    state.damaged = true;
  }

  /** Closes what was opened for writing. */
  async abandon(): Promise<void> {
    if (this.active !== undefined) await this.active.file.close();
    for (const { file } of this.spares) await file.close();
  }

  result(manifest: Manifest): RecoveredLog {
    // Records in bytes that we cannot read may have had higher numbers than those that we can.
    this.replay.raiseLsn(
      this.replay.nextLsn + BigInt(Math.ceil(this.corruptBytes / RECORD_HEADER_BYTES)),
    );
    const { cluster, server } = this.options;
    const { segments, lost, checkpoint } = this.beginning;
    const newest = Math.max(segments.at(-1)?.number ?? 0, lost.at(-1)?.number ?? 0, this.coveredTo);
    return {
      index: this.index,
      ledger: this.ledger,
      segments: segments.map(({ number, salt }) => segmentIdentity(cluster, server, number, salt)),
      manifest,
      checkpointBytes: checkpoint?.bytes ?? 0,
      readBytes: this.readBytes,
      restsAt: this.restsAt(),
      active: this.active,
      spares: this.spares,
      suspects: this.suspects,
      nextLsn: this.replay.nextLsn,
      nextSegment: newest + 1,
      highestBlock: this.replay.highestBlock,
    };
  }

  private restsAt(): number | undefined {
    if (this.active !== undefined || this.suspects.length > 0) return undefined;
    return this.beginning.segments.findLast(({ number }) => this.ledger.state(number).sealed)
      ?.number;
  }

  /** Rows E and F: what lies beyond the last known sync may be torn; the segment may be gone on with. */
  private async takeTail(segment: InspectedSegment): Promise<void> {
    const synced = knownSynced(segment.findings);
    const cut = this.cutOf(segment, synced);
    const kept = this.withoutSurplus(segment, upTo(segment.findings, cut));
    const end = Math.min(cut, segment.size);
    const file = this.options.disk.open(segment.path, "write");
    if (end < segment.size) await this.cutOff(segment, file, end);
    await this.makeDurable(segment, file, { from: Math.min(synced, end), to: end });
    this.ledger.setBytes(segment.identity.number, end);
    if (kept.length > 0) this.takeRecords(segment, kept);
    const sealed = this.ledger.state(segment.identity.number).sealed;
    if (sealed || segment.facts.header === "damaged" || this.active !== undefined) {
      if (!sealed) this.suspects.push({ segment: segment.identity.number, end });
      await file.close();
    } else if (kept.length === 0) {
      this.spares.unshift({ identity: segment.identity, file, end });
    } else {
      this.active = { identity: segment.identity, file, end };
    }
  }

  /** Where the first torn byte is: rows R and S of the table of damage; the segment's end when there is none. */
  private cutOf(segment: InspectedSegment, synced: number): number {
    for (const finding of segment.findings) {
      if (finding.type !== "damage") continue;
      const row = damageRow({ place: "tail", from: finding.from, to: finding.to, synced });
      if (row === "R") return synced;
      if (row === "S") return finding.from;
    }
    return segment.size;
  }

  /** Saves what lies behind `end` aside, durably, and removes it from the segment. */
  private async cutOff(segment: InspectedSegment, file: DiskFile, end: number): Promise<void> {
    const { logger } = this.options;
    const kept = await this.saveTorn(segment, readAll(new Window(file, segment.size), end), end);
    file.truncate(end);
    logger.warn(
      `cut ${segment.size - end} bytes off ${segment.fileName}: they were being written when the ` +
        `last process ended, and nothing in them had been acknowledged; ${kept}`,
    );
  }

  /** Returns in words where the torn bytes are kept. A full disk does not keep the log from being opened. */
  private async saveTorn(
    segment: InspectedSegment,
    torn: Uint8Array,
    end: number,
  ): Promise<string> {
    const { disk, directory } = this.options;
    const folder = join(directory, TORN_DIRECTORY);
    const name = `${segment.fileName}.${end}`;
    try {
      disk.makeDirectory(folder);
      await replaceFile(disk, folder, name, torn);
      return `they are kept in ${join(folder, name)}`;
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      return "the disk is too full to keep them";
    }
  }

  /**
   * What was read may be in the system's memory only, left by a process that was killed before its sync, or after one that
   * failed: then the system takes the pages for written, and a sync alone would do nothing. So `last`, which is what no
   * later record vouches for, is written once more.
   */
  private async makeDurable(
    segment: InspectedSegment,
    file: DiskFile,
    last?: { readonly from: number; readonly to: number },
  ): Promise<void> {
    try {
      if (last !== undefined) {
        writeFully(file, [readAll(new Window(file, last.to), last.from)], last.from);
      }
      await file.sync();
    } catch (error) {
      await file.close();
      throw new DfsError(
        "io",
        `cannot open ${segment.path}: its content cannot be made durable: ${messageOf(error)}\n` +
          "check the disk; a server whose disk is lost is started again with --recover",
        { cause: error },
      );
    }
  }

  /** Reports the damage among the findings and hands them to the index. */
  private takeRecords(segment: InspectedSegment, findings: readonly Finding[]): void {
    const { number } = segment.identity;
    const state = this.ledger.state(number);
    for (const { header } of findings) {
      if (header !== undefined) this.ledger.holdsRecord(number, header.lsn);
    }
    if (!findings.every((each) => isSealOfSuspect(each, segment))) this.inTail = false;
    for (const finding of findings) {
      if (finding.type === "damage") {
        this.reportDamage(segment, finding);
        if (finding.header?.kind !== "put") state.damaged = true;
      } else if (finding.header.kind === "seal" && finding.header.segment === number) {
        state.sealed = true;
      }
    }
    if (segment.facts.seal === "suspect") {
      state.sealed = true;
      state.end = this.replay.suspectEnds.get(number);
    }
    this.replay.takeSegment(number, findings);
  }

  /** The findings up to the segment's own seal; what follows it is reported, and nobody uses it. */
  private withoutSurplus(segment: InspectedSegment, findings: readonly Finding[]): Finding[] {
    const seal = findings.findIndex(
      ({ type, header }) =>
        type === "record" && header.kind === "seal" && header.segment === segment.identity.number,
    );
    const kept = seal === -1 ? [...findings] : findings.slice(0, seal + 1);
    const surplus = findings.slice(kept.length);
    if (surplus.length > 0) {
      this.report(segment, "surplus", startOf(surplus[0]!), endOf(surplus.at(-1)!));
      this.ledger.state(segment.identity.number).damaged = true;
    }
    return kept;
  }

  /** Row C. What was cut off it by a process that was killed then must stay off, so this is synced as well. */
  private async addSpare(segment: InspectedSegment): Promise<void> {
    if (this.active !== undefined) {
      this.suspects.push({ segment: segment.identity.number, end: SEGMENT_HEADER_BYTES });
      return;
    }
    const file = this.options.disk.open(segment.path, "write");
    await this.makeDurable(segment, file);
    this.spares.unshift({ identity: segment.identity, file, end: segment.size });
  }

  private reportDamage(segment: InspectedSegment, { what, from, to, header }: FoundDamage): void {
    const kinds = { header: "recordHeader", body: "recordBody", truncated: "truncated" } as const;
    const block = header?.kind === "put" ? header.block : undefined;
    this.report(segment, kinds[what], from, to, block);
  }

  private report(
    { fileName }: InspectedSegment,
    kind: CorruptionKind,
    from: number,
    to: number,
    block?: BlockId,
  ): void {
    assert(to >= from, "damage has no negative length");
    this.corruptBytes += to - from;
    this.options.reporter.report({
      kind,
      file: fileName,
      from,
      to,
      ...(block === undefined ? {} : { block }),
    });
  }
}

/** The findings before `cut`; damage that goes on beyond it ends there. */
function upTo(findings: readonly Finding[], cut: number): Finding[] {
  return findings
    .filter((finding) => startOf(finding) < cut)
    .map((finding) =>
      finding.type === "damage" && finding.to > cut ? { ...finding, to: cut } : finding,
    );
}

/** True for a record that only says up to where another segment counts. */
function isSealOfSuspect({ type, header }: Finding, { identity }: InspectedSegment): boolean {
  return type === "record" && header.kind === "seal" && header.segment !== identity.number;
}

/** The bytes from `from` to the window's end, where the disk can read them. */
function readAll(window: Window, from: number): Uint8Array {
  const bytes = new Uint8Array(window.end - from);
  for (let at = 0; at < bytes.length;) {
    const part = window.view(from + at, READ_BYTES);
    if (part.length === 0) return bytes.subarray(0, at); // the file has become shorter
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function startOf(finding: Finding): number {
  return finding.type === "record" ? finding.header.position : finding.from;
}

function endOf(finding: Finding): number {
  return finding.type === "record" ? finding.end : finding.to;
}
