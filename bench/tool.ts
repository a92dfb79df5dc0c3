/**
 * How fast is the whole, as somebody at a terminal has it: `bin/dfs` commands, the programs that `bin/dfs up` starts, and what they
 * cost? Beside it what the same disk and the loopback do on their own in the same run, and the targets.
 *
 *     bin/dfs-bun bench/tool.ts                      three rounds of everything, about 3 minutes
 *     bin/dfs-bun bench/tool.ts --runs 1             one round
 *     bin/dfs-bun bench/tool.ts --mib 256 --files 2000 --seconds 1     less, more noise
 *     bin/dfs-bun bench/tool.ts --traffic-gib 10     then so much more is put and got, in rounds, before memory is looked at
 *     bin/dfs-bun bench/tool.ts --only metadata      `large`, `small`, `metadata`: one part alone
 *     bin/dfs-bun bench/tool.ts --dir /dev/shm       without the disk: what the processor allows
 *     bin/dfs-bun bench/tool.ts --json               one object per line, as below
 *
 * A metadata server and four data servers on one machine and one disk, three copies. Each command starts anew, and its start
 * counts. Medians, with the least and the most.
 *
 *     large      one file of --mib that lies in the system's memory. A put is done when three copies and the metadata are on the
 *                disk. Beside it: three copies of the file one after the other, `dd conv=fsync`; and the loopback, from one
 *                process of Bun to another that drops what comes. To a disk: get without a sync, as cp does it
 *     small      a tree of --files files of 4 KiB, 100 to a directory, `put -r` and `get -r`. Beside it: as many files
 *                three times, each with an fsync, one after the other
 *     metadata   one connection with 1, 16 and 64 requests in flight; creates are durable when they are answered
 *     cpu        processor seconds: the command's, the metadata server's, all data servers'
 *     memory     the most that each process had resident until then, and what it has at the end
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT_INODE } from "../src/base/ids.ts";
import { patterned, KiB, MiB } from "../tests/support/cluster.ts";
import { keepInFlight, MetadataClient } from "./metadata-load.ts";
import { loopback, rawFiles } from "./raw.ts";
import { ToolCluster, type Cost } from "./tool/cluster.ts";

const COPIES = 3;
const SMALL_BYTES = 4 * KiB;
const FILES_IN_DIRECTORY = 100;
const DEPTHS = [1, 16, 64];
const MAX_RESIDENT_MIB = 250;

/** One figure of one round. */
interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly value: number;
  /** What the machine does of the same on its own, in the same unit. */
  readonly reference?: number;
  /** What is to be reached: of the reference, or of the value itself. */
  readonly target?: Target;
  readonly cost?: Cost;
  readonly p50Ms?: number;
  readonly p99Ms?: number;
}

interface Target {
  readonly of: "reference" | "value";
  readonly atLeast?: number;
  readonly below?: number;
}

const options = process.argv.slice(2);
const isJson = options.includes("--json");
const mib = Number(option("--mib") ?? 1024);
const files = Number(option("--files") ?? 10_000);
const seconds = Number(option("--seconds") ?? 3);
const runs = Number(option("--runs") ?? 3);
const trafficGiB = Number(option("--traffic-gib") ?? 0);
const only = option("--only");

await measureAll();

async function measureAll(): Promise<void> {
  const dir = mkdtempSync(join(option("--dir") ?? tmpdir(), "dfs-bench-tool-"));
  tell(machine());
  const cluster = await ToolCluster.start(dir);
  try {
    const rounds: Figure[][] = [];
    for (let round = 0; round < runs; round++) {
      const figures: Figure[] = [];
      if (isWanted("large")) figures.push(...(await large(cluster, dir)));
      if (isWanted("small")) figures.push(...(await small(cluster, dir, round)));
      if (isWanted("metadata")) figures.push(...(await metadata(cluster, round)));
      rounds.push(figures);
    }
    for (const [at, figure] of (rounds[0] ?? []).entries()) {
      show(
        figure,
        rounds.map((figures) => figures[at]!),
      );
    }
    await traffic(cluster, dir);
    for (const { name, peakMiB, nowMiB } of cluster.memory()) {
      const isMet = peakMiB < MAX_RESIDENT_MIB;
      tell({
        name: `memory of ${name}`,
        unit: "MiB",
        peakMiB,
        nowMiB,
        target: `< ${MAX_RESIDENT_MIB}`,
        isMet,
      });
    }
  } finally {
    await cluster.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

async function large(cluster: ToolCluster, dir: string): Promise<Figure[]> {
  const source = join(dir, "large");
  const target = join(dir, "large-got");
  makeLarge(source);
  const copies = rawCopies(source, dir);
  const wire = await loopback(mib);
  const put = await cluster.run("put", "-q", source, "/large");
  const drop = await cluster.run("get", "-q", "/large", "/dev/null");
  const got = await cluster.run("get", "-q", "/large", target);
  if (statSync(target).size !== mib * MiB) throw new Error("what was got has another length");
  rmSync(target);
  await cluster.run("rm", "/large");
  const rate = ({ ms }: Cost): number => (mib * 1000) / ms;
  const unit = "MiB/s";
  return [
    {
      name: `put of ${mib} MiB, beside ${COPIES} copies`,
      unit,
      value: rate(put),
      reference: copies,
      target: { of: "reference", atLeast: 0.7 },
      cost: put,
    },
    {
      name: `get of ${mib} MiB to /dev/null, beside loopback`,
      unit,
      value: rate(drop),
      reference: wire,
      target: { of: "reference", atLeast: 0.5 },
      cost: drop,
    },
    { name: `get of ${mib} MiB to the disk`, unit, value: rate(got), cost: got },
  ];
}

async function small(cluster: ToolCluster, dir: string, round: number): Promise<Figure[]> {
  const tree = join(dir, "small");
  const target = join(dir, `small-got-${round}`);
  if (round === 0) makeTree(tree);
  const raw = rawFiles(dir, files * COPIES) / COPIES;
  const put = await cluster.run("put", "-q", "-r", tree, `/small-${round}`);
  const got = await cluster.run("get", "-q", "-r", `/small-${round}`, target);
  // What was got stays: ext4 passes over the inodes of what was just deleted, one by one, when a file is made.
  await cluster.run("rm", "-r", `/small-${round}`);
  const unit = "s";
  return [
    {
      name: `put of ${files} files of 4 KiB, beside ${COPIES} times as many`,
      unit,
      value: put.ms / 1000,
      reference: files / raw,
      target: { of: "value", below: files / 1000 },
      cost: put,
    },
    {
      name: `get of ${files} files of 4 KiB`,
      unit,
      value: got.ms / 1000,
      target: { of: "value", below: (files * 6) / 10_000 },
      cost: got,
    },
  ];
}

async function metadata(cluster: ToolCluster, round: number): Promise<Figure[]> {
  const client = await MetadataClient.connect(cluster.meta);
  const figures: Figure[] = [];
  const warm = await client.makeDirectory(`warm-up-${round}`);
  await keepInFlight(0.5, 64, () => client.create(warm));
  for (const depth of DEPTHS) {
    const directory = await client.makeDirectory(`creates-${round}-${depth}`);
    figures.push(await load("durable creates", depth, 5_000, () => client.create(directory)));
  }
  for (const depth of DEPTHS) {
    figures.push(await load("getattr", depth, 20_000, () => client.getattr(ROOT_INODE)));
  }
  client.close();
  return figures;
}

async function load(
  what: string,
  depth: number,
  atDeepest: number,
  request: () => Promise<void>,
): Promise<Figure> {
  const { perSecond, latenciesMs } = await keepInFlight(seconds, depth, request);
  const percentile = (share: number): number =>
    latenciesMs[Math.floor(latenciesMs.length * share)] ?? 0;
  return {
    name: `${what}, ${depth} in flight`,
    unit: "/s",
    value: perSecond,
    p50Ms: percentile(0.5),
    p99Ms: percentile(0.99),
    ...(depth === DEPTHS.at(-1) ? { target: { of: "value", atLeast: atDeepest } } : {}),
  };
}

/** Puts and gets, a file after the other, until so much has passed. */
async function traffic(cluster: ToolCluster, dir: string): Promise<void> {
  if (trafficGiB === 0) return;
  const source = join(dir, "large");
  makeLarge(source);
  for (let passed = 0; passed < trafficGiB * 1024; passed += 2 * mib) {
    await cluster.run("put", "-q", source, "/traffic");
    await cluster.run("get", "-q", "/traffic", "/dev/null");
    tell({ name: "traffic", unit: "MiB", value: passed + 2 * mib });
  }
}

/** MiB of content in a second, when it is copied to the disk as often as the cluster does. */
function rawCopies(source: string, dir: string): number {
  const beganMs = performance.now();
  for (let copy = 0; copy < COPIES; copy++) {
    const { exitCode } = Bun.spawnSync([
      "dd",
      `if=${source}`,
      `of=${join(dir, `copy-${copy}`)}`,
      "bs=1M",
      "conv=fsync",
      "status=none",
    ]);
    if (exitCode !== 0) throw new Error("dd failed");
  }
  const ms = performance.now() - beganMs;
  for (let copy = 0; copy < COPIES; copy++) rmSync(join(dir, `copy-${copy}`));
  return (mib * 1000) / ms;
}

function makeLarge(path: string): void {
  const content = patterned(mib * MiB);
  writeFileSync(path, content);
  Bun.spawnSync(["sync", "-f", path]); // its own way to the disk is nobody's business
}

function makeTree(tree: string): void {
  for (let file = 0; file < files; file++) {
    const directory = join(tree, String(Math.floor(file / FILES_IN_DIRECTORY)));
    if (file % FILES_IN_DIRECTORY === 0) mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, `file-${file}`), patterned(SMALL_BYTES, file));
  }
  Bun.spawnSync(["sync", "-f", tree]);
}

function show(first: Figure, all: readonly Figure[]): void {
  const { name, unit, target } = first;
  const middle = (value: (figure: Figure) => number): number =>
    all.map(value).toSorted((one, other) => one - other)[all.length >> 1]!;
  const values = all.map(({ value }) => value);
  const isMeasured = first.reference !== undefined;
  const ratio = isMeasured ? middle((each) => each.value / each.reference!) : undefined;
  const value = middle((each) => each.value);
  const judged = target?.of === "reference" ? ratio! : value;
  tell({
    name,
    unit,
    value,
    least: Math.min(...values),
    most: Math.max(...values),
    ...(ratio === undefined ? {} : { reference: middle((each) => each.reference!), ratio }),
    ...(target === undefined ? {} : { target: targetText(target), isMet: isMet(judged, target) }),
    ...(first.p50Ms === undefined
      ? {}
      : { p50Ms: middle((each) => each.p50Ms!), p99Ms: middle((each) => each.p99Ms!) }),
    ...(first.cost === undefined
      ? {}
      : {
          cpu: [
            middle((each) => each.cost!.commandCpuMs),
            middle((each) => each.cost!.metaCpuMs),
            middle((each) => each.cost!.dataCpuMs),
          ].map((ms) => ms / 1000),
          residentMiB: middle((each) => each.cost!.residentMiB),
        }),
  });
}

function targetText({ of, atLeast, below }: Target): string {
  const bound = atLeast === undefined ? `< ${below}` : `>= ${atLeast}`;
  return of === "reference" ? `${bound} of it` : bound;
}

function isMet(value: number, { atLeast, below }: Target): boolean {
  return atLeast === undefined ? value < below! : value >= atLeast;
}

/** One line, as JSON or in words. */
function tell(line: Readonly<Record<string, unknown>>): void {
  if (isJson) return console.log(JSON.stringify(line));
  const { name, ...rest } = line;
  const words = Object.entries(rest).map(([key, value]) => `${key} ${wordOf(value)}`);
  console.log(`${String(name).padEnd(56)} ${words.join("  ")}`);
}

function wordOf(value: unknown): string {
  if (Array.isArray(value)) return value.map(wordOf).join(", ");
  if (typeof value !== "number") return String(value);
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

function machine(): Readonly<Record<string, unknown>> {
  const { stdout } = Bun.spawnSync([
    "git",
    "-C",
    import.meta.dir,
    "describe",
    "--always",
    "--dirty",
  ]);
  const commit = stdout.toString().trim();
  const version = (
    JSON.parse(readFileSync(join(import.meta.dir, "../package.json"), "utf8")) as {
      version: string;
    }
  ).version;
  return {
    name: "machine",
    processors: `${cpus().length} x ${cpus()[0]?.model ?? "unknown"}`,
    bun: Bun.version,
    dfs: version,
    commit: commit === "" ? "unknown" : commit,
    load: loadavg()[0],
  };
}

function isWanted(part: string): boolean {
  return only === undefined || only === part;
}

function option(name: string): string | undefined {
  const at = options.indexOf(name);
  return at < 0 ? undefined : options[at + 1];
}
