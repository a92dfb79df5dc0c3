// Ctrl-C in dfs up, dfs down, dfs meta restore and dfs drill --scratch: what runs afterwards, what is left, and what is said.
//
// What was found: pressed twice, Ctrl-C in dfs up left the metadata server running for good, because data servers are ended
// first; in dfs down it was not heard at all until all servers had ended or been killed.

import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { backupGet } from "../../src/protocol/messages/backup.ts";
import { HoldingProxy } from "../support/holding-proxy.ts";
import { finish, isAlive, LocalCluster, until } from "../support/local-cluster.ts";

setDefaultTimeout(120_000);

const clusters: LocalCluster[] = [];
afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.stop();
});

async function started(): Promise<LocalCluster> {
  const cluster = await LocalCluster.up("--data-servers", "3");
  clusters.push(cluster);
  return cluster;
}

const pidsOf = (cluster: LocalCluster): number[] => {
  const { metaPid, servers } = cluster.describe();
  return [metaPid, ...servers.map(({ pid }) => pid)].filter((pid) => typeof pid === "number");
};

test("dfs up: a second Ctrl-C waits for no server, and all of them end all the same", async () => {
  const cluster = new LocalCluster();
  clusters.push(cluster);
  const child = cluster.spawn(["up", "--data-servers", "3"]);
  const reader = child.stdout.getReader();
  let seen = "";
  while (!seen.includes("Ctrl-C stops it")) {
    seen += Buffer.from((await reader.read()).value ?? []).toString();
  }
  reader.releaseLock();
  const pids = pidsOf(cluster);
  expect(pids).toHaveLength(4);
  process.kill(child.pid, "SIGSTOP"); // both signals are there before it can look at the first
  child.kill("SIGINT");
  child.kill("SIGTERM");
  process.kill(child.pid, "SIGCONT");
  await child.exited;
  expect([130, 143]).toContain(child.exitCode ?? -1);
  await until(() => !pids.some(isAlive), "all servers to have ended");
});

test("dfs up, while it starts: nothing runs, and it says how to go on", async () => {
  const cluster = new LocalCluster();
  clusters.push(cluster);
  const child = cluster.spawn(["up", "--data-servers", "8"]);
  await until(() => existsSync(join(cluster.dir, "data-2", "lock")), "the second data server");
  child.kill("SIGINT");
  const { code, stderr } = await finish(child);
  expect(stderr).toBe(
    `dfs up: interrupted: what was started is stopped again\nto start the cluster: dfs up --dir ${cluster.dir}\n`,
  );
  expect(code).toBe(130);
  expect(pidsOf(cluster)).toEqual([]);
});

test("dfs down: it does not wait for a server that hangs, names what runs, and the next one goes on", async () => {
  const cluster = await started();
  const { pid } = cluster.server(2);
  const others = pidsOf(cluster).filter(
    (each) => each !== pid && each !== cluster.describe().metaPid,
  );
  process.kill(pid, "SIGSTOP");
  const child = cluster.spawn(["down", "--timeout", "600"]);
  await until(() => !others.some(isAlive), "the others to have ended");
  child.kill("SIGINT");
  const { code, stderr, text } = await finish(child);
  expect(stderr).toBe(
    "dfs down: interrupted: not ended yet: data-2, meta\n" +
      "what was asked to end goes on with that; dfs down again stops the rest\n",
  );
  expect({ code, text }).toEqual({ code: 130, text: "" });
  process.kill(pid, "SIGCONT");
  await cluster.ok("down");
  expect(pidsOf(cluster)).toEqual([]);
});

test("dfs meta restore: nothing is restored, and the same command does it", async () => {
  const cluster = await started();
  await cluster.ok("meta", "backup");
  const proxy = await HoldingProxy.to(cluster.server(1).address);
  try {
    proxy.hold(backupGet);
    const args = ["meta", "restore", "--dir", cluster.path("restored"), "--from", proxy.address];
    const child = cluster.spawn(args);
    const finished = finish(child);
    await Promise.race([proxy.untilHeld(1), finished]);
    child.kill("SIGINT");
    const { code, stderr, text } = await finished;
    expect(stderr).toMatch(
      /^dfs meta restore: interrupted: fetched 0 B in .*; nothing is restored\ngive the same command again to do it from the beginning\n$/,
    );
    expect({ code, text }).toEqual({ code: 130, text: "" });
    const left = readdirSync(cluster.path("restored"));
    expect(left.filter((name) => name !== "lock")).toEqual([]); // a lock that nobody holds
    proxy.cut();
    proxy.hold();
    expect((await cluster.ok(...args)).text).toContain("restored cluster");
  } finally {
    proxy.close();
  }
});

test("dfs drill --scratch: Ctrl-C removes what it has stored; pressed twice, it says what is left", async () => {
  const cluster = await started();
  await cluster.ok("mkdir", "/scratch");
  const inScratch = async (): Promise<string> => (await cluster.ok("ls", "/scratch")).text;
  const begun = async (): Promise<ReturnType<LocalCluster["spawn"]>> => {
    const child = cluster.spawn([
      "drill",
      "--scratch",
      "/scratch",
      "--faults",
      "rot-1,rot-2,lose-1,lose-2",
    ]);
    await until(async () => (await inScratch()) !== "", "the drill to store files");
    return child;
  };
  const once = await begun();
  once.kill("SIGINT");
  const { code, stderr } = await finish(once);
  expect(stderr).toContain("dfs drill: interrupted: played 0 faults");
  expect({ code, left: await inScratch() }).toEqual({ code: 130, left: "" });

  const twice = await begun();
  process.kill(twice.pid, "SIGSTOP");
  twice.kill("SIGINT");
  twice.kill("SIGTERM");
  process.kill(twice.pid, "SIGCONT");
  const ended = await finish(twice);
  const [left = ""] = (await inScratch()).split("\n");
  expect(left).toStartWith("drill-");
  expect(ended.stderr).toContain(
    `dfs drill: warning: /scratch/${left} is left in the cluster\nto remove it: dfs rm -r /scratch/${left}\n`,
  );
});
