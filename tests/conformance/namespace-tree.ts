/**
 * The namespace logic as a tree: every call is the operations that a client would send, straight to the metadata
 * operations. Blocks are kept in a map by their ids, so that reads return real bytes through real extents.
 */
import { DfsError } from "../../src/base/errors.ts";
import { ROOT_INODE, type BlockId, type InodeId, type ServerId } from "../../src/base/ids.ts";
import { blockChecksum } from "../../src/base/checksum.ts";
import { groupOf, pathBase } from "../../src/base/placement.ts";
import type {
  Attributes,
  FileType,
  NewBlock,
  NewExtent,
} from "../../src/protocol/messages/common.ts";
import * as content from "../../src/protocol/messages/content.ts";
import * as names from "../../src/protocol/messages/namespace.ts";
import * as operations from "../../src/server/meta/namespace/operations.ts";
import { SERVERS, type Harness, type TestSession } from "../server/meta/namespace/harness.ts";
import { bytesOf } from "./support.ts";
import type { Feature, PathLike, Tree, TreeChange, TreeEntry, TreeFile, TreePut } from "./tree.ts";

const SLASH = 0x2f;

/** Names in one page of a listing, extents in one page of a map; small, so that paging happens. */
const ENTRIES_PER_PAGE = 3;
const EXTENTS_PER_PAGE = 2;

const OWNER = { uid: 1000, gid: 1000 };

/** Blocks by id: what the data servers would hold. */
export type BlockMap = Map<BlockId, Uint8Array>;

interface NewContent {
  readonly blocks: NewBlock[];
  readonly extents: NewExtent[];
}

export class NamespaceTree implements Tree {
  readonly blockSize: number;
  readonly features: ReadonlySet<Feature> = new Set(["put", "owners", "holes", "together"]);
  readonly session: TestSession;
  readonly #harness: Harness;
  readonly #blocks: BlockMap;

  private constructor(harness: Harness, session: TestSession, blocks: BlockMap) {
    this.#harness = harness;
    this.session = session;
    this.#blocks = blocks;
    this.blockSize = harness.settings.blockSize;
  }

  static async over(harness: Harness, blocks: BlockMap = new Map()): Promise<NamespaceTree> {
    return new NamespaceTree(harness, await harness.openSession(), blocks);
  }

  absolute(path: PathLike): Uint8Array {
    return bytesOf(path);
  }

  another(): Promise<NamespaceTree> {
    return NamespaceTree.over(this.#harness, this.#blocks);
  }

  close(): Promise<void> {
    return this.session.end();
  }

  stat(path: PathLike): Promise<Attributes> {
    return this.#resolve(path, true);
  }

  lstat(path: PathLike): Promise<Attributes> {
    return this.#resolve(path, false);
  }

  async readdir(path: PathLike): Promise<TreeEntry[]> {
    const directory = (await this.stat(path)).inode;
    const all: TreeEntry[] = [];
    for (let after: Uint8Array | null = null; ;) {
      const page: operations.Done<typeof names.readdir> = await this.session.ask(
        operations.readdir,
        { directory, after, limit: ENTRIES_PER_PAGE, withAttributes: all.length % 2 === 0 },
      );
      all.push(...page.entries);
      after = page.entries.at(-1)?.name ?? null;
      if (!page.more || after === null) return all;
    }
  }

  async mkdir(path: PathLike, mode = 0o755): Promise<void> {
    const place = await this.#place(path);
    await this.session.change(names.mkdir, operations.mkdir, { ...place, ...OWNER, mode });
  }

  async rmdir(path: PathLike): Promise<void> {
    await this.session.change(names.rmdir, operations.rmdir, await this.#place(path));
  }

  async unlink(path: PathLike): Promise<void> {
    await this.session.change(names.unlink, operations.unlink, await this.#filePlace(path));
  }

  async symlink(target: PathLike, path: PathLike): Promise<void> {
    const body = { ...(await this.#filePlace(path)), ...OWNER, target: bytesOf(target) };
    await this.session.change(names.symlink, operations.symlink, body);
  }

  async readlink(path: PathLike): Promise<Uint8Array> {
    const { inode } = await this.lstat(path);
    return (await this.session.ask(operations.readlink, { inode })).target;
  }

  async link(existing: PathLike, path: PathLike): Promise<void> {
    const { inode } = await this.lstat(existing);
    const place = await this.#filePlace(path);
    await this.session.change(names.link, operations.link, { inode, ...place });
  }

  async rename(
    from: PathLike,
    to: PathLike,
    how: "replace" | "noReplace" | "exchange" = "replace",
  ): Promise<void> {
    const source = await this.#place(from);
    const target = await this.#place(to);
    const body = { ...source, newParent: target.parent, newName: target.name, how };
    await this.session.change(names.rename, operations.rename, body);
  }

  async mknod(path: PathLike, type: FileType, rdev = 0): Promise<void> {
    const body = { ...(await this.#filePlace(path)), ...OWNER, mode: 0o644, type, rdev };
    await this.session.change(names.mknod, operations.mknod, body);
  }

  async setattr(path: PathLike, change: TreeChange): Promise<void> {
    await this.#change((await this.stat(path)).inode, change);
  }

  async lsetattr(path: PathLike, change: TreeChange): Promise<void> {
    await this.#change((await this.lstat(path)).inode, change);
  }

  async xattrGet(path: PathLike, name: PathLike): Promise<Uint8Array> {
    const { inode } = await this.stat(path);
    return (await this.session.ask(operations.xattrGet, { inode, name: bytesOf(name) })).value;
  }

  async xattrSet(
    path: PathLike,
    name: PathLike,
    value: Uint8Array,
    how: "any" | "create" | "replace" = "any",
  ): Promise<void> {
    const { inode } = await this.stat(path);
    const body = { inode, name: bytesOf(name), value, how };
    await this.session.change(names.xattrSet, operations.xattrSet, body);
  }

  async xattrList(path: PathLike): Promise<Uint8Array[]> {
    const { inode } = await this.stat(path);
    return (await this.session.ask(operations.xattrList, { inode })).names;
  }

  async xattrRemove(path: PathLike, name: PathLike): Promise<void> {
    const { inode } = await this.stat(path);
    const body = { inode, name: bytesOf(name) };
    await this.session.change(names.xattrRemove, operations.xattrRemove, body);
  }

  async open(path: PathLike): Promise<TreeFile> {
    const { attributes } = await this.session.ask(operations.open, {
      start: ROOT_INODE,
      path: bytesOf(path),
      limit: EXTENTS_PER_PAGE,
    });
    if (attributes.type === "directory") {
      await this.session.ask(operations.release, { inodes: [attributes.inode] });
      throw new DfsError("isDirectory", "cannot open a directory as a file");
    }
    return this.#file(attributes);
  }

  async create(
    path: PathLike,
    options: { readonly exclusive?: boolean; readonly mode?: number } = {},
  ): Promise<TreeFile> {
    const { attributes } = await this.session.change(names.create, operations.create, {
      ...(await this.#filePlace(path)),
      ...OWNER,
      mode: options.mode ?? 0o644,
      base: pathBase(bytesOf(path)),
      exclusive: options.exclusive ?? false,
      open: true,
    });
    return this.#file(attributes);
  }

  async put(path: PathLike, bytes: Uint8Array, options: TreePut = {}): Promise<void> {
    const place = await this.#filePlace(path);
    const base = pathBase(bytesOf(path));
    const { mode = 0o644, uid = OWNER.uid, gid = OWNER.gid } = options;
    const takeover = {
      ...place,
      exclusive: options.exclusive ?? false,
      keepReplaced: options.keepReplaced ?? false,
      atimeNs: options.atimeNs ?? null,
      mtimeNs: options.mtimeNs ?? null,
    };
    const birth = { mode, uid, gid, base };
    // Two ways to the same end: small files in one change, larger ones in several.
    if (bytes.length <= this.blockSize) {
      const body = { ...birth, ...takeover, ...(await this.#store(base, 0, bytes)) };
      await this.session.change(content.put, operations.put, { ...body, size: bytes.length });
      return;
    }
    const { attributes } = await this.session.change(content.nameless, operations.nameless, birth);
    const file = this.#file(attributes);
    try {
      await file.write(0, bytes);
      const body = { inode: attributes.inode, ...takeover };
      await this.session.change(content.place, operations.place, body);
    } finally {
      await file.close();
    }
  }

  #file(attributes: Attributes): TreeFile {
    const { inode, base } = attributes;
    const commit = async (offset: number, bytes: Uint8Array): Promise<void> => {
      const body = {
        inode,
        ...(await this.#store(base, offset, bytes)),
        size: null,
        mtimeNs: null,
        expectedSize: null,
      };
      await this.session.change(content.commit, operations.commit, body);
    };
    return {
      inode,
      read: (offset, length) => this.#read(inode, offset, length),
      write: (offset, bytes) => commit(offset, bytes),
      truncate: (size) => this.#change(inode, { size }),
      flush: () => Promise.resolve(),
      close: async () => {
        await this.session.ask(operations.release, { inodes: [inode] });
      },
    };
  }

  /** Cuts bytes into blocks, reserves ids for them and keeps them. */
  async #store(base: number, offset: number, bytes: Uint8Array): Promise<NewContent> {
    const runs: { readonly offset: number; readonly bytes: Uint8Array }[] = [];
    for (let at = 0; at < bytes.length;) {
      const room = this.blockSize - ((offset + at) % this.blockSize);
      runs.push({ offset: offset + at, bytes: bytes.slice(at, at + room) });
      at += room;
    }
    if (runs.length === 0) return { blocks: [], extents: [] };
    const reserved = { count: runs.length };
    const { first } = await this.session.change(content.reserve, operations.reserve, reserved);
    const made: NewContent = { blocks: [], extents: [] };
    runs.forEach((run, index) => {
      const block = (first + BigInt(index)) as BlockId;
      this.#blocks.set(block, run.bytes);
      made.blocks.push({
        block,
        length: run.bytes.length,
        checksum: blockChecksum(run.bytes),
        group: groupOf(base, Math.floor(run.offset / this.blockSize)),
        servers: copiesFor(index),
        incarnations: null,
      });
      made.extents.push({ offset: run.offset, length: run.bytes.length, block, blockOffset: 0 });
    });
    return made;
  }

  async #read(inode: InodeId, offset: number, length: number): Promise<Uint8Array> {
    const { size } = await this.session.ask(operations.map, { inode, offset, length, limit: 1 });
    const result = new Uint8Array(Math.max(0, Math.min(length, size - offset)));
    for (let from = offset; from < offset + result.length;) {
      const body = { inode, offset: from, length: offset + result.length - from };
      const page = await this.session.ask(operations.map, { ...body, limit: EXTENTS_PER_PAGE });
      for (const extent of page.extents) {
        const block = this.#blocks.get(extent.block);
        if (block === undefined || blockChecksum(block) !== extent.checksum) {
          throw new DfsError("io", `block ${extent.block} does not match its checksum`);
        }
        const bytes = block.subarray(extent.blockOffset, extent.blockOffset + extent.length);
        const start = Math.max(offset, extent.offset);
        const end = Math.min(offset + result.length, extent.offset + extent.length);
        result.set(bytes.subarray(start - extent.offset, end - extent.offset), start - offset);
        from = end;
      }
      if (!page.more) break;
    }
    return result;
  }

  async #resolve(path: PathLike, followLast: boolean): Promise<Attributes> {
    const body = { start: ROOT_INODE, path: bytesOf(path), followLast };
    return (await this.session.ask(operations.resolve, body)).attributes;
  }

  async #change(inode: InodeId, change: TreeChange): Promise<void> {
    const { mode = null, uid = null, gid = null, size = null, atimeNs, mtimeNs } = change;
    await this.session.change(names.setattr, operations.setattr, {
      inode,
      mode,
      uid,
      gid,
      size,
      atimeNs: typeof atimeNs === "bigint" ? atimeNs : null,
      mtimeNs: typeof mtimeNs === "bigint" ? mtimeNs : null,
      atimeNow: atimeNs === "now",
      mtimeNow: mtimeNs === "now",
    });
  }

  /** The directory of the last name; what ends in a slash may only be a directory. */
  async #place(path: PathLike): Promise<{ parent: InodeId; name: Uint8Array }> {
    const bytes = bytesOf(path);
    let end = bytes.length;
    while (end > 0 && bytes[end - 1] === SLASH) end--;
    const start = bytes.lastIndexOf(SLASH, end - 1) + 1;
    const parent = await this.#resolve(bytes.subarray(0, start), true);
    return { parent: parent.inode, name: end === 0 ? bytesOf(".") : bytes.subarray(start, end) };
  }

  async #filePlace(path: PathLike): Promise<{ parent: InodeId; name: Uint8Array }> {
    const place = await this.#place(path);
    if (bytesOf(path).at(-1) !== SLASH) return place;
    throw new DfsError("notDirectory", "a path that ends in a slash can only be a directory");
  }
}

/** Servers that acknowledged a block: three, or two for every fifth one. */
function copiesFor(index: number): ServerId[] {
  const copies = index % 5 === 4 ? 2 : 3;
  return Array.from(
    { length: copies },
    (_, rank) => SERVERS[(index + rank) % SERVERS.length] as ServerId,
  );
}
