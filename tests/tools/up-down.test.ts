// dfs up, down, meta and data with real processes: who starts, who ends, and that nothing is left.

import { afterEach, describe, expect, test } from "bun:test";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { finish, isAlive, LocalCluster, until, type Subprocess } from "../support/local-cluster.ts";

const clusters: LocalCluster[] = [];
const started: Subprocess[] = [];

afterEach(async () => {
  for (const child of started.splice(0)) {
    if (child.exitCode === null) child.kill("SIGKILL");
    await child.exited;
  }
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

/** Starts a command that goes on, and collects what it prints. */
function start(cluster: LocalCluster, ...args: string[]) {
  const child = cluster.spawn(args);
  started.push(child);
  const seen = { stdout: "", stderr: "" };
  const collect = async (stream: ReadableStream<Uint8Array>, key: "stdout" | "stderr") => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) seen[key] += decoder.decode(chunk, { stream: true });
  };
  const done = Promise.all([
    collect(child.stdout, "stdout"),
    collect(child.stderr, "stderr"),
    child.exited,
  ]);
  return { child, seen, exited: done.then(([, , code]) => code) };
}

/** Process ids as cluster.json has them: null where no server runs. */
const pidsOf = (cluster: LocalCluster): (number | null)[] => {
  const { metaPid, servers } = cluster.describe();
  return [metaPid, ...servers.map((server) => server.pid)];
};

const runs = (pid: number | null): boolean => pid !== null && isAlive(pid);

/** Puts an older copy of the metadata in its place, by hand, while the data servers run. */
async function putOlderMetadataBack(cluster: LocalCluster): Promise<{ readonly newer: string }> {
  const dir = join(cluster.dir, "meta");
  const [older, newer] = [cluster.path("older"), cluster.path("newer")];
  await cluster.kill(cluster.describe().metaPid);
  cpSync(dir, older, { recursive: true });
  await cluster.ok("up", "--detach");
  await cluster.ok("mkdir", "/newer");
  await cluster.kill(cluster.describe().metaPid);
  renameSync(dir, newer);
  renameSync(older, dir);
  return { newer };
}

describe("dfs up", () => {
  test("starts all, says where, and what to try; the commands work as they are printed", async () => {
    const cluster = folder();
    const { text } = await cluster.ok("up", "--detach", "--data-servers", "3");
    const lines = text.trimEnd().split("\n");
    expect(lines.filter((line) => /^(metadata|data) server/.test(line))).toHaveLength(4);
    const description = cluster.describe();
    expect(description.servers.map((server) => server.id)).toEqual([1, 2, 3]);
    expect(description.servers.map((server) => server.dir)).toEqual(
      [1, 2, 3].map((number) => join(cluster.dir, `data-${number}`)),
    );
    expect(pidsOf(cluster).every(runs)).toBe(true);
    for (const pid of pidsOf(cluster)) {
      // Each is the server itself, in a process group of its own.
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8")
        .replace(/^.*\) /s, "")
        .split(" ");
      expect(Number(stat[2])).toBe(Number(pid));
    }
    const commands = lines.filter((line) => line.startsWith("  ")).map((line) => line.trim());
    expect(commands).toHaveLength(3);
    for (const command of commands) {
      const child = Bun.spawn(["sh", "-c", command], {
        cwd: cluster.root,
        env: { PATH: process.env["PATH"] ?? "", HOME: cluster.root },
        stdout: "pipe",
        stderr: "pipe",
        stdin: "ignore",
      });
      expect(await finish(child), command).toMatchObject({ code: 0 });
    }
    await cluster.ok("down");
    expect(cluster.describe().metaPid).toBeNull();
  });

  test("goes on where it was: data, ids and addresses stay", async () => {
    const cluster = await up("--data-servers", "3", "--block-size", "8");
    await cluster.run(["put", "-", "/kept"], { stdin: Buffer.from("kept over night") });
    const before = cluster.describe();
    const pids = pidsOf(cluster);
    const down = await cluster.ok("down");
    expect(down.text.trimEnd().split("\n")).toHaveLength(4);
    expect(pids.some(runs)).toBe(false);
    expect(await cluster.run(["ls"])).toMatchObject({ code: 5 });
    expect((await cluster.run(["ls"])).stderr).toContain("it was stopped");
    await cluster.ok("up", "--detach");
    const after = cluster.describe();
    expect(after.meta).toBe(before.meta);
    expect(after.servers.map(({ id, address }) => [id, address])).toEqual(
      before.servers.map(({ id, address }) => [id, address]),
    );
    expect((await cluster.ok("cat", "/kept")).text).toBe("kept over night");
    const quietly = { code: 0, text: "", stderr: "" }; // it named what it stopped, also with -q
    expect(await cluster.run(["down", "-q"])).toMatchObject(quietly);
    expect((await cluster.ok("down")).text).toBe("nothing was running\n");
    expect(await cluster.run(["down", "-q"])).toMatchObject(quietly);
  });

  test("on a running cluster starts only what is missing", async () => {
    const cluster = await up("--data-servers", "3");
    const before = cluster.describe();
    const quietly = { code: 0, text: "", stderr: "" }; // it printed its table, also with -q
    expect(await cluster.run(["up", "--detach", "-q"])).toMatchObject(quietly);
    await cluster.kill(cluster.server(2).pid);
    const rows = await cluster.rows<{ service: string; state: string }>("up", "--detach");
    expect(rows.map(({ service, state }) => [service, state])).toEqual([
      ["meta", "running"],
      ["data-1", "running"],
      ["data-2", "started"],
      ["data-3", "running"],
    ]);
    expect(cluster.describe().metaPid).toBe(before.metaPid);
    expect(cluster.server(2).address).toBe(before.servers[1]!.address);
    expect(cluster.server(1).pid).toBe(before.servers[0]!.pid);
    await cluster.ok("up", "--detach", "--data-servers", "4");
    expect(cluster.describe().servers.map((server) => server.id)).toEqual([1, 2, 3, 4]);
  });

  // It waited a minute for servers that wait for a newer database, and then said that they were not ready.
  test("with an older database ends as soon as a data server says so, and nothing is left running", async () => {
    const cluster = await up("--data-servers", "1");
    await cluster.ok("down");
    const database = join(cluster.dir, "meta", "meta.db");
    const saved = [database, `${database}-wal`].filter(existsSync);
    for (const path of saved) copyFileSync(path, `${path}.older`);
    await cluster.ok("up", "--detach");
    await cluster.ok("down");
    for (const path of [database, `${database}-wal`, `${database}-shm`])
      rmSync(path, { force: true });
    for (const path of saved) renameSync(`${path}.older`, path);
    const again = await cluster.run(["up", "--detach"]);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain("is older than what this server has already served");
    expect(again.stderr).toContain("--accept-older");
    expect(pidsOf(cluster)).toEqual([null, null]);
  }, 120_000); // five starts and stops of a cluster

  test("a damaged cluster file: says how to go on, and that works", async () => {
    const cluster = await up("--data-servers", "3");
    const before = cluster.describe();
    await cluster.ok("mkdir", "/kept");
    await cluster.ok("down");
    const path = join(cluster.dir, "cluster.json");
    writeFileSync(path, "{");
    const damaged = await cluster.run(["up", "--detach"]);
    expect(damaged.code).toBe(1);
    expect(damaged.stderr).toContain(path);
    const remedy = '{"servers": []}';
    expect(damaged.stderr).toContain(remedy);
    writeFileSync(path, remedy);
    await cluster.ok("up", "--detach");
    const place = ({ id, address, dir }: { id: number; address: string; dir: string }) => ({
      id,
      address,
      dir,
    });
    const after = cluster.describe().servers.map(place);
    expect(after.sort((one, other) => one.id - other.id)).toEqual(before.servers.map(place));
    expect((await cluster.ok("ls", "/")).text).toBe("kept\n");
  });

  test("refuses other settings and fewer servers, naming both values", async () => {
    const cluster = await up("--data-servers", "3", "--block-size", "8");
    for (const isRunning of [true, false]) {
      const other = await cluster.run(["up", "--detach", "--block-size", "64K"]);
      expect(other.code).toBe(2);
      expect(other.stderr).toContain("--block-size 65536");
      expect(other.stderr).toContain("has 8");
      const quorum = await cluster.run(["up", "--detach", "--write-quorum", "3"]);
      expect(quorum).toMatchObject({ code: 2 });
      const fewer = await cluster.run(["up", "--detach", "--data-servers", "2"]);
      expect(fewer.code).toBe(2);
      expect(fewer.stderr).toContain("--data-servers 2");
      expect(fewer.stderr).toContain("has 3");
      expect(runs(cluster.describe().metaPid)).toBe(isRunning);
      if (isRunning) await cluster.ok("down");
    }
    await cluster.ok("up", "--detach", "--block-size", "8", "--replicas", "3");
  });

  test("impossible settings: nothing is left running, exit 2", async () => {
    const cluster = folder();
    const result = await cluster.run(["up", "--detach", "--replicas", "2", "--write-quorum", "3"]);
    expect(result.code).toBe(2);
    expect(result.stderr).toContain("--write-quorum 3 is not possible");
    expect(cluster.describe()).toMatchObject({ metaPid: null });
  });

  test("two at once are safe: one cluster comes of it", async () => {
    const cluster = folder();
    const both = await Promise.all([
      cluster.run(["up", "--detach", "--data-servers", "2", "--json"]),
      cluster.run(["up", "--detach", "--data-servers", "2", "--json"]),
    ]);
    expect(both.map((result) => result.code)).toEqual([0, 0]);
    const states = both.map(({ text }) =>
      text
        .trimEnd()
        .split("\n")
        .map((line) => (JSON.parse(line) as { state: string }).state),
    );
    expect(states.map((each) => new Set(each).size)).toEqual([1, 1]);
    expect(new Set(states.map((each) => each[0]))).toEqual(new Set(["running", "started"]));
    expect(readdirSync(cluster.dir).filter((name) => name.startsWith("data-"))).toHaveLength(2);
  });

  test("a remembered port that is taken meanwhile is given up, with a warning", async () => {
    const cluster = await up("--data-servers", "2");
    const { port } = new URL(`http://${cluster.describe().meta}`);
    await cluster.ok("down");
    const squatter = Bun.listen({
      hostname: "127.0.0.1",
      port: Number(port),
      exclusive: true,
      socket: { data: () => undefined },
    });
    const result = await cluster.run(["up", "--detach"]);
    squatter.stop(true);
    expect(result.code).toBe(0);
    expect(result.stderr).toContain(`port ${port}, where meta was, is taken`);
    expect(cluster.describe().meta).not.toContain(`:${port}`);
    await cluster.ok("ls");
  });

  test("a port that was asked for and is taken: named, with the server's last words, nothing left", async () => {
    const squatter = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      exclusive: true,
      socket: { data: () => undefined },
    });
    const cluster = folder();
    const result = await cluster.run(["up", "--detach", "--port", String(squatter.port)]);
    squatter.stop(true);
    expect(result.code).toBe(1);
    expect(result.stderr).toContain("the metadata server did not start");
    expect(result.stderr).toContain(String(squatter.port));
    expect(cluster.describe()).toMatchObject({ metaPid: null });
  });

  test("a data server whose directory is lost is not begun anew behind one's back", async () => {
    const cluster = await up("--data-servers", "2");
    await cluster.ok("down");
    rmSync(join(cluster.dir, "data-2"), { recursive: true });
    const result = await cluster.run(["up", "--detach"]);
    expect(result.code).toBe(3);
    expect(result.stderr).toContain("this was data server 2");
    expect(result.stderr).toContain("dfs data --recover 2");
  });

  // A new metadata server was put there, of another cluster: the data servers refused it, and it was in the way of a restore.
  test("metadata that is lost is not begun anew either; it says how to restore it", async () => {
    const cluster = await up("--data-servers", "3");
    const { meta, servers } = cluster.describe();
    await cluster.ok("meta", "backup");
    await cluster.ok("down");
    rmSync(join(cluster.dir, "meta"), { recursive: true });
    const result = await cluster.run(["up", "--detach"]);
    expect(result.code).toBe(2);
    expect(result.stderr).toContain("its metadata is gone");
    expect(existsSync(join(cluster.dir, "meta"))).toBe(false);
    // What it says works.
    for (const { dir } of servers) start(cluster, "data", "--dir", dir, "--meta", meta, "--wait");
    const from = servers.map(({ address }) => address).join(",");
    const restore = `dfs meta restore --dir ${join(cluster.dir, "meta")} --from ${from}`;
    expect(result.stderr).toContain(restore);
    await until(
      async () => (await cluster.run(["meta", "restore", "--list", "--from", from])).code === 0,
      "the data servers to give the backup out",
    );
    await cluster.ok(...restore.split(" ").slice(1));
    const again = await cluster.ok("up", "--detach");
    expect(again.text).toContain("The cluster is ready");
    await cluster.untilState("up"); // the data servers look for it at their own pace
    await until(async () => (await cluster.run(["status"])).code === 0, "all to be well again");
  });
});

describe("dfs up in the foreground", () => {
  test("tells when a server dies, and stops all on Ctrl-C", async () => {
    const cluster = folder();
    const { seen, child, exited } = start(cluster, "up", "--data-servers", "3");
    await until(() => seen.stdout.includes("Ctrl-C stops it"), "the cluster to be ready");
    const pids = pidsOf(cluster);
    await cluster.kill(cluster.server(2).pid);
    await until(() => seen.stderr.includes("data-2"), "the death to be told");
    expect(seen.stderr).toContain("has ended by SIGKILL");
    // Another terminal brings it back; Ctrl-C here ends that one as well.
    await cluster.ok("up", "--detach");
    pids.push(cluster.server(2).pid);
    child.kill("SIGINT");
    expect(await exited).toBe(130);
    expect(pids.filter(runs)).toEqual([]);
    expect(cluster.describe().metaPid).toBeNull();
    await cluster.ok("up", "--detach");
  });

  test("ends when the cluster is stopped from elsewhere", async () => {
    const cluster = folder();
    const { seen, exited } = start(cluster, "up", "--data-servers", "2");
    await until(() => seen.stdout.includes("Ctrl-C stops it"), "the cluster to be ready");
    await cluster.ok("down");
    expect(await exited).toBe(0);
    expect(seen.stderr).toContain("all servers that were started here have ended");
  });

  test("Ctrl-C while it is starting leaves nothing running", async () => {
    const cluster = folder();
    const { child, exited } = start(cluster, "up", "--data-servers", "8");
    await until(
      () => existsSync(join(cluster.dir, "data-2", "lock")),
      "the second data server to be on its way",
    );
    child.kill("SIGINT");
    expect(await exited).toBe(130);
    expect(cluster.describe()).toMatchObject({ metaPid: null });
    expect(pidsOf(cluster).every((pid) => pid === null)).toBe(true);
  });
});

describe("dfs up with an older metadata database, which the running data servers refuse", () => {
  test("says so and how to go on, ends with 1, and the newer one is served when it is back", async () => {
    const cluster = await up();
    const { newer } = await putOlderMetadataBack(cluster);
    const refused = await cluster.run(["up", "--detach"]);
    expect({ code: refused.code, stdout: refused.text }).toEqual({ code: 1, stdout: "" });
    expect(refused.stderr).toContain("the cluster is not ready: data servers 1, 2, 3, 4 refuse");
    expect(refused.stderr).toContain(`dfs meta --dir ${join(cluster.dir, "meta")} --listen `);
    expect(refused.stderr).toContain("--accept-older");
    expect(pidsOf(cluster)[0]).toBe(null); // stopped again
    rmSync(join(cluster.dir, "meta"), { recursive: true });
    renameSync(newer, join(cluster.dir, "meta"));
    await cluster.ok("up", "--detach");
    expect((await cluster.ok("ls", "/")).text).toContain("newer");
  });

  test("also where the metadata server was started in another way; what it prints is the way on", async () => {
    const cluster = await up();
    await putOlderMetadataBack(cluster);
    const { meta } = cluster.describe();
    const dir = join(cluster.dir, "meta");
    const older = start(cluster, "meta", "--dir", dir, "--listen", meta);
    await until(() => older.seen.stdout.includes(meta), "the metadata server to be ready");
    const refused = await cluster.run(["up", "--detach"]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("stop the metadata server (dfs down)");
    expect(older.child.exitCode).toBe(null);
    older.child.kill("SIGTERM");
    await older.exited;
    const accepting = start(cluster, "meta", "--dir", dir, "--listen", meta, "--accept-older");
    await until(() => accepting.seen.stdout.includes(meta), "the metadata server to be ready");
    await cluster.ok("up", "--detach");
    accepting.child.kill("SIGTERM");
    await accepting.exited;
    await cluster.ok("up", "--detach"); // accepted once and for all
  });
});

describe("dfs down", () => {
  test("stops a server that was started by hand, and one that does not listen", async () => {
    const cluster = await up("--data-servers", "2");
    const { meta } = cluster.describe();
    const dir = join(cluster.dir, "extra");
    const hand = start(cluster, "data", "--new", "--dir", dir, "--meta", meta);
    await until(() => hand.seen.stdout.includes("ready"), "the server to be ready");
    expect(hand.seen.stdout).toMatch(/^data server 3 ready at 127\.0\.0\.1:\d+ \(process \d+, /);
    const { text } = await cluster.ok("down");
    expect(text).toContain("extra stopped");
    expect(await hand.exited).toBe(143);
  });

  test("never harms a process that merely has a pid which a server once had", async () => {
    const cluster = await up("--data-servers", "2");
    const innocent = Bun.spawn(["sleep", "600"]);
    try {
      const { pid } = cluster.server(1);
      await cluster.kill(pid);
      writeFileSync(join(cluster.dir, "data-1", "lock"), `${innocent.pid}\n`);
      const file = readFileSync(join(cluster.dir, "cluster.json"), "utf8");
      writeFileSync(
        join(cluster.dir, "cluster.json"),
        file.replace(`"pid": ${pid}`, `"pid": ${innocent.pid}`),
      );
      await cluster.ok("down");
      expect(isAlive(innocent.pid)).toBe(true);
    } finally {
      innocent.kill("SIGKILL");
      await innocent.exited;
    }
  });

  test("kills what does not end when asked, with a warning", async () => {
    const cluster = await up("--data-servers", "1");
    process.kill(cluster.server(1).pid, "SIGSTOP");
    const pid = cluster.server(1).pid;
    const result = await cluster.run(["down", "--timeout", "0.5"]);
    expect(result.code).toBe(0);
    expect(result.stderr).toContain(`(process ${pid}) did not end when asked and was killed`);
    await until(() => !isAlive(pid), "the server to be gone");
  });
});

describe("dfs meta and dfs data", () => {
  test("servers end in good order on SIGTERM and Ctrl-C", async () => {
    const cluster = folder();
    mkdirSync(cluster.path("servers"));
    const meta = start(cluster, "meta", "--dir", cluster.path("servers", "meta"), "--json");
    await until(() => meta.seen.stdout.includes("\n"), "the metadata server to be ready");
    const ready = JSON.parse(meta.seen.stdout) as Record<string, unknown>;
    expect(ready).toMatchObject({
      ready: "meta",
      pid: meta.child.pid,
      settings: { replicas: 3, writeQuorum: 2, readQuorum: 1 },
    });
    const dir = cluster.path("servers", "data");
    const data = start(
      cluster,
      "data",
      "--new",
      "--dir",
      dir,
      "--meta",
      String(ready["address"]),
      "--json",
    );
    await until(() => data.seen.stdout.includes("\n"), "the data server to be ready");
    expect(JSON.parse(data.seen.stdout)).toMatchObject({
      ready: "data",
      server: 1,
      pid: data.child.pid,
      dir,
    });
    data.child.kill("SIGTERM");
    expect(await data.exited).toBe(143);
    meta.child.kill("SIGINT");
    expect(await meta.exited).toBe(130);
  });
});
