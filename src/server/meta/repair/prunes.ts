/**
 * Copies too many are removed, many together: each server that is to keep a copy is asked once to read those of all blocks,
 * and one transaction gives the others up. A request, a judgement and a sync for each block and server would cost many
 * times what making the copies has cost, after a drain say.
 */
import { messageOf } from "../../../base/errors.ts";
import type { BlockId, ServerId } from "../../../base/ids.ts";
import { MAX_VERIFIED_BLOCKS } from "../../../base/limits.ts";
import type { Logger } from "../../../base/logger.ts";
import type { ReplicaVerdict } from "../../../protocol/messages/data.ts";
import type { Engine } from "../engine.ts";
import type { Member } from "../members.ts";
import type { Block } from "../store/rows.ts";
import type { PruneJob } from "./choice.ts";
import { clusterView } from "./need.ts";
import type { Retries } from "./retries.ts";
import { beginRemovals } from "./steps.ts";
import type { Suspects } from "./suspects.ts";

/** Bytes that a server is asked to read together: of a larger block there is one at a time. */
const MAX_BYTES = 1024 * 1024;

export interface PrunesOptions {
  readonly engine: Engine;
  readonly suspects: Suspects;
  readonly retries: Retries;
  readonly logger: Logger;
  /** The server, if it is connected and has been compared with the record. */
  readonly member: (server: ServerId) => Member | undefined;
}

/** Removals that are carried out together, each of another block. */
export interface PruneBatch {
  readonly jobs: PruneJob[];
  bytes: number;
  /** Resolves when it has ended. */
  readonly done: Promise<void>;
  end(): void;
}

/** What servers say of their copies, by server and block; nothing of those that could not be asked. */
type Verdicts = ReadonlyMap<ServerId, ReadonlyMap<BlockId, ReplicaVerdict>>;

export class Prunes {
  private readonly options: PrunesOptions;
  private waiting: PruneBatch[] = [];
  private parts = 0;

  constructor(options: PrunesOptions) {
    this.options = options;
  }

  /** Removals that wait or are under way, in batches: each block counts as its part of one. */
  get load(): number {
    return this.parts;
  }

  /** Adds a removal to the batch that it fits into, which is returned and waits for `takeAll`. */
  add(job: PruneJob): PruneBatch {
    const { length } = job.block;
    this.parts += partOf(job.block);
    let batch = this.waiting.at(-1);
    const hasRoom =
      batch !== undefined &&
      batch.jobs.length < MAX_VERIFIED_BLOCKS &&
      batch.bytes + length <= MAX_BYTES;
    if (batch === undefined || !hasRoom) {
      const { promise, resolve } = Promise.withResolvers<void>();
      batch = { jobs: [], bytes: 0, done: promise, end: resolve };
      this.waiting.push(batch);
    }
    batch.jobs.push(job);
    batch.bytes += length;
    return batch;
  }

  takeAll(): PruneBatch[] {
    return this.waiting.splice(0);
  }

  /** Carries a batch out; what could not be done of it is tried again later. */
  async run(batch: PruneBatch): Promise<void> {
    const { logger, retries } = this.options;
    const { jobs } = batch;
    try {
      await this.remove(jobs);
    } catch (error) {
      // The store failed: nothing has changed that is not on record.
      logger.info(`cannot remove ${jobs.length} copies for now: ${messageOf(error)}`);
      for (const { block } of jobs) retries.failed(block.id);
    } finally {
      for (const { block } of jobs) this.parts -= partOf(block);
      batch.end();
    }
  }

  private async remove(jobs: readonly PruneJob[]): Promise<void> {
    const { engine, retries, logger } = this.options;
    const verdicts = await this.verdicts(jobs);
    const ready: PruneJob[] = [];
    for (const job of jobs) {
      const { block, victim, victimIsBad, keepers } = job;
      const isRight = (server: ServerId) => verdicts.get(server)?.get(block.id) === "right";
      // The bad one may turn out to be right: it counts again, and the block is judged anew.
      if (victimIsBad && isRight(victim)) continue;
      const isKnown = !victimIsBad || verdicts.get(victim)?.has(block.id) === true;
      if (isKnown && keepers.every(isRight)) ready.push(job);
      else retries.failed(block.id);
    }
    if (ready.length === 0) return;
    const begun = await engine.change(function* () {
      return yield* beginRemovals(
        yield* clusterView(engine.settings.replicas, engine.nowNs),
        ready,
      );
    });
    for (const [at, { block, victim }] of ready.entries()) {
      if (begun[at] === true) {
        logger.debug("a copy too many is removed", { block: block.id, server: victim });
        retries.succeeded(block.id);
      } else retries.failed(block.id);
    }
  }

  /** Has all copies read that are to stay, and those that are bad. */
  private async verdicts(jobs: readonly PruneJob[]): Promise<Verdicts> {
    const asked = new Map<ServerId, Block[]>();
    for (const { block, victim, victimIsBad, keepers } of jobs) {
      for (const server of victimIsBad ? [victim, ...keepers] : keepers) {
        const blocks = asked.get(server);
        if (blocks === undefined) asked.set(server, [block]);
        else blocks.push(block);
      }
    }
    const told = new Map<ServerId, ReadonlyMap<BlockId, ReplicaVerdict>>();
    const ask = async ([server, blocks]: [ServerId, readonly Block[]]): Promise<void> => {
      const verdicts = await this.askOne(server, blocks);
      if (verdicts === undefined) return;
      told.set(server, new Map(blocks.map(({ id }, at) => [id, verdicts[at]!])));
    };
    await Promise.all([...asked].map(ask));
    return told;
  }

  private async askOne(
    server: ServerId,
    blocks: readonly Block[],
  ): Promise<readonly ReplicaVerdict[] | undefined> {
    const { member: find, suspects, logger } = this.options;
    const member = find(server);
    if (member === undefined) return undefined;
    try {
      return await suspects.verify(member, blocks);
    } catch (error) {
      logger.info(
        `data server ${server} cannot verify ${blocks.length} copies: ${messageOf(error)}`,
      );
      return undefined;
    }
  }
}

function partOf({ length }: Block): number {
  return Math.min(1, Math.max(length / MAX_BYTES, 1 / MAX_VERIFIED_BLOCKS));
}
