/**
 * What does a data server compute for each block that it is refilled with?
 *
 *     bin/dfs-bun bench/refill.ts                       64 MiB of blocks of 4 KiB, four times
 *     bin/dfs-bun bench/refill.ts --block 65536         other blocks (at most 1 MiB)
 *     bin/dfs-bun bench/refill.ts --mib 256 --runs 2    more of them, fewer runs
 *     bin/dfs-bun bench/refill.ts --sources 1           from one source instead of two
 *     bin/dfs-bun bench/refill.ts --batch 256           fewer blocks in each order than there may be
 *     bin/dfs-bun bench/refill.ts --batches 1           ordered one batch after the other instead of two at a time
 *     bin/dfs-bun bench/refill.ts --dir /dev/shm        without the disk
 *
 * A real data server in this process, with a metadata service that only orders `data.copyMany`. The sources are processes of
 * their own that give made-up blocks without reading any, so that they are never what is waited for. The processor time is
 * that of this process while the server is filled: the server's and, small beside it, that of making the orders.
 * bench/rebuild.ts has the whole of a rebuild, with everything that waits for something else in it.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { blockChecksum } from "../src/base/checksum.ts";
import { systemClock } from "../src/base/clock.ts";
import { blockId, inodeId, instanceId, serverId } from "../src/base/ids.ts";
import { MAX_BATCHED_BLOCKS, MAX_BATCHED_BYTES, MAX_GIVEN_BYTES } from "../src/base/limits.ts";
import { silentLogger } from "../src/base/logger.ts";
import { seededRandom, systemRandom } from "../src/base/random.ts";
import { HandlerTable, listenPeers } from "../src/protocol/endpoint.ts";
import type { CopyRow } from "../src/protocol/messages/block-rows.ts";
import { blockCopyMany, blockGetMany } from "../src/protocol/messages/data.ts";
import { tcpTransport } from "../src/protocol/transports/tcp.ts";
import type { DataServer } from "../src/server/data/server.ts";
import { cleanUp, identityOf, ScriptedService, startData } from "../tests/server/data/support.ts";

const MIB = 1024 * 1024;
const FIRST_SOURCE = 90;

/** What all blocks are cut from: no two neighbours are the same. */
const CONTENT = seededRandom(1).bytes(2 * MIB);

const options = process.argv.slice(2);
const blockBytes = Number(option("--block") ?? 4096);
const blocks = Math.floor((Number(option("--mib") ?? 64) * MIB) / blockBytes);

if (option("--source") === undefined) await measure();
else await give(Number(option("--source")));

function option(name: string): string | undefined {
  const at = options.indexOf(name);
  return at < 0 ? undefined : options[at + 1];
}

/** The bytes of a block. */
function bytesOf(id: number): Uint8Array {
  const start = (id * 64) % (CONTENT.length - blockBytes);
  return CONTENT.subarray(start, start + blockBytes);
}

/** Is a source, until its standard input ends. */
async function give(server: number): Promise<void> {
  const handlers = new HandlerTable();
  const buffers: Uint8Array[] = [];
  handlers.onRequest(blockGetMany, ({ body: { blocks: wanted } }) => {
    const buffer = buffers.pop() ?? new Uint8Array(MAX_GIVEN_BYTES);
    let at = 0;
    for (const { block } of wanted) {
      buffer.set(bytesOf(Number(block)), at);
      at += blockBytes;
    }
    const given = wanted.map(() => true);
    return { body: { given }, bulk: buffer.subarray(0, at), sent: () => void buffers.push(buffer) };
  });
  const listener = await listenPeers({
    transport: tcpTransport(systemClock),
    address: "127.0.0.1:0",
    identity: identityOf("data", { server: serverId(server) }),
    handlers,
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
  });
  console.log(listener.address);
  await Bun.stdin.text();
  process.exit(0);
}

async function measure(): Promise<void> {
  const count = Number(option("--sources") ?? 2);
  const started = Array.from({ length: count }, (_, at) => FIRST_SOURCE + at).map(startSource);
  const sources = await Promise.all(started.map(async ({ source }) => source));
  const rows = Array.from({ length: blocks }, (_, at) => rowOf(at + 1, at % count));
  console.log("block bytes   blocks   s   us of processor for each: user + system   blocks/s");
  try {
    for (let run = 0; run < Number(option("--runs") ?? 4); run++) await fill(sources, rows);
  } finally {
    for (const { process: child } of started) child.kill();
    await cleanUp();
  }
}

function startSource(server: number) {
  const child = Bun.spawn({
    cmd: [process.execPath, import.meta.path, ...options, "--source", String(server)],
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const firstLine = async (): Promise<string> => {
    const { value } = await child.stdout.getReader().read();
    return new TextDecoder().decode(value).trim();
  };
  const source = firstLine().then((address) => ({ server: serverId(server), address }));
  return { process: child, source };
}

function rowOf(id: number, source: number): CopyRow {
  return {
    block: blockId(BigInt(id)),
    checksum: blockChecksum(bytesOf(id)),
    inode: inodeId(2n),
    fileOffset: id * blockBytes,
    length: blockBytes,
    source,
  };
}

type Sources = readonly { server: ReturnType<typeof serverId>; address: string }[];

/** Fills a new data server once, and prints what that took. */
async function fill(sources: Sources, rows: readonly CopyRow[]): Promise<void> {
  const folder = mkdtempSync(join(option("--dir") ?? tmpdir(), "dfs-bench-refill-"));
  const service = await ScriptedService.start();
  const server = await startData(service, join(folder, "data"), { identity: "new" });
  const orders = ordersOf(rows).values();
  let number = 0n;
  const lane = async (): Promise<void> => {
    for (const order of orders) await copy(service, server, ++number, sources, order);
  };
  const before = process.cpuUsage();
  const start = performance.now();
  await Promise.all(Array.from({ length: Number(option("--batches") ?? 2) }, lane));
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(before);
  const each = (microseconds: number): string => (microseconds / rows.length).toFixed(1);
  const rate = (rows.length / seconds).toFixed(0);
  console.log(
    `${blockBytes}   ${rows.length}   ${seconds.toFixed(2)}   ${each(user + system)}: ${each(user)} + ${each(system)}   ${rate}`,
  );
  await server.stop();
  await service.stop();
  rmSync(folder, { recursive: true });
}

function ordersOf(rows: readonly CopyRow[]): CopyRow[][] {
  const allowed = Math.min(MAX_BATCHED_BLOCKS, Math.floor(MAX_BATCHED_BYTES / blockBytes));
  const most = Math.min(allowed, Number(option("--batch") ?? allowed));
  const orders: CopyRow[][] = [];
  for (let at = 0; at < rows.length; at += most) orders.push(rows.slice(at, at + most));
  return orders;
}

async function copy(
  service: ScriptedService,
  { instance }: DataServer,
  number: bigint,
  sources: Sources,
  blocksOfOrder: CopyRow[],
): Promise<void> {
  const place = { reign: service.reign, instance: instanceId(instance), number };
  const body = { ...place, sources: [...sources], blocks: blocksOfOrder };
  const options = { timeoutMs: 60_000 };
  const { results } = (await service.member.request(blockCopyMany, body, options)).body;
  const lost = results.filter((result) => result !== "stored").length;
  if (lost > 0) throw new Error(`${lost} of ${results.length} blocks were not stored`);
}
