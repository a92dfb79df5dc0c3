/**
 * A regular file that this client holds open, shared by all its handles, so that each sees what the others wrote.
 *
 * Invariants
 * - What is not committed lies over what is stored, for reads and for the size.
 * - The map is forgotten in the moment in which a commit changes it.
 */
import type { CancelSignal } from "../base/cancellation.ts";
import { DfsError, isDfsError } from "../base/errors.ts";
import type { InodeId } from "../base/ids.ts";
import { MAX_FILE_BYTES } from "../base/limits.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import type { ContentRun, SetAttributes } from "./api.ts";
import type { Holder } from "./budget.ts";
import { flushDated } from "./dated-flush.ts";
import type { FileMap, MapPage } from "./file-map.ts";
import type { InodeRequests } from "./inode-requests.ts";
import type { FileReader } from "./file-reader.ts";
import type { StoredReader } from "./prefetch.ts";
import { readAhead } from "./read-ahead.ts";
import { unlessAborted } from "./retry.ts";
import { seek } from "./seek.ts";
import type { WriteBack } from "./write-back.ts";

/** Longest run of zeros that a hole is filled with at once. */
const ZERO_RUN_BYTES = 1024 * 1024;

export interface OpenInodeParts {
  readonly path: string;
  readonly reader: FileReader;
  readonly writeBack: WriteBack;
  /** A share of the memory budget for one transfer. */
  readonly newHolder: () => Holder;
  /** The share of all single reads together. */
  readonly readHolder: Holder;
  readonly requests: Pick<InodeRequests, "getattr" | "setattr" | "punch" | "clone">;
  /** Somebody else has changed the content. */
  readonly onForeignChange: (inode: InodeId) => void;
}

export interface StreamOptions {
  readonly offset?: number;
  readonly signal?: CancelSignal | undefined;
}

export class OpenInode {
  readonly inode: InodeId;
  /** Handles of this client. */
  handles = 0;
  /** Opens that the service has counted, in the session of `epoch`. */
  opens = 0;
  epoch: number;
  private readonly parts: OpenInodeParts;
  private known: Attributes;
  private lost: DfsError | undefined;
  /** The last version by somebody else that was told of. */
  private toldVersion: bigint | undefined;
  /** The service may have been put back to an earlier state: what it tells next is believed, older or not. */
  private anew = false;
  /** It has no name any more and is open here only: its content is nobody else's business, and ends with the last handle. */
  private isOrphan = false;
  /** Somebody else has changed the attributes, and they have not been heard since. */
  isOutdated = false;

  constructor(attributes: Attributes, epoch: number, parts: OpenInodeParts) {
    this.inode = attributes.inode;
    this.known = attributes;
    this.epoch = epoch;
    this.parts = parts;
  }

  get reader(): FileReader {
    return this.parts.reader;
  }

  get map(): FileMap {
    return this.parts.reader.map;
  }

  /** Attributes as last heard of from the service. */
  get stored(): Attributes {
    return this.known;
  }

  /** Attributes as last heard of, with the size that includes what is not committed. */
  get attributes(): Attributes {
    return this.withUnstored(this.stored);
  }

  /** `attributes` of this inode from the service, with size and times that include what is not committed. */
  private withUnstored(attributes: Attributes): Attributes {
    const { end, heldBytes, writtenNs } = this.parts.writeBack;
    if (writtenNs === undefined) return attributes;
    const size = Math.max(end, attributes.size);
    // Programs take a file without allocated bytes for one without data.
    const allocated = Math.min(size, attributes.allocated + heldBytes);
    const mtimeNs = writtenNs;
    const ctimeNs = writtenNs > attributes.ctimeNs ? writtenNs : attributes.ctimeNs;
    return { ...attributes, size, allocated, mtimeNs, ctimeNs };
  }

  /**
   * The service has told attributes, perhaps before others that are known already. When the content is another one, the map
   * is out of date.
   */
  learn(attributes: Attributes): void {
    if (this.isOlder(attributes)) return;
    const { version } = this.stored;
    this.know(attributes);
    if (attributes.version === version) return;
    this.map.forgetUnless(attributes.version);
    this.tellForeign(attributes.version);
  }

  /** Puts the first page of the map in, unless more recent things have been heard. */
  seed(page: MapPage): void {
    if (page.version === this.stored.version) this.map.seed(0, page);
  }

  /** A page of the map has told version and size. */
  learnSize(version: bigint, size: number): void {
    if (version <= this.stored.version) return;
    this.known = { ...this.stored, version, size };
    this.tellForeign(version);
  }

  /**
   * Somebody has changed the inode, whose content has this version now. What is read from now on is fetched anew; size and times
   * are not known before somebody asks for them. True when the content is another one than is known here.
   */
  heardOfChange(version: bigint): boolean {
    this.isOutdated = true;
    if (version <= this.stored.version) return false;
    this.map.forget();
    this.toldVersion = version;
    return true;
  }

  /** Tells that somebody else has made the content what it is in this version, unless that has been told. */
  private tellForeign(version: bigint): void {
    if (version === this.toldVersion) return;
    this.toldVersion = version;
    this.parts.onForeignChange(this.inode);
  }

  /** The inode was removed while nobody could hold it open: the session had expired. */
  markLost(): void {
    this.lost = new DfsError(
      "stale",
      `${this.parts.path} is gone: it was removed while the connection to the metadata service was lost`,
      { details: { path: this.parts.path } },
    );
    this.parts.writeBack.discard(this.lost);
  }

  /** Its last name is gone, and nobody else has it open. */
  markOrphan(): void {
    this.isOrphan = true;
  }

  /** Its locks were lost with the session: somebody else may hold them by now. */
  markLocksLost(): void {
    const { path } = this.parts;
    this.lost = new DfsError(
      "io",
      `${path} was locked, and the lock is lost: the connection to the metadata service was away for too long\n` +
        "close the file, open it again and lock it anew",
      { details: { path } },
    );
    this.parts.writeBack.discard(this.lost);
  }

  /** A new session has opened the inode. */
  reopened(epoch: number): void {
    this.opens = 1;
    this.epoch = epoch;
    this.anew = true;
    this.map.forget();
  }

  /** The last handle is gone: what could not be committed goes with it, and the memory that it took. */
  abandon(): void {
    this.parts.writeBack.discard(
      new DfsError("cancelled", `${this.parts.path} was closed`, {
        details: { path: this.parts.path },
      }),
    );
  }

  /** Reads what is stored through `source`. @throws DfsError as `OpenFile.read`. */
  async read(
    offset: number,
    length: number,
    source: StoredReader,
    signal?: CancelSignal,
  ): Promise<Uint8Array> {
    this.refuseLost();
    const wanted = Math.max(0, Math.min(length, this.attributes.size - offset));
    if (wanted === 0) return new Uint8Array(0);
    const unstored = this.parts.writeBack.overlay(offset, wanted);
    const [only] = unstored;
    if (unstored.length === 1 && only!.offset === offset && only!.bytes.length === wanted) {
      return only!.bytes;
    }
    const storedLength = Math.max(0, Math.min(wanted, this.stored.size - offset));
    const stored = await this.readStored(offset, storedLength, source, signal);
    const ends = unstored.map((range) => range.offset + range.bytes.length - offset);
    // Somebody may have cut the file meanwhile: there are no zeros behind its end.
    const there = Math.min(wanted, Math.max(this.attributes.size - offset, 0, ...ends));
    if (unstored.length === 0 && stored.length === there) return stored;
    const result = new Uint8Array(there);
    result.set(stored.subarray(0, there));
    for (const range of unstored) result.set(range.bytes, range.offset - offset);
    return result;
  }

  /** The content from `offset` to the end, holes named. What was written before is committed first. */
  async *runs(options: StreamOptions): AsyncGenerator<ContentRun, void> {
    this.refuseLost();
    await this.flush();
    const holder = this.parts.newHolder();
    const { reader } = this.parts;
    const { offset = 0, signal } = options;
    const end = this.attributes.size;
    for await (const stretch of readAhead({ reader, offset, end, holder, signal })) {
      const length = Math.min(stretch.length, this.attributes.size - stretch.offset);
      if (length <= 0) return; // somebody has cut the file meanwhile: there are no zeros behind its end
      yield stretch.bytes?.subarray(0, length) ?? { holeBytes: length };
    }
  }

  /** As `runs`, holes filled with zeros. */
  async *stream(options: StreamOptions): AsyncGenerator<Uint8Array, void> {
    for await (const run of this.runs(options)) {
      if (run instanceof Uint8Array) {
        yield run;
        continue;
      }
      for (let left = run.holeBytes; left > 0; left -= ZERO_RUN_BYTES) {
        yield new Uint8Array(Math.min(left, ZERO_RUN_BYTES));
      }
    }
  }

  /** Takes bytes at `offset`. @throws DfsError as `OpenFile.write`. */
  async write(offset: number, bytes: Uint8Array, signal?: CancelSignal): Promise<void> {
    this.refuseLost();
    if (offset + bytes.length > MAX_FILE_BYTES) {
      throw new DfsError(
        "fileTooBig",
        `cannot write ${this.parts.path} at offset ${offset}: a file can have at most ${MAX_FILE_BYTES} bytes`,
      );
    }
    await this.parts.writeBack.write(offset, bytes, signal);
  }

  /** Takes bytes for the end of the file. @throws DfsError as `OpenFile.append`. */
  async append(bytes: Uint8Array, signal?: CancelSignal): Promise<number> {
    this.refuseLost();
    if (this.attributes.size + bytes.length > MAX_FILE_BYTES) {
      throw new DfsError(
        "fileTooBig",
        `cannot append to ${this.parts.path}: a file can have at most ${MAX_FILE_BYTES} bytes`,
      );
    }
    return this.parts.writeBack.append(bytes, signal);
  }

  /**
   * Changes attributes, in order with what was written: a new size cuts what was written before, and a time that is set
   * stays. Returns them as this client's user sees them.
   */
  async setattr(change: SetAttributes, signal?: CancelSignal): Promise<Attributes> {
    this.refuseLost();
    const dated = await flushDated(this.parts.writeBack, change, () => this.flush(signal));
    if (dated && this.stored.mtimeNs === change.mtimeNs) return this.attributes;
    const ordered = change.size ?? change.atimeNs ?? change.mtimeNs;
    if (ordered !== undefined) await this.flush(signal);
    await this.changed(this.parts.requests.setattr(this.inode, change, { signal }), (now) => now);
    return this.attributes;
  }

  /** As `OpenFile.punch`. */
  async punch(
    offset: number,
    length: number,
    minSize: number,
    signal?: CancelSignal,
  ): Promise<void> {
    await this.flush(signal);
    for (let at = offset, left = length; ;) {
      const range = { offset: at, length: left };
      const asked = this.parts.requests.punch(this.inode, range, minSize, { signal });
      const { done } = await this.changed(asked, ({ attributes }) => attributes);
      at += done;
      left -= done;
      if (left <= 0) return;
    }
  }

  /** As `OpenFile.cloneFrom`. */
  async cloneFrom(
    source: OpenInode,
    sourceOffset: number,
    offset: number,
    length: number,
    signal?: CancelSignal,
  ): Promise<number> {
    await source.flush(signal);
    await this.flush(signal);
    // Within one file the copy may move the end, which is not to be copied in turn.
    if (source === this) length = Math.max(0, Math.min(length, this.stored.size - sourceOffset));
    for (let at = 0; at < length;) {
      const asked = this.parts.requests.clone(
        { inode: source.inode, offset: sourceOffset + at },
        { inode: this.inode, offset: offset + at },
        length - at,
        { signal },
      );
      try {
        const { done } = await this.changed(asked, ({ attributes }) => attributes);
        if (done === 0) return at;
        at += done;
      } catch (error) {
        if (at > 0 && isDfsError(error, "cancelled")) return at; // what is copied is told rather than that the rest was given up
        throw error;
      }
    }
    return length;
  }

  /** As `OpenFile.seek`. */
  seek(offset: number, what: "data" | "hole", signal?: CancelSignal): Promise<number> {
    this.refuseLost();
    const { writeBack, path } = this.parts;
    const content = { size: this.attributes.size, map: this.map, unstored: writeBack.ranges() };
    const found = seek(content, offset, what, path);
    return signal === undefined ? found : unlessAborted(found, signal);
  }

  /** True when nothing waits to be committed. */
  get clean(): boolean {
    return this.parts.writeBack.clean;
  }

  /** Begins to send what was written; what fails is told by the next flush. */
  startFlush(): void {
    if (this.lost === undefined) this.parts.writeBack.startFlush();
  }

  /**
   * Makes what was written visible and durable, for those who may want to see it: of an orphan nobody, and a crash takes it
   * whatever is stored of it. @throws DfsError as `flush`.
   */
  async flushForOthers(signal?: CancelSignal): Promise<void> {
    this.refuseLost();
    if (!this.isOrphan) await this.flush(signal);
  }

  /** As `startFlush`, because time has passed. */
  startFlushForOthers(): void {
    if (!this.isOrphan) this.startFlush();
  }

  /** @throws DfsError what writing back fails with; `cancelled` by the signal: then it goes on by itself. */
  async flush(signal?: CancelSignal): Promise<void> {
    this.refuseLost();
    const flushed = this.parts.writeBack.flush();
    await (signal === undefined ? flushed : unlessAborted(flushed, signal));
  }

  /**
   * Waits for a change that this client makes, and takes note of the attributes in the reply. Of one that is given up nobody can
   * say whether it is made: what is so then is asked behind it on the same connection, and told as somebody else's change.
   */
  private async changed<Reply>(
    asked: Promise<Reply>,
    attributesIn: (reply: Reply) => Attributes,
  ): Promise<Reply> {
    try {
      const reply = await asked;
      this.committed(attributesIn(reply));
      return reply;
    } catch (error) {
      if (isDfsError(error, "cancelled")) {
        this.parts.requests.getattr(this.inode).then(
          (now) => this.learn(now),
          () => undefined, // it is gone, or the client is closed
        );
      }
      throw error;
    }
  }

  /** A change that this client made is done: a batch of writes has been committed, or attributes have been set. */
  committed(attributes: Attributes): void {
    if (this.isOlder(attributes)) return; // somebody has changed it once more meanwhile, and that is known already
    const { version } = this.stored;
    this.know(attributes);
    if (attributes.version === version) return;
    this.map.forget();
    if (attributes.version !== version + 1n) this.tellForeign(attributes.version);
  }

  private know(attributes: Attributes): void {
    this.known = attributes;
    this.anew = false;
    this.isOutdated = false;
  }

  private isOlder({ version, ctimeNs }: Attributes): boolean {
    if (this.anew) return false;
    return version < this.stored.version || ctimeNs < this.stored.ctimeNs;
  }

  /** Stored bytes; fewer than asked for when the file turns out to have been cut. */
  private async readStored(
    offset: number,
    length: number,
    source: StoredReader,
    signal: CancelSignal | undefined,
  ): Promise<Uint8Array> {
    if (length === 0) return new Uint8Array(0);
    const holder = this.parts.readHolder;
    await holder.acquire(length, signal);
    try {
      const read = source.range(offset, length, signal);
      // Blocks that are read ahead, and the map, are fetched for others as well, and go on without who has given up.
      const bytes = await (signal === undefined ? read : unlessAborted(read, signal));
      const there = Math.max(0, this.stored.size - offset);
      return bytes.length <= there ? bytes : bytes.subarray(0, there);
    } finally {
      holder.release(length);
    }
  }

  private refuseLost(): void {
    if (this.lost !== undefined) throw this.lost;
  }
}
