/**
 * What a scrub remembers over restarts, in the file `scrub` of the log's directory. docs/log-format.md, "Scrub", has the
 * drawing. The file is replaced as a whole. One that is damaged, or of a version that this build does not know, costs the
 * place that the pass had come to and nothing else: the scrub begins anew.
 *
 *     magic, version, flags, rate, then times in nanoseconds since the epoch, place and counts, each 8 bytes; XXH3 of it
 */
import { join } from "node:path";
import { hash64 } from "../base/checksum.ts";
import type { Clock } from "../base/clock.ts";
import { readWholeFile, replaceFile, type Disk } from "../base/disk.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { FIELD_BYTES, viewOf } from "./format.ts";

export const SCRUB_FILE = "scrub";

/** A pass that is under way. */
export interface ScrubPass {
  /** Begun by hand: as fast as the rate allows, not spread over the period. */
  readonly hurried: boolean;
  readonly startedNs: bigint;
  /** When it is to be over, if it is spread. */
  readonly deadlineNs: bigint;
  /** The newest segment that belongs to it. */
  readonly lastSegment: number;
  /** Where it goes on. */
  segment: number;
  position: number;
  /** Bytes that it has been through. */
  doneBytes: number;
}

/** What a pass has come to. */
export interface ScrubFound {
  /** Whole records. */
  readonly records: number;
  /** Damage of any kind. */
  readonly damage: number;
  /** Copies of blocks that it has made rotten. */
  readonly rotten: number;
}

export interface ScrubState {
  readonly paused: boolean;
  /** Bytes in a second at most; 0 for the default. */
  readonly bytesPerSecond: number;
  /** Rotten copies found by all passes. */
  readonly rottenEver: number;
  /** When the last whole pass ended; 0 when there was none. */
  readonly lastPassNs: bigint;
  /** When the next one begins, unless one is under way. */
  readonly nextNs: bigint;
  /** By the pass under way, else by the last one. */
  readonly found: ScrubFound;
  readonly pass: ScrubPass | undefined;
}

const { u32, u64 } = FIELD_BYTES;
const VERSION = 1;

// Each offset is the one before it plus the size of the field there.
const MAGIC = 0x64_66_73_2d_73_63_72_0an; // "dfs-scr\n"
const MAGIC_AT = 0;
const VERSION_AT = MAGIC_AT + u64;
const FLAGS_AT = VERSION_AT + u32;
const RATE_AT = FLAGS_AT + u32;
const ROTTEN_EVER_AT = RATE_AT + u64;
const LAST_PASS_AT = ROTTEN_EVER_AT + u64;
const NEXT_AT = LAST_PASS_AT + u64;
const RECORDS_AT = NEXT_AT + u64;
const DAMAGE_AT = RECORDS_AT + u64;
const ROTTEN_AT = DAMAGE_AT + u64;
const STARTED_AT = ROTTEN_AT + u64;
const DEADLINE_AT = STARTED_AT + u64;
const LAST_SEGMENT_AT = DEADLINE_AT + u64;
const SEGMENT_AT = LAST_SEGMENT_AT + u64;
const POSITION_AT = SEGMENT_AT + u64;
const DONE_AT = POSITION_AT + u64;
const CHECKSUM_AT = DONE_AT + u64;
const FILE_BYTES = CHECKSUM_AT + u64;

const FLAGS = { paused: 1, pass: 2, hurried: 4 } as const;

/** The bytes of the file. */
export function encodeScrubState(state: ScrubState): Uint8Array {
  const bytes = new Uint8Array(FILE_BYTES);
  const view = viewOf(bytes);
  const { pass } = state;
  view.setBigUint64(MAGIC_AT, MAGIC);
  view.setUint32(VERSION_AT, VERSION);
  view.setUint32(
    FLAGS_AT,
    (state.paused ? FLAGS.paused : 0) |
      (pass === undefined ? 0 : FLAGS.pass) |
      (pass?.hurried === true ? FLAGS.hurried : 0),
  );
  view.setBigUint64(RATE_AT, BigInt(state.bytesPerSecond));
  view.setBigUint64(ROTTEN_EVER_AT, BigInt(state.rottenEver));
  view.setBigUint64(LAST_PASS_AT, state.lastPassNs);
  view.setBigUint64(NEXT_AT, state.nextNs);
  view.setBigUint64(RECORDS_AT, BigInt(state.found.records));
  view.setBigUint64(DAMAGE_AT, BigInt(state.found.damage));
  view.setBigUint64(ROTTEN_AT, BigInt(state.found.rotten));
  if (pass !== undefined) {
    view.setBigUint64(STARTED_AT, pass.startedNs);
    view.setBigUint64(DEADLINE_AT, pass.deadlineNs);
    view.setBigUint64(LAST_SEGMENT_AT, BigInt(pass.lastSegment));
    view.setBigUint64(SEGMENT_AT, BigInt(pass.segment));
    view.setBigUint64(POSITION_AT, BigInt(pass.position));
    view.setBigUint64(DONE_AT, BigInt(pass.doneBytes));
  }
  view.setBigUint64(CHECKSUM_AT, hash64(bytes.subarray(0, CHECKSUM_AT)));
  return bytes;
}

/** What the bytes of the file say, or in words why they say nothing. */
export function decodeScrubState(bytes: Uint8Array): ScrubState | string {
  const view = viewOf(bytes);
  if (bytes.length < FILE_BYTES || view.getBigUint64(MAGIC_AT) !== MAGIC) return "it is damaged";
  const version = view.getUint32(VERSION_AT);
  if (version !== VERSION) return `it is of version ${version}, which this build does not know`;
  if (bytes.length !== FILE_BYTES) return "it is damaged";
  const checksum = hash64(bytes.subarray(0, CHECKSUM_AT));
  if (view.getBigUint64(CHECKSUM_AT) !== checksum) return "it is damaged";
  const number = (at: number): number => Number(view.getBigUint64(at));
  const flags = view.getUint32(FLAGS_AT);
  return {
    paused: (flags & FLAGS.paused) !== 0,
    bytesPerSecond: number(RATE_AT),
    rottenEver: number(ROTTEN_EVER_AT),
    lastPassNs: view.getBigUint64(LAST_PASS_AT),
    nextNs: view.getBigUint64(NEXT_AT),
    found: { records: number(RECORDS_AT), damage: number(DAMAGE_AT), rotten: number(ROTTEN_AT) },
    pass:
      (flags & FLAGS.pass) === 0
        ? undefined
        : {
            hurried: (flags & FLAGS.hurried) !== 0,
            startedNs: view.getBigUint64(STARTED_AT),
            deadlineNs: view.getBigUint64(DEADLINE_AT),
            lastSegment: number(LAST_SEGMENT_AT),
            segment: number(SEGMENT_AT),
            position: number(POSITION_AT),
            doneBytes: number(DONE_AT),
          },
  };
}

export interface ScrubMemoryOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** What is written: asked for at the moment of writing. */
  readonly state: () => ScrubState;
}

/** The file in a log's directory. Writes come one after the other. */
export class ScrubMemory {
  private readonly options: ScrubMemoryOptions;
  private writtenMs: number;
  private writes: Promise<void> = Promise.resolve();
  private told = false;

  constructor(options: ScrubMemoryOptions) {
    this.options = options;
    this.writtenMs = options.clock.monotonicMs();
  }

  /** Time since the last write, or since the beginning. */
  get ageMs(): number {
    return this.options.clock.monotonicMs() - this.writtenMs;
  }

  /** What was written last; undefined when there is no such file, or one that cannot be used, which is told. */
  read(): ScrubState | undefined {
    const { disk, directory, logger } = this.options;
    if (disk.list(directory)?.includes(SCRUB_FILE) !== true) return undefined;
    const path = join(directory, SCRUB_FILE);
    let why: string;
    try {
      const state = decodeScrubState(readWholeFile(disk, path));
      if (typeof state === "object") return state;
      why = state;
    } catch (error) {
      why = messageOf(error); // a file that cannot be read is no reason not to serve blocks
    }
    logger.warn(`cannot use ${path}, so scrubbing begins anew: ${why}`);
    return undefined;
  }

  /** Makes durable how things are. @throws what the disk throws. */
  save(): Promise<void> {
    const { disk, directory, clock, state } = this.options;
    const written = this.writes.then(() => {
      this.writtenMs = clock.monotonicMs();
      return replaceFile(disk, directory, SCRUB_FILE, encodeScrubState(state()));
    });
    this.writes = written.catch(() => undefined); // whoever asked for it is told; the next one does not depend on it
    return written;
  }

  /** The same; what goes wrong is told, once for as long as it does. */
  async saveOrWarn(): Promise<void> {
    const { directory, logger } = this.options;
    try {
      await this.save();
      this.told = false;
    } catch (error) {
      if (this.told) return;
      this.told = true;
      logger.warn(`cannot write how far the scrub of ${directory} is: ${messageOf(error)}`);
    }
  }
}
