/**
 * Who waits for what is being appended: single records, and puts that were given together.
 */
import type { DfsError } from "../base/errors.ts";
import type { BlockId } from "../base/ids.ts";
import {
  appendBytes,
  type Move,
  type Place,
  type PutAppend,
  type TombstoneAppend,
} from "./batch.ts";

/** Who is told what became of appends; `at` is the place of one among those that were given together. */
export interface Waiter {
  durable(place: Place, at: number): void;
  failed(error: DfsError, at: number): void;
}

/** An append and who waits for it. One small object for each record: small blocks come by the ten thousand in a second. */
export interface Waiting {
  readonly append: PutAppend | TombstoneAppend | Move;
  /** What it takes in a segment. */
  readonly bytes: number;
  readonly waiter: Waiter;
  readonly at: number;
  /** Where it has been put, once it is in a batch. */
  place: Place | undefined;
}

export function waitingFor(append: Waiting["append"], waiter: Waiter, at = 0): Waiting {
  return { append, bytes: appendBytes(append), waiter, at, place: undefined };
}

/** Waits for one record. */
export function single(resolve: (place: Place) => void, reject: (error: DfsError) => void): Waiter {
  return { durable: resolve, failed: reject };
}

/** What became of puts that were given together, in their order; undefined: it is durable. */
export type PutResults = (DfsError | undefined)[];

/** Waits for some, with one promise for all of them: until it is known of each what became of it. */
export class Together implements Waiter {
  readonly done: Promise<PutResults>;
  private readonly results: PutResults;
  private readonly resolve: (results: PutResults) => void;
  private left: number;

  constructor(count: number) {
    const { promise, resolve } = Promise.withResolvers<PutResults>();
    this.results = Array.from({ length: count }, () => undefined);
    this.done = promise;
    this.resolve = resolve;
    this.left = count;
    if (count === 0) resolve(this.results);
  }

  durable(): void {
    if (--this.left === 0) this.resolve(this.results);
  }

  failed(error: DfsError, at: number): void {
    this.results[at] = error;
    this.durable();
  }
}

/** Moves are left out: whether they have happened makes no difference. */
export function idsOf(taken: readonly Waiting[]): { puts: BlockId[]; deletes: BlockId[] } {
  const puts: BlockId[] = [];
  const deletes: BlockId[] = [];
  for (const { append } of taken) {
    if (append.kind === "put") puts.push(append.put.block);
    else if (append.kind === "tombstone") deletes.push(...append.blocks);
  }
  return { puts, deletes };
}
