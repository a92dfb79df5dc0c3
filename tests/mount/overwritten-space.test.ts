// What is overwritten in pieces of 4 KiB gives its space back on the servers' disks: a file is written over several times, on
// servers with small segments, so that compaction has to work. The same on a mount with fio and the usual segments:
// random-writes.test.ts.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { seededRandom, systemRandom } from "../../src/base/random.ts";
import { KiB, MiB, until } from "../support/cluster.ts";
import { TwoMounts } from "./support/two-mounts.ts";

const PIECE = 4 * KiB;
const SEGMENT = 256 * KiB;
const SERVERS = 4;
const REPLICAS = 3;
const FILE = 2 * MiB;
const PIECES = FILE / PIECE;
/** So many times as many pieces are written as the file has. */
const TIMES = 5;
/** Pieces between two syncs: of neighbours among them one block is made. */
const AT_ONCE = 64;
/** Compaction leaves a segment alone of which less than this share is dead. */
const DEAD_SHARE = 0.4;
/** The segment that is written, and the one before it while it is being sealed. */
const OPEN_SEGMENTS = 2;
/** Identity, lock, manifest and checkpoint of a server. */
const BESIDES = 512 * KiB;
/** Blocks stay whole as long as a part of them is in the file. */
const LIVE_SHARE = 2.5;

let mounts: TwoMounts;
beforeAll(async () => {
  mounts = await TwoMounts.start({
    servers: SERVERS,
    meta: { reaperIntervalMs: 100 },
    data: { segmentBytes: SEGMENT },
  });
});
afterAll(() => mounts.stop());

/** What all files of a directory take on the disk; those that go meanwhile take nothing. */
function spaceOf(directory: string): number {
  return readdirSync(directory, { recursive: true, encoding: "utf8" }).reduce((sum, name) => {
    const found = statSync(join(directory, name), { throwIfNoEntry: false });
    return sum + (found?.blocks ?? 0) * 512;
  }, 0);
}

test("pieces of 4 KiB, written over and over, take no more space than the file needs", async () => {
  const seed = Number(process.env["DFS_TEST_SEED"] ?? systemRandom.id64() % 1_000_000_000n);
  console.log(`DFS_TEST_SEED=${seed}`);
  const random = seededRandom(seed);
  const { cluster, here } = mounts;
  const client = await cluster.client();
  const { inode, handle } = await mounts.freshFile(await mounts.freshDirectory());
  const image = Buffer.from(random.bytes(FILE));
  await here.write(inode, handle, 0, image);
  await here.fsync(inode, handle);
  for (let written = 0; written < TIMES * PIECES; written += AT_ONCE) {
    for (let piece = 0; piece < AT_ONCE; piece++) {
      const offset = random.below(PIECES) * PIECE;
      const bytes = random.bytes(PIECE);
      image.set(bytes, offset);
      await here.write(inode, handle, offset, bytes);
    }
    await here.fsync(inode, handle);
  }

  const onDisk = (): number[] => cluster.servers.map(({ dir }) => spaceOf(dir));
  const sum = (): number => onDisk().reduce((total, each) => total + each, 0);
  const most = (liveBytes: number): number =>
    (REPLICAS * liveBytes) / (1 - DEAD_SHARE) + SERVERS * (OPEN_SEGMENTS * SEGMENT + BESIDES);
  let status = await client.status();
  const before = sum();
  await until("the space to come back", async () => {
    status = await client.status();
    return status.deadBlocks === 0 && sum() <= most(status.liveBytes);
  });
  console.log(
    `live ${status.liveBytes / FILE} times the file; on disk ${before / MiB} MiB, then ` +
      `${onDisk().map((each) => each / MiB)}; at most ${most(status.liveBytes) / MiB} together`,
  );
  expect(status.liveBytes).toBeLessThan(LIVE_SHARE * FILE);
  expect(Buffer.compare(await mounts.wholeThere(inode), image)).toBe(0);
  await here.release(inode, handle);
}, 120_000);
