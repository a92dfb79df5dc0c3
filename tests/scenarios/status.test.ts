// dfs status on a real cluster whose servers are killed: the figures, the words and the exit code are those of what
// really is there.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { seededRandom } from "../../src/base/random.ts";
import { LocalCluster, until } from "../support/local-cluster.ts";

setDefaultTimeout(120_000); // whole clusters and many commands; a busy machine is slow

interface StatusRow {
  readonly health: string;
  readonly nextFailure: string;
  readonly liveBlocks: number;
  readonly blocksByCopies: number[];
  readonly missingCopies: number;
  readonly dataServers: {
    readonly server: number;
    readonly state: string;
    readonly since: string | null;
    readonly outInSeconds: number | null;
    readonly heldBack: boolean;
  }[];
  readonly risk: {
    readonly lostBlocks: number;
    readonly unreadable: Files;
    readonly servers: {
      readonly server: number;
      readonly onlyCopyWithinReach: number;
      readonly onlyCopyAnywhere: number;
    }[];
    readonly worst: (Files & { readonly server: number }) | null;
  };
  readonly scrub: { readonly oldest: { readonly server: number } | null; readonly never: number[] };
}

interface Files {
  readonly files: number;
  readonly paths: { readonly path: string }[];
}

const FILES = Array.from({ length: 8 }, (_, index) => `/file-${index}`);

describe("dfs status while servers are killed", () => {
  let cluster: LocalCluster;

  beforeAll(async () => {
    cluster = await LocalCluster.up("--block-size", "64K", "--out-delay", "3600");
    const random = seededRandom(5);
    for (const path of FILES) {
      const local = cluster.path(path.slice(1));
      writeFileSync(local, random.bytes(100_000));
      await cluster.ok("put", local, path);
    }
  });
  afterAll(() => cluster.stop());

  async function status(): Promise<StatusRow & { readonly code: number }> {
    const { code, text } = await cluster.run(["status", "--json"]);
    return { ...(JSON.parse(text) as StatusRow), code };
  }

  /** For each block the servers with its copies, and its file, from dfs explain. */
  async function blocks(): Promise<{ readonly path: string; readonly servers: number[] }[]> {
    const found: { path: string; servers: number[] }[] = [];
    for (const path of FILES) {
      const rows = await cluster.rows<{ readonly servers: number[] }>("explain", path);
      found.push(...rows.map(({ servers }) => ({ path, servers })));
    }
    return found;
  }

  async function killAndWait(id: number): Promise<void> {
    await cluster.kill(cluster.server(id).pid);
    await cluster.untilState("down", id);
  }

  test("all up: healthy, exit code 0; no server was scrubbed to the end yet, or one is told", async () => {
    const { code, text } = await cluster.run(["status"]);
    expect(code).toBe(0);
    expect(text).toContain("The cluster is healthy.");
    expect(text).toContain("Copies:   all 16 blocks have 3 copies");
    expect(text).toMatch(/^Scrub: {4}(.* never been scrubbed to the end|oldest: server \d)/m);
    expect(text).toMatch(/^Backup: {3}/m);
    const row = await status();
    expect(row).toMatchObject({ health: "healthy", risk: { lostBlocks: 0, worst: null } });
    expect(row.risk.servers).toEqual([]);
  });

  test("one killed: degraded, exit code 6; when it is out and what then, and nothing depends on one server", async () => {
    await killAndWait(2);
    const row = await status();
    expect(row).toMatchObject({ code: 6, health: "degraded", risk: { worst: null } });
    const two = row.dataServers.find(({ server }) => server === 2)!;
    expect(two).toMatchObject({ heldBack: false, since: expect.any(String) as string });
    expect(two.outInSeconds).toBeGreaterThan(3000);
    const { text } = await cluster.run(["status"]);
    expect(text).toMatch(
      /^ {10}server 2 is down: not heard of for .*; is out in 59 min .*, then its copies are made elsewhere$/m,
    );
    expect(text).toContain("everything could still be read");
  });

  test("two killed: at risk, exit code 7; the server and the files that one more failure would cost are those of explain", async () => {
    await killAndWait(4);
    const row = await status();
    expect(row).toMatchObject({ code: 7, health: "atRisk" });
    expect(row.dataServers.filter(({ heldBack }) => heldBack).map(({ server }) => server)).toEqual([
      2, 4,
    ]);
    const alone = (await blocks()).flatMap(({ path, servers }) => {
      const near = servers.filter((each) => each !== 2 && each !== 4);
      return near.length === 1 ? [{ path, server: near[0]! }] : [];
    });
    const of = (server: number): typeof alone => alone.filter((each) => each.server === server);
    expect(alone.length).toBeGreaterThan(0);
    for (const server of [1, 3]) {
      const told = row.risk.servers.find((each) => each.server === server);
      expect(told?.onlyCopyWithinReach ?? 0).toBe(of(server).length);
      expect(told?.onlyCopyAnywhere ?? 0).toBe(0);
    }
    const worst = row.risk.worst!;
    expect(of(worst.server).length).toBe(Math.max(of(1).length, of(3).length));
    const paths = new Set(of(worst.server).map(({ path }) => path));
    expect(worst.files).toBe(paths.size);
    for (const { path } of worst.paths) expect(paths).toContain(path);
    const { text } = await cluster.run(["status"]);
    expect(text).toContain(
      `If one more server fails: the failure of server ${worst.server} would make unreadable ${paths.size} file`,
    );
    expect(text).toContain("until another server that has a copy is back");
    expect(text).toContain("too many servers are silent at once");
  });

  test("three killed: the files that cannot be read are named", async () => {
    await killAndWait(1);
    const row = await status();
    expect(row.code).toBe(7);
    const gone = (await blocks()).filter(({ servers }) => !servers.includes(3));
    expect(gone.length).toBeGreaterThan(0);
    expect(row.blocksByCopies[0]).toBe(gone.length);
    const paths = new Set(gone.map(({ path }) => path));
    expect(row.risk.unreadable.files).toBe(paths.size);
    for (const { path } of row.risk.unreadable.paths) expect(paths).toContain(path);
  });

  test("all started again: healthy, without anybody's help", async () => {
    await cluster.ok("up", "--detach");
    await until(async () => (await status()).code === 0, "a healthy cluster");
    expect((await status()).dataServers.map(({ state }) => state)).toEqual([
      "up",
      "up",
      "up",
      "up",
    ]);
  });
});
