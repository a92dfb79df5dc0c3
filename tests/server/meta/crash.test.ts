// The metadata server is killed at any moment under load: what it acknowledged is there, no id comes twice.

import { describe, expect, test } from "bun:test";
import { ROOT_INODE, type InodeId } from "../../../src/base/ids.ts";
import { seededRandom } from "../../../src/base/random.ts";
import { status } from "../../../src/protocol/messages/cluster.ts";
import * as content from "../../../src/protocol/messages/content.ts";
import { create, getattr, lookup } from "../../../src/protocol/messages/namespace.ts";
import { temporaryDirectory } from "./support/durable.ts";
import { startProcess, type MetaProcess } from "./support/process.ts";
import { TestClient, text } from "./support/service.ts";

const KILLS = 25;

/** Requests in flight while the server is killed. */
const DEPTH = 16;

/** What the server has acknowledged over all its lives. */
class Ledger {
  readonly files = new Map<string, InodeId>();
  readonly inodes = new Set<InodeId>();
  readonly blocks = new Set<bigint>();

  created(name: string, inode: InodeId): void {
    expect(this.inodes.has(inode)).toBe(false);
    this.inodes.add(inode);
    this.files.set(name, inode);
  }

  reserved(first: bigint, count: number): void {
    for (let id = first; id < first + BigInt(count); id++) {
      expect(this.blocks.has(id)).toBe(false);
      this.blocks.add(id);
    }
  }
}

/** Creates files and reserves blocks, several at a time, until the server is gone. */
async function load(client: TestClient, ledger: Ledger, life: number): Promise<void> {
  let number = 0;
  const worker = async (): Promise<void> => {
    while (client.peer.open) {
      const name = `life-${life}-file-${number++}`;
      try {
        const { attributes } = await client.create(name);
        ledger.created(name, attributes.inode);
        const count = 1 + (number % 50);
        const { first } = await client.change(content.reserve, { count });
        ledger.reserved(first, count);
      } catch (error) {
        if (client.peer.open) throw error;
        return; // killed: what was not acknowledged may or may not be there
      }
    }
  };
  await Promise.all(Array.from({ length: DEPTH }, worker));
}

describe("a metadata server that is killed under load", () => {
  test(`keeps what it acknowledged and gives no id twice, ${KILLS} times over`, async () => {
    const seed = crypto.getRandomValues(new Uint32Array(1))[0]!;
    console.log(`kills: seed ${seed}`);
    const random = seededRandom(seed);
    using dir = temporaryDirectory();
    const ledger = new Ledger();
    let address: string | undefined;
    for (let life = 0; life < KILLS; life++) {
      const server: MetaProcess = await startProcess(dir.path);
      expect(server.address).toBe((address ??= server.address));
      const client = await TestClient.open(server.address);
      const working = load(client, ledger, life);
      await Bun.sleep(random.below(250));
      await server.end("SIGKILL");
      await working;
    }
    const server = await startProcess(dir.path);
    const client = await TestClient.open(server.address);
    for (const [name, inode] of ledger.files) {
      const found = await client.ask(lookup, { parent: ROOT_INODE, name: text(name) });
      expect(found.attributes.inode).toBe(inode);
    }
    expect(ledger.files.size).toBeGreaterThan(KILLS);
    expect(await server.end("SIGTERM")).toBe(0);
  }, 120_000);

  test("answers an operation that is sent again with the reply of its first execution", async () => {
    using dir = temporaryDirectory();
    const first = await startProcess(dir.path);
    const client = await TestClient.open(first.address);
    const created = await client.create("a");
    const reserved = await client.change(content.reserve, { count: 3 });
    // Sent again on the same connection.
    const replay = await client.change(content.reserve, { count: 3 }, 2n);
    expect(replay).toMatchObject({ first: reserved.first, count: 3 });
    await first.end("SIGKILL");
    const second = await startProcess(dir.path);
    const resumed = await client.resume(second.address);
    // Sent again to the next life: `exclusive` would fail if it were executed a second time.
    const again = await resumed.change(
      create,
      {
        parent: ROOT_INODE,
        name: text("a"),
        mode: 0o644,
        uid: 0,
        gid: 0,
        base: 0,
        exclusive: true,
        open: false,
      },
      1n,
    );
    expect(again.attributes.inode).toBe(created.attributes.inode);
    expect(again.lsn).toBeGreaterThan(0n);
    await second.end("SIGTERM");
  }, 30_000);

  test("a failed sync ends the process; the next start rebuilds the database", async () => {
    using dir = temporaryDirectory();
    // The first sync is that of the reign, the second that of the session.
    const failing = await startProcess(dir.path, ["--fail-sync", "6"]);
    const client = await TestClient.open(failing.address);
    const acknowledged: InodeId[] = [];
    for (let number = 0; client.peer.open; number++) {
      try {
        acknowledged.push((await client.create(`file-${number}`)).attributes.inode);
      } catch {
        break; // the connection is gone, or the outcome is unknown
      }
    }
    expect(await failing.exited).toBe(1);
    expect(failing.log()).toContain("EIO");
    expect(failing.log()).toContain("the next start rebuilds the database");
    expect(acknowledged.length).toBeGreaterThan(0);

    const next = await startProcess(dir.path);
    expect(next.log()).toContain("rebuilding the metadata database");
    const other = await client.resume(next.address);
    for (const inode of acknowledged) {
      expect((await other.ask(getattr, { inode })).attributes.inode).toBe(inode);
    }
    await next.end("SIGKILL");
    const third = await startProcess(dir.path);
    expect(third.log()).not.toContain("rebuilding");
    await third.end("SIGTERM");
  }, 30_000);

  test("SIGTERM answers what was accepted, and leaves a database without a log", async () => {
    using dir = temporaryDirectory();
    const server = await startProcess(dir.path);
    const client = await TestClient.open(server.address);
    const results = Promise.allSettled(
      Array.from({ length: 50 }, (_, index) => client.create(`file-${index}`)),
    );
    await client.ask(status, {}); // the creates have been received by now, and the figures' thread has started
    expect(await server.end("SIGTERM")).toBe(0);
    const kept = (await results).filter((each) => each.status === "fulfilled");
    expect(kept.length).toBe(50);
    const files = [...new Bun.Glob("*").scanSync({ cwd: dir.path })].sort();
    expect(files).toEqual(["address", "lock", "meta.db", "reserve"]);
  }, 30_000);
});

describe("starting a metadata server", () => {
  test("a directory in use is refused, naming the process", async () => {
    using dir = temporaryDirectory();
    const server = await startProcess(dir.path);
    const refusal = await startProcess(dir.path).then(
      () => "it started",
      (error: Error) => error.message,
    );
    expect(refusal).toContain("exit code 1");
    expect(refusal).toContain(`in use by process ${server.pid}`);
    await server.end("SIGTERM");
  }, 30_000);

  test("a port in use is refused, naming the port", async () => {
    using one = temporaryDirectory();
    using other = temporaryDirectory();
    const server = await startProcess(one.path);
    const refusal = await startProcess(other.path, ["--listen", server.address]).then(
      () => "it started",
      (error: Error) => error.message,
    );
    expect(refusal).toContain("exit code 1");
    expect(refusal).toContain(server.address.split(":")[1]!);
    await server.end("SIGTERM");
  }, 30_000);
});
