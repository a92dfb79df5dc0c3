/** Primitives of the cluster: data servers, placement table, durable id ranges, chain of reigns, figures. */
import type { BlockId, ReignId, ServerId } from "../../../../base/ids.ts";
import type { PlacementVersion, Reign, ReplicaState, Server } from "../rows.ts";

/** Figures of the whole store; each costs a scan. */
export interface StoreFigures {
  readonly inodes: number;
  readonly files: number;
  readonly directories: number;
  readonly liveBlocks: number;
  readonly liveBytes: number;
  readonly deadBlocks: number;
}

/** Entries of `repairs` of one urgency. */
export interface RepairCount {
  readonly urgency: number;
  readonly blocks: number;
  /** Copies that they lack, and the bytes of those. */
  readonly copies: number;
  readonly bytes: number;
}

export interface ReplicaCount {
  readonly server: ServerId;
  readonly replicas: number;
}

/** Copies on record, and the bytes of their blocks. */
export interface CopyCount {
  readonly copies: number;
  readonly bytes: number;
}

/** Copies of one server that are in one state and of one placement group. */
export interface Holding extends CopyCount {
  readonly state: ReplicaState;
  readonly group: number;
}

/** The servers of one placement group, in order. */
export interface PlacementRow {
  readonly group: number;
  readonly servers: readonly ServerId[];
}

/** Live blocks of one placement group. */
export interface GroupCount {
  readonly group: number;
  readonly blocks: number;
  readonly bytes: number;
}

export interface ClusterPrimitives {
  "server.get"(server: ServerId): Server | undefined;
  /** What decides whether the server's copies count; undefined when there is no such server. */
  "server.standing"(
    server: ServerId,
  ): Pick<Server, "state" | "filling" | "incarnation"> | undefined;
  /** Puts the row, over the former one. */
  "server.put"(server: Server): void;
  "server.delete"(server: ServerId): void;
  /** All servers, in order of id. */
  "server.list"(): Server[];

  /** The newest version of the table. */
  "placement.current"(): PlacementVersion | undefined;
  "placement.version"(): bigint;
  /** Makes this the newest version; older ones are dropped. */
  "placement.put"(table: PlacementVersion): void;
  /** The servers of one group in the newest version, in order. */
  "placement.row"(group: number): ServerId[];
  /** The same for many groups, in any order. */
  "placement.rows"(groups: readonly number[]): PlacementRow[];

  /** Ids below this mark may have been given out; 0n for a counter that was never put. */
  "counter.get"(name: string): bigint;
  "counter.put"(name: string, reserved: bigint): void;

  "reign.insert"(reign: Reign): void;
  "reign.find"(reign: ReignId): Reign | undefined;
  /** The reign that followed the one with this number. */
  "reign.next"(number: bigint): Reign | undefined;
  "reign.last"(): Reign | undefined;

  "figures.store"(): StoreFigures;
  /** What is on record for repair, in order of urgency; costs a scan. */
  "figures.repairs"(): RepairCount[];
  /** Number of inodes; costs a scan. */
  "figures.inodes"(): number;
  /** Replicas on record on each server that has any; costs a scan. */
  "figures.replicasByServer"(): ReplicaCount[];
  /** What is on record on one server; costs a look at each of its copies. */
  "figures.holdings"(server: ServerId): Holding[];
  /** Its copies of blocks that lack some; costs a look at each block that needs something. */
  "figures.lacking"(server: ServerId): CopyCount;
  /** Those of them of which no copy counts anywhere. */
  "figures.lost"(server: ServerId): CopyCount;
  /** Its copies, present or bad, of blocks on record with this urgency; costs the same. */
  "figures.surplus"(server: ServerId, urgency: number): CopyCount;
  /** Live blocks by placement group; costs a scan. */
  "figures.groups"(): GroupCount[];
  /** Largest block id that metadata knows. */
  "figures.highestBlock"(): BlockId;
}
