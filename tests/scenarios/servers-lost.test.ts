// Data servers are killed while files are read and written: the promise that dfs exists for.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { seededRandom } from "../../src/base/random.ts";
import { differences, LocalCluster } from "../support/local-cluster.ts";

setDefaultTimeout(120_000); // whole clusters and many commands; a busy machine is slow

interface ExplainRow {
  readonly block: number;
  readonly servers: number[];
  readonly states: string[];
}

/** A tree with files of many sizes around the block size, an empty directory and links. */
function makeTree(root: string): void {
  const random = seededRandom(11);
  const blockSize = 65_536;
  const sizes = [
    0,
    1,
    4096,
    blockSize - 1,
    blockSize,
    blockSize + 1,
    3 * blockSize,
    10 * blockSize + 17,
  ];
  for (let folder = 0; folder < 8; folder++) {
    const dir = join(root, `folder ${folder}`);
    mkdirSync(join(dir, "empty"), { recursive: true });
    sizes.forEach((size, index) => writeFileSync(join(dir, `file-${index}`), random.bytes(size)));
    symlinkSync("file-3", join(dir, "link"));
    symlinkSync("nowhere", join(dir, "dangling"));
  }
}

/** Lines of stderr that warn of this server. */
function warningsOf(stderr: string, server: number): string[] {
  return stderr.split("\n").filter((line) => new RegExp(`\\bserver ${server}\\b`).test(line));
}

describe("data servers killed one after the other", () => {
  let cluster: LocalCluster;
  let tree: string;

  beforeAll(async () => {
    cluster = await LocalCluster.up("--block-size", "64K");
    tree = cluster.path("tree");
    makeTree(tree);
    await cluster.ok("put", "-r", tree, "/tree");
  });
  afterAll(() => cluster.stop());

  async function fetched(name: string) {
    const target = cluster.path(name);
    const result = await cluster.ok("get", "-r", "/tree", target);
    expect(await differences(tree, target)).toBe("");
    return result;
  }

  test("all up: every block has three copies on three servers, and the tree comes back without a warning", async () => {
    const { stderr } = await fetched("all-up");
    expect(stderr).not.toContain("warning");
    const rows = await cluster.rows<ExplainRow>("explain", "/tree/folder 0/file-7");
    expect(rows.map((row) => row.block)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    for (const row of rows) expect(new Set(row.servers).size).toBe(3);
    const { code } = await cluster.run(["status"]);
    expect(code).toBe(0);
  });

  test("one killed: the tree comes back with one warning; new files still get three copies", async () => {
    await cluster.kill(cluster.server(2).pid);
    const { stderr } = await fetched("one-down");
    expect(warningsOf(stderr, 2).length).toBe(1);

    await cluster.ok("put", "-r", tree, "/with-stand-ins");
    const rows = await cluster.rows<ExplainRow>("explain", "/with-stand-ins/folder 1/file-7");
    for (const row of rows) {
      expect(row.servers).not.toContain(2);
      expect(new Set(row.servers).size).toBe(3);
    }
    const { code } = await cluster.run(["status"]);
    expect(code).toBe(6);
  });

  test("two killed: one warning for each; writes go on with two copies, and what is missing is on record", async () => {
    await cluster.kill(cluster.server(3).pid);
    const { stderr } = await fetched("two-down");
    expect(warningsOf(stderr, 2).length).toBe(1);
    expect(warningsOf(stderr, 3).length).toBe(1);

    const put = await cluster.ok("put", "-r", tree, "/with-two-copies");
    expect(put.stderr).toContain("warning");
    const back = cluster.path("two-copies");
    await cluster.ok("get", "-r", "/with-two-copies", back);
    expect(await differences(tree, back)).toBe("");
    const { text, code } = await cluster.run(["status", "--json"]);
    expect(code).toBe(7); // some blocks have only one copy within reach
    const status = JSON.parse(text.split("\n")[0]!) as { missingCopies: number };
    expect(status.missingCopies).toBeGreaterThan(0);
  });

  test("the killed servers come back with their data, and everything is read from them again", async () => {
    await cluster.ok("up", "--detach");
    const { stderr } = await fetched("all-back");
    expect(stderr).not.toContain("warning");
    for (const id of [1, 4]) await cluster.kill(cluster.server(id).pid);
    await fetched("others-down");
  });
});
