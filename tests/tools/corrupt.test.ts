// dfs corrupt and dfs server stop: what they print, what they refuse, exit codes; and who allows faults.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { seededRandom } from "../../src/base/random.ts";
import { LocalCluster, isAlive, until, type Subprocess } from "../support/local-cluster.ts";

interface Row {
  readonly path: string;
  readonly block: number;
  readonly offset: number;
  readonly id: string;
  readonly server: number;
  readonly replica: number;
  readonly fault: string;
  readonly seed: number;
  readonly file: string;
  readonly record: number;
  readonly positions: number[];
  readonly blockOffset: number | null;
  readonly before: string;
  readonly after: string;
}

const KEYS =
  "path block offset id server replica fault seed file record positions blockOffset before after".split(
    " ",
  );

interface Explained {
  readonly servers: number[];
  readonly id: string;
}

async function stored(cluster: LocalCluster, path: string, content: Uint8Array): Promise<void> {
  writeFileSync(cluster.path("content"), content);
  await cluster.ok("put", cluster.path("content"), path);
}

describe("dfs corrupt", () => {
  let cluster: LocalCluster;
  const content = seededRandom(21).bytes(300_000); // five blocks
  beforeAll(async () => {
    cluster = await LocalCluster.up("--block-size", "64K");
    await stored(cluster, "/file", content);
    await cluster.run(["put", "-", "/empty"]);
    await cluster.ok("mkdir", "/dir");
  });
  afterAll(() => cluster.stop());

  /** The bytes of the segment that a row names, in the server's directory. */
  const segment = (row: Pick<Row, "server" | "file">): Buffer =>
    readFileSync(join(cluster.server(row.server).dir, "log", row.file));

  test("changes on disk what it prints, and nothing else", async () => {
    const explained = await cluster.rows<Explained>("explain", "/file");
    const flags = ["--block", "1", "--replica", "2", "--seed", "11"];
    const server = explained[1]!.servers[2]!;
    const [row] = await cluster.rows<Row>("corrupt", "/file", ...flags);
    expect(Object.keys(row!)).toEqual(KEYS);
    expect(row).toMatchObject({ path: "/file", block: 1, offset: 65_536, server, replica: 2 });
    expect(row).toMatchObject({ fault: "body", seed: 11, id: explained[1]!.id });
    const [first] = row!.positions;
    const after = Buffer.from(row!.after, "hex");
    expect(row!.positions).toEqual(Array.from(after, (_, index) => first! + index));
    const now = segment(row!);
    expect(now.subarray(first, first! + after.length)).toEqual(after);
    const at = 65_536 + row!.blockOffset!;
    expect(row!.before).toBe(Buffer.from(content.subarray(at, at + after.length)).toString("hex"));
    Buffer.from(row!.before, "hex").copy(now, first);
    expect(now.indexOf(content.subarray(65_536, 131_072))).toBeGreaterThan(row!.record);
  });

  test("says the same to people", async () => {
    const { text } = await cluster.ok("corrupt", "/file", "--block", "0", "--replica", "0");
    const [seed, what, where] = text.trimEnd().split("\n");
    expect(seed).toMatch(/^seed \d+, chosen at random; .*--seed \d+/);
    expect(what).toMatch(
      /^server \d: replica 0 of block 0 of \/file \(id \d+\) is damaged: \d bytes? from byte \d+/,
    );
    expect(where).toMatch(
      /^ {2}in \d{12}-[0-9a-f]{16}\.seg, record at \d+: bytes \d+ to \d+ were [0-9a-f ]+ and are [0-9a-f ]+$/,
    );
  });

  test("a seed chooses the same block, copy and bytes again", async () => {
    for (const seed of ["1", "2", "4294967295"]) {
      const [one] = await cluster.rows<Row>("corrupt", "/file", "--seed", seed);
      const [two] = await cluster.rows<Row>("corrupt", "/file", "--seed", seed);
      expect({ ...two!, before: "", after: "" }).toEqual({ ...one!, before: "", after: "" });
      expect(two!.before).toBe(one!.after);
    }
    const chosen = new Set<string>();
    for (let seed = 10; seed < 18; seed++) {
      const [row] = await cluster.rows<Row>("corrupt", "/file", "--seed", String(seed));
      chosen.add(`${row!.block} ${row!.replica}`);
    }
    expect(chosen.size).toBeGreaterThan(2);
  });

  test("--all, --server, --header and --delete", async () => {
    await stored(cluster, "/small", Buffer.from("small"));
    const [{ servers } = { servers: [] }] = await cluster.rows<Explained>("explain", "/small");
    const all = await cluster.rows<Row>("corrupt", "/small", "--all", "--header");
    expect(all.map((row) => row.server)).toEqual(servers);
    expect(all.map((row) => row.replica)).toEqual([0, 1, 2]);
    for (const row of all) {
      expect(row).toMatchObject({ fault: "header", blockOffset: null });
      for (const position of row.positions) expect(position - row.record).toBeLessThan(128);
    }
    const server = String(servers[1]);
    const lost = await cluster.rows<Row>("corrupt", "/small", "--server", server, "--delete");
    expect(lost).toMatchObject([{ server: servers[1]!, replica: 1, fault: "lose", positions: [] }]);
    const again = await cluster.run(["corrupt", "/small", "--server", server]);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain("does not hold block");
    const rest = await cluster.run(["corrupt", "/small", "--all", "--json"]);
    expect(rest.code).toBe(3);
    expect(rest.text.trimEnd().split("\n")).toHaveLength(2);
  });

  test("refuses what makes no sense, with the right exit code", async () => {
    const cases: readonly (readonly [string, number, string])[] = [
      ["corrupt", 2, "something is missing"],
      ["corrupt /file /dir", 2, 'cannot use "/dir"'],
      ["corrupt /file --all --server 1", 2, "exclude each other"],
      ["corrupt /file --replica 0 --server 1", 2, "exclude each other"],
      ["corrupt /file --delete --header", 2, "exclude each other"],
      ["corrupt /file --block x", 2, "--block x"],
      ["corrupt /file --seed 4294967296", 2, "--seed 4294967296"],
      ["corrupt /nothing", 4, "cannot corrupt /nothing: no such file or directory"],
      ["corrupt /dir", 1, "cannot corrupt /dir: it is a directory and has no blocks"],
      ["corrupt /empty", 1, "cannot corrupt /empty: it is empty and has no blocks"],
      ["corrupt /file --block 5", 1, "it has no block 5; it has blocks 0 to 4"],
      ["corrupt /file --block 0 --replica 3", 1, "its block 0 has no replica 3; it has 3 copies"],
      ["corrupt /file --block 0 --server 77", 1, "server 77 has no copy of its block 0"],
    ];
    for (const [line, code, said] of cases) {
      const result = await cluster.run(line.split(" "));
      expect({ line, code: result.code, text: result.text }).toEqual({ line, code, text: "" });
      expect(result.stderr).toContain(said);
    }
  });

  test("a hole has nothing to damage", async () => {
    const sparse = cluster.path("sparse");
    Bun.spawnSync(["truncate", "-s", "200K", sparse]);
    await cluster.ok("put", sparse, "/hole");
    const whole = await cluster.run(["corrupt", "/hole"]);
    expect([whole.code, whole.stderr]).toEqual([
      1,
      "dfs corrupt: cannot corrupt /hole: it is one hole: zeros, stored nowhere\n",
    ]);
    const part = await cluster.run(["corrupt", "/hole", "--block", "1"]);
    expect(part.stderr).toContain("its block 1 is a hole");
  });

  test("a server that is down: that copy is not damaged, the others are", async () => {
    const [{ servers } = { servers: [] }] = await cluster.rows<Explained>("explain", "/file");
    await cluster.kill(cluster.server(servers[1]!).pid);
    const all = await cluster.run(["corrupt", "/file", "--block", "0", "--all", "--json"]);
    expect(all.code).toBe(3);
    expect(all.text.trimEnd().split("\n")).toHaveLength(2);
    expect(all.stderr).toContain(`on server ${servers[1]}`);
    const one = await cluster.run(["corrupt", "/file", "--block", "0", "--replica", "1"]);
    expect(one.code).toBe(1);
    await cluster.ok("up", "--detach");
  });
});

describe("dfs server stop", () => {
  let cluster: LocalCluster;
  let byHand: Subprocess | undefined;
  beforeAll(async () => {
    cluster = await LocalCluster.up("--data-servers", "2");
    await stored(cluster, "/file", Buffer.from("content"));
  });
  afterAll(async () => {
    await cluster.stop();
    await byHand?.exited;
  });

  interface Seal {
    readonly kind?: string;
    readonly reason?: string;
  }

  test("ends a server in good order: its log is sealed, and it starts again at once", async () => {
    const { pid, dir, address } = cluster.server(1);
    const [row] = await cluster.rows<object>("server", "stop", "1");
    expect(row).toEqual({ server: 1, address, how: "stopped", pid });
    const dump = await cluster.rows<Seal>("log", "dump", dir);
    expect(dump.filter((each) => each.kind === "seal").at(-1)).toMatchObject({ reason: "closed" });
    await until(() => !isAlive(pid), "the process to be gone");
    expect((await cluster.ok("cat", "/file")).text).toBe("content");
    await cluster.ok("up", "--detach");
    expect(cluster.server(1).pid).not.toBe(pid);
  });

  test("--crash ends it without closing anything, and it starts again", async () => {
    const { pid, dir } = cluster.server(2);
    const { text } = await cluster.ok("server", "stop", "2", "--crash");
    expect(text).toContain("data server 2 at");
    expect(text).toContain("has crashed");
    await until(() => !isAlive(pid), "the process to be gone");
    const dump = await cluster.rows<Seal>("log", "dump", dir);
    expect(dump.filter((each) => each.kind === "seal")).toEqual([]);
    await cluster.untilState("down", 2);
    const again = await cluster.run(["server", "stop", "2"]);
    expect([again.code, again.stderr]).toEqual([
      1,
      "dfs server stop: cannot stop data server 2: it is down already\n",
    ]);
    await cluster.ok("up", "--detach");
    expect((await cluster.ok("cat", "/file")).text).toBe("content");
  });

  test("refuses what makes no sense, with the right exit code", async () => {
    const cases: readonly (readonly [string, number, string])[] = [
      ["server stop", 2, "something is missing"],
      ["server stop 1 2", 2, 'cannot use "2"'],
      ["server stop data-1", 2, "data-1 is no server's id"],
      ["server stop 0", 2, "0 is no server's id"],
      ["server stop 77", 4, "there is no data server 77"],
    ];
    for (const [line, code, said] of cases) {
      const result = await cluster.run(line.split(" "));
      expect({ line, code: result.code, text: result.text }).toEqual({ line, code, text: "" });
      expect(result.stderr).toContain(said);
    }
  });

  test("a server that was started without --allow-faults neither damages copies nor crashes, but stops", async () => {
    const { dir } = cluster.server(1);
    await cluster.ok("server", "stop", "1");
    byHand = cluster.spawn(["data", "--dir", dir, "--meta", cluster.describe().meta]);
    await byHand.stdout.getReader().read(); // its one line: it is ready
    const crash = await cluster.run(["server", "stop", "1", "--crash"]);
    expect(crash.code).toBe(1);
    expect(crash.stderr).toContain(
      "cannot crash data server 1: this data server does not allow faults",
    );
    expect(crash.stderr).toContain("--allow-faults");
    for (const flag of ["--delete", "--header", "--all"]) {
      const result = await cluster.run([
        "corrupt",
        "/file",
        ...(flag === "--all" ? [flag] : ["--server", "1", flag]),
      ]);
      expect(result.code).toBe(flag === "--all" ? 3 : 1); // server 2 allows it
      expect(result.stderr).toContain("--allow-faults");
    }
    await cluster.ok("server", "stop", "2");
    expect((await cluster.ok("cat", "/file")).text).toBe("content"); // the copy on server 1 was left alone
    await cluster.ok("server", "stop", "1");
    expect(await byHand.exited).toBe(0);
  });
});
