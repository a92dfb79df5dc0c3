/**
 * A client of a whole cluster as a tree. Each tree has a directory of its own as its top, so that one cluster serves all
 * cases.
 */
import type { Attributes, FileType } from "../../src/protocol/messages/common.ts";
import type { DfsClient, OpenFile } from "../../src/client/api.ts";
import { bytesOf } from "./support.ts";
import type { Feature, PathLike, Tree, TreeChange, TreeEntry, TreeFile, TreePut } from "./tree.ts";

const OWNER = { uid: 1000, gid: 1000 };

/** Connects one more client to the cluster. */
export type Connect = () => Promise<DfsClient>;

export class ClientTree implements Tree {
  readonly blockSize: number;
  readonly features: ReadonlySet<Feature> = new Set(["put", "owners", "holes", "together"]);
  readonly #client: DfsClient;
  readonly #top: string;
  readonly #connect: Connect;

  constructor(client: DfsClient, top: string, connect: Connect) {
    this.#client = client;
    this.#top = top;
    this.#connect = connect;
    this.blockSize = client.blockSize;
  }

  /** A tree below the new directory `top`, with a client of its own. */
  static async below(top: string, connect: Connect): Promise<ClientTree> {
    const client = await connect();
    await client.mkdir(bytesOf(top), { ...OWNER, mode: 0o755 });
    return new ClientTree(client, top, connect);
  }

  absolute(path: PathLike): Uint8Array {
    return Buffer.concat([bytesOf(this.#top), bytesOf(path)]);
  }

  async another(): Promise<ClientTree> {
    return new ClientTree(await this.#connect(), this.#top, this.#connect);
  }

  close(): Promise<void> {
    return this.#client.close();
  }

  stat(path: PathLike): Promise<Attributes> {
    return this.#client.stat(this.absolute(path), { follow: true });
  }

  lstat(path: PathLike): Promise<Attributes> {
    return this.#client.stat(this.absolute(path), { follow: false });
  }

  async readdir(path: PathLike): Promise<TreeEntry[]> {
    return Array.fromAsync(this.#client.readdir(this.absolute(path)));
  }

  async mkdir(path: PathLike, mode = 0o755): Promise<void> {
    await this.#client.mkdir(this.absolute(path), { ...OWNER, mode });
  }

  rmdir(path: PathLike): Promise<void> {
    return this.#client.rmdir(this.absolute(path));
  }

  unlink(path: PathLike): Promise<void> {
    return this.#client.unlink(this.absolute(path));
  }

  async symlink(target: PathLike, path: PathLike): Promise<void> {
    await this.#client.symlink(bytesOf(target), this.absolute(path), OWNER);
  }

  readlink(path: PathLike): Promise<Uint8Array> {
    return this.#client.readlink(this.absolute(path));
  }

  async link(existing: PathLike, path: PathLike): Promise<void> {
    await this.#client.link(this.absolute(existing), this.absolute(path));
  }

  rename(
    from: PathLike,
    to: PathLike,
    how: "replace" | "noReplace" | "exchange" = "replace",
  ): Promise<void> {
    return this.#client.rename(this.absolute(from), this.absolute(to), how);
  }

  async mknod(path: PathLike, type: FileType, rdev = 0): Promise<void> {
    await this.#client.mknod(this.absolute(path), type, rdev, { ...OWNER, mode: 0o644 });
  }

  async setattr(path: PathLike, change: TreeChange): Promise<void> {
    await this.#client.setattr(this.absolute(path), change, { follow: true });
  }

  async lsetattr(path: PathLike, change: TreeChange): Promise<void> {
    await this.#client.setattr(this.absolute(path), change, { follow: false });
  }

  xattrGet(path: PathLike, name: PathLike): Promise<Uint8Array> {
    return this.#client.xattrGet(this.absolute(path), bytesOf(name));
  }

  xattrSet(
    path: PathLike,
    name: PathLike,
    value: Uint8Array,
    how: "any" | "create" | "replace" = "any",
  ): Promise<void> {
    return this.#client.xattrSet(this.absolute(path), bytesOf(name), value, how);
  }

  xattrList(path: PathLike): Promise<Uint8Array[]> {
    return this.#client.xattrList(this.absolute(path));
  }

  xattrRemove(path: PathLike, name: PathLike): Promise<void> {
    return this.#client.xattrRemove(this.absolute(path), bytesOf(name));
  }

  async open(path: PathLike): Promise<TreeFile> {
    return fileOf(await this.#client.open(this.absolute(path)));
  }

  async create(
    path: PathLike,
    options: { readonly exclusive?: boolean; readonly mode?: number } = {},
  ): Promise<TreeFile> {
    const owner = { ...OWNER, mode: options.mode ?? 0o644 };
    const { exclusive = false } = options;
    return fileOf(await this.#client.create(this.absolute(path), owner, { exclusive }));
  }

  async put(path: PathLike, content: Uint8Array, options: TreePut = {}): Promise<void> {
    await this.#client.put(this.absolute(path), [content], {
      ...OWNER,
      mode: 0o644,
      keepReplaced: false,
      ...options,
    });
  }
}

function fileOf(file: OpenFile): TreeFile {
  return {
    inode: file.inode,
    read: (offset, length) => file.read(offset, length),
    write: (offset, bytes) => file.write(offset, bytes),
    truncate: (size) => file.truncate(size),
    flush: () => file.flush(),
    close: () => file.close(),
  };
}
