/**
 * Placement: which servers should hold a block. Shared by the metadata service, which owns the table, and by clients,
 * which pick targets from their copy of it.
 *
 *     group   = (base + block index) mod PLACEMENT_GROUPS      base: hash of the file's path at creation
 *     targets = table[group]                                   an ordered list of servers
 *
 * A fresh table over N servers in ring order is table[g] = (g, g+1, g+2) mod N, so that block i of a file with hash x
 * has replica r on server (x + i + r) mod N: consecutive blocks walk around the ring. The table's version is a hint:
 * a block written by an old table is merely misplaced, because where replicas really are is recorded.
 */
import { hash64 } from "./checksum.ts";
import type { ServerId } from "./ids.ts";
import { PLACEMENT_GROUPS } from "./limits.ts";

const SERVER_BYTES = 4;

/** For each placement group its servers, in order. */
export interface PlacementTable {
  readonly version: bigint;
  /** Servers in each row, unless there are fewer servers. */
  readonly width: number;
  readonly rows: readonly (readonly ServerId[])[];
}

/** A server's place in the ring. */
export interface RingServer {
  readonly server: ServerId;
  readonly zone: string;
}

/** Hash of an absolute path: the placement base of a file created under it. Unsigned 32-bit. */
export function pathBase(path: Uint8Array): number {
  return Number(hash64(path) & 0xffff_ffffn);
}

/** Placement group of block `blockIndex` of a file with this base. */
export function groupOf(base: number, blockIndex: number): number {
  return ((base % PLACEMENT_GROUPS) + (blockIndex % PLACEMENT_GROUPS)) % PLACEMENT_GROUPS;
}

/**
 * The order in which servers are tried for a new block of a group: its row, then the others as they follow behind the
 * row's last server in the ring, those of zones that the row does not use first.
 */
export function candidateOrder(row: readonly ServerId[], ring: readonly RingServer[]): ServerId[] {
  const last = row.at(-1);
  const start = last === undefined ? 0 : ring.findIndex((each) => each.server === last) + 1;
  const others = ring
    .map((_, step) => ring[(start + step) % ring.length]!)
    .filter((each) => !row.includes(each.server));
  const usedZones = new Set(
    ring.filter((each) => row.includes(each.server)).map((each) => each.zone),
  );
  const fresh = others.filter((each) => !usedZones.has(each.zone));
  const rest = others.filter((each) => usedZones.has(each.zone));
  return [...row, ...fresh.map((each) => each.server), ...rest.map((each) => each.server)];
}

/** The rows as bytes: for each group `width` ids of 4 bytes, big-endian, 0 where a row is shorter. */
export function encodeRows(table: PlacementTable): Uint8Array {
  const bytes = new Uint8Array(PLACEMENT_GROUPS * table.width * SERVER_BYTES);
  const view = new DataView(bytes.buffer);
  table.rows.forEach((row, group) =>
    row.forEach((server, rank) =>
      view.setUint32((group * table.width + rank) * SERVER_BYTES, server),
    ),
  );
  return bytes;
}

/** The rows that {@link encodeRows} wrote; a missing tail of `bytes` reads as empty rows. */
export function decodeRows(bytes: Uint8Array, width: number): ServerId[][] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const at = (group: number, rank: number): number => {
    const offset = (group * width + rank) * SERVER_BYTES;
    return offset + SERVER_BYTES <= bytes.length ? view.getUint32(offset) : 0;
  };
  return Array.from({ length: PLACEMENT_GROUPS }, (_, group) =>
    Array.from({ length: width }, (_unused, rank) => at(group, rank) as ServerId).filter(
      (server) => server !== 0,
    ),
  );
}
