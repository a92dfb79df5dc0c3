// A whole file system in memory behind the border of a mount, for tests of drivers: names are bytes, inodes are forgotten
// when nobody refers to them, files without a name live while they are open, holes, locks and extended attributes are real.

import type { CancelSignal } from "../../../src/base/cancellation.ts";
import { DfsError } from "../../../src/base/errors.ts";
import { ROOT_INODE, type InodeId } from "../../../src/base/ids.ts";
import type {
  AttributeChange,
  Caller,
  Handle,
  Invalidations,
  ListedEntry,
  Lock,
  MountedFileSystem,
  OpenedFile,
  OpenFlags,
  Space,
} from "../../../src/mount/file-system.ts";
import type { Attributes, FileType } from "../../../src/protocol/messages/common.ts";
import { Hold } from "./hold.ts";
import { behind, dotEntries, type MemoryState, type Open } from "./memory-handles.ts";
import { clearSetId, keyOf, MemoryInodes, nameOf, type MemoryInode } from "./memory-inodes.ts";

/** Entries in one answer to `list`. */
const PAGE = 256;
const GIB = 1024 ** 3;

type AllocateCall = Parameters<MountedFileSystem["allocate"]>;
type SeekCall = Parameters<MountedFileSystem["seek"]>;
type CopyCall = Parameters<MountedFileSystem["copyRange"]>;

export class MemoryFileSystem implements MountedFileSystem {
  readonly timeouts;
  readonly blockSize = 1024 * 1024;
  readonly readOnly = false;
  readonly inodes = new MemoryInodes();
  invalidations: Invalidations | undefined;
  stopped = false;
  private readonly open_ = new Map<Handle, Open>();
  private readonly asked = { lookups: 0, took: 0, writes: 0, reads: 0 };
  /** Reads, fsync and work on ranges wait here when a test wants that. */
  readonly hold = new Hold();
  private nextHandle = 1;
  private nextCookie = 3n;

  constructor(timeoutMs = 60_000) {
    this.timeouts = { attributesMs: timeoutMs, entryMs: timeoutMs, negativeMs: timeoutMs };
  }

  start(invalidations: Invalidations): void {
    this.invalidations = invalidations;
  }

  /** What is there, and what was asked for. */
  state(): MemoryState {
    const { count: inodes, waitingLocks } = this.inodes;
    const { held } = this.hold;
    return { inodes, waitingLocks, held, open: this.open_.size, ...this.asked };
  }

  /** Makes this many names in the root, quickly: a thousand of them share an inode. */
  fillRoot(names: number): void {
    const root = this.inodes.directory(ROOT_INODE);
    let inode: MemoryInode | undefined;
    for (let i = 0; i < names; i++) {
      if (inode === undefined || i % 1000 === 0) {
        inode = this.inodes.make(root, "file", 0o644, { uid: 0, gid: 0, pid: 0 });
      }
      this.attach(root, nameOf(`file-${i}`), inode);
    }
  }

  // Names.

  async lookup(parent: InodeId, name: Uint8Array): Promise<Attributes> {
    this.asked.lookups++;
    return this.known(this.child(this.inodes.directory(parent), name));
  }

  forget(id: InodeId, references: bigint): void {
    const inode = this.inodes.get(id);
    inode.lookups -= references;
    if (inode.lookups < 0n) throw new DfsError("internal", `inode ${id} forgotten too often`);
    this.inodes.reclaim(inode);
  }

  async mkdir(
    parent: InodeId,
    name: Uint8Array,
    mode: number,
    caller: Caller,
  ): Promise<Attributes> {
    const directory = this.free(parent, name);
    const made = this.inodes.make(directory, "directory", mode, caller);
    this.attach(directory, name, made);
    made.nlink = 2;
    directory.nlink++;
    return this.known(made);
  }

  async mknod(
    parent: InodeId,
    name: Uint8Array,
    { type, mode, rdev }: { type: FileType; mode: number; rdev: number },
    caller: Caller,
  ): Promise<Attributes> {
    const directory = this.free(parent, name);
    const made = this.inodes.make(directory, type, mode, caller, { rdev });
    this.attach(directory, name, made);
    return this.known(made);
  }

  async symlink(
    parent: InodeId,
    name: Uint8Array,
    target: Uint8Array,
    caller: Caller,
  ): Promise<Attributes> {
    const directory = this.free(parent, name);
    const made = this.inodes.make(directory, "symlink", 0o777, caller, { target });
    this.attach(directory, name, made);
    return this.known(made);
  }

  async link(id: InodeId, parent: InodeId, name: Uint8Array): Promise<Attributes> {
    const inode = this.inodes.get(id);
    this.attach(this.free(parent, name), name, inode);
    inode.ctimeNs = this.inodes.now();
    return this.known(inode);
  }

  async unlink(parent: InodeId, name: Uint8Array): Promise<void> {
    const directory = this.inodes.directory(parent);
    const inode = this.child(directory, name);
    if (inode.type === "directory") throw new DfsError("isDirectory", keyOf(name));
    this.detach(directory, name, inode);
  }

  async rmdir(parent: InodeId, name: Uint8Array): Promise<void> {
    const directory = this.inodes.directory(parent);
    const inode = this.child(directory, name);
    if (inode.type !== "directory") throw new DfsError("notDirectory", keyOf(name));
    if (inode.entries.size > 0) throw new DfsError("notEmpty", keyOf(name));
    this.detach(directory, name, inode);
  }

  async rename(
    from: { parent: InodeId; name: Uint8Array },
    to: { parent: InodeId; name: Uint8Array },
    how: "replace" | "noReplace" | "exchange",
  ): Promise<void> {
    const source = this.inodes.directory(from.parent);
    const target = this.inodes.directory(to.parent);
    const moved = this.child(source, from.name);
    const there = target.entries.get(keyOf(to.name));
    const other = there && this.inodes.get(there.inode);
    if (how === "exchange" && other === undefined) throw new DfsError("notFound", keyOf(to.name));
    if (how === "noReplace" && other !== undefined) throw new DfsError("exists", keyOf(to.name));
    if (other === moved) return;
    if (how === "replace" && other?.type === "directory") await this.rmdir(to.parent, to.name);
    else if (how === "replace" && other !== undefined) await this.unlink(to.parent, to.name);
    this.place(source, from.name, how === "exchange" ? other : undefined, target);
    this.place(target, to.name, moved, source);
    for (const inode of [moved, source, target]) inode.ctimeNs = this.inodes.now();
  }

  async readlink(id: InodeId): Promise<Uint8Array> {
    return this.inodes.get(id).target;
  }

  // Attributes.

  async getattr(id: InodeId, _handle?: Handle, _signal?: CancelSignal): Promise<Attributes> {
    return this.inodes.attributes(this.inodes.get(id));
  }

  async setattr(id: InodeId, change: AttributeChange): Promise<Attributes> {
    const inode = this.inodes.get(id);
    this.inodes.change(inode, change);
    return this.inodes.attributes(inode);
  }

  async xattrGet(id: InodeId, name: Uint8Array): Promise<Uint8Array> {
    const value = this.inodes.get(id).xattrs.get(keyOf(name));
    if (value === undefined) throw new DfsError("noAttribute", keyOf(name));
    return value;
  }

  async xattrSet(
    id: InodeId,
    name: Uint8Array,
    value: Uint8Array,
    how: "any" | "create" | "replace",
  ): Promise<void> {
    const { xattrs } = this.inodes.get(id);
    const has = xattrs.has(keyOf(name));
    if (how === "create" && has) throw new DfsError("exists", keyOf(name));
    if (how === "replace" && !has) throw new DfsError("noAttribute", keyOf(name));
    xattrs.set(keyOf(name), value);
  }

  async xattrList(id: InodeId): Promise<readonly Uint8Array[]> {
    return [...this.inodes.get(id).xattrs.keys()].map(nameOf);
  }

  async xattrRemove(id: InodeId, name: Uint8Array): Promise<void> {
    if (!this.inodes.get(id).xattrs.delete(keyOf(name))) {
      throw new DfsError("noAttribute", keyOf(name));
    }
  }

  // Open files.

  async open(id: InodeId, flags: OpenFlags): Promise<OpenedFile> {
    return this.opened(this.inodes.get(id), flags);
  }

  async create(
    parent: InodeId,
    name: Uint8Array,
    file: { mode: number; exclusive: boolean; flags: OpenFlags },
    caller: Caller,
  ): Promise<OpenedFile> {
    const directory = this.inodes.directory(parent);
    const there = directory.entries.get(keyOf(name));
    if (there !== undefined && file.exclusive) throw new DfsError("exists", keyOf(name));
    if (there !== undefined) {
      const existing = this.inodes.get(there.inode);
      this.known(existing);
      return this.opened(existing, file.flags);
    }
    const made = this.inodes.make(directory, "file", file.mode, caller);
    this.attach(directory, name, made);
    this.known(made);
    return this.opened(made, file.flags);
  }

  async read(
    id: InodeId,
    handle: Handle,
    offset: number,
    length: number,
    signal?: CancelSignal,
  ): Promise<Uint8Array> {
    this.asked.reads++;
    await this.hold.pass(signal);
    return this.handle(id, handle).content.read(offset, length);
  }

  async write(
    id: InodeId,
    handle: Handle,
    offset: number,
    bytes: Uint8Array,
    options: { clearSetId?: boolean; atOffset?: boolean; signal?: CancelSignal } = {},
  ): Promise<void> {
    this.asked.writes++;
    const inode = this.handle(id, handle);
    const append = this.open_.get(handle)?.flags.append && !options.atOffset;
    inode.content.write(append ? inode.content.size : offset, bytes);
    if (options.clearSetId) clearSetId(inode);
    this.inodes.touched(inode);
  }

  async flush(id: InodeId, handle: Handle): Promise<void> {
    this.handle(id, handle);
  }

  async fsync(id: InodeId, handle: Handle, signal?: CancelSignal): Promise<void> {
    await this.hold.pass(signal);
    this.handle(id, handle);
  }

  async release(id: InodeId, handle: Handle): Promise<void> {
    this.releaseDirectory(id, handle);
  }

  releaseDirectory(id: InodeId, handle: Handle): void {
    const inode = this.handle(id, handle);
    this.open_.delete(handle);
    inode.opens--;
    this.inodes.reclaim(inode);
  }

  async allocate(...[id, handle, allocation, signal]: AllocateCall): Promise<void> {
    await this.hold.pass(signal);
    const { content } = this.handle(id, handle);
    const { how, offset, length, keepSize } = allocation;
    const end = offset + length;
    if (how === "collapseRange") content.shift(end, offset);
    else if (how === "insertRange") content.shift(offset, end);
    else if (how === "allocate")
      content.allocate(offset, keepSize ? Math.min(end, content.size) : end);
    else content.clear(offset, end);
    if (!keepSize && (how === "allocate" || how === "zeroRange")) {
      content.resize(Math.max(content.size, end));
    }
    this.inodes.touched(this.inodes.get(id));
  }

  async seek(...[id, handle, offset, what, signal]: SeekCall): Promise<number> {
    await this.hold.pass(signal);
    const found = this.handle(id, handle).content.seek(offset, what);
    if (found === undefined) throw new DfsError("noData", `no ${what} from ${offset} on`);
    return found;
  }

  async copyRange(...[from, to, length, signal]: CopyCall): Promise<number> {
    await this.hold.pass(signal);
    const bytes = this.handle(from.inode, from.handle).content.read(from.offset, length);
    await this.write(to.inode, to.handle, to.offset, bytes, { atOffset: true });
    return bytes.length;
  }

  // Open directories.

  async openDirectory(id: InodeId): Promise<Handle> {
    const directory = this.inodes.directory(id);
    const flags = { read: true, write: false, append: false, truncate: false };
    return this.opened(directory, { ...flags, sync: false, direct: false }).handle;
  }

  async list(id: InodeId, handle: Handle, cookie: bigint): Promise<readonly ListedEntry[]> {
    const directory = this.handle(id, handle);
    const listed = dotEntries(directory).filter((entry) => entry.cookie > cookie);
    const open = this.openOf(id, handle);
    if (cookie === 0n) {
      open.names = [...directory.entries].map(([key, entry]) => ({ key, ...entry }));
    }
    const start = behind(open.names, cookie);
    for (const { key, inode: child, cookie: own } of open.names.slice(start, start + PAGE)) {
      if (directory.entries.get(key)?.cookie !== own) continue; // gone meanwhile
      const inode = this.inodes.get(child);
      const attributes = this.inodes.attributes(inode);
      listed.push({ name: nameOf(key), inode: child, cookie: own, type: inode.type, attributes });
    }
    // All of a page may be gone: the next one then.
    const last = open.names[start + PAGE - 1];
    if (listed.length === 0 && last !== undefined) return this.list(id, handle, last.cookie);
    return listed;
  }

  took(entry: ListedEntry): void {
    this.asked.took++;
    this.known(this.inodes.get(entry.inode));
  }

  async fsyncDirectory(id: InodeId): Promise<void> {
    this.inodes.directory(id);
  }

  // Locks.

  async getLock(id: InodeId, lock: Lock): Promise<Lock | undefined> {
    return this.inodes.get(id).locks.inTheWay(lock);
  }

  async setLock(id: InodeId, lock: Lock, wait: boolean, signal?: CancelSignal): Promise<void> {
    await this.inodes.get(id).locks.set(lock, wait, signal);
  }

  async releaseLocks(id: InodeId, kind: Lock["kind"], owner: bigint): Promise<void> {
    this.inodes.get(id).locks.release(kind, owner);
  }

  async statfs(): Promise<Space> {
    const { count: inodes } = this.inodes;
    return { capacityBytes: 8 * GIB, availableBytes: 4 * GIB, inodes, blockSize: this.blockSize };
  }

  async stop(): Promise<void> {
    this.stopped = true;
  }

  /** The inode of a path from the root, for a test that plays another client. */
  at(path: string): MemoryInode {
    let inode = this.inodes.get(ROOT_INODE);
    for (const name of path.split("/").filter((part) => part !== "")) {
      inode = this.child(inode, nameOf(Buffer.from(name).toString("latin1")));
    }
    return inode;
  }

  private child(directory: MemoryInode, name: Uint8Array): MemoryInode {
    if (name.length > 255) throw new DfsError("nameTooLong", keyOf(name));
    const entry = directory.entries.get(keyOf(name));
    if (entry === undefined) throw new DfsError("notFound", `no ${keyOf(name)}`);
    return this.inodes.get(entry.inode);
  }

  private free(parent: InodeId, name: Uint8Array): MemoryInode {
    const directory = this.inodes.directory(parent);
    if (directory.entries.has(keyOf(name))) throw new DfsError("exists", keyOf(name));
    return directory;
  }

  private known(inode: MemoryInode): Attributes {
    inode.lookups++;
    return this.inodes.attributes(inode);
  }

  private attach(directory: MemoryInode, name: Uint8Array, inode: MemoryInode): void {
    directory.entries.set(keyOf(name), { inode: inode.id, cookie: this.nextCookie++ });
    inode.nlink++;
    this.inodes.touched(directory);
  }

  private detach(directory: MemoryInode, name: Uint8Array, inode: MemoryInode): void {
    directory.entries.delete(keyOf(name));
    this.inodes.touched(directory);
    inode.nlink -= inode.type === "directory" ? 2 : 1;
    if (inode.type === "directory") directory.nlink--;
    inode.ctimeNs = this.inodes.now();
    this.inodes.reclaim(inode);
  }

  /** Puts an inode that comes from another directory, or nothing, under a name. */
  private place(
    directory: MemoryInode,
    name: Uint8Array,
    inode: MemoryInode | undefined,
    other: MemoryInode,
  ): void {
    directory.entries.delete(keyOf(name));
    this.inodes.touched(directory);
    if (inode === undefined) return;
    directory.entries.set(keyOf(name), { inode: inode.id, cookie: this.nextCookie++ });
    if (inode.type !== "directory" || directory === other) return;
    inode.parent = directory.id;
    directory.nlink++;
    other.nlink--;
  }

  private opened(inode: MemoryInode, flags: OpenFlags): OpenedFile {
    const handle = this.nextHandle++;
    this.open_.set(handle, { inode, flags, names: [] });
    inode.opens++;
    if (flags.truncate) this.inodes.change(inode, { size: 0 });
    return { handle, attributes: this.inodes.attributes(inode), keepCache: true };
  }

  private handle(id: InodeId, handle: Handle): MemoryInode {
    return this.openOf(id, handle).inode;
  }

  private openOf(id: InodeId, handle: Handle): Open {
    const open = this.open_.get(handle);
    if (open?.inode.id !== id) throw new DfsError("internal", `no handle ${handle} of inode ${id}`);
    return open;
  }
}
