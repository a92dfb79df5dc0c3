/**
 * What does the index of a log take, and how fast is it?
 *
 *     bin/dfs-bun bench/index.ts                     1 million blocks, about 20 s
 *     bin/dfs-bun bench/index.ts --blocks 4000000
 *
 * Ids come in four orders: rising (one client writes), falling (an opening, which takes the newest record first), in 64
 * runs side by side (many clients), and by chance. Each order runs in a process of its own, so that its memory is seen
 * alone.
 *
 *     arrays    bytes of the pages' arrays for each block
 *     memory    by how much the process has grown for each block, after a garbage collection: arrays, objects around
 *               them, and what the allocator adds; the ids of the test itself are made before
 *     set, get, delete    nanoseconds for one, in an order of their own by chance for get and delete
 *     list      nanoseconds for each block of a listing of all, in pages of 8,192 blocks
 *     slowest   the longest that 100 sets in a row have taken, in milliseconds: what holds up the event loop, with any
 *               garbage collection that fell into it
 *
 * All times are computing time of the one thread, so that what else the machine does is not counted.
 */
import { blockId, lsn, type BlockId } from "../src/base/ids.ts";
import { MAX_BLOCKS_PER_PAGE } from "../src/base/limits.ts";
import { seededRandom } from "../src/base/random.ts";
import { CompactIndex } from "../src/log/index.ts";

const ORDERS = ["rising", "falling", "64 runs", "by chance"] as const;
type Order = (typeof ORDERS)[number];

const RUNS = 64;
const SETS_AT_ONCE = 100;
const SCAVENGE_MS = 400;

const options = process.argv.slice(2);
const blocks = Number(valueOf("--blocks") ?? 1_000_000);
const order = valueOf("--order");
if (order === undefined) compareOrders();
else measure(order as Order);

function valueOf(name: string): string | undefined {
  const at = options.indexOf(name);
  return at === -1 ? undefined : options[at + 1];
}

function compareOrders(): void {
  console.log(`${blocks} blocks`);
  console.log("order       arrays B  memory B   set ns   get ns  list ns  delete ns  slowest ms");
  for (const each of ORDERS) {
    const words = [process.execPath, import.meta.path, "--blocks", String(blocks), "--order", each];
    const { stdout, stderr, exitCode } = Bun.spawnSync(words);
    if (exitCode !== 0) throw new Error(`the run "${each}" failed: ${stderr.toString()}`);
    process.stdout.write(stdout);
  }
}

function measure(which: Order): void {
  const ids = idsIn(which);
  const others = shuffled(ids);
  // Once over a small one, so that neither the compiler's work nor its memory is counted.
  for (let round = 0; round < 3; round++) fill(new CompactIndex(), ids.subarray(0, 20_000));
  const before = memory();
  const index = new CompactIndex();
  const slowestMs = { value: 0 };
  const setNs = timed(() => (slowestMs.value = fill(index, ids)));
  const after = memory();
  const arrays = index.arrayBytes;
  const getNs = timed(() => others.forEach((id) => check(index.get(blockId(id))?.block === id)));
  const listNs = timed(() => check(countListed(index) === blocks));
  const deleteNs = timed(() => others.forEach((id) => index.delete(blockId(id))));
  check(index.size === 0);
  console.log(
    [
      which.padEnd(10),
      (arrays / blocks).toFixed(1).padStart(9),
      ((after - before) / blocks).toFixed(1).padStart(9),
      ...[setNs, getNs, listNs].map((ns) => ns.toFixed(0).padStart(8)),
      deleteNs.toFixed(0).padStart(10),
      slowestMs.value.toFixed(2).padStart(11),
    ].join(" "),
  );
}

/** Sets all ids; returns the longest time that `SETS_AT_ONCE` of them took, in milliseconds. */
function fill(index: CompactIndex, ids: BigUint64Array): number {
  let slowestMs = 0;
  let start = cpuMs();
  for (let at = 0; at < ids.length; at++) {
    index.set({
      block: blockId(ids[at]!),
      length: 1 + (at % 65_536),
      checksum: ids[at]!,
      segment: 1 + (at >>> 10),
      position: 64 + (at & 1023) * 65_536,
      lsn: lsn(BigInt(at)),
      rotten: false,
    });
    if (at % SETS_AT_ONCE !== SETS_AT_ONCE - 1) continue;
    const now = cpuMs();
    slowestMs = Math.max(slowestMs, now - start);
    start = now;
  }
  return slowestMs;
}

function countListed(index: CompactIndex): number {
  let count = 0;
  let after = 0n as BlockId;
  for (;;) {
    const page = index.listAfter(after, MAX_BLOCKS_PER_PAGE);
    if (page.length === 0) return count;
    count += page.length;
    after = page.at(-1)!.block;
  }
}

/** Nanoseconds for each block. */
function timed(work: () => void): number {
  const start = cpuMs();
  work();
  return ((cpuMs() - start) * 1e6) / blocks;
}

/** Milliseconds that this thread has been computing: what else the machine does is not counted. */
function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

/** Resident bytes of this process, garbage collected. */
function memory(): number {
  for (let round = 0; round < 4; round++) {
    Bun.gc(true);
    Bun.sleepSync(SCAVENGE_MS); // the allocator gives back what is free after a while
  }
  return process.memoryUsage.rss();
}

function idsIn(which: Order): BigUint64Array {
  const rising = new BigUint64Array(blocks).map((_, at) => BigInt(at + 1));
  switch (which) {
    case "rising":
      return rising;
    case "falling":
      return rising.reverse();
    case "64 runs":
      return rising.map((_, at) => BigInt(1 + (at % RUNS) * blocks + Math.floor(at / RUNS)));
    case "by chance":
      return shuffled(rising.map((id) => id * 3n));
  }
}

function shuffled(ids: BigUint64Array): BigUint64Array {
  const random = seededRandom(1);
  const result = ids.slice();
  for (let at = result.length - 1; at > 0; at--) {
    const other = random.below(at + 1);
    [result[at], result[other]] = [result[other]!, result[at]!];
  }
  return result;
}

function check(holds: boolean): void {
  if (!holds) throw new Error("the index has lost something");
}
