// A client that waits for servers as long as it takes, as a hard mount does, and gives up when its caller does.

import { afterEach, beforeEach, expect, test } from "bun:test";
import { ROOT_INODE } from "../../src/base/ids.ts";
import { FOREVER_MS } from "../../src/client/api.ts";
import {
  bytesOf,
  KiB,
  OWNER,
  patterned,
  startCluster,
  until,
  type Cluster,
} from "../support/cluster.ts";
import { failureOf } from "../support/failure.ts";

const SERVERS = 3;
const PATIENT = { retryTimeoutMs: FOREVER_MS, readRetryTimeoutMs: FOREVER_MS };

let cluster: Cluster;
beforeEach(async () => {
  cluster = await startCluster({
    servers: SERVERS,
    settings: { blockSize: 64 * KiB },
    meta: { downDelayMs: 50, heartbeatIntervalMs: 50 },
  });
});
afterEach(() => cluster.stop());

const each = (work: (index: number) => Promise<unknown>): Promise<unknown> =>
  Promise.all(Array.from({ length: SERVERS }, (_, index) => work(index)));

async function stopServers(): Promise<void> {
  const witness = await cluster.client();
  await each((index) => cluster.stopServer(index));
  await until("the service says that all are down", async () =>
    (await witness.servers()).every(({ state }) => state === "down"),
  );
}

test("reads wait for servers that are down, and give up with their caller", async () => {
  const patient = await cluster.client(PATIENT);
  const hasty = await cluster.client();
  const path = bytesOf("/f");
  const bytes = patterned(100);
  await patient.put(path, [bytes], { ...OWNER, keepReplaced: true });
  const file = await patient.open(path);
  await stopServers();
  expect(await failureOf((await hasty.open(path)).read(0, 100))).toMatchObject({ kind: "io" });
  const stop = new AbortController();
  const givenUp = file.read(0, 100, { signal: stop.signal });
  const reading = file.read(0, 100);
  stop.abort();
  expect(await failureOf(givenUp)).toMatchObject({ kind: "cancelled" });
  await each((index) => cluster.startServer(index));
  expect(Buffer.compare(await reading, bytes)).toBe(0);
  await file.close();
});

test("writes wait for servers that are down, and give up with their caller, keeping what was written", async () => {
  const patient = await cluster.client(PATIENT);
  const place = { parent: ROOT_INODE, name: bytesOf("f") };
  const { file } = await patient.inodes.create(place, OWNER, true);
  await stopServers();
  await file.write(0, patterned(100));
  const stop = new AbortController();
  const givenUp = file.flush({ signal: stop.signal });
  stop.abort();
  expect(await failureOf(givenUp)).toMatchObject({ kind: "cancelled" });
  const flushing = file.flush();
  await each((index) => cluster.startServer(index));
  await flushing;
  expect(file.clean).toBe(true);
  await file.close();
});

test("everything waits for the service, and gives up with its caller; an open that was counted is given back", async () => {
  const patient = await cluster.client(PATIENT);
  const { file } = await patient.inodes.create(
    { parent: ROOT_INODE, name: bytesOf("f") },
    OWNER,
    true,
  );
  const { inode } = file;
  await file.close();
  await cluster.stopMeta();
  const stop = new AbortController();
  const waits = [
    patient.inodes.getattr(inode, { signal: stop.signal }),
    patient.inodes.open(inode, { signal: stop.signal }),
    patient.inodes.lookup({ parent: ROOT_INODE, name: bytesOf("f") }, { signal: stop.signal }),
  ];
  const patiently = patient.inodes.getattr(inode);
  stop.abort();
  for (const wait of waits) expect(await failureOf(wait)).toMatchObject({ kind: "cancelled" });
  await cluster.startMeta();
  expect((await patiently).inode).toBe(inode);
  const other = await cluster.client();
  await other.unlink(bytesOf("/f"));
  await until("nobody has it open", async () => {
    const error = await other.inodes.getattr(inode).then(
      () => undefined,
      (failure: { kind: string }) => failure,
    );
    return error?.kind === "stale";
  });
});
