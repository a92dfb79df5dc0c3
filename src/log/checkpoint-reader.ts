/**
 * Reads a checkpoint, and says whether an opening can begin with it.
 *
 * It can when it is whole and fits the segments that are there: every segment that it covers has the length that it had,
 * or is gone, which only happens to those that nobody needed (the caller has made sure that the manifest misses none). What
 * cannot be used costs time and nothing else: everything in a checkpoint is in the segments as well.
 */
import { join } from "node:path";
import { hash64 } from "../base/checksum.ts";
import type { Disk, DiskFile } from "../base/disk.ts";
import { systemCodeOf } from "../base/errors.ts";
import {
  CHECKPOINT_FILE,
  CHECKPOINT_HEADER_BYTES,
  CHUNK_HEADER_BYTES,
  CHUNK_KINDS,
  chunkPadding,
  decodeCheckpointHeader,
  decodeChunkHeader,
  type CheckpointHeader,
  type ChunkHeader,
} from "./checkpoint-format.ts";
import { CompactIndex } from "./index.ts";
import { SegmentLedger } from "./ledger.ts";
import type { LogOwner } from "./manifest.ts";
import { segmentFileName, type SegmentName } from "./segment.ts";
import { decodeSegmentImage } from "./segment-image.ts";

/** Index and ledger as they were when segment `header.segment` had been sealed and nothing was behind it. */
export interface Checkpoint {
  readonly header: CheckpointHeader;
  readonly index: CompactIndex;
  readonly ledger: SegmentLedger;
  readonly salts: ReadonlyMap<number, bigint>;
  /** Length of the file. */
  readonly bytes: number;
}

export type FoundCheckpoint =
  | { readonly state: "missing" }
  /** It cannot be read, or not all of it; `bytes` is its length. */
  | { readonly state: "damaged"; readonly bytes: number }
  /** Whole, but of another log, or of a version that we do not know. */
  | { readonly state: "other" }
  | { readonly state: "whole"; readonly checkpoint: Checkpoint };

/** Reads the checkpoint in a log's directory. Throws what the disk throws, except EIO. */
export function readCheckpoint(disk: Disk, directory: string, owner: LogOwner): FoundCheckpoint {
  if (disk.list(directory)?.includes(CHECKPOINT_FILE) !== true) return { state: "missing" };
  const file = disk.open(join(directory, CHECKPOINT_FILE), "read");
  try {
    const bytes = file.size();
    const found = new CheckpointFile(file, bytes).read(owner);
    if (found === "other") return { state: "other" };
    return found === undefined
      ? { state: "damaged", bytes }
      : { state: "whole", checkpoint: { ...found, bytes } };
  } catch (error) {
    if (systemCodeOf(error) !== "EIO") throw error;
    return { state: "damaged", bytes: file.size() };
  } finally {
    void file.close().catch(() => undefined); // it was only read: nothing can be lost by a failed close
  }
}

/** Why the segments that are there are not those that a checkpoint is of, in words; undefined when they are. */
export async function misfitOf(
  disk: Disk,
  directory: string,
  { header, ledger, salts }: Checkpoint,
  present: readonly SegmentName[],
): Promise<string | undefined> {
  for (const name of present) {
    if (name.number > header.segment) break;
    const file = segmentFileName(name);
    if (salts.get(name.number) !== name.salt) return `it knows nothing of ${file}`;
    const { bytes, end } = ledger.state(name.number);
    const size = await sizeOf(disk, join(directory, file));
    // What lies behind the end of a suspect may have been cut off since, or come back with a crash.
    const fits = end === undefined ? size === bytes : size >= end;
    if (!fits) return `${file} has ${size} bytes instead of ${bytes}`;
  }
  return undefined;
}

/** Length of a file, which is closed when this resolves: whoever asks for thousands has one open at a time. */
export async function sizeOf(disk: Disk, path: string): Promise<number> {
  const file = disk.open(path, "read");
  try {
    return file.size();
  } finally {
    await file.close().catch(() => undefined); // nothing was even read
  }
}

class CheckpointFile {
  private readonly file: DiskFile;
  private readonly size: number;
  /** First bytes of what was read so far; the hash at the end is theirs. */
  private readonly heads: Uint8Array[] = [];
  private readonly index = new CompactIndex();
  private readonly ledger = new SegmentLedger();
  private readonly salts = new Map<number, bigint>();

  constructor(file: DiskFile, size: number) {
    this.file = file;
    this.size = size;
  }

  read(owner: LogOwner): Omit<Checkpoint, "bytes"> | "other" | undefined {
    const head = this.bytesAt(0, CHECKPOINT_HEADER_BYTES);
    const header = head && decodeCheckpointHeader(owner, head);
    if (head === undefined || header === undefined || header === "other") return header as "other";
    this.heads.push(head);
    const isWhole = this.readChunks() && this.isConsistent(header);
    if (!isWhole) return undefined;
    this.ledger.holdsRecord(header.highestLsnSegment, header.highestLsn);
    const { index, ledger, salts } = this;
    return { header, index, ledger, salts };
  }

  /** Returns whether all of them are whole, up to the end. */
  private readChunks(): boolean {
    let position = CHECKPOINT_HEADER_BYTES;
    for (;;) {
      const head = this.bytesAt(position, CHUNK_HEADER_BYTES);
      if (head === undefined) return false;
      const chunk = decodeChunkHeader(head);
      position += CHUNK_HEADER_BYTES;
      if (chunk.kind === CHUNK_KINDS.end) return this.isEnd(chunk, position);
      this.heads.push(head);
      const content = this.bytesAt(position, chunk.length + chunkPadding(chunk.length));
      if (content === undefined || !this.takeChunk(chunk, content)) return false;
      position += content.length;
    }
  }

  private isEnd({ length, hash }: ChunkHeader, position: number): boolean {
    return length === 0 && position === this.size && hash === hash64(Buffer.concat(this.heads));
  }

  private takeChunk({ kind, length, hash }: ChunkHeader, padded: Uint8Array): boolean {
    const content = padded.subarray(0, length);
    if (hash64(content) !== hash || length === 0) return false;
    if (padded.subarray(length).some((byte) => byte !== 0)) return false;
    if (kind === CHUNK_KINDS.segment) return this.takeSegment(content);
    if (kind !== CHUNK_KINDS.entries || length % Uint32Array.BYTES_PER_ELEMENT !== 0) return false;
    return this.index.append(new Uint32Array(content.buffer, content.byteOffset, length / 4));
  }

  private takeSegment(content: Uint8Array): boolean {
    if (content.length % BigUint64Array.BYTES_PER_ELEMENT !== 0) return false;
    const words = new BigUint64Array(content.buffer, content.byteOffset, content.length / 8);
    const image = decodeSegmentImage(words);
    if (image === undefined || this.ledger.has(image.state.number)) return false;
    this.ledger.restore(image.state, image.olderCopies);
    this.salts.set(image.state.number, image.salt);
    return true;
  }

  /** Index and ledger must tell the same story: a checkpoint that does not has been written by a bug. */
  private isConsistent({ segments, entries, highestLsnSegment }: CheckpointHeader): boolean {
    let livePuts = 0;
    for (const state of this.ledger.states()) livePuts += state.livePuts;
    return (
      this.ledger.count === segments &&
      this.index.size === entries &&
      livePuts === entries &&
      (highestLsnSegment === 0 || this.ledger.has(highestLsnSegment))
    );
  }

  /** A copy of `length` bytes; undefined when the file ends before. */
  private bytesAt(position: number, length: number): Uint8Array | undefined {
    if (position + length > this.size) return undefined;
    const bytes = new Uint8Array(length); // 8-byte aligned, as the words in it must be
    return this.file.readNow(bytes, position) === length ? bytes : undefined;
  }
}
