/**
 * How long do reads take while one of four data servers is dead, or stands still, beside the same reads just before?
 *
 *     bin/dfs-bun bench/degraded-reads.ts                  128 MiB in blocks of 256 KiB, 3 runs, about 2.5 minutes
 *     bin/dfs-bun bench/degraded-reads.ts --runs 5 --seconds 6
 *     bin/dfs-bun bench/degraded-reads.ts --mib 512 --block-kib 1024
 *     bin/dfs-bun bench/degraded-reads.ts --dir /dev/shm   without the disk
 *     bin/dfs-bun bench/degraded-reads.ts --json           one object for each run and each reader, nothing else
 *
 * A metadata server, four data servers and two readers, each a process of its own, on one machine and one disk; what is read is
 * in the system's memory. One reader reads whole blocks by chance, one after the other, out of files that it keeps open; the
 * other reads the files from end to end, with the client's read-ahead. What is timed is one read, or the wait for the
 * next part of the stream. Each run has its own cluster:
 *
 *     healthy    `--seconds` of reads with all servers
 *     killed     SIGKILL for one data server, which is the first choice for a quarter of the blocks: its first second
 *                apart, then `--seconds` more
 *     restarted  the server is started again; healthy once more
 *     frozen     SIGSTOP for the same server: its connections stay open and nothing answers
 *     resumed    SIGCONT; healthy once more
 *
 *     mean ...      of the reads that began in that time, p50 and p99 likewise, milliseconds
 *     to before     the same by that of the healthy time before it in the same run
 *     longest       the longest read that began after the fault, or was under way when it happened: the fail-over
 *     cold          at the end of each of these times five new clients, one after the other: from the start of the client to
 *                   its first block, and its longest read of 24 blocks by chance. They know nothing of the fault
 *
 * The targets: ratios of at most 1.5 after the first second; fail-over within one second.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import type { DfsClient, OpenFile } from "../src/client/api.ts";
import { connectClient } from "../src/client/client.ts";
import { bytesOf, KiB, MiB, OWNER, patterned } from "../tests/support/cluster.ts";
import { spawnCluster, type ProcessCluster } from "../tests/support/processes.ts";
import { median, percentile, row, spread, valueOf } from "./log-support.ts";
import {
  readUntilTold,
  startReading,
  type ReadingProcess,
  type Sample,
} from "./reading-process.ts";

const FILE_BYTES = 8 * MiB;

/** The server that is lost: its index. */
const VICTIM = 1;

/** The readers warm up, and the cluster settles after a server came back, for so long. */
const SETTLE_MS = 2_000;

const COLD_CLIENTS = 5;
const COLD_READS = 24;

const HOW = ["random", "sequential"] as const;
type How = (typeof HOW)[number];

interface Figures {
  readonly readsPerSecond: number;
  readonly mean: number;
  readonly p50: number;
  readonly p99: number;
  readonly longest: number;
}

type Ratio = Readonly<Record<"mean" | "p50" | "p99", number>>;

/** What new clients met: the median of the times to the first block, and the longest read of all of them. */
interface Cold {
  readonly firstMs: number;
  readonly longestMs: number;
}

interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/** A time of a run and what new clients met at its end. */
interface Phase extends Span {
  readonly cold: Cold;
}

type PhaseName =
  | "healthy"
  | "killedFirstSecond"
  | "killed"
  | "restarted"
  | "frozenFirstSecond"
  | "frozen"
  | "resumed";

/** Lines of the table: name, time, and the time that it is compared to. */
const LINES: readonly (readonly [string, PhaseName, PhaseName?])[] = [
  ["healthy", "healthy"],
  ["killed: 1st s", "killedFirstSecond", "healthy"],
  ["killed: later", "killed", "healthy"],
  ["restarted", "restarted"],
  ["frozen: 1st s", "frozenFirstSecond", "restarted"],
  ["frozen: later", "frozen", "restarted"],
  ["resumed", "resumed", "restarted"],
];

const WIDTHS = [13, 16, 16, 17, 16, 20, 16, 16];

if (process.argv[2] === "--reader") {
  await readFiles(process.argv[3] as How, process.argv[4]!, Number(process.argv[5]));
} else await measure();

async function measure(): Promise<void> {
  const asJson = process.argv.includes("--json");
  const runs = Number(valueOf("--runs") ?? 3);
  const all: RunResult[] = [];
  if (!asJson) {
    const { length } = cpus();
    const model = cpus()[0]?.model ?? "unknown";
    console.log(`${length} x ${model}, Bun ${Bun.version}, load ${loadavg()[0]?.toFixed(1)}`);
  }
  for (let run = 1; run <= runs; run++) {
    const results = await oneRun(run);
    all.push(...results);
    if (asJson) for (const result of results) console.log(JSON.stringify(result));
  }
  if (!asJson) print(all);
}

interface RunResult extends Readonly<Record<PhaseName, Figures>> {
  readonly run: number;
  readonly reader: How;
  readonly load: number;
  /** To the healthy time before. */
  readonly killedRatio: Ratio;
  readonly frozenRatio: Ratio;
  readonly cold: { readonly healthy: Cold; readonly killed: Cold; readonly frozen: Cold };
}

async function oneRun(run: number): Promise<RunResult[]> {
  const dir = mkdtempSync(join(valueOf("--dir") ?? tmpdir(), "dfs-bench-degraded-"));
  const blockSize = Number(valueOf("--block-kib") ?? 256) * KiB;
  const totalBytes = Number(valueOf("--mib") ?? 128) * MiB;
  const cluster = await spawnCluster({
    servers: 4,
    dir,
    settings: { blockSize },
    meta: { outDelayMs: 3_600_000 },
  });
  try {
    const files = await fill(cluster, totalBytes);
    const readers: Reader[] = [];
    try {
      for (const how of HOW) readers.push(await startReader(how, cluster.meta.address, files));
      return await phases(run, cluster, files, readers);
    } finally {
      for (const reader of readers) reader.kill();
    }
  } finally {
    await cluster.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

async function phases(
  run: number,
  cluster: ProcessCluster,
  files: number,
  readers: readonly Reader[],
): Promise<RunResult[]> {
  const seconds = Number(valueOf("--seconds") ?? 4) * 1000;
  const phase = async (): Promise<Phase> => {
    const fromMs = Date.now();
    await Bun.sleep(seconds);
    const toMs = Date.now();
    return { fromMs, toMs, cold: await coldClients(cluster.meta.address, files) };
  };
  const firstSecond = async (): Promise<Span> => {
    const fromMs = Date.now();
    await Bun.sleep(1_000);
    return { fromMs, toMs: fromMs + 1_000 };
  };
  await Bun.sleep(SETTLE_MS);
  const load = loadavg()[0]!;
  const healthy = await phase();
  await cluster.server(VICTIM).kill();
  const killedFirst = await firstSecond();
  const killed = await phase();
  await cluster.startServer(VICTIM);
  await Bun.sleep(SETTLE_MS);
  const restarted = await phase();
  cluster.server(VICTIM).freeze();
  const frozenFirst = await firstSecond();
  const frozen = await phase();
  cluster.server(VICTIM).thaw();
  await Bun.sleep(SETTLE_MS);
  const resumed = await phase();
  const results: RunResult[] = [];
  for (const reader of readers) {
    const samples = await reader.end();
    const figures = (span: Span): Figures => figuresOf(samples, span);
    const measured = {
      healthy: figures(healthy),
      killedFirstSecond: figures(killedFirst),
      killed: figures(killed),
      restarted: figures(restarted),
      frozenFirstSecond: figures(frozenFirst),
      frozen: figures(frozen),
      resumed: figures(resumed),
    };
    results.push({
      run,
      reader: reader.how,
      load,
      ...measured,
      killedRatio: ratio(measured.killed, measured.healthy),
      frozenRatio: ratio(measured.frozen, measured.restarted),
      cold: { healthy: healthy.cold, killed: killed.cold, frozen: frozen.cold },
    });
  }
  return results;
}

/** Of reads that began in the time; `longest` counts those that were under way when it began as well. */
function figuresOf(samples: readonly Sample[], { fromMs, toMs }: Span): Figures {
  const began = samples.filter(([atMs]) => atMs >= fromMs && atMs < toMs).map(([, took]) => took);
  const touching = samples
    .filter(([atMs, took]) => atMs < toMs && atMs + took >= fromMs)
    .map(([, took]) => took);
  if (began.length === 0 && touching.length === 0) throw new Error("no read in a whole phase");
  return {
    readsPerSecond: (began.length * 1000) / (toMs - fromMs),
    mean: began.reduce((sum, each) => sum + each, 0) / began.length,
    p50: percentile(began, 0.5),
    p99: percentile(began, 0.99),
    longest: Math.max(...touching),
  };
}

function ratio(now: Figures, before: Figures): Ratio {
  return {
    mean: now.mean / before.mean,
    p50: now.p50 / before.p50,
    p99: now.p99 / before.p99,
  };
}

/** New clients, one after the other, that read blocks by chance. */
async function coldClients(meta: string, files: number): Promise<Cold> {
  const firsts: number[] = [];
  let longestMs = 0;
  for (let each = 0; each < COLD_CLIENTS; each++) {
    const beganMs = performance.now();
    const client = await connectClient({ metaAddress: meta, label: "cold" });
    try {
      for (let read = 0; read < COLD_READS; read++) {
        const file = await client.open(pathOf(Math.floor(Math.random() * files)));
        const beforeMs = performance.now();
        await readByChance(file, client.blockSize);
        if (read === 0) firsts.push(performance.now() - beganMs);
        longestMs = Math.max(longestMs, performance.now() - beforeMs);
        await file.close();
      }
    } finally {
      await client.close();
    }
  }
  return { firstMs: median(firsts), longestMs };
}

function print(all: readonly RunResult[]): void {
  for (const how of HOW) {
    const results = all.filter(({ reader }) => reader === how);
    console.log(`\n${how} reads, ${results.length} runs: median (smallest-largest), milliseconds`);
    row(WIDTHS, [
      "",
      "reads/s",
      "mean, to before",
      "p50",
      "to before",
      "p99",
      "to before",
      "longest",
    ]);
    for (const [name, phase, before] of LINES) printLine(results, name, phase, before);
  }
  const random = all.filter(({ reader }) => reader === "random");
  console.log("\nnew clients, milliseconds");
  row(WIDTHS, ["", "to first block", "longest read"]);
  for (const state of ["healthy", "killed", "frozen"] as const) {
    const first = random.map(({ cold }) => cold[state].firstMs);
    const longest = random.map(({ cold }) => cold[state].longestMs);
    row(WIDTHS, [state, spread(first, 0), spread(longest, 0)]);
  }
}

function printLine(
  results: readonly RunResult[],
  name: string,
  phase: PhaseName,
  before: PhaseName | undefined,
): void {
  const of = (key: keyof Figures): number[] => results.map((result) => result[phase][key]);
  const toBefore = (key: keyof Ratio): string => {
    if (before === undefined) return "";
    const ratios = results.map((result) => ratio(result[phase], result[before])[key]);
    return spread(ratios, 2);
  };
  row(WIDTHS, [
    name,
    spread(of("readsPerSecond"), 0),
    toBefore("mean"),
    spread(of("p50"), 2),
    toBefore("p50"),
    spread(of("p99"), 1),
    toBefore("p99"),
    spread(of("longest"), 0),
  ]);
}

/** Puts the file set; returns how many files there are. */
async function fill(cluster: ProcessCluster, totalBytes: number): Promise<number> {
  const client = await cluster.client();
  const files = Math.max(1, Math.floor(totalBytes / FILE_BYTES));
  for (let file = 0; file < files; file++) {
    await client.put(pathOf(file), [patterned(FILE_BYTES, file + 1)], {
      ...OWNER,
      keepReplaced: false,
    });
  }
  return files;
}

interface Reader extends ReadingProcess {
  readonly how: How;
}

async function startReader(how: How, meta: string, files: number): Promise<Reader> {
  const words = ["--reader", how, meta, String(files)];
  return { how, ...(await startReading(import.meta.path, words)) };
}

/** A reader's process. */
async function readFiles(how: How, meta: string, files: number): Promise<void> {
  const client = await connectClient({ metaAddress: meta, label: `bench ${how}` });
  const open: OpenFile[] = [];
  for (let file = 0; file < files; file++) open.push(await client.open(pathOf(file)));
  await readUntilTold(async (samples, over) => {
    const timed = async <T>(work: () => Promise<T>): Promise<T> => {
      const [atMs, beganMs] = [Date.now(), performance.now()];
      const result = await work();
      samples.push([atMs, performance.now() - beganMs]);
      return result;
    };
    for (let file = 0; !over.aborted; file = (file + 1) % files) {
      const chosen = open[Math.floor(Math.random() * files)]!;
      if (how === "sequential") await streamOf(client, file, timed);
      else await timed(() => readByChance(chosen, client.blockSize));
    }
    await client.close();
  });
}

async function streamOf(
  client: DfsClient,
  file: number,
  timed: <T>(work: () => Promise<T>) => Promise<T>,
): Promise<void> {
  const opened = await client.open(pathOf(file));
  const parts = opened.stream()[Symbol.asyncIterator]();
  let at = 0;
  for (;;) {
    const part = await timed(() => parts.next());
    if (part.done === true) break;
    at += part.value.length;
  }
  if (at !== FILE_BYTES) throw new Error(`a file has ${at} bytes`);
  await opened.close();
}

async function readByChance(file: OpenFile, blockSize: number): Promise<void> {
  const length = Math.min(blockSize, FILE_BYTES);
  const block = Math.floor(Math.random() * Math.floor(FILE_BYTES / length));
  const bytes = await file.read(block * length, length);
  if (bytes.length !== length) throw new Error(`${bytes.length} bytes instead of ${length}`);
}

function pathOf(file: number): Uint8Array {
  return bytesOf(`/file-${file}`);
}
