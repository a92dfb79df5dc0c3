// When a backup is due, on a clock that the test moves: servers are stood in for, what they hold is what they say.

import { expect, test } from "bun:test";
import { incarnationId, instanceId, lsn, reignId, serverId } from "../../../../src/base/ids.ts";
import { silentLogger } from "../../../../src/base/logger.ts";
import { seededRandom } from "../../../../src/base/random.ts";
import { Backups } from "../../../../src/server/meta/backup/backups.ts";
import type { Operation } from "../../../../src/server/meta/store/store.ts";
import { runSync } from "../../../../src/server/meta/store/store.ts";
import { createSqliteStore } from "../../../../src/server/meta/store/sqlite/store.ts";
import { ManualClock } from "../support/manual-clock.ts";

const HOUR_MS = 3_600_000;
const REIGN = reignId(1n);
const POSITION = lsn(5n);

const MANIFEST = {
  backup: 7n,
  cluster: new Uint8Array(16),
  reign: REIGN,
  lsn: POSITION,
  createdNs: 0n,
  length: 1,
  checksum: 0n,
  address: "",
  files: 0,
};

/** A service whose database has not changed since backup 7, which was made at the beginning. */
function service(servers: readonly number[]) {
  const store = createSqliteStore(":memory:");
  const clock = new ManualClock();
  const members: object[] = [];
  let copies = 0;
  const question = async <T>(operation: () => Operation<T>): Promise<T> =>
    runSync(store.primitives, operation());
  const options = {
    engine: { question, durableLsn: POSITION, settings: { cluster: new Uint8Array(16) } },
    commands: {},
    members: { all: () => members, lastSign: () => undefined },
    copier: {
      copy: () => {
        copies++;
        return Promise.reject(new Error("no more is needed to see that it has begun"));
      },
      close: () => Promise.resolve(),
    },
    clock,
    random: seededRandom(1),
    logger: silentLogger,
    dir: "/nowhere",
    intervalMs: HOUR_MS,
    quarantined: () => 0,
  };
  store.primitives["reign.insert"]({ reign: REIGN, number: 1n, startLsn: lsn(0n) });
  const row = {
    incarnation: incarnationId(1n),
    instance: instanceId(1n),
    address: "",
    zone: "",
    tags: [],
    state: "up",
    filling: false,
    registeredNs: 0n,
  } as const;
  for (const id of servers) store.primitives["server.put"]({ ...row, id: serverId(id) });
  const backups = new Backups(options as never);
  backups.start();
  return {
    backups,
    remove: (id: number) => store.primitives["server.delete"](serverId(id)),
    copies: () => copies,
    /** The server is connected, and says whether it holds the backup. */
    register: async (id: number, holds: boolean): Promise<void> => {
      const body = { damaged: [], backups: holds ? [{ manifest: MANIFEST, state: "whole" }] : [] };
      const member = {
        server: serverId(id),
        peer: { open: true, request: () => Promise.resolve({ body }) },
      };
      members.push(member);
      await backups.registered(member as never);
    },
    /** Time goes on, look by look. */
    pass: async (ms: number): Promise<void> => {
      for (let passed = 0; passed < ms; passed += 15_000) {
        clock.advance(15_000);
        await new Promise(setImmediate);
        await backups.idle();
      }
    },
    stop: async (): Promise<void> => {
      await backups.stop();
      store.close();
    },
  };
}

test("nothing is due while nothing changes and the newest is where it should be", async () => {
  const meta = service([1, 2, 3]);
  for (const id of [1, 2, 3]) await meta.register(id, true);
  await meta.pass(3 * HOUR_MS);
  expect(meta.copies()).toBe(0);
  await meta.stop();
});

test("the newest on too few servers makes one due at once, not after the interval", async () => {
  const meta = service([1, 2, 4]);
  for (const id of [1, 2, 4]) await meta.register(id, id !== 4);
  expect(await meta.backups.status()).toMatchObject({ wanted: 3, servers: [1, 2] });
  await meta.pass(45_000);
  expect(meta.copies()).toBe(0); // servers may still be coming back
  await meta.pass(15_000);
  expect(meta.copies()).toBe(1);
  await meta.pass(240_000);
  expect(meta.copies()).toBe(1); // it failed: not again at every look
  await meta.pass(120_000);
  expect(meta.copies()).toBe(2);
  await meta.stop();
});

test("what a server held that was removed does not count any more", async () => {
  const meta = service([1, 2, 3, 4]);
  for (const id of [1, 2, 3, 4]) await meta.register(id, id !== 4);
  await meta.pass(120_000);
  expect(meta.copies()).toBe(0);
  meta.remove(3);
  expect(await meta.backups.status()).toMatchObject({ wanted: 3, servers: [1, 2] });
  await meta.pass(15_000);
  expect(meta.copies()).toBe(1);
  await meta.stop();
});
