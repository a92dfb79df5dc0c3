/**
 * The data servers as the planner sees them at one moment: their rows, whether they take orders, how full they are.
 */
import type { ServerId } from "../../../base/ids.ts";
import type { Member, Members } from "../members.ts";
import { ringOf } from "../member-operations.ts";
import type { Server } from "../store/rows.ts";
import type { Loads } from "./loads.ts";

/** One data server. */
export interface Seen {
  readonly server: ServerId;
  readonly address: string;
  readonly zone: string;
  /** Up, connected and compared with the record: it takes orders, and others may copy from it. */
  readonly usable: boolean;
  /** Up and connected, and being compared with the record: what it lacks is not known to the end. */
  readonly beingCompared: boolean;
  /** Nobody waits for it any more. */
  readonly isOut: boolean;
  /** Its copies are moved away. */
  readonly isDraining: boolean;
  /** It has lost its disk, and not all of what it should hold is there again. */
  readonly isFilling: boolean;
  /** It takes new blocks. */
  readonly hasRoom: boolean;
  /** From 0 to 1. */
  readonly freeShare: number;
}

/** All of them. */
export interface Eyes {
  /** In ring order. */
  readonly ring: readonly Seen[];
  of(server: ServerId): Seen | undefined;
}

/** Whether decisions made with one view hold with the other. How full servers are changes all the time, and decides little. */
export function isSameView(one: Eyes, other: Eyes): boolean {
  return (
    one.ring.length === other.ring.length &&
    one.ring.every((seen, at) => {
      const { server, address, zone, usable, beingCompared } = seen;
      const { isOut, isDraining, isFilling, hasRoom } = seen;
      const same = other.ring[at]!;
      return (
        server === same.server &&
        address === same.address &&
        zone === same.zone &&
        usable === same.usable &&
        beingCompared === same.beingCompared &&
        isOut === same.isOut &&
        isDraining === same.isDraining &&
        isFilling === same.isFilling &&
        hasRoom === same.hasRoom
      );
    })
  );
}

/** Looks at the servers of `rows`. */
export function lookAt(rows: readonly Server[], members: Members, loads: Loads): Eyes {
  const settled = new Map(members.settled().map((member) => [member.server, member]));
  const ring = ringOf(rows).map((row) => seenOf(row, settled.get(row.id), members, loads));
  const byId = new Map(ring.map((seen) => [seen.server, seen]));
  return { ring, of: (server) => byId.get(server) };
}

function seenOf(row: Server, member: Member | undefined, members: Members, loads: Loads): Seen {
  const condition = members.lastSign(row.id)?.condition;
  const capacity = condition?.capacityBytes ?? 0;
  const isUp = row.state === "up" || row.state === "draining";
  const usable = member !== undefined && isUp;
  return {
    server: row.id,
    address: row.address,
    zone: row.zone,
    usable,
    beingCompared: isUp && !usable && members.isConnected(row.id),
    isOut: row.state === "out",
    isDraining: row.state === "draining",
    isFilling: row.filling,
    hasRoom: row.state === "up" && condition?.full === false && !loads.isAvoided(row.id),
    freeShare: capacity === 0 ? 0 : Math.max(0, 1 - (condition?.usedBytes ?? 0) / capacity),
  };
}
