// How the metadata server judges silence, repairs and backs up is remembered. It held for one run: a plain `dfs up` after the
// metadata server had died gave up the out-delay that was asked for at first, without a word.

import { afterEach, expect, test } from "bun:test";
import { LocalCluster } from "../support/local-cluster.ts";

const clusters: LocalCluster[] = [];

afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.stop();
});

const ROW = {
  leaseTimeoutSeconds: 60,
  downDelaySeconds: 2.5,
  outDelaySeconds: 30,
  repairBytesPerSecond: 100 * 2 ** 20,
  backupIntervalSeconds: 3600,
};

async function service(cluster: LocalCluster): Promise<object> {
  const { stdout } = await cluster.run(["status", "--json"]);
  return (JSON.parse(stdout.toString()) as { service: object }).service;
}

test("what dfs up was given at first holds when the metadata server is started again, and is told", async () => {
  const cluster = await LocalCluster.up(
    "--data-servers",
    "1",
    "--replicas",
    "1",
    "--out-delay",
    "30",
    "--down-delay",
    "2.5",
  );
  clusters.push(cluster);
  expect(await service(cluster)).toEqual(ROW);

  await cluster.kill(cluster.describe().metaPid);
  const again = await cluster.ok("up", "--detach");
  expect(again.text).toContain("the metadata server goes by --down-delay 2.5 --out-delay 30\n");
  expect(await service(cluster)).toEqual(ROW);

  const late = await cluster.ok("up", "--detach", "--out-delay", "45", "--down-delay", "2.5");
  expect(late.stderr).toContain("--out-delay 45 is not taken: the metadata server runs already");
  expect(late.text).toContain("goes by --down-delay 2.5 --out-delay 30\n");
  expect(await service(cluster)).toEqual(ROW);

  await cluster.ok("down");
  await cluster.ok("up", "--detach", "--out-delay", "45");
  await cluster.ok("down");
  const rows = await cluster.ok("up", "--detach", "--json");
  const [meta] = rows.text.split("\n").map((line) => JSON.parse(line || "{}") as object);
  expect(meta).toMatchObject({ service: "meta", ...ROW, outDelaySeconds: 45 });
  expect(await service(cluster)).toEqual({ ...ROW, outDelaySeconds: 45 });
});

test("they are in the database: also dfs meta alone goes by them", async () => {
  const cluster = new LocalCluster();
  clusters.push(cluster);
  const start = async (...flags: string[]): Promise<object> => {
    const child = cluster.spawn(["meta", "--json", "--dir", cluster.path("m"), ...flags]);
    const decoder = new TextDecoder();
    let line = "";
    for await (const chunk of child.stdout) {
      line += decoder.decode(chunk, { stream: true });
      if (line.includes("\n")) break;
    }
    child.kill("SIGTERM");
    await child.exited;
    return (JSON.parse(line) as { service: object }).service;
  };
  const unlimited = { ...ROW, downDelaySeconds: 5, outDelaySeconds: 600, repairBytesPerSecond: 0 };
  expect(await start("--repair-rate", "0")).toEqual(unlimited);
  expect(await start()).toEqual(unlimited);
  expect(await start("--lease-timeout", "90")).toEqual({ ...unlimited, leaseTimeoutSeconds: 90 });
  expect(await start("--lease-timeout", "60")).toEqual(unlimited);
});
