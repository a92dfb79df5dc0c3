/**
 * Stores a whole file so that readers see the old content or the new, never something between.
 *
 * Content that fits into one commit becomes a file in one transaction (`content.put`). More goes into a file without a
 * name, commit by commit while the next blocks are on their way, and gets its name in the last transaction. Whatever
 * fails before that leaves nothing visible: the nameless file is released and goes.
 *
 * When the session expires midway, what was stored under it is gone. Content that can be read from its start again is
 * then sent again; other content fails with `stale`. The same goes for a block of which every copy was lost before its commit;
 * one of which a copy is left gets others (copy-mender.ts).
 */
import { Cancellation } from "../base/cancellation.ts";
import { DfsError, isDfsError } from "../base/errors.ts";
import { inodeId, type InodeId } from "../base/ids.ts";
import { MAX_EXTENTS_PER_MESSAGE } from "../base/limits.ts";
import { commit, nameless, place, put } from "../protocol/messages/content.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import type { PutOptions } from "./api.ts";
import type { BlockStore, StoredChunk } from "./block-store.ts";
import { isLostBlock } from "./copy-mender.ts";
import { ByteBudget, type Holder } from "./budget.ts";
import { ChunkReader, type Chunk, type Content } from "./chunks.ts";
import { unlessAborted } from "./retry.ts";
import type { ChangeOptions, Session } from "./session.ts";

/** Bytes of content in one commit. */
const COMMIT_BYTES = 32 * 1024 * 1024;

/** Bytes of one put on their way at the same time; more made nothing faster. Measured: bench/client.ts. */
const WINDOW_BYTES = 8 * 1024 * 1024;

/** Blocks on their way, where blocks are larger than the window. */
const MIN_WINDOW_BLOCKS = 2;

/** Commits that may wait for their blocks or for the service while later blocks are sent. */
const MAX_COMMITS_WAITING = 4;

/** How often content is sent again because the session expired, or a block was lost. */
const MAX_RESTARTS = 3;

const NO_INODE = inodeId(0n);

/** Where a file goes. */
export interface PutTarget {
  /** For messages. */
  readonly path: string;
  readonly base: number;
  /** Finds the directory; asked again when the one that was found is gone. */
  readonly parent: () => Promise<InodeId>;
  readonly name: Uint8Array;
}

export interface PutParts {
  readonly session: Session;
  readonly store: BlockStore;
  readonly newHolder: () => Holder;
  /** Gives up one open of an inode, made in the session of an epoch. */
  readonly release: (inode: InodeId, epoch: number) => void;
  /** Refuses what cannot be replaced, before much is sent: a directory, and anything when the put is exclusive. */
  readonly checkTarget: (parent: InodeId, name: Uint8Array, exclusive: boolean) => Promise<void>;
}

/** Stores `content` under a name. @throws DfsError as `DfsClient.put`. */
export async function putFile(
  parts: PutParts,
  target: PutTarget,
  content: Content,
  options: PutOptions,
): Promise<Attributes> {
  const restartable = options.restartable ?? Array.isArray(content);
  for (let restarts = 0; ; restarts++) {
    const transfer = new PutTransfer(parts, target, content, options);
    try {
      return await transfer.run();
    } catch (error) {
      if (isLostBlock(error) && restartable && restarts < MAX_RESTARTS) continue;
      if (!transfer.lostItsSession(error)) throw error;
      // Whether the file has got its name is not known then. Doing it again is harmless unless the name must be new.
      const perhapsPlaced = transfer.placing && isDfsError(error, "outcomeUnknown");
      const harmless = !perhapsPlaced || options.exclusive !== true;
      if (restartable && harmless && restarts < MAX_RESTARTS) continue;
      if (perhapsPlaced) throw error;
      throw new DfsError(
        "stale",
        `could not store ${target.path}: the session with the metadata service expired before the file was complete\n` +
          "nothing of it is visible; put it again",
        { cause: error },
      );
    }
  }
}

class PutTransfer {
  private readonly parts: PutParts;
  private readonly target: PutTarget;
  private readonly options: PutOptions;
  private readonly chunks: ChunkReader;
  private readonly holder: Holder;
  /** This transfer's own bound, below the one that all share. */
  private readonly window: Holder;
  private readonly blockSize: number;
  private readonly epoch: number;
  private readonly stop = new Cancellation();
  /** Chunks of the commit that is being gathered. */
  private batch: Promise<StoredChunk>[] = [];
  private batchBytes = 0;
  /** Chunks on their way, and the bytes of them. */
  private readonly sending = new Set<Promise<void>>();
  private sentBytes = 0;
  /** Settled when all commits until now are done; never rejects, `failure` tells. */
  private commits: Promise<void> = Promise.resolve();
  private commitsWaiting = 0;
  private file: InodeId | undefined;
  /** True once the file has been about to get its name. */
  placing = false;
  private failure: { readonly error: unknown } | undefined;

  constructor(parts: PutParts, target: PutTarget, content: Content, options: PutOptions) {
    this.parts = parts;
    this.target = target;
    this.options = options;
    this.blockSize = parts.session.settings.blockSize;
    this.chunks = new ChunkReader(content, this.blockSize);
    this.holder = parts.newHolder();
    this.window = new ByteBudget(
      Math.max(WINDOW_BYTES, MIN_WINDOW_BLOCKS * this.blockSize),
    ).holder();
    this.epoch = parts.session.epoch;
  }

  /** True when `error` came because the session in which this transfer began has expired. */
  lostItsSession(error: unknown): boolean {
    const lost = isDfsError(error, "stale") || isDfsError(error, "outcomeUnknown");
    return lost && this.parts.session.epoch !== this.epoch;
  }

  async run(): Promise<Attributes> {
    const { signal } = this.options;
    const onAbort = (): void =>
      this.fail(new DfsError("cancelled", `putting ${this.target.path} was cancelled`));
    if (signal?.aborted) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
    const parent = this.target.parent();
    parent.catch((error: unknown) => this.fail(error)); // no use sending what has no place to go
    try {
      await this.sendAll();
      return await this.finish(await unlessAborted(parent, this.stop));
    } catch (error) {
      this.fail(error);
      throw this.failure!.error;
    } finally {
      signal?.removeEventListener("abort", onAbort);
      await this.cleanUp();
    }
  }

  /** Reads the content and sends its chunks, within the memory budget. */
  private async sendAll(): Promise<void> {
    for (;;) {
      await this.window.acquire(this.blockSize, this.stop);
      await this.holder.acquire(this.blockSize, this.stop);
      const chunk = await unlessAborted(this.chunks.next(), this.stop);
      this.throwFailure();
      const unused = this.blockSize - (chunk?.bytes.length ?? 0);
      this.window.release(unused);
      this.holder.release(unused);
      if (chunk === undefined) return;
      if (this.batchBytes >= COMMIT_BYTES || this.batch.length >= MAX_EXTENTS_PER_MESSAGE) {
        await this.closeBatch();
      }
      this.send(chunk);
    }
  }

  private send(chunk: Chunk): void {
    const { store } = this.parts;
    const { length } = chunk.bytes;
    const file = { inode: this.file ?? NO_INODE, base: this.target.base };
    const stored = store.store(file, chunk, this.stop);
    this.batch.push(stored);
    this.batchBytes += length;
    this.sentBytes += length;
    const settled = stored
      .then(
        () => {
          this.sentBytes -= length;
          this.options.onProgress?.(this.chunks.size - this.sentBytes);
        },
        (error: unknown) => this.fail(error),
      )
      .finally(() => {
        this.window.release(length);
        this.holder.release(length);
        this.sending.delete(settled);
      });
    this.sending.add(settled);
  }

  /** Hands the gathered chunks over to a commit, which happens while the next ones are sent. */
  private async closeBatch(): Promise<void> {
    const { batch } = this;
    this.batch = [];
    this.batchBytes = 0;
    this.commitsWaiting++;
    this.commits = this.commits
      .then(() => this.commit(batch, null))
      .then(undefined, (error: unknown) => this.fail(error))
      .finally(() => this.commitsWaiting--);
    if (this.commitsWaiting >= MAX_COMMITS_WAITING) await this.commits;
    this.throwFailure();
  }

  private async commit(batch: Promise<StoredChunk>[], size: number | null): Promise<void> {
    const { session } = this.parts;
    const inode = this.file ?? (await this.createNameless());
    const chunks = await Promise.all(batch);
    this.throwFailure();
    await this.withCopies(chunks, (content) => {
      const request = { inode, ...content, size, mtimeNs: null, expectedSize: null };
      return session.change(commit, request, this.scope);
    });
  }

  /** Makes a change that names blocks; those that have lost copies meanwhile get others. */
  private async withCopies<T>(
    chunks: readonly StoredChunk[],
    change: (content: ListedContent) => Promise<T>,
  ): Promise<T> {
    const mending = this.parts.store.mending();
    for (;;) {
      try {
        return await change(listed(chunks));
      } catch (error) {
        if (!isDfsError(error, "quorum")) throw error;
        chunks = await mending.mend(chunks, error, this.stop);
      }
    }
  }

  private async createNameless(): Promise<InodeId> {
    const { session, checkTarget } = this.parts;
    const { parent, name, base } = this.target;
    const directory = await unlessAborted(parent(), this.stop);
    await unlessAborted(checkTarget(directory, name, this.options.exclusive ?? false), this.stop);
    const { mode, uid, gid } = this.options;
    const { attributes } = await session.change(nameless, { mode, uid, gid, base }, this.scope);
    this.file = attributes.inode;
    return attributes.inode;
  }

  /** Changes belong to the session in which the transfer began, and are not waited for once it is given up. */
  private get scope(): ChangeOptions {
    return { epoch: this.epoch, signal: this.stop };
  }

  /** Commits what is left and gives the file its name. */
  private async finish(parent: InodeId): Promise<Attributes> {
    await this.commits;
    this.throwFailure();
    if (this.file !== undefined) {
      await this.commit(this.batch, this.chunks.size);
      return this.inParent(parent, (directory) => this.placeIn(directory));
    }
    const chunks = await Promise.all(this.batch);
    this.throwFailure();
    return this.inParent(parent, (directory) =>
      this.withCopies(chunks, (content) => this.putIn(directory, content)),
    );
  }

  /** Runs `change` in the directory; once more in the one that has the path now when that directory is gone. */
  private async inParent(
    parent: InodeId,
    change: (parent: InodeId) => Promise<Attributes>,
  ): Promise<Attributes> {
    this.placing = true;
    try {
      return await change(parent);
    } catch (error) {
      const gone = isDfsError(error, "notFound") || isDfsError(error, "stale");
      if (!gone || this.lostItsSession(error)) throw error;
      const now = await this.target.parent();
      if (now === parent) throw error;
      return change(now);
    }
  }

  private async placeIn(parent: InodeId): Promise<Attributes> {
    const { session } = this.parts;
    const request = { inode: this.file!, ...this.takeover(parent) };
    const { attributes } = await session.change(place, request, this.scope);
    return attributes;
  }

  private async putIn(parent: InodeId, content: ListedContent): Promise<Attributes> {
    const { session } = this.parts;
    const { mode, uid, gid } = this.options;
    const birth = { mode, uid, gid, base: this.target.base };
    const request = { ...birth, ...content, size: this.chunks.size, ...this.takeover(parent) };
    const { attributes } = await session.change(put, request, this.scope);
    return attributes;
  }

  private takeover(parent: InodeId) {
    const { keepReplaced, exclusive, atimeNs, mtimeNs } = this.options;
    return {
      parent,
      name: this.target.name,
      exclusive: exclusive ?? false,
      keepReplaced,
      atimeNs: atimeNs ?? null,
      mtimeNs: mtimeNs ?? null,
    };
  }

  /** The first failure is the one that is told; it ends everything that is under way. */
  private fail(error: unknown): void {
    this.failure ??= { error };
    this.stop.abort();
  }

  private throwFailure(): void {
    if (this.failure !== undefined) throw this.failure.error;
  }

  /** Waits for what is under way, so that nothing runs on behind the caller's back. */
  private async cleanUp(): Promise<void> {
    await Promise.allSettled([...this.sending, this.commits]);
    // A source that is waiting for its next bytes cannot be ended before they come: that is not waited for.
    if (this.failure !== undefined) this.chunks.close().catch(() => undefined);
    this.holder.release(this.holder.held);
    if (this.file !== undefined) this.parts.release(this.file, this.epoch);
  }
}

interface ListedContent {
  readonly blocks: StoredChunk["block"][];
  readonly extents: StoredChunk["extent"][];
}

function listed(chunks: readonly StoredChunk[]): ListedContent {
  return { blocks: chunks.map((each) => each.block), extents: chunks.map((each) => each.extent) };
}
