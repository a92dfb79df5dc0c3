/**
 * How fast does the block log append? Beside it, in the same run and on the same disk, plain writes and fdatasync.
 *
 *     bin/dfs-bun bench/log.ts                       all of it in a temporary folder, about 2 minutes
 *     bin/dfs-bun bench/log.ts --dir D --rounds 15   on another disk, more rounds
 *     bin/dfs-bun bench/log.ts --size 1024 --writers 16 --ms 2000     only one case (KiB), longer turns
 *
 * For blocks of 4 KiB, 64 KiB and 1 MiB and for 1, 16 and 128 writers that each wait for their block to be durable
 * before they put the next one:
 *
 *     log      the log as a data server uses it: each block is verified against its checksum and its piece hashes first,
 *              as the handler of `data.put` does, and segments are begun and sealed as they fill
 *     plain    one file, written by writev and fdatasync that block the process: as many blocks in each group as the log
 *              puts into a batch at most (as many as there are writers, but no more than BATCH_BYTES). No headers, no
 *              checksums, no segments, nothing else to do meanwhile. Nobody can do better with this disk in this way
 *     loop     the same, but the fdatasync runs beside the event loop, as it has to in a server: what the log could reach
 *              at best
 *
 * Neither preallocates: files grow as they are written. All write the same 64 MiB of random blocks in turn (4 MiB of
 * 4 KiB blocks). A round is a turn of each, in changing order; figures are medians over the rounds with the smallest and
 * the largest, and the ratios are those of the turns of one round. The first round does not count. "delay" is that of the
 * event loop while the log appends: by how much a timer of 1 ms was late.
 */
import { closeSync, fdatasync, fdatasyncSync, openSync, rmSync, writevSync } from "node:fs";
import { join } from "node:path";
import { firstBadPiece, verifyPieceList } from "../src/base/checksum.ts";
import type { BlockToPut } from "../src/log/log.ts";
import { BATCH_BYTES } from "../src/log/writer.ts";
import {
  BlockSource,
  KIB,
  MIB,
  openBenchLog,
  percentile,
  ratePerSecond,
  row,
  settle,
  sizeName,
  spread,
  median,
  valueOf,
  withDelays,
  withFolder,
} from "./log-support.ts";

const SIZES = onlyOption("--size", KIB) ?? [4 * KIB, 64 * KIB, MIB];
const WRITERS = onlyOption("--writers", 1) ?? [1, 16, 128];
const ROUNDS = Number(valueOf("--rounds") ?? 9);
const TURN_MS = Number(valueOf("--ms") ?? 400);
const WAYS = ["plain", "loop", "log"] as const;
const WIDTHS = [7, 7, 24, 6, 24, 24, 17, 17, 7, 7, 8];

type Way = (typeof WAYS)[number];
/** Blocks per second. */
type Rates = Record<Way, number>;

/** One case: blocks of `source`, put by so many writers. */
interface Case {
  readonly source: BlockSource;
  readonly size: number;
  readonly writers: number;
  readonly file: string;
}

await withFolder("log", async (folder) => {
  const titles = ["block", "writers", "log/s", "MB/s", "plain/s", "loop/s", "log/plain"];
  row(WIDTHS, [...titles, "log/loop", "p99 ms", "max ms", "per sync"]);
  for (const size of SIZES) {
    const source = new BlockSource(size);
    for (const writers of WRITERS) {
      await compare(folder, { source, size, writers, file: join(folder, "file") });
    }
  }
});

function onlyOption(name: string, unit: number): number[] | undefined {
  const value = valueOf(name);
  return value === undefined ? undefined : [Number(value) * unit];
}

async function compare(folder: string, what: Case): Promise<void> {
  const rounds: Rates[] = [];
  const delaysMs: number[] = [];
  const perSync: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    if (round === 1) delaysMs.length = perSync.length = 0;
    const rates: Rates = { plain: 0, loop: 0, log: 0 };
    const order = round % 2 === 0 ? WAYS : WAYS.toReversed(); // nobody always follows the same one
    for (let turn = 0; turn < WAYS.length; turn++) {
      const way = order[(round + turn) % WAYS.length]!;
      rates[way] =
        way === "log" ? await appendToLog(what, delaysMs, perSync) : await appendPlainly(what, way);
      rmSync(what.file, { recursive: true });
      await settle(folder);
    }
    if (round > 0) rounds.push(rates);
  }
  const rates = (way: Way): number[] => rounds.map((each) => each[way]);
  const ratios = (way: Way): number[] => rounds.map((each) => each.log / each[way]);
  row(WIDTHS, [
    sizeName(what.size),
    String(what.writers),
    spread(rates("log"), 0),
    ((median(rates("log")) * what.size) / 1e6).toFixed(0),
    spread(rates("plain"), 0),
    spread(rates("loop"), 0),
    spread(ratios("plain"), 2),
    spread(ratios("loop"), 2),
    percentile(delaysMs, 0.99).toFixed(1),
    percentile(delaysMs, 1).toFixed(1),
    median(perSync).toFixed(1),
  ]);
}

async function appendPlainly(
  { source, size, writers, file }: Case,
  way: "plain" | "loop",
): Promise<number> {
  const perGroup = Math.max(1, Math.min(writers, Math.floor(BATCH_BYTES / size)));
  const descriptor = openSync(file, "w");
  let next = 0;
  let position = 0;
  const groups = await ratePerSecond(1, TURN_MS, async () => {
    const group = Array.from({ length: perGroup }, () => source.bytes(next++));
    position += writevSync(descriptor, group, position);
    if (way === "plain") fdatasyncSync(descriptor);
    else await syncBeside(descriptor);
  });
  closeSync(descriptor);
  if (position !== next * size) throw new Error("the system took fewer bytes than it was given");
  return groups * perGroup;
}

function syncBeside(descriptor: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fdatasync(descriptor, (error) => (error === null ? resolve() : reject(error)));
  });
}

async function appendToLog(
  { source, writers, file }: Case,
  delaysMs: number[],
  perSync: number[],
): Promise<number> {
  const log = await openBenchLog(file);
  let next = 1;
  await log.put(source.block(next++)); // makes the first segment
  const syncsBefore = log.stats().syncs;
  const put = async (): Promise<void> => {
    const block = source.block(next++);
    verify(block);
    await log.put(block);
  };
  const perSecond = await withDelays(delaysMs, () => ratePerSecond(writers, TURN_MS, put));
  perSync.push((next - 2) / (log.stats().syncs - syncsBefore));
  await log.close();
  return perSecond;
}

/** What the handler of `data.put` does before it hands a block to the log. */
function verify({ bytes, length, pieces, checksum }: BlockToPut): void {
  if (!verifyPieceList(length, pieces, checksum) || firstBadPiece(bytes, 0, pieces) !== -1) {
    throw new Error("a block does not match its checksum");
  }
}
