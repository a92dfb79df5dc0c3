/**
 * How long does it take to open a block log with a million blocks, and how much memory does that need?
 *
 *     bin/dfs-bun bench/log-open.ts                                  1 million blocks of 4 KiB: 4.3 GB, about 3 minutes
 *     bin/dfs-bun bench/log-open.ts --blocks 100000 --block-bytes 65536 --dir D --rounds 5
 *
 * Each opening happens in a process of its own, which opens the log, looks at itself, and closes the log in good order:
 *
 *     closed           the log was closed in good order before
 *     no checkpoint    likewise, but the file `checkpoint` of the log's directory is gone: the opening walks over all segments
 *     killed           a process opened it, appended 64 MiB and was killed
 *     cold             what the system had of the files in its memory has been dropped (dd with nocache): as after a boot
 *     - 1/3            every third block has been deleted
 *
 *     open s    time of openLog, median with the smallest and the largest
 *     read MiB  what the process read meanwhile, from the system's memory or from the disk
 *     rss MiB   resident memory: before, after (each time garbage collected), and the most there was at any time
 *     index     MiB of the index's arrays, and bytes for each block
 *
 * Target: under 2 s with a checkpoint, and 64 MiB of index. A build that writes no checkpoint says so in its output; then the
 * cases with and without it are one and the same.
 */
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { blockId } from "../src/base/ids.ts";
import type { CompactIndex } from "../src/log/index.ts";
import {
  BlockSource,
  MIB,
  openBenchLog,
  putBlocks,
  row,
  spread,
  valueOf,
  withFolder,
} from "./log-support.ts";

const BLOCKS = Number(valueOf("--blocks") ?? 1_000_000);
const BLOCK_BYTES = Number(valueOf("--block-bytes") ?? 4096);
const ROUNDS = Number(valueOf("--rounds") ?? 3);
const IDS_AT_ONCE = 8192;
const KILLED_BYTES = 64 * MIB;
const WIDTHS = [26, 20, 9, 16, 14, 8, 8];

/** What a process tells that has opened the log. */
interface Opening {
  readonly seconds: number;
  readonly readBytes: number;
  readonly rssBefore: number;
  readonly rssAfter: number;
  readonly rssMost: number;
  readonly indexBytes: number;
  readonly blocks: number;
}

/** What a process of this program does with the log in the folder that it is given. */
const TASKS = { build, deleteThird, appendAndDie, open } as const;
type Task = keyof typeof TASKS;

/** The process that is doing a task. */
let running: Bun.Subprocess | undefined;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => running?.kill("SIGKILL")); // before its folder is removed
}

const task = valueOf("--task") as Task | undefined;
if (task !== undefined) await TASKS[task](valueOf("--log")!);
else await withFolder("log-open", (folder) => measureAll(join(folder, "log")));

async function measureAll(log: string): Promise<void> {
  console.log(`${BLOCKS} blocks of ${BLOCK_BYTES} bytes; openings: ${ROUNDS} of each kind`);
  const began = performance.now();
  await run("build", log);
  console.log(`built in ${((performance.now() - began) / 1000).toFixed(0)} s`);
  const hasCheckpoint = existsSync(join(log, "checkpoint"));
  if (!hasCheckpoint)
    console.log("this build writes no checkpoint: every opening walks over all segments");
  row(WIDTHS, ["", "open s", "read MiB", "rss MiB", "most", "index", "B/block"]);
  await measureClosed(log, "", hasCheckpoint);
  await measure("killed", log, () => run("appendAndDie", log));
  await run("deleteThird", log);
  await measureClosed(log, " - 1/3", hasCheckpoint);
}

async function measureClosed(log: string, variant: string, hasCheckpoint: boolean): Promise<void> {
  const nothing = (): Promise<void> => Promise.resolve();
  const dropCheckpoint = (): void => rmSync(join(log, "checkpoint"), { force: true });
  await measure(`closed${variant}`, log, nothing);
  await measure(`closed, cold${variant}`, log, () => dropFromMemory(log));
  if (!hasCheckpoint) return;
  await measure(`no checkpoint${variant}`, log, async () => dropCheckpoint());
  await measure(`no checkpoint, cold${variant}`, log, async () => {
    dropCheckpoint();
    await dropFromMemory(log);
  });
}

async function measure(name: string, log: string, prepare: () => Promise<unknown>): Promise<void> {
  const openings: Opening[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    await prepare();
    openings.push(JSON.parse(await run("open", log)) as Opening);
  }
  const last = openings.at(-1)!;
  const mib = (bytes: number): string => (bytes / MIB).toFixed(0);
  row(WIDTHS, [
    name,
    spread(
      openings.map(({ seconds }) => seconds),
      2,
    ),
    mib(last.readBytes),
    `${mib(last.rssBefore)} to ${mib(last.rssAfter)}`,
    mib(last.rssMost),
    mib(last.indexBytes),
    (last.indexBytes / last.blocks).toFixed(1),
  ]);
}

/** Runs a task in a process of its own. Returns what it printed. */
async function run(name: Task, log: string): Promise<string> {
  const words = ["--task", name, "--log", log];
  const size = ["--blocks", String(BLOCKS), "--block-bytes", String(BLOCK_BYTES)];
  const child = Bun.spawn([process.execPath, import.meta.path, ...words, ...size], {
    stdout: "pipe",
    stderr: "inherit",
  });
  running = child;
  const printed = await child.stdout.text();
  await child.exited;
  const expected = name === "appendAndDie" ? child.signalCode === "SIGKILL" : child.exitCode === 0;
  if (!expected) throw new Error(`"${name}" ended with ${child.signalCode ?? child.exitCode}`);
  return printed;
}

/** Makes the system forget what it has read or written of the log's files; they are durable already. */
async function dropFromMemory(log: string): Promise<void> {
  for (const each of readdirSync(log, { withFileTypes: true })) {
    if (!each.isFile()) continue;
    const { name } = each;
    const words = ["dd", `if=${join(log, name)}`, "iflag=nocache", "count=0", "status=none"];
    const { exitCode } = Bun.spawnSync(words);
    if (exitCode !== 0) throw new Error(`dd cannot drop ${name} from the system's memory`);
  }
}

async function build(directory: string): Promise<void> {
  const log = await openBenchLog(directory);
  await putBlocks(log, source(), 1, BLOCKS);
  await log.close();
}

function source(): BlockSource {
  return new BlockSource(BLOCK_BYTES, 16 * MIB);
}

async function deleteThird(directory: string): Promise<void> {
  const log = await openBenchLog(directory);
  const ids = Array.from({ length: Math.floor(BLOCKS / 3) }, (_, at) =>
    blockId(BigInt(3 * at + 3)),
  );
  for (let at = 0; at < ids.length; at += IDS_AT_ONCE) {
    await log.delete(ids.slice(at, at + IDS_AT_ONCE));
  }
  await log.close();
}

async function appendAndDie(directory: string): Promise<void> {
  const log = await openBenchLog(directory);
  const first = Number(log.highestBlock) + 1;
  await putBlocks(log, source(), first, Math.ceil(KILLED_BYTES / BLOCK_BYTES));
  process.kill(process.pid, "SIGKILL");
}

async function open(directory: string): Promise<void> {
  Bun.gc(true);
  const rssBefore = process.memoryUsage.rss();
  const readBefore = bytesRead();
  const start = performance.now();
  const log = await openBenchLog(directory);
  const seconds = (performance.now() - start) / 1000;
  const readBytes = bytesRead() - readBefore;
  const rssMost = process.resourceUsage().maxRSS * 1024;
  Bun.gc(true);
  await Bun.sleep(500); // the allocator gives back what is free after a while
  Bun.gc(true);
  const rssAfter = process.memoryUsage.rss();
  // The index is nobody's business but the log's; a measurement may look.
  const { index } = log as unknown as { readonly index: CompactIndex };
  const figures = { seconds, readBytes, rssBefore, rssAfter, rssMost };
  const opening: Opening = { ...figures, indexBytes: index.arrayBytes, blocks: index.size };
  console.log(JSON.stringify(opening));
  await log.close();
}

/** Bytes that this process has had from read calls so far. */
function bytesRead(): number {
  return Number(/^rchar: (\d+)$/m.exec(readFileSync("/proc/self/io", "utf8"))?.[1]);
}
