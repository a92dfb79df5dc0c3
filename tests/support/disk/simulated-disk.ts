// A disk in memory that keeps apart what programs see and what a power cut would leave, and that fails when it is told to.
//
// - `fork` copies the whole disk in a moment, `powerCut` brings a disk to a state in which a power cut may leave it, and
//   `killed` to the one that a process leaves which dies in the middle of a write: so a test can stop a program at any
//   point without stopping it.
// - `watch` is called after everything that changes the disk, and at both ends of a sync.
// - `plan` is asked before every operation whether it fails, and how.
// - `flip` and `unreadable` are rot. docs/faults.md says what dfs claims to survive of all this.
//
// Everything that chance decides comes from the seed. Nothing here waits for time: a sync takes a few turns of the queue
// of promises, in which other work goes on.

import { basename, dirname } from "node:path";
import type { Disk, DiskFile, DiskSpace, OpenMode } from "../../../src/base/disk.ts";
import { seededRandom, type Random } from "../../../src/base/random.ts";
import { FileState, SECTOR_BYTES, type Survival } from "./file-state.ts";
import { NameTable } from "./name-table.ts";

/** Something that a program asks of the disk. */
export interface Operation {
  readonly kind:
    | "create"
    | "write"
    | "truncate"
    | "syncBegins"
    | "sync"
    | "rename"
    | "unlink"
    | "directorySyncBegins"
    | "directorySync"
    | "makeDirectory"
    | "read";
  readonly path: string;
  /** Of writes and reads; of a truncation the new length. */
  readonly position: number;
  readonly length: number;
}

/** How an operation fails. */
export type Fault =
  /** With this code. A failed sync of a file may make the system forget the pages that it could not write. */
  | { readonly code: string; readonly pages?: "kept" | "dropped" }
  /** A write takes no more than this many bytes. */
  | { readonly takes: number }
  /** A write goes to another place of the file, and the system believes that all is well. */
  | { readonly goesTo: number };

/** An error as a system call gives it. */
export function diskError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}: made by the simulated disk`), { code });
}

const MAX_TURNS_OF_A_SYNC = 6;

export class SimulatedDisk implements Disk {
  /** Called after each change. */
  watch: ((operation: Operation) => void) | undefined;
  /** Says whether, and how, an operation fails. */
  plan: ((operation: Operation) => Fault | undefined) | undefined;
  /** Size of the file system. */
  capacityBytes = 2 ** 40;
  readonly random: Random;
  private names = new NameTable();

  constructor(seed: number) {
    this.random = seededRandom(seed);
    this.names.makeDirectory("/");
  }

  /** A copy as it is now, with its unsynced changes, that nobody watches and that works well. */
  fork(seed: number): SimulatedDisk {
    const copy = new SimulatedDisk(seed);
    copy.names = this.names.clone();
    copy.capacityBytes = this.capacityBytes;
    return copy;
  }

  powerCut(survival: Survival): void {
    this.names.powerCut(survival);
  }

  /** The process died in the middle of its last write, which was to `path`: its last `count` bytes never got here. */
  shortenLastWrite(path: string, count: number): void {
    this.file(path).shortenLastWrite(count);
  }

  /** The live content of a file; not to be changed. */
  content(path: string): Uint8Array {
    return this.file(path).live;
  }

  flip(path: string, position: number, mask = 1): void {
    this.file(path).flip(position, mask);
  }

  /** The sector at `position` of a file fails with EIO from now on. */
  unreadable(path: string, position: number): void {
    this.file(path).badSectors.add(position - (position % SECTOR_BYTES));
  }

  makeDirectory(path: string): void {
    if (path !== "/" && !this.names.directories.has(dirname(path))) {
      this.makeDirectory(dirname(path));
    }
    const operation = { kind: "makeDirectory", path, position: 0, length: 0 } as const;
    this.failIfPlanned(operation);
    this.names.makeDirectory(path);
    this.watch?.(operation);
    this.names.synced(dirname(path), new Set());
    this.watch?.(operation);
  }

  list(path: string): string[] | undefined {
    if (!this.names.directories.has(path)) return undefined;
    return [...this.names.live.keys(), ...this.names.directories]
      .filter((each) => dirname(each) === path && each !== path)
      .map((each) => basename(each))
      .sort();
  }

  open(path: string, mode: OpenMode): DiskFile {
    if (mode !== "create") return new SimulatedFile(this, path, this.file(path));
    if (this.names.live.has(path)) throw diskError("EEXIST", path);
    if (!this.names.directories.has(dirname(path))) throw diskError("ENOENT", path);
    const operation = { kind: "create", path, position: 0, length: 0 } as const;
    this.failIfPlanned(operation);
    const file = new FileState();
    this.names.change([[path, file]]);
    this.watch?.(operation);
    return new SimulatedFile(this, path, file);
  }

  rename(from: string, to: string): void {
    if (dirname(from) !== dirname(to)) throw diskError("EXDEV", to);
    const file = this.file(from);
    const operation = { kind: "rename", path: to, position: 0, length: 0 } as const;
    this.failIfPlanned(operation);
    this.names.change([
      [from, undefined],
      [to, file],
    ]);
    this.watch?.(operation);
  }

  async unlink(path: string): Promise<void> {
    await this.turns();
    this.file(path);
    const operation = { kind: "unlink", path, position: 0, length: 0 } as const;
    this.failIfPlanned(operation);
    this.names.change([[path, undefined]]);
    this.watch?.(operation);
  }

  async syncDirectory(path: string): Promise<void> {
    if (!this.names.directories.has(path)) throw diskError("ENOENT", path);
    const operation = { path, position: 0, length: 0 };
    const changes = this.names.unsynced(path);
    this.watch?.({ kind: "directorySyncBegins", ...operation });
    await this.turns();
    this.failIfPlanned({ kind: "directorySync", ...operation });
    this.names.synced(path, changes);
    this.watch?.({ kind: "directorySync", ...operation });
  }

  space(_path: string): DiskSpace {
    const { capacityBytes } = this;
    return { capacityBytes, availableBytes: Math.max(0, capacityBytes - this.usedBytes()) };
  }

  /** The name of a file, or undefined when it has been unlinked. */
  pathOf(file: FileState): string | undefined {
    for (const [path, each] of this.names.live) if (each === file) return path;
    return undefined;
  }

  /** Bytes of all files that have a name. */
  usedBytes(): number {
    let used = 0;
    for (const file of new Set(this.names.live.values())) used += file.live.length;
    return used;
  }

  /** A few turns of the queue of promises: what a thread of the system takes. */
  async turns(): Promise<void> {
    for (let turn = this.random.below(MAX_TURNS_OF_A_SYNC); turn >= 0; turn--)
      await Promise.resolve();
  }

  /** @throws the error that the plan has for `operation`. */
  failIfPlanned(operation: Operation): Fault | undefined {
    const fault = this.plan?.(operation);
    if (fault !== undefined && "code" in fault) throw diskError(fault.code, operation.path);
    return fault;
  }

  private file(path: string): FileState {
    const file = this.names.live.get(path);
    if (file === undefined) throw diskError("ENOENT", path);
    return file;
  }
}

class SimulatedFile implements DiskFile {
  readonly path: string;
  private readonly disk: SimulatedDisk;
  private readonly state: FileState;
  private closed = false;

  constructor(disk: SimulatedDisk, path: string, state: FileState) {
    this.disk = disk;
    this.path = path;
    this.state = state;
  }

  size(): number {
    this.checkOpen();
    return this.state.live.length;
  }

  readNow(target: Uint8Array, position: number): number {
    this.checkOpen();
    this.disk.failIfPlanned(this.operation("read", position, target.length));
    for (const sector of this.state.badSectors) {
      if (position < sector + SECTOR_BYTES && position + target.length > sector) {
        throw diskError("EIO", this.path);
      }
    }
    const bytes = this.state.live.subarray(position, position + target.length);
    target.set(bytes);
    return bytes.length;
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    await Promise.resolve();
    return this.readNow(target, position);
  }

  write(parts: readonly Uint8Array[], position: number): number {
    this.checkOpen();
    const whole = Buffer.concat(parts);
    const fault = this.disk.failIfPlanned(this.operation("write", position, whole.length));
    const limit = fault !== undefined && "takes" in fault ? fault.takes : whole.length;
    const count = Math.min(whole.length, limit, this.roomFrom(position));
    if (count === 0) throw diskError("ENOSPC", this.path);
    const at = fault !== undefined && "goesTo" in fault ? fault.goesTo : position;
    this.state.write(whole.subarray(0, count), at);
    this.disk.watch?.(this.operation("write", at, count));
    return count;
  }

  truncate(length: number): void {
    this.checkOpen();
    const operation = this.operation("truncate", length, 0);
    this.disk.failIfPlanned(operation);
    this.state.truncate(length);
    this.disk.watch?.(operation);
  }

  syncData(): Promise<void> {
    return this.sync();
  }

  async sync(): Promise<void> {
    this.checkOpen();
    const { lastChange } = this.state;
    this.disk.watch?.(this.operation("syncBegins", 0, 0));
    await this.disk.turns();
    const operation = this.operation("sync", 0, 0);
    const fault = this.disk.plan?.(operation);
    if (fault !== undefined && "code" in fault) {
      if (fault.pages === "dropped") this.state.dropUnsynced(this.disk.random);
      this.disk.watch?.(operation);
      throw diskError(fault.code, this.path);
    }
    this.state.synced(lastChange);
    this.disk.watch?.(operation);
  }

  async close(): Promise<void> {
    this.checkOpen();
    this.closed = true;
    await Promise.resolve();
  }

  /** Under the name that the file has now: it may have been renamed since it was opened. */
  private operation(kind: Operation["kind"], position: number, length: number): Operation {
    return { kind, path: this.disk.pathOf(this.state) ?? this.path, position, length };
  }

  /** Bytes that the file system has room for from `position` of this file on. */
  private roomFrom(position: number): number {
    const free = Math.max(0, this.disk.capacityBytes - this.disk.usedBytes());
    return Math.max(0, this.state.live.length - position) + free;
  }

  private checkOpen(): void {
    if (this.closed) throw diskError("EBADF", this.path);
  }
}
