/**
 * Where the writer gets its segments from: those that were made ahead of need, or new ones.
 *
 * A segment's header and name are durable, and so is its place in the manifest, before it is handed out. Making one costs
 * several syncs, so the writer asks for the next one while the present one still has room.
 *
 * When that fails after the file may have got its name, nobody knows whether the next opening will see it. Its number is
 * never used again, and the writer seals it as a suspect: an empty segment between others would look like one that has
 * lost its records.
 */
import type { Disk, DiskFile } from "../base/disk.ts";
import { messageOf } from "../base/errors.ts";
import type { ClusterId, Lsn, ServerId } from "../base/ids.ts";
import type { Logger } from "../base/logger.ts";
import type { Random } from "../base/random.ts";
import type { Manifest } from "./manifest.ts";
import { SEGMENT_HEADER_BYTES, segmentIdentity, type SegmentIdentity } from "./format.ts";
import type { WritableSegment } from "./recovery.ts";
import { createSegment, UncertainSegmentError } from "./segment.ts";

export interface SupplyOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly cluster: ClusterId;
  readonly server: ServerId;
  readonly random: Random;
  readonly logger: Logger;
  readonly manifest: Manifest;
  /** Told of each new segment, and of those that may have come to be. */
  readonly onCreated: (identity: SegmentIdentity) => void;
}

export class SegmentSupply {
  private readonly options: SupplyOptions;
  private readonly spares: WritableSegment[];
  private nextNumber: number;
  private preparing: Promise<void> | undefined;
  private uncertain: number[] = [];

  /** `spares` are empty segments that exist; the next new one gets `nextNumber`. */
  constructor(options: SupplyOptions, spares: readonly WritableSegment[], nextNumber: number) {
    this.options = options;
    this.spares = [...spares];
    this.nextNumber = nextNumber;
  }

  /** The next segment. `lsnFloor` is the number that its first record will get at least. Throws what the disk throws. */
  async take(lsnFloor: Lsn): Promise<WritableSegment> {
    await this.preparing;
    await this.options.manifest.settle();
    return this.spares.shift() ?? (await this.create(lsnFloor));
  }

  /** Makes a segment ahead of need, unless there is one. A failure is tried again when the segment is needed. */
  prepare(lsnFloor: Lsn): void {
    if (this.spares.length > 0 || this.preparing !== undefined) return;
    this.preparing = this.create(lsnFloor)
      .then((segment) => void this.spares.push(segment))
      .catch((error: unknown) =>
        this.options.logger.warn(`cannot make the next segment yet: ${messageOf(error)}`),
      )
      .finally(() => (this.preparing = undefined));
  }

  /** Numbers of segments that may have come to be, empty, and that were not told yet. */
  takeUncertain(): number[] {
    return this.uncertain.splice(0);
  }

  /** Closes the files of spare segments. */
  async close(): Promise<void> {
    await this.preparing;
    for (const { file } of this.spares.splice(0)) await file.close();
  }

  private async create(lsnFloor: Lsn): Promise<WritableSegment> {
    const { disk, directory, cluster, server, random, onCreated } = this.options;
    const number = this.nextNumber++;
    const identity = segmentIdentity(cluster, server, number, random.id64());
    try {
      const file = await createSegment(disk, directory, { identity, lsnFloor });
      await this.enlist(identity, file);
      onCreated(identity);
      return { identity, file, end: SEGMENT_HEADER_BYTES };
    } catch (error) {
      if (!(error instanceof UncertainSegmentError)) throw error;
      this.uncertain.push(number);
      onCreated(identity);
      throw error.cause;
    }
  }

  /** Until the manifest names a segment durably, nothing may be written to it. */
  private async enlist(identity: SegmentIdentity, file: DiskFile): Promise<void> {
    try {
      await this.options.manifest.add(identity);
    } catch (error) {
      void file.close().catch(() => undefined); // it is empty, and stays so
      throw new UncertainSegmentError(messageOf(error), { cause: error });
    }
  }
}
