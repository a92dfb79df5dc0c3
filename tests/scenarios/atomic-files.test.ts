// P5 and its neighbours: a file is the old one or the new one, whatever is killed in between.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { seededRandom } from "../../src/base/random.ts";
import { startedFrom } from "../support/bundled-project.ts";
import { differences, finish, LocalCluster, runMark, until } from "../support/local-cluster.ts";

setDefaultTimeout(120_000); // whole clusters and many commands; a busy machine is slow

const MiB = 1024 * 1024;

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.up("--block-size", "256K");
});
afterAll(() => cluster.stop());

interface Row {
  readonly id: string;
  readonly servers: number[];
}

/** Which blocks a file has, and where they are. */
async function blocksOf(path: string): Promise<Row[]> {
  const rows = await cluster.rows<Row>("explain", path);
  return rows.map(({ id, servers }) => ({ id, servers }));
}

/** Bytes in the files of the first data server. */
function bytesStored(): number {
  const { dir } = cluster.server(1);
  return readdirSync(dir, { recursive: true, encoding: "utf8" })
    .map((name) => statSync(join(dir, name)))
    .reduce((sum, entry) => sum + (entry.isFile() ? entry.size : 0), 0);
}

const contentOf = async (path: string) => (await cluster.ok("cat", path)).stdout;

describe("put", () => {
  test("killed at random moments leaves the old file whole, or the new one", async () => {
    const seed = Number(process.env["DFS_TEST_SEED"] ?? Date.now() % 100_000);
    const random = seededRandom(seed);
    let known = random.bytes(3 * MiB);
    writeFileSync(cluster.path("v0"), known);
    await cluster.ok("put", cluster.path("v0"), "/killed");
    let cutShort = 0;
    for (let round = 0; round < 8; round++) {
      const next = random.bytes(24 * MiB);
      writeFileSync(cluster.path("next"), next);
      const child = cluster.spawn(["put", cluster.path("next"), "/killed"]);
      await Bun.sleep(random.below(400));
      child.kill("SIGKILL");
      await finish(child);
      const now = await contentOf("/killed");
      const isOld = Buffer.compare(now, known) === 0;
      const isNew = Buffer.compare(now, next) === 0;
      if (!isOld && !isNew)
        throw new Error(`seed ${seed}, round ${round}: neither the old nor the new file`);
      if (isNew) known = next;
      else cutShort++;
    }
    // Waits of at most 0.4 s before a kill that never hit would make this test worthless.
    expect(cutShort).toBeGreaterThan(0);
  });

  test("from a pipe that is cut off by Ctrl-C leaves the old file", async () => {
    writeFileSync(cluster.path("old"), "old content");
    await cluster.ok("put", cluster.path("old"), "/interrupted");
    const child = Bun.spawn(
      ["sh", "-c", `cat /dev/zero | "$0" put - /interrupted`, join(startedFrom(), "bin/dfs")],
      {
        env: {
          PATH: process.env["PATH"] ?? "",
          HOME: cluster.root,
          DFS_DIR: cluster.dir,
          ...runMark(),
        },
        stdout: "pipe",
        stderr: "pipe",
        detached: true,
      },
    );
    const before = bytesStored();
    await until(() => bytesStored() > before + 4 * MiB, "the put to have stored some of it");
    process.kill(-child.pid, "SIGINT");
    await child.exited;
    expect((await contentOf("/interrupted")).toString()).toBe("old content");
  });

  test("two at once to one path leave one of the two, whole", async () => {
    const files = [1, 2].map((seed) => seededRandom(seed).bytes(12 * MiB));
    files.forEach((bytes, index) => writeFileSync(cluster.path(`rival-${index}`), bytes));
    for (let round = 0; round < 3; round++) {
      const results = await Promise.all(
        files.map((_, index) => cluster.run(["put", cluster.path(`rival-${index}`), "/contested"])),
      );
      expect(results.map((result) => result.code)).toEqual([0, 0]);
      const now = await contentOf("/contested");
      expect(files.some((bytes) => Buffer.compare(now, bytes) === 0)).toBe(true);
    }
  });
});

describe("mv", () => {
  test("keeps every block where it is", async () => {
    writeFileSync(cluster.path("movable"), seededRandom(5).bytes(2 * MiB + 5));
    await cluster.ok("put", cluster.path("movable"), "/before");
    const before = await blocksOf("/before");
    await cluster.ok("mkdir", "/somewhere");
    await cluster.ok("mv", "/before", "/somewhere/else");
    expect(await blocksOf("/somewhere/else")).toEqual(before);
    expect((await cluster.run(["stat", "/before"])).code).toBe(4);
  });
});

describe("a reader", () => {
  test("that has the old file open reads it to the end, though it is replaced and then removed", async () => {
    const old = seededRandom(6).bytes(40 * MiB);
    writeFileSync(cluster.path("long"), old);
    await cluster.ok("put", cluster.path("long"), "/long");
    const child = cluster.spawn(["cat", "/long"]);
    const reader = child.stdout.getReader();
    const first = await reader.read(); // it has begun, and its pipe is full before long
    writeFileSync(cluster.path("short"), "replaced");
    await cluster.ok("put", cluster.path("short"), "/long");
    await cluster.ok("rm", "/long");
    const chunks = [first.value!];
    for (let next = await reader.read(); !next.done; next = await reader.read())
      chunks.push(next.value);
    expect(await child.exited).toBe(0);
    expect(Buffer.compare(Buffer.concat(chunks), old)).toBe(0);
  });
});

describe("the metadata server killed and started again", () => {
  test("in the middle of put -r: the command goes on and ends well", async () => {
    const tree = cluster.path("many");
    const random = seededRandom(8);
    for (let folder = 0; folder < 20; folder++) {
      mkdirSync(join(tree, String(folder)), { recursive: true });
      for (let file = 0; file < 50; file++) {
        writeFileSync(
          join(tree, String(folder), String(file)),
          random.bytes(1 + random.below(60_000)),
        );
      }
    }
    const child = cluster.spawn(["put", "-r", tree, "/many"]);
    const result = finish(child);
    await until(
      async () => (await cluster.run(["stat", "/many/0"])).code === 0,
      "the copy to have begun",
    );
    for (let round = 0; round < 3; round++) {
      await cluster.kill(cluster.describe().metaPid);
      await cluster.ok("up", "--detach");
      await Bun.sleep(200);
    }
    const { code, stderr } = await result;
    if (code !== 0) throw new Error(`put -r exited with ${code}: ${stderr}`);
    await cluster.ok("get", "-r", "/many", cluster.path("many-back"));
    expect(await differences(tree, cluster.path("many-back"))).toBe("");
  });
});
