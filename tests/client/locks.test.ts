// Locks through clients: two of them, interruption, restarts of the service, sessions that expire.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { ROOT_INODE, type InodeId } from "../../src/base/ids.ts";
import { MAX_FILE_BYTES } from "../../src/base/limits.ts";
import type { FileLock, OpenFile } from "../../src/client/api.ts";
import {
  bytesOf,
  OWNER,
  startCluster,
  until,
  type Cluster,
  type TestClient,
} from "../support/cluster.ts";
import { failureOf } from "../support/failure.ts";
import { DeafTransport } from "./support/deaf-transport.ts";

const LEASE_MS = 300;

let cluster: Cluster;
let one: TestClient;
let other: TestClient;
let file: OpenFile;
let inode: InodeId;
beforeEach(async () => {
  cluster = await startCluster({ servers: 3, settings: { blockSize: 4096 } });
  one = await cluster.client();
  other = await cluster.client();
  file = (await one.inodes.create({ parent: ROOT_INODE, name: bytesOf("f") }, OWNER, true)).file;
  inode = file.inode;
});
afterEach(() => cluster.stop());

const WHOLE: FileLock = {
  kind: "posix",
  type: "exclusive",
  owner: 1n,
  pid: 7,
  start: 0,
  end: MAX_FILE_BYTES,
};
const NONE: FileLock = { ...WHOLE, type: "none" };

/** True when another owner of this client finds the file locked. */
async function isLocked(client: TestClient): Promise<boolean> {
  return (await client.locks.get(inode, { ...WHOLE, owner: 99n })) !== undefined;
}

describe("two clients", () => {
  test("exclude one another; who waits gets the lock when it is given up", async () => {
    await one.locks.set(inode, WHOLE, false);
    expect(await failureOf(other.locks.set(inode, WHOLE, false))).toMatchObject({ kind: "busy" });
    expect(await other.locks.get(inode, WHOLE)).toEqual(WHOLE);
    let got = false;
    const waiting = other.locks.set(inode, WHOLE, true).then(() => (got = true));
    await one.locks.set(inode, { ...WHOLE, owner: 5n, kind: "flock" }, false); // of no matter here
    expect(got).toBe(false);
    await one.locks.set(inode, NONE, false);
    await waiting;
    expect(await failureOf(one.locks.set(inode, WHOLE, false))).toMatchObject({ kind: "busy" });
    await other.locks.release(inode, "posix", 1n);
    expect(await isLocked(one)).toBe(false);
  });

  test("a wait that is interrupted leaves nothing behind", async () => {
    await one.locks.set(inode, WHOLE, false);
    const stop = new AbortController();
    const waiting = other.locks.set(inode, WHOLE, true, { signal: stop.signal });
    // Asking for the same once more, without waiting, is answered after the wait has been put on record.
    await failureOf(other.locks.set(inode, { ...WHOLE, owner: 2n }, false));
    stop.abort();
    expect(await failureOf(waiting)).toMatchObject({ kind: "cancelled" });
    await one.locks.release(inode, "posix", 1n);
    expect(await isLocked(one)).toBe(false);
  });

  test("a circle is told of", async () => {
    const second = await one.inodes.create({ parent: ROOT_INODE, name: bytesOf("g") }, OWNER, true);
    await one.locks.set(inode, WHOLE, false);
    await other.locks.set(second.file.inode, WHOLE, false);
    const waiting = one.locks.set(second.file.inode, WHOLE, true);
    // Answered after the wait has been put on record: requests of one client are executed in their order.
    await failureOf(one.locks.set(second.file.inode, { ...WHOLE, owner: 2n }, false));
    expect(await failureOf(other.locks.set(inode, WHOLE, true))).toMatchObject({
      kind: "wouldDeadlock",
    });
    await other.locks.release(second.file.inode, "posix", 1n);
    await waiting;
  });

  test("a client that ends gives its locks up", async () => {
    await one.locks.set(inode, WHOLE, false);
    const waiting = other.locks.set(inode, WHOLE, true);
    await one.close();
    await waiting;
    expect(await isLocked(other)).toBe(true);
  });
});

describe("a restart of the service", () => {
  test("changes nothing about locks that are held, nor about those that are waited for", async () => {
    await one.locks.set(inode, WHOLE, false);
    const waiting = other.locks.set(inode, WHOLE, true);
    await cluster.stopMeta();
    await cluster.startMeta();
    expect(await isLocked(one)).toBe(true);
    expect(await failureOf(other.locks.set(inode, { ...WHOLE, owner: 2n }, false))).toMatchObject({
      kind: "busy",
    });
    await one.locks.set(inode, NONE, false);
    await waiting;
    expect(await isLocked(one)).toBe(true);
  });
});

describe("a session that expires", () => {
  test("loses its locks; files that were locked answer io until they are closed", async () => {
    const quick = await startCluster({
      servers: 3,
      settings: { blockSize: 4096 },
      meta: { leaseTimeoutMs: LEASE_MS },
    });
    try {
      const transport = new DeafTransport(quick.transport("client"));
      const lost = await quick.client({}, transport);
      const witness = await quick.client();
      const place = { parent: ROOT_INODE, name: bytesOf("f") };
      const locked = (await lost.inodes.create(place, OWNER, true)).file;
      const free = await lost.create(bytesOf("/free"), OWNER);
      await lost.locks.set(locked.inode, WHOLE, false);
      await locked.write(0, bytesOf("dirty"));
      const epochSession = lost.session;
      transport.deaf = true;
      await witness.locks.set(locked.inode, WHOLE, true);
      transport.reconnect();
      await until("there is a new session", () => lost.session !== epochSession);
      expect(await failureOf(locked.read(0, 1))).toMatchObject({ kind: "io" });
      expect(await failureOf(locked.write(0, bytesOf("x")))).toMatchObject({ kind: "io" });
      expect(await failureOf(locked.flush())).toMatchObject({ kind: "io" });
      await free.write(0, bytesOf("x"));
      await free.close();
      expect(await failureOf(locked.close())).toMatchObject({ kind: "io" });
      const again = await lost.inodes.open(locked.inode);
      expect(again.attributes.size).toBe(0);
      await again.close();
    } finally {
      await quick.stop();
    }
  });
});
