// Promises that need several processes to be seen: what one client closes the next one sees; nobody waits for ever for a server
// that hangs; nobody talks to the wrong one.

import {
  afterAll,
  afterEach,
  beforeAll,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";
import { writeFileSync } from "node:fs";
import { systemClock } from "../../src/base/clock.ts";
import { isDfsError, type DfsError } from "../../src/base/errors.ts";
import { serverId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { systemRandom } from "../../src/base/random.ts";
import type { DfsClient } from "../../src/client/api.ts";
import { connectClient } from "../../src/client/client.ts";
import { connectPeer, type ConnectOptions } from "../../src/protocol/endpoint.ts";
import { tcpTransport } from "../../src/protocol/transports/tcp.ts";
import { bytesOf, collected, patterned } from "../support/cluster.ts";
import { LocalCluster } from "../support/local-cluster.ts";

setDefaultTimeout(180_000); // whole clusters and many commands; a busy machine is slow

const OWNER = { mode: 0o644, uid: 0, gid: 0 };

function connect(cluster: LocalCluster, label: string): Promise<DfsClient> {
  return connectClient({ metaAddress: cluster.describe().meta, label });
}

async function read(client: DfsClient, path: string): Promise<string> {
  const file = await client.open(bytesOf(path));
  try {
    return Buffer.from(await collected(file.stream())).toString();
  } finally {
    await file.close();
  }
}

describe("close-to-open consistency between clients", () => {
  let cluster: LocalCluster;
  let client: DfsClient;
  beforeAll(async () => {
    cluster = await LocalCluster.up("--block-size", "16");
    client = await connect(cluster, "one");
  });
  afterAll(async () => {
    await client.close();
    await cluster.stop();
  });

  test("what one process has closed, the next open in another one sees, in both directions, each time", async () => {
    for (let round = 0; round < 5; round++) {
      const mine = `written here, round ${round}, and long enough for blocks`;
      const file = await client.create(bytesOf("/shared"), OWNER);
      await file.truncate(0);
      await file.write(0, bytesOf(mine));
      await file.close();
      expect((await cluster.ok("cat", "/shared")).text).toBe(mine);

      const theirs = `written by another process, round ${round}`;
      await cluster.run(["put", "-", "/shared"], { stdin: bytesOf(theirs) });
      expect(await read(client, "/shared")).toBe(theirs);
    }
  });

  test("so are names: made, moved and removed", async () => {
    await cluster.ok("mkdir", "/made");
    expect((await client.stat(bytesOf("/made"))).type).toBe("directory");
    await client.rename(bytesOf("/made"), bytesOf("/moved"));
    expect((await cluster.ok("ls", "/")).text).toContain("moved");
    await cluster.ok("rm", "-r", "/moved");
    const error = await client.stat(bytesOf("/moved")).catch((reason: unknown) => reason);
    expect(isDfsError(error, "notFound")).toBe(true);
  });

  test("a client sees what it wrote itself before it is closed, and others see it after a flush", async () => {
    const other = await connect(cluster, "two");
    const file = await client.create(bytesOf("/own"), OWNER);
    try {
      await file.write(0, bytesOf("not yet"));
      expect(await read(client, "/own")).toBe("not yet");
      await file.flush();
      expect(await read(other, "/own")).toBe("not yet");
    } finally {
      await file.close();
      await other.close();
    }
  });
});

describe("servers that hang", () => {
  let cluster: LocalCluster;
  const frozen: number[] = [];
  const content = patterned(300_000, 1);

  beforeAll(async () => {
    cluster = await LocalCluster.up("--block-size", "64K");
    writeFileSync(cluster.path("content"), content);
    await cluster.ok("put", cluster.path("content"), "/file");
  });
  afterEach(() => {
    for (const pid of frozen.splice(0)) process.kill(pid, "SIGCONT");
  });
  afterAll(() => cluster.stop());

  function freeze(...pids: readonly number[]): void {
    for (const pid of pids) {
      process.kill(pid, "SIGSTOP");
      frozen.push(pid);
    }
  }

  /** Runs a command; how it ended, and after how many milliseconds. */
  async function timed(...args: string[]) {
    const started = performance.now();
    const result = await cluster.run(args);
    return { ...result, tookMs: performance.now() - started };
  }

  test("the metadata server, at first contact: an error that names it, soon", async () => {
    const { meta, metaPid } = cluster.describe();
    freeze(metaPid);
    const { code, stderr, tookMs } = await timed("ls", "--timeout", "2", "/");
    expect(code).toBe(5);
    expect(stderr).toContain(meta);
    expect(tookMs).toBeGreaterThan(1_900);
    expect(tookMs).toBeLessThan(30_000);
  });

  test("the metadata server, in the middle: requests fail after the time that the client was given, and later ones work", async () => {
    const { meta, metaPid } = cluster.describe();
    const client = await connectClient({
      metaAddress: meta,
      label: "patient",
      retryTimeoutMs: 2_000,
    });
    try {
      await client.stat(bytesOf("/file"));
      freeze(metaPid);
      const started = performance.now();
      const error = await client.stat(bytesOf("/file")).catch((reason: unknown) => reason);
      expect(isDfsError(error)).toBe(true);
      expect((error as DfsError).kind).toBe("unreachable");
      expect((error as DfsError).message).toContain(meta);
      expect(performance.now() - started).toBeLessThan(60_000);
      process.kill(metaPid, "SIGCONT");
      expect((await client.stat(bytesOf("/file"))).size).toBe(content.length);
    } finally {
      await client.close();
    }
  });

  test("one data server: another one is asked, and the bytes are right", async () => {
    freeze(cluster.server(1).pid);
    const { code, stdout, tookMs } = await timed("cat", "/file");
    expect(code).toBe(0);
    expect(Buffer.compare(stdout, content)).toBe(0);
    expect(tookMs).toBeLessThan(60_000);
  });

  test("all data servers: reading and writing end with an error that names file and servers", async () => {
    freeze(...cluster.describe().servers.map(({ pid }) => pid));
    const reading = await timed("cat", "--timeout", "2", "/file");
    expect(reading.code).toBe(1);
    expect(reading.stderr).toContain("cannot read /file at offset 0");
    expect(reading.stderr).toMatch(/server \d/);
    expect(reading.tookMs).toBeLessThan(90_000);
    const writing = await timed("put", "--timeout", "2", cluster.path("content"), "/other");
    expect(writing.code).toBe(1);
    expect(writing.stderr).toContain("/other");
    expect(writing.tookMs).toBeLessThan(90_000);
    expect((await cluster.run(["stat", "/other"])).code).toBe(4);
  });
});

describe("the wrong peer", () => {
  let one: LocalCluster;
  let other: LocalCluster;
  beforeAll(async () => {
    one = await LocalCluster.up("--data-servers", "2");
    other = await LocalCluster.up("--data-servers", "1");
  });
  afterAll(async () => {
    await one.stop();
    await other.stop();
  });

  async function refusal(
    address: string,
    expected: ConnectOptions["expect"],
    cluster: ConnectOptions["identity"]["cluster"],
  ): Promise<DfsError> {
    try {
      const peer = await connectPeer({
        transport: tcpTransport(systemClock),
        address,
        key: undefined,
        identity: {
          role: "client",
          cluster,
          server: undefined,
          incarnation: undefined,
          instance: undefined,
          reign: undefined,
          label: "wrong peer test",
        },
        expect: expected,
        clock: systemClock,
        random: systemRandom,
        logger: silentLogger,
        timeoutMs: 20_000,
      });
      peer.close("it should not have been let in");
    } catch (error) {
      if (isDfsError(error)) return error;
      throw error;
    }
    throw new Error(`${address} was taken for what it is not`);
  }

  test("a data server of another cluster, or with another id, is refused with both named", async () => {
    const client = await connect(one, "to learn the cluster's id");
    const mine = client.cluster;
    await client.close();
    const foreign = await refusal(other.server(1).address, { role: "data" }, mine);
    expect(foreign.kind).toBe("wrongCluster");
    expect(foreign.message).toContain(mine);
    const wrongId = await refusal(
      one.server(1).address,
      { role: "data", server: serverId(2) },
      mine,
    );
    expect(wrongId.kind).toBe("wrongPeer");
    expect(wrongId.message).toContain("this is data server 1, not 2");
  });

  test("a command that is given a data server's address says what is there", async () => {
    const { address } = one.server(1);
    const { code, stderr } = await one.run(["ls", "--timeout", "5", "--meta", address, "/"]);
    expect(code).not.toBe(0);
    expect(stderr).toContain("is a data server, not a metadata service");
  });

  test("a data server of one cluster is refused by the other, and says why", async () => {
    await other.kill(other.server(1).pid);
    const { dir } = other.server(1);
    const { code, stderr } = await other.run(["data", "--dir", dir, "--meta", one.describe().meta]);
    expect(code).toBe(1);
    expect(stderr).toContain("cluster");
    const rows = await one.rows<{ readonly server: number }>("server", "list");
    expect(rows.map(({ server }) => server)).toEqual([1, 2]);
  });

  test("something that is no dfs at all: an error in time that names the address", async () => {
    using web = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("hello") });
    const address = `127.0.0.1:${web.port}`;
    const { code, stderr } = await one.run(["ls", "--timeout", "3", "--meta", address, "/"]);
    expect(code).toBe(5);
    expect(stderr).toContain(address);
    const data = await one.run(["data", "--new", "--dir", one.path("new"), "--meta", address]);
    expect(data.code).not.toBe(0);
    expect(data.stderr).toContain(address);
  });
});
