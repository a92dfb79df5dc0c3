// Inodes of the file system in memory: what stat(2) tells, content, entries, attributes; who still refers to them.

import { DfsError } from "../../../src/base/errors.ts";
import { inodeId, ROOT_INODE, type InodeId } from "../../../src/base/ids.ts";
import type { AttributeChange, Caller } from "../../../src/mount/file-system.ts";
import type { Attributes, FileType } from "../../../src/protocol/messages/common.ts";
import { MemoryContent } from "./memory-content.ts";
import { MemoryLocks } from "./memory-locks.ts";

/** Names are bytes: each byte becomes one character. */
export const keyOf = (name: Uint8Array): string => Buffer.from(name).toString("latin1");
export const nameOf = (key: string): Uint8Array => new Uint8Array(Buffer.from(key, "latin1"));

export interface MemoryInode {
  readonly id: InodeId;
  readonly type: FileType;
  mode: number;
  uid: number;
  gid: number;
  nlink: number;
  readonly rdev: number;
  atimeNs: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
  version: bigint;
  parent: InodeId;
  readonly content: MemoryContent;
  /** Entries of a directory with the cookies that they keep, in the order of their making. */
  readonly entries: Map<string, { readonly inode: InodeId; readonly cookie: bigint }>;
  readonly target: Uint8Array;
  readonly xattrs: Map<string, Uint8Array>;
  readonly locks: MemoryLocks;
  lookups: bigint;
  opens: number;
}

export class MemoryInodes {
  private readonly inodes = new Map<InodeId, MemoryInode>();
  private nextId = 2n;
  private lastNs = 0n;

  constructor() {
    const caller = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, pid: 0 };
    this.add(ROOT_INODE, "directory", 0o755, caller, ROOT_INODE).nlink = 2;
  }

  /** For tests that want numbers beyond 2^53. */
  startAt(id: bigint): void {
    this.nextId = id;
  }

  get count(): number {
    return this.inodes.size;
  }

  /** Locks that somebody waits for. */
  get waitingLocks(): number {
    return [...this.inodes.values()].reduce((sum, inode) => sum + inode.locks.waitingCount, 0);
  }

  get(id: InodeId): MemoryInode {
    const inode = this.inodes.get(id);
    if (inode === undefined) throw new DfsError("stale", `no inode ${id}`);
    return inode;
  }

  directory(id: InodeId): MemoryInode {
    const inode = this.get(id);
    if (inode.type !== "directory") throw new DfsError("notDirectory", `inode ${id}`);
    return inode;
  }

  make(
    parent: MemoryInode,
    type: FileType,
    mode: number,
    caller: Caller,
    more: { readonly rdev?: number; readonly target?: Uint8Array } = {},
  ): MemoryInode {
    return this.add(inodeId(this.nextId++), type, mode, caller, parent.id, more);
  }

  /** Now, never twice the same. */
  now(): bigint {
    const ns = BigInt(Date.now()) * 1_000_000n;
    this.lastNs = ns > this.lastNs ? ns : this.lastNs + 1n;
    return this.lastNs;
  }

  /** Content or entries have changed. */
  touched(inode: MemoryInode): void {
    inode.mtimeNs = inode.ctimeNs = this.now();
    inode.version++;
  }

  change(inode: MemoryInode, change: AttributeChange): void {
    if (change.size !== undefined) {
      inode.content.resize(change.size);
      this.touched(inode);
    }
    if (change.clearSetId && inode.type === "file") clearSetId(inode);
    inode.mode = change.mode ?? inode.mode;
    inode.uid = change.uid ?? inode.uid;
    inode.gid = change.gid ?? inode.gid;
    inode.atimeNs = this.time(change.atimeNs) ?? inode.atimeNs;
    inode.mtimeNs = this.time(change.mtimeNs) ?? inode.mtimeNs;
    inode.ctimeNs = this.now();
  }

  /** Forgets an inode that nobody refers to. */
  reclaim(inode: MemoryInode): void {
    if (inode.nlink === 0 && inode.lookups === 0n && inode.opens === 0)
      this.inodes.delete(inode.id);
  }

  attributes(inode: MemoryInode): Attributes {
    const { id, type, mode, uid, gid, nlink, rdev, atimeNs, mtimeNs, ctimeNs, version } = inode;
    const size = type === "symlink" ? inode.target.length : inode.content.size;
    const allocated = inode.content.allocatedBytes;
    const shown = { inode: id, type, mode, uid, gid, nlink, rdev, atimeNs, mtimeNs, ctimeNs };
    return { ...shown, version, size, allocated, base: 0 };
  }

  private time(value: bigint | "now" | undefined): bigint | undefined {
    return value === "now" ? this.now() : value;
  }

  private add(
    id: InodeId,
    type: FileType,
    mode: number,
    { uid, gid }: Caller,
    parent: InodeId,
    { rdev = 0, target = new Uint8Array() }: { rdev?: number; target?: Uint8Array } = {},
  ): MemoryInode {
    const now = this.now();
    const times = { atimeNs: now, mtimeNs: now, ctimeNs: now };
    const parts = { content: new MemoryContent(), entries: new Map(), xattrs: new Map() };
    const counts = { nlink: 0, version: 1n, lookups: 0n, opens: 0 };
    const locks = new MemoryLocks();
    const base = { id, type, mode, uid, gid, rdev, parent, target, locks };
    const inode: MemoryInode = { ...base, ...times, ...parts, ...counts };
    this.inodes.set(id, inode);
    return inode;
  }
}

export function clearSetId(inode: MemoryInode): void {
  inode.mode &= (inode.mode & 0o010) === 0 ? ~0o4000 : ~0o6000;
}
