/**
 * Opens files: registers the open with the service and makes the handle; and keeps what is open in step with what the
 * service tells elsewhere.
 */
import { DfsError, isDfsError } from "../base/errors.ts";
import { ROOT_INODE, type InodeId } from "../base/ids.ts";
import { MAX_EXTENTS_PER_MESSAGE, MAX_FILE_BYTES } from "../base/limits.ts";
import { pathBase } from "../base/placement.ts";
import { commit } from "../protocol/messages/content.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import { create, map, open } from "../protocol/messages/namespace.ts";
import type { FileOwner, OpenFile, SetAttributes } from "./api.ts";
import type { Holder } from "./budget.ts";
import { FileMap, type MapPage } from "./file-map.ts";
import { FileReader } from "./file-reader.ts";
import type { Machinery } from "./machinery.ts";
import type { Names } from "./names.ts";
import { FileHandle } from "./open-file.ts";
import type { OpenInode, OpenInodeParts } from "./open-inode.ts";
import { normalisedPath, shownPath } from "./paths.ts";
import { WriteBack } from "./write-back.ts";

/** Extents that come with the reply to an open: all of a file of some hundred blocks. */
const FIRST_EXTENTS = 256;

export class FileOpener {
  private readonly machinery: Machinery;
  private readonly names: Names;
  private readonly readHolder: Holder;

  constructor(machinery: Machinery, names: Names) {
    this.machinery = machinery;
    this.names = names;
    this.readHolder = machinery.budget.holder();
  }

  /** Opens an existing regular file. @throws DfsError `notFound`, `isDirectory`, `invalid` (not a file), ... */
  open(path: Uint8Array): Promise<OpenFile> {
    return this.names.about(path, async () => {
      const { session, releases } = this.machinery;
      const request = { start: ROOT_INODE, path, limit: FIRST_EXTENTS };
      const { attributes, extents, more } = await session.ask(open, request);
      const { inode, type, version, size } = attributes;
      if (type !== "file") {
        releases.add(inode, 1, session.epoch);
        throw new DfsError(
          type === "directory" ? "isDirectory" : "invalid",
          `${shownPath(path)} is a ${type}, not a regular file`,
        );
      }
      return this.handle(attributes, path, { version, size, extents, more });
    });
  }

  /** Creates a regular file and opens it; an existing one is opened unless `exclusive`. */
  async create(path: Uint8Array, owner: FileOwner, exclusive: boolean): Promise<OpenFile> {
    const { session } = this.machinery;
    const { mode, uid, gid } = owner;
    const birth = { mode, uid, gid, base: pathBase(normalisedPath(path)) };
    try {
      return await this.names.atFile(path, async (place) => {
        const request = { ...place, ...birth, exclusive, open: true };
        const { attributes, created } = await session.change(create, request);
        const { version, size } = attributes;
        const page = created ? { version, size, extents: [], more: false } : undefined;
        return this.handle(attributes, path, page);
      });
    } catch (error) {
      // The name may be that of a symbolic link, which is followed to an existing file.
      if (exclusive || !isDfsError(error, "exists")) throw error;
      return this.open(path);
    }
  }

  /** Changes attributes, in step with what is open here. */
  async setattr(inode: InodeId, change: SetAttributes): Promise<Attributes> {
    const here = this.machinery.openFiles.get(inode);
    if (change.size !== undefined) await here?.flush();
    const attributes = await this.names.setattr(inode, change);
    here?.committed(attributes);
    return attributes;
  }

  /** Takes note of attributes that the service told; returns them as this client's user sees them. */
  heard(attributes: Attributes): Attributes {
    const here = this.machinery.openFiles.get(attributes.inode);
    if (here === undefined) return attributes;
    here.learn(attributes);
    return here.withUnstored(attributes);
  }

  private handle(attributes: Attributes, path: Uint8Array, page: MapPage | undefined): OpenFile {
    const { openFiles, session, budget } = this.machinery;
    const shown = shownPath(path);
    const inode = openFiles.enter(attributes, session.epoch, (_, self) =>
      this.parts(attributes, shown, self),
    );
    if (page !== undefined) inode.seed(page);
    return new FileHandle(inode, shown, budget, () => this.leave(inode));
  }

  private leave(inode: OpenInode): void {
    const { openFiles, releases } = this.machinery;
    if (!openFiles.leave(inode)) return;
    inode.abandon();
    releases.add(inode.inode, inode.opens, inode.epoch);
  }

  private parts(attributes: Attributes, path: string, self: () => OpenInode): OpenInodeParts {
    const { session, budget, store, fileReading } = this.machinery;
    const { inode, base } = attributes;
    const fileMap = new FileMap((offset) => this.fetchMap(inode, offset, self));
    const writeBack = new WriteBack({
      file: { inode, base },
      blockSize: session.settings.blockSize,
      store,
      holder: budget.holder(),
      reclaim: () => budget.reclaim(),
      epoch: () => session.epoch,
      commit: async (chunks, epoch) => {
        const blocks = chunks.map((chunk) => chunk.block);
        const extents = chunks.map((chunk) => chunk.extent);
        const request = { inode, blocks, extents, size: null, mtimeNs: null };
        return (await session.change(commit, request, { epoch })).attributes;
      },
      onCommitted: (now) => self().committed(now),
    });
    return {
      path,
      reader: new FileReader(fileReading, { path }, fileMap),
      writeBack,
      newHolder: () => budget.holder(),
      readHolder: this.readHolder,
      setSize: (target, size) => this.names.setattr(target, { size }),
    };
  }

  private async fetchMap(inode: InodeId, offset: number, self: () => OpenInode): Promise<MapPage> {
    const page = await this.machinery.session.ask(map, {
      inode,
      offset,
      length: MAX_FILE_BYTES - offset,
      limit: MAX_EXTENTS_PER_MESSAGE,
    });
    self().learnSize(page.version, page.size);
    return page;
  }
}
