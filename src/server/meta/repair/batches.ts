/**
 * Copies that are to be made together: those to one server from one other.
 */
import type { ServerId } from "../../../base/ids.ts";
import {
  MAX_BATCHABLE_BYTES,
  MAX_BATCHED_BYTES,
  MAX_VERIFIED_BLOCKS,
} from "../../../base/limits.ts";
import type { CopyJob } from "./choice.ts";
import type { Seen } from "./eyes.ts";

/** Blocks of a batch, at most: those whose copies are in doubt are verified with one request. */
export const BATCH_BLOCKS = MAX_VERIFIED_BLOCKS;

/** Copies to `target` that `source` is asked for first, each of another block. */
export interface CopyBatch {
  readonly target: ServerId;
  readonly source: Seen;
  readonly jobs: readonly CopyJob[];
  /** Resolves when it has ended. */
  readonly done: Promise<void>;
  end(): void;
}

interface OpenBatch extends CopyBatch {
  readonly jobs: CopyJob[];
  bytes: number;
}

export class Batches {
  private full: OpenBatch[] = [];
  private readonly open = new Map<string, OpenBatch>();

  /** Whether the copy may be made together with others. */
  takes(job: CopyJob): boolean {
    return job.sources.length > 0 && job.block.length <= MAX_BATCHABLE_BYTES;
  }

  /** Whether copies from this source are being put together that the copy can be added to. */
  fits({ target, block }: CopyJob, source: ServerId): boolean {
    const batch = this.open.get(keyOf(target, source));
    return batch !== undefined && hasRoom(batch, block.length);
  }

  /** What is still free in the open batches of a target, in parts of a batch. */
  free(target: ServerId): number {
    let bytes = 0;
    for (const batch of this.open.values()) {
      if (batch.target === target && batch.jobs.length < BATCH_BLOCKS) {
        bytes += MAX_BATCHED_BYTES - batch.bytes;
      }
    }
    return bytes / MAX_BATCHED_BYTES;
  }

  /** Adds a copy to the batch that it fits into, which is returned. */
  add(job: CopyJob): CopyBatch {
    const source = job.sources[0]!;
    const key = keyOf(job.target, source.server);
    const { length } = job.block;
    let batch = this.open.get(key);
    if (batch === undefined || !hasRoom(batch, length)) {
      if (batch !== undefined) this.full.push(batch);
      batch = openBatch(job.target, source);
      this.open.set(key, batch);
    }
    batch.jobs.push(job);
    batch.bytes += length;
    return batch;
  }

  /** All batches, which are closed by that. */
  takeAll(): CopyBatch[] {
    const taken = [...this.full, ...this.open.values()];
    this.full = [];
    this.open.clear();
    return taken;
  }
}

function hasRoom({ jobs, bytes }: OpenBatch, length: number): boolean {
  return jobs.length < BATCH_BLOCKS && bytes + length <= MAX_BATCHED_BYTES;
}

const keyOf = (target: ServerId, source: ServerId): string => `${target} ${source}`;

function openBatch(target: ServerId, source: Seen): OpenBatch {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { target, source, jobs: [], bytes: 0, done: promise, end: resolve };
}
