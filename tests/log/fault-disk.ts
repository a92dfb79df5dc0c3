// The real disk with faults that tests switch on: syncs that wait or fail, writes that are short, fail or hit a full
// disk, reads that fail.

import { realDisk, type Disk, type DiskFile, type OpenMode } from "../../src/base/disk.ts";

/** An error as a system call gives it. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: made by a test`), { code });
}

export class FaultDisk implements Disk {
  /** Everything that happened, in order: `write 120`, `sync start`, `sync end`, `truncate 64`, ... */
  readonly events: string[] = [];
  /** While true, syncs of data wait for `releaseSyncs`. */
  holdSyncs = false;
  /** Error codes of the next syncs of data, in order; undefined for one that works. */
  syncErrors: (string | undefined)[] = [];
  /** Error codes of the next syncs of content and metadata. */
  fullSyncErrors: (string | undefined)[] = [];
  /** Error codes of the next writes. */
  writeErrors: (string | undefined)[] = [];
  /** No write takes more than this many bytes at once. */
  maxWriteBytes = Infinity;
  /** Bytes that may still be written before the disk is full. */
  roomBytes = Infinity;
  /** What the file system says is available; the real one's word when undefined. */
  availableBytes: number | undefined;
  /** Makes reads fail with this error code. */
  readError: string | undefined;
  /** Positions of pages that cannot be read. */
  badPages = new Set<number>();
  /** Makes the truncation of files fail with this error code. */
  truncateError: string | undefined;
  private held: (() => void)[] = [];

  get syncsHeld(): number {
    return this.held.length;
  }

  releaseSyncs(): void {
    for (const release of this.held.splice(0)) release();
  }

  makeDirectory(path: string): void {
    realDisk.makeDirectory(path);
  }

  list(path: string): string[] | undefined {
    return realDisk.list(path);
  }

  open(path: string, mode: OpenMode): DiskFile {
    return new FaultFile(this, realDisk.open(path, mode));
  }

  rename(from: string, to: string): void {
    realDisk.rename(from, to);
  }

  unlink(path: string): Promise<void> {
    this.events.push("unlink");
    return realDisk.unlink(path);
  }

  async syncDirectory(path: string): Promise<void> {
    await realDisk.syncDirectory(path);
    this.events.push("sync directory");
  }

  space(path: string): { capacityBytes: number; availableBytes: number } {
    const real = realDisk.space(path);
    return { ...real, availableBytes: this.availableBytes ?? real.availableBytes };
  }

  /** Waits while syncs are held, then says with which error this one fails. */
  async syncOutcome(): Promise<string | undefined> {
    if (this.holdSyncs) await new Promise<void>((resolve) => this.held.push(resolve));
    return this.syncErrors.shift();
  }
}

class FaultFile implements DiskFile {
  readonly path: string;
  private readonly disk: FaultDisk;
  private readonly file: DiskFile;

  constructor(disk: FaultDisk, file: DiskFile) {
    this.disk = disk;
    this.file = file;
    this.path = file.path;
  }

  size(): number {
    return this.file.size();
  }

  readNow(target: Uint8Array, position: number): number {
    this.failOnBadPages(target, position);
    return this.file.readNow(target, position);
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    if (this.disk.readError !== undefined) throw systemError(this.disk.readError);
    this.failOnBadPages(target, position);
    return this.file.read(target, position);
  }

  private failOnBadPages(target: Uint8Array, position: number): void {
    for (const page of this.disk.badPages) {
      if (position < page + 4096 && position + target.length > page) throw systemError("EIO");
    }
  }

  write(parts: readonly Uint8Array[], position: number): number {
    const { disk } = this;
    const code = disk.writeErrors.shift();
    if (code !== undefined) throw systemError(code);
    const whole = Buffer.concat(parts);
    const count = Math.min(whole.length, disk.maxWriteBytes, disk.roomBytes);
    if (count === 0) throw systemError("ENOSPC");
    disk.roomBytes -= count;
    disk.events.push(`write ${count}`);
    return this.file.write([whole.subarray(0, count)], position);
  }

  beginWriteback(position: number, length: number): void {
    this.disk.events.push(`writeback ${position} ${length}`);
    this.file.beginWriteback?.(position, length);
  }

  truncate(length: number): void {
    if (this.disk.truncateError !== undefined) throw systemError(this.disk.truncateError);
    this.disk.events.push(`truncate ${length}`);
    this.disk.roomBytes += this.file.size() - length;
    this.file.truncate(length);
  }

  async syncData(): Promise<void> {
    this.disk.events.push("sync start");
    const code = await this.disk.syncOutcome();
    if (code !== undefined) throw systemError(code);
    await this.file.syncData();
    this.disk.events.push("sync end");
  }

  async sync(): Promise<void> {
    this.disk.events.push(`sync of ${this.path}`);
    const code = this.disk.fullSyncErrors.shift();
    if (code !== undefined) throw systemError(code);
    await this.file.sync();
  }

  close(): Promise<void> {
    return this.file.close();
  }
}
