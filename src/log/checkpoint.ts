/**
 * Makes checkpoints: when a segment has been sealed and much has been written since the last one, and when the log is
 * closed.
 *
 * At that moment index and ledger say exactly what the segments up to the sealed one say. They are frozen in one go, which
 * costs little, and written while the log goes on; an opening begins with them and reads only the segments behind.
 * A checkpoint that cannot be written is no fault: the one before stays, and the next opening reads more.
 */
import { join } from "node:path";
import { hash64 } from "../base/checksum.ts";
import { writeFully, type Disk, type DiskFile } from "../base/disk.ts";
import { DfsError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import {
  CHECKPOINT_FILE,
  CHUNK_KINDS,
  chunkPadding,
  encodeCheckpointHeader,
  encodeChunkHeader,
} from "./checkpoint-format.ts";
import type { CheckpointImage } from "./checkpoint-image.ts";
import type { LogOwner } from "./manifest.ts";
import { encodeSegmentImage } from "./segment-image.ts";

/** Ends the name of a checkpoint that is being written. */
const UNFINISHED = `${CHECKPOINT_FILE}.new`;

/** Bytes handed to the system in one call, after which others get their turn. */
const WRITE_BYTES = 1024 * 1024;

/** Most parts of one writev call, below IOV_MAX (1024) of limits.h. */
const MAX_PARTS = 1000;

/** A checkpoint is made when the log has grown by so many segments since the last one, */
const SEGMENTS_BETWEEN = 4;
/** and by so many times the length of that: so they cost a small part of what is written. */
const LENGTHS_BETWEEN = 10;

export interface CheckpointerOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly owner: LogOwner;
  readonly logger: Logger;
  readonly segmentBytes: number;
  /** Bytes of the log between checkpoints, instead of the rule above. */
  readonly everyBytes: number | undefined;
  /** The state of this moment, at which the log ends with the sealed `segment`. */
  readonly capture: (segment: number) => CheckpointImage;
}

/** What checkpoints have done since the log was opened. */
export interface CheckpointStats {
  /** Those that were made. */
  readonly checkpoints: number;
  /** Length of the newest one; 0 when there is none. */
  readonly checkpointBytes: number;
}

export class Checkpointer {
  private readonly options: CheckpointerOptions;
  /** Bytes appended since the newest checkpoint. */
  private sinceBytes: number;
  private made = 0;
  private lastBytes: number;
  private running: Promise<void> | undefined;

  /** `sinceBytes` is what the opening found behind the checkpoint of `lastBytes` bytes (0: there is none). */
  constructor(options: CheckpointerOptions, sinceBytes: number, lastBytes: number) {
    this.options = options;
    this.sinceBytes = sinceBytes;
    this.lastBytes = lastBytes;
  }

  get stats(): CheckpointStats {
    return { checkpoints: this.made, checkpointBytes: this.lastBytes };
  }

  /** The log has grown. */
  grew(bytes: number): void {
    this.sinceBytes += bytes;
  }

  /** The log ends with a sealed segment at this moment. Makes a checkpoint if it is time for one. */
  atRest(segment: number): void {
    const { segmentBytes, everyBytes } = this.options;
    const often = Math.max(SEGMENTS_BETWEEN * segmentBytes, LENGTHS_BETWEEN * this.lastBytes);
    if (this.sinceBytes >= (everyBytes ?? often)) this.make(segment);
  }

  /** Takes the checkpoint away, where the space that it takes is needed more. */
  async discard(): Promise<void> {
    await this.running;
    if (this.lastBytes === 0) return;
    const { disk, directory } = this.options;
    await disk.unlink(join(directory, CHECKPOINT_FILE));
    this.lastBytes = 0;
    this.sinceBytes = Math.max(1, this.sinceBytes); // so that a closing makes one again
  }

  /** Waits for what is under way; then makes a last one, if the log ends with a sealed segment and has grown. */
  async close(segment: number | undefined): Promise<void> {
    await this.running;
    if (segment !== undefined && this.sinceBytes > 0) this.make(segment);
    await this.running;
  }

  private make(segment: number): void {
    if (this.running !== undefined) return;
    const image = this.options.capture(segment);
    const { sinceBytes } = this;
    this.sinceBytes = 0;
    this.running = this.write(image)
      .catch((error: unknown) => {
        this.sinceBytes += sinceBytes;
        this.options.logger.warn(`cannot write a checkpoint of the log: ${messageOf(error)}`);
      })
      .finally(() => {
        this.running = undefined;
      });
  }

  private async write(image: CheckpointImage): Promise<void> {
    const { disk, directory, owner, logger } = this.options;
    const bytes = await writeCheckpoint(disk, directory, owner, image);
    this.made++;
    this.lastBytes = bytes;
    const { segment, segments, entries } = image.header;
    logger.debug("made a checkpoint", { segment, segments, entries, bytes });
  }
}

/** Removes what a crash while a checkpoint was being written has left. */
export async function removeUnfinishedCheckpoint(disk: Disk, directory: string): Promise<void> {
  if (disk.list(directory)?.includes(UNFINISHED)) await disk.unlink(join(directory, UNFINISHED));
}

/**
 * Takes a checkpoint away that an opening has not begun with; durable with the next sync of the directory. What the log does
 * from now on follows from what was read of the segments, and need not follow from the checkpoint.
 * @throws DfsError `io`.
 */
export async function removeCheckpoint(disk: Disk, directory: string): Promise<void> {
  if (disk.list(directory)?.includes(CHECKPOINT_FILE) !== true) return;
  const path = join(directory, CHECKPOINT_FILE);
  try {
    await disk.unlink(path);
  } catch (error) {
    throw new DfsError(
      "io",
      `cannot open the log: its checkpoint ${path} cannot be used, and cannot be removed: ${messageOf(error)}\n` +
        "remove it, it holds nothing that is not in the segments, and start the server again",
      { cause: error },
    );
  }
}

/** Puts a checkpoint in place of the one before; durable when it resolves, with its length. Throws what the disk throws. */
async function writeCheckpoint(
  disk: Disk,
  directory: string,
  owner: LogOwner,
  image: CheckpointImage,
): Promise<number> {
  await removeUnfinishedCheckpoint(disk, directory);
  const path = join(directory, UNFINISHED);
  try {
    const bytes = await writeParts(disk.open(path, "create"), partsOf(owner, image));
    disk.rename(path, join(directory, CHECKPOINT_FILE));
    await disk.syncDirectory(directory);
    return bytes;
  } catch (error) {
    await disk.unlink(path).catch(() => undefined); // renamed already, or the next one removes it
    throw error;
  }
}

/** Writes and syncs a whole file, and closes it. Returns its length. */
async function writeParts(file: DiskFile, parts: Iterable<Uint8Array>): Promise<number> {
  try {
    let position = 0;
    for (const group of groups(parts)) {
      if (position > 0) await nextTurn();
      position = writeFully(file, group, position);
    }
    await file.sync();
    return position;
  } finally {
    await file.close();
  }
}

/** The bytes of a checkpoint in pieces. */
function* partsOf(owner: LogOwner, image: CheckpointImage): Generator<Uint8Array, void, void> {
  const header = encodeCheckpointHeader(owner, image.header);
  const heads: Uint8Array[] = [header];
  yield header;
  for (const [kind, words] of chunksOf(image)) {
    const content = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
    const head = encodeChunkHeader({ kind, length: content.length, hash: hash64(content) });
    heads.push(head);
    yield head;
    yield content;
    yield new Uint8Array(chunkPadding(content.length));
  }
  const hash = hash64(Buffer.concat(heads));
  yield encodeChunkHeader({ kind: CHUNK_KINDS.end, length: 0, hash });
}

/** Kind and content of each chunk. Segments are encoded when their turn comes: there may be many. */
function* chunksOf({ segments, pages }: CheckpointImage) {
  for (const each of segments) yield [CHUNK_KINDS.segment, encodeSegmentImage(each)] as const;
  for (const page of pages) yield [CHUNK_KINDS.entries, page] as const;
}

/** Parts for one call each. */
function* groups(parts: Iterable<Uint8Array>): Generator<Uint8Array[], void, void> {
  let group: Uint8Array[] = [];
  let bytes = 0;
  for (const part of parts) {
    group.push(part);
    bytes += part.length;
    if (bytes < WRITE_BYTES && group.length < MAX_PARTS) continue;
    yield group;
    group = [];
    bytes = 0;
  }
  if (group.length > 0) yield group;
}

/** Lets the event loop do other things. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
