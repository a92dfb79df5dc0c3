/** Primitives of servers that have lost their disk: over all of what one had, in stretches of block ids. */
import type { BlockId, ServerId } from "../../../../base/ids.ts";
import type { Block, RepairReason } from "../rows.ts";

/** Ids behind `after`, up to `last` and with it. */
export interface Stretch {
  readonly after: BlockId;
  readonly last: BlockId;
}

/** The servers that have a copy of a block on record: present ones, and all others. */
export interface Holders {
  readonly present: readonly ServerId[];
  readonly others: readonly ServerId[];
}

/** A bad copy that is on record for repair, by its block. */
export interface RefillRow extends Pick<
  Block,
  "id" | "length" | "checksum" | "inode" | "fileOffset" | "group"
> {
  readonly holders: Holders;
}

/** What is put on record of blocks that lack a copy. */
export interface RefillEntry {
  readonly missing: number;
  readonly urgency: number;
  readonly reason: RepairReason;
  readonly sinceNs: bigint;
}

export interface RefillPrimitives {
  /** The last of the next `limit` rows of a server behind `after`, or of those that there are; undefined: none are. */
  "refill.last"(server: ServerId, after: BlockId, limit: number): BlockId | undefined;
  /** Rows of a server in the stretch. */
  "refill.count"(server: ServerId, stretch: Stretch): number;
  /** The present copies of live blocks in the stretch become bad. Returns how many did. */
  "refill.lose"(server: ServerId, stretch: Stretch): number;
  /** Blocks in the stretch with a bad copy on the server that are on record with this urgency. */
  "refill.recorded"(server: ServerId, stretch: Stretch, urgency: number): BlockId[];
  /**
   * Puts on record for repair the live blocks in the stretch that have a bad copy on the server and `counting` present ones, those on
   * servers that are `out` not among them. What is on record of them keeps its reason and time.
   */
  "refill.record"(
    server: ServerId,
    stretch: Stretch,
    counting: { readonly copies: number; readonly out: readonly ServerId[] },
    entry: RefillEntry,
  ): void;
  /** Blocks in the stretch with a bad copy on the server that are not on record with this urgency. */
  "refill.unrecorded"(server: ServerId, stretch: Stretch, urgency: number): BlockId[];
  /** The last of the next `limit` bad copies in the stretch, whatever is on record of them; undefined: there are none. */
  "refill.window"(server: ServerId, stretch: Stretch, limit: number): BlockId | undefined;
  /** The next bad copies of live blocks in the stretch that are on record with this urgency, in order of id. */
  "refill.list"(server: ServerId, stretch: Stretch, urgency: number, limit: number): RefillRow[];
  /** Those of the bad copies that are on record with this urgency become present. Returns how many did. */
  "refill.finish"(server: ServerId, blocks: readonly BlockId[], urgency: number): number;
  /** Takes those of the blocks off the record that are on it with this urgency. Returns how many were. */
  "refill.settle"(blocks: readonly BlockId[], urgency: number): number;
}
