/**
 * How fast does compaction bring space back, and how much does it hold up the event loop? Beside it, in the same run and on
 * the same disk, a plain copy of the live bytes: read, write and one fdatasync for each MiB.
 *
 *     bin/dfs-bun bench/compaction.ts                            512 MiB of blocks in a temporary folder, about 20 s
 *     bin/dfs-bun bench/compaction.ts --dir D --mib 2048
 *
 * For blocks of 4 KiB, 64 KiB and 1 MiB: a log of 64 MiB segments is filled, every second block is deleted, the log is
 * closed and opened again with a rate that never limits, and timed until compaction rests. Medians of 3 rounds. The delay
 * of the event loop is that of a timer that should fire each millisecond, while compaction runs.
 */
import {
  closeSync,
  fdatasyncSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeSync,
} from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { checksumOf, pieceHashes } from "../src/base/checksum.ts";
import { realDisk } from "../src/base/disk.ts";
import { blockId, clusterId, inodeId, serverId } from "../src/base/ids.ts";
import { silentLogger } from "../src/base/logger.ts";
import { systemRandom } from "../src/base/random.ts";
import { openLog, type BlockLog } from "../src/log/log.ts";

const MIB = 1024 * 1024;
const SIZES = [4 * 1024, 64 * 1024, MIB];
const ROUNDS = 3;
const PUTS_AT_ONCE = 64;

interface Round {
  readonly seconds: number;
  readonly movedBytes: number;
  readonly freedBytes: number;
  readonly delaysMs: readonly number[];
  readonly copyBytesPerSecond: number;
}

const options = process.argv.slice(2);
const totalBytes = Number(valueOf("--mib") ?? 512) * MIB;
const folder = mkdtempSync(join(valueOf("--dir") ?? tmpdir(), "dfs-bench-compaction-"));
try {
  console.log(`${cpus().length} x ${cpus()[0]?.model ?? "unknown"}, Bun ${Bun.version}`);
  console.log("block     moved MB/s  freed MB/s  copy MB/s  moved/copy  delay p50  p99  worst ms");
  for (const size of SIZES) await measure(size);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function valueOf(name: string): string | undefined {
  const at = options.indexOf(name);
  return at === -1 ? undefined : options[at + 1];
}

async function measure(size: number): Promise<void> {
  const rounds: Round[] = [];
  for (let round = 0; round < ROUNDS; round++) rounds.push(await oneRound(size, round));
  const moved = median(rounds.map((each) => each.movedBytes / each.seconds));
  const freed = median(rounds.map((each) => each.freedBytes / each.seconds));
  const copy = median(rounds.map((each) => each.copyBytesPerSecond));
  const delays = rounds.flatMap((each) => each.delaysMs).toSorted((a, b) => a - b);
  const delay = (share: number): string =>
    (delays[Math.min(delays.length - 1, Math.floor(delays.length * share))] ?? 0).toFixed(1);
  console.log(
    [
      `${size / 1024} KiB`.padEnd(9),
      (moved / 1e6).toFixed(0).padStart(10),
      (freed / 1e6).toFixed(0).padStart(11),
      (copy / 1e6).toFixed(0).padStart(10),
      (moved / copy).toFixed(2).padStart(11),
      delay(0.5).padStart(10),
      delay(0.99).padStart(4),
      delay(1).padStart(9),
    ].join(" "),
  );
}

async function oneRound(size: number, round: number): Promise<Round> {
  const directory = join(folder, `log-${size}-${round}`);
  const count = Math.floor(totalBytes / size);
  await fillAndDelete(directory, size, count);
  const copyBytesPerSecond = plainCopy(totalBytes / 2);
  const delaysMs: number[] = [];
  let due = performance.now() + 1;
  const timer = setInterval(() => {
    delaysMs.push(Math.max(0, performance.now() - due));
    due = performance.now() + 1;
  }, 1);
  const began = performance.now();
  const log = await open(directory, Number.MAX_SAFE_INTEGER);
  delaysMs.length = 0; // opening is measured elsewhere
  while (log.stats().compaction.running) await Bun.sleep(1);
  const seconds = (performance.now() - began) / 1000;
  clearInterval(timer);
  const { movedBytes, freedBytes } = log.stats().compaction;
  await log.close();
  rmSync(directory, { recursive: true, force: true });
  return { seconds, movedBytes, freedBytes, delaysMs, copyBytesPerSecond };
}

function open(directory: string, compactionRate: number): Promise<BlockLog> {
  return openLog({
    disk: realDisk,
    directory,
    cluster: clusterId("00112233445566778899aabbccddeeff"),
    server: serverId(1),
    random: systemRandom,
    logger: silentLogger,
    reporter: { report: (found) => console.error("damage", found) },
    reserveBytes: 0,
    compactionRate,
  });
}

async function fillAndDelete(directory: string, size: number, count: number): Promise<void> {
  const log = await open(directory, 0);
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
  const odd = Array.from({ length: count / 2 }, (_, at) => blockId(BigInt(2 * at + 1)));
  for (let at = 0; at < odd.length; at += 1000) await log.delete(odd.slice(at, at + 1000));
  await log.close();
}

/** Copies as many bytes as are alive from one file to another. Returns bytes per second. */
function plainCopy(bytes: number): number {
  const buffer = Buffer.from(systemRandom.bytes(MIB));
  const from = join(folder, "from");
  const to = join(folder, "to");
  const source = openSync(from, "w+");
  for (let at = 0; at < bytes; at += MIB) writeSync(source, buffer, 0, MIB, at);
  fdatasyncSync(source);
  const target = openSync(to, "w");
  const began = performance.now();
  for (let at = 0; at < bytes; at += MIB) {
    readSync(source, buffer, 0, MIB, at);
    writeSync(target, buffer, 0, MIB, at);
    fdatasyncSync(target);
  }
  const seconds = (performance.now() - began) / 1000;
  closeSync(source);
  closeSync(target);
  rmSync(from);
  rmSync(to);
  return bytes / seconds;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
