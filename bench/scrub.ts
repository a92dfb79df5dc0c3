/**
 * How fast does a scrub verify a log when nothing limits it, and how much does it hold up the event loop? Beside it, in the
 * same run, a plain sequential read of the same files, 1 MiB at a time into one buffer.
 *
 *     bin/dfs-bun bench/scrub.ts                            512 MiB of blocks in a temporary folder, about 20 s
 *     bin/dfs-bun bench/scrub.ts --dir D --mib 2048
 *
 * For blocks of 4 KiB, 64 KiB and 1 MiB: a log of 64 MiB segments is filled and closed; then read and scrubbed in turn, 5
 * rounds of each, medians. The files are in the system's memory, so this compares the work, not the disk. The delay of the
 * event loop is that of a timer that should fire each millisecond, while the scrub runs; the same while the files are read,
 * which is asynchronous as well, tells what of it is the machine's.
 */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { checksumOf, pieceHashes } from "../src/base/checksum.ts";
import { systemClock } from "../src/base/clock.ts";
import { realDisk } from "../src/base/disk.ts";
import { blockId, clusterId, inodeId, serverId } from "../src/base/ids.ts";
import { silentLogger } from "../src/base/logger.ts";
import { systemRandom } from "../src/base/random.ts";
import { openLog, type BlockLog } from "../src/log/log.ts";
import { MAX_SCRUB_RATE } from "../src/log/scrub.ts";

const MIB = 1024 * 1024;
const SIZES = [4 * 1024, 64 * 1024, MIB];
const ROUNDS = 5;
const PUTS_AT_ONCE = 64;

/** What one run over all bytes took. */
interface Run {
  readonly bytesPerSecond: number;
  readonly delaysMs: readonly number[];
}

const options = process.argv.slice(2);
const totalBytes = Number(valueOf("--mib") ?? 512) * MIB;
const folder = mkdtempSync(join(valueOf("--dir") ?? tmpdir(), "dfs-bench-scrub-"));
try {
  console.log(`${cpus().length} x ${cpus()[0]?.model ?? "unknown"}, Bun ${Bun.version}`);
  console.log(
    "block     scrub MB/s  read MB/s  scrub/read   delay of the scrub p50  p99  worst ms   of the read p50  p99  worst ms",
  );
  for (const size of SIZES) await measure(size);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function valueOf(name: string): string | undefined {
  const at = options.indexOf(name);
  return at === -1 ? undefined : options[at + 1];
}

async function measure(size: number): Promise<void> {
  const directory = join(folder, `log-${size}`);
  await fill(directory, size, Math.floor(totalBytes / size));
  const log = await open(directory);
  const scrubs: Run[] = [];
  const reads: Run[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    reads.push(await timed(() => readFiles(directory)));
    scrubs.push(await timed(() => scrub(log)));
  }
  await log.close();
  rmSync(directory, { recursive: true, force: true });
  const scrubbed = median(scrubs.map((each) => each.bytesPerSecond));
  const read = median(reads.map((each) => each.bytesPerSecond));
  console.log(
    [
      `${size / 1024} KiB`.padEnd(9),
      (scrubbed / 1e6).toFixed(0).padStart(10),
      (read / 1e6).toFixed(0).padStart(10),
      (scrubbed / read).toFixed(2).padStart(11),
      delayText(scrubs).padStart(40),
      delayText(reads).padStart(31),
    ].join(" "),
  );
}

/** Runs `work`, which returns the bytes that it went through. */
async function timed(work: () => Promise<number>): Promise<Run> {
  const delaysMs: number[] = [];
  let due = performance.now() + 1;
  const timer = setInterval(() => {
    delaysMs.push(Math.max(0, performance.now() - due));
    due = performance.now() + 1;
  }, 1);
  const began = performance.now();
  const bytes = await work();
  const seconds = (performance.now() - began) / 1000;
  clearInterval(timer);
  return { bytesPerSecond: bytes / seconds, delaysMs };
}

async function scrub(log: BlockLog): Promise<number> {
  const scrubber = log.scrubber!;
  const before = scrubber.status.lastPassNs;
  const bytes = log.stats().segmentBytes;
  await scrubber.control("start", MAX_SCRUB_RATE);
  while (scrubber.status.lastPassNs === before) await Bun.sleep(1);
  if (scrubber.status.damage > 0) throw new Error("the scrub met damage");
  return bytes;
}

async function readFiles(directory: string): Promise<number> {
  const buffer = new Uint8Array(MIB);
  let total = 0;
  for (const name of readdirSync(directory).filter((each) => each.endsWith(".seg"))) {
    const file = realDisk.open(join(directory, name), "read");
    for (let at = 0, count = MIB; count === MIB; at += count, total += count) {
      count = await file.read(buffer, at);
    }
    await file.close();
  }
  return total;
}

function open(directory: string): Promise<BlockLog> {
  return openLog({
    disk: realDisk,
    directory,
    cluster: clusterId("00112233445566778899aabbccddeeff"),
    server: serverId(1),
    random: systemRandom,
    logger: silentLogger,
    reporter: { report: (found) => console.error("damage", found) },
    reserveBytes: 0,
    clock: systemClock,
    compactionRate: 0,
  });
}

async function fill(directory: string, size: number, count: number): Promise<void> {
  const log = await open(directory);
  const bytes = systemRandom.bytes(size);
  const pieces = pieceHashes(bytes);
  const checksum = checksumOf(size, pieces);
  let next = 1;
  const writer = async (): Promise<void> => {
    while (next <= count) {
      const block = blockId(BigInt(next++));
      const place = { block, inode: inodeId(1n), fileOffset: 0, length: size };
      await log.put({ ...place, checksum, pieces, bytes });
    }
  };
  await Promise.all(Array.from({ length: PUTS_AT_ONCE }, writer));
  await log.close();
}

function delayText(runs: readonly Run[]): string {
  const delays = runs.flatMap((each) => each.delaysMs).toSorted((a, b) => a - b);
  const at = (share: number): string =>
    (delays[Math.min(delays.length - 1, Math.floor(delays.length * share))] ?? 0).toFixed(1);
  return `${at(0.5).padStart(4)} ${at(0.99).padStart(4)} ${at(1).padStart(6)}`;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
