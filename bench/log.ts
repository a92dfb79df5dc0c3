/**
 * How fast does the block log append? Beside it, in the same run and on the same disk, plain write + fdatasync.
 *
 *     bin/dfs-bun bench/log.ts                       all of it in a temporary folder, about 30 s
 *     bin/dfs-bun bench/log.ts --dir D --seconds 3   on another disk, longer runs
 *
 * For blocks of 4 KiB, 64 KiB and 1 MiB and for 1, 16 and 128 writers that each wait for their block to be durable
 * before they put the next one: acknowledged puts per second, MB/s, blocks per sync, and the longest delay of the event
 * loop. "plain" writes the same blocks to one file, as many at a time as there are writers (but no more than 2 MiB), with
 * one fdatasync after each such group; it computes no checksums. The two take turns, so that both meet the same noise.
 */
import { fdatasyncSync, openSync, closeSync, mkdtempSync, rmSync, writevSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checksumOf, pieceHashes } from "../src/base/checksum.ts";
import { realDisk } from "../src/base/disk.ts";
import { blockId, clusterId, inodeId, serverId } from "../src/base/ids.ts";
import { silentLogger } from "../src/base/logger.ts";
import { systemRandom } from "../src/base/random.ts";
import { openLog, type BlockLog, type BlockToPut } from "../src/log/log.ts";
import { BATCH_BYTES } from "../src/log/writer.ts";

const SIZES = [4 * 1024, 64 * 1024, 1024 * 1024];
const WRITERS = [1, 16, 128];
const ROUNDS = 3;

interface Run {
  readonly perSecond: number;
  readonly perSync: number;
  readonly worstDelayMs: number;
}

const options = process.argv.slice(2);
const seconds = Number(valueOf("--seconds") ?? 1);
const folder = mkdtempSync(join(valueOf("--dir") ?? tmpdir(), "dfs-bench-log-"));
try {
  console.log(
    "block     writers      log/s    MB/s  per sync  loop ms    plain/s    MB/s   log/plain",
  );
  for (const size of SIZES) {
    for (const writers of WRITERS) await compare(size, writers);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function valueOf(name: string): string | undefined {
  const at = options.indexOf(name);
  return at === -1 ? undefined : options[at + 1];
}

async function compare(size: number, writers: number): Promise<void> {
  const log: Run[] = [];
  const plain: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    plain.push(plainWrites(size, writers, (seconds * 1000) / ROUNDS));
    log.push(await logWrites(size, writers, (seconds * 1000) / ROUNDS));
  }
  const logRate = mean(log.map((run) => run.perSecond));
  const plainRate = mean(plain);
  const columns = [
    `${size / 1024} KiB`.padEnd(9),
    String(writers).padStart(7),
    logRate.toFixed(0).padStart(10),
    ((logRate * size) / 1e6).toFixed(0).padStart(7),
    mean(log.map((run) => run.perSync))
      .toFixed(1)
      .padStart(9),
    Math.max(...log.map((run) => run.worstDelayMs))
      .toFixed(1)
      .padStart(8),
    plainRate.toFixed(0).padStart(10),
    ((plainRate * size) / 1e6).toFixed(0).padStart(7),
    (logRate / plainRate).toFixed(2).padStart(11),
  ];
  console.log(columns.join(" "));
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Blocks per second of plain writes to one file. */
function plainWrites(size: number, writers: number, durationMs: number): number {
  const path = join(folder, "plain");
  const file = openSync(path, "w");
  const block = systemRandom.bytes(65536);
  const bytes = new Uint8Array(size).map((_, index) => block[index % block.length]!);
  const group = Array.from(
    { length: Math.max(1, Math.min(writers, BATCH_BYTES / size)) },
    () => bytes,
  );
  const start = performance.now();
  let written = 0;
  let position = 0;
  while (performance.now() - start < durationMs) {
    position += writevSync(file, group, position);
    fdatasyncSync(file);
    written += group.length;
  }
  const perSecond = (written * 1000) / (performance.now() - start);
  closeSync(file);
  rmSync(path);
  return perSecond;
}

async function logWrites(size: number, writers: number, durationMs: number): Promise<Run> {
  const directory = join(folder, "log");
  const log = await openLog({
    disk: realDisk,
    directory,
    cluster: clusterId("00112233445566778899aabbccddeeff"),
    server: serverId(1),
    random: systemRandom,
    logger: silentLogger,
    reporter: { report: ({ kind }) => console.log(`damage: ${kind}`) },
  });
  const make = blockMaker(size);
  let worstDelayMs = 0;
  let last = performance.now();
  const probe = setInterval(() => {
    worstDelayMs = Math.max(worstDelayMs, performance.now() - last - 1);
    last = performance.now();
  }, 1);
  const start = performance.now();
  let put = 0;
  const writer = async (): Promise<void> => {
    while (performance.now() - start < durationMs) {
      await log.put(make());
      put++;
    }
  };
  await Promise.all(Array.from({ length: writers }, writer));
  const perSecond = (put * 1000) / (performance.now() - start);
  clearInterval(probe);
  const perSync = put / log.stats().syncs;
  await closeAndRemove(log, directory);
  return { perSecond, perSync, worstDelayMs };
}

function blockMaker(size: number): () => BlockToPut {
  const chunk = systemRandom.bytes(Math.min(size, 65536));
  const bytes = new Uint8Array(size).map((_, index) => chunk[index % chunk.length]!);
  const pieces = pieceHashes(bytes);
  const checksum = checksumOf(size, pieces);
  let next = 1n;
  return () => ({
    block: blockId(next++),
    length: size,
    inode: inodeId(1n),
    fileOffset: 0,
    checksum,
    pieces,
    bytes,
  });
}

async function closeAndRemove(log: BlockLog, directory: string): Promise<void> {
  await log.close();
  rmSync(directory, { recursive: true });
}
