// Cutting a running log short at every moment, and looking at what is left.
//
// Whoever runs a workload lets a `CutMaker` watch the disk. At each moment it copies the disk as several crashes would
// leave it; between the steps of the workload `examineAll` opens a log on each of them:
//
// - the process is killed, and the system keeps what was written: the next process reads it without its being durable;
// - the power fails, and of what was not synced nothing, everything, or some of it is there;
// - both in the middle of a write, at positions in it.
//
// Some of those openings are themselves watched and cut (a crash during recovery), and so is some work after them.

import { messageOf } from "../../../src/base/errors.ts";
import { seededRandom, type Random } from "../../../src/base/random.ts";
import { CHECKPOINT_FILE } from "../../../src/log/checkpoint-format.ts";
import type { Operation, SimulatedDisk } from "../../support/disk/simulated-disk.ts";
import { makeBlock } from "../blocks.ts";
import {
  DIRECTORY,
  faultsOf,
  listed,
  openSimulated,
  put,
  remove,
  type LogShape,
  type OpenedLog,
} from "./examine.ts";
import { Oracle, type Snapshot } from "./oracle.ts";

export interface CutOptions {
  readonly seed: number;
  readonly shape: LogShape;
  /** Power cuts at each moment of which chance says what survives. */
  readonly chances: number;
  /** Positions inside each write at which it is cut off; 0 for none. */
  readonly positionsPerWrite: number;
  /** Of so many openings one is cut itself, at all its moments. */
  readonly secondCutEvery: number;
}

/** Counted over a run. */
export class CutCounters {
  /** Changes to the disk during workloads. */
  moments = 0;
  killed = 0;
  powerCuts = 0;
  insideWrites = 0;
  /** Writes to a file while it was being synced. */
  duringSyncs = 0;
  /** Cuts during an opening that followed a cut, or during the work after it. */
  secondCuts = 0;
  /** Cuts that left a checkpoint, and those of them from which it was taken away. */
  checkpoints = 0;
  lostCheckpoints = 0;

  get all(): number {
    return this.killed + this.powerCuts + this.secondCuts;
  }

  line(): string {
    return (
      `${this.all} cut points at ${this.moments} moments: ${this.killed} killed processes, ${this.powerCuts} power cuts, ` +
      `${this.secondCuts} of a recovery or what followed; ${this.insideWrites} of them inside a write; ${this.duringSyncs} writes during a sync; ` +
      `${this.checkpoints} left a checkpoint, which ${this.lostCheckpoints} then lost`
    );
  }
}

interface Cut {
  readonly disk: SimulatedDisk;
  readonly snapshot: Snapshot;
  readonly what: string;
}

/** Blocks put after a recovery get ids from here on. */
const AFTERMATH_ID = 1_000_000;

export class CutMaker {
  private readonly options: CutOptions;
  private readonly counters: CutCounters;
  private readonly random: Random;
  private cuts: Cut[] = [];
  private made = 0;
  private syncing: string | undefined;

  constructor(options: CutOptions, counters: CutCounters) {
    this.options = options;
    this.counters = counters;
    this.random = seededRandom(options.seed ^ 0x5eed);
  }

  /** Watches a disk on which a workload runs that tells `oracle` what was acknowledged. */
  watch(disk: SimulatedDisk, oracle: Oracle): void {
    disk.watch = (operation) => this.cutAt(disk, oracle.snapshot(), operation);
  }

  /** Opens a log on everything that was cut since the last call. @throws Error that says what is wrong, and where. */
  async examineAll(): Promise<void> {
    for (const cut of this.cuts.splice(0)) await this.examine(cut);
  }

  private cutAt(disk: SimulatedDisk, snapshot: Snapshot, operation: Operation): void {
    const { chances } = this.options;
    this.counters.moments++;
    this.countDuringSyncs(operation);
    const what = `${operation.kind} of ${operation.path} at ${operation.position}, ${operation.length} bytes`;
    const add = (kind: string, change: (copy: SimulatedDisk) => void): void => {
      const copy = disk.fork(this.random.below(2 ** 32));
      change(copy);
      this.cuts.push({ disk: copy, snapshot, what: `${kind} after ${what}` });
    };
    add("killed", () => this.counters.killed++);
    add("power cut, nothing unsynced left", (copy) => this.power(copy, "nothing"));
    add("power cut, all left", (copy) => this.power(copy, "everything"));
    for (let chance = 0; chance < chances; chance++) {
      add(`power cut ${chance}`, (copy) => this.power(copy, copy.random));
    }
    if (operation.kind !== "write") return;
    for (const missing of this.positionsIn(operation.length)) {
      const inside = (copy: SimulatedDisk): void => {
        copy.shortenLastWrite(operation.path, missing);
        this.counters.insideWrites++;
      };
      if (this.random.below(4) === 0) {
        add(`killed ${missing} bytes before the end`, (copy) => {
          inside(copy);
          this.counters.killed++;
        });
      } else {
        add(`power cut ${missing} bytes before the end`, (copy) => {
          inside(copy);
          this.power(copy, this.random.below(2) === 0 ? "everything" : copy.random);
        });
      }
    }
  }

  private countDuringSyncs({ kind, path }: Operation): void {
    if (kind === "syncBegins") this.syncing = path;
    else if (kind === "sync") this.syncing = undefined;
    else if (kind === "write" && path === this.syncing) this.counters.duringSyncs++;
  }

  private power(copy: SimulatedDisk, survival: Parameters<SimulatedDisk["powerCut"]>[0]): void {
    copy.powerCut(survival);
    this.counters.powerCuts++;
  }

  /** How many bytes are missing at the end of a write of this length. */
  private positionsIn(length: number): number[] {
    const { positionsPerWrite } = this.options;
    if (length - 1 <= positionsPerWrite) {
      return Array.from({ length: length - 1 }, (_, at) => at + 1);
    }
    return Array.from({ length: positionsPerWrite }, () => 1 + this.random.below(length - 1));
  }

  private async examine(cut: Cut): Promise<void> {
    await this.loseCheckpoint(cut.disk);
    const isCutAgain = this.made++ % this.options.secondCutEvery === 0;
    const again: Cut[] = [];
    if (isCutAgain) this.watchSecond(cut.disk, () => cut.snapshot, cut.what, again);
    const opened = await this.open(cut);
    if (!isCutAgain) return;
    await this.goOn(cut, opened, again);
    cut.disk.watch = undefined;
    for (const second of again) await this.open(second);
  }

  /** Every third opening has no checkpoint, so what one of them tells is compared with what all segments tell. */
  private async loseCheckpoint(disk: SimulatedDisk): Promise<void> {
    if (disk.list(DIRECTORY)?.includes(CHECKPOINT_FILE) !== true) return;
    this.counters.checkpoints++;
    if (this.random.below(3) > 0) return;
    this.counters.lostCheckpoints++;
    await disk.unlink(`${DIRECTORY}/${CHECKPOINT_FILE}`);
  }

  /** Opens the log of a cut and compares. */
  private async open({ disk, snapshot, what }: Cut): Promise<OpenedLog> {
    const { shape, seed } = this.options;
    let opened: OpenedLog;
    try {
      opened = await openSimulated(disk, shape, this.random.below(2 ** 32));
    } catch (error) {
      throw new Error(`seed ${seed}: ${what}: the log cannot be opened: ${messageOf(error)}`, {
        cause: error,
      });
    }
    const faults = await faultsOf(opened, snapshot);
    if (faults.length > 0) throw new Error(`seed ${seed}: ${what}:\n  ${faults.join("\n  ")}`);
    return opened;
  }

  /** Works on with a log that was opened after a crash: what it showed must stay, whatever comes. */
  private async goOn(cut: Cut, { log }: OpenedLog, again: Cut[]): Promise<void> {
    const oracle = Oracle.from(cut.snapshot);
    oracle.settle(listed(log));
    this.watchSecond(cut.disk, () => oracle.snapshot(), `going on after ${cut.what}`, again);
    this.addSecond(cut.disk, oracle.snapshot(), `opened after ${cut.what}`, again);
    const id = AFTERMATH_ID + (this.made % 1000);
    const held = oracle.ids("held").filter((each) => !oracle.isRotten(each));
    await Promise.all([
      put(log, oracle, makeBlock(id, 1 + this.random.below(700))),
      ...(held.length > 0 ? [remove(log, oracle, [held[this.random.below(held.length)]!])] : []),
    ]);
    await put(log, oracle, makeBlock(id + 1000, 1 + this.random.below(700)));
    await log.close();
    this.addSecond(cut.disk, oracle.snapshot(), `closed after ${cut.what}`, again);
  }

  private watchSecond(
    disk: SimulatedDisk,
    snapshot: () => Snapshot,
    what: string,
    again: Cut[],
  ): void {
    disk.watch = ({ kind, path }) =>
      this.addSecond(disk, snapshot(), `${kind} of ${path} while ${what}`, again);
  }

  private addSecond(disk: SimulatedDisk, snapshot: Snapshot, what: string, again: Cut[]): void {
    const copy = disk.fork(this.random.below(2 ** 32));
    this.counters.secondCuts++;
    const way = this.random.below(4);
    if (way === 0) copy.powerCut("nothing");
    else if (way > 1) copy.powerCut(copy.random);
    const crash = ["power cut, nothing unsynced left", "killed", "power cut", "power cut"][way];
    again.push({ disk: copy, snapshot, what: `${crash} at ${what}` });
  }
}
