/**
 * How long does `dfs fsck` take, beside just reading the same bytes from the same disk, and what do clients notice of it?
 *
 *     bin/dfs-bun bench/fsck.ts                            1 GiB x 3 in blocks of 1 MiB, 64 MiB x 3 in blocks of 4 KiB; 3 minutes
 *     bin/dfs-bun bench/fsck.ts --mib 256 --small-mib 32   less
 *     bin/dfs-bun bench/fsck.ts --runs 5                   each level and each plain read so often; 3 unless told otherwise
 *     bin/dfs-bun bench/fsck.ts --dir D --json             on that disk; one object for each block size, nothing else
 *
 * A metadata server and four data servers, each a process of its own, on one machine and one disk. `fsck` is the command itself,
 * `bin/dfs fsck --dry-run`; its start, which is told as well, is not counted. In each round, one after the other:
 *
 *     meta, presence    the levels that read no copies
 *     full              all copies are read on their servers; what is read is in the system's memory
 *     full, cold        likewise, after the segment files have been dropped from the system's memory (posix_fadvise by
 *                       `dd iflag=nocache`), which also leaves whatever cache the disk itself has: a virtual disk's may be large
 *     plain, warm       `cat` of the four directories' segment files to /dev/null, one process for each directory
 *     plain, cold       likewise, after they have been dropped
 *     reads             of a client that reads blocks by chance, one after the other, from a process of its own: p50 and p99 in
 *                       milliseconds before, and while a full fsck runs, and the same with a pause of 10 ms after each
 *                       read, because a client that reads without a pause and fsck share two processors
 *
 * The rate is bytes of copies by the time that the check itself took; the ratio is that time to the time of the plain read.
 */
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import type { OpenFile } from "../src/client/api.ts";
import { connectClient } from "../src/client/client.ts";
import { bytesOf, KiB, MiB, OWNER, patterned } from "../tests/support/cluster.ts";
import { spawnCluster, type ProcessCluster } from "../tests/support/processes.ts";
import { percentile, row, sizeName, spread, valueOf } from "./log-support.ts";
import { readUntilTold, startReading } from "./reading-process.ts";

const SERVERS = 4;
/** Of 4 KiB blocks that is one page of a file's map, so that reads by chance are reads and not questions to the service. */
const FILE_BYTES = 8 * MiB;
const DFS = join(import.meta.dir, "../bin/dfs");

/** So long are reads watched before the check. */
const QUIET_MS = 3_000;

const PAUSE_MS = 10;

/** What is timed in each round. */
const TIMED = ["meta", "presence", "full", "full, cold", "plain, warm", "plain, cold"] as const;
type Timed = (typeof TIMED)[number];

/** Latencies of reads, in milliseconds. */
interface Latency {
  readonly p50: number;
  readonly p99: number;
  readonly longest: number;
}

interface Watched {
  readonly before: Latency;
  readonly during: Latency;
}

interface Result {
  readonly blockSize: number;
  readonly load: number;
  readonly copies: number;
  readonly copyBytes: number;
  readonly segmentBytes: number;
  /** In milliseconds, one for each round. */
  readonly times: Readonly<Record<Timed, readonly number[]>>;
  /** Likewise, with the start of the command. */
  readonly whole: Readonly<Record<Timed, readonly number[]>>;
  readonly reads: Watched;
  readonly readsWithPauses: Watched;
}

const asJson = process.argv.includes("--json");
const WIDTHS = [12, 16, 16, 18, 22, 16];

if (process.argv[2] === "--reader") {
  await readByChance(process.argv[3]!, Number(process.argv[4]), Number(process.argv[5]));
} else {
  if (!asJson) {
    const model = cpus()[0]?.model ?? "unknown";
    console.log(`${cpus().length} x ${model}, Bun ${Bun.version}`);
  }
  await measure(MiB, Number(valueOf("--mib") ?? 1024) * MiB);
  await measure(4 * KiB, Number(valueOf("--small-mib") ?? 64) * MiB);
}

async function measure(blockSize: number, totalBytes: number): Promise<void> {
  const dir = mkdtempSync(join(valueOf("--dir") ?? tmpdir(), "dfs-bench-fsck-"));
  const cluster = await spawnCluster({ servers: SERVERS, dir, settings: { blockSize } });
  try {
    const files = await fill(cluster, totalBytes);
    const result = await rounds(cluster, blockSize, files);
    if (asJson) console.log(JSON.stringify(result));
    else print(result);
  } finally {
    await cluster.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

async function rounds(cluster: ProcessCluster, blockSize: number, files: number): Promise<Result> {
  const load = loadavg()[0]!;
  const times = emptyLists();
  const whole = emptyLists();
  let summary = await fsck(cluster, "full"); // not timed: everything is in the system's memory afterwards
  for (let round = 0; round < Number(valueOf("--runs") ?? 3); round++) {
    const take = async (name: Timed, work: () => Promise<Summary | undefined>): Promise<void> => {
      const beganMs = performance.now();
      const told = await work();
      const tookMs = performance.now() - beganMs;
      whole[name].push(tookMs);
      times[name].push(told === undefined ? tookMs : told.seconds * 1000);
    };
    await take("meta", () => fsck(cluster, "meta"));
    await take("presence", () => fsck(cluster, "presence"));
    await take("full", async () => (summary = await fsck(cluster, "full")));
    await take("plain, warm", () => cat(cluster));
    await drop(cluster);
    await take("plain, cold", () => cat(cluster));
    await drop(cluster);
    await take("full, cold", () => fsck(cluster, "full"));
  }
  const reads = await watched(cluster, files, 0);
  const readsWithPauses = await watched(cluster, files, PAUSE_MS);
  const { copies, bytes: copyBytes } = summary;
  const segmentBytes = segments(cluster).reduce((sum, path) => sum + statSync(path).size, 0);
  return { blockSize, load, copies, copyBytes, segmentBytes, times, whole, reads, readsWithPauses };
}

function emptyLists(): Record<Timed, number[]> {
  return Object.fromEntries(TIMED.map((name) => [name, []])) as unknown as Record<Timed, number[]>;
}

function print(result: Result): void {
  const { blockSize, load, copies, copyBytes, segmentBytes, times, whole } = result;
  console.log(
    `\nblocks of ${sizeName(blockSize)}: ${copies} copies, ${(copyBytes / MiB).toFixed(0)} MiB in ` +
      `${(segmentBytes / MiB).toFixed(0)} MiB of segments; load ${load.toFixed(1)}`,
  );
  row(WIDTHS, ["", "seconds", "whole command", "MiB/s", "copies/s", "to plain"]);
  for (const name of TIMED) {
    const took = times[name].map((ms) => ms / 1000);
    const plain =
      name === "full" ? "plain, warm" : name === "full, cold" ? "plain, cold" : undefined;
    const isOfRecord = name === "meta" || name === "presence";
    row(WIDTHS, [
      name,
      spread(took, 2),
      name.startsWith("plain")
        ? ""
        : spread(
            whole[name].map((ms) => ms / 1000),
            2,
          ),
      isOfRecord
        ? ""
        : spread(
            took.map((s) => copyBytes / MiB / s),
            0,
          ),
      name === "meta"
        ? ""
        : spread(
            took.map((s) => copies / s),
            0,
          ),
      plain === undefined
        ? ""
        : spread(
            times[name].map((ms, at) => ms / times[plain][at]!),
            1,
          ),
    ]);
  }
  for (const [name, { before, during }] of [
    ["reads", result.reads],
    ["reads, with pauses", result.readsWithPauses],
  ] as const) {
    const words = ({ p50, p99, longest }: Latency): string =>
      `p50 ${p50.toFixed(2)}, p99 ${p99.toFixed(1)}, longest ${longest.toFixed(0)} ms`;
    console.log(`${name}: before ${words(before)}; during ${words(during)}`);
  }
}

interface Summary {
  readonly copies: number;
  readonly bytes: number;
  /** From the first question to the service to the end. */
  readonly seconds: number;
}

/** Runs the command. @throws Error when it finds anything. */
async function fsck(cluster: ProcessCluster, level: string): Promise<Summary> {
  const words = [
    DFS,
    "fsck",
    "--dry-run",
    "--quiet",
    "--json",
    "--level",
    level,
    "--meta",
    cluster.meta.address,
  ];
  const child = Bun.spawn(words, { stdio: ["ignore", "pipe", "inherit"] });
  const lines = (await new Response(child.stdout).text()).trim().split("\n");
  if ((await child.exited) !== 0) throw new Error(`fsck found errors: ${lines.join("\n")}`);
  return (JSON.parse(lines.at(-1)!) as { summary: Summary }).summary;
}

function segments(cluster: ProcessCluster): string[] {
  const folders = Array.from({ length: SERVERS }, (_, index) => cluster.serverDir(index));
  return folders.flatMap((folder) =>
    (readdirSync(folder, { recursive: true }) as string[])
      .filter((name) => name.endsWith(".seg"))
      .map((name) => join(folder, name)),
  );
}

/** Reads all segment files, those of each server by a process of its own. */
async function cat(cluster: ProcessCluster): Promise<undefined> {
  const all = segments(cluster);
  const children = Array.from({ length: SERVERS }, (_, index) => {
    const own = all.filter((path) => path.startsWith(`${cluster.serverDir(index)}/`));
    return Bun.spawn(["cat", ...own], { stdio: ["ignore", "ignore", "inherit"] });
  });
  const codes = await Promise.all(children.map((child) => child.exited));
  if (codes.some((code) => code !== 0)) throw new Error("cat failed");
  return undefined;
}

/** Drops the segment files from the system's memory; what is not on disk yet is written first. */
async function drop(cluster: ProcessCluster): Promise<void> {
  for (const path of segments(cluster)) {
    for (const words of [
      ["sync", "-d", path],
      ["dd", `if=${path}`, "iflag=nocache", "count=0", "status=none"],
    ]) {
      const { exitCode } = Bun.spawnSync(words, { stdio: ["ignore", "ignore", "inherit"] });
      if (exitCode !== 0) throw new Error(`${words.join(" ")} failed`);
    }
  }
}

/** What a client's reads take before and while a full check runs. */
async function watched(cluster: ProcessCluster, files: number, pauseMs: number): Promise<Watched> {
  const words = ["--reader", cluster.meta.address, String(files), String(pauseMs)];
  const reader = await startReading(import.meta.path, words);
  await Bun.sleep(QUIET_MS / 3); // it warms up
  const beganMs = Date.now();
  await Bun.sleep(QUIET_MS);
  const checkedMs = Date.now();
  while (Date.now() - checkedMs < QUIET_MS) await fsck(cluster, "full");
  const endedMs = Date.now();
  const samples = await reader.end();
  const between = (from: number, to: number): Latency => {
    const took = samples.filter(([at]) => at >= from && at < to).map(([, ms]) => ms);
    if (took.length === 0) throw new Error("there was no read at all");
    return { p50: percentile(took, 0.5), p99: percentile(took, 0.99), longest: Math.max(...took) };
  };
  return { before: between(beganMs, checkedMs), during: between(checkedMs, endedMs) };
}

/** The reader's process: reads blocks by chance. */
async function readByChance(meta: string, files: number, pauseMs: number): Promise<void> {
  const client = await connectClient({ metaAddress: meta, label: "bench" });
  const open: OpenFile[] = [];
  for (let file = 0; file < files; file++) open.push(await client.open(pathOf(file)));
  await readUntilTold(async (samples, over) => {
    while (!over.aborted) {
      const file = open[Math.floor(Math.random() * files)]!;
      const block = Math.floor((Math.random() * file.attributes.size) / client.blockSize);
      const [atMs, beganMs] = [Date.now(), performance.now()];
      await file.read(block * client.blockSize, client.blockSize);
      samples.push([atMs, performance.now() - beganMs]);
      if (pauseMs > 0) await Bun.sleep(pauseMs);
    }
    await client.close();
  });
}

/** Puts the files; returns how many there are. */
async function fill(cluster: ProcessCluster, totalBytes: number): Promise<number> {
  const client = await cluster.client();
  const files = Math.ceil(totalBytes / FILE_BYTES);
  for (let file = 0; file < files; file++) {
    const length = Math.min(FILE_BYTES, totalBytes - file * FILE_BYTES);
    const options = { ...OWNER, keepReplaced: false };
    await client.put(pathOf(file), [patterned(length, file + 1)], options);
  }
  return files;
}

function pathOf(file: number): Uint8Array {
  return bytesOf(`/file-${file}`);
}
