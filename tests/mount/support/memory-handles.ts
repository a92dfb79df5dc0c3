// Open files and directories of the file system in memory, and what it tells of itself.

import type { InodeId } from "../../../src/base/ids.ts";
import type { ListedEntry, OpenFlags } from "../../../src/mount/file-system.ts";
import { nameOf, type MemoryInode } from "./memory-inodes.ts";

export interface MemoryState {
  readonly inodes: number;
  readonly open: number;
  readonly waitingLocks: number;
  readonly lookups: number;
  /** Entries of listings that the kernel was given with their attributes. */
  readonly took: number;
  readonly writes: number;
  readonly reads: number;
  /** Calls that are being held. */
  readonly held: number;
}

export interface Open {
  readonly inode: MemoryInode;
  readonly flags: OpenFlags;
  /** Of a directory: the names that it had when it was listed from the start, by rising cookie. */
  names: readonly { readonly key: string; readonly inode: InodeId; readonly cookie: bigint }[];
}

/** Index of the first element behind the cookie. */
export function behind(names: Open["names"], cookie: bigint): number {
  let low = 0;
  let high = names.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((names[middle]?.cookie ?? 0n) <= cookie) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** `.` and `..` of a directory, with cookies 1 and 2. */
export function dotEntries({ id, parent }: MemoryInode): ListedEntry[] {
  const directory = { type: "directory", attributes: undefined } as const;
  return [
    { ...directory, name: nameOf("."), inode: id, cookie: 1n },
    { ...directory, name: nameOf(".."), inode: parent, cookie: 2n },
  ];
}
