/**
 * Repair: the cluster returns to as many good copies of every block as it should have, by itself.
 *
 *     need.ts        what a block needs, judged from its copies; written to table `repairs`
 *     suspects.ts    copies that somebody reported: verified on their own server, and marked bad if they are
 *     surveys.ts     a server went out or came back: all blocks with a copy there are judged anew
 *     planner.ts     goes through `repairs` in order of urgency and begins jobs
 *     choice.ts      what to do for a block, and with which servers; eyes.ts and loads.ts are how it sees them
 *     room.ts        blocks that wait in memory; batches.ts, small ones that are copied together; prunes.ts, removals
 *     worker.ts      carries a job out: transactions of steps.ts around requests to data servers
 *     refills.ts     all that a server lacks which has lost its disk, in one pass: refill-pass.ts, with the transactions of
 *                    refill-steps.ts, refill-choice.ts, which says what, refill-sources.ts, from where, and
 *                    refill-record.ts, which puts on record what was made
 *     pace.ts retries.ts    how fast, and when to try again; share.ts, what goes on beside passes
 *
 * Everything that has to survive is in the store. docs/metadata.md has the argument why a crash at any moment is harmless.
 */
import type { Clock } from "../../../base/clock.ts";
import { messageOf } from "../../../base/errors.ts";
import type { BlockId, ServerId } from "../../../base/ids.ts";
import type { Logger } from "../../../base/logger.ts";
import type { Commands } from "../commands.ts";
import type { Engine } from "../engine.ts";
import type { Member, Members } from "../members.ts";
import { Loads } from "./loads.ts";
import { Pace } from "./pace.ts";
import { Planner } from "./planner.ts";
import { Refills } from "./refills.ts";
import { Retries } from "./retries.ts";
import { Share } from "./share.ts";
import { Surveys } from "./surveys.ts";
import { Suspects, type Report } from "./suspects.ts";
import { Worker } from "./worker.ts";

export interface RepairOptions {
  readonly engine: Engine;
  readonly commands: Commands;
  readonly members: Members;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Between two looks for work that nobody told of. */
  readonly intervalMs: number;
  /** Copies at a time to one server, and from one server. */
  readonly copiesPerServer: number;
  /** Whether copies on stand-ins are moved to where the placement table wants them. */
  readonly moveMisplaced: boolean;
  /** Bytes copied in a second, except of blocks with one good copy left; 0: no limit. */
  readonly bytesPerSecond: number;
}

/** What repairs are doing at this moment. */
export interface RepairProgress {
  /** Copies under way. */
  readonly copying: number;
  /** Reported copies that wait to be verified. */
  readonly suspects: number;
  /** Since the service started. */
  readonly copiedBlocks: number;
  readonly copiedBytes: number;
  /** Lately. */
  readonly bytesPerSecond: number;
}

export class Repair {
  private readonly retries: Retries;
  private readonly pace: Pace;
  private readonly suspects: Suspects;
  private readonly surveys: Surveys;
  private readonly worker: Worker;
  private readonly refills: Refills;
  private readonly planner: Planner;
  private readonly logger: Logger;

  constructor(options: RepairOptions) {
    const { engine, members, clock, logger, intervalMs, bytesPerSecond } = options;
    const loads = new Loads(clock);
    const share = new Share();
    this.logger = logger;
    this.retries = new Retries(clock, intervalMs);
    this.pace = new Pace(clock, bytesPerSecond);
    const member = (server: ServerId): Member | undefined =>
      members.settled().find((each) => each.server === server);
    const onChanged = (): void => this.planner.kick();
    this.suspects = new Suspects({ ...options, member, onSettled: onChanged });
    this.surveys = new Surveys({
      engine,
      logger,
      mayBegin: (server) => !members.isConnected(server) || member(server) !== undefined,
      compared: (server) => member(server)?.instance,
      onFilled: () => this.refills.kick(),
      onJudged: onChanged,
    });
    const { retries, pace, suspects, surveys } = this;
    this.worker = new Worker({
      ...options,
      suspects,
      loads,
      pace,
      retries,
      member,
      onEnded: (jobs) => this.planner.ended(jobs),
    });
    const { worker } = this;
    this.refills = new Refills({
      ...options,
      loads,
      pace,
      share,
      isBusyWith: (block) => worker.isBusyWith(block),
      isHeld: () => this.planner.isHeld,
      onBad: (block, server, to) => this.reportSource(block, server, to),
      onLeft: (blocks) => this.planner.consider(blocks),
      onEnded: onChanged,
    });
    const { refills } = this;
    const parts = { worker, refills, surveys, loads, pace, share, retries };
    this.planner = new Planner({ ...options, ...parts });
  }

  start(): void {
    this.planner.start();
  }

  /** Begins nothing any more, and waits for what is under way: the connections to data servers must be closed first. */
  async stop(): Promise<void> {
    const { planner, surveys, suspects, refills } = this;
    await Promise.all([planner.stop(), surveys.stop(), suspects.stop(), refills.stop()]);
    await this.worker.stop();
  }

  /**
   * Somebody could not read or verify a copy: a client, a data server that reads its own copies or copies from another.
   * The copy is verified by its own server, and replaced if it is bad. Resolves when that is planned.
   */
  report(report: Report): Promise<void> {
    return this.suspects.report(report);
  }

  private reportSource(block: BlockId, server: ServerId, to: ServerId): void {
    const detail = "it did not give the block right";
    const report = { block, server, problem: "notGiven", detail, reporter: `data server ${to}` };
    this.suspects.report(report).catch((error: unknown) => {
      this.logger.info(`a bad copy of block ${block} cannot be looked at: ${messageOf(error)}`);
    });
  }

  /** A server is in another state than before, or has been compared with the record. */
  serversChanged(): void {
    this.retries.clear();
    this.suspects.kick();
    this.refills.kick();
    this.planner.kick();
  }

  /** A server that has lost its disk is being compared with the record: its copies up to `reach` have been given up. */
  emptied(member: Member, reach: BlockId): void {
    this.refills.emptied(member, reach);
  }

  /** Something has been put on record. */
  recorded(): void {
    this.planner.kick();
  }

  /** True while a copy of the block may be on its way to the server. */
  isCopying(block: BlockId, server: ServerId): boolean {
    return this.worker.isCopying(block, server) || this.refills.isCopying(block, server);
  }

  progress(): RepairProgress {
    return {
      copying: this.worker.copies + this.refills.copies,
      suspects: this.suspects.size,
      copiedBlocks: this.pace.copiedBlocks,
      copiedBytes: this.pace.copiedBytes,
      bytesPerSecond: this.pace.rate(),
    };
  }
}
