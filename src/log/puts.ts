/**
 * Puts of blocks: which of them are appended, and which are held already or wait for another put of the same block.
 */
import { DfsError, isDfsError } from "../base/errors.ts";
import type { BlockId, Lsn } from "../base/ids.ts";
import type { Place, PutAppend } from "./batch.ts";
import type { BlockReader } from "./block-reader.ts";
import type { BlockIndex, IndexEntry } from "./index.ts";
import type { BlockToPut } from "./types.ts";
import type { PutResults } from "./waiting.ts";
import type { LogWriter } from "./writer.ts";

/** What puts need of a log. */
export interface PutsOptions {
  readonly index: BlockIndex;
  readonly reader: BlockReader;
  readonly writer: LogWriter;
  /** Blocks that are written again, whatever the index says. */
  readonly unsure: ReadonlySet<BlockId>;
}

export class Puts {
  /** Puts that are not durable yet; each promise settles when its put has ended and is here no more. */
  readonly pending = new Map<BlockId, Promise<unknown>>();
  private readonly options: PutsOptions;

  constructor(options: PutsOptions) {
    this.options = options;
  }

  /** See `BlockLog.put`. */
  async put(block: BlockToPut): Promise<Lsn> {
    const { index, reader, unsure } = this.options;
    for (;;) {
      const pending = this.pending.get(block.block);
      const held = index.get(block.block);
      if (pending !== undefined) {
        await pending.catch(() => undefined); // its own caller is told; we look again at what is held now
      } else if (held === undefined) {
        return (await this.append(block)).lsn;
      } else {
        const lsn = (await reader.isRight(held)) ? lsnOfHeld(held, block) : undefined;
        if (lsn !== undefined && !unsure.has(block.block)) return lsn;
        if (index.isCurrent(held) && !this.pending.has(block.block)) {
          return (await this.append(block)).lsn;
        }
      }
    }
  }

  /** See `BlockLog.putMany`. */
  async putMany(blocks: readonly BlockToPut[]): Promise<PutResults> {
    const { index, writer } = this.options;
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    const appends: PutAppend[] = [];
    const others: number[] = [];
    for (const [at, block] of blocks.entries()) {
      if (this.pending.has(block.block) || index.get(block.block) !== undefined) {
        others.push(at);
      } else {
        this.pending.set(block.block, ended);
        appends.push(putOf(block));
      }
    }
    const alone = Promise.allSettled(others.map((at) => this.put(blocks[at]!)));
    const appended = await writer.appendMany(appends);
    for (const { put } of appends) this.pending.delete(put.block);
    resolve();
    return others.length === 0 ? appended : merged(appended, others, (await alone).map(failureOf));
  }

  private append(block: BlockToPut): Promise<Place> {
    const { block: id } = block;
    const pending = this.options.writer.append(putOf(block)).finally(() => this.pending.delete(id));
    this.pending.set(id, pending);
    return pending;
  }
}

function putOf(block: BlockToPut): PutAppend {
  const { checksum, pieces, bytes } = block;
  return { kind: "put", put: block, checksum, pieces, bytes };
}

/** Why a put has failed, if it has. @throws what is no DfsError. */
function failureOf(put: PromiseSettledResult<unknown>): DfsError | undefined {
  if (put.status === "fulfilled") return undefined;
  if (isDfsError(put.reason)) return put.reason;
  throw put.reason;
}

/** The results of all in their order: those at the places `others`, which rise, and between them the rest. */
function merged(rest: PutResults, others: readonly number[], ofOthers: PutResults): PutResults {
  const results: PutResults = [];
  let next = 0;
  for (const [nth, at] of others.entries()) {
    while (results.length < at) results.push(rest[next++]);
    results.push(ofOthers[nth]);
  }
  return [...results, ...rest.slice(next)];
}

/** The place in the log that made a held block durable. @throws DfsError `conflict` when it is not the block given. */
function lsnOfHeld(held: IndexEntry, given: BlockToPut): Lsn {
  if (held.checksum === given.checksum && held.length === given.length) return held.lsn;
  throw new DfsError(
    "conflict",
    `cannot store block ${given.block}: this server holds other bytes under that id`,
    { details: { block: given.block } },
  );
}
