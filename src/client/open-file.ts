/**
 * A handle on an open file: the API's face of an OpenInode, with read-ahead for reads that follow one another.
 */
import type { CancelSignal } from "../base/cancellation.ts";
import { DfsError } from "../base/errors.ts";
import type { InodeId } from "../base/ids.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import type { ContentRun, OpenFile } from "./api.ts";
import type { ByteBudget } from "./budget.ts";
import type { CallOptions } from "./inode-api.ts";
import type { OpenInode } from "./open-inode.ts";
import { PrefetchingReader } from "./prefetch.ts";

export class FileHandle implements OpenFile {
  private readonly open: OpenInode;
  private readonly path: string;
  private readonly leave: () => void;
  private readonly source: PrefetchingReader;
  private closed = false;

  /** `leave` is called once, when the handle is given up. */
  constructor(open: OpenInode, path: string, budget: ByteBudget, leave: () => void) {
    this.open = open;
    this.path = path;
    this.leave = leave;
    this.source = new PrefetchingReader(open.reader, budget);
  }

  get inode(): InodeId {
    return this.open.inode;
  }

  get attributes(): Attributes {
    return this.open.attributes;
  }

  get clean(): boolean {
    return this.open.clean;
  }

  get isOutdated(): boolean {
    return this.open.isOutdated;
  }

  async read(offset: number, length: number, options?: CallOptions): Promise<Uint8Array> {
    this.check(offset, "offset");
    this.check(length, "length");
    return this.open.read(offset, length, this.source, options?.signal);
  }

  stream(
    options: { readonly offset?: number; readonly signal?: CancelSignal } = {},
  ): AsyncIterable<Uint8Array> {
    this.check(options.offset ?? 0, "offset");
    return this.open.stream(options);
  }

  runs(options: { readonly signal?: CancelSignal } = {}): AsyncIterable<ContentRun> {
    this.check(0, "offset");
    return this.open.runs(options);
  }

  async write(offset: number, bytes: Uint8Array, options?: CallOptions): Promise<void> {
    this.check(offset, "offset");
    await this.open.write(offset, bytes, options?.signal);
  }

  async append(bytes: Uint8Array, options?: CallOptions): Promise<number> {
    this.check(0, "offset");
    return this.open.append(bytes, options?.signal);
  }

  async truncate(size: number): Promise<void> {
    this.check(size, "size");
    await this.open.setattr({ size });
  }

  async punch(offset: number, length: number, minSize = 0, options?: CallOptions): Promise<void> {
    this.checkRange(offset, length);
    this.check(minSize, "size");
    await this.open.punch(offset, length, minSize, options?.signal);
  }

  async cloneFrom(
    source: OpenFile,
    sourceOffset: number,
    offset: number,
    length: number,
    options?: CallOptions,
  ): Promise<number> {
    this.checkRange(sourceOffset, length);
    this.checkRange(offset, length);
    if (!(source instanceof FileHandle)) {
      throw new DfsError("invalid", `${this.path}: the source is not a file of this client`);
    }
    source.check(sourceOffset, "offset");
    return this.open.cloneFrom(source.open, sourceOffset, offset, length, options?.signal);
  }

  async seek(offset: number, what: "data" | "hole", options?: CallOptions): Promise<number> {
    this.check(offset, "offset");
    return this.open.seek(offset, what, options?.signal);
  }

  startFlush(): void {
    this.check(0, "offset");
    this.open.startFlushForOthers();
  }

  async flush(options?: CallOptions): Promise<void> {
    this.check(0, "offset");
    await this.open.flushForOthers(options?.signal);
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    try {
      await this.open.flushForOthers();
    } finally {
      this.source.close();
      this.leave();
    }
  }

  private checkRange(offset: number, length: number): void {
    this.check(offset, "offset");
    this.check(length, "length");
    this.check(offset + length, "end");
  }

  private check(value: number, what: string): void {
    if (this.closed) throw new DfsError("invalid", `${this.path} has been closed`);
    if (Number.isSafeInteger(value) && value >= 0) return;
    throw new DfsError("invalid", `${this.path}: ${what} ${value} is not possible`);
  }
}
