/**
 * Opens files: registers the open with the service and makes the handle; and keeps what is open in step with what the
 * service tells elsewhere.
 */
import type { CancelSignal } from "../base/cancellation.ts";
import { DfsError, isDfsError } from "../base/errors.ts";
import { ROOT_INODE, type InodeId } from "../base/ids.ts";
import { MAX_EXTENTS_PER_MESSAGE, MAX_FILE_BYTES } from "../base/limits.ts";
import { pathBase } from "../base/placement.ts";
import type { DirectoryPage } from "../protocol/directory-page.ts";
import { commit } from "../protocol/messages/content.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import { create, map, open } from "../protocol/messages/namespace.ts";
import type { AccessTimes } from "./access-times.ts";
import type { FileOwner, OpenFile, SetAttributes } from "./api.ts";
import type { StoredChunk } from "./block-store.ts";
import type { Holder } from "./budget.ts";
import { FileMap, type MapPage } from "./file-map.ts";
import { FileReader } from "./file-reader.ts";
import type { CallOptions, NameChangeOptions, Place } from "./inode-api.ts";
import { toldOf, type InodeRequests } from "./inode-requests.ts";
import type { Machinery } from "./machinery.ts";
import type { Names } from "./names.ts";
import { FileHandle } from "./open-file.ts";
import type { OpenInode, OpenInodeParts } from "./open-inode.ts";
import { normalisedPath, shownPath } from "./paths.ts";
import { unlessAborted } from "./retry.ts";
import { ServiceClock } from "./service-clock.ts";
import { WriteBack, type CommitContent } from "./write-back.ts";

/** Extents that come with the reply to an open: all of a file of some hundred blocks. */
const FIRST_EXTENTS = 256;

/** The path of the inode itself at which a walk starts. */
const NO_PATH = new Uint8Array(0);

interface Created {
  readonly file: OpenFile;
  /** False when it had been there. */
  readonly created: boolean;
}

export class FileOpener {
  /** Told when somebody else has changed the content of a file that is open here. */
  onForeignChange: (inode: InodeId) => void = () => undefined;
  readonly accesses: AccessTimes;
  private readonly machinery: Machinery;
  private readonly names: Names;
  private readonly requests: InodeRequests;
  private readonly readHolder: Holder;
  private readonly serviceClock: ServiceClock;

  constructor(machinery: Machinery, names: Names, requests: InodeRequests) {
    this.machinery = machinery;
    this.names = names;
    this.requests = requests;
    this.accesses = machinery.accesses;
    this.readHolder = machinery.budget.holder();
    this.serviceClock = new ServiceClock(machinery.seams.clock);
    machinery.budget.addReclaimer(() => machinery.openFiles.startFlush());
  }

  /** Opens an existing regular file. @throws DfsError `notFound`, `isDirectory`, `invalid` (not a file), ... */
  open(path: Uint8Array): Promise<OpenFile> {
    return this.names.about(path, () => this.openFrom(ROOT_INODE, path, shownPath(path)));
  }

  /** Opens a regular file. @throws DfsError `stale` when it is gone, `isDirectory`, `invalid` (not a file), ... */
  openInode(inode: InodeId, options?: CallOptions): Promise<OpenFile> {
    return this.openFrom(inode, NO_PATH, `inode ${inode}`, options);
  }

  /** Creates a regular file and opens it; an existing one is opened unless `exclusive`. */
  async create(path: Uint8Array, owner: FileOwner, exclusive: boolean): Promise<OpenFile> {
    const birth = { owner, base: pathBase(normalisedPath(path)) };
    try {
      return await this.names.atFile(path, async (place) => {
        const shown = shownPath(path);
        return (await this.createAt(place, birth, exclusive, shown)).file;
      });
    } catch (error) {
      // The name may be that of a symbolic link, which is followed to an existing file.
      if (exclusive || !isDfsError(error, "exists")) throw error;
      return this.open(path);
    }
  }

  /** Creates a regular file by its place and opens it; an existing one is opened unless `exclusive`. */
  createInode(
    place: Place,
    owner: FileOwner,
    exclusive: boolean,
    options?: NameChangeOptions,
  ): Promise<Created> {
    const { parent, name } = place;
    const key = new TextEncoder().encode(`${parent}/`);
    const birth = { owner, base: pathBase(Buffer.concat([key, name])) };
    const shown = `${shownPath(name)} in directory ${parent}`;
    return this.createAt(place, birth, exclusive, shown, options);
  }

  /** Changes attributes, in step with what is open here. */
  async setattr(inode: InodeId, change: SetAttributes, options?: CallOptions): Promise<Attributes> {
    if (change.atimeNs !== undefined) this.accesses.forget(inode);
    const here = this.machinery.openFiles.get(inode);
    if (here !== undefined) return here.setattr(change, options?.signal);
    return this.requests.setattr(inode, change, options);
  }

  /** Commits what was written to an inode that is open here. */
  async flush(inode: InodeId, options?: CallOptions): Promise<void> {
    await this.machinery.openFiles.get(inode)?.flush(options?.signal);
  }

  /** An inode that is open here, and only here, has lost its last name. */
  orphaned(inode: InodeId): void {
    this.machinery.openFiles.get(inode)?.markOrphan();
  }

  /** Takes note of attributes that the service told; returns them as this client's user sees them. */
  heard(attributes: Attributes): Attributes {
    const here = this.machinery.openFiles.get(attributes.inode);
    if (here === undefined) return this.accesses.seen(attributes);
    here.learn(attributes);
    return this.accesses.seen(here.attributes);
  }

  /** As `heard`, of all entries of a page. */
  heardOfPage(page: DirectoryPage): void {
    const { openFiles } = this.machinery;
    if (openFiles.isEmpty && this.accesses.isEmpty) return;
    for (let index = 0; index < page.length; index++) {
      const inode = page.inodeAt(index);
      if (openFiles.get(inode) === undefined && !this.accesses.has(inode)) continue;
      page.replace(index, this.heard(page.at(index).attributes));
    }
  }

  private async openFrom(
    start: InodeId,
    path: Uint8Array,
    shown: string,
    options?: CallOptions,
  ): Promise<OpenFile> {
    const { session, releases } = this.machinery;
    const request = { start, path, limit: FIRST_EXTENTS };
    const asked = session.ask(open, request);
    const { attributes, extents, more } = await this.unlessGivenUp(asked, options?.signal);
    const { inode, type, version, size } = attributes;
    if (type !== "file") {
      releases.add(inode, 1, session.epoch);
      throw new DfsError(
        type === "directory" ? "isDirectory" : "invalid",
        `${shown} is a ${type}, not a regular file`,
      );
    }
    return this.handle(attributes, shown, { version, size, extents, more });
  }

  /** What the service answers to an open; one that comes after the caller has given up is given back. */
  private async unlessGivenUp<T extends { readonly attributes: Attributes }>(
    asked: Promise<T>,
    signal: CancelSignal | undefined,
  ): Promise<T> {
    if (signal === undefined) return asked;
    const { session, releases } = this.machinery;
    try {
      return await unlessAborted(asked, signal);
    } catch (error) {
      if (signal.aborted) {
        const giveBack = ({ attributes }: T): void =>
          releases.add(attributes.inode, 1, session.epoch);
        asked.then(giveBack, () => undefined); // what it failed with matters to nobody
      }
      throw error;
    }
  }

  private async createAt(
    place: Place,
    { owner, base }: { readonly owner: FileOwner; readonly base: number },
    exclusive: boolean,
    shown: string,
    options?: NameChangeOptions,
  ): Promise<Created> {
    const { parent, name } = place;
    const { mode, uid, gid } = owner;
    const request = { parent, name, mode, uid, gid, base, exclusive, open: true };
    const asked = this.machinery.session.change(create, request);
    const reply = await this.unlessGivenUp(asked, options?.signal);
    const { attributes, created } = toldOf(reply, options);
    const { version, size, ctimeNs } = attributes;
    if (created) this.serviceClock.heard(ctimeNs);
    const page = created ? { version, size, extents: [], more: false } : undefined;
    return { file: this.handle(attributes, shown, page), created };
  }

  private handle(attributes: Attributes, shown: string, page: MapPage | undefined): OpenFile {
    const { openFiles, session, budget } = this.machinery;
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
    const fileMap = new FileMap((offset, limit) => this.fetchMap(inode, { offset, limit }, self));
    const writeBack = new WriteBack({
      file: { inode, base },
      blockSize: session.settings.blockSize,
      store,
      holder: budget.holder(),
      reclaim: () => budget.reclaim(),
      epoch: () => session.epoch,
      nowNs: () => {
        const now = this.serviceClock.nowNs();
        const { ctimeNs } = self().stored;
        return now > ctimeNs ? now : ctimeNs + 1n;
      },
      storedSize: () => self().stored.size,
      askSize: async () => {
        self().learn(await this.requests.getattr(inode));
        return self().stored.size;
      },
      commit: (content) => this.commit(inode, content),
      committed: (chunks) => this.committed(inode, chunks),
      onCommitted: (now) => self().committed(now),
    });
    return {
      path,
      reader: new FileReader(fileReading, { path }, fileMap),
      writeBack,
      newHolder: () => budget.holder(),
      readHolder: this.readHolder,
      requests: this.requests,
      onForeignChange: (changed) => this.onForeignChange(changed),
    };
  }

  private async commit(
    inode: InodeId,
    { chunks, epoch, writtenNs, expectedSize }: CommitContent,
  ): Promise<Attributes> {
    const blocks = chunks.map((chunk) => chunk.block);
    const extents = chunks.map((chunk) => chunk.extent);
    const expected = { size: null, mtimeNs: writtenNs, expectedSize: expectedSize ?? null };
    const request = { inode, blocks, extents, ...expected };
    const { attributes } = await this.machinery.session.change(commit, request, { epoch });
    this.serviceClock.heard(attributes.ctimeNs);
    return attributes;
  }

  private async committed(
    inode: InodeId,
    chunks: readonly StoredChunk[],
  ): Promise<Attributes | undefined> {
    const places = chunks.map(({ extent }) => extent);
    const offset = Math.min(...places.map((each) => each.offset));
    const length = Math.max(...places.map((each) => each.offset + each.length)) - offset;
    const question = { inode, offset, length, limit: MAX_EXTENTS_PER_MESSAGE };
    const { extents } = await this.machinery.session.ask(map, question);
    const ours = new Set(places.map(({ block }) => block));
    if (!extents.some(({ block }) => ours.has(block))) return undefined;
    return this.requests.getattr(inode);
  }

  private async fetchMap(
    inode: InodeId,
    { offset, limit }: { readonly offset: number; readonly limit: number },
    self: () => OpenInode,
  ): Promise<MapPage> {
    const length = MAX_FILE_BYTES - offset;
    const page = await this.machinery.session.ask(map, { inode, offset, length, limit });
    self().learnSize(page.version, page.size);
    return page;
  }
}
