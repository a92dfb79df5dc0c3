/**
 * What the measurements of the block log share: folders that vanish, blocks, a log to measure, and figures.
 *
 * The machine is shared with others and its disk with other machines, so a figure alone says little: everything is
 * measured several times, in turns with what it is compared to, and told as the median with the smallest and the largest.
 */
import {
  closeSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
} from "node:fs";
import { cpus, release, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { checksumOf, pieceHashes } from "../src/base/checksum.ts";
import { realDisk } from "../src/base/disk.ts";
import { blockId, clusterId, inodeId, serverId } from "../src/base/ids.ts";
import { silentLogger } from "../src/base/logger.ts";
import { systemRandom } from "../src/base/random.ts";
import { openLog, type BlockLog, type BlockToPut, type LogOptions } from "../src/log/log.ts";

export const KIB = 1024;
export const MIB = 1024 * KIB;

/** Blocks are made of so many bytes, so that their content does not come out of the processor's caches. */
const SOURCE_BYTES = 64 * MIB;

const PUTS_AT_ONCE = 256;

/** The word behind an option of the command line. */
export function valueOf(name: string): string | undefined {
  const at = process.argv.indexOf(name);
  return at === -1 ? undefined : process.argv[at + 1];
}

/** Runs `work` with a folder in `--dir` (or the system's temporary one) that is removed afterwards, also on Ctrl-C. */
export async function withFolder(
  name: string,
  work: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(valueOf("--dir") ?? tmpdir(), `dfs-bench-${name}-`));
  const remove = (): void => rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      remove();
      process.exit(130);
    });
  }
  try {
    printMachine(folder);
    await work(folder);
  } finally {
    remove();
  }
}

/** Where this was measured, without which no figure means anything. */
function printMachine(folder: string): void {
  const { blocks, bavail, bsize } = statfsSync(folder);
  const gib = (bytes: number): string => (bytes / 2 ** 30).toFixed(0);
  console.log(
    `${cpus().length} x ${cpus()[0]?.model ?? "unknown"}, ${gib(totalmem())} GiB, Linux ${release()}`,
  );
  console.log(`${mountOf(folder)}, ${gib(bavail * bsize)} of ${gib(blocks * bsize)} GiB free`);
  console.log(`Bun ${Bun.version}, dfs ${commit()}\n`);
}

/** File system and device that hold `folder`. */
function mountOf(folder: string): string {
  const holds = (point: string): boolean => point === "/" || `${folder}/`.startsWith(`${point}/`);
  const mounts = readFileSync("/proc/mounts", "utf8").trim().split("\n");
  const found = mounts
    .map((line) => line.split(" "))
    .filter((words) => holds(words[1]!))
    .toSorted((a, b) => b[1]!.length - a[1]!.length)[0];
  return found === undefined
    ? "unknown file system"
    : `${found[2]!} on ${found[0]!} (${found[3]!})`;
}

function commit(): string {
  const git = (...words: string[]): string =>
    Bun.spawnSync(["git", ...words], { cwd: import.meta.dir })
      .stdout.toString()
      .trim();
  const changed = git("status", "--porcelain", "--untracked-files=no") !== "";
  return `${git("rev-parse", "--short", "HEAD") || "unknown"}${changed ? " with changes" : ""}`;
}

/** Lets the file system finish what it owes for deleted files, so that the next measurement does not pay for it. */
export async function settle(folder: string): Promise<void> {
  const descriptor = openSync(folder, "r");
  fsyncSync(descriptor);
  closeSync(descriptor);
  await Bun.sleep(50);
}

/** A log as a data server opens it, but with no reserve and no compaction. */
export function openBenchLog(
  directory: string,
  options: Partial<LogOptions> = {},
): Promise<BlockLog> {
  return openLog({
    disk: realDisk,
    directory,
    cluster: clusterId("00112233445566778899aabbccddeeff"),
    server: serverId(1),
    random: systemRandom,
    logger: silentLogger,
    reporter: { report: (found) => console.error("damage", found) },
    reserveBytes: 0,
    compactionRate: 0,
    ...options,
  });
}

/** Blocks of `size` bytes with random content, taken in turn, with what a server is sent along with them. */
export class BlockSource {
  readonly count: number;
  private readonly blocks: Pick<BlockToPut, "bytes" | "pieces" | "checksum" | "length">[];

  constructor(size: number, sourceBytes = SOURCE_BYTES) {
    this.count = Math.min(1024, Math.max(1, Math.floor(sourceBytes / size)));
    this.blocks = Array.from({ length: this.count }, () => {
      const bytes = randomBytes(size);
      const pieces = pieceHashes(bytes);
      return { bytes, pieces, checksum: checksumOf(size, pieces), length: size };
    });
  }

  bytes(number: number): Uint8Array {
    return this.blocks[number % this.count]!.bytes;
  }

  /** Block `number`, from 1. */
  block(number: number): BlockToPut {
    return {
      block: blockId(BigInt(number)),
      inode: inodeId(1n),
      fileOffset: 0,
      ...this.blocks[number % this.count]!,
    };
  }
}

function randomBytes(size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  return bytes;
}

/** Puts the `count` blocks from `first` on, in this order, many at a time. */
export async function putBlocks(
  log: BlockLog,
  source: BlockSource,
  first: number,
  count: number,
): Promise<void> {
  const end = first + count;
  for (let from = first; from < end; from += PUTS_AT_ONCE) {
    const length = Math.min(PUTS_AT_ONCE, end - from);
    await Promise.all(Array.from({ length }, (_, at) => log.put(source.block(from + at))));
  }
}

/** Runs `work` in `workers` loops side by side, until `durationMs` have passed. Returns how often it ran in a second. */
export async function ratePerSecond(
  workers: number,
  durationMs: number,
  work: () => Promise<void>,
): Promise<number> {
  const start = performance.now();
  let count = 0;
  const worker = async (): Promise<void> => {
    while (performance.now() - start < durationMs) {
      await work();
      count++;
    }
  };
  await Promise.all(Array.from({ length: workers }, worker));
  return (count * 1000) / (performance.now() - start);
}

/** By how many milliseconds a timer that should fire each millisecond was late, while `work` ran. */
export async function withDelays<T>(delaysMs: number[], work: () => Promise<T>): Promise<T> {
  let due = performance.now() + 1;
  const timer = setInterval(() => {
    const now = performance.now();
    delaysMs.push(Math.max(0, now - due));
    due = now + 1;
  }, 1);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}

/** The value below which `share` of the values lie. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/** `median (smallest-largest)`. */
export function spread(values: readonly number[], digits: number): string {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return `${median(values).toFixed(digits)} (${low.toFixed(digits)}-${high.toFixed(digits)})`;
}

/** Prints a line of cells, aligned to the right in columns of the given widths; the first is aligned to the left. */
export function row(widths: readonly number[], cells: readonly string[]): void {
  const padded = cells.map((cell, at) =>
    at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!),
  );
  console.log(padded.join("  ").trimEnd());
}

/** A size in words. */
export function sizeName(bytes: number): string {
  return bytes < MIB ? `${bytes / KIB} KiB` : `${bytes / MIB} MiB`;
}
