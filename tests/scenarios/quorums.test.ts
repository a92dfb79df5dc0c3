// Write and read quorums as a user meets them: who is waited for, what is said meanwhile, and what ends the wait.

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { seededRandom } from "../../src/base/random.ts";
import { finish, LocalCluster, type Subprocess } from "../support/local-cluster.ts";

setDefaultTimeout(120_000); // whole clusters and many commands; a busy machine is slow

const content = seededRandom(41).bytes(8 * 1024); // eight blocks: every server has a part in some of them

interface Explained {
  readonly id: string;
  readonly servers: number[];
  readonly wanted: number[];
  readonly votes: (0 | 1 | null)[];
  readonly verdicts: string[];
}

let cluster: LocalCluster;
afterEach(() => cluster.stop());

async function up(...flags: string[]): Promise<void> {
  cluster = await LocalCluster.up("--block-size", "1K", ...flags);
  writeFileSync(cluster.path("content"), content);
}

async function down(...servers: number[]): Promise<void> {
  for (const server of servers) await cluster.kill(cluster.server(server).pid);
  await cluster.untilState("down", ...servers);
}

/** Reads a command's standard error until it contains `text`; returns a reader of the rest. */
async function told(child: Subprocess, text: string): Promise<{ rest: Promise<string> }> {
  const reader = child.stderr.getReader();
  const decoder = new TextDecoder();
  let seen = "";
  while (!seen.includes(text)) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`it ended without saying "${text}", but: ${seen}`);
    seen += decoder.decode(value, { stream: true });
  }
  const rest = async (): Promise<string> => {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return seen;
      seen += decoder.decode(value, { stream: true });
    }
  };
  return { rest: rest() };
}

describe("a write quorum of all copies", () => {
  test("a put waits while a server is down, says so, and completes when it is back", async () => {
    await up("--write-quorum", "3");
    await down(2);
    const put = cluster.spawn(["put", cluster.path("content"), "/file"]);
    const { rest } = await told(put, "waiting for server 2 (down)");
    expect(put.exitCode).toBe(null);
    expect((await cluster.run(["stat", "/file"])).code).toBe(4); // nothing is visible yet
    await cluster.ok("up", "--detach");
    expect({ code: await put.exited, said: await rest }).toMatchObject({ code: 0 });
    expect(await rest).toContain("2 of the 3 copies that the write quorum asks for");
    for (const row of await cluster.rows<Explained>("explain", "/file")) {
      expect(row.servers).toEqual(row.wanted); // no stand-ins
    }
    expect(Buffer.compare((await cluster.ok("cat", "/file")).stdout, content)).toBe(0);
  });

  test("a put gives up at its deadline, says what to do, and leaves nothing", async () => {
    await up("--write-quorum", "3");
    await down(3);
    const put = await cluster.run(["put", "--timeout", "2", cluster.path("content"), "/file"]);
    expect(put.code).toBe(1);
    expect(put.stderr).toContain("2 of the 3 copies that the write quorum asks for");
    expect(put.stderr).toContain("within 2 s; lacking: server 3 (down)");
    expect(put.stderr).toContain("start the data servers that are down");
    expect((await cluster.run(["stat", "/file"])).code).toBe(4);
  });
});

test("the default write quorum: one server of four is not enough, and two are", async () => {
  await up();
  await down(1, 2, 3);
  const put = cluster.spawn(["put", cluster.path("content"), "/file"]);
  const { rest } = await told(put, "1 of the 2 copies that the write quorum asks for");
  await cluster.ok("up", "--detach");
  expect({ code: await put.exited, said: await rest }).toMatchObject({ code: 0 });
  for (const server of [1, 2, 3]) expect(await rest).toContain(`server ${server} (`);
  expect(Buffer.compare((await cluster.ok("cat", "/file")).stdout, content)).toBe(0);
});

describe("a read quorum", () => {
  test("of two: one rotten copy is a vote against, the bytes are right, and everybody can see it", async () => {
    await up("--read-quorum", "2");
    const target = cluster.path("target");
    // A file for each look: what was read is reported, and may be mended by the time of the next one.
    const rotten = async (path: string): Promise<Explained> => {
      await cluster.ok("put", cluster.path("content"), path);
      const all = await cluster.rows<Explained>("explain", path);
      for (const row of all) expect(row.votes).toEqual([1, 1, 1]); // without being asked to
      await cluster.ok("corrupt", path, "--block", "0", "--replica", "0");
      return all[0]!;
    };
    const { servers, id } = await rotten("/one");
    const { stderr } = await cluster.ok("get", "-v", "/one", target);
    expect(Buffer.compare(readFileSync(target), content)).toBe(0);
    expect(stderr).toContain(`data server ${servers[0]} has a corrupted copy of block ${id}`);
    expect(stderr).toContain(
      `/one at offset 0, block ${id}: servers ${servers.join(" ")} vote 0(rotten) 1 -`,
    );
    const two = await rotten("/two");
    const rows = await cluster.rows<Explained>("get", "-v", "/two", target);
    const first = rows.find((row) => row.id === two.id)!;
    expect(first).toMatchObject({ servers: two.servers, votes: [0, 1, null] });
    expect(first.verdicts).toEqual(["rotten", "right", "notAsked"]);
    await rotten("/three");
    const { text } = await cluster.ok("explain", "/three");
    expect(text.split("\n").find((line) => line.includes("BLOCK"))).toMatch(/ VOTES$/);
    expect(text).toMatch(/ 0\(rotten\) 1 1$/m);
    expect(text).toMatch(/ 1 1 1$/m);
  });

  test("that too few servers answer is an error that names them; a single read may ask for less", async () => {
    await up("--read-quorum", "2");
    writeFileSync(cluster.path("small"), "small");
    await cluster.ok("put", cluster.path("small"), "/small");
    const [{ servers } = { servers: [] }] = await cluster.rows<Explained>("explain", "/small");
    await down(...servers.slice(0, 2));
    const cat = await cluster.run(["cat", "/small"]);
    expect({ code: cat.code, text: cat.text }).toEqual({ code: 1, text: "" });
    expect(cat.stderr).toContain(
      "cannot read /small at offset 0: fewer than the 2 servers that the read quorum asks for",
    );
    for (const server of servers) expect(cat.stderr).toMatch(new RegExp(`server ${server}: `));
    expect((await cluster.ok("cat", "--read-quorum", "1", "/small")).text).toBe("small");
    const target = cluster.path("target");
    await cluster.ok("get", "--read-quorum", "1", "/small", target);
    expect(readFileSync(target, "utf8")).toBe("small");
  });

  test("of three asks all, whatever the cluster was made with; one of four makes no sense", async () => {
    await up();
    await cluster.ok("put", cluster.path("content"), "/file");
    const target = cluster.path("target");
    const rows = await cluster.rows<Explained>("get", "-v", "--read-quorum", "3", "/file", target);
    expect(rows).toHaveLength(8 + 1);
    for (const row of rows.slice(0, -1)) expect(row.votes).toEqual([1, 1, 1]);
    const plain = await cluster.rows<Explained>("get", "-v", "/file", target);
    for (const row of plain.slice(0, -1)) expect(row.votes).toEqual([1, null, null]);
    for (const command of [["cat"], ["get"]]) {
      const wrong = [
        ...command,
        "--read-quorum",
        "4",
        "/file",
        ...(command[0] === "get" ? [target] : []),
      ];
      const { code, stderr } = await cluster.run(wrong);
      expect([code, stderr]).toEqual([
        2,
        `dfs ${command[0]}: --read-quorum 4 cannot be reached: this cluster keeps 3 copies of each block\n`,
      ]);
    }
    const none = await finish(cluster.spawn(["cat", "--read-quorum", "0", "/file"]));
    expect(none.code).toBe(2);
  });
});
