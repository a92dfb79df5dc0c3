// log dump on real directories: of golden segments, of logs that were closed, killed and damaged, of servers that run and
// that have been stopped. What it says of damage must be what an opening of the same bytes says.

import { afterEach, describe, expect, test } from "bun:test";
import { cpSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { hash64 } from "../../src/base/checksum.ts";
import { blockId } from "../../src/base/ids.ts";
import { seededRandom } from "../../src/base/random.ts";
import { SEAL_BYTES } from "../../src/log/record.ts";
import {
  cleanUp,
  close,
  copyOf,
  editFile,
  flipBit,
  forgetCheckpoint,
  makeBlock,
  openTestLog,
  segmentCount,
  segmentFile,
  temporaryFolder,
} from "../log/support.ts";
import { LocalCluster } from "../support/local-cluster.ts";
import { snapshot } from "./support/files.ts";
import { dfs, type RunResult } from "./support/run.ts";

afterEach(cleanUp);

const GOLDEN = join(import.meta.dir, "../golden/log/version-1");
const PATIENCE_MS = 60_000;

interface Row {
  readonly row: string;
  readonly segment: number;
  readonly file: string;
  readonly kind: string;
  readonly position: number;
  readonly from: number;
  readonly to: number;
  readonly block: string | null;
  readonly state: string;
  readonly decision: string;
  readonly [key: string]: unknown;
}

const dump = (...args: string[]): Promise<RunResult> =>
  dfs(["log", "dump", ...args], { home: temporaryFolder() });

/** Runs it with --json, checks the exit code against what it says, and returns the rows. */
async function rowsOf(directory: string, ...flags: string[]): Promise<Row[]> {
  const { code, stdout, stderr } = await dump("--json", ...flags, directory);
  expect(stderr).toBe("");
  const rows = stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Row);
  const damages = only(rows, "damage").length;
  expect({ code, total: rows.at(-1)!["damages"] }).toEqual({
    code: damages > 0 ? 1 : 0,
    total: damages,
  });
  return rows;
}

function only(rows: readonly Row[], type: string): Row[] {
  return rows.filter(({ row }) => row === type);
}

/** A log of three segments or more, as a server leaves it that is stopped. */
async function closedLog(): Promise<string> {
  const opened = await openTestLog(temporaryFolder(), { segmentBytes: 256 * 1024 });
  for (let id = 1; id <= 60; id++) await opened.log.put(makeBlock(id, 10_000));
  await opened.log.delete([blockId(3n), blockId(59n)]);
  await close(opened);
  expect(segmentCount(opened.directory)).toBeGreaterThanOrEqual(3);
  return opened.directory;
}

describe("a log without damage", () => {
  test("is printed record by record, for people and for programs, and not touched", async () => {
    const directory = copyOf(GOLDEN);
    const before = snapshot(directory, { modes: true, times: true });
    const people = await dump(directory);
    expect(people).toMatchObject({ code: 0, stderr: "" });
    expect(people.stdout).toContain("log of data server 3 in ");
    expect(people.stdout).toMatch(
      /^segment 1: 0{11}1-\w+\.seg, 352 bytes, suspect after a failed sync, counts up to 352$/m,
    );
    expect(people.stdout).toMatch(/^ +64 +144 +1 +put +1 +13 +1001 +4,096 +165bf5e70da85d97$/m);
    expect(people.stdout).toMatch(/^ +66,008 +136 +7 +tombstone +deletes 1, 3$/m);
    expect(people.stdout).toMatch(/^ +66,280 +120 +9 +seal +this segment ends: closed$/m);
    expect(people.stdout).toContain("2 segments, 5 puts, 1 tombstone, 2 seals: no damage found");

    const rows = await rowsOf(directory, "--verify");
    expect(rows[0]).toMatchObject({ row: "log", server: 3, segments: 2, bytes: 66_752 });
    expect(only(rows, "segment").map(({ decision }) => decision)).toEqual(["G", "H"]);
    expect(only(rows, "record").map(({ segment, kind }) => `${segment} ${kind}`)).toEqual([
      "1 put",
      "1 put",
      "2 seal",
      "2 put",
      "2 put",
      "2 tombstone",
      "2 put",
      "2 seal",
    ]);
    expect(only(rows, "record")[0]).toEqual({
      row: "record",
      segment: 1,
      position: 64,
      bytes: 144,
      lsn: "1",
      synced: 64,
      kind: "put",
      state: "kept",
      block: "1",
      length: 13,
      inode: "1001",
      fileOffset: 4096,
      checksum: "165bf5e70da85d97",
    } as unknown as Row);
    expect(snapshot(directory, { modes: true, times: true })).toEqual(before);
  });

  test("is printed without its records by --brief", async () => {
    const rows = await rowsOf(GOLDEN, "--brief");
    expect(rows.map(({ row }) => row)).toEqual([
      "log",
      "manifest",
      "checkpoint",
      "segment",
      "segment",
      "total",
    ]);
    expect(rows.at(-1)).toMatchObject({ puts: 5, tombstones: 1, seals: 2, verified: false });
  });
});

describe("damage", () => {
  test("in a block of a sealed segment is found by --verify, with file, offsets and block", async () => {
    const directory = await closedLog();
    const { path } = segmentFile(directory, 0);
    const put = only(await rowsOf(directory), "record").find(({ block }) => block === "2")!;
    flipBit(path, put.position + 500);
    expect(only(await rowsOf(directory), "damage")).toEqual([]);
    expect((await dump(directory)).stdout).toContain("--verify reads them all");
    const [damage, ...others] = only(await rowsOf(directory, "--verify"), "damage");
    expect(others).toEqual([]);
    expect(damage).toMatchObject({
      segment: 1,
      file: basename(path),
      kind: "recordBody",
      from: put.position,
      to: put.position + Number(put["bytes"]),
      block: "2",
    });
    const people = await dump("--verify", directory);
    expect(people.code).toBe(1);
    expect(people.stdout).toContain(`damage: ${basename(path)}: `);
    expect(people.stdout).toContain(`bytes ${damage!.from} to ${damage!.to} (block 2)`);
  });

  test("of manifest and checkpoint, and a segment that is not there, are told", async () => {
    const directory = await closedLog();
    const manifest = join(directory, "manifest");
    const checkpoint = join(directory, "checkpoint");
    const [damagedManifest, damagedCheckpoint, lost] = [
      copyOf(directory),
      copyOf(directory),
      copyOf(directory),
    ];
    flipBit(join(damagedManifest, basename(manifest)), 60);
    flipBit(join(damagedCheckpoint, basename(checkpoint)), 200);
    const { path } = segmentFile(lost);
    rmSync(path);
    const of = async (dir: string) => only(await rowsOf(dir), "damage");
    expect(await of(directory)).toEqual([]);
    expect(await of(damagedManifest)).toMatchObject([{ segment: null, file: "manifest" }]);
    expect(await of(damagedCheckpoint)).toMatchObject([{ segment: null, file: "checkpoint" }]);
    expect(await of(lost)).toMatchObject([{ kind: "lostSegment", file: basename(path) }]);
    const people = await dump(lost);
    expect(people.code).toBe(1);
    expect(people.stdout).toContain("checkpoint: ");
    expect(people.stdout).toContain(`damage: ${basename(path)}: the segment is not there`);
  });

  test(
    "anywhere is told as an opening of the same bytes tells it",
    async () => {
      const seed = Number(
        process.env["DFS_TEST_SEED"] ?? crypto.getRandomValues(new Uint32Array(1))[0],
      );
      console.log(`seed ${seed}`);
      const random = seededRandom(seed);
      const whole = await closedLog();
      forgetCheckpoint(whole);
      let found = 0;
      for (let round = 0; round < 12; round++) {
        const directory = copyOf(whole);
        const records = only(await rowsOf(directory), "record");
        const { segment, position } = records[random.below(records.length)]!;
        const { path } = segmentFile(directory, segment - 1);
        // In a record's header, anywhere (also where only --verify looks), in the segment's header.
        const places = [
          position + random.below(120),
          random.below(statSync(path).size),
          random.below(64),
        ];
        flipBit(path, places[round % places.length]!, random.below(8));
        const rows = await expectAsOpening(directory);
        found += only(rows, "damage").length + only(rows, "torn").length;
      }
      expect(found).toBeGreaterThanOrEqual(8); // one at least for each flip in a header
    },
    PATIENCE_MS,
  );

  test.each([
    [
      "a cut-off seal",
      "I",
      "unsealed",
      (path: string) => truncateSync(path, statSync(path).size - SEAL_BYTES),
    ],
    [
      "bytes behind the seal",
      "H",
      "surplus",
      (path: string) => editFile(path, (bytes) => Buffer.concat([bytes, bytes])),
    ],
    [
      "a cut-off record",
      "I",
      "truncated",
      (path: string) => truncateSync(path, statSync(path).size - SEAL_BYTES - 8),
    ],
  ] as const)("of a sealed segment: %s", async (_name, decision, kind, harm) => {
    const directory = await closedLog();
    harm(segmentFile(directory, 0).path);
    const rows = await expectAsOpening(directory);
    expect(only(rows, "segment")[0]).toMatchObject({ decision });
    expect(only(rows, "damage").map((row) => row.kind)).toContain(kind);
  });

  test("a suspect segment that has lost its end is damaged", async () => {
    const directory = copyOf(GOLDEN);
    truncateSync(segmentFile(directory, 0).path, 208);
    const [damage] = only(await rowsOf(directory), "damage");
    expect(damage).toMatchObject({ segment: 1, kind: "truncated", from: 208, to: 352 });
  });

  test("segments of a newer build and of another server are named, the rest is printed", async () => {
    const directory = copyOf(GOLDEN);
    const { path } = segmentFile(directory, 0);
    setHeaderField(path, 8, 2);
    const [newer] = only(await rowsOf(directory), "damage");
    expect(newer).toMatchObject({ segment: 1, kind: "newer", from: 0, to: 352 });
    setHeaderField(path, 8, 1);
    setHeaderField(path, 12, 4);
    const server = temporaryFolder();
    cpSync(directory, join(server, "log"), { recursive: true });
    const identity = { cluster: "00112233445566778899aabbccddeeff", server: 3 };
    writeFileSync(join(server, "identity.json"), JSON.stringify(identity));
    const rows = await rowsOf(server);
    expect(only(rows, "damage")).toMatchObject([{ segment: 1, kind: "foreign" }]);
    expect(only(rows, "record")).toHaveLength(6);
  });
});

describe("a torn tail", () => {
  test("is told, is no damage, and is what the next opening cuts off", async () => {
    const opened = await openTestLog(temporaryFolder());
    for (let id = 1; id <= 5; id++) await opened.log.put(makeBlock(id, 3000));
    for (const harm of [
      (path: string) => truncateSync(path, statSync(path).size - 1000),
      (path: string) => editFile(path, (bytes) => Buffer.concat([bytes, new Uint8Array(777)])),
    ]) {
      const directory = copyOf(opened.directory);
      const { path } = segmentFile(directory);
      harm(path);
      const rows = await expectAsOpening(directory, 1);
      expect(only(rows, "damage")).toEqual([]);
      expect(only(rows, "record").every(({ state }) => state === "kept")).toBe(true);
    }
  });

  test("takes the records behind it along", async () => {
    const opened = await openTestLog(temporaryFolder());
    await Promise.all([1, 2, 3, 4].map((id) => opened.log.put(makeBlock(id, 3000))));
    const directory = copyOf(opened.directory);
    const [first] = only(await rowsOf(directory), "record");
    flipBit(segmentFile(directory).path, first!.position + Number(first!["bytes"]) + 300);
    const rows = await expectAsOpening(directory, 1);
    const states = only(rows, "record").map(({ block, state }) => `${block} ${state}`);
    expect(states).toEqual(["1 kept", "3 torn", "4 torn"]);
    expect((await dump(directory)).stdout).toContain("torn tail: ");
  });
});

describe("the log of a server", () => {
  test(
    "is refused while it runs, and printed once it has stopped",
    async () => {
      const cluster = await LocalCluster.up(
        "--data-servers",
        "1",
        "--replicas",
        "1",
        "--write-quorum",
        "1",
      );
      try {
        await cluster.run(["put", "-", "/abc"], { stdin: Buffer.from("abcdefghijklm") });
        const [explained] = await cluster.rows<{ id: string; length: number; checksum: string }>(
          "explain",
          "/abc",
        );
        const { dir, pid } = cluster.server(1);
        for (const each of [dir, join(dir, "log")]) {
          const refused = await cluster.run(["log", "dump", each]);
          expect(refused).toMatchObject({ code: 1, text: "" });
          expect(refused.stderr).toBe(
            `dfs log dump: cannot dump ${dir}: a running server owns it (process ${pid}), and its log changes\n` +
              "stop that server first\n",
          );
        }
        await cluster.ok("down");
        const before = snapshot(dir, { modes: true, times: true });
        const rows = await rowsOf(dir, "--verify");
        expect(rows[0]).toMatchObject({ row: "log", server: 1, directory: join(dir, "log") });
        const puts = only(rows, "record").filter(({ kind }) => kind === "put");
        expect(
          puts.map(({ block, length, checksum }) => ({ id: block, length, checksum })),
        ).toEqual([{ id: explained!.id, length: 13, checksum: explained!.checksum }]);
        expect(only(rows, "record").at(-1)).toMatchObject({ kind: "seal", reason: "closed" });
        expect(snapshot(dir, { modes: true, times: true })).toEqual(before);
      } finally {
        await cluster.stop();
      }
    },
    PATIENCE_MS,
  );
});

describe("what cannot be dumped", () => {
  test("no directory, no log in it, a file: exit 4", async () => {
    const folder = temporaryFolder();
    const missing = await dump(join(folder, "nothing"));
    expect(missing).toMatchObject({ code: 4, stdout: "" });
    expect(missing.stderr).toBe(
      `dfs log dump: cannot dump ${join(folder, "nothing")}: no such directory\n`,
    );
    const empty = await dump(folder);
    expect(empty).toMatchObject({ code: 4, stdout: "" });
    expect(empty.stderr).toContain(
      `cannot dump ${folder}: there is no log in it\nname the directory`,
    );
    writeFileSync(join(folder, "file"), "text");
    expect(await dump(join(folder, "file"))).toMatchObject({ code: 4 });
  });

  test("no DIR, two of them, an unknown option: exit 2", async () => {
    for (const args of [[], [""], ["a", "b"], ["--verfy", "a"]]) {
      const { code, stderr } = await dump(...args);
      expect({ args, code }).toEqual({ args, code: 2 });
      expect(stderr).toStartWith("dfs log dump: ");
    }
  });

  test("segments of which nobody can tell whose they are", async () => {
    const directory = copyOf(GOLDEN);
    for (const place of [0, 1]) flipBit(segmentFile(directory, place).path, 20);
    const { code, stderr } = await dump(directory);
    expect(code).toBe(1);
    expect(stderr).toContain("no segment has a whole header and there is no identity.json");
  });
});

/** Compares damage and torn tail with what an opening of the same bytes reports and cuts off. */
async function expectAsOpening(directory: string, torn?: number): Promise<Row[]> {
  const rows = await rowsOf(directory);
  const copy = copyOf(directory);
  forgetCheckpoint(copy);
  const { corruptions } = await openTestLog(copy);
  const told = only(rows, "damage").map(({ file, from, to, kind, block }) =>
    [file, from, to, kind, block].join(" "),
  );
  const reported = corruptions.map(({ file, from, to, kind, block }) =>
    [file, from, to, kind, block].join(" "),
  );
  expect(told.sort()).toEqual(reported.sort());
  const cut = only(rows, "torn");
  if (torn !== undefined) expect(cut).toHaveLength(torn);
  for (const { file } of only(rows, "segment")) {
    const end = cut.find((row) => row.file === file)?.from ?? statSync(join(directory, file)).size;
    expect({ file, size: statSync(join(copy, file)).size }).toEqual({ file, size: end });
  }
  return rows;
}

/** Changes a 32-bit field of a segment's header, which stays whole. */
function setHeaderField(path: string, at: number, value: number): void {
  editFile(path, (bytes) => {
    bytes.writeUInt32BE(value, at);
    bytes.writeBigUInt64BE(hash64(bytes.subarray(0, 56)), 56);
  });
}
