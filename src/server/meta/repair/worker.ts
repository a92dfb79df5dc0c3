/**
 * Carries jobs out: transactions (steps.ts) around requests to data servers. One job for a block at a time.
 *
 * What a crash or a broken connection leaves behind is a copy that is `adding`. When the server registers again it is
 * compared with the record, which settles that; when it has been connected all the while, the planner orders the copy
 * again, which does no harm.
 */
import { isDfsError, messageOf, type ErrorKind } from "../../../base/errors.ts";
import type { BlockId, ServerId } from "../../../base/ids.ts";
import type { Logger } from "../../../base/logger.ts";
import type { BatchResult, ReplicaVerdict } from "../../../protocol/messages/data.ts";
import type { Commands, CopyOrder } from "../commands.ts";
import type { Engine } from "../engine.ts";
import type { Member } from "../members.ts";
import type { CheckJob, CopyJob, Job } from "./choice.ts";
import { partOfOne, type Loads } from "./loads.ts";
import { clusterView, type ClusterView } from "./need.ts";
import type { Pace } from "./pace.ts";
import { Prunes } from "./prunes.ts";
import type { Retries } from "./retries.ts";
import { abandonCopy, beginCopies, finishCopies, judge } from "./steps.ts";
import { Batches, type CopyBatch } from "./batches.ts";
import type { Suspects } from "./suspects.ts";
import type { Block } from "../store/rows.ts";
import type { Operation } from "../store/store.ts";

export interface WorkerOptions {
  readonly engine: Engine;
  readonly commands: Commands;
  readonly logger: Logger;
  readonly suspects: Suspects;
  readonly loads: Loads;
  readonly pace: Pace;
  readonly retries: Retries;
  /** The server, if it is connected and has been compared with the record. */
  readonly member: (server: ServerId) => Member | undefined;
  /** Jobs have ended. */
  readonly onEnded: (jobs: readonly Job[]) => void;
}

/** Kinds of error by which a server shows that it is no good target at the moment; one that is silent has a disk that hangs. */
const UNFIT: ReadonlySet<ErrorKind> = new Set(["noSpace", "io", "timeout"]);

type AloneJob = Exclude<Job, { readonly kind: "prune" }>;

type SourceFailure = Awaited<ReturnType<Commands["copyBlock"]>>["failures"][number];

/**
 * What came of an order. `unknown`: nobody can say whether the copy was made, and the connection has ended. `silent`: nor,
 * and the server is there all the same. `notThere`: not on this server. `notFromThese`: none of the sources had it right.
 */
interface Outcome {
  readonly made: "yes" | "unknown" | "silent" | "notThere" | "notFromThese";
  readonly failures: readonly SourceFailure[];
}

export class Worker {
  private readonly options: WorkerOptions;
  private readonly underWay = new Map<
    BlockId,
    { readonly job: Job; readonly done: Promise<void> }
  >();
  /** Copies that wait for `beginBatches`. */
  readonly batches = new Batches();
  private readonly removals: Prunes;
  private copying = 0;

  constructor(options: WorkerOptions) {
    this.options = options;
    this.removals = new Prunes(options);
  }

  /** Copies under way. */
  get copies(): number {
    return this.copying;
  }

  /** Removals under way; those of small blocks count as parts. */
  get prunes(): number {
    return this.removals.load;
  }

  /** Jobs under way, copies and removals among them. */
  get jobs(): number {
    return this.underWay.size;
  }

  isBusyWith(block: BlockId): boolean {
    return this.underWay.has(block);
  }

  /** True while a copy of the block may be on its way to the server. */
  isCopying(block: BlockId, server: ServerId): boolean {
    const job = this.underWay.get(block)?.job;
    return job?.kind === "copy" && job.target === server;
  }

  /** Begins a job; nothing of its block may be under way. Copies of a batch and removals wait for `beginBatches`. */
  begin(job: Job): void {
    if (job.kind === "prune") {
      this.underWay.set(job.block.id, { job, done: this.removals.add(job).done });
      this.options.pace.begin(job.block.length);
      return;
    }
    if (job.kind !== "copy" || !this.batches.takes(job)) return this.beginAlone(job);
    const { loads, pace } = this.options;
    const batch = this.batches.add(job);
    this.underWay.set(job.block.id, { job, done: batch.done });
    loads.count(job.target, batch.source.server, partOfOne(job.block.length), 1);
    this.copying++;
    if (!job.urgent) pace.begin(job.block.length);
  }

  /** Begins what has come together. */
  beginBatches(): void {
    for (const batch of this.removals.takeAll()) {
      void this.removals.run(batch).finally(() => {
        for (const { block } of batch.jobs) this.underWay.delete(block.id);
        this.options.onEnded(batch.jobs);
      });
    }
    const { logger, onEnded, retries, loads } = this.options;
    for (const batch of this.batches.takeAll()) {
      void this.copyTogether(batch)
        .catch((error: unknown) => {
          const { target, jobs } = batch;
          const why = messageOf(error);
          logger.info(`cannot go on with ${jobs.length} blocks for data server ${target}: ${why}`);
          for (const { block } of jobs) retries.failed(block.id);
        })
        .finally(() => {
          for (const { target, block } of batch.jobs) {
            this.underWay.delete(block.id);
            this.copying--;
            loads.count(target, batch.source.server, partOfOne(block.length), -1);
          }
          batch.end();
          onEnded(batch.jobs);
        });
    }
  }

  private beginAlone(job: AloneJob): void {
    const { logger, onEnded, retries } = this.options;
    const done = this.run(job)
      .catch((error: unknown) => {
        // The store failed, or a server could not be asked: nothing has changed that is not on record.
        logger.info(`cannot go on with block ${job.block.id} for now: ${messageOf(error)}`);
        retries.failed(job.block.id);
      })
      .finally(() => {
        this.underWay.delete(job.block.id);
        onEnded([job]);
      });
    this.underWay.set(job.block.id, { job, done });
  }

  /** Waits for what is under way. The connections must have been closed, or that takes long. */
  async stop(): Promise<void> {
    await Promise.all(this.underWay.values().map(({ done }) => done));
  }

  private async run(job: AloneJob): Promise<void> {
    const { loads, pace } = this.options;
    if (job.kind === "check") return this.check(job);
    if (job.kind === "judge") {
      await this.change((view) => judge(view, [job.block.id], "serverOut"));
      return;
    }
    const source = job.sources[0]?.server;
    loads.count(job.target, source, partOfOne(job.block.length), 1);
    this.copying++;
    if (!job.urgent) pace.begin(job.block.length);
    try {
      await this.copy(job);
    } finally {
      this.copying--;
      loads.count(job.target, source, partOfOne(job.block.length), -1);
    }
  }

  private async copy(job: CopyJob): Promise<void> {
    const { retries, member: find } = this.options;
    const { block, target, present } = job;
    const member = find(target);
    if (member === undefined) return;
    if (present === "bad" && !job.isEmptied) {
      const verdict = await this.verdict(member, block);
      if (verdict === "right") return retries.succeeded(block.id);
      if (verdict === undefined) return retries.failed(block.id, target);
    }
    if ((await this.beginTogether([job], target)).length > 0) await this.copyBegun(member, job);
  }

  /** Has a copy made that is on record as `adding`, and puts on record what came of it. */
  private async copyBegun(member: Member, job: CopyJob): Promise<void> {
    const { engine, retries } = this.options;
    const { block, target, present } = job;
    const { made, failures } = await this.order(member, job);
    for (const failure of failures) await this.report(target, block.id, failure);
    if (made === "unknown") return retries.failed(block.id);
    if (made !== "yes") {
      const isInDoubt = made === "silent"; // no comparison will settle it: its server is to read it
      retries.failed(block.id, isInDoubt || made === "notThere" ? target : undefined);
      return engine.change(() => abandonCopy(block.id, target, isInDoubt || present === "bad"));
    }
    await this.finishTogether([job], target);
  }

  /**
   * Copies of a batch: as `copy` does, with one transaction and one request where that has one for each. What the batch
   * cannot make is ordered alone, with all sources.
   */
  private async copyTogether(batch: CopyBatch): Promise<void> {
    const { target, jobs } = batch;
    const member = this.options.member(target);
    if (member === undefined) return;
    if (jobs.length === 1) return this.copy(jobs[0]!);
    const wanted = await this.beginTogether(await this.withoutRight(member, jobs), target);
    if (wanted.length === 0) return;
    const results = await this.orderTogether(member, batch, wanted);
    if (typeof results === "string") return this.giveUp(wanted, target, results);
    await this.finishTogether(
      wanted.filter((_, at) => results[at] === "stored"),
      target,
    );
    for (const [at, job] of wanted.entries()) {
      const result = results[at];
      if (result === "stored") continue;
      if (this.options.loads.isAvoided(target)) await this.giveUp([job], target, "notThere");
      else await this.copyBegun(member, result === "unreachable" ? sourceLast(job) : job);
    }
  }

  /** Leaves out blocks whose copies in doubt turn out to be right, and those of which the target does not say. */
  private async withoutRight(member: Member, jobs: readonly CopyJob[]): Promise<CopyJob[]> {
    const inDoubt = jobs.filter(({ present, isEmptied }) => present === "bad" && !isEmptied);
    if (inDoubt.length === 0) return [...jobs];
    const { retries } = this.options;
    const verdicts = await this.verdicts(
      member,
      inDoubt.map(({ block }) => block),
    );
    const out = new Set<CopyJob>();
    for (const [at, job] of inDoubt.entries()) {
      if (verdicts === undefined) retries.failed(job.block.id, job.target);
      else if (verdicts[at] === "right") retries.succeeded(job.block.id);
      else continue;
      out.add(job);
    }
    return jobs.filter((job) => !out.has(job));
  }

  /** Those copies that are wanted, which are on record as `adding` then. */
  private async beginTogether(jobs: readonly CopyJob[], target: ServerId): Promise<CopyJob[]> {
    const copies = jobs.map(({ block, move }) => ({ block: block.id, move }));
    const begun = await this.change((view) => beginCopies(view, target, copies));
    return jobs.filter((_, at) => begun[at] === true);
  }

  private async finishTogether(jobs: readonly CopyJob[], target: ServerId): Promise<void> {
    if (jobs.length === 0) return;
    const { pace, retries } = this.options;
    const ids = jobs.map(({ block }) => block.id);
    const finished = await this.change((view) => finishCopies(view, target, ids));
    for (const [at, { block }] of jobs.entries()) {
      if (finished[at] === true) pace.made(block.length);
      retries.succeeded(block.id);
    }
  }

  /** Has the target make copies; returns what came of each, or of all of them. */
  private async orderTogether(
    member: Member,
    { target, source }: CopyBatch,
    jobs: readonly CopyJob[],
  ): Promise<readonly BatchResult[] | "unknown" | "silent" | "notThere"> {
    const { commands, logger } = this.options;
    const blocks = jobs.map(({ block: { id, length, checksum, inode, fileOffset } }) => {
      return { block: id, length, checksum, inode, fileOffset, source: 0 };
    });
    try {
      const { server, address } = source;
      return await commands.copyMany(member, { sources: [{ server, address }], blocks });
    } catch (error) {
      const why = messageOf(error);
      logger.info(`data server ${target} could not copy ${blocks.length} blocks: ${why}`);
      // It is of an older version, which is told of each block alone.
      if (isDfsError(error, "unsupported")) return jobs.map(() => "notStored");
      return this.whatIsKnown(target, error);
    }
  }

  /** Nothing was made of these, as far as anybody knows. */
  private async giveUp(
    jobs: readonly CopyJob[],
    target: ServerId,
    made: "unknown" | "silent" | "notThere",
  ): Promise<void> {
    const { engine, retries } = this.options;
    for (const { block } of jobs) retries.failed(block.id, made === "unknown" ? undefined : target);
    if (made === "unknown") return;
    await engine.change(function* () {
      for (const { block, present } of jobs) {
        yield* abandonCopy(block.id, target, made === "silent" || present === "bad");
      }
    });
  }

  /** What the copy on a target is worth; undefined when the server does not say, and then others are better targets. */
  private async verdict(member: Member, block: Block): Promise<ReplicaVerdict | undefined> {
    return (await this.verdicts(member, [block]))?.[0];
  }

  private async verdicts(
    member: Member,
    blocks: readonly Block[],
  ): Promise<readonly ReplicaVerdict[] | undefined> {
    const { suspects, loads, logger } = this.options;
    try {
      return await suspects.verify(member, blocks);
    } catch (error) {
      if (!isDfsError(error)) throw error;
      const { server } = member;
      const which = blocks.length === 1 ? `block ${blocks[0]!.id}` : `${blocks.length} blocks`;
      logger.info(`data server ${server} cannot verify ${which}: ${messageOf(error)}`);
      if (error.kind === "timeout") loads.avoid(server);
      return undefined;
    }
  }

  /** Has the target make the copy. */
  private async order(member: Member, job: CopyJob): Promise<Outcome> {
    const { commands, logger } = this.options;
    const { id: block, length, checksum, inode, fileOffset } = job.block;
    const sources = job.sources.map(({ server, address }) => ({ server, address }));
    const order: CopyOrder = { block, length, checksum, inode, fileOffset, sources };
    try {
      const { stored, failures } = await commands.copyBlock(member, order);
      if (stored) return { made: "yes", failures };
      // Who cannot reach any source is perhaps not the right one to ask; a bad source is not its fault.
      const cutOff = failures.every(({ problem }) => problem === "unreachable");
      return { made: cutOff ? "notThere" : "notFromThese", failures };
    } catch (error) {
      logger.info(`data server ${job.target} could not copy block ${block}: ${messageOf(error)}`);
      return { made: this.whatIsKnown(job.target, error), failures: [] };
    }
  }

  /** What is known of copies whose order ended with this error; a target that is unfit is avoided from now on. */
  private whatIsKnown(target: ServerId, error: unknown): "unknown" | "silent" | "notThere" {
    if (isDfsError(error) && UNFIT.has(error.kind)) this.options.loads.avoid(target);
    if (isDfsError(error, "timeout")) return "silent";
    return isDfsError(error, "unreachable") ? "unknown" : "notThere";
  }

  /** A source could not give the block: unless it was just not reached, its copy is looked at. */
  private async report(target: ServerId, block: BlockId, failure: SourceFailure): Promise<void> {
    const { server, problem, detail } = failure;
    if (problem === "unreachable") {
      this.options.logger.info(`data server ${target} cannot reach data server ${server}`, {
        detail,
      });
      return;
    }
    const reporter = `data server ${target}`;
    await this.options.suspects.report({ block, server, problem, detail, reporter });
  }

  private async check({ block, servers }: CheckJob): Promise<void> {
    const { suspects, retries, member: find } = this.options;
    for (const server of servers) {
      const member = find(server);
      if (member === undefined) continue;
      const [verdict] = await suspects.verify(member, [block]);
      if (verdict === "right") return retries.succeeded(block.id);
    }
    retries.failed(block.id);
  }

  private change<T>(step: (view: ClusterView) => Operation<T>): Promise<T> {
    const { engine } = this.options;
    return engine.change(function* () {
      return yield* step(yield* clusterView(engine.settings.replicas, engine.nowNs));
    });
  }
}

/** The same copy, with the source that would be asked first as the last one. */
function sourceLast(job: CopyJob): CopyJob {
  const [first, ...others] = job.sources;
  return first === undefined ? job : { ...job, sources: [...others, first] };
}
