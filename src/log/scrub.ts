/**
 * The scrub: a pass over all segments, again and again in the background, that verifies everything in them, so that rot is
 * found while there are other copies to mend it from.
 *
 * - A pass goes from the oldest segment to the newest that there was when it began, and up to what was durable in that one:
 *   a small log may never seal its only segment. What compaction moves behind the pass it has verified itself.
 * - A pass is spread over SCRUB_PERIOD_MS, with the pause before it, whose length is random so that servers do not scrub
 *   in step. One that was asked for goes as fast as the rate allows. Neither ever goes faster than that.
 * - Place, pause, rate and counts survive restarts (scrub-file.ts). They are written every few seconds: a crash costs these
 *   seconds of scrubbing, and may have the damage met in them reported again.
 * - No read or append waits for the scrub. It reads one chunk ahead, and holds a segment open no longer than it takes to
 *   read a part of it: a file that is deleted meanwhile gives its space back.
 */
import type { Clock } from "../base/clock.ts";
import type { Disk } from "../base/disk.ts";
import { DfsError, isDfsError, messageOf, systemCodeOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Random } from "../base/random.ts";
import type { SegmentLedger, SegmentState } from "./ledger.ts";
import { CHUNK_BYTES } from "./read-ahead.ts";
import { ScrubMemory, type ScrubFound, type ScrubPass, type ScrubState } from "./scrub-file.ts";
import { ScrubPace } from "./scrub-pace.ts";
import { SegmentScrubber, type ScrubbedPart, type SegmentScrubOptions } from "./scrub-segment.ts";

/** All of a log is verified once within this time, if the rate allows it. */
export const SCRUB_PERIOD_MS = 14 * 24 * 3600_000;

/** Bytes that a scrub reads in a second at most, unless it was told otherwise. */
export const SCRUB_BYTES_PER_S = 16 * 1024 * 1024;

/** Slowest and fastest rate that can be asked for, in bytes per second. */
export const MIN_SCRUB_RATE = 1024;
export const MAX_SCRUB_RATE = Number.MAX_SAFE_INTEGER;

/** The pause between two passes: between these parts of the period. A spread pass takes the rest. */
const LONGEST_PAUSE = 1 / 4;
const SHORTEST_PAUSE = 1 / 8;

/** A segment is held open during waits that are no longer than this. */
const HELD_MS = 1_000;

const SAVE_INTERVAL_MS = 5_000;
const NS_PER_MS = 1_000_000n;

export type ScrubAction = "start" | "pause" | "resume";

export interface ScrubberOptions extends Omit<SegmentScrubOptions, "pace" | "clock"> {
  readonly disk: Disk;
  readonly directory: string;
  readonly ledger: SegmentLedger;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** What a scrub is doing, and what it has found. Times are wall-clock nanoseconds; 0: never, or not known. */
export interface ScrubStatus extends ScrubFound {
  /** `idle` between two passes. */
  readonly state: "idle" | "running" | "paused";
  /** The pass under way was asked for: it is not spread over the period. */
  readonly hurried: boolean;
  /** Where it is: a segment's number, and the bytes of it that are done; 0 when no pass is under way. */
  readonly segment: number;
  readonly position: number;
  /** Bytes done and bytes in all of the pass under way. */
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly bytesPerSecond: number;
  readonly startedNs: bigint;
  /** When the pass under way is expected to end. */
  readonly expectedNs: bigint;
  /** When the next pass begins, if none is under way. */
  readonly nextNs: bigint;
  /** When the last whole pass ended. */
  readonly lastPassNs: bigint;
  /** Rotten copies found by all passes, each once a pass. */
  readonly rottenEver: number;
}

const NOTHING: ScrubFound = { records: 0, damage: 0, rotten: 0 };

export class Scrubber {
  private readonly options: ScrubberOptions;
  private readonly segmentScrubber: SegmentScrubber;
  private readonly pace: ScrubPace;
  private readonly memory: ScrubMemory;
  private isPaused = false;
  private wishedRate = 0;
  private rottenEver = 0;
  private lastPassNs = 0n;
  private nextNs = 0n;
  private pass: ScrubPass | undefined;
  private found = NOTHING;
  /** Verified bytes of the part that is being read, which the pass does not count yet. */
  private partBytes = 0;
  /** The pass for which a part is being read. Another may have begun meanwhile. */
  private partOf: ScrubPass | undefined;
  private closed = false;
  private readonly ended: Promise<void>;

  /** Begins where the last process ended. */
  constructor(options: ScrubberOptions) {
    this.options = options;
    this.pace = new ScrubPace(options.clock);
    this.segmentScrubber = new SegmentScrubber({
      ...options,
      pace: (bytes) => this.goesOnAfter(bytes),
    });
    this.memory = new ScrubMemory({ ...options, state: () => this.state() });
    const isNew = !this.restore();
    this.ended = this.run(isNew);
  }

  get status(): ScrubStatus {
    const { pass } = this;
    const doneBytes = pass === undefined ? 0 : pass.doneBytes + this.partBytes;
    const leftBytes = this.bytesLeft();
    return {
      state: this.isPaused ? "paused" : pass === undefined ? "idle" : "running",
      hurried: pass?.hurried ?? false,
      segment: pass?.segment ?? 0,
      position: pass === undefined ? 0 : pass.position + this.partBytes,
      doneBytes,
      totalBytes: doneBytes + leftBytes,
      bytesPerSecond: this.rate,
      startedNs: pass?.startedNs ?? 0n,
      expectedNs: this.isPaused || pass === undefined ? 0n : this.expectedNs(leftBytes),
      nextNs: pass === undefined ? this.nextNs : 0n,
      lastPassNs: this.lastPassNs,
      ...this.found,
      rottenEver: this.rottenEver,
    };
  }

  /**
   * Does as it is told, and remembers that: `start` begins a pass over everything now, and ends a pause; a pass that was
   * asked for and is under way goes on. `pause` and `resume` leave the place where it is. A rate is in bytes per second.
   * @throws DfsError `invalid` for a rate that cannot be; `io` when it is done, but could not be written down.
   */
  async control(action: ScrubAction, bytesPerSecond?: number): Promise<void> {
    if (this.closed) throw new DfsError("unreachable", "the server is shutting down");
    if (bytesPerSecond !== undefined) this.setRate(bytesPerSecond);
    this.isPaused = action === "pause";
    if (action === "start" && this.pass?.hurried !== true) this.begin(true);
    this.pace.hasten(this.nextChunkMs());
    this.pace.wake();
    try {
      await this.memory.save();
    } catch (error) {
      throw new DfsError(
        "io",
        `the scrub does as it was told, but will have forgotten it after a restart: ${messageOf(error)}`,
        { cause: error },
      );
    }
  }

  /** Ends as soon as what is being read has been verified. */
  async close(): Promise<void> {
    this.closed = true;
    this.pace.close();
    await this.ended;
    await this.memory.saveOrWarn();
  }

  private get rate(): number {
    return this.wishedRate === 0 ? SCRUB_BYTES_PER_S : this.wishedRate;
  }

  private setRate(bytesPerSecond: number): void {
    if (bytesPerSecond < MIN_SCRUB_RATE || bytesPerSecond > MAX_SCRUB_RATE) {
      throw new DfsError(
        "invalid",
        `cannot scrub at ${bytesPerSecond} bytes per second: at least ${MIN_SCRUB_RATE} are possible`,
      );
    }
    this.wishedRate = bytesPerSecond;
  }

  /** Goes on where the last process ended. Returns false when nothing is known of that. */
  private restore(): boolean {
    const state = this.memory.read();
    if (state === undefined) {
      this.nextNs = this.pauseEnd();
      return false;
    }
    this.isPaused = state.paused;
    this.wishedRate = state.bytesPerSecond;
    this.rottenEver = state.rottenEver;
    this.lastPassNs = state.lastPassNs;
    this.nextNs = state.nextNs;
    this.found = state.found;
    this.pass = state.pass;
    this.pace.restart(this.nextChunkMs());
    return true;
  }

  private async run(isNew: boolean): Promise<void> {
    const { logger } = this.options;
    if (isNew) await this.memory.saveOrWarn(); // or a server that is restarted often would never come to its first pass
    while (!this.closed) {
      try {
        await this.step();
      } catch (error) {
        // Whatever it is must not end the scrub for good, nor the server.
        logger.error(
          `the scrub met an error and goes on with the next segment: ${messageOf(error)}`,
        );
        if (this.pass !== undefined) this.leaveSegment(this.pass);
        await this.pace.wait(HELD_MS);
      }
    }
  }

  /** Does what comes next: a wait, or a part of a segment. */
  private async step(): Promise<void> {
    const { pass } = this;
    if (this.isPaused) return this.pace.wait(Infinity);
    if (pass === undefined) {
      // A pause that is longer than any: the wall clock has been set back.
      if (this.msUntil(this.nextNs) > SCRUB_PERIOD_MS * LONGEST_PAUSE)
        this.nextNs = this.pauseEnd();
      const leftMs = this.msUntil(this.nextNs);
      if (leftMs > 0) return this.pace.wait(leftMs);
      this.begin(false);
      return this.memory.saveOrWarn(); // the first part of a small log may be days away
    }
    if (this.pace.leftMs > 0) return this.pace.wait(this.pace.leftMs);
    const state = this.nextSegment(pass);
    if (state === undefined) return this.finish();
    await this.scrubPart(pass, state);
    if (this.memory.ageMs >= SAVE_INTERVAL_MS) await this.memory.saveOrWarn();
  }

  private begin(hurried: boolean): void {
    const { clock, ledger, logger } = this.options;
    const startedNs = clock.nowNs();
    this.partBytes = 0;
    this.pass = {
      hurried,
      startedNs,
      deadlineNs: startedNs + toNs(SCRUB_PERIOD_MS * (1 - LONGEST_PAUSE)),
      lastSegment: Array.from(ledger.states()).reduce(
        (last, { number }) => Math.max(last, number),
        0,
      ),
      segment: 0,
      position: 0,
      doneBytes: 0,
    };
    this.found = NOTHING;
    this.pace.restart(this.nextChunkMs());
    const bytes = this.bytesLeft();
    logger.info("scrub: a pass begins", { bytes, hurried });
    if (hurried || (bytes / this.rate) * 1000 < SCRUB_PERIOD_MS) return;
    const days = Math.ceil(bytes / this.rate / 86_400);
    logger.warn(
      `scrub: at ${this.rate} bytes per second this pass takes ${days} days; raise its rate`,
    );
  }

  private async finish(): Promise<void> {
    const { clock, logger } = this.options;
    const { records, damage, rotten } = this.found;
    this.lastPassNs = clock.nowNs();
    this.pass = undefined;
    this.nextNs = this.pauseEnd();
    const what = "scrub: all segments have been verified";
    if (damage > 0) logger.warn(what, { records, damage, rotten });
    else logger.info(what, { records });
    await this.memory.saveOrWarn();
  }

  /** The oldest segment that is not done. */
  private nextSegment({ segment, lastSegment }: ScrubPass): SegmentState | undefined {
    let next: SegmentState | undefined;
    for (const state of this.options.ledger.states()) {
      if (state.number < segment || state.number > lastSegment) continue;
      if (next === undefined || state.number < next.number) next = state;
    }
    return next;
  }

  private async scrubPart(pass: ScrubPass, state: SegmentState): Promise<void> {
    if (pass.segment !== state.number) {
      pass.segment = state.number;
      pass.position = 0;
    }
    this.partOf = pass;
    const aheadBytes = this.msFor(CHUNK_BYTES) > HELD_MS ? 0 : Infinity;
    let part: ScrubbedPart | undefined;
    try {
      part = await this.segmentScrubber.scrub(state, pass.position, aheadBytes);
    } catch (error) {
      part = await this.withoutFile(state, pass.position, error);
    }
    if (pass !== this.pass) return; // another has begun
    const unpacedBytes = (part?.position ?? pass.position) - pass.position - this.partBytes;
    this.partBytes = 0;
    if (part === undefined) return this.leaveSegment(pass);
    this.count(pass, part);
    if (part.finished) this.leaveSegment(pass);
    this.charge(unpacedBytes);
  }

  /** What a segment comes to that cannot be opened or read; undefined when there is nothing to say about it. */
  private async withoutFile(
    state: SegmentState,
    position: number,
    error: unknown,
  ): Promise<ScrubbedPart | undefined> {
    const { logger, segments, ledger } = this.options;
    if (isDfsError(error, "noBlock") || !ledger.has(state.number)) return undefined; // deleted in good order
    const code = systemCodeOf(error);
    if (code === "ENOENT" && state.livePuts === 0) return undefined; // it is being deleted
    const name = segments.fileName(state.number);
    logger.error(`cannot scrub segment ${name}: ${messageOf(error)}`);
    if (code !== "ENOENT" && code !== "EIO") return undefined;
    return this.segmentScrubber.giveUp(state, position);
  }

  private leaveSegment(pass: ScrubPass): void {
    pass.segment++;
    pass.position = 0;
    this.partBytes = 0;
  }

  private count(pass: ScrubPass, part: ScrubbedPart): void {
    pass.doneBytes += part.position - pass.position;
    pass.position = part.position;
    const { records, damage, rotten } = this.found;
    this.found = {
      records: records + part.records,
      damage: damage + part.damage,
      rotten: rotten + part.rotten,
    };
    this.rottenEver += part.rotten;
  }

  /** See `SegmentScrubOptions.pace`. */
  private async goesOnAfter(bytes: number): Promise<boolean> {
    const { ledger } = this.options;
    const { pass } = this;
    const goesOn = (): boolean =>
      !this.closed &&
      !this.isPaused &&
      pass === this.partOf &&
      pass === this.pass &&
      pass !== undefined &&
      ledger.has(pass.segment);
    if (!goesOn()) return false;
    this.partBytes += bytes;
    this.charge(bytes);
    const { leftMs } = this.pace;
    if (leftMs > HELD_MS) return false;
    if (leftMs > 0) await this.pace.wait(leftMs);
    return goesOn() && this.pace.leftMs <= 0;
  }

  /** `bytes` have been read: they put the next read off, unless that was the last one. */
  private charge(bytes: number): void {
    if (this.bytesLeft() > 0) this.pace.charge(this.msFor(bytes));
  }

  /** How long the pass may take for the next `bytes`: at the rate, or spread over the time that it has left. */
  private msFor(bytes: number): number {
    const { pass } = this;
    const atRateMs = (bytes / this.rate) * 1000;
    if (pass === undefined || pass.hurried) return atRateMs;
    const share = bytes === 0 ? 0 : Math.min(1, bytes / Math.max(1, this.bytesLeft()));
    return Math.max(atRateMs, share * this.msUntil(pass.deadlineNs));
  }

  private nextChunkMs(): number {
    return this.msFor(Math.min(CHUNK_BYTES, this.bytesLeft()));
  }

  /** Bytes of the pass that are not verified yet. */
  private bytesLeft(): number {
    const { pass } = this;
    if (pass === undefined) return 0;
    let sum = 0;
    for (const { number, bytes, end } of this.options.ledger.states()) {
      if (number < pass.segment || number > pass.lastSegment) continue;
      const done = number === pass.segment ? pass.position + this.partBytes : 0;
      sum += Math.max(0, Math.min(bytes, end ?? Infinity) - done);
    }
    return sum;
  }

  private expectedNs(leftBytes: number): bigint {
    return this.options.clock.nowNs() + toNs(this.msFor(leftBytes));
  }

  /** When the pause that begins now is over. */
  private pauseEnd(): bigint {
    const { clock, random } = this.options;
    const share =
      SHORTEST_PAUSE + (LONGEST_PAUSE - SHORTEST_PAUSE) * (random.below(1 << 20) / (1 << 20));
    return clock.nowNs() + toNs(SCRUB_PERIOD_MS * share);
  }

  /** From now to a time of the wall clock, 0 when it has passed; never more than a period, however that clock was set. */
  private msUntil(timeNs: bigint): number {
    const leftMs = Number((timeNs - this.options.clock.nowNs()) / NS_PER_MS);
    return Math.max(0, Math.min(leftMs, SCRUB_PERIOD_MS));
  }

  /** How things are, as they are written down. */
  private state(): ScrubState {
    const { isPaused, wishedRate, rottenEver, lastPassNs, nextNs, found, pass } = this;
    return {
      paused: isPaused,
      bytesPerSecond: wishedRate,
      rottenEver,
      lastPassNs,
      nextNs,
      found,
      pass,
    };
  }
}

function toNs(ms: number): bigint {
  return BigInt(Math.round(ms)) * NS_PER_MS;
}
