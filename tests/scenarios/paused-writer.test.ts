// A writer that stands still in the middle of `dfs put` for longer than its session lives (SIGSTOP), and goes on. Everything is
// a process of its own. Whatever it does then, readers see the old file or the new one, whole, and what the writer left
// behind is collected, not before it may be.

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDfsError } from "../../src/base/errors.ts";
import { serverId } from "../../src/base/ids.ts";
import { startedFrom } from "../support/bundled-project.ts";
import {
  bytesOf,
  collected,
  KiB,
  MiB,
  OWNER,
  patterned,
  type TestClient,
} from "../support/cluster.ts";
import { finish, LocalCluster, until, type Subprocess } from "../support/local-cluster.ts";
import { spawnCluster, type ProcessCluster } from "../support/processes.ts";

setDefaultTimeout(180_000); // whole clusters and many commands; a busy machine is slow

const BLOCK = 64 * KiB;
const COPIES = 3;
const OLD = patterned(3 * BLOCK, 1);

let folder: LocalCluster | undefined;
let cluster: ProcessCluster | undefined;
const children: Bun.Subprocess[] = [];

afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill("SIGKILL");
    await child.exited;
  }
  await cluster?.stop();
  await folder?.stop();
  cluster = undefined;
  folder = undefined;
});

/** A cluster, a client of it in this process, and a folder in which dfs commands run. */
async function start(graceMs: number, leaseTimeoutMs = 1_000) {
  folder = new LocalCluster();
  const settings = { blockSize: BLOCK };
  const meta = { leaseTimeoutMs, graceMs, reaperIntervalMs: 50 };
  cluster = await spawnCluster({ servers: 4, settings, meta });
  return { client: await cluster.client(), folder, address: cluster.meta.address };
}

async function sessions(client: TestClient): Promise<number> {
  return (await client.status()).sessions;
}

/** Blocks that lie on the data servers. */
async function held(client: TestClient): Promise<number> {
  let sum = 0;
  for (const server of [1, 2, 3, 4]) {
    // A server that is busy with a large put may answer late.
    const stats = await retried(() => client.dataStats(serverId(server)));
    sum += stats.blocks;
  }
  return sum;
}

async function retried<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!isDfsError(error, "timeout") || attempt === 20) throw error;
    }
  }
}

async function contentOf(client: TestClient, path: string): Promise<Buffer> {
  const file = await client.open(bytesOf(path));
  try {
    return Buffer.from(await collected(file.stream()));
  } finally {
    await file.close();
  }
}

/** `dfs put - PATH`, which is given `first` and is waited for until all of it lies on the data servers. */
async function putBySteps(
  client: TestClient,
  path: string,
  first: Uint8Array,
): Promise<Subprocess & { readonly stdin: Bun.FileSink }> {
  const before = await held(client);
  const child = Bun.spawn(
    [join(startedFrom(), "bin/dfs"), "put", "--meta", cluster!.meta.address, "-", path],
    {
      cwd: folder!.root,
      env: { PATH: process.env["PATH"] ?? "", HOME: folder!.root },
      stdio: ["pipe", "pipe", "pipe"],
    },
  );
  children.push(child);
  void child.stdin.write(first);
  await child.stdin.flush();
  const blocks = Math.floor(first.length / BLOCK);
  await until(
    async () => (await held(client)) === before + blocks * COPIES,
    "what was given to lie on the data servers",
  );
  return child;
}

function resume(child: Subprocess): void {
  child.kill("SIGCONT");
}

describe("a writer that is stopped for longer than its session lives", () => {
  test("from a file: it begins anew under new ids, also when everything it had sent was deleted, and the file is right", async () => {
    // Long enough that data servers have stored what was on its way to them before the rest is deleted.
    const { client, folder, address } = await start(5_000);
    await client.put(bytesOf("/file"), [OLD], { ...OWNER, keepReplaced: true });
    const live = await held(client);
    const local = folder.path("local");
    // Large enough that it is not done when it is stopped; if it is, a larger one.
    for (let size = 16 * MiB; ; size *= 2) {
      const content = patterned(size + 17, 2);
      writeFileSync(local, content);
      const put = folder.spawn(["put", "--meta", address, local, "/file"]);
      children.push(put);
      await until(async () => (await held(client)) > live + 20 * COPIES, "some blocks to be sent");
      put.kill("SIGSTOP");
      if ((await client.stat(bytesOf("/file"))).size !== OLD.length) {
        resume(put);
        await finish(put);
        await client.put(bytesOf("/file"), [OLD], { ...OWNER, keepReplaced: true });
        await until(async () => (await held(client)) === live, "the larger file to be gone");
        continue;
      }
      await until(async () => (await sessions(client)) === 1, "its session to end");
      await until(async () => (await held(client)) === live, "what it had sent to be deleted");
      expect((await contentOf(client, "/file")).equals(OLD)).toBe(true);

      resume(put);
      const { code, stderr } = await finish(put);
      expect({ code, stderr }).toMatchObject({ code: 0 });
      expect((await contentOf(client, "/file")).equals(content)).toBe(true);
      break;
    }
    // What was on its way when it was stopped may have come late: fsck finds and deletes that.
    const fsck = await folder.run(["fsck", "--meta", address, "--json"]);
    expect(fsck.text).not.toContain('"left":1');
    expect([0, 1]).toContain(fsck.code);
    const { liveBlocks } = await client.status();
    await until(
      async () => (await held(client)) === liveBlocks * COPIES,
      "nothing to be left over",
    );
  });

  test("from a pipe: it fails and says so; the old file stays, and nothing of the new one is ever seen", async () => {
    const { client } = await start(20);
    await client.put(bytesOf("/file"), [OLD], { ...OWNER, keepReplaced: true });
    const live = await held(client);
    const put = await putBySteps(client, "/file", patterned(20 * BLOCK, 3));
    put.kill("SIGSTOP");
    await until(async () => (await sessions(client)) === 1, "its session to end");
    await until(async () => (await held(client)) === live, "what it had sent to be deleted");
    resume(put);
    void put.stdin.write(patterned(3 * BLOCK, 4));
    await put.stdin.end();
    const { code, stderr } = await finish(put);
    expect(code).toBe(1);
    expect(stderr).toContain(
      "the session with the metadata service expired before the file was complete",
    );
    expect(stderr).toContain("nothing of it is visible; put it again");
    expect((await contentOf(client, "/file")).equals(OLD)).toBe(true);
    await until(async () => (await held(client)) === live, "what it sent afterwards to be deleted");
  });

  test("what it left is not deleted before the grace period has passed, and then it is", async () => {
    const graceMs = 3_000;
    const { client } = await start(graceMs);
    const put = await putBySteps(client, "/file", patterned(20 * BLOCK, 5));
    const sent = await held(client);
    expect(sent).toBe(20 * COPIES);
    put.kill("SIGSTOP");
    let aliveMs = performance.now();
    await until(async () => {
      const askedMs = performance.now();
      if ((await sessions(client)) === 1) return true;
      aliveMs = askedMs; // when this was asked it had not ended
      return false;
    }, "its session to end");
    // The time of the last look that may have been before the deletion, against the earliest end of the session.
    let goneMs = Number.POSITIVE_INFINITY;
    await until(async () => {
      const left = await held(client);
      if (left < sent) goneMs = Math.min(goneMs, performance.now());
      return left === 0;
    }, "what it had sent to be deleted");
    expect(goneMs - aliveMs).toBeGreaterThanOrEqual(graceMs);
  });

  test("stopped for a shorter time than its session lives, it goes on as if nothing had been", async () => {
    const { client } = await start(20, 60_000);
    const put = await putBySteps(client, "/file", patterned(20 * BLOCK, 6));
    put.kill("SIGSTOP");
    await Bun.sleep(500);
    expect(await held(client)).toBe(20 * COPIES);
    resume(put);
    void put.stdin.write(patterned(3 * BLOCK, 7));
    await put.stdin.end();
    expect(await finish(put)).toMatchObject({ code: 0 });
    const whole = Buffer.concat([patterned(20 * BLOCK, 6), patterned(3 * BLOCK, 7)]);
    expect((await contentOf(client, "/file")).equals(whole)).toBe(true);
  });
});

test("dfs up hands --lease-timeout, --down-delay, --out-delay, --repair-rate and --backup-interval to its metadata server", async () => {
  folder = await LocalCluster.up(
    "--lease-timeout",
    "1",
    "--down-delay",
    "0.5",
    "--out-delay",
    "77",
    "--repair-rate",
    "5M",
    "--backup-interval",
    "1",
  );
  const { metaPid } = folder.describe();
  const command = (await Bun.file(`/proc/${metaPid}/cmdline`).text()).split("\0").join(" ");
  expect(command).toContain("--lease-timeout 1 --down-delay 0.5 --out-delay 77");
  expect(command).toContain("--repair-rate 5242880 --backup-interval 1");
  const { meta } = folder.describe();
  const put = Bun.spawn([join(startedFrom(), "bin/dfs"), "put", "--meta", meta, "-", "/file"], {
    cwd: folder.root,
    env: { PATH: process.env["PATH"] ?? "", HOME: folder.root },
    stdio: ["pipe", "pipe", "pipe"],
  });
  children.push(put);
  const dfs = folder;
  const status = async () =>
    JSON.parse((await dfs.run(["status", "--json"])).text) as {
      readonly sessions: number;
      readonly backup: { readonly newest: object | null; readonly intervalSeconds: number };
    };
  await until(async () => (await status()).sessions === 2, "the writer to have a session");
  put.kill("SIGSTOP");
  await until(async () => (await status()).sessions === 1, "its session to end");
  await until(async () => (await status()).backup.newest !== null, "a backup by itself");
  expect((await status()).backup.intervalSeconds).toBe(1);
});
