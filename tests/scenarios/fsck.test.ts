// `dfs fsck` as a user runs it, on real clusters: what it says of damage that was done on purpose, what it mends, and that
// a sound cluster under load has no finding.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { seededRandom, systemRandom } from "../../src/base/random.ts";
import { fsckPoll } from "../../src/protocol/messages/fsck.ts";
import { bytesOf, KiB, OWNER, patterned, until, type TestClient } from "../support/cluster.ts";
import { failureOf } from "../support/failure.ts";
import { HoldingProxy } from "../support/holding-proxy.ts";
import { LocalCluster, type CommandResult } from "../support/local-cluster.ts";
import { spawnCluster } from "../support/processes.ts";
import { dfs } from "../tools/support/run.ts";

setDefaultTimeout(180_000); // whole clusters and many commands; a busy machine is slow

const BLOCK = 64 * KiB;

interface FindingRow {
  readonly kind: string;
  readonly outcome: string;
  readonly path: string | null;
  readonly block: number | null;
  readonly server: number | null;
}

interface SummaryRow {
  readonly summary: {
    readonly copies: number;
    readonly corrected: number;
    readonly left: number;
    readonly kinds: Readonly<Record<string, number>>;
  };
}

describe("on a local cluster", () => {
  let cluster: LocalCluster;
  beforeAll(async () => {
    cluster = await LocalCluster.up("--block-size", "64K");
  });
  afterAll(() => cluster.stop());

  async function put(path: string, blocks: number): Promise<void> {
    writeFileSync(cluster.path("content"), patterned(blocks * BLOCK, blocks + path.length));
    await cluster.ok("put", cluster.path("content"), path);
  }

  async function fsck(...args: string[]): Promise<{
    readonly code: number;
    readonly findings: FindingRow[];
    readonly summary: SummaryRow["summary"];
  }> {
    const result = await cluster.run(["fsck", "--json", ...args]);
    const rows = result.text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as FindingRow | SummaryRow);
    const last = rows.at(-1);
    if (last === undefined || !("summary" in last)) throw new Error(complaint(result));
    return {
      code: result.code,
      findings: rows.slice(0, -1) as FindingRow[],
      summary: last.summary,
    };
  }

  async function serversOf(path: string, block: number): Promise<number[]> {
    const rows = await cluster.rows<{ block: number; servers: number[] }>("explain", path);
    return rows.find((row) => row.block === block)!.servers;
  }

  const damaged = async (path: string, block: number, copies: number): Promise<void> => {
    const servers = await serversOf(path, block);
    for (const server of servers.slice(0, copies)) {
      await cluster.ok("corrupt", path, "--block", String(block), "--server", String(server));
    }
  };

  test("nothing is wrong at first: 0, and every copy was read", async () => {
    await put("/sound", 5);
    const { code, findings, summary } = await fsck();
    expect({ code, findings }).toEqual({ code: 0, findings: [] });
    expect(summary.copies).toBe(15);
    const { text } = await cluster.ok("fsck", "--level", "meta");
    expect(text).toContain("no errors");
  });

  test.each([1, 2])("%d rotten copies of three are found and mended: 1, then 0", async (copies) => {
    const path = `/rotten-${copies}`;
    await put(path, 3);
    await damaged(path, 1, copies);
    const { code, findings, summary } = await fsck();
    expect(code).toBe(1);
    expect(findings.map(({ kind, outcome, block }) => `${kind} ${outcome} ${block}`)).toEqual(
      Array.from({ length: copies }, () => "rottenCopy corrected 1"),
    );
    for (const finding of findings) expect(finding.path).toBe(path);
    expect(summary.corrected).toBe(copies);
    expect((await fsck(path)).code).toBe(0);
    const { stdout } = await cluster.ok("cat", path);
    expect(Buffer.compare(stdout, patterned(3 * BLOCK, 3 + path.length))).toBe(0);
  });

  test("a dry run tells of a rotten copy, time and again, and leaves it: 4", async () => {
    await put("/dry", 2);
    await damaged("/dry", 0, 1);
    for (let again = 0; again < 3; again++) {
      const { code, findings } = await fsck("--dry-run");
      expect({ code, paths: findings.map(({ path }) => path) }).toEqual({
        code: 4,
        paths: ["/dry"],
      });
    }
    expect((await fsck("/dry")).code).toBe(1);
  });

  test("a copy that its server has lost is found without reading: 1", async () => {
    await put("/lost", 2);
    const [server] = await serversOf("/lost", 1);
    await cluster.ok("corrupt", "/lost", "--block", "1", "--server", String(server), "--delete");
    expect((await fsck("--level", "meta")).code).toBe(0);
    const { code, findings } = await fsck("--level", "presence");
    expect({ code, findings: findings.length }).toEqual({ code: 1, findings: 1 });
    expect(findings[0]).toMatchObject({ kind: "lostCopy", path: "/lost", block: 1, server });
    expect((await fsck()).code).toBe(0);
  });

  test("a path limits it, and one that is not there is told: 8", async () => {
    await put("/elsewhere", 2);
    await cluster.ok("mkdir", "/directory");
    await put("/directory/file", 2);
    await damaged("/elsewhere", 0, 1);
    const { code, summary } = await fsck("/directory");
    expect({ code, copies: summary.copies }).toEqual({ code: 0, copies: 6 });
    expect((await fsck("/elsewhere")).code).toBe(1);
    for (const [path, why] of [
      ["/nowhere/file", "no such file or directory"],
      ["/elsewhere/file", "not a directory"],
    ] as const) {
      const { code: refused, stderr } = await cluster.run(["fsck", path]);
      expect({ refused, stderr }).toEqual({
        refused: 8,
        stderr: `dfs fsck: cannot check ${path}: ${why}\n`,
      });
    }
  });

  test("wrong arguments are a matter of usage: 2", async () => {
    for (const args of [
      ["--level", "deep"],
      ["/a", "/b"],
      ["--patience", "0"],
    ]) {
      expect((await cluster.run(["fsck", ...args])).code).toBe(2);
    }
  });

  test("without a cluster it cannot run: 8", async () => {
    const { code, stderr } = await cluster.run(["fsck"], {
      env: { DFS_DIR: cluster.path("none") },
    });
    expect(code).toBe(8);
    expect(stderr).toContain("dfs up");
  });

  test("while one runs another is refused: 8; Ctrl-C ends it: 130; then the next one runs", async () => {
    await put("/slow", 4);
    const { pid } = cluster.server(2);
    process.kill(pid, "SIGSTOP"); // a run cannot end while this server does not answer
    try {
      let first = cluster.spawn(["fsck"]);
      await until("another one is refused", async () => {
        const { code, stderr } = await cluster.run(["fsck", "--level", "meta"]);
        // It may have come before the first one, which was refused then.
        if (first.exitCode !== null) first = cluster.spawn(["fsck"]);
        return code === 8 && stderr.includes("running already");
      });
      first.kill("SIGINT");
      expect(await first.exited).toBe(130);
      await until(
        "the next one runs",
        async () => (await cluster.run(["fsck", "--level", "meta"])).code === 0,
      );
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await until("all servers answer", async () => (await fsck()).summary.copies > 0);
  });

  test("a server that is down is noted, and no error", async () => {
    await put("/with-three", 2);
    const { pid, id } = cluster.server(4);
    await cluster.kill(pid);
    const { code, findings } = await fsck();
    expect(code).toBe(0);
    expect(findings).toContainEqual(
      expect.objectContaining({ kind: "unchecked", outcome: "note", server: id }),
    );
    await cluster.ok("up", "--detach");
  });

  test("all copies rotten: the file is named, and 4", async () => {
    await put("/hopeless", 3);
    await damaged("/hopeless", 2, 3);
    const { code, findings, summary } = await fsck();
    expect(code).toBe(4);
    expect(new Set(findings.map(({ path, block }) => `${path} ${block}`))).toEqual(
      new Set(["/hopeless 2"]),
    );
    expect(summary.left).toBe(3);
    const { code: again, text } = await cluster.run(["fsck", "/hopeless"]);
    expect(again).toBe(4);
    expect(text).toContain("left: rotten copy: /hopeless, block 2");
    await cluster.ok("rm", "/hopeless");
    expect((await fsck()).code).toBe(0);
  });
});

describe("on a cluster of processes", () => {
  const SETTINGS = {
    servers: 4,
    settings: { blockSize: 4 * KiB },
    meta: { heartbeatIntervalMs: 100, reaperIntervalMs: 50, repairIntervalMs: 50 },
  };

  test("20 runs while files are written, overwritten, renamed and removed find nothing", async () => {
    const seed = systemRandom.below(2 ** 31);
    console.log(`seed ${seed}`);
    const cluster = await spawnCluster(SETTINGS);
    try {
      const watcher = await cluster.client();
      const over = new AbortController();
      let changes = 0;
      const writer = async (index: number): Promise<void> => {
        const client = await cluster.client();
        const random = seededRandom(seed + index);
        const path = (): Uint8Array => bytesOf(`/w${index}-${random.below(10)}`);
        // A name that is not there cannot be removed or renamed; everything else must succeed.
        const unlessMissing = (error: { kind?: string }): void => {
          if (error.kind !== "notFound") throw error as Error;
        };
        while (!over.signal.aborted) {
          const content = patterned(random.below(40 * KiB), random.below(1000));
          const kind = random.below(5);
          if (kind <= 1) await client.put(path(), [content], { ...OWNER, keepReplaced: true });
          else if (kind === 2) await client.unlink(path()).catch(unlessMissing);
          else if (kind === 3) await client.rename(path(), path()).catch(unlessMissing);
          else {
            const file = await client.create(path(), OWNER);
            await file.write(random.below(30 * KiB), content);
            await file.truncate(random.below(20 * KiB));
            await file.close();
          }
          changes++;
        }
      };
      const writers = Promise.all([0, 1, 2].map(writer));
      writers.catch(() => undefined); // told below
      const levels = ["full", "presence", "meta", "full"] as const;
      const found: unknown[] = [];
      let copies = 0;
      for (let runs = 0; runs < 20; runs++) {
        const before = changes;
        const options = { level: levels[runs % 4]!, dryRun: runs % 2 === 0, patienceMs: 10_000 };
        for await (const report of watcher.fsck(undefined, options)) {
          found.push(...report.findings);
          if (report.phase === "done") copies += report.doneCopies;
        }
        await until("the writers go on", () => changes > before);
      }
      over.abort();
      await writers;
      expect(found).toEqual([]);
      expect(copies).toBeGreaterThan(100);
    } finally {
      await cluster.stop();
    }
  });

  test("a run that is lost with the metadata service begins again when that is back", async () => {
    const cluster = await spawnCluster(SETTINGS);
    const proxy = await HoldingProxy.to(cluster.meta.address);
    try {
      const client = await cluster.client();
      for (let file = 0; file < 10; file++) {
        await client.put(bytesOf(`/f${file}`), [patterned(400 * KiB, file)], {
          ...OWNER,
          keepReplaced: false,
        });
      }
      proxy.hold(fsckPoll);
      const running = dfs(["--meta", proxy.address, "fsck"], { home: cluster.dir });
      await proxy.untilHeld(1);
      await cluster.meta.kill();
      await cluster.startMeta();
      for (let index = 0; index < 4; index++) await untilJoined(client, index);
      proxy.release();
      const { code, stdout, stderr } = await running;
      expect({ code, stderr }).toMatchObject({ code: 0 });
      expect(stderr).toContain("everything is checked again from the start");
      expect(stdout).toContain("Checked the record and 3,000 copies");
    } finally {
      proxy.close();
      await cluster.stop();
    }
  });

  test("and fails when the metadata service stays away", async () => {
    const cluster = await spawnCluster(SETTINGS);
    const proxy = await HoldingProxy.to(cluster.meta.address);
    try {
      const metaAddress = proxy.address;
      const client = await cluster.client({ metaAddress, retryTimeoutMs: 500 });
      proxy.hold(fsckPoll);
      const options = { level: "full", dryRun: false, patienceMs: 10_000 } as const;
      const lost = failureOf(Array.fromAsync(client.fsck(undefined, options)));
      await proxy.untilHeld(1);
      await cluster.meta.kill();
      expect(await lost).toMatchObject({ kind: "unreachable" });
    } finally {
      proxy.close();
      await cluster.stop();
    }
  });
});

/** Waits until a data server has been heard of by the metadata server that runs now. */
async function untilJoined(client: TestClient, index: number): Promise<void> {
  await until(`server ${index + 1} has joined`, async () => {
    const server = (await client.servers())[index];
    return server?.state === "up" && server.heardNs !== null;
  });
}

function complaint({ code, text, stderr }: CommandResult): string {
  return `dfs fsck exited with ${code}:\n${text}${stderr}`;
}
