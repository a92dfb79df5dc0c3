/** What the parts of a run have in common. */
import type { Clock } from "../../../base/clock.ts";
import type { BlockId, InodeId } from "../../../base/ids.ts";
import type { Logger } from "../../../base/logger.ts";
import type { FsckLevel } from "../../../protocol/messages/fsck.ts";
import type { Backups } from "../backup/backups.ts";
import type { Commands } from "../commands.ts";
import type { Engine } from "../engine.ts";
import type { Members } from "../members.ts";
import type { Repair } from "../repair/repair.ts";
import type { Findings } from "./findings.ts";
import type { WholeRecord } from "./record.ts";

export interface FsckSurroundings {
  readonly engine: Engine;
  readonly commands: Commands;
  readonly members: Members;
  readonly repair: Repair;
  readonly backups: Backups;
  readonly clock: Clock;
  readonly logger: Logger;
  /** True while sessions of before a restart may still say what they have open. */
  readonly isRecovering: () => boolean;
}

/** How far a run is. */
export interface Counts {
  phase: "record" | "copies" | "mending" | "done";
  doneCopies: number;
  totalCopies: number;
  doneBytes: number;
  totalBytes: number;
  /** Errors met. */
  found: number;
}

export interface RunParts extends FsckSurroundings {
  readonly level: FsckLevel;
  readonly dryRun: boolean;
  readonly patienceMs: number;
  readonly record: WholeRecord;
  readonly findings: Findings;
  readonly counts: Counts;
  /** Aborted when the run is to end. */
  readonly signal: AbortSignal;
  /** Only this and what is below it is looked at; undefined: everything. */
  readonly top: InodeId | undefined;
  /** Blocks to look at, in rising order; undefined: all. */
  readonly blocks: readonly BlockId[] | undefined;
}
