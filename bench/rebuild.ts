/**
 * How fast is a data server refilled that has lost its disk, beside `cp -r` of the very same directory on the same disk, and
 * what do clients notice of it?
 *
 *     bin/dfs-bun bench/rebuild.ts                      512 MiB in blocks of 1 MiB, 64 MiB in blocks of 4 KiB, about 1 minute
 *     bin/dfs-bun bench/rebuild.ts --mib 2048 --small-mib 256
 *     bin/dfs-bun bench/rebuild.ts --dir /dev/shm       without the disk: what the processor allows
 *
 * A metadata server and four data servers, each a process of its own, on one machine and one disk. One server is killed; its
 * directory is copied with `cp -r`, followed by `sync -f`, because a rebuild ends when everything is on disk; then
 * it is deleted, and the server is started with `--recover`, with no limit to the rate of repairs. The rebuild reads each block
 * from another server, verifies it, sends it over the loopback, verifies and writes it, and puts two changes on record.
 *
 *     rate      bytes of blocks that the server holds in the end, by the time from its start to its being refilled
 *     ratio     that time to the time of the copy
 *     clients   files of 1 MiB (or 64 KiB, with small blocks) that one client puts in a second, one after the other: before,
 *               and while the server is refilled. They go to the other servers and to the one that is refilled
 */
import { mkdtempSync, rmSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { serverId } from "../src/base/ids.ts";
import type { DfsClient } from "../src/client/api.ts";
import { KiB, MiB, patterned } from "../tests/support/cluster.ts";
import { spawnCluster } from "../tests/support/processes.ts";

const OWNER = { mode: 0o644, uid: 0, gid: 0, keepReplaced: false };

/** Content is put in files of this length. */
const FILE_BYTES = 64 * MiB;

/** So long are clients watched before the server is lost. */
const QUIET_MS = 3_000;

/** Which server is lost: its index, its id is one more. */
const LOST = 1;

const pathOf = (text: string): Uint8Array => new TextEncoder().encode(text);

const options = process.argv.slice(2);
const folder = option("--dir") ?? tmpdir();
console.log(
  `${cpus().length} x ${cpus()[0]?.model ?? "unknown"}, Bun ${Bun.version}, load ${loadavg()[0]?.toFixed(1)}`,
);
console.log(
  "blocks    server MiB   cp -r s  rebuild s  ratio  rebuild MiB/s  puts/s before, during",
);
await measure(MiB, Number(option("--mib") ?? 512) * MiB, MiB);
await measure(4 * KiB, Number(option("--small-mib") ?? 64) * MiB, 64 * KiB);

async function measure(blockSize: number, totalBytes: number, putBytes: number): Promise<void> {
  const dir = mkdtempSync(join(folder, "dfs-bench-rebuild-"));
  const cluster = await spawnCluster({
    servers: 4,
    dir,
    settings: { blockSize },
    meta: { repairBytesPerSecond: 0, outDelayMs: 3_600_000 },
  });
  try {
    const client = await cluster.client();
    await fill(client, totalBytes);
    const before = await putsPerSecond(client, "before", putBytes, () => Bun.sleep(QUIET_MS));
    await cluster.server(LOST).kill();
    const lost = cluster.serverDir(LOST);
    const copyMs = timed(() => {
      run(["cp", "-r", lost, `${lost}-copy`]);
      run(["sync", "-f", `${lost}-copy`]);
    });
    rmSync(`${lost}-copy`, { recursive: true });
    rmSync(lost, { recursive: true });
    let rebuildMs = 0;
    const during = await putsPerSecond(client, "during", putBytes, async () => {
      const beganMs = performance.now();
      await cluster.startServer(LOST, { identity: { recover: LOST + 1 } });
      await refilled(client);
      rebuildMs = performance.now() - beganMs;
    });
    const { present } = await client.holdings(serverId(LOST + 1));
    console.log(
      [
        (blockSize >= MiB ? `${blockSize / MiB} MiB` : `${blockSize / KiB} KiB`).padEnd(8),
        (present.bytes / MiB).toFixed(0).padStart(11),
        (copyMs / 1000).toFixed(2).padStart(9),
        (rebuildMs / 1000).toFixed(2).padStart(10),
        (rebuildMs / copyMs).toFixed(1).padStart(6),
        (present.bytes / MiB / (rebuildMs / 1000)).toFixed(1).padStart(14),
        `${before.toFixed(1)}, ${during.toFixed(1)}`.padStart(22),
      ].join(" "),
    );
  } finally {
    await cluster.stop();
  }
}

async function fill(client: DfsClient, totalBytes: number): Promise<void> {
  for (let at = 0; at < totalBytes; at += FILE_BYTES) {
    const bytes = patterned(Math.min(FILE_BYTES, totalBytes - at), at + 1);
    await client.put(pathOf(`/filled-${at}`), [bytes], OWNER);
  }
}

/** Files of `bytes` that one client puts in a second while `work` goes on. */
async function putsPerSecond(
  client: DfsClient,
  name: string,
  bytes: number,
  work: () => Promise<unknown>,
): Promise<number> {
  const content = patterned(bytes, bytes);
  const end = new AbortController();
  const worked = work().finally(() => end.abort());
  const beganMs = performance.now();
  let puts = 0;
  while (!end.signal.aborted) await client.put(pathOf(`/${name}-${puts++}`), [content], OWNER);
  const tookMs = performance.now() - beganMs;
  await worked;
  return (puts * 1000) / tookMs;
}

async function refilled(client: DfsClient): Promise<void> {
  for (;;) {
    const { filling, judging, bad, adding } = await client.holdings(serverId(LOST + 1));
    if (!filling && !judging && bad.copies + adding.copies === 0) return;
    await Bun.sleep(100);
  }
}

function run(words: readonly string[]): void {
  const { exitCode, stderr } = Bun.spawnSync([...words]);
  if (exitCode !== 0) throw new Error(`${words.join(" ")} failed: ${stderr.toString()}`);
}

function timed(work: () => void): number {
  const beganMs = performance.now();
  work();
  return performance.now() - beganMs;
}

function option(name: string): string | undefined {
  const at = options.indexOf(name);
  return at === -1 ? undefined : options[at + 1];
}
