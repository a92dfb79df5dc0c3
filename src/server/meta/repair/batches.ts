/**
 * Copies that are to be made together: those to one server from one other.
 */
import type { ServerId } from "../../../base/ids.ts";
import {
  MAX_BATCHABLE_BYTES,
  MAX_BATCHED_BLOCKS,
  MAX_BATCHED_BYTES,
} from "../../../base/limits.ts";
import type { CopyJob } from "./choice.ts";
import type { Seen } from "./eyes.ts";

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
  private readonly targets = new Set<ServerId>();

  /** Whether the copy may be made together with others. */
  takes(job: CopyJob): boolean {
    return job.sources.length > 0 && job.block.length <= MAX_BATCHABLE_BYTES;
  }

  /** Whether copies are being put together for the target, from this source or from any. */
  isOpen(target: ServerId, source?: ServerId): boolean {
    if (source !== undefined) return this.open.has(keyOf(target, source));
    return this.targets.has(target);
  }

  /** Adds a copy to the batch that it fits into, which is returned. */
  add(job: CopyJob): CopyBatch {
    const source = job.sources[0]!;
    const key = keyOf(job.target, source.server);
    this.targets.add(job.target);
    const { length } = job.block;
    let batch = this.open.get(key);
    const hasRoom =
      batch !== undefined &&
      batch.jobs.length < MAX_BATCHED_BLOCKS &&
      batch.bytes + length <= MAX_BATCHED_BYTES;
    if (batch === undefined || !hasRoom) {
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
    this.targets.clear();
    return taken;
  }
}

const keyOf = (target: ServerId, source: ServerId): string => `${target} ${source}`;

function openBatch(target: ServerId, source: Seen): OpenBatch {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { target, source, jobs: [], bytes: 0, done: promise, end: resolve };
}
