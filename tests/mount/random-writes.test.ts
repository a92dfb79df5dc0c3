// fio writes 4 KiB here and there into a file on a mount, and verifies every block by its CRC32C. The record keeps at most one
// extent for 4 KiB, and the servers' directories come back to what the live bytes need:
//
//     all of them together <= (replicas x live bytes) / (1 - DEAD_SHARE) + servers x (OPEN_SEGMENTS_BYTES + BESIDES_BYTES)
//
// Live are the blocks of which any part belongs to the file: at most LIVE_SHARE times what it is long.
//
// Seconds on a small file with the suite; the long run, in which the space is told every ten seconds until it is in bounds:
//
//     DFS_FIO_SECONDS=60 DFS_FIO_MIB=1024 bin/test tests/mount/random-writes.test.ts

import { expect, test } from "bun:test";
import { until } from "../support/local-cluster.ts";
import { cannotMount, Mounted } from "./support/mounted.ts";

const SECONDS = Number(process.env["DFS_FIO_SECONDS"] ?? 3);
const FILE_MIB = Number(process.env["DFS_FIO_MIB"] ?? 32);
const MIB = 1024 * 1024;
const PIECE_BYTES = 4096;
/** Compaction leaves segments alone of which less than this share is dead; and those that are being written. */
const DEAD_SHARE = 0.4;
const OPEN_SEGMENTS_BYTES = 2 * 64 * MIB;
/** What a data server has on disk besides its segments. */
const BESIDES_BYTES = 32 * MIB;
const REPLICAS = 3;
/** The blocks of 1 MiB that were there before stay beside the pieces of 4 KiB that now lie over parts of them. */
const LIVE_SHARE = 2.5;
/** The space is told so often while it comes back. */
const TELL_MS = 10_000;

interface Storage {
  readonly server: number;
  readonly segmentBytes: number;
  readonly deadBytes: number;
  readonly compaction: { readonly running: boolean; readonly movedBytes: number };
}

interface Status {
  readonly liveBytes: number;
  readonly deadBlocks: number;
  readonly storage: readonly Storage[];
}

const missing = cannotMount ?? (Bun.which("fio") === null ? "fio is missing" : undefined);
if (missing !== undefined) console.log(`skipped: fio on a mount: ${missing}`);

test.skipIf(missing !== undefined)(
  "random writes of 4 KiB are right, and their space comes back",
  async () => {
    const mounted = await Mounted.up({ mounts: 2 });
    try {
      const seed = Number(
        process.env["DFS_TEST_SEED"] ?? crypto.getRandomValues(new Uint16Array(1))[0],
      );
      console.log(`DFS_TEST_SEED=${seed}`);
      const fio = (...flags: readonly string[]): Promise<string> =>
        mounted.ok(
          `fio --name=x --filename=${mounted.path}/file --size=${FILE_MIB}M --ioengine=psync --randseed=${seed} \
             --verify_state_save=0 --output-format=json ${flags.join(" ")}`,
          mounted.cluster.root,
        );
      await fio("--rw=write", "--bs=1M", "--end_fsync=1");
      const out = await fio(
        "--rw=randwrite --bs=4k --verify=crc32c --verify_fatal=1 --do_verify=1 --end_fsync=1",
        `--time_based --runtime=${SECONDS}`,
      );
      const writes = writesIn(out);
      expect(writes).toBeGreaterThan(0);
      // Another mount, whose kernel has seen none of it, reads the same.
      const sums = await Promise.all(
        mounted.mounts.map(({ path }) => mounted.ok("cksum < file", path)),
      );
      expect(sums[1]).toBe(sums[0]);

      const rows = await mounted.cluster.rows<object>("explain", "/file");
      expect(rows.length).toBeLessThanOrEqual((FILE_MIB * MIB) / PIECE_BYTES);

      const status = await backInBounds(mounted);
      expect(status.liveBytes).toBeLessThan(LIVE_SHARE * FILE_MIB * MIB);
      const onDisk = await directoryBytes(mounted);
      for (const [index, { segmentBytes }] of status.storage.entries()) {
        expect(onDisk[index]!).toBeLessThan(segmentBytes + BESIDES_BYTES);
      }
      expect(sumOf(onDisk)).toBeLessThan(mostBytes(status));
      console.log(`${writes} writes in ${SECONDS} s, ${rows.length} extents`);
    } finally {
      await mounted.stop();
    }
  },
  300_000 + SECONDS * 30_000,
);

/** How many writes fio has made. */
function writesIn(output: string): number {
  const { jobs } = JSON.parse(output.slice(output.indexOf("{"))) as {
    jobs: { error: number; write: { total_ios: number } }[];
  };
  expect(jobs.map(({ error }) => error)).toEqual([0]);
  return jobs[0]!.write.total_ios;
}

async function statusOf(cluster: Mounted["cluster"]): Promise<Status> {
  const [status] = await cluster.rows<Status>("status");
  return status!;
}

function isInBounds({ segmentBytes, deadBytes, compaction }: Storage): boolean {
  return !compaction.running && deadBytes <= DEAD_SHARE * segmentBytes + OPEN_SEGMENTS_BYTES;
}

/** What the directories of all data servers together may take. */
function mostBytes({ liveBytes, storage }: Status): number {
  const perServer = OPEN_SEGMENTS_BYTES + BESIDES_BYTES;
  return (REPLICAS * liveBytes) / (1 - DEAD_SHARE) + storage.length * perServer;
}

/** What the data servers' directories take on their disks, in the order of `status`. */
async function directoryBytes({ cluster }: Mounted): Promise<number[]> {
  const { storage } = await statusOf(cluster);
  return Promise.all(storage.map(({ server }) => spaceOf(cluster.server(server).dir)));
}

/** The space of a directory as du counts it; files that go while it looks are no error. */
async function spaceOf(directory: string): Promise<number> {
  const du = Bun.spawn(["du", "-sk", directory], { stdout: "pipe", stderr: "ignore" });
  return Number((await du.stdout.text()).split("\t")[0]) * 1024;
}

/** Waits until no server has more on its disk than it may, and tells the space on the way. */
async function backInBounds(mounted: Mounted): Promise<Status> {
  const { cluster } = mounted;
  const began = performance.now();
  let told = -Infinity;
  let status = await statusOf(cluster);
  const look = async (): Promise<boolean> => {
    status = await statusOf(cluster);
    const done = status.deadBlocks === 0 && status.storage.every(isInBounds);
    const seconds = (performance.now() - began) / 1000;
    if (done || seconds * 1000 - told >= TELL_MS) {
      told = seconds * 1000;
      console.log(`${Math.round(seconds)} s after the run: ${await spaceInWords(mounted, status)}`);
    }
    return done;
  };
  await until(look, "the space of what was overwritten to come back", 60_000 + SECONDS * 10_000);
  return status;
}

async function spaceInWords(mounted: Mounted, status: Status): Promise<string> {
  const { liveBytes, deadBlocks, storage } = status;
  const mib = (bytes: number): number => Math.round(bytes / MIB);
  const onDisk = await directoryBytes(mounted);
  const meta = await spaceOf(`${mounted.cluster.dir}/meta`);
  const sum = (key: "segmentBytes" | "deadBytes"): number =>
    mib(sumOf(storage.map((each) => each[key])));
  return (
    `live ${mib(liveBytes)} MiB; directories ${onDisk.map(mib).join(", ")} MiB, together ${mib(sumOf(onDisk))}, ` +
    `at most ${mib(mostBytes(status))}; ${sum("segmentBytes")} MiB of segments, ${sum("deadBytes")} MiB of them dead, ` +
    `${mib(sumOf(storage.map(({ compaction }) => compaction.movedBytes)))} MiB moved by compaction; ` +
    `${deadBlocks} dead blocks on record; metadata ${mib(meta)} MiB`
  );
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}
