/** What the parts of a run have in common. */
import type { Clock } from "../../../base/clock.ts";
import type { BlockId, InodeId } from "../../../base/ids.ts";
import type { Logger } from "../../../base/logger.ts";
import type { FsckLevel } from "../../../protocol/messages/fsck.ts";
import type { Backups } from "../backup/backups.ts";
import { Changes, watched } from "../changes.ts";
import type { ClientNotices } from "../client-notices.ts";
import type { Commands } from "../commands.ts";
import type { Engine } from "../engine.ts";
import type { Members } from "../members.ts";
import type { Repair } from "../repair/repair.ts";
import type { Findings } from "./findings.ts";
import type { Operation } from "../store/store.ts";
import type { WholeRecord } from "./record.ts";

export interface FsckSurroundings {
  readonly engine: Engine;
  readonly commands: Commands;
  readonly members: Members;
  readonly repair: Repair;
  readonly backups: Backups;
  readonly notices: ClientNotices;
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

/** Mends something of the namespace: when that is durable, clients that may have cached it are told. */
export async function mendNamespace<T>(
  { engine, notices }: Pick<FsckSurroundings, "engine" | "notices">,
  mend: () => Operation<T>,
): Promise<T> {
  let changes = new Changes();
  const result = await engine.change(() => {
    changes = new Changes(); // of the attempt that is committed
    return watched(mend(), changes);
  });
  notices.publish(changes, undefined);
  return result;
}
