// The session with the metadata service: first contact, lost answers, restarts, expiry.

import { afterEach, describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { clusterId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { systemRandom } from "../../src/base/random.ts";
import type { ClientOptions, ClusterStatus } from "../../src/client/api.ts";
import { connectClient } from "../../src/client/client.ts";
import { tcpTransport } from "../../src/protocol/transports/tcp.ts";
import { bytesOf, startCluster, until, type Cluster, type TestClient } from "../support/cluster.ts";
import { DeafTransport } from "./support/deaf-transport.ts";
import { failureOf, messageOfFailure } from "../support/failure.ts";

let cluster: Cluster | undefined;
afterEach(async () => {
  await cluster?.stop();
  cluster = undefined;
});

const OWNER = { mode: 0o755, uid: 0, gid: 0 };

async function exists(client: TestClient, path: string): Promise<boolean> {
  return client.stat(bytesOf(path)).then(
    () => true,
    () => false,
  );
}

describe("first contact", () => {
  test("an address where nobody listens is an error soon, naming it and what to do", async () => {
    const silent = await tcpTransport(systemClock).listen("127.0.0.1:0", () => {
      throw new Error("nobody connects");
    });
    silent.close();
    const started = performance.now();
    const failed = connectClient({ metaAddress: silent.address, label: "test" });
    expect(await failureOf(failed)).toMatchObject({ kind: "unreachable" });
    expect(await messageOfFailure(failed)).toContain(silent.address);
    expect(await messageOfFailure(failed)).toContain("--meta");
    expect(performance.now() - started).toBeLessThan(4_500);
  });

  test("an address where somebody listens and says nothing is an error in time", async () => {
    const ignore = (): void => undefined;
    const mute = await tcpTransport(systemClock).listen("127.0.0.1:0", () => ({
      onData: ignore,
      onWritable: ignore,
      onClose: ignore,
    }));
    const options = { metaAddress: mute.address, label: "test", firstContactTimeoutMs: 300 };
    expect(await failureOf(connectClient(options))).toMatchObject({ kind: "unreachable" });
    mute.close();
  });

  test("another cluster than the one wanted is refused", async () => {
    cluster = await startCluster({ servers: 0 });
    const wanted = clusterId("ffffffffffffffffffffffffffffffff");
    expect(await failureOf(cluster.client({ cluster: wanted }))).toMatchObject({
      kind: "wrongCluster",
    });
  });
});

describe("a change whose answer is lost", () => {
  test("is sent again and executed once", async () => {
    cluster = await startCluster({ servers: 0 });
    const transport = new DeafTransport(cluster.transport("client"));
    const client = await cluster.client({}, transport);
    const witness = await cluster.client();
    await client.mkdir(bytesOf("/before"), OWNER);
    transport.deaf = true;
    const made = client.mkdir(bytesOf("/once"), OWNER);
    const removed = client.rmdir(bytesOf("/before"));
    await until("the directory is there", () => exists(witness, "/once"));
    await until("the other is gone", async () => !(await exists(witness, "/before")));
    transport.reconnect();
    expect((await made).type).toBe("directory");
    await removed;
    expect(transport.connects).toBe(2);
  });

  test("is executed once also when the service was restarted meanwhile", async () => {
    cluster = await startCluster({ servers: 0 });
    const transport = new DeafTransport(cluster.transport("client"));
    const client = await cluster.client({}, transport);
    const witness = await cluster.client();
    await client.stat(bytesOf("/"));
    transport.deaf = true;
    const made = client.mkdir(bytesOf("/once"), OWNER);
    await until("the directory is there", () => exists(witness, "/once"));
    await cluster.stopMeta();
    transport.reconnect();
    await cluster.startMeta();
    expect((await made).type).toBe("directory");
    const { session } = client;
    await client.mkdir(bytesOf("/later"), OWNER);
    expect(client.session).toBe(session);
  });

  test("has an unknown outcome when the session expired before it could be asked again", async () => {
    cluster = await startCluster({ servers: 0, meta: { leaseTimeoutMs: 400 } });
    const transport = new DeafTransport(cluster.transport("client"));
    const client = await cluster.client({}, transport);
    const { session } = client;
    await client.stat(bytesOf("/"));
    transport.deaf = true;
    const made = client.mkdir(bytesOf("/perhaps"), OWNER);
    made.catch(() => undefined);
    await until("it was executed", async () => (await statusOf(cluster!)).directories === 2);
    transport.cut();
    await until("the session has expired", async () => (await statusOf(cluster!)).sessions === 1);
    transport.reconnect();
    expect(await failureOf(made)).toMatchObject({ kind: "outcomeUnknown" });
    expect(client.session).not.toBe(session);
    await client.mkdir(bytesOf("/later"), OWNER);
  });

  test("a put that must be new: what became of it is not known, and it is not said to have failed", async () => {
    cluster = await startCluster({ servers: 3, meta: { leaseTimeoutMs: 400 } });
    const transport = new DeafTransport(cluster.transport("client"));
    const client = await cluster.client({}, transport);
    const target = { ...OWNER, keepReplaced: false, exclusive: true };
    await client.put(bytesOf("/before"), [bytesOf("before")], target); // servers are known now
    transport.deafTo(cluster.metaAddress);
    const put = client.put(bytesOf("/new"), [bytesOf("new")], target);
    put.catch(() => undefined);
    await until("it was executed", async () => (await statusOf(cluster!)).files === 2);
    transport.cut();
    await until("the session has expired", async () => (await statusOf(cluster!)).sessions === 1);
    transport.reconnect();
    expect(await failureOf(put)).toMatchObject({ kind: "outcomeUnknown" });
    expect((await client.stat(bytesOf("/new"))).size).toBe(3);
    // One that may replace what is there is simply done again.
    await client.put(bytesOf("/new"), [bytesOf("newer")], { ...target, exclusive: false });
  });
});

/** The service's figures, asked by a client that is there only for this; it counts among the sessions. */
async function statusOf(of: Cluster): Promise<ClusterStatus> {
  const seams = {
    transport: of.transport("watcher"),
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
  };
  const watcher = await connectClient({ metaAddress: of.metaAddress, label: "watcher" }, seams);
  try {
    return await watcher.status();
  } finally {
    await watcher.close();
  }
}

describe("a put during which the session expires", () => {
  /** Stores 20 blocks and lets the session expire before the last one is given. */
  async function putAcrossExpiry(
    restartable: boolean,
  ): Promise<{ put: Promise<unknown>; client: TestClient }> {
    cluster = await startCluster({
      servers: 3,
      settings: { blockSize: 64 },
      meta: { leaseTimeoutMs: 400 },
    });
    const transport = new DeafTransport(cluster.transport("client"));
    const client = await cluster.client({}, transport);
    let expired = false;
    const content = {
      async *[Symbol.asyncIterator]() {
        yield new Uint8Array(19 * 64).fill(1);
        if (!expired) {
          expired = true;
          transport.cut();
          const sessions = async () => (await statusOf(cluster!)).sessions;
          await until("the session has expired", async () => (await sessions()) === 1);
          transport.reconnect();
          await client.stat(bytesOf("/")); // a new session is there
        }
        yield new Uint8Array(64).fill(2);
      },
    };
    const options = { ...OWNER, keepReplaced: true, restartable };
    return { put: client.put(bytesOf("/file"), content, options), client };
  }

  test("starts again by itself when its content can", async () => {
    const { put, client } = await putAcrossExpiry(true);
    expect(await put).toMatchObject({ size: 20 * 64 });
    expect((await client.stat(bytesOf("/file"))).size).toBe(20 * 64);
  });

  test("fails with a clear error when its content cannot, and leaves nothing", async () => {
    const { put, client } = await putAcrossExpiry(false);
    const error = await failureOf(put);
    expect(error).toMatchObject({ kind: "stale" });
    expect(String(error)).toContain("put it again");
    expect(await exists(client, "/file")).toBe(false);
  });
});

describe("a cluster with a key", () => {
  test("serves who has it, and refuses who has not, or another one", async () => {
    const key = bytesOf("the key of this cluster");
    cluster = await startCluster({ servers: 3, key });
    const client = await cluster.client();
    await client.put(bytesOf("/f"), [bytesOf("x")], { ...OWNER, keepReplaced: true });
    const file = await client.open(bytesOf("/f"));
    expect(await file.read(0, 10)).toEqual(bytesOf("x"));
    await file.close();
    for (const wrong of [bytesOf("some other key of this length"), undefined]) {
      const connecting = cluster.client({ key: wrong } as Partial<ClientOptions>);
      expect(await failureOf(connecting)).toMatchObject({ kind: "unauthorized" });
    }
  });
});

describe("when the service is away", () => {
  test("requests wait for it, and its user is told once that it went and once that it came", async () => {
    cluster = await startCluster({ servers: 0 });
    const client = await cluster.client();
    await cluster.stopMeta();
    const asked = client.stat(bytesOf("/"));
    const made = client.mkdir(bytesOf("/a"), OWNER);
    await until("it was told", () => client.warnings.length > 0);
    await cluster.startMeta();
    expect((await asked).type).toBe("directory");
    await made;
    await until("its return was told", () => client.warnings.length > 1);
    await cluster.stopMeta();
    await until("the second outage was told", () => client.warnings.length > 2);
    await cluster.startMeta();
    await until("its return as well", () => client.warnings.length > 3);
    expect(client.warnings.map(({ kind }) => kind)).toEqual([
      "metaUnreachable",
      "metaReachable",
      "metaUnreachable",
      "metaReachable",
    ]);
  });

  test("for too long, requests fail and say so; later ones work again", async () => {
    cluster = await startCluster({ servers: 0 });
    const client = await cluster.client({ retryTimeoutMs: 200 });
    await cluster.stopMeta();
    expect(await failureOf(client.stat(bytesOf("/")))).toMatchObject({ kind: "unreachable" });
    expect(await failureOf(client.mkdir(bytesOf("/a"), OWNER))).toMatchObject({
      kind: "unreachable",
    });
    await cluster.startMeta();
    await until("it works again", () => exists(client, "/"));
  });

  test("another cluster at its address is not taken for it", async () => {
    cluster = await startCluster({ servers: 0 });
    const other = await startCluster({ servers: 0 });
    const client = await cluster.client({ retryTimeoutMs: 2_000 });
    await cluster.stopMeta();
    await other.stopMeta();
    other.metaAddress = cluster.metaAddress;
    // One network for both, so that the address means the other cluster now.
    Object.assign(other, { network: cluster.network });
    await other.startMeta();
    expect(await failureOf(client.mkdir(bytesOf("/a"), OWNER))).toMatchObject({
      kind: "wrongCluster",
    });
    await other.stop();
  });
});

describe("a session", () => {
  test("lives on through heartbeats while nothing is asked", async () => {
    cluster = await startCluster({ servers: 0, meta: { leaseTimeoutMs: 600 } });
    const client = await cluster.client();
    const { session } = client;
    await Bun.sleep(1_500); // the lease, more than twice
    await client.mkdir(bytesOf("/a"), OWNER);
    expect(client.session).toBe(session);
  });

  test("that expired is replaced, and the client goes on", async () => {
    cluster = await startCluster({ servers: 0, meta: { leaseTimeoutMs: 400 } });
    const transport = new DeafTransport(cluster.transport("client"));
    const client = await cluster.client({}, transport);
    const { session } = client;
    transport.cut();
    await until("the session has expired", async () => (await statusOf(cluster!)).sessions === 1);
    transport.reconnect();
    await client.mkdir(bytesOf("/a"), OWNER);
    expect(client.session).not.toBe(session);
  });

  test("ends with its client", async () => {
    cluster = await startCluster({ servers: 0 });
    const client = await cluster.client();
    expect((await statusOf(cluster)).sessions).toBe(2);
    await client.close();
    expect((await statusOf(cluster)).sessions).toBe(1);
    expect(await failureOf(client.stat(bytesOf("/")))).toMatchObject({ kind: "cancelled" });
  });
});
