// The metadata server's directory is lost in a local cluster, and brought back with the commands that a person types.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { seededRandom } from "../../src/base/random.ts";
import { differences, LocalCluster, until } from "../support/local-cluster.ts";

setDefaultTimeout(120_000); // whole clusters and many commands; a busy machine is slow

let cluster: LocalCluster;

beforeAll(async () => {
  cluster = await LocalCluster.up("--block-size", "64K");
});
afterAll(() => cluster.stop());

function makeTree(name: string, seed: number): string {
  const random = seededRandom(seed);
  const root = cluster.path(name);
  mkdirSync(join(root, "folder"), { recursive: true });
  for (let file = 0; file < 6; file++) {
    writeFileSync(join(root, "folder", `file-${file}`), random.bytes(file * 50_000));
  }
  return root;
}

test("dfs meta backup, the directory is lost, dfs meta restore, dfs up", async () => {
  const tree = makeTree("tree", 1);
  await cluster.ok("put", "-r", tree, "/tree");
  const backup = await cluster.ok("meta", "backup");
  expect(backup.text).toMatch(/^backup [0-9a-f]{16} \(6 files, .*\) is on data servers 1, 2, 3\n$/);
  expect((await cluster.ok("status")).text).toMatch(
    /Backup: {3}\d.* ago, on data servers 1, 2, 3, .*\n/,
  );
  await cluster.ok("put", "-r", makeTree("late", 2), "/late");

  const { metaPid, servers } = cluster.describe();
  process.kill(metaPid, "SIGKILL");
  const meta = join(cluster.dir, "meta");
  const from = servers.map(({ address }) => address).join(",");
  const refused = await cluster.run(["meta", "restore", "--dir", meta, "--from", from]);
  expect(refused.code).toBe(2);
  expect(refused.stderr).toContain("is not empty");
  rmSync(meta, { recursive: true });

  const missing = await cluster.run(["meta", "restore", "--dir", meta]);
  expect(missing.code).toBe(2);
  const listed = await cluster.rows<{ holders: object[] }>(
    "meta",
    "restore",
    "--list",
    "--from",
    from,
  );
  expect(listed).toHaveLength(1);
  expect(listed[0]!.holders).toHaveLength(3);
  const restored = await cluster.ok("meta", "restore", "--dir", meta, "--from", from);
  expect(restored.text).toContain("6 files");
  expect(restored.text).toContain("What was changed since then is not in it");
  expect(restored.text).toContain(`start it with: dfs meta --dir ${meta} --listen 127.0.0.1:`);

  await cluster.ok("up", "--detach");
  await cluster.ok("get", "-r", "/tree", cluster.path("copy"));
  expect(await differences(tree, cluster.path("copy"))).toBe("");
  expect((await cluster.run(["ls", "/late"])).code).toBe(4);
  // The data servers have been without a service: it may take a second until they are all back.
  await cluster.untilState("up");
  await until(
    async () => (await cluster.run(["meta", "quarantine"])).code === 0,
    "all servers to answer",
  );
  const unknown = await cluster.rows<{ server: number; block: string }>("meta", "quarantine");
  expect(unknown.length).toBeGreaterThan(0);
  const after = (await cluster.ok("meta", "quarantine")).text;
  expect(after).toContain(`${unknown.length} copies of blocks that metadata does not know`);
});
