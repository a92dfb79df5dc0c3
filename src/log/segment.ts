/**
 * Segment files: their names, how they come to be, and open handles for reading them.
 *
 * Invariants
 * - A file with a segment's name has a whole, durable header: it is written under another name, synced and renamed.
 * - The salt is in the name as well as in the header, so that a damaged header costs none of the records behind it.
 * - A file that somebody is reading is not closed; a removed one is closed when its last reader has finished.
 */
import { join } from "node:path";
import { writeFully, type Disk, type DiskFile } from "../base/disk.ts";
import { DfsError, messageOf, systemCodeOf } from "../base/errors.ts";
import { encodeSegmentHeader, type SegmentHeader, type SegmentIdentity } from "./format.ts";

/** Ends the names of segments that are being made. */
const UNFINISHED = ".new";

/** A segment as its name tells it. */
export interface SegmentName {
  readonly number: number;
  readonly salt: bigint;
}

/** The file name of a segment: its number in 12 digits and its salt in 16 hexadecimal digits. */
export function segmentFileName({ number, salt }: SegmentName): string {
  return `${String(number).padStart(12, "0")}-${salt.toString(16).padStart(16, "0")}.seg`;
}

/** What a file name says, or undefined when it is not the name of a segment. */
export function parseSegmentFileName(name: string): SegmentName | undefined {
  const match = /^(\d{12})-([0-9a-f]{16})\.seg$/.exec(name);
  if (match === null) return undefined;
  const number = Number(match[1]);
  return number === 0 ? undefined : { number, salt: BigInt(`0x${match[2]}`) };
}

/** The segments of a log directory by rising number. */
export function listSegments(disk: Disk, directory: string): SegmentName[] {
  return (disk.list(directory) ?? [])
    .map((name) => parseSegmentFileName(name))
    .filter((name) => name !== undefined)
    .sort((a, b) => a.number - b.number);
}

/** Removes what crashes while segments were being made have left. */
export async function removeUnfinishedSegments(disk: Disk, directory: string): Promise<void> {
  for (const name of disk.list(directory) ?? []) {
    if (name.endsWith(`.seg${UNFINISHED}`)) await disk.unlink(join(directory, name));
  }
}

/** Making a segment failed, for the reason `cause`, when its file may have got its name already. */
export class UncertainSegmentError extends Error {}

/**
 * Makes an empty segment, durable with its name when this resolves, and opens it for writing.
 * @throws UncertainSegmentError, or what the disk throws when there is no segment.
 */
export async function createSegment(
  disk: Disk,
  directory: string,
  header: SegmentHeader,
): Promise<DiskFile> {
  const path = join(directory, segmentFileName(header.identity));
  const file = disk.open(path + UNFINISHED, "create");
  let mayHaveName = false;
  try {
    writeFully(file, [encodeSegmentHeader(header)], 0);
    await file.sync();
    mayHaveName = true;
    disk.rename(path + UNFINISHED, path);
    await disk.syncDirectory(directory);
  } catch (error) {
    closeQuietly(file); // what it holds is of no use
    await disk.unlink(path + UNFINISHED).catch(() => undefined); // renamed already, or the next opening removes it
    throw mayHaveName ? new UncertainSegmentError(messageOf(error), { cause: error }) : error;
  }
  return file;
}

/** A segment was deleted, and the sync of its directory failed: whether a crash brings it back is not known. */
export class UncertainRemovalError extends Error {}

/** An open segment that somebody reads. */
export interface HeldSegment {
  readonly file: DiskFile;
  readonly identity: SegmentIdentity;
  /** Must be called once, when nobody reads it any more. */
  readonly release: () => void;
}

interface Handle {
  file: DiskFile;
  users: number;
}

/** Opens segments for readers, and keeps the most recently used ones open. */
export class SegmentReaders {
  private readonly disk: Disk;
  private readonly directory: string;
  private readonly maxOpen: number;
  private readonly segments = new Map<number, SegmentIdentity>();
  /** Least recently used first. */
  private readonly handles = new Map<number, Handle>();
  private users = 0;
  private onIdle: (() => void) | undefined;

  constructor(disk: Disk, directory: string, maxOpen: number) {
    this.disk = disk;
    this.directory = directory;
    this.maxOpen = maxOpen;
  }

  add(identity: SegmentIdentity): void {
    this.segments.set(identity.number, identity);
  }

  /** The salt of a segment; undefined when it has been removed. */
  saltOf(number: number): bigint | undefined {
    return this.segments.get(number)?.salt;
  }

  /** Names of the files, for messages. */
  fileName(number: number): string {
    const identity = this.segments.get(number);
    return identity === undefined ? `segment ${number}` : segmentFileName(identity);
  }

  /** Calls `work` with the open segment. @throws DfsError `noBlock` when the segment has been removed. */
  async use<T>(
    number: number,
    work: (file: DiskFile, identity: SegmentIdentity) => Promise<T>,
  ): Promise<T> {
    const { file, identity, release } = this.hold(number);
    try {
      return await work(file, identity);
    } finally {
      release();
    }
  }

  /** The open segment, until it is released. @throws DfsError `noBlock` when it has been removed. */
  hold(number: number): HeldSegment {
    const identity = this.segments.get(number);
    if (identity === undefined) {
      throw new DfsError("noBlock", `all blocks of segment ${number} have been deleted`);
    }
    const handle = this.take(identity);
    this.users++;
    const release = (): void => {
      handle.users--;
      this.users--;
      this.closeIfUnused(number, handle);
      if (this.users === 0) this.onIdle?.();
    };
    return { file: handle.file, identity, release };
  }

  /**
   * Deletes a segment's file; the deletion is durable when this resolves. Readers that have it open go on. A file that is
   * not there is fine: making it may have failed. @throws UncertainRemovalError when the name may come back.
   */
  async remove(number: number): Promise<void> {
    const identity = this.segments.get(number);
    if (identity === undefined) return;
    await this.disk
      .unlink(join(this.directory, segmentFileName(identity)))
      .catch((error: unknown) => {
        if (systemCodeOf(error) !== "ENOENT") throw error;
      });
    await this.disk.syncDirectory(this.directory).catch((error: unknown) => {
      throw new UncertainRemovalError(messageOf(error), { cause: error });
    });
    this.segments.delete(number);
    const handle = this.handles.get(number);
    this.handles.delete(number);
    if (handle !== undefined) this.closeIfUnused(number, handle);
  }

  /** Closes everything, when those who are reading have finished. */
  async close(): Promise<void> {
    this.segments.clear();
    if (this.users > 0) await new Promise<void>((resolve) => (this.onIdle = resolve));
    const files = [...this.handles.values()].map((handle) => handle.file);
    this.handles.clear();
    for (const file of files) await file.close();
  }

  private take(name: SegmentName): Handle {
    const known = this.handles.get(name.number);
    const handle = known ?? { file: this.open(name), users: 0 };
    handle.users++;
    this.handles.delete(name.number);
    this.handles.set(name.number, handle);
    if (known === undefined) this.closeOldest();
    return handle;
  }

  private open(name: SegmentName): DiskFile {
    return this.disk.open(join(this.directory, segmentFileName(name)), "read");
  }

  private closeOldest(): void {
    for (const [number, handle] of this.handles) {
      if (this.handles.size <= this.maxOpen) return;
      if (handle.users > 0) continue;
      this.handles.delete(number);
      closeQuietly(handle.file);
    }
  }

  private closeIfUnused(number: number, handle: Handle): void {
    if (handle.users === 0 && this.handles.get(number) !== handle) closeQuietly(handle.file);
  }
}

/** For files in which there is nothing to be lost by a failed close: they were only read, or are given up. */
function closeQuietly(file: DiskFile): void {
  void file.close().catch(() => undefined);
}
