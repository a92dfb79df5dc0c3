/**
 * From which server each block of an order is fetched.
 */
import type { ServerId } from "../../../base/ids.ts";
import type { RefillRow } from "../store/primitives/refills.ts";

const NONE: ReadonlySet<ServerId> = new Set();

/** The sources of an order, and for each of its rows the place of its source among them. */
export interface Shares {
  readonly sources: readonly ServerId[];
  readonly sourceOf: readonly number[];
  /** Bytes that each source gives. */
  readonly bytes: readonly number[];
}

/**
 * Shares the rows out among the servers that have a present copy, so that each gives about as many bytes. Neighbours go to the same
 * source, as far as it has them: it has stored them one behind the other, and reads them together. Of servers that are `away` it is only
 * what no other has, and of those that are `busy` what only they and those that are away have.
 */
export function shareOut(
  rows: readonly RefillRow[],
  away: ReadonlySet<ServerId> = NONE,
  busy: ReadonlySet<ServerId> = NONE,
): Shares {
  const openTo = ({ holders }: RefillRow) => within(within(holders.present, away), busy);
  const sources = [...new Set(rows.flatMap(openTo))].toSorted((one, other) => one - other);
  const places = new Map(sources.map((server, place) => [server, place]));
  const total = rows.reduce((sum, { length }) => sum + length, 0);
  const fair = total / sources.length;
  const bytes = sources.map(() => 0);
  const sourceOf = rows.map((row) => {
    const { length } = row;
    const open = openTo(row).map((server) => places.get(server)!);
    const place =
      open.find((each) => bytes[each]! + length / 2 <= fair) ??
      open.reduce((one, other) => (bytes[other]! < bytes[one]! ? other : one));
    bytes[place]! += length;
    return place;
  });
  return { sources, sourceOf, bytes };
}

/** How many of the rows, from the first on, have a source that is not `busy`; of servers that are `away` it is as above. */
export function countReady(
  rows: readonly RefillRow[],
  away: ReadonlySet<ServerId>,
  busy: ReadonlySet<ServerId>,
): number {
  if (busy.size === 0) return rows.length;
  const at = rows.findIndex(({ holders }) =>
    within(holders.present, away).every((server) => busy.has(server)),
  );
  return at < 0 ? rows.length : at;
}

/** Those servers that are not away; all of them when each is. */
function within(servers: readonly ServerId[], away: ReadonlySet<ServerId>): readonly ServerId[] {
  if (away.size === 0) return servers;
  const here = servers.filter((server) => !away.has(server));
  return here.length > 0 ? here : servers;
}
