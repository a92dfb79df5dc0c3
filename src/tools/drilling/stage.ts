/**
 * What the faults of a drill work with: a way to the cluster, the files, chance from the seed, and what may be broken.
 */
import type { Random } from "../../base/random.ts";
import type { ScratchCluster } from "./cluster.ts";
import type { Connections } from "./connections.ts";
import type { DrillFiles } from "./files.ts";
import type { Laid } from "./reading.ts";

export interface Stage {
  /** The drill's own cluster; undefined on a live one, whose servers are not touched. */
  readonly own: ScratchCluster | undefined;
  readonly files: DrillFiles;
  readonly random: Random;
  readonly signal: AbortSignal;
  readonly connections: Connections;
}

/** What a fault has done, and what has to come of it. */
export interface Played {
  /** Blocks of which every copy is out of reach now; keys as `blockKey`. */
  readonly unreadable: ReadonlySet<string>;
  /** What is to be observed before healing besides reading, in words; anything that is not as expected is thrown. */
  readonly meanwhile?: () => Promise<string>;
  /** What has to be done so that the cluster heals. */
  readonly heal: () => Promise<void>;
  /** What has to be done when everything has its copies again, so that all is as before the fault. */
  readonly after?: () => Promise<void>;
  /** What was observed already, in words. */
  readonly observed?: string;
}

export interface Fault {
  readonly name: string;
  /** What happens, for the help. */
  readonly summary: string;
  /** What has to come of it. */
  readonly expected: string;
  /** True when processes are killed or disks lost: only in the drill's own cluster. */
  readonly ownCluster: boolean;
  /** Data servers that there must be. */
  readonly servers?: number;
  play(stage: Stage, laid: readonly Laid[]): Promise<Played>;
}

/** The drill's own cluster, for faults that are played nowhere else. */
export function ownCluster({ own }: Stage): ScratchCluster {
  if (own === undefined) throw new Error("this fault was played on a live cluster");
  return own;
}
