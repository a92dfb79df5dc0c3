/**
 * The repair planner: goes through the queue in order of urgency, again and again, and begins what can be begun.
 *
 *     table `repairs` ── pages, by urgency ──► the room, some thousand blocks ── a free slot ──► worker.ts
 *
 * The queue is in the store, so that it survives everything and may be of any length. In memory there is only the room:
 * blocks that wait until a server has a slot free or the rate allows more. Those with the fewest copies within reach
 * go first, whatever their place in the queue; the order of the queue itself counts copies on servers that are down for a
 * short while as if they were within reach, because it must not be written anew whenever a server restarts.
 *
 * A block that nothing can be done for is passed over until the next pass. A pass begins when the last one has ended, at
 * once after something has changed, and otherwise after a pause that is long when reading the queue took long: so
 * impossible repairs cost little, however many there are.
 *
 * All the while, so that nothing which can be done waits behind what cannot: the beginning of the queue is looked at, and
 * when most of that is impossible the beginning of the next urgency; blocks that are to be tried again are read by their ids
 * when their time has come, and those that need another copy when one has been made.
 */
import type { Clock, Timer } from "../../../base/clock.ts";
import { messageOf } from "../../../base/errors.ts";
import { blockId, type BlockId } from "../../../base/ids.ts";
import type { Logger } from "../../../base/logger.ts";
import type { Engine } from "../engine.ts";
import type { Members } from "../members.ts";
import { ask } from "../store/store.ts";
import { whenFree, withinReach, type Candidate, type Job } from "./choice.ts";
import { lookAt, type Eyes, type Seen } from "./eyes.ts";
import type { Loads } from "./loads.ts";
import { clusterView, REFILL } from "./need.ts";
import type { Pace } from "./pace.ts";
import type { Refills } from "./refills.ts";
import type { Retries } from "./retries.ts";
import { Room } from "./room.ts";
import type { Share } from "./share.ts";
import { readQueue, readQueued } from "./steps.ts";
import type { Surveys } from "./surveys.ts";
import type { Worker } from "./worker.ts";

/** Blocks in the room: enough for the next batches to all servers. */
const ROOM = 2048;

/** Blocks read from the queue at a time: few enough that the event loop is never held long. */
const PAGE = 512;

/** Most blocks under way. */
const MOST_JOBS = 4096;

/** Batches of removals under way: before each of them some servers read its blocks. */
const MOST_PRUNES = 16;

/** The pause between two passes is so many times as long as the pass was. */
const PAUSE_FACTOR = 20;
const MAX_PAUSE_MS = 600_000;

/** What refills have is read to its end no more often than this, and it is left in peace for so long when they begin. */
const MIN_THOROUGH_MS = 10_000;

/** A place in the queue: behind this urgency and this block. */
interface Place {
  readonly urgency: number;
  readonly block: BlockId;
}

/** Below every block id, and below every urgency. */
const BEGINNING: Place = { urgency: -1, block: blockId(0n) };

/** No block id is above it. */
const HIGHEST = blockId((1n << 63n) - 1n);

/** Most pages of one look at the beginnings of the urgencies, of which there are few. */
const MOST_LOOKS = 8;

/** A look goes on when less of a page than this can be done. */
const WORTHWHILE = PAGE / 2;

/** Most blocks that wait to be read by their ids. Of more the queue tells when it comes to them. */
const MOST_AGAIN = 8192;

export interface PlannerOptions {
  readonly engine: Engine;
  readonly members: Members;
  readonly worker: Worker;
  readonly refills: Refills;
  readonly surveys: Surveys;
  readonly loads: Loads;
  readonly pace: Pace;
  readonly share: Share;
  readonly retries: Retries;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Between two looks at the beginning of the queue. */
  readonly intervalMs: number;
  /** Copies at a time to one server, and from one server. */
  readonly copiesPerServer: number;
  /** Whether copies on stand-ins are moved to where the placement table wants them. */
  readonly moveMisplaced: boolean;
}

export class Planner {
  private readonly options: PlannerOptions;
  private readonly room: Room;
  private eyes: Eyes | undefined;
  /** Where the pass has got to; undefined between two passes. */
  private cursor: Place | undefined;
  /** To be read by their ids. */
  private readonly again = new Set<BlockId>();
  /** Something has changed since the pass began: what was impossible then may be possible now. */
  private isNews = false;
  /** What is left to refills is read as well in this pass, */
  private isThorough = false;
  /** not before this, */
  private thoroughMs = 0;
  /** and in any case when they have left more than could be kept in mind. */
  private isOverlooked = false;
  /** Milliseconds that reading has taken in this pass. */
  private spentMs = 0;
  private nextPassMs = 0;
  private lookedMs = 0;
  private kicked = false;
  /** What goes before passes, or has a share beside them, waits for the rate. */
  private isHeldBack = false;
  private stopped = false;
  private running: Promise<void> = Promise.resolve();
  private wake: () => void = () => undefined;
  private timer: Timer | undefined;

  constructor(options: PlannerOptions) {
    this.options = options;
    const { engine, moveMisplaced, retries } = options;
    this.room = new Room((block) => ({
      replicas: engine.settings.replicas,
      moveMisplaced,
      failed: retries.failedServers(block),
    }));
  }

  /** Whether something waits for the rate that is to have it before passes: copies of blocks that lack more, and the share of what is behind. */
  get isHeld(): boolean {
    return this.isHeldBack;
  }

  start(): void {
    this.running = this.run();
  }

  /** Something has changed: a job has ended, a server has come or gone, something was put on record. */
  kick(): void {
    this.kicked = true;
    this.isNews = true;
    this.wake();
  }

  /** These blocks may need something. */
  consider(blocks: readonly BlockId[]): void {
    for (const block of blocks) {
      if (this.again.size < MOST_AGAIN) this.again.add(block);
      else this.isOverlooked = true;
    }
    this.kicked = true;
    this.wake();
  }

  /** Jobs have ended: what waits in the room may begin, and their blocks may need something else. */
  ended(jobs: readonly Job[]): void {
    for (const job of jobs) {
      const needsMore = job.kind === "judge" || (job.kind === "copy" && job.more);
      if (needsMore && this.again.size < MOST_AGAIN) this.again.add(job.block.id);
    }
    this.kicked = true;
    this.wake();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.wake();
    await this.running;
  }

  private async run(): Promise<void> {
    const { surveys, logger, intervalMs } = this.options;
    while (!this.stopped) {
      let waitMs = intervalMs;
      try {
        surveys.kick();
        this.eyes = await this.see();
        if (this.room.see(this.eyes)) this.onServersChanged();
        const isMore = await this.fill();
        waitMs = this.beginSome(isMore);
      } catch (error) {
        if (!this.stopped) logger.warn(`repairs cannot be planned for now: ${messageOf(error)}`);
      }
      if (waitMs > 0) await this.pause(waitMs);
    }
  }

  /** A server has room again for copies, say, which nobody else tells. */
  private onServersChanged(): void {
    this.isNews = true;
    this.options.refills.kick();
  }

  private async see(): Promise<Eyes> {
    const { engine, members, loads } = this.options;
    const rows = await engine.question(() => ask("server.list"));
    return lookAt(rows, members, loads);
  }

  /** Fills the room from the queue. Returns whether there is more to read. */
  private async fill(): Promise<boolean> {
    const nowMs = this.options.clock.monotonicMs();
    if (!this.options.refills.isComplete) this.thoroughMs = nowMs + MIN_THOROUGH_MS;
    if (this.cursor === undefined && (this.isNews || nowMs >= this.nextPassMs)) {
      this.isNews = false; // what happens from here on may concern what has been read by then
      this.cursor = BEGINNING;
      this.isThorough = this.mayBeOverlooked && nowMs >= this.thoroughMs;
      if (this.isThorough) this.isOverlooked = false;
      this.spentMs = 0;
      this.lookedMs = nowMs;
    } else if (nowMs - this.lookedMs >= this.options.intervalMs) {
      this.lookedMs = nowMs;
      await this.look();
    }
    await this.readAgain();
    const isMore = this.again.size > 0;
    if (this.cursor === undefined) return isMore;
    if (this.room.size >= ROOM) return true;
    this.cursor = (await this.readFrom(this.cursor)).last;
    if (this.cursor !== undefined) return true;
    const pauseMs = Math.min(MAX_PAUSE_MS, this.spentMs * PAUSE_FACTOR);
    this.nextPassMs = nowMs + Math.max(this.options.intervalMs, pauseMs);
    if (this.isThorough) this.thoroughMs = nowMs + Math.max(MIN_THOROUGH_MS, pauseMs);
    return isMore;
  }

  /** What has come, or become more urgent, or is to be tried again. */
  private async look(): Promise<void> {
    for (const block of this.options.retries.due(PAGE)) this.again.add(block);
    let from: Place | undefined = BEGINNING;
    for (let pages = 0; pages < MOST_LOOKS && from !== undefined; pages++) {
      if (this.room.size >= 2 * ROOM) return;
      const { first, last, taken } = await this.readFrom(from);
      if (taken >= WORTHWHILE || last === undefined) return;
      const { urgency } = last;
      from = urgency === first?.recorded ? { urgency, block: HIGHEST } : last;
    }
  }

  private async readAgain(): Promise<void> {
    if (this.again.size === 0 || this.room.size >= 2 * ROOM) return;
    const ids = [...this.again].slice(0, PAGE);
    for (const id of ids) this.again.delete(id);
    const { engine } = this.options;
    const candidates = await engine.question(function* () {
      const view = yield* clusterView(engine.settings.replicas, engine.nowNs);
      return yield* readQueued(view, ids);
    });
    this.takeIn(candidates);
  }

  /**
   * Reads a page into the room. Returns the first block of it, how many can be done, and where it ends: undefined when it was
   * the last one.
   */
  private async readFrom(from: Place) {
    const { engine, clock } = this.options;
    const beganMs = clock.monotonicMs();
    const { candidates, last } = await engine.question(function* () {
      const view = yield* clusterView(engine.settings.replicas, engine.nowNs);
      return yield* readQueue(view, from.urgency, from.block, PAGE);
    });
    this.spentMs += clock.monotonicMs() - beganMs;
    // What refills have is not read to its end: they tell what they leave. What is behind it goes on beside them.
    const isLeft = last?.urgency === REFILL && this.options.refills.isComplete && !this.isThorough;
    const next = isLeft ? { urgency: REFILL, block: HIGHEST } : last;
    return { first: candidates[0], last: next, taken: this.takeIn(candidates) };
  }

  /**
   * Whether there may be blocks among those of refills that are more urgent than their place in the queue says, because a server is
   * waited for, or that nobody will come to before the refill has ended.
   */
  private get mayBeOverlooked(): boolean {
    const isHere = ({ usable, isOut, isFilling }: Seen): boolean => usable || isOut || isFilling;
    return this.isOverlooked || this.eyes?.ring.every(isHere) === false;
  }

  /** Returns how many of the blocks are in the room then, or being worked at. */
  private takeIn(candidates: readonly Candidate[]): number {
    const { worker, retries } = this.options;
    let taken = 0;
    for (const candidate of candidates) {
      const { id } = candidate.block;
      if (candidate.recorded === REFILL && this.isLeft(candidate)) continue;
      const isIn = worker.isBusyWith(id) || (!retries.waits(id) && this.room.add(candidate));
      if (isIn) taken++;
    }
    return taken;
  }

  /** Whether the block, of urgency REFILL, is left to the pass of a server. */
  private isLeft(candidate: Candidate): boolean {
    const { refills } = this.options;
    const isUrgent = this.eyes !== undefined && withinReach(candidate, this.eyes).length < 2;
    return candidate.replicas.some(
      ({ block, server, state }) => state === "bad" && refills.has(block, server, isUrgent),
    );
  }

  /** Begins what can be begun. Returns how long to wait then, unless something happens: 0 to read on at once. */
  private beginSome(isMore: boolean): number {
    const { worker, refills, pace, loads, share, intervalMs } = this.options;
    const { copiesPerServer: perServer } = this.options;
    let allowed = pace.allowance();
    let isHeld = false;
    this.isHeldBack = false;
    this.room.offer((wanted) => {
      if (worker.jobs >= MOST_JOBS) return "stop";
      if (refills.isBusyWith(wanted.block.id) || isRefill(wanted, refills)) return true;
      const job =
        wanted.kind === "copy" ? whenFree(wanted, { loads, perServer }, worker.batches) : wanted;
      if (job === "busy" || (job.kind === "prune" && worker.prunes >= MOST_PRUNES)) return false;
      const isBeside = isBehindRefills(job) && refills.isUnderWay;
      if (isBeside && !share.isOpen) return false;
      if (isPaced(job)) {
        if (allowed <= 0) {
          isHeld = true;
          // Passes wait for the same moment, and would always have it.
          this.isHeldBack ||= isBeside || !isBehindRefills(job);
          return false;
        }
        allowed -= job.block.length;
      }
      if (isBeside) share.begin(job.block.length);
      if (!worker.isBusyWith(job.block.id)) worker.begin(job);
      return true;
    });
    worker.beginBatches();
    const waitMs = isHeld ? Math.min(intervalMs, pace.waitMs()) : intervalMs;
    return isMore && this.room.size < ROOM ? 0 : Math.max(1, waitMs);
  }

  private async pause(waitMs: number): Promise<void> {
    if (this.stopped) return;
    if (!this.kicked) {
      await new Promise<void>((resolve) => {
        this.timer = this.options.clock.setTimer(waitMs, resolve, { background: true });
        this.wake = resolve;
      });
      this.timer?.cancel();
    }
    this.kicked = false;
  }
}

/** Whether the rate applies: to everything that moves or reads blocks, unless it saves one. */
function isPaced(job: Job): boolean {
  return job.kind === "prune" || (job.kind === "copy" && !job.urgent);
}

/** Whether the order of work has it behind refills: beside passes it gets its share, and no more. */
function isBehindRefills(job: Job): boolean {
  return job.kind === "prune" || (job.kind === "copy" && job.move && !job.urgent);
}

/** Whether the job was chosen before a pass began that it is left to. */
function isRefill(job: Job, refills: Refills): boolean {
  if (job.kind !== "copy" || job.more || job.move || job.present !== "bad") return false;
  return refills.has(job.block.id, job.target, job.urgent);
}
