/**
 * What does a data server compute to give small blocks many at a time, as it does when another one is refilled?
 *
 *     bin/dfs-bun bench/near-reads.ts                     20,000 blocks of 4 KiB, some seconds
 *     bin/dfs-bun bench/near-reads.ts --size 16384 --blocks 8000 --rounds 40
 *     bin/dfs-bun bench/near-reads.ts --dir /dev/shm      a file system whose bytes are always in memory
 *
 * A log that the system has in its memory is read from its beginning to its end, 256 blocks (or 1 MiB) in a call. Every third block
 * is not asked for: those have their other copies elsewhere, and lie between the ones that are.
 *
 *     readMany      as `data.getMany` does it, without what comes before and behind it in a connection
 *     plain read    the same runs of the file with one read for each, and nothing else: what no way of reading can do without
 *
 * Microseconds of processor for each block given, all threads of the process: the median of all rounds, and the least. What else
 * the machine does is not counted.
 */
import { closeSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { blockId } from "../src/base/ids.ts";
import { MAX_BATCHABLE_BYTES, MAX_BATCHED_BLOCKS } from "../src/base/limits.ts";
import type { BlockLog } from "../src/log/log.ts";
import { readMany } from "../src/server/data/many.ts";
import {
  BlockSource,
  median,
  MIB,
  openBenchLog,
  putBlocks,
  row,
  valueOf,
  withFolder,
} from "./log-support.ts";

const SIZE = Number(valueOf("--size") ?? 4096);
const BLOCKS = Number(valueOf("--blocks") ?? 20_000);
const ROUNDS = Number(valueOf("--rounds") ?? 30);

/** One of so many is not asked for. */
const LEFT_OUT = 3;

/** So often, until everything has been compiled, nothing is counted. */
const WARM_ROUNDS = 5;

const PLAIN_READ_BYTES = MIB;

type Wanted = { readonly block: ReturnType<typeof blockId>; readonly length: number }[];

await withFolder("near", async (folder) => {
  const directory = join(folder, "log");
  const log = await openBenchLog(directory);
  await putBlocks(log, new BlockSource(SIZE), 1, BLOCKS);
  const parts = partsOf();
  const given = parts.reduce((sum, part) => sum + part.length, 0);
  const many: number[] = [];
  const plain: number[] = [];
  const buffer = new Uint8Array(PLAIN_READ_BYTES);
  for (let round = 0; round < WARM_ROUNDS + ROUNDS; round++) {
    const readUs = await processorUs(() => readParts(log, parts));
    const plainUs = await processorUs(() => readPlainly(directory, buffer));
    if (round < WARM_ROUNDS) continue;
    many.push(readUs / given);
    plain.push(plainUs / given);
  }
  await log.close();
  console.log(
    `${given} of ${BLOCKS} blocks of ${SIZE} bytes; us of processor for each block given`,
  );
  row([12, 8, 8], ["", "median", "least"]);
  for (const [name, times] of Object.entries({ readMany: many, "plain read": plain })) {
    row([12, 8, 8], [name, median(times).toFixed(2), Math.min(...times).toFixed(2)]);
  }
});

/** What is asked for, call by call. */
function partsOf(): Wanted[] {
  const most = Math.min(MAX_BATCHED_BLOCKS, Math.floor(MAX_BATCHABLE_BYTES / SIZE));
  const parts: Wanted[] = [[]];
  for (let number = 1; number <= BLOCKS; number++) {
    if (number % LEFT_OUT === 0) continue;
    if (parts.at(-1)!.length === most) parts.push([]);
    parts.at(-1)!.push({ block: blockId(BigInt(number)), length: SIZE });
  }
  return parts;
}

async function readParts(log: BlockLog, parts: readonly Wanted[]): Promise<void> {
  for (const part of parts) {
    const { given, release } = await readMany(log, part);
    release();
    if (given.includes(false)) throw new Error("a block was not given");
  }
}

/** Every segment from its beginning to its end. */
function readPlainly(directory: string, buffer: Uint8Array): Promise<void> {
  for (const name of readdirSync(directory).filter((each) => each.endsWith(".seg"))) {
    const path = join(directory, name);
    const descriptor = openSync(path, "r");
    const { size } = statSync(path);
    for (let at = 0; at < size; at += buffer.length) {
      readSync(descriptor, buffer, 0, buffer.length, at);
    }
    closeSync(descriptor);
  }
  return Promise.resolve();
}

async function processorUs(work: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}
