// Random work on a log, from a seed: puts of several sizes, deletions, rolls, reopenings after all kinds of ends, failed
// system calls, rotten copies that are replaced, and blocks that are images of segments.

import { seededRandom, type Random } from "../../../src/base/random.ts";
import { SEGMENT_HEADER_BYTES, segmentIdentity } from "../../../src/log/format.ts";
import { knownSynced } from "../../../src/log/inspect.ts";
import { walkSegment, type FoundRecord } from "../../../src/log/reader.ts";
import { listSegments, segmentFileName, type SegmentName } from "../../../src/log/segment.ts";
import { SimulatedDisk, type Fault, type Operation } from "../../support/disk/simulated-disk.ts";
import { blockOf, makeBlock } from "../blocks.ts";
import { CLUSTER, SERVER } from "../identity.ts";
import type { CutMaker } from "./cuts.ts";
import {
  DIRECTORY,
  faultsOf,
  listed,
  openSimulated,
  put,
  putMany,
  remove,
  type LogShape,
  type OpenedLog,
} from "./examine.ts";
import { Oracle } from "./oracle.ts";

/** How often each kind of step comes, against each other. */
export interface Profile {
  readonly puts: number;
  readonly deletes: number;
  readonly reopenings: number;
  readonly crashes: number;
  readonly failures: number;
  readonly rot: number;
  readonly images: number;
  /** Lengths of blocks are below this. */
  readonly maxBlockBytes: number;
  /** Size of the disk; when it is full, puts are refused. */
  readonly diskBytes?: number;
}

/** More live blocks than this are not kept: each of them is read after each crash. */
const MAX_BLOCKS = 24;

const FAILURES: readonly (readonly [Operation["kind"], Fault])[] = [
  ["sync", { code: "EIO", pages: "dropped" }],
  ["sync", { code: "EIO", pages: "kept" }],
  ["sync", { code: "ENOSPC", pages: "dropped" }],
  ["write", { code: "EIO" }],
  ["write", { code: "ENOSPC" }],
  ["write", { takes: 1 }],
  ["write", { takes: 150 }],
  ["truncate", { code: "EIO" }],
  ["create", { code: "ENOSPC" }],
  ["rename", { code: "EIO" }],
  ["unlink", { code: "EIO" }],
  ["directorySync", { code: "EIO" }],
];

export class Workload {
  private readonly shape: LogShape;
  private readonly profile: Profile;
  private readonly cuts: CutMaker;
  private readonly random: Random;
  private readonly oracle = new Oracle();
  private disk: SimulatedDisk;
  private opened!: OpenedLog;
  private nextId = 1;
  private faults: (readonly [Operation["kind"], Fault])[] = [];

  constructor(seed: number, shape: LogShape, profile: Profile, cuts: CutMaker) {
    this.shape = shape;
    this.profile = profile;
    this.cuts = cuts;
    this.random = seededRandom(seed);
    this.disk = new SimulatedDisk(seed);
    this.disk.capacityBytes = profile.diskBytes ?? this.disk.capacityBytes;
  }

  /** Does `steps` steps; after each, all crashes that were possible in it are examined. */
  async run(steps: number): Promise<void> {
    await this.open();
    for (let step = 0; step < steps; step++) {
      await this.step();
      await this.cuts.examineAll();
    }
    this.faults = [];
    await this.opened.log.close();
    await this.cuts.examineAll();
  }

  private step(): Promise<void> {
    const { puts, deletes, reopenings, crashes, failures, rot, images } = this.profile;
    const choices: readonly (readonly [number, () => Promise<void>])[] = [
      [puts, () => this.puts()],
      [deletes, () => this.deletes()],
      [reopenings, () => this.reopen()],
      [crashes, () => this.crash()],
      [failures, () => this.failures()],
      [rot, () => this.rot()],
      [images, () => this.image()],
    ];
    let at = this.random.below(choices.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, work] of choices) {
      if (at < weight) return work();
      at -= weight;
    }
    throw new Error("a profile without steps");
  }

  /** Opens the log on the disk as it is; from now on what it shows must stay. */
  private async open(): Promise<void> {
    this.faults = [];
    this.watch();
    this.opened = await openSimulated(this.disk, this.shape, this.random.below(2 ** 32));
    const faults = await faultsOf(this.opened, this.oracle.snapshot());
    if (faults.length > 0) throw new Error(`after an opening:\n  ${faults.join("\n  ")}`);
    this.oracle.settle(listed(this.opened.log));
  }

  private watch(): void {
    this.cuts.watch(this.disk, this.oracle);
    this.disk.plan = ({ kind }) => {
      const at = this.faults.findIndex(([each]) => each === kind);
      return at === -1 ? undefined : this.faults.splice(at, 1)[0]![1];
    };
  }

  private async puts(): Promise<void> {
    const { log } = this.opened;
    const again = this.oracle.ids("either").slice(0, this.random.below(2));
    const blocks = Array.from({ length: 1 + this.random.below(this.isAhead ? 12 : 4) }, () =>
      makeBlock(this.nextId++, this.length()),
    ).concat(again.map((id) => this.oracle.block(id)));
    // Some of them together, the others each for itself.
    const together = this.random.below(2) === 0 ? this.random.below(blocks.length + 1) : 0;
    await Promise.all([
      this.comeLater().then(() => putMany(log, this.oracle, blocks.slice(0, together))),
      ...blocks.slice(together).map(async (block) => {
        await this.comeLater();
        await put(log, this.oracle, block);
      }),
    ]);
    const held = this.oracle.ids("held");
    if (held.length > MAX_BLOCKS) await this.delete(held.slice(0, 1 + this.random.below(8)));
  }

  /** Whether all puts may be written during a sync. */
  private get isAhead(): boolean {
    return this.shape.aheadBytes !== undefined;
  }

  /** Where puts may be written during a sync, some come while there is one. */
  private async comeLater(): Promise<void> {
    if (!this.isAhead) return;
    for (let turn = this.random.below(40); turn > 0; turn--) await Promise.resolve();
  }

  /** Mostly small ones, now and then one that is larger than a segment. */
  private length(): number {
    const { maxBlockBytes } = this.profile;
    const limit = [16, 200, maxBlockBytes / 4, maxBlockBytes][this.random.below(4)]!;
    return 1 + this.random.below(Math.max(1, Math.floor(limit)));
  }

  private async deletes(): Promise<void> {
    // Also of blocks whose put has failed, and of the put that is under way.
    const ids = [...this.oracle.ids("held"), ...this.oracle.ids("either")];
    const chosen = ids.filter(() => this.random.below(3) === 0);
    const pending = makeBlock(this.nextId++, this.length());
    const isPutNow = this.random.below(3) === 0;
    const putNow = isPutNow ? put(this.opened.log, this.oracle, pending) : undefined;
    await this.delete(chosen);
    await putNow;
  }

  private async delete(ids: readonly number[]): Promise<void> {
    await remove(this.opened.log, this.oracle, ids);
  }

  /** Closes the log in good order and opens it again. */
  private async reopen(): Promise<void> {
    await this.opened.log.close();
    await this.open();
  }

  /** The process is killed, or the power fails, in the middle of some work; then the log is opened again. */
  private async crash(): Promise<void> {
    const { log } = this.opened;
    const blocks = [1, 2, 3].map(() => makeBlock(this.nextId++, this.length()));
    const work = [
      put(log, this.oracle, blocks[0]!),
      putMany(log, this.oracle, blocks.slice(1)),
      remove(log, this.oracle, this.oracle.ids("held").slice(0, this.random.below(3))),
    ];
    for (let turn = this.random.below(30); turn > 0; turn--) await Promise.resolve();
    const next = this.disk.fork(this.random.below(2 ** 32));
    const after = Oracle.from(this.oracle.snapshot());
    this.disk.watch = undefined;
    await Promise.all(work); // the old process goes on in a world that nobody sees any more
    await log.close();
    Object.assign(this, { oracle: after, disk: next });
    if (this.random.below(2) === 0) next.powerCut(next.random);
    await this.open();
  }

  /** Makes some of the next system calls fail. */
  private async failures(): Promise<void> {
    for (let count = 1 + this.random.below(2); count > 0; count--) {
      this.faults.push(FAILURES[this.random.below(FAILURES.length)]!);
    }
    await (this.random.below(4) === 0 ? this.deletes() : this.puts());
  }

  /** A stored copy rots; it is read and put again. */
  private async rot(): Promise<void> {
    const held = this.oracle.ids("held").filter((id) => !this.oracle.isRotten(id));
    const id = held[this.random.below(held.length)];
    const place = id === undefined ? undefined : this.durablePlaceOf(id);
    if (id === undefined || place === undefined) return;
    this.oracle.madeRotten(id);
    this.disk.flip(place.path, place.from + this.random.below(place.to - place.from));
    if (this.random.below(3) > 0) await put(this.opened.log, this.oracle, this.oracle.block(id));
  }

  /** Where the body of a block's newest record lies, when a later record vouches for its durability. */
  private durablePlaceOf(id: number): { path: string; from: number; to: number } | undefined {
    for (const name of listSegments(this.disk, DIRECTORY).toReversed()) {
      const path = `${DIRECTORY}/${segmentFileName(name)}`;
      const findings = this.findingsOf(name, path);
      for (const each of findings.toReversed()) {
        if (each.type !== "record" || each.header.kind !== "put") continue;
        if (Number(each.header.block) !== id) continue;
        return each.end <= knownSynced(findings) ? bodyOf(path, each) : undefined;
      }
    }
    return undefined;
  }

  private findingsOf({ number, salt }: SegmentName, path: string) {
    const file = this.disk.open(path, "read");
    const identity = segmentIdentity(CLUSTER, SERVER, number, salt);
    return [...walkSegment(file, identity, { bodies: "tombstones" })];
  }

  /** A block that is an image of a segment, or of its records, as it is now. */
  private async image(): Promise<void> {
    const names = listSegments(this.disk, DIRECTORY);
    const name = names[this.random.below(names.length)];
    if (name === undefined) return;
    const whole = this.disk.content(`${DIRECTORY}/${segmentFileName(name)}`);
    const from = this.random.below(2) * SEGMENT_HEADER_BYTES;
    const bytes = whole.slice(from, from + this.profile.maxBlockBytes);
    if (bytes.length === 0) return;
    await put(this.opened.log, this.oracle, blockOf(this.nextId++, bytes));
  }
}

function bodyOf(path: string, { header, end }: FoundRecord) {
  return { path, from: end - header.bodyLength, to: end };
}
