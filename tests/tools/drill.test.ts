// dfs drill with real processes: everything as expected, something that is not, interrupted, and on a live cluster.

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { DfsClient } from "../../src/client/api.ts";
import { connectClient } from "../../src/client/client.ts";
import { FAULTS } from "../../src/tools/drilling/faults.ts";
import { blockKey, judge, type Reading } from "../../src/tools/drilling/reading.ts";
import { bytesOf, OWNER } from "../support/cluster.ts";
import { finish, isAlive, LocalCluster, until } from "../support/local-cluster.ts";

setDefaultTimeout(300_000); // many servers are started; a busy machine is slow

const SEED = "4711";

const places: LocalCluster[] = [];
const clients: DfsClient[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) await client.close();
  for (const place of places.splice(0)) await place.stop();
});

interface Row {
  readonly fault: string;
  readonly asExpected: boolean;
  readonly observed: string;
  readonly problems: string[];
  readonly healedSeconds: number | null;
}

interface Summary {
  readonly seed: number;
  readonly faults: number;
  readonly asExpected: boolean;
  readonly files: number;
  readonly bytes: number;
}

/** A folder whose temporary directory is a drill's alone. */
function folder(): { readonly place: LocalCluster; readonly env: { TMPDIR: string } } {
  const place = new LocalCluster();
  places.push(place);
  return { place, env: { TMPDIR: temporary(place) } };
}

function temporary(place: LocalCluster): string {
  const path = place.path("tmp");
  mkdirSync(path, { recursive: true });
  return path;
}

async function liveCluster(): Promise<LocalCluster> {
  const cluster = await LocalCluster.up("--block-size", "4K");
  places.push(cluster);
  return cluster;
}

async function clientOf(cluster: LocalCluster): Promise<DfsClient> {
  const client = await connectClient({ metaAddress: cluster.describe().meta, label: "a test" });
  clients.push(client);
  return client;
}

function parsed(text: string): { readonly rows: Row[]; readonly summary: Summary } {
  const lines = text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Row & { summary: Summary });
  return { rows: lines.slice(0, -1), summary: lines.at(-1)!.summary };
}

/** Processes whose command line names something in `path`. */
function processesIn(path: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && isAlive(Number(name)))
    .filter((pid) => commandLine(pid).includes(path))
    .map(Number);
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return ""; // it has ended
  }
}

describe("dfs drill", () => {
  test("plays every fault, all as expected, and leaves nothing behind", async () => {
    const { place, env } = folder();
    const result = await place.run(
      ["drill", "--seed", SEED, "--size", "64K", "--progress", "none"],
      { env },
    );
    expect(result.stderr).toBe("");
    const lines = result.text.trimEnd().split("\n");
    expect(lines[0]).toBe(
      `seed ${SEED}; the same once more: dfs drill --size 65536 --seed ${SEED}`,
    );
    expect(lines[1]).toMatch(/^FAULT +EXPECTED +OBSERVED +THREE COPIES$/);
    const played = lines.slice(2, 2 + FAULTS.length).map((line) => line.split(" ")[0]!);
    expect(played.toSorted()).toEqual(FAULTS.map(({ name }) => name).toSorted());
    for (const line of lines.slice(2, 2 + FAULTS.length)) expect(line).toMatch(/ \d+\.\d s$/);
    expect(lines.at(-1)).toMatch(
      new RegExp(`^all as expected: ${FAULTS.length} faults on .* seed ${SEED}$`),
    );
    expect(result.code).toBe(0);
    expect(readdirSync(env.TMPDIR)).toEqual([]);
    expect(processesIn(env.TMPDIR)).toEqual([]);
  });

  test("prints one object a line with --json", async () => {
    const { place, env } = folder();
    const few = ["--faults", "crash-3", "--servers", "3", "--size", "64K"];
    const args = ["drill", "--json", "--seed", SEED, ...few];
    const { code, text, stderr } = await place.run(args, { env });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const { rows, summary } = parsed(text);
    expect(rows.map(({ fault, asExpected }) => ({ fault, asExpected }))).toEqual([
      { fault: "crash-3", asExpected: true },
      { fault: "in the end", asExpected: true },
    ]);
    // All three servers are away: only the empty file can be read.
    expect(rows[0]!.observed).toMatch(/1 read right, \d+ refused with EIO, a write refused$/);
    expect(rows[0]!.healedSeconds).toBeGreaterThan(0);
    expect(summary).toMatchObject({ seed: Number(SEED), faults: 1, asExpected: true });
    expect(summary.bytes).toBeGreaterThanOrEqual(64 * 1024);
  });

  test("interrupted in the middle leaves no process and no directory", async () => {
    const { place, env } = folder();
    const child = place.spawn(["drill", "--size", "64K", "--faults", "crash-3,disk,meta-kill"], {
      env,
    });
    const clusterFile = (): string | undefined =>
      readdirSync(env.TMPDIR)
        .map((name) => join(env.TMPDIR, name, "cluster.json"))
        .find((path) => existsSync(path));
    const killed = (): boolean => {
      const path = clusterFile();
      if (path === undefined) return false;
      const { servers } = JSON.parse(readFileSync(path, "utf8")) as {
        servers: { pid: number | null }[];
      };
      return servers.some(({ pid }) => pid !== null && !isAlive(pid));
    };
    await until(killed, "the drill to kill a server", 120_000);
    child.kill("SIGINT");
    const { code, text } = await finish(child);
    expect(code).toBe(130);
    expect(text).not.toContain("as expected");
    expect(readdirSync(env.TMPDIR)).toEqual([]);
    expect(processesIn(env.TMPDIR)).toEqual([]);
  });

  test("interrupted twice, so that it cannot clean up in peace, leaves nothing either", async () => {
    const { place, env } = folder();
    const child = place.spawn(["drill", "--faults", "gone"], { env });
    const servers = (): number[] => processesIn(env.TMPDIR).filter((pid) => pid !== child.pid);
    const isReady = (): boolean =>
      readdirSync(env.TMPDIR).some((name) =>
        existsSync(join(env.TMPDIR, name, "data-4", "identity.json")),
      );
    await until(isReady, "the drill to start its servers", 120_000);
    child.kill("SIGINT");
    child.kill("SIGINT");
    expect((await finish(child)).code).toBe(130);
    await until(() => servers().length === 0, "the servers to be gone");
    expect(readdirSync(env.TMPDIR)).toEqual([]);
  });

  test("killed leaves no process, and the next drill removes its directory", async () => {
    const { place, env } = folder();
    const kept = mkdtempSync(join(env.TMPDIR, "dfs-drill-")); // somebody else's, as it has no mark
    const child = place.spawn(["drill", "--faults", "gone"], { env });
    const isReady = (): boolean =>
      readdirSync(env.TMPDIR).some((name) =>
        existsSync(join(env.TMPDIR, name, "data-4", "identity.json")),
      );
    await until(isReady, "the drill to start its servers", 120_000);
    const [left] = readdirSync(env.TMPDIR).filter((name) => name !== basename(kept));
    child.kill("SIGKILL");
    await finish(child);
    await until(() => processesIn(env.TMPDIR).length === 0, "the servers to end", 60_000);
    expect(readdirSync(env.TMPDIR)).toContain(left!);
    const next = await place.run(["drill", "--faults", "rot-1", "--size", "64K"], { env });
    expect({ code: next.code, stderr: next.stderr }).toEqual({ code: 0, stderr: "" });
    expect(readdirSync(env.TMPDIR)).toEqual([basename(kept)]);
  });

  test("interrupted at its start leaves no process and no directory", async () => {
    const { place, env } = folder();
    const child = place.spawn(["drill"], { env });
    await until(() => processesIn(env.TMPDIR).length > 0, "the drill to start a server", 120_000);
    child.kill("SIGTERM");
    expect((await finish(child)).code).toBe(143);
    expect(readdirSync(env.TMPDIR)).toEqual([]);
    expect(processesIn(env.TMPDIR)).toEqual([]);
  });

  test("refuses what cannot be played, saying what can", async () => {
    const { place } = folder();
    const unknown = await place.run(["drill", "--faults", "flood"]);
    expect(unknown.code).toBe(2);
    expect(unknown.stderr).toContain("there are: crash-1, crash-2");
    const few = await place.run(["drill", "--faults", "gone", "--servers", "3"]);
    expect(few.code).toBe(2);
    expect(few.stderr).toContain("it needs 4 data servers");
    const live = await place.run(["drill", "--meta", "127.0.0.1:1"]);
    expect(live.code).toBe(2);
    expect(live.stderr).toContain("--scratch DIR");
    const kills = await place.run(["drill", "--scratch", "/x", "--faults", "crash-1"]);
    expect(kills.code).toBe(2);
    expect(kills.stderr).toContain("leave --scratch out");
  });
});

describe("dfs drill --scratch", () => {
  test("plays faults of copies on a live cluster, touches nothing else, and finds wrong bytes", async () => {
    const cluster = await liveCluster();
    const client = await clientOf(cluster);
    await touchesNothingElse(cluster, client);
    await findsWrongBytes(cluster, client);
  });

  async function touchesNothingElse(cluster: LocalCluster, client: DfsClient): Promise<void> {
    const content = new Uint8Array(50_000).fill(7);
    await client.put(bytesOf("/mine"), [content], { ...OWNER, keepReplaced: true });
    await client.mkdir(bytesOf("/dir"), { ...OWNER, mode: 0o755 });
    await client.put(bytesOf("/dir/mine"), [content], { ...OWNER, keepReplaced: true });
    const state = async (): Promise<string> => {
      const { stdout } = await cluster.ok("ls", "-R", "-l", "--json", "/");
      const explained = await Promise.all(
        ["/mine", "/dir/mine"].map((path) => cluster.rows("explain", "--votes", path)),
      );
      return JSON.stringify([stdout.toString(), explained]);
    };
    const before = await state();
    const pids = cluster.describe();
    const names = ["rot-1", "lose-2", "rot-3"];
    const args = ["--scratch", "/dir", "--size", "64K", "--faults", names.join(","), "--json"];
    const { text } = await cluster.ok("drill", ...args);
    const { rows, summary } = parsed(text);
    expect(rows.map(({ fault }) => fault)).toEqual([...names, "in the end"]);
    expect(summary.asExpected).toBe(true);
    expect(cluster.describe()).toEqual(pids);
    expect(timeless(await state())).toBe(timeless(before));
  }

  /** It exits with 1 then, and says where. */
  async function findsWrongBytes(cluster: LocalCluster, client: DfsClient): Promise<void> {
    const faults = "rot-1,lose-1,rot-2,lose-2,rot-1,lose-1";
    const args = ["--scratch", "/new", "--size", "64K", "--faults", faults, "--json"];
    const child = cluster.spawn(["drill", ...args]);
    const done = finish(child);
    const victim = await fileIn(client, "/new", "file-4");
    // As long as the right one, so that only its bytes tell.
    const { size } = await client.stat(victim);
    await client.put(victim, [new Uint8Array(size).fill(1)], { ...OWNER, keepReplaced: true });
    const { code, text } = await done;
    const { rows, summary } = parsed(text);
    expect(code).toBe(1);
    expect(summary.asExpected).toBe(false);
    const problems = rows.flatMap((row) => row.problems).join("\n");
    expect(problems).toMatch(/WRONG BYTES: \/new\/drill-\w+\/file-4 at offset 0: /);
    expect(rows.at(-2)!.problems).toEqual([]); // it was stored again, and the drill went on
    expect((await cluster.run(["ls", "/new"])).code).toBe(4); // which was made for the drill
  }

  test("says what to do when servers do not allow faults, and removes its files", async () => {
    const cluster = new LocalCluster();
    places.push(cluster);
    const meta = await serve(cluster, "meta", "--dir", cluster.path("meta"));
    await Promise.all(
      [1, 2, 3].map((number) =>
        serve(cluster, "data", "--new", "--dir", cluster.path(`data-${number}`), "--meta", meta),
      ),
    );
    const args = ["drill", "--meta", meta, "--scratch", "/x", "--faults", "rot-1"];
    const { code, text } = await cluster.run([...args, "--size", "1"]);
    expect(code).toBe(1);
    expect(text).toMatch(/rot-1 .*NOT AS EXPECTED/);
    expect(text).toContain("start the data servers with --allow-faults");
    expect((await cluster.run(["ls", "--meta", meta, "/x"])).code).toBe(4);
  });
});

describe("judging", () => {
  const reading = (offset: number, outcome: Reading["outcome"]): Reading => ({
    name: "file-1",
    path: "/drill/file-1",
    offset,
    length: 8,
    outcome,
    detail: "a reason",
  });
  const lost = new Set([blockKey({ name: "file-1" }, 8)]);

  test("right bytes where they can be read, and EIO where they cannot, are as expected", () => {
    const verdict = judge([reading(0, "right"), reading(8, "refused")], lost);
    expect(verdict).toEqual({ right: 1, refused: 1, problems: [] });
  });

  test.each([
    ["wrong bytes", reading(0, "wrong"), /^WRONG BYTES: \/drill\/file-1 at offset 0: a reason/],
    ["wrong bytes of a lost block", reading(8, "wrong"), /^WRONG BYTES/],
    ["EIO of a block that has copies", reading(0, "refused"), /instead of the bytes that were/],
    ["another error of it", reading(0, "failed"), /instead of the bytes that were/],
    ["an error that names nothing", reading(8, "failed"), /instead of an error that names file/],
    ["bytes of a lost block", reading(8, "right"), /although every copy should be out of reach/],
  ])("%s is not", (_, one, expected) => {
    const { problems, right, refused } = judge([one], lost);
    expect({ right, refused }).toEqual({ right: 0, refused: 0 });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(expected);
  });
});

/** Listings without what the drill's directory changes of the one that it is in, and back: times and versions. */
function timeless(state: string): string {
  return state.replaceAll(/\\"(?:[acm]time(?:Ns)?|version)\\":\\"[^\\]*\\"/g, "");
}

/** The path of a drill's file, once it has its content. */
async function fileIn(client: DfsClient, parent: string, name: string): Promise<Uint8Array> {
  let path: Uint8Array | undefined;
  const find = async (): Promise<boolean> => {
    for await (const drill of client.readdir(bytesOf(parent))) {
      const found = bytesOf(`${parent}/${Buffer.from(drill.name).toString()}/${name}`);
      if ((await client.stat(found)).size > 0) path = found;
    }
    return path !== undefined;
  };
  await until(() => find().catch(() => false), `${name} to be stored`, 120_000);
  return path!;
}

/** Starts a server by hand; returns its address. The folder's end kills it. */
async function serve(cluster: LocalCluster, ...args: string[]): Promise<string> {
  const child = cluster.spawn([...args, "--json"]);
  servers.push(child);
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  reader.releaseLock();
  return (JSON.parse(Buffer.from(value!).toString()) as { address: string }).address;
}

const servers: ReturnType<LocalCluster["spawn"]>[] = [];
afterEach(async () => {
  for (const child of servers.splice(0)) {
    child.kill("SIGKILL");
    await child.exited;
  }
});
