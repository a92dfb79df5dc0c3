/**
 * How fast does the block log read? Beside it, in the same run, plain preads of the same bytes of the same files.
 *
 *     bin/dfs-bun bench/log-reads.ts                      all of it in a temporary folder, about 2 minutes
 *     bin/dfs-bun bench/log-reads.ts --dir D --mib 1024 --rounds 15
 *     bin/dfs-bun bench/log-reads.ts --part appends       only the second part
 *
 * First part: a log of 256 MiB (`--mib`) of blocks of 4 KiB, 64 KiB and 1 MiB, which the system has in its memory. 1, 16 and
 * 128 readers take blocks by chance, whole ones or 4 KiB of them, each waiting for one before it asks for the next.
 *
 *     log      `get` and `release`, as a data server does: the record's header, the list of hashes and the pieces that the
 *              range touches are read, and all of it is verified. A range of 4 KiB costs a piece of 64 KiB
 *     bytes    an asynchronous fs.read of the very bytes that the log reads for it, into buffers that are used again, and
 *              nothing else: what reading through Bun costs at best
 *     range    the same for only the bytes that were asked for
 *
 * Second part: blocks of 64 KiB are read, one reader after the other's heels (4 of them), while nothing else happens and
 * while 16 writers append blocks of 64 KiB, in turns. Reads wait for no append; what is seen is the one thread and the two
 * threads of the pool that both need.
 *
 * A round is a turn of each, in changing order; figures are medians over the rounds with the smallest and the largest, and
 * ratios are those of the turns of one round. The first round does not count.
 */
import { closeSync, openSync, read, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import { blockId } from "../src/base/ids.ts";
import { PIECE_BYTES } from "../src/base/limits.ts";
import { BufferPool } from "../src/log/buffers.ts";
import { SEGMENT_HEADER_BYTES } from "../src/log/format.ts";
import { putBodyLength, RECORD_HEADER_BYTES, recordBytes, SEAL_BYTES } from "../src/log/record.ts";
import { SEGMENT_BYTES } from "../src/log/space.ts";
import type { BlockLog } from "../src/log/log.ts";
import {
  BlockSource,
  KIB,
  median,
  MIB,
  openBenchLog,
  putBlocks,
  percentile,
  ratePerSecond,
  row,
  sizeName,
  spread,
  valueOf,
  withDelays,
  withFolder,
} from "./log-support.ts";

const SIZES = [4 * KIB, 64 * KIB, MIB];
const READERS = [1, 16, 128];
const RANGE_BYTES = 4 * KIB;
const TOTAL_BYTES = Number(valueOf("--mib") ?? 256) * MIB;
const ROUNDS = Number(valueOf("--rounds") ?? 7);
const TURN_MS = Number(valueOf("--ms") ?? 250);
const WAYS = ["log", "bytes", "range"] as const;
const WIDTHS = [7, 6, 7, 26, 6, 26, 26, 17, 17, 7, 7];

type Way = (typeof WAYS)[number];

interface Place {
  readonly descriptor: number;
  readonly position: number;
}

/** A log that was filled with blocks 1 to `count`, and its files. */
interface Filled {
  readonly log: BlockLog;
  readonly size: number;
  readonly count: number;
  /** Descriptor of the segment that holds a block, and where its record begins. */
  readonly placeOf: (number: number) => Place;
}

const part = valueOf("--part");
await withFolder("log-reads", async (folder) => {
  if (part !== "appends") await compareReads(folder);
  if (part !== "reads") await readWhileAppending(folder);
});

async function compareReads(folder: string): Promise<void> {
  const titles = ["block", "bytes", "readers", "log/s", "MB/s", "bytes/s", "range/s"];
  row(WIDTHS, [...titles, "log/bytes", "log/range", "p99 ms", "max ms"]);
  for (const size of SIZES) {
    await withFilledLog(join(folder, `log-${size}`), size, async (filled) => {
      for (const length of size === RANGE_BYTES ? [size] : [size, RANGE_BYTES]) {
        for (const readers of READERS) await compare(filled, length, readers);
      }
    });
  }
}

/** Fills a log one block after the other, so that it is known where each record lies. */
async function withFilledLog(
  directory: string,
  size: number,
  work: (filled: Filled) => Promise<void>,
): Promise<void> {
  const count = Math.floor(TOTAL_BYTES / size);
  const source = new BlockSource(size);
  const log = await openBenchLog(directory);
  await putBlocks(log, source, 1, count);
  const descriptors = readdirSync(directory)
    .filter((name) => name.endsWith(".seg"))
    .toSorted()
    .map((name) => openSync(join(directory, name), "r"));
  const bytes = recordBytes(putBodyLength(size));
  const perSegment = Math.floor((SEGMENT_BYTES - SEGMENT_HEADER_BYTES - SEAL_BYTES) / bytes);
  const placeOf = (number: number): Place => ({
    descriptor: descriptors[Math.floor((number - 1) / perSegment)]!,
    position: SEGMENT_HEADER_BYTES + ((number - 1) % perSegment) * bytes,
  });
  for (const number of [1, Math.min(perSegment + 1, count), count])
    checkPlace(number, placeOf(number));
  await work({ log, size, count, placeOf });
  await log.close();
  for (const descriptor of descriptors) closeSync(descriptor);
}

/** The plain side must read what the log reads. */
function checkPlace(number: number, { descriptor, position }: Place): void {
  const header = Buffer.alloc(RECORD_HEADER_BYTES);
  readSync(descriptor, header, 0, header.length, position);
  if (header.toString("latin1", 0, 4) === "dfsR" && header.readBigUInt64BE(72) === BigInt(number))
    return;
  throw new Error(`block ${number} is not where it is thought to be`);
}

async function compare(filled: Filled, length: number, readers: number): Promise<void> {
  const rates: Record<Way, number[]> = { log: [], bytes: [], range: [] };
  const delaysMs: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const order = round % 2 === 0 ? WAYS : WAYS.toReversed();
    for (const way of [...order, ...order].slice(round % 3, (round % 3) + 3)) {
      const delays: number[] = [];
      const reads = readOf(filled, length, way);
      const rate = await withDelays(delays, () => ratePerSecond(readers, TURN_MS, reads));
      if (round === 0) continue;
      rates[way].push(rate);
      if (way === "log") delaysMs.push(...delays);
    }
  }
  const ratios = (way: Way): number[] => rates.log.map((each, at) => each / rates[way][at]!);
  row(WIDTHS, [
    sizeName(filled.size),
    sizeName(length),
    String(readers),
    spread(rates.log, 0),
    ((median(rates.log) * length) / 1e6).toFixed(0),
    spread(rates.bytes, 0),
    spread(rates.range, 0),
    spread(ratios("bytes"), 2),
    spread(ratios("range"), 2),
    percentile(delaysMs, 0.99).toFixed(1),
    percentile(delaysMs, 1).toFixed(1),
  ]);
}

/** One read of `length` bytes at a place by chance. */
function readOf(
  { log, size, count, placeOf }: Filled,
  length: number,
  way: Way,
): () => Promise<void> {
  const pool = new BufferPool();
  const choose = (): [number: number, offset: number] => [
    1 + Math.floor(Math.random() * count),
    Math.floor((Math.random() * (size - length + 1)) / length) * length,
  ];
  const dataAt = RECORD_HEADER_BYTES + putBodyLength(size) - size;
  switch (way) {
    case "log":
      return async () => {
        const [number, offset] = choose();
        (await log.get(blockId(BigInt(number)), offset, length)).release();
      };
    case "bytes":
      return async () => {
        const [number, offset] = choose();
        const { descriptor, position } = placeOf(number);
        const from = offset - (offset % PIECE_BYTES);
        const to = Math.min(size, Math.ceil((offset + length) / PIECE_BYTES) * PIECE_BYTES);
        await plainRead(pool, descriptor, position + (from === 0 ? 0 : from), dataAt + to - from);
      };
    case "range":
      return async () => {
        const [number, offset] = choose();
        const { descriptor, position } = placeOf(number);
        await plainRead(pool, descriptor, position + dataAt + offset, length);
      };
  }
}

async function plainRead(
  pool: BufferPool,
  descriptor: number,
  position: number,
  length: number,
): Promise<void> {
  const buffer = pool.take(length);
  const count = await new Promise<number>((resolve, reject) => {
    read(descriptor, buffer.bytes, 0, length, position, (error, bytes) =>
      error === null ? resolve(bytes) : reject(error),
    );
  });
  buffer.release();
  if (count !== length) throw new Error(`${count} bytes were read instead of ${length}`);
}

async function readWhileAppending(folder: string): Promise<void> {
  const size = 64 * KIB;
  console.log(`\n4 readers of blocks of ${sizeName(size)}; milliseconds for one read`);
  row([22, 18, 8, 8, 8, 8, 10], ["", "reads/s", "p50", "p90", "p99", "max", "appends/s"]);
  await withFilledLog(join(folder, "log-appends"), size, async (filled) => {
    const source = new BlockSource(size);
    const quiet = { rates: [] as number[], timesMs: [] as number[] };
    const busy = { rates: [] as number[], timesMs: [] as number[] };
    const appends: number[] = [];
    let next = filled.count + 1;
    for (let round = 0; round <= ROUNDS; round++) {
      const turns = round % 2 === 0 ? [quiet, busy] : [busy, quiet];
      for (const turn of turns) {
        const reading = timedReads(filled, turn);
        const append = async (): Promise<void> => void (await filled.log.put(source.block(next++)));
        if (turn === busy) appends.push(await ratePerSecond(16, TURN_MS * 4, append));
        await reading;
      }
      if (round === 0)
        for (const list of [quiet.rates, quiet.timesMs, busy.rates, busy.timesMs, appends])
          list.length = 0;
    }
    for (const [name, { rates, timesMs }] of [
      ["quiet", quiet],
      ["16 writers append", busy],
    ] as const) {
      const times = [0.5, 0.9, 0.99, 1].map((share) => percentile(timesMs, share).toFixed(2));
      const rate = name === "quiet" ? "" : median(appends).toFixed(0);
      row([22, 18, 8, 8, 8, 8, 10], [name, spread(rates, 0), ...times, rate]);
    }
  });
}

async function timedReads(
  filled: Filled,
  { rates, timesMs }: { rates: number[]; timesMs: number[] },
): Promise<void> {
  const readOne = readOf(filled, filled.size, "log");
  const rate = await ratePerSecond(4, TURN_MS * 4, async () => {
    const start = performance.now();
    await readOne();
    timesMs.push(performance.now() - start);
  });
  rates.push(rate);
}
