// Decisions about backups that need no server: where they go, which are kept, where ids go on, how they are told.

import { describe, expect, test } from "bun:test";
import { lsn, reignId, serverId } from "../../../../src/base/ids.ts";
import { seededRandom } from "../../../../src/base/random.ts";
import {
  acceptances,
  acceptOlder,
  markAfterLoss,
  mayHaveJoined,
} from "../../../../src/server/meta/acceptance.ts";
import type { BackupManifest } from "../../../../src/protocol/messages/backup.ts";
import { Holdings } from "../../../../src/server/meta/backup/holdings.ts";
import { surplusBackups } from "../../../../src/server/meta/backup/retention.ts";
import { newestFirst } from "../../../../src/server/meta/backup/sources.ts";
import { backupOrder } from "../../../../src/server/meta/backup/targets.ts";
import { SERVER_COUNTER } from "../../../../src/server/meta/id-ranges.ts";
import { createSqliteStore } from "../../../../src/server/meta/store/sqlite/store.ts";
import { runSync } from "../../../../src/server/meta/store/store.ts";

const HOUR_NS = 3_600_000_000_000n;
const DAY_NS = 24n * HOUR_NS;
const MS_NS = 1_000_000n;

/** A backup of a database whose clock was right, unless a position says otherwise. */
const dated = (backup: bigint, createdNs: bigint, position = createdNs) => ({
  backup,
  createdNs,
  lsn: lsn(position),
});

const manifest = (of: ReturnType<typeof dated>): BackupManifest => ({
  ...of,
  cluster: new Uint8Array(16),
  reign: reignId(1n),
  length: 1,
  checksum: 0n,
  address: "",
  files: 0,
});

describe("of backups on a server", () => {
  const now = 1000n * DAY_NS + 12n * HOUR_NS;

  test("the newest three are kept", () => {
    const own = [1n, 2n, 3n, 4n, 5n].map((hours) => dated(hours, now - hours * HOUR_NS));
    expect(surplusBackups(own, [], now)).toEqual([4n, 5n]);
    expect(surplusBackups(own.slice(0, 3), [], now)).toEqual([]);
  });

  test("and the newest of each of seven days", () => {
    const own = Array.from({ length: 240 }, (_, hours) =>
      dated(BigInt(hours), now - BigInt(hours) * HOUR_NS),
    );
    const surplus = new Set(surplusBackups(own, [], now));
    const kept = own.filter(({ backup }) => !surplus.has(backup)).map(({ backup }) => backup);
    // Of today three, and of six more days the one of 23 h.
    expect(kept).toEqual([0n, 1n, 2n, 13n, 37n, 61n, 85n, 109n, 133n]);
  });

  // A clock that had been a year ahead for some days left backups that looked newest for a year. Each one that was made after
  // it was set right was deleted by the retention as soon as it was held; only those of before could be restored.
  test("the one just made is kept when a clock that was ahead has been set right", () => {
    const ahead = Array.from({ length: 8 }, (_, day) =>
      dated(BigInt(day), now + BigInt(365 + day) * DAY_NS, BigInt(100 + day)),
    );
    const made = dated(99n, now, 200n);
    expect(surplusBackups([...ahead, made], [], now)).not.toContain(99n);
    const holdings = new Holdings();
    for (const each of [...ahead, made]) holdings.add(serverId(1), manifest(each));
    expect(holdings.newest()?.manifest.backup).toBe(99n);
    const offered = [...ahead, made].map((each) => ({ manifest: manifest(each) }));
    expect(newestFirst(offered)[0]?.manifest.backup).toBe(99n);
  });

  test("between two reigns the clock decides which one is restored", () => {
    const one = { manifest: manifest(dated(1n, now, 500n)) };
    const other = { manifest: { ...manifest(dated(2n, now + HOUR_NS, 400n)), reign: reignId(2n) } };
    expect(newestFirst([one, other]).map((each) => each.manifest.backup)).toEqual([2n, 1n]);
  });

  test("those of another life are kept for thirty days, be they ever so many or new", () => {
    const foreign = [1n, 2n, 29n, 31n].map((days) => dated(days, now - days * DAY_NS));
    const future = dated(99n, now + DAY_NS);
    expect(surplusBackups([], [...foreign, future], now)).toEqual([31n]);
  });
});

describe("a backup goes", () => {
  const at = (server: number, zone = "", full = false) => ({
    server: serverId(server),
    zone,
    full,
  });

  test("to one server of each zone first, by id", () => {
    const servers = [at(4, "b"), at(1, "a"), at(2, "a"), at(3, "b"), at(5, "c")];
    expect(backupOrder(servers) as number[]).toEqual([1, 3, 5, 2, 4]);
    expect(backupOrder([at(3), at(1), at(2)]) as number[]).toEqual([1, 2, 3]);
  });

  test("to full servers last", () => {
    const servers = [at(1, "a", true), at(2, "b"), at(3, "b")];
    expect(backupOrder(servers) as number[]).toEqual([2, 3, 1]);
  });
});

describe("after a loss ids go on", () => {
  test("above what an earlier life can have given out, whichever copy it began from", () => {
    const copy = 70_000n;
    const firstNs = 1_900_000_000_000n * MS_NS;
    const first = markAfterLoss(copy, firstNs);
    // A life of an hour, with a million ids in each millisecond.
    const givenOut = first + 3_600_000n * 1_000_000n;
    expect(markAfterLoss(copy, firstNs + HOUR_NS) > givenOut).toBe(true);
    expect(markAfterLoss(copy, 4_000_000_000_000n * MS_NS) < 1n << 63n).toBe(true);
  });

  test("far above the mark, should the clock stand in the past", () => {
    expect(markAfterLoss(1n << 62n, 0n)).toBe((1n << 62n) + (1n << 40n));
  });
});

test("acceptances are kept one behind the other, each with the servers that it may have lost", () => {
  const store = createSqliteStore(":memory:");
  try {
    store.primitives["counter.put"](SERVER_COUNTER, 4n);
    const random = seededRandom(1);
    const first = acceptOlder(store, random, 5n);
    const second = acceptOlder(store, random, 6n);
    expect(runSync(store.primitives, acceptances())).toEqual([first, second]);
    expect(first.acceptance).not.toBe(second.acceptance);
    const may = (id: number): boolean => runSync(store.primitives, mayHaveJoined(serverId(id)));
    expect([4, 5, 1999, 2000, 3999, 4000].map(may)).toEqual([
      false, // known to the copy, and removed since if it has no row
      true,
      true,
      true,
      true,
      false,
    ]);
    expect(store.primitives["counter.get"](SERVER_COUNTER)).toBe(3999n);
  } finally {
    store.close();
  }
});
