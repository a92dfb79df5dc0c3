// P7: rot in a block that nobody reads is found by the scrub, and goes on record for repair.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { closeSync, openSync, readdirSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { seededRandom } from "../../src/base/random.ts";
import { LocalCluster, until } from "../support/local-cluster.ts";

setDefaultTimeout(120_000); // whole clusters and many commands; a busy machine is slow

interface ScrubRow {
  readonly server: number;
  readonly state?: string;
  readonly lastPass?: string | null;
  readonly records?: number;
  readonly rotten?: number;
  readonly rottenEver?: number;
  readonly error?: string;
}

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.up("--block-size", "4K");
});
afterAll(() => cluster.stop());

/** Flips a bit in the copy of `content` that the server in `dir` has. */
function flip(dir: string, content: Uint8Array): void {
  const log = join(dir, "log");
  for (const name of readdirSync(log).filter((each) => each.endsWith(".seg"))) {
    const path = join(log, name);
    const position = readFileSync(path).indexOf(content);
    if (position < 0) continue;
    const descriptor = openSync(path, "r+");
    writeSync(descriptor, Uint8Array.of(content[100]! ^ 0x10), 0, 1, position + 100);
    closeSync(descriptor);
    return;
  }
  throw new Error(`no segment in ${log} holds the content`);
}

async function put(
  path: string,
  seed: number,
): Promise<{ content: Uint8Array; servers: number[] }> {
  const content = seededRandom(seed).bytes(4000);
  writeFileSync(cluster.path("content"), content);
  await cluster.ok("put", cluster.path("content"), path);
  const [row] = await cluster.rows<{ servers: number[] }>("explain", path);
  return { content, servers: row!.servers };
}

describe("a bit flipped in a block that nobody reads", () => {
  test("is found by a scrub, and the copy is mended from another", async () => {
    const { content, servers } = await put("/cold", 7);
    await put("/other", 8);
    const [victim] = servers;
    flip(cluster.server(victim!).dir, content);
    const started = await cluster.rows<ScrubRow>("scrub", "start", "--rate", "1000");
    expect(started.map(({ server }) => server)).toEqual([1, 2, 3, 4]);
    await until(async () => {
      const rows = await cluster.rows<ScrubRow>("scrub", "status");
      return rows.every(({ lastPass }) => lastPass !== null);
    }, "all passes to be over");
    const rows = await cluster.rows<ScrubRow>("scrub", "status");
    for (const { server, rotten, rottenEver } of rows) {
      const expected = server === victim ? 1 : 0;
      expect({ server, rotten, rottenEver }).toEqual({
        server,
        rotten: expected,
        rottenEver: expected,
      });
    }
    await until(async () => {
      const [row] = await cluster.rows<{ votes: (number | null)[]; states: string[] }>(
        "explain",
        "--votes",
        "/cold",
      );
      const isRight = row!.votes.length === 3 && row!.votes.every((vote) => vote === 1);
      return isRight && row!.states.every((state) => state === "present");
    }, "all three copies to be right");
    const { stdout } = await cluster.ok("cat", "/cold");
    expect(Buffer.compare(stdout, content)).toBe(0);
    const { text } = await cluster.run(["status", "--json"]);
    const { storage } = JSON.parse(text) as { storage: { server: number; scrub: object }[] };
    const own = storage.find(({ server }) => server === victim);
    expect(own!.scrub).toEqual({ state: "idle", lastPass: expect.any(String), rotten: 1 });
  });
});

describe("dfs scrub", () => {
  test("pauses one server, which stays so over its restart, and resumes it", async () => {
    const paused = await cluster.rows<ScrubRow>("scrub", "2", "pause");
    expect(paused).toMatchObject([{ server: 2, state: "paused" }]);
    await cluster.kill(cluster.server(2).pid);
    await cluster.ok("up", "--detach");
    await until(async () => {
      const { code, text } = await cluster.run(["scrub", "status"]);
      return code === 0 && /^ +2 +paused/m.test(text);
    }, "server 2 to be there, paused");
    const { text } = await cluster.ok("scrub", "2", "resume", "--rate", "0.5");
    expect(text).toMatch(/^ +2 +idle +- +512 KiB\/s +next in/m);
  });

  test("says which servers there are not, and which do not answer", async () => {
    const unknown = await cluster.run(["scrub", "9", "start"]);
    expect(unknown.code).toBe(4);
    expect(unknown.stderr).toContain("this cluster has no data server 9");
    await cluster.kill(cluster.server(3).pid);
    const some = await cluster.run(["scrub", "--json", "status"]);
    expect(some.code).toBe(3);
    const rows = some.text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as ScrubRow);
    expect(rows.map(({ server, error }) => [server, error !== undefined])).toEqual([
      [1, false],
      [2, false],
      [3, true],
      [4, false],
    ]);
    expect(some.stderr).toContain("cannot ask the scrub of server 3");
    expect((await cluster.run(["scrub", "3", "start"])).code).toBe(1);
    await cluster.ok("down");
    expect((await cluster.run(["scrub", "status"])).code).toBe(5);
  });
});
