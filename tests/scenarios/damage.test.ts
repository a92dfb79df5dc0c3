// Copies damaged with dfs corrupt: readers get the right bytes and a warning, or an error and no bytes at all.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { seededRandom } from "../../src/base/random.ts";
import { LocalCluster } from "../support/local-cluster.ts";

setDefaultTimeout(120_000); // whole clusters and many commands; a busy machine is slow

const BLOCK = 64 * 1024;
const content = seededRandom(31).bytes(3 * BLOCK + 1000);

interface Explained {
  readonly id: string;
  readonly servers: number[];
  readonly votes: (0 | 1 | null)[];
  readonly verdicts: string[];
}

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.up("--block-size", "64K");
});
afterAll(() => cluster.stop());

/** Stores the content and tells where its second block is. */
async function stored(path: string): Promise<Explained> {
  writeFileSync(cluster.path("content"), content);
  await cluster.ok("put", cluster.path("content"), path);
  return (await cluster.rows<Explained>("explain", path))[1]!;
}

async function damage(path: string, servers: readonly number[], ...flags: string[]): Promise<void> {
  for (const server of servers) {
    await cluster.ok("corrupt", path, "--block", "1", "--server", String(server), ...flags);
  }
}

/** Fetches the file, which must succeed with the right bytes; returns the warnings. */
async function fetched(path: string, ...flags: string[]): Promise<string> {
  const target = cluster.path("target");
  const { stderr } = await cluster.ok("get", ...flags, path, target);
  expect(Buffer.compare(readFileSync(target), content)).toBe(0);
  return stderr;
}

describe.each([
  ["bytes", [], "has a corrupted copy of", "rotten"],
  ["the record's header", ["--header"], "has a corrupted copy of", "rotten"],
  ["the copy as a whole", ["--delete"], "lacks its copy of", "missing"],
] as const)("damage to %s", (what, flags, said, verdict) => {
  const path = `/${verdict}-${flags.length}-${what.length}`;

  // A file for each: what was read is reported, and may be mended by the time of the next look.
  test.each([1, 2])("of %d of three copies: right bytes, and a warning for each", async (count) => {
    const { id, servers } = await stored(`${path}-${count}`);
    const bad = servers.slice(0, count);
    await damage(`${path}-${count}`, bad, ...flags);
    const stderr = await fetched(`${path}-${count}`);
    for (const server of bad) {
      expect(stderr).toContain(
        `data server ${server} ${said} block ${id}; it was reported for repair`,
      );
    }
  });

  test("of two of three copies: their servers' votes are against", async () => {
    const { servers } = await stored(`${path}-votes`);
    await damage(`${path}-votes`, servers.slice(1), ...flags);
    const row = (await cluster.rows<Explained>("explain", "--votes", `${path}-votes`))[1]!;
    expect(row).toMatchObject({ votes: [1, 0, 0], verdicts: ["right", verdict, verdict] });
  });

  test("of all three: an error that names file, offset and servers; no file, and nothing half-written", async () => {
    const all = `${path}-all`;
    const { servers } = await stored(all);
    await damage(all, servers, ...flags);
    const target = cluster.path(`out-${what.length}`);
    const got = await cluster.run(["get", all, target]);
    expect(got.code).toBe(1);
    expect(got.stderr).toContain(`cannot read ${all} at offset ${BLOCK}: no replica of block`);
    for (const server of servers) expect(got.stderr).toContain(`server ${server}: `);
    expect(existsSync(target)).toBe(false);
    expect(readdirSync(cluster.root).filter((name) => name.startsWith(".dfs-get"))).toEqual([]);
    const cat = await cluster.run(["cat", all]);
    expect(cat.code).toBe(1);
    expect(cat.stdout.length).toBe(BLOCK); // what could be verified, and then nothing
    expect(Buffer.compare(cat.stdout, Buffer.from(content.subarray(0, BLOCK)))).toBe(0);
    const end = await cluster.ok("cat", "--offset", String(2 * BLOCK), all);
    expect(Buffer.compare(end.stdout, Buffer.from(content.subarray(2 * BLOCK)))).toBe(0);
  });
});

test("damage on purpose is what the log's own examination finds", async () => {
  const { id, servers } = await stored("/examined");
  const server = servers[0]!;
  await damage("/examined", [server]);
  await cluster.ok("server", "stop", String(server));
  const { code, text } = await cluster.run(["log", "dump", "--verify", cluster.server(server).dir]);
  expect(code).not.toBe(0);
  expect(text).toMatch(
    new RegExp(`damage: .*content does not match its checksum.*\\(block ${id}\\)`),
  );
  await cluster.ok("up", "--detach");
  await fetched("/examined");
});
