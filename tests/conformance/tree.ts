/**
 * A file tree as the conformance cases see it. The namespace logic alone, a client of a whole cluster, and a mount can
 * each be one; the cases are the same for all.
 *
 * Paths begin with `/` and are taken from the tree's own top, which need not be the root of the file system. Failures are
 * DfsErrors or errors of system calls; cases name the errno that they stand for.
 */
import type { FileType } from "../../src/protocol/messages/common.ts";

export type PathLike = string | Uint8Array;

/** What stat tells. */
export interface TreeAttributes {
  readonly inode: bigint;
  readonly type: FileType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly size: number;
  /** Bytes that are not holes. */
  readonly allocated: number;
  readonly rdev: number;
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

export interface TreeEntry {
  readonly name: Uint8Array;
  readonly inode: bigint;
  readonly type: FileType;
}

export interface TreeChange {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  readonly atimeNs?: bigint | "now";
  readonly mtimeNs?: bigint | "now";
}

export interface TreeFile {
  readonly inode: bigint;
  read(offset: number, length: number): Promise<Uint8Array>;
  /** What was written is to be read by every later open after `flush` or `close`. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  truncate(size: number): Promise<void>;
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** How a file appears whole (`put`). */
export interface TreePut {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly keepReplaced?: boolean;
  readonly exclusive?: boolean;
  readonly atimeNs?: bigint;
  readonly mtimeNs?: bigint;
}

/**
 * What not every tree can do.
 * - put: files that appear whole, with the given owner and times.
 * - owners: chown to anybody, device nodes.
 * - holes: `allocated` counts exactly the bytes that were written.
 * - together: what is asked for at once is done at once. System calls of one thread wait for each other.
 */
export type Feature = "put" | "owners" | "holes" | "together";

export interface Tree {
  /** Files are cut into blocks of so many bytes. */
  readonly blockSize: number;
  readonly features: ReadonlySet<Feature>;
  /** The path as an absolute symbolic link's target has to give it. */
  absolute(path: PathLike): Uint8Array;
  /** The same tree as another user of the file system sees it, with a session of its own. */
  another(): Promise<Tree>;
  /** Ends the session that the tree uses. */
  close(): Promise<void>;

  stat(path: PathLike): Promise<TreeAttributes>;
  /** As `stat`, of a symbolic link itself. */
  lstat(path: PathLike): Promise<TreeAttributes>;
  /** All entries but `.` and `..`. */
  readdir(path: PathLike): Promise<TreeEntry[]>;
  mkdir(path: PathLike, mode?: number): Promise<void>;
  rmdir(path: PathLike): Promise<void>;
  unlink(path: PathLike): Promise<void>;
  symlink(target: PathLike, path: PathLike): Promise<void>;
  readlink(path: PathLike): Promise<Uint8Array>;
  link(existing: PathLike, path: PathLike): Promise<void>;
  rename(from: PathLike, to: PathLike, how?: "replace" | "noReplace" | "exchange"): Promise<void>;
  mknod(path: PathLike, type: FileType, rdev?: number): Promise<void>;
  setattr(path: PathLike, change: TreeChange): Promise<void>;
  /** As `setattr`, of a symbolic link itself. */
  lsetattr(path: PathLike, change: TreeChange): Promise<void>;
  xattrGet(path: PathLike, name: PathLike): Promise<Uint8Array>;
  xattrSet(
    path: PathLike,
    name: PathLike,
    value: Uint8Array,
    how?: "any" | "create" | "replace",
  ): Promise<void>;
  xattrList(path: PathLike): Promise<Uint8Array[]>;
  xattrRemove(path: PathLike, name: PathLike): Promise<void>;
  /** Opens an existing regular file. */
  open(path: PathLike): Promise<TreeFile>;
  create(
    path: PathLike,
    options?: { readonly exclusive?: boolean; readonly mode?: number },
  ): Promise<TreeFile>;
  put(path: PathLike, content: Uint8Array, options?: TreePut): Promise<void>;
}

/** One rule of the file system. It throws when the rule does not hold. */
export interface Case {
  readonly name: string;
  /** The case is left out for trees that lack one of these. */
  readonly needs?: readonly Feature[];
  run(tree: Tree): Promise<void>;
}

/** Cases about one subject. */
export interface Topic {
  readonly topic: string;
  readonly cases: readonly Case[];
}
