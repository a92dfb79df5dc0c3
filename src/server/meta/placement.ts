/**
 * The plan of the placement table: which servers each placement group should have its copies on.
 *
 * Pure functions; `members.ts` decides when to call them and makes the result durable.
 *
 * Invariants of every table made here, for N servers and rows of `width`:
 * - a row holds min(width, N) different servers, in as many zones as that allows;
 * - a fresh table over one zone, or over zones of equal size, is table[g] = (g, g+1, g+2, ...) mod N in ring order;
 * - a join changes only slots that the new server takes over (and fills rows that were short), never leaves a row with
 *   fewer zones, and never makes the new server have more than one that gave;
 * - a leave changes only slots of the server that leaves, and leaves each row with as many zones as it can have.
 */
import type { ServerId } from "../../base/ids.ts";
import { PLACEMENT_GROUPS } from "../../base/limits.ts";
import type { RingServer } from "../../base/placement.ts";

/**
 * Rows are visited in this stride when slots are handed over, so that the new server's share is spread over all files
 * and all parts of a file. Any odd number steps through all rows, since their number is a power of two.
 */
const ROW_STRIDE = 389;

/** Rows of a table; mutable only inside this file. */
type Rows = readonly (readonly ServerId[])[];

/**
 * The ring: all servers, those of one zone as far apart as can be. Servers of a zone stand at equal distances on a
 * circle, ties go by the zone's name; with one zone that is the order of the ids.
 */
export function ringOrder(servers: readonly RingServer[]): RingServer[] {
  const zones = Map.groupBy(servers, (each) => each.zone);
  const placed = [...zones].flatMap(([zone, members]) =>
    members
      .toSorted((one, other) => one.server - other.server)
      .map((each, index) => ({ each, zone, position: (index + 0.5) / members.length })),
  );
  placed.sort((one, other) => one.position - other.position || compareText(one.zone, other.zone));
  return placed.map(({ each }) => each);
}

/** A table made from nothing over the servers of `ring`, which must be in ring order. */
export function freshRows(ring: readonly RingServer[], width: number): ServerId[][] {
  return Array.from({ length: PLACEMENT_GROUPS }, (_, group) => freshRow(ring, group, width));
}

/**
 * The table after `joined` has come: rows that are short get it, then it takes over slots of the servers that have most
 * until it has its fair share. `ring` holds all servers of the table and `joined`.
 */
export function rowsWithJoined(
  rows: Rows,
  ring: readonly RingServer[],
  joined: ServerId,
  width: number,
): ServerId[][] {
  const table = rows.map((row) => [...row]);
  fillShortRows(table, joined, width);
  const handover = new Handover(table, ring, joined);
  const slots = table.reduce((sum, row) => sum + row.length, 0);
  const fairShare = Math.floor(slots / ring.length);
  while (handover.share < fairShare && handover.takeOne()) {
    // each turn moves one slot
  }
  return table;
}

/**
 * The table after `leaving` has gone: each of its slots goes to a server that the row does not have yet, one of a zone that
 * the row has not if there is such a one, and of those the one with the fewest slots. `ring` holds the servers that stay.
 * Rows become shorter where they have all of these already.
 */
export function rowsWithout(
  rows: Rows,
  ring: readonly RingServer[],
  leaving: ServerId,
): ServerId[][] {
  const slots = slotsByServer(rows);
  const table = rows.map((row) => [...row]);
  for (let step = 0; step < table.length; step++) {
    const row = table[(step * ROW_STRIDE) % table.length]!;
    const rank = row.indexOf(leaving);
    if (rank < 0) continue;
    const heir = heirOf(row, ring, leaving, slots);
    if (heir === undefined) row.splice(rank, 1);
    else {
      row[rank] = heir;
      slots.set(heir, (slots.get(heir) ?? 0) + 1);
    }
  }
  return table;
}

/** Who takes the slot of `leaving` in a row; undefined when the row has all servers. */
function heirOf(
  row: readonly ServerId[],
  ring: readonly RingServer[],
  leaving: ServerId,
  slots: ReadonlyMap<ServerId, number>,
): ServerId | undefined {
  const others = ring.filter(({ server }) => row.includes(server) && server !== leaving);
  const zones = new Set(others.map(({ zone }) => zone));
  return ring
    .filter(({ server }) => server !== leaving && !row.includes(server))
    .toSorted(
      (one, other) =>
        Number(zones.has(one.zone)) - Number(zones.has(other.zone)) ||
        (slots.get(one.server) ?? 0) - (slots.get(other.server) ?? 0),
    )[0]?.server;
}

/** Slots that each server has in the table. */
export function slotsByServer(rows: Rows): Map<ServerId, number> {
  const slots = new Map<ServerId, number>();
  for (const server of rows.flat()) slots.set(server, (slots.get(server) ?? 0) + 1);
  return slots;
}

/** The row of a group in a fresh table: the next servers of the ring, those in zones not used yet first. */
function freshRow(ring: readonly RingServer[], group: number, width: number): ServerId[] {
  const around = ring.map((_, step) => ring[(group + step) % ring.length]!);
  const row: RingServer[] = [];
  while (row.length < Math.min(width, ring.length)) {
    const left = around.filter((each) => !row.includes(each));
    const fresh = left.find((each) => row.every((chosen) => chosen.zone !== each.zone));
    row.push(fresh ?? left[0]!);
  }
  return row.map((each) => each.server);
}

/** Puts `joined` into every row that has room, at a rank that changes from row to row, so that it is not always last. */
function fillShortRows(table: ServerId[][], joined: ServerId, width: number): void {
  table.forEach((row, group) => {
    if (row.length < width && !row.includes(joined)) {
      row.splice(group % (row.length + 1), 0, joined);
    }
  });
}

/** Hands slots over to one server, one at a time, always from a server that has most. */
class Handover {
  private readonly table: ServerId[][];
  private readonly joined: ServerId;
  private readonly zoneOf: ReadonlyMap<ServerId, string>;
  private readonly slots: Map<ServerId, number>;
  /** Slots of the new server at each rank: it should be first as often as others are. */
  private readonly ranks: number[] = [];

  constructor(table: ServerId[][], ring: readonly RingServer[], joined: ServerId) {
    this.table = table;
    this.joined = joined;
    this.zoneOf = new Map(ring.map((each) => [each.server, each.zone]));
    this.slots = slotsByServer(table);
    for (const row of table) {
      const rank = row.indexOf(joined);
      if (rank >= 0) this.countRank(rank);
    }
  }

  /** Slots that the new server has by now. */
  get share(): number {
    return this.slots.get(this.joined) ?? 0;
  }

  /** Moves one slot; false when no server that has more than the new one can give any. */
  takeOne(): boolean {
    for (const donor of this.donors()) {
      const best = this.bestSlotOf(donor);
      if (best === undefined) continue;
      this.table[best.group]![best.rank] = this.joined;
      this.slots.set(donor, this.slots.get(donor)! - 1);
      this.slots.set(this.joined, this.share + 1);
      this.countRank(best.rank);
      return true;
    }
    return false;
  }

  private donors(): ServerId[] {
    return [...this.slots]
      .filter(([server, slots]) => server !== this.joined && slots > this.share)
      .toSorted(([one, few], [other, many]) => many - few || one - other)
      .map(([server]) => server);
  }

  /** The donor's slot whose handover serves zones best, then ranks. Undefined when none can go without losing a zone. */
  private bestSlotOf(donor: ServerId): { group: number; rank: number } | undefined {
    let best: { group: number; rank: number; cost: number } | undefined;
    for (let step = 0; step < this.table.length; step++) {
      const group = (step * ROW_STRIDE) % this.table.length;
      const row = this.table[group]!;
      const rank = row.indexOf(donor);
      if (rank < 0 || row.includes(this.joined)) continue;
      const lost = this.zonesLost(row, donor);
      const cost = lost * this.table.length + (this.ranks[rank] ?? 0);
      if (lost <= 0 && (best === undefined || cost < best.cost)) best = { group, rank, cost };
    }
    return best;
  }

  /** Zones that the row has fewer when the new server takes the donor's slot: 1, 0, or -1 when it gains one. */
  private zonesLost(row: readonly ServerId[], donor: ServerId): number {
    const stays = (zone: string | undefined) =>
      row.some((server) => server !== donor && this.zoneOf.get(server) === zone);
    const lost = stays(this.zoneOf.get(donor)) ? 0 : 1;
    const gained = stays(this.zoneOf.get(this.joined)) ? 0 : 1;
    return lost - gained;
  }

  private countRank(rank: number): void {
    this.ranks[rank] = (this.ranks[rank] ?? 0) + 1;
  }
}

function compareText(one: string, other: string): number {
  if (one === other) return 0;
  return one < other ? -1 : 1;
}
