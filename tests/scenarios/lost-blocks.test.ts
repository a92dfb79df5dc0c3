// The last copies of some blocks are on a server that is gone for good: what every command says and exits with, from the rebuild
// that cannot bring them back to the server that is given up, with real processes and the commands that people type.

import { expect, setDefaultTimeout, test } from "bun:test";
import { tmpdir } from "node:os";
import { KiB, MiB, OWNER, bytesOf, patterned, until, type TestClient } from "../support/cluster.ts";
import { spawnCluster, type ProcessCluster } from "../support/processes.ts";
import { dfs, type RunResult } from "../tools/support/run.ts";

setDefaultTimeout(240_000); // whole clusters on a busy machine

const BLOCK = 16 * KiB;

const META = {
  heartbeatIntervalMs: 100,
  downDelayMs: 400,
  outDelayMs: 3_600_000,
  reaperIntervalMs: 50,
  repairIntervalMs: 50,
};

const put = (client: TestClient, path: string, bytes: number) =>
  client.put(bytesOf(path), [patterned(bytes, bytes)], { ...OWNER, keepReplaced: false });

function run(cluster: ProcessCluster, ...args: string[]): Promise<RunResult> {
  return dfs(["--meta", cluster.meta.address, ...args], { home: tmpdir() });
}

const rowsOf = ({ stdout }: RunResult): Record<string, unknown>[] =>
  stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

async function untilState(client: TestClient, index: number, state: string): Promise<void> {
  await until(
    `server ${index + 1} is ${state}`,
    async () => (await client.servers())[index]?.state === state,
  );
}

test("lost blocks are told by every command with the files, and their server is given up by name only", async () => {
  const cluster = await spawnCluster({
    servers: 4,
    settings: { blockSize: BLOCK, writeQuorum: 1 },
    meta: META,
    data: { segmentBytes: 4 * MiB, reserveBytes: 16 * MiB },
  });
  try {
    const client = await cluster.client();
    await put(client, "/safe", 5 * BLOCK);
    const others = [1, 2, 3];
    for (const index of others) await cluster.server(index).kill();
    for (const index of others) await untilState(client, index, "down");
    await put(client, "/alone", 2 * BLOCK + 100); // on server 1, which dies before anybody has a copy
    await cluster.server(0).kill();
    for (const index of others) await cluster.startServer(index);
    for (const index of others) await untilState(client, index, "up");
    await untilState(client, 0, "down");

    const replaced = await run(cluster, "rebuild", "1", "--replace");
    expect(replaced.code).toBe(3);
    expect(replaced.stdout).toContain("3 blocks of data server 1 have no copy anywhere");
    expect(replaced.stdout).toContain("/alone: 16384 bytes from byte 16384 on");
    expect(replaced.stdout).not.toContain("is replaced: the others have what it had");
    expect(replaced.stderr).toContain("dfs server remove 1 --force");
    const again = rowsOf(await run(cluster, "rebuild", "1", "--replace", "--json"));
    expect(again.filter(({ kind }) => kind === "lost")).toMatchObject([
      { path: "/alone", offset: 0, length: BLOCK, servers: [1] },
      { path: "/alone", offset: BLOCK, length: BLOCK, servers: [1] },
      { path: "/alone", offset: 2 * BLOCK, length: 100, servers: [1] },
    ]);

    for (const extra of [[], ["--dry-run"]]) {
      const refused = await run(cluster, "server", "remove", "1", ...extra);
      expect(refused.code).toBe(1);
      expect(refused.stderr).toContain('3 blocks have no other copy, of "/alone"');
      expect(refused.stderr).toContain("dfs server remove 1 --force");
    }
    const dry = await run(cluster, "server", "remove", "1", "--force", "--dry-run", "--json");
    expect(dry.code).toBe(0);
    expect(rowsOf(dry).at(-1)).toEqual({ server: 1, removed: false, lost: 3 });
    expect((await client.servers()).length).toBe(4);

    const removed = await run(cluster, "server", "remove", "1", "--force");
    expect({ code: removed.code, stderr: removed.stderr }).toEqual({ code: 0, stderr: "" });
    expect(removed.stdout).toContain("3 blocks without any other copy, given up for lost:");
    expect(removed.stdout).toContain("/alone: 100 bytes from byte 32768 on");
    expect((await client.servers()).map(({ server }) => Number(server))).toEqual([2, 3, 4]);

    const read = await run(cluster, "cat", "/alone");
    expect(read.code).toBe(1);
    expect(read.stderr).toContain("/alone");
    expect(read.stderr).toContain("offset 0");
    expect((await run(cluster, "cat", "/safe")).code).toBe(0);
    const status = await run(cluster, "status");
    expect(status.code).toBe(7);
    const checked = await run(cluster, "fsck", "--json", "--patience", "1");
    expect(checked.code).toBe(4);
    const left = rowsOf(checked).filter(({ outcome }) => outcome === "left");
    expect(left).toMatchObject([
      { kind: "missingCopies", path: "/alone", block: 0 },
      { kind: "missingCopies", path: "/alone", block: 1 },
      { kind: "missingCopies", path: "/alone", block: 2 },
    ]);

    expect((await run(cluster, "rm", "/alone")).code).toBe(0);
    expect((await run(cluster, "fsck")).code).toBe(0);
    expect((await run(cluster, "status")).code).toBe(0);
  } finally {
    await cluster.stop();
  }
});
