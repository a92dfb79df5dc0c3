/**
 * Turns parts of a file into stored blocks: an id, a placement group, the copies. What it returns is what a commit needs.
 */
import type { CancelSignal } from "../base/cancellation.ts";
import type { InodeId } from "../base/ids.ts";
import { groupOf } from "../base/placement.ts";
import type { NewBlock, NewExtent } from "../protocol/messages/common.ts";
import type { BlockIds } from "./block-ids.ts";
import type { BlockWriter } from "./block-writer.ts";
import { ByteBudget, type Holder } from "./budget.ts";
import type { Chunk } from "./chunks.ts";
import type { CopyMender, Mending } from "./copy-mender.ts";
import { unlessAborted } from "./retry.ts";

/** Blocks on their way at the same time, for all transfers together; binding only where blocks are small. */
const MAX_BLOCKS_IN_FLIGHT = 192;

/** The file that blocks are written for. */
export interface TargetFile {
  /** 0 when it has no number yet. */
  readonly inode: InodeId;
  readonly base: number;
}

/** A chunk whose copies are durable and which waits for its commit. */
export interface StoredChunk {
  readonly block: NewBlock;
  readonly extent: NewExtent;
  /** Epoch of the session that reserved the block. */
  readonly epoch: number;
  /** The file that it was stored for, as its servers were told. */
  readonly inode: InodeId;
}

export interface BlockStoreOptions {
  readonly ids: BlockIds;
  readonly writer: BlockWriter;
  readonly mender: CopyMender;
  readonly blockSize: () => number;
}

export class BlockStore {
  private readonly options: BlockStoreOptions;
  private readonly slots: Holder = new ByteBudget(MAX_BLOCKS_IN_FLIGHT).holder();

  constructor(options: BlockStoreOptions) {
    this.options = options;
  }

  /** What makes up for copies that chunks of one commit lose before it. */
  mending(): Mending {
    return this.options.mender.begin();
  }

  /** Stores a chunk as one block. @throws DfsError as `BlockIds.take` and `BlockWriter.write`. */
  async store(file: TargetFile, chunk: Chunk, signal: CancelSignal): Promise<StoredChunk> {
    const { ids, writer, blockSize } = this.options;
    await this.slots.acquire(1, signal);
    try {
      // An id that comes after the transfer was cancelled is not used; it goes with its session.
      const { block, epoch } = await unlessAborted(ids.take(), signal);
      const { offset, bytes } = chunk;
      const group = groupOf(file.base, Math.floor(offset / blockSize()));
      const outgoing = { block, bytes, group, inode: file.inode, fileOffset: offset };
      const stored = await writer.write(outgoing, signal);
      const extent = { offset, length: bytes.length, block, blockOffset: 0 };
      return { block: stored, extent, epoch, inode: file.inode };
    } finally {
      this.slots.release(1);
    }
  }
}
