// fio writes 4 KiB here and there into a file on a mount, and verifies every block by its CRC32C. The record keeps at most one
// extent for 4 KiB, and the servers' disks come back to what the live bytes need.
//
// Seconds on a small file with the suite; the long run, after which the figures are printed:
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

      let status = await statusOf(mounted);
      await until(
        async () => {
          status = await statusOf(mounted);
          return status.deadBlocks === 0 && status.storage.every(isInBounds);
        },
        "the space of what was overwritten to come back",
        60_000 + SECONDS * 10_000,
      );
      for (const { server, segmentBytes } of status.storage) {
        const directory = mounted.cluster.server(server).dir;
        const onDisk = Number((await mounted.ok(`du -sk ${directory}`, "/")).split("\t")[0]) * 1024;
        expect(onDisk).toBeLessThan(segmentBytes + BESIDES_BYTES);
      }
      tell(status, writes, rows.length);
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

async function statusOf({ cluster }: Mounted): Promise<Status> {
  const [status] = await cluster.rows<Status>("status");
  return status!;
}

function isInBounds({ segmentBytes, deadBytes, compaction }: Storage): boolean {
  return !compaction.running && deadBytes <= DEAD_SHARE * segmentBytes + OPEN_SEGMENTS_BYTES;
}

function tell({ liveBytes, storage }: Status, writes: number, extents: number): void {
  const sum = (key: "segmentBytes" | "deadBytes"): number =>
    storage.reduce((total, each) => total + each[key], 0) / MIB;
  const moved = storage.reduce((total, { compaction }) => total + compaction.movedBytes, 0) / MIB;
  console.log(
    `${writes} writes in ${SECONDS} s, ${extents} extents; live ${Math.round(liveBytes / MIB)} MiB, ` +
      `on ${storage.length} servers ${Math.round(sum("segmentBytes"))} MiB of segments, ` +
      `${Math.round(sum("deadBytes"))} MiB of them dead, ${Math.round(moved)} MiB moved by compaction`,
  );
}
