/**
 * A mount as a tree: every operation is a system call of this process. Each tree has a directory of its own as its top, so that
 * the same mounts serve all cases; `another` is the same directory through another mount.
 */
import * as fs from "node:fs";
import type { FileType } from "../../src/protocol/messages/common.ts";
import * as posix from "../mount/support/system-calls.ts";
import { bytesOf } from "./support.ts";
import type {
  Feature,
  PathLike,
  Tree,
  TreeAttributes,
  TreeChange,
  TreeEntry,
  TreeFile,
} from "./tree.ts";

const TYPE_BITS: Readonly<Record<FileType, number>> = {
  fifo: 0o010000,
  characterDevice: 0o020000,
  directory: 0o040000,
  blockDevice: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
};
const TYPE_OF = new Map(Object.entries(TYPE_BITS).map(([type, bits]) => [bits, type as FileType]));

const RENAME_FLAGS = { replace: 0, noReplace: 1, exchange: 2 } as const; // linux/fs.h
const XATTR_FLAGS = { any: 0, create: 1, replace: 2 } as const; // linux/xattr.h
const { O_RDWR, O_CREAT, O_EXCL } = fs.constants;

export class MountTree implements Tree {
  readonly blockSize: number;
  /** A mount counts space in units of 512 bytes, and nothing appears there whole. */
  readonly features: ReadonlySet<Feature> = new Set(["owners"]);
  readonly #mounts: readonly string[];
  readonly #top: string;
  readonly #open = new Set<number>();

  /** @param mounts mount points of one cluster; the tree is seen through the first. */
  constructor(mounts: readonly string[], top: string, blockSize: number) {
    this.#mounts = mounts;
    this.#top = top;
    this.blockSize = blockSize;
  }

  absolute(path: PathLike): Uint8Array {
    return Buffer.concat([bytesOf(`${this.#mounts[0]}${this.#top}`), bytesOf(path)]);
  }

  async another(): Promise<MountTree> {
    const [first, ...others] = this.#mounts;
    return new MountTree([...others, first ?? ""], this.#top, this.blockSize);
  }

  /** A session that ends gives up its open files. */
  async close(): Promise<void> {
    for (const fd of this.#open) fs.closeSync(fd);
    this.#open.clear();
  }

  async stat(path: PathLike): Promise<TreeAttributes> {
    return attributesOf(fs.statSync(this.#path(path), { bigint: true }));
  }

  async lstat(path: PathLike): Promise<TreeAttributes> {
    return attributesOf(fs.lstatSync(this.#path(path), { bigint: true }));
  }

  async readdir(path: PathLike): Promise<TreeEntry[]> {
    const directory = this.#path(path);
    return fs.readdirSync(directory, { encoding: "buffer" }).map((name) => {
      const entry = Buffer.concat([directory, bytesOf("/"), name]);
      const { inode, type } = attributesOf(fs.lstatSync(entry, { bigint: true }));
      return { name: new Uint8Array(name), inode, type };
    });
  }

  async mkdir(path: PathLike, mode = 0o755): Promise<void> {
    fs.mkdirSync(this.#path(path), { mode });
  }

  async rmdir(path: PathLike): Promise<void> {
    fs.rmdirSync(this.#path(path));
  }

  async unlink(path: PathLike): Promise<void> {
    fs.unlinkSync(this.#path(path));
  }

  async symlink(target: PathLike, path: PathLike): Promise<void> {
    posix.symlink(target, this.#path(path));
  }

  async readlink(path: PathLike): Promise<Uint8Array> {
    return new Uint8Array(fs.readlinkSync(this.#path(path), { encoding: "buffer" }));
  }

  async link(existing: PathLike, path: PathLike): Promise<void> {
    fs.linkSync(this.#path(existing), this.#path(path));
  }

  async rename(
    from: PathLike,
    to: PathLike,
    how: "replace" | "noReplace" | "exchange" = "replace",
  ): Promise<void> {
    posix.rename(this.#path(from), this.#path(to), RENAME_FLAGS[how]);
  }

  async mknod(path: PathLike, type: FileType, rdev = 0): Promise<void> {
    posix.mknod(this.#path(path), TYPE_BITS[type] | 0o644, rdev);
  }

  async setattr(path: PathLike, change: TreeChange): Promise<void> {
    this.#setattr(path, change, true);
  }

  async lsetattr(path: PathLike, change: TreeChange): Promise<void> {
    this.#setattr(path, change, false);
  }

  async xattrGet(path: PathLike, name: PathLike): Promise<Uint8Array> {
    return posix.xattrGet(this.#path(path), name);
  }

  async xattrSet(
    path: PathLike,
    name: PathLike,
    value: Uint8Array,
    how: "any" | "create" | "replace" = "any",
  ): Promise<void> {
    posix.xattrSet(this.#path(path), name, value, XATTR_FLAGS[how]);
  }

  async xattrList(path: PathLike): Promise<Uint8Array[]> {
    return posix.xattrList(this.#path(path));
  }

  async xattrRemove(path: PathLike, name: PathLike): Promise<void> {
    posix.xattrRemove(this.#path(path), name);
  }

  async open(path: PathLike): Promise<TreeFile> {
    return this.#fileOf(fs.openSync(this.#path(path), O_RDWR));
  }

  async create(
    path: PathLike,
    options: { readonly exclusive?: boolean; readonly mode?: number } = {},
  ): Promise<TreeFile> {
    const flags = O_RDWR | O_CREAT | (options.exclusive === true ? O_EXCL : 0);
    return this.#fileOf(fs.openSync(this.#path(path), flags, options.mode ?? 0o644));
  }

  async put(): Promise<void> {
    throw new Error("nothing appears whole on a mount: this tree has no such feature");
  }

  #path(path: PathLike): Buffer {
    const absolute = Buffer.from(this.absolute(path));
    posix.cString(absolute); // a zero byte is refused here, with the error that the cases expect
    return absolute;
  }

  /** As programs do: one system call for each kind of change, the owner before the mode, which it may clear bits of. */
  #setattr(path: PathLike, change: TreeChange, follow: boolean): void {
    const absolute = this.#path(path);
    const { size, uid, gid, mode, atimeNs, mtimeNs } = change;
    if (size !== undefined) posix.truncate(absolute, size);
    if (uid !== undefined || gid !== undefined) {
      const ids = { ...(uid === undefined ? {} : { uid }), ...(gid === undefined ? {} : { gid }) };
      posix.chown(absolute, ids, follow);
    }
    if (mode !== undefined) posix.chmod(absolute, mode, follow);
    if (atimeNs !== undefined || mtimeNs !== undefined) {
      posix.setTimes(absolute, atimeNs, mtimeNs, follow);
    }
  }

  #fileOf(fd: number): TreeFile {
    this.#open.add(fd);
    return {
      inode: fs.fstatSync(fd, { bigint: true }).ino,
      read: async (offset, length) => readWhole(fd, offset, length),
      write: async (offset, bytes) => writeWhole(fd, offset, bytes),
      truncate: async (size) => fs.ftruncateSync(fd, size),
      flush: async () => fs.fsyncSync(fd),
      close: async () => {
        this.#open.delete(fd);
        fs.closeSync(fd);
      },
    };
  }
}

function readWhole(fd: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const count = fs.readSync(fd, bytes, done, length - done, offset + done);
    if (count === 0) break;
    done += count;
  }
  return bytes.slice(0, done);
}

function writeWhole(fd: number, offset: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) {
    done += fs.writeSync(fd, bytes, done, bytes.length - done, offset + done);
  }
}

function attributesOf(stats: fs.BigIntStats): TreeAttributes {
  const type = TYPE_OF.get(Number(stats.mode & 0o170000n));
  if (type === undefined) throw new Error(`stat tells an unknown type: mode ${stats.mode}`);
  return {
    inode: stats.ino,
    type,
    mode: Number(stats.mode & 0o7777n),
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    nlink: Number(stats.nlink),
    size: Number(stats.size),
    allocated: Number(stats.blocks) * 512,
    rdev: Number(stats.rdev),
    atimeNs: stats.atimeNs,
    mtimeNs: stats.mtimeNs,
    ctimeNs: stats.ctimeNs,
  };
}
