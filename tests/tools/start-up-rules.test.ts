// Which servers do not start, and what they say then: missing directories, ports in use, wrong peers.

import { afterEach, describe, expect, test } from "bun:test";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isAlive, LocalCluster, until } from "../support/local-cluster.ts";

const clusters: LocalCluster[] = [];

afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.stop();
});

async function up(...flags: string[]): Promise<LocalCluster> {
  const cluster = await LocalCluster.up(...flags);
  clusters.push(cluster);
  return cluster;
}

function folder(): LocalCluster {
  const cluster = new LocalCluster();
  clusters.push(cluster);
  return cluster;
}

describe("start-up rules of servers", () => {
  test("a data server: empty directory, port in use, second live one, another cluster", async () => {
    const cluster = await up("--data-servers", "2");
    const other = await up("--data-servers", "1");
    const { meta, servers } = cluster.describe();
    const first = servers[0]!;

    const empty = await cluster.run(["data", "--dir", cluster.path("empty"), "--meta", meta]);
    expect(empty.code).toBe(2);
    expect(empty.stderr).toContain("--new");
    expect(empty.stderr).toContain("--recover");

    const port = await cluster.run([
      "data",
      "--new",
      "--dir",
      cluster.path("port"),
      "--meta",
      meta,
      "--listen",
      first.address,
    ]);
    expect(port.code).toBe(1);
    expect(port.stderr).toContain(first.address.split(":")[1]!);

    const second = await cluster.run(["data", "--dir", first.dir, "--meta", meta]);
    expect(second.code).toBe(1);
    expect(second.stderr).toContain(`process ${first.pid}`);

    await cluster.ok("down");
    const foreign = await cluster.run([
      "data",
      "--dir",
      first.dir,
      "--meta",
      other.describe().meta,
    ]);
    expect(foreign.code).toBe(1);
    expect(foreign.stderr).toMatch(/another cluster|cluster/);
  });

  test("a data server with a wrong metadata address gives up: exit 5, what to do", async () => {
    const cluster = folder();
    const silent = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: { data: () => undefined },
    });
    const nobody = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: { data: () => undefined },
    });
    const free = nobody.port;
    nobody.stop(true);
    try {
      const join = async (port: number): Promise<void> => {
        const meta = `127.0.0.1:${port}`;
        const dir = cluster.path(`of-${port}`);
        const result = await cluster.run(["data", "--new", "--dir", dir, "--meta", meta]);
        expect(result.code).toBe(5);
        expect(result.stderr).toContain(`cannot reach a metadata service at ${meta}`);
        expect(result.stderr).toContain("check the address");
      };
      await Promise.all([join(silent.port), join(free)]);
    } finally {
      silent.stop(true);
    }
  }, 30_000);

  test("a copy of a live server's directory is refused, with the reason", async () => {
    const cluster = await up("--data-servers", "2");
    const { meta, servers } = cluster.describe();
    const copy = cluster.path("copy");
    Bun.spawnSync(["cp", "-r", servers[0]!.dir, copy]);
    const result = await cluster.run(["data", "--dir", copy, "--meta", meta]);
    expect(result.code).toBe(1);
    expect(result.stderr).toContain("1");
    expect(isAlive(servers[0]!.pid)).toBe(true);
  });

  test("a metadata server: port in use, directory in use, other settings", async () => {
    const cluster = await up("--data-servers", "1");
    const { meta, metaPid } = cluster.describe();
    const port = await cluster.run(["meta", "--dir", cluster.path("m2"), "--listen", meta]);
    expect(port.code).toBe(1);
    expect(port.stderr).toContain(meta.split(":")[1]!);
    const inUse = await cluster.run(["meta", "--dir", join(cluster.dir, "meta")]);
    expect(inUse.code).toBe(1);
    expect(inUse.stderr).toContain(`process ${metaPid}`);
    await cluster.ok("down");
    const foreign = await cluster.run(["meta", "--dir", join(cluster.dir, "data-1")]);
    expect(foreign.code).toBe(2);
    expect(foreign.stderr).toContain("it is not empty");
    const settings = await cluster.run([
      "meta",
      "--dir",
      join(cluster.dir, "meta"),
      "--block-size",
      "8",
    ]);
    expect(settings.code).toBe(2);
    expect(settings.stderr).toContain("--block-size 8");
  });

  // A data server went on for ever, unknown to `dfs down`, and tried to register against the one that was started in its place.
  test("servers end when their directories are removed while they run", async () => {
    const cluster = await up("--data-servers", "2", "--replicas", "2");
    const { metaPid, servers } = cluster.describe();
    const [first] = servers;
    rmSync(first!.dir, { recursive: true });
    await until(() => !isAlive(first!.pid), "the data server to end");
    const log = (name: string): string => readFileSync(join(cluster.dir, "logs", name), "utf8");
    expect(log("data-1.log")).toContain(`the directory ${first!.dir} has been removed`);
    rmSync(join(cluster.dir, "meta"), { recursive: true });
    await until(() => !isAlive(metaPid), "the metadata server to end");
    // Which of them notices first is a matter of moments: the watch, or the write-ahead log.
    expect(log("meta.log")).toMatch(/cannot go on: the directory|meta\.db-wal: ENOENT/);
    expect((await cluster.run(["status"])).code).toBe(5);
  });
});
