import { describe, expect, test } from "bun:test";
import { serverId, type ServerId } from "../../../src/base/ids.ts";
import { PLACEMENT_GROUPS } from "../../../src/base/limits.ts";
import type { RingServer } from "../../../src/base/placement.ts";
import { seededRandom } from "../../../src/base/random.ts";
import {
  freshRows,
  ringOrder,
  rowsWithJoined,
  rowsWithout,
  slotsByServer,
} from "../../../src/server/meta/placement.ts";

const server = (id: number, zone = ""): RingServer => ({ server: serverId(id), zone });
const oneZone = (count: number): RingServer[] =>
  Array.from({ length: count }, (_, index) => server(index + 1));

/** Zones that a row covers. */
function zonesOf(row: readonly ServerId[], ring: readonly RingServer[]): number {
  return new Set(row.map((id) => ring.find((each) => each.server === id)!.zone)).size;
}

/** Slots of `after` that hold a server which `before` did not have in that row. */
function copiesMoved(before: readonly ServerId[][], after: readonly ServerId[][]): number {
  return after.flatMap((row, group) => row.filter((id) => !before[group]!.includes(id))).length;
}

describe("ringOrder", () => {
  test("orders the servers of one zone by id", () => {
    const ring = ringOrder([server(3), server(1), server(2)]);
    expect(ring.map((each) => each.server)).toEqual([1, 2, 3] as ServerId[]);
  });

  test("takes zones of equal size in turns", () => {
    const ring = ringOrder([server(1, "a"), server(2, "a"), server(3, "b"), server(4, "b")]);
    expect(ring.map((each) => each.zone)).toEqual(["a", "b", "a", "b"]);
  });

  test("spreads a small zone among a large one", () => {
    const ring = ringOrder([1, 2, 3, 4].map((id) => server(id, "a")).concat(server(5, "b")));
    expect(ring.map((each) => each.zone)).toEqual(["a", "a", "b", "a", "a"]);
  });
});

describe("freshRows", () => {
  test("is (g, g+1, g+2) mod N over one zone", () => {
    for (const count of [3, 4, 5, 7]) {
      const rows = freshRows(oneZone(count), 3);
      expect(rows).toHaveLength(PLACEMENT_GROUPS);
      rows.forEach((row, group) =>
        expect(row).toEqual([0, 1, 2].map((step) => serverId(((group + step) % count) + 1))),
      );
    }
  });

  test("has short rows while there are fewer servers than copies, and empty ones without servers", () => {
    expect(freshRows(oneZone(2), 3)[5]).toEqual([2, 1] as ServerId[]);
    expect(freshRows([], 3)[5]).toEqual([]);
  });

  test("covers three zones in every row, also when zones differ in size", () => {
    const ring = ringOrder([
      ...[1, 2, 3, 4].map((id) => server(id, "a")),
      server(5, "b"),
      server(6, "c"),
    ]);
    for (const row of freshRows(ring, 3)) expect(zonesOf(row, ring)).toBe(3);
  });
});

describe("rowsWithJoined", () => {
  test("moves just the new server's fair share, and stays balanced", () => {
    let ring = oneZone(4);
    let rows = freshRows(ring, 3);
    for (let count = 5; count <= 24; count++) {
      ring = oneZone(count);
      const next = rowsWithJoined(rows, ring, serverId(count), 3);
      const fair = (PLACEMENT_GROUPS * 3) / count;
      expect(copiesMoved(rows, next)).toBeLessThanOrEqual(Math.ceil(fair));
      for (const slots of slotsByServer(next).values()) {
        expect(Math.abs(slots - fair)).toBeLessThanOrEqual(Math.max(fair * 0.02, 1));
      }
      rows = next;
    }
  });

  test("gives the new server slots all over the table, first in a row as often as others", () => {
    const rows = rowsWithJoined(freshRows(oneZone(4), 3), oneZone(5), serverId(5), 3);
    const quarter = PLACEMENT_GROUPS / 4;
    for (let start = 0; start < PLACEMENT_GROUPS; start += quarter) {
      const share = rows.slice(start, start + quarter).filter((row) => row.includes(serverId(5)));
      expect(share.length).toBeGreaterThan(quarter * 0.5);
    }
    const first = rows.filter((row) => row[0] === serverId(5)).length;
    expect(first).toBeGreaterThan((PLACEMENT_GROUPS / 5) * 0.9);
    expect(first).toBeLessThan((PLACEMENT_GROUPS / 5) * 1.1);
  });

  test("fills rows that were short, and moves nothing else", () => {
    const two = freshRows(oneZone(2), 3);
    const three = rowsWithJoined(two, oneZone(3), serverId(3), 3);
    three.forEach((row, group) => {
      expect(row.filter((id) => id !== 3)).toEqual(two[group]!);
      expect(row).toContain(serverId(3));
    });
  });

  test("random joins with zones: rows are whole, no row loses a zone, nothing moves in vain", () => {
    const seed = crypto.getRandomValues(new Uint32Array(1))[0]!;
    console.log(`placement joins: seed ${seed}`);
    const random = seededRandom(seed);
    for (let round = 0; round < 4; round++) {
      const width = 1 + random.below(4);
      const zones = 1 + random.below(4);
      let ring = ringOrder([server(1, `zone-${random.below(zones)}`)]);
      let rows = freshRows(ring, width);
      for (let count = 2; count <= 12; count++) {
        ring = ringOrder([...ring, server(count, `zone-${random.below(zones)}`)]);
        const next = rowsWithJoined(rows, ring, serverId(count), width);
        const whole = Math.min(width, count);
        const broken = next.filter((row, group) => {
          const former = rows[group]!;
          const stayed = row.filter((id) => former.includes(id)).length;
          return (
            row.length !== whole ||
            new Set(row).size !== whole ||
            zonesOf(row, ring) < zonesOf(former, ring) ||
            stayed < former.length - 1
          );
        });
        expect(broken).toEqual([]);
        const slots = slotsByServer(next);
        const joined = slots.get(serverId(count)) ?? 0;
        const short = count <= width;
        const fair = short ? PLACEMENT_GROUPS : Math.floor((PLACEMENT_GROUPS * width) / count);
        expect(joined).toBeLessThanOrEqual(fair);
        expect(copiesMoved(rows, next)).toBe(joined);
        rows = next;
      }
    }
  }, 30_000);
});

describe("rowsWithout", () => {
  test("moves just the slots of the server that leaves, and stays balanced", () => {
    for (let count = 4; count <= 24; count++) {
      const ring = oneZone(count);
      const rows = freshRows(ring, 3);
      const leaving = serverId(1 + (count % 4));
      const next = rowsWithout(rows, ring, leaving);
      const own = rows.flat().filter((id) => id === leaving).length;
      expect(copiesMoved(rows, next)).toBe(own);
      expect(next.flat()).not.toContain(leaving);
      expect(next.every((row) => row.length === 3 && new Set(row).size === 3)).toBe(true);
      const fair = (PLACEMENT_GROUPS * 3) / (count - 1);
      for (const slots of slotsByServer(next).values()) {
        expect(Math.abs(slots - fair)).toBeLessThanOrEqual(Math.max(fair * 0.02, 2));
      }
    }
  });

  test("keeps three zones in every row while there are three", () => {
    const ring = ringOrder([1, 2, 3, 4, 5, 6, 7].map((id) => server(id, `zone-${id % 3}`)));
    const rows = freshRows(ring, 3);
    const left = ring.filter((each) => each.server !== 1);
    for (const row of rowsWithout(rows, left, serverId(1))) expect(zonesOf(row, left)).toBe(3);
  });

  test("makes rows shorter when nobody is left to take a slot, and one that joins fills them", () => {
    const short = rowsWithout(freshRows(oneZone(3), 3), oneZone(2), serverId(3));
    expect(short.every((row) => row.toSorted((one, other) => one - other).join() === "1,2")).toBe(
      true,
    );
    const filled = rowsWithJoined(short, [...oneZone(2), server(4)], serverId(4), 3);
    expect(
      filled.every((row) => row.toSorted((one, other) => one - other).join() === "1,2,4"),
    ).toBe(true);
  });

  test("random joins and leaves with zones: rows are whole, nothing moves in vain, no zone is given up", () => {
    const seed = Number(
      process.env["DFS_TEST_SEED"] ?? crypto.getRandomValues(new Uint32Array(1))[0]!,
    );
    console.log(`placement joins and leaves: DFS_TEST_SEED=${seed}`);
    const random = seededRandom(seed);
    for (let round = 0; round < 4; round++) {
      const width = 1 + random.below(4);
      const zones = 1 + random.below(4);
      let next = 6;
      let ring = ringOrder([1, 2, 3, 4, 5].map((id) => server(id, `zone-${random.below(zones)}`)));
      let rows = freshRows(ring, width);
      for (let step = 0; step < 12; step++) {
        const before = rows;
        if (ring.length > width && random.below(2) === 0) {
          const leaving = ring[random.below(ring.length)]!.server;
          ring = ringOrder(ring.filter((each) => each.server !== leaving));
          rows = rowsWithout(before, ring, leaving);
          const own = before.flat().filter((id) => id === leaving).length;
          expect(copiesMoved(before, rows)).toBe(own);
          const poorer = rows.filter((row, group) => {
            const rest = before[group]!.filter((id) => id !== leaving);
            const possible = new Set(ring.map(({ zone }) => zone)).size;
            const gained = zonesOf(rest, ring) < possible && rest.length < row.length ? 1 : 0;
            const changed = before[group]!.includes(leaving);
            return changed && zonesOf(row, ring) < zonesOf(rest, ring) + gained;
          });
          expect(poorer).toEqual([]);
        } else {
          const joined = serverId(next++);
          ring = ringOrder([...ring, server(joined, `zone-${random.below(zones)}`)]);
          rows = rowsWithJoined(before, ring, joined, width);
          const fair = Math.floor((PLACEMENT_GROUPS * width) / ring.length);
          expect(copiesMoved(before, rows)).toBeLessThanOrEqual(fair);
        }
        const whole = Math.min(width, ring.length);
        const broken = rows.filter((row) => row.length !== whole || new Set(row).size !== whole);
        expect(broken).toEqual([]);
      }
    }
  }, 30_000);
});
