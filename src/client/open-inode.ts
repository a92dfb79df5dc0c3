/**
 * A regular file that this client holds open, shared by all its handles, so that each sees what the others wrote.
 *
 * Invariants
 * - What is not committed lies over what is stored, for reads and for the size.
 * - The map is forgotten in the moment in which a commit changes it.
 */
import { DfsError } from "../base/errors.ts";
import type { InodeId } from "../base/ids.ts";
import { MAX_FILE_BYTES } from "../base/limits.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import type { ContentRun } from "./api.ts";
import type { Holder } from "./budget.ts";
import type { FileMap, MapPage } from "./file-map.ts";
import type { FileReader } from "./file-reader.ts";
import type { StoredReader } from "./prefetch.ts";
import { readAhead } from "./read-ahead.ts";
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
  /** Sets the size at the service. */
  readonly setSize: (inode: InodeId, size: number) => Promise<Attributes>;
}

export interface StreamOptions {
  readonly offset?: number;
  readonly signal?: AbortSignal | undefined;
}

export class OpenInode {
  readonly inode: InodeId;
  /** Handles of this client. */
  handles = 0;
  /** Opens that the service has counted, in the session of `epoch`. */
  opens = 0;
  epoch: number;
  private readonly parts: OpenInodeParts;
  private stored: Attributes;
  private lost: DfsError | undefined;

  constructor(attributes: Attributes, epoch: number, parts: OpenInodeParts) {
    this.inode = attributes.inode;
    this.stored = attributes;
    this.epoch = epoch;
    this.parts = parts;
  }

  get reader(): FileReader {
    return this.parts.reader;
  }

  get map(): FileMap {
    return this.parts.reader.map;
  }

  /** Attributes as last heard of, with the size that includes what is not committed. */
  get attributes(): Attributes {
    return this.withUnstored(this.stored);
  }

  /** `attributes` of this inode from the service, with the size that includes what is not committed. */
  withUnstored(attributes: Attributes): Attributes {
    const { end } = this.parts.writeBack;
    return end > attributes.size ? { ...attributes, size: end } : attributes;
  }

  /** The service has told attributes; when the content is another one, the map is out of date. */
  learn(attributes: Attributes): void {
    if (attributes.version < this.stored.version) return;
    if (attributes.version !== this.stored.version) this.map.forgetUnless(attributes.version);
    this.stored = attributes;
  }

  /** Puts the first page of the map in, unless more recent things have been heard. */
  seed(page: MapPage): void {
    if (page.version === this.stored.version) this.map.seed(0, page);
  }

  /** A page of the map has told version and size. */
  learnSize(version: bigint, size: number): void {
    if (version > this.stored.version) this.stored = { ...this.stored, version, size };
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

  /** The last handle is gone: what could not be committed goes with it, and the memory that it took. */
  abandon(): void {
    this.parts.writeBack.discard(
      new DfsError("cancelled", `${this.parts.path} was closed`, {
        details: { path: this.parts.path },
      }),
    );
  }

  /** Reads what is stored through `source`. @throws DfsError as `OpenFile.read`. */
  async read(offset: number, length: number, source: StoredReader): Promise<Uint8Array> {
    this.refuseLost();
    const wanted = Math.max(0, Math.min(length, this.attributes.size - offset));
    if (wanted === 0) return new Uint8Array(0);
    const unstored = this.parts.writeBack.overlay(offset, wanted);
    const [only] = unstored;
    if (unstored.length === 1 && only!.offset === offset && only!.bytes.length === wanted) {
      return only!.bytes.slice();
    }
    const storedLength = Math.max(0, Math.min(wanted, this.stored.size - offset));
    const stored = await this.readStored(offset, storedLength, source);
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

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    this.refuseLost();
    if (offset + bytes.length > MAX_FILE_BYTES) {
      throw new DfsError(
        "fileTooBig",
        `cannot write ${this.parts.path} at offset ${offset}: a file can have at most ${MAX_FILE_BYTES} bytes`,
      );
    }
    await this.parts.writeBack.write(offset, bytes);
  }

  async truncate(size: number): Promise<void> {
    this.refuseLost();
    await this.flush();
    const attributes = await this.parts.setSize(this.inode, size);
    this.map.forget();
    this.stored = attributes;
  }

  async flush(): Promise<void> {
    this.refuseLost();
    await this.parts.writeBack.flush();
  }

  /** A batch of writes has been committed. */
  committed(attributes: Attributes): void {
    this.map.forget();
    this.stored = attributes;
  }

  /** Stored bytes; fewer than asked for when the file turns out to have been cut. */
  private async readStored(
    offset: number,
    length: number,
    source: StoredReader,
  ): Promise<Uint8Array> {
    if (length === 0) return new Uint8Array(0);
    const holder = this.parts.readHolder;
    await holder.acquire(length);
    try {
      const bytes = await source.range(offset, length);
      return bytes.subarray(0, Math.max(0, this.stored.size - offset));
    } finally {
      holder.release(length);
    }
  }

  private refuseLost(): void {
    if (this.lost !== undefined) throw this.lost;
  }
}
