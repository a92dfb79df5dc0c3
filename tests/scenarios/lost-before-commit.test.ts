// Blocks that lose a copy between their writing and their commit, for every way in which files are written: they get another
// copy, or that is waited for, and the files are right. Real processes; what happens in between is done while the commits are
// held back on their way to the metadata server.

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { serverId } from "../../src/base/ids.ts";
import type { OpenFile } from "../../src/client/api.ts";
import { commit, put } from "../../src/protocol/messages/content.ts";
import { cannotMount } from "../mount/support/mounted.ts";
import {
  bytesOf,
  collected,
  KiB,
  MiB,
  OWNER,
  patterned,
  until,
  type TestClient,
} from "../support/cluster.ts";
import { failureOf } from "../support/failure.ts";
import { HoldingProxy } from "../support/holding-proxy.ts";
import { spawnCluster, type ProcessCluster } from "../support/processes.ts";
import { dfs } from "../tools/support/run.ts";

setDefaultTimeout(240_000); // whole clusters on a busy machine

const BLOCK = 16 * KiB;
const CONTENT = patterned(5 * BLOCK + 100, 7);

let cluster: ProcessCluster;
let proxy: HoldingProxy;
/** Writes through the proxy. */
let writer: TestClient;
/** Looks at what came of it. */
let witness: TestClient;

afterEach(async () => {
  proxy.close();
  await cluster.stop();
});

/** Servers 1 and 2 are up, 3 and 4 are down: what is written has one copy on each of the two. */
async function start(options: { readonly retryTimeoutMs?: number } = {}): Promise<void> {
  cluster = await spawnCluster({
    settings: { blockSize: BLOCK },
    meta: {
      heartbeatIntervalMs: 100,
      downDelayMs: 400,
      outDelayMs: 3_600_000,
      reaperIntervalMs: 50,
      repairIntervalMs: 50,
    },
    data: { segmentBytes: 4 * MiB, reserveBytes: 16 * MiB },
  });
  proxy = await HoldingProxy.to(cluster.meta.address);
  witness = await cluster.client();
  for (const index of [2, 3]) {
    await cluster.server(index).kill();
    await untilState(index + 1, "down");
  }
  writer = await cluster.client({ metaAddress: proxy.address, ...options });
}

async function untilState(server: number, state: string): Promise<void> {
  await until(`server ${server} is ${state}`, async () => {
    const servers = await witness.servers();
    return servers.find((each) => each.server === serverId(server))?.state === state;
  });
}

async function loseDisk(index: number): Promise<void> {
  await cluster.server(index).kill();
  await rm(cluster.serverDir(index), { recursive: true });
  await cluster.startServer(index, { identity: { recover: index + 1 } });
}

/** What can become of the copies on server 2. */
const losses: Readonly<Record<string, () => Promise<void>>> = {
  "its server lost its disk": () => loseDisk(1),
  "its server was given up": async () => {
    await cluster.server(1).kill();
    await untilState(2, "down");
    for (const index of [2, 3]) await cluster.startServer(index); // one is given up only while enough others are up
    for (const server of [3, 4]) await untilState(server, "up");
    await witness.changeServer(serverId(2), "replace");
    await untilState(2, "out");
    for (const index of [2, 3]) await cluster.server(index).kill();
    for (const server of [3, 4]) await untilState(server, "down");
  },
  "its server was removed": async () => {
    await losses["its server was given up"]!();
    await witness.changeServer(serverId(2), "remove");
  },
};

/** Ways to write CONTENT to a path; each is one request that names blocks. */
const ways: Readonly<Record<string, (path: string) => Promise<unknown>>> = {
  put: (path) => writer.put(bytesOf(path), [CONTENT], { ...OWNER, keepReplaced: false }),
  write: (path) => written(path, (file) => file.write(0, CONTENT)),
  append: (path) =>
    written(path, async (file) => {
      for (let at = 0; at < CONTENT.length; at += 1000) {
        await file.append(CONTENT.subarray(at, at + 1000));
      }
    }),
};

async function written(path: string, write: (file: OpenFile) => Promise<unknown>): Promise<void> {
  const file = await writer.create(bytesOf(path), OWNER);
  await write(file);
  await file.flush();
  await file.close();
}

/** Work that goes on beside the test, which waits for it later. */
function begun<T>(work: Promise<T>): Promise<T> {
  work.catch(() => undefined);
  return work;
}

async function read(path: string): Promise<Uint8Array> {
  const file = await witness.open(bytesOf(path));
  const bytes = await collected(file.stream());
  await file.close();
  return bytes;
}

async function expectRight(path: string): Promise<void> {
  const isRight = Buffer.compare(await read(path), CONTENT) === 0;
  expect({ path, isRight }).toEqual({ path, isRight: true });
}

const saysWhy = (): Promise<void> =>
  until("the writer says why it waits", () =>
    writer.warnings.some(({ kind }) => kind === "belowQuorum"),
  );

/** Files that are being written in every way, and not committed; their names are those of the ways. */
async function writtenEveryWay() {
  proxy.hold(put, commit);
  const each = Object.entries(ways).map(([way, write]) => begun(write(`/${way}`)));
  await proxy.untilHeld(each.length);
  return { each, done: begun(Promise.all(each)) };
}

async function expectAllRight(): Promise<void> {
  for (const way of Object.keys(ways)) await expectRight(`/${way}`);
}

describe("files that are put, written and appended to lose a copy of each block before their commit", () => {
  for (const [how, lose] of Object.entries(losses)) {
    test(`because ${how}; another server can take one`, async () => {
      await start();
      const written = await writtenEveryWay();
      await lose();
      await cluster.startServer(2);
      await untilState(3, "up");
      proxy.release();
      await written.done;
      await expectAllRight();
    });
  }

  test("and every other copy as well: what the writers still have is sent again, and the rest is an error", async () => {
    await start();
    const written = await writtenEveryWay();
    const once = (async function* () {
      yield CONTENT;
    })();
    const target = { ...OWNER, keepReplaced: false };
    const gone = failureOf(writer.put(bytesOf("/once"), once, target));
    await proxy.untilHeld(written.each.length + 1);
    for (const index of [0, 1]) await loseDisk(index);
    for (const index of [2, 3]) await cluster.startServer(index);
    await untilState(4, "up");
    proxy.release();
    await written.done;
    await expectAllRight();
    expect(await gone).toMatchObject({ kind: "quorum", details: { copies: 0 } });
    expect(await failureOf(read("/once"))).toMatchObject({ kind: "notFound" });
  });

  test("and no other server is there: they wait, say why, and go on when one is back", async () => {
    await start();
    const written = await writtenEveryWay();
    await losses["its server was given up"]!();
    proxy.release();
    await saysWhy();
    await cluster.startServer(2);
    await written.done;
    await expectAllRight();
  });

  test("and none comes back: they fail at their deadline, and say what to do", async () => {
    await start({ retryTimeoutMs: 10_000 }); // which the losses below must not take
    const written = await writtenEveryWay();
    await losses["its server was given up"]!();
    proxy.release();
    for (const result of await Promise.allSettled(written.each)) {
      expect(result).toMatchObject({ status: "rejected", reason: { kind: "quorum" } });
      const { message } = (result as PromiseRejectedResult).reason as Error;
      expect(message).toContain("start the data servers that are down");
    }
  });

  test("and the answers to the second commits are lost: the content is there once", async () => {
    await start();
    const written = await writtenEveryWay();
    await losses["its server was given up"]!();
    proxy.release();
    await saysWhy();
    proxy.hold(put, commit);
    await cluster.startServer(2);
    await proxy.untilHeld(written.each.length);
    proxy.releaseAndLoseAnswers();
    for (const way of Object.keys(ways)) {
      await until(`/${way} is committed`, async () => {
        const found = await witness.stat(bytesOf(`/${way}`)).catch(() => undefined);
        return found?.size === CONTENT.length;
      });
    }
    proxy.cut();
    await written.done;
    await expectAllRight();
  });
});

test("a put of several commits: copies are lost while they wait, and the bytes are read back", async () => {
  await start();
  proxy.hold(commit);
  const long = patterned(33 * MiB, 3); // two commits
  const target = { ...OWNER, keepReplaced: false };
  const done = begun(writer.put(bytesOf("/long"), [long], target));
  await proxy.untilHeld(1);
  await losses["its server lost its disk"]!();
  await cluster.startServer(2);
  await untilState(3, "up");
  proxy.release();
  await done;
  expect(Buffer.compare(await read("/long"), long)).toBe(0);
});

describe.skipIf(cannotMount !== undefined)("through a mount", () => {
  test("a program that writes and syncs waits, and goes on when a server is back", async () => {
    await start();
    const point = join(cluster.dir, "mount");
    const log = join(cluster.dir, "mount.log");
    await mkdir(point);
    const run = (...args: string[]) => dfs(args, { home: cluster.dir });
    const mounted = await run("--meta", proxy.address, "mount", point, "--log", log);
    expect(mounted).toMatchObject({ code: 0 });
    proxy.hold(commit);
    const words = ["dd", `of=${point}/file`, "conv=fsync", "status=none"];
    const program = Bun.spawn(words, { stdin: CONTENT, stderr: "pipe" });
    try {
      await proxy.untilHeld(1);
      await losses["its server was given up"]!();
      proxy.release();
      await until("the mount says why it waits", async () =>
        (await readFile(log, "utf8")).includes("write quorum"),
      );
      expect(program.exitCode).toBe(null);
      await cluster.startServer(2);
      expect({ code: await program.exited, said: await program.stderr.text() }).toEqual({
        code: 0,
        said: "",
      });
      await expectRight("/file");
    } finally {
      program.kill("SIGKILL");
      await program.exited;
      expect(await run("umount", point)).toMatchObject({ code: 0 });
    }
  });
});
