/**
 * How fast is a data server refilled that has lost its disk, beside `cp -r` of the very same directory on the same disk, and
 * what do clients notice of it?
 *
 *     bin/dfs-bun bench/rebuild.ts                      1 GiB of files in blocks of 1 MiB, and again in blocks of 4 KiB
 *     bin/dfs-bun bench/rebuild.ts --mib 128 --runs 3   less, and medians of three runs. What clients write meanwhile stays, and
 *                                                       `cp` slows down when the system begins to write back: for
 *                                                       much content start the command anew for each run
 *     bin/dfs-bun bench/rebuild.ts --block 4096         blocks of this size alone
 *     bin/dfs-bun bench/rebuild.ts --dir /dev/shm       without the disk: what the processor allows
 *     bin/dfs-bun bench/rebuild.ts --json               one object per run, and one with the medians
 *     bin/dfs-bun bench/rebuild.ts --profile DIR        processor profiles of all servers, one file for each process
 *
 * A metadata server and four data servers, each a process of its own, on one machine and one disk. They hold three copies
 * of everything, so each server holds three quarters of what was put. In each run one server is killed; its directory is
 * copied with `cp -r`, followed by `sync -f`, because a rebuild ends when everything is on disk; then it is deleted, and
 * the server is started with `--recover` and refilled by the others: first while nobody else is there, then, after it was
 * killed and has lost everything once more, while a client is at work.
 *
 * Repairs are not slowed down here (`--repair-rate 0`). By default a cluster copies blocks that have two good copies left
 * at 100 MiB/s at most, which is a choice in favour of clients and says nothing about what the code can do.
 *
 *     time      from the start of the server's process until the record says that it has been refilled
 *     of cp     time of `cp -r` and `sync -f`, divided by that time: the target is 0.5
 *     of files  the same of `cp -r` and `sync -f` of as many files as there were blocks on the server, each as long as a block:
 *               what a copy costs that has to know them one by one, and has a name for each
 *     of plain  the same of a plain copy of the directory through sockets (plain-copy.ts); a rebuild has to keep a record, ask
 *               for what it gets, and verify it besides
 *     cpu       processor seconds of the copy; of the rebuild: the metadata server's, the refilled server's, the others'.
 *               These say most when the machine is shared: time does not, when others have the processors
 *     clients   files of 1 MiB (of 64 KiB, with small blocks) that one client puts, and reads back, in a second: the one
 *               number while nothing else happens, the other while the server is refilled. Copies of what it puts go to
 *               the other servers and to the one that is refilled
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { isDfsError } from "../src/base/errors.ts";
import { serverId } from "../src/base/ids.ts";
import type { DfsClient } from "../src/client/api.ts";
import { KiB, MiB, patterned } from "../tests/support/cluster.ts";
import { plainCopy } from "./plain-copy.ts";
import { spawnCluster, type ProcessCluster } from "../tests/support/processes.ts";

const OWNER = { mode: 0o644, uid: 0, gid: 0, keepReplaced: false };

/** Content is put in files of this length: few and large ones, because names are not what is measured. */
const FILE_BYTES = 64 * MiB;

/** So long are clients watched before the server is lost. */
const QUIET_MS = 3_000;

/** Between two looks whether the server has been refilled. */
const LOOK_MS = 20;

/** Between two looks at the record while copies are being made: so long, and so many times as long as a look takes. */
const RARELY_MS = 1_000;
const RARELY_FACTOR = 20;

/** Of the files that are copied for comparison. */
const FILES_IN_DIRECTORY = 256;

/** Which server is lost: its index, its id is one more. */
const LOST = 1;

/** What one run has shown. */
interface Run {
  readonly blockBytes: number;
  /** Bytes of blocks on the refilled server. */
  readonly serverBytes: number;
  readonly copyMs: number;
  readonly rebuildMs: number;
  /** Time of the copy by that of the rebuild. */
  readonly ofCopy: number;
  readonly filesMs: number;
  /** Time of the copy of a file for each block by that of the rebuild. */
  readonly ofFiles: number;
  readonly plainMs: number;
  /** Time of the plain copy by that of the rebuild. */
  readonly ofPlain: number;
  readonly copyCpuMs: number;
  readonly metaCpuMs: number;
  readonly targetCpuMs: number;
  readonly sourcesCpuMs: number;
  readonly busyRebuildMs: number;
  readonly putsBefore: number;
  readonly putsDuring: number;
  readonly readsBefore: number;
  readonly readsDuring: number;
}

/** What a client has done in a second. */
interface Work {
  readonly puts: number;
  readonly reads: number;
}

const pathOf = (text: string): Uint8Array => new TextEncoder().encode(text);

const options = process.argv.slice(2);
const folder = option("--dir") ?? tmpdir();
const totalBytes = Number(option("--mib") ?? 1024) * MiB;
const runs = Number(option("--runs") ?? 1);
const isJson = options.includes("--json");
const profiles = option("--profile");
const sizes = option("--block") === undefined ? [MiB, 4 * KiB] : [Number(option("--block"))];
if (!isJson) printHead();
for (const blockBytes of sizes) await measure(blockBytes);

async function measure(blockBytes: number): Promise<void> {
  const dir = mkdtempSync(join(folder, "dfs-bench-rebuild-"));
  if (profiles !== undefined) mkdirSync(profiles, { recursive: true });
  const cluster = await spawnCluster({
    servers: 4,
    dir,
    settings: { blockSize: blockBytes },
    meta: { repairBytesPerSecond: 0, outDelayMs: 3_600_000 },
    ...(profiles === undefined ? {} : { runtime: ["--cpu-prof", `--cpu-prof-dir=${profiles}`] }),
  });
  try {
    const client = await cluster.client();
    await fill(client);
    const results: Run[] = [];
    for (let run = 0; run < runs; run++)
      results.push(await measureOnce(cluster, client, blockBytes, run));
    for (const result of results) show("run", result);
    if (runs > 1) show("median", medianOf(results));
    if (profiles !== undefined) await cluster.endServers(); // a profile is written at the end of its process
  } finally {
    await cluster.stop();
  }
}

async function measureOnce(
  cluster: ProcessCluster,
  client: DfsClient,
  blockBytes: number,
  run: number,
): Promise<Run> {
  const fileBytes = blockBytes >= 64 * KiB ? MiB : 64 * KiB;
  await quiet(client);
  const { present } = await client.holdings(serverId(LOST + 1));
  await cluster.server(LOST).kill();
  const lost = cluster.serverDir(LOST);
  command("sync", "-f", lost); // neither side shall pay for what was written before
  copyDirectory(cluster.dir, lost); // see `copyDirectory`
  const { copyMs, copyCpuMs } = copyDirectory(cluster.dir, lost);
  const plainMs = await plainCopy(lost, `${lost}-copy`);
  rmSync(`${lost}-copy`);
  const filesMs = copyOfFiles(cluster.dir, present.copies, blockBytes);
  const others = [0, 1, 2, 3].filter((index) => index !== LOST);
  const pidsOfOthers = others.map((index) => cluster.server(index).process.pid);
  const sourcesBefore = pidsOfOthers.map(cpuMs);
  const metaBefore = cpuMs(cluster.meta.process.pid);
  const rebuildMs = await rebuild(cluster, client, present.copies);
  const metaCpuMs = cpuMs(cluster.meta.process.pid) - metaBefore;
  const targetCpuMs = cpuMs(cluster.server(LOST).process.pid);
  const sourcesCpuMs = pidsOfOthers
    .map((pid, at) => cpuMs(pid) - sourcesBefore[at]!)
    .reduce((sum, each) => sum + each, 0);
  const before = await workOf(client, `before-${run}`, fileBytes, () => Bun.sleep(QUIET_MS));
  await cluster.server(LOST).kill();
  let busyRebuildMs = 0;
  const during = await workOf(client, `during-${run}`, fileBytes, async () => {
    busyRebuildMs = await rebuild(cluster, client, present.copies);
  });
  return {
    blockBytes,
    serverBytes: present.bytes,
    copyMs: Math.round(copyMs),
    rebuildMs: Math.round(rebuildMs),
    ofCopy: copyMs / rebuildMs,
    filesMs: Math.round(filesMs),
    ofFiles: filesMs / rebuildMs,
    plainMs: Math.round(plainMs),
    ofPlain: plainMs / rebuildMs,
    copyCpuMs,
    metaCpuMs,
    targetCpuMs,
    sourcesCpuMs,
    busyRebuildMs: Math.round(busyRebuildMs),
    putsBefore: before.puts,
    putsDuring: during.puts,
    readsBefore: before.reads,
    readsDuring: during.reads,
  };
}

/**
 * Lets the killed server lose its disk, and start anew; it held `copies` blocks. Returns how many milliseconds it took to be
 * refilled.
 */
async function rebuild(
  cluster: ProcessCluster,
  client: DfsClient,
  copies: number,
): Promise<number> {
  rmSync(cluster.serverDir(LOST), { recursive: true });
  command("sync", "-f", cluster.dir);
  const beganMs = performance.now();
  await cluster.startServer(LOST, { identity: { recover: LOST + 1 } });
  // Asking the record counts all copies on it, which is work too: often only when as many as before are there. It may come
  // to fewer, when some were made elsewhere.
  for (let nextLookMs = performance.now() + RARELY_MS; ; await Bun.sleep(LOOK_MS)) {
    if ((await stored(client)) < copies && performance.now() < nextLookMs) continue;
    const lookMs = performance.now();
    if (!(await client.holdings(serverId(LOST + 1))).filling) return performance.now() - beganMs;
    const tookMs = performance.now() - lookMs;
    nextLookMs = performance.now() + Math.max(RARELY_MS, tookMs * RARELY_FACTOR);
  }
}

/** Blocks on the server that is refilled; 0 while it does not serve yet. */
async function stored(client: DfsClient): Promise<number> {
  try {
    return (await client.dataStats(serverId(LOST + 1))).blocks;
  } catch (error) {
    if (isDfsError(error)) return 0;
    throw error;
  }
}

async function fill(client: DfsClient): Promise<void> {
  for (let at = 0; at < totalBytes; at += FILE_BYTES) {
    const bytes = patterned(Math.min(FILE_BYTES, totalBytes - at), at + 1);
    await client.put(pathOf(`/filled-${at}`), [bytes], OWNER);
  }
  await quiet(client);
}

/** Nothing is on record for repair: copies that went to stand-ins, because a server was late, are where they belong. */
async function quiet(client: DfsClient): Promise<void> {
  for (;;) {
    const { repair } = await client.status();
    if (repair === null || repair.queue.length + repair.copying === 0) return;
    await Bun.sleep(100);
  }
}

/** What a client puts and reads back, one file of `bytes` after the other, while `other` goes on. */
async function workOf(
  client: DfsClient,
  name: string,
  bytes: number,
  other: () => Promise<unknown>,
): Promise<Work> {
  const content = patterned(bytes, bytes);
  const end = new AbortController();
  const ended = other().finally(() => end.abort());
  let [rounds, putMs, readMs] = [0, 0, 0];
  while (!end.signal.aborted) {
    const path = pathOf(`/${name}-${rounds++}`);
    const beganMs = performance.now();
    await client.put(path, [content], OWNER);
    const putEndMs = performance.now();
    const file = await client.open(path);
    const read = await file.read(0, bytes);
    await file.close();
    if (read.length !== bytes) throw new Error(`read ${read.length} bytes instead of ${bytes}`);
    putMs += putEndMs - beganMs;
    readMs += performance.now() - putEndMs;
  }
  await ended;
  return { puts: (rounds * 1000) / putMs, reads: (rounds * 1000) / readMs };
}

function medianOf(results: readonly Run[]): Run {
  const names = Object.keys(results[0]!) as (keyof Run)[];
  const middle = (name: keyof Run): number =>
    results.map((each) => each[name]).toSorted((one, other) => one - other)[results.length >> 1]!;
  return Object.fromEntries(names.map((name) => [name, middle(name)])) as unknown as Run;
}

function printHead(): void {
  const load = loadavg()[0]?.toFixed(1);
  console.log(
    `${cpus().length} x ${cpus()[0]?.model ?? "unknown"}, Bun ${Bun.version}, load ${load}`,
  );
  console.log(
    "        block   server MiB  cp -r s  files s  plain s  rebuild s  of cp  of files  of plain   MiB/s  blocks/s  cpu s: cp; meta, target, others" +
      "  with client s" +
      "  puts/s before, during  reads/s before, during",
  );
}

function show(kind: "run" | "median", result: Run): void {
  if (isJson) {
    console.log(JSON.stringify({ kind, ...result, load: loadavg()[0] }));
    return;
  }
  const { blockBytes, serverBytes, copyMs, filesMs, plainMs, rebuildMs } = result;
  const { ofCopy, ofFiles, ofPlain, busyRebuildMs } = result;
  const { copyCpuMs, metaCpuMs, targetCpuMs, sourcesCpuMs } = result;
  const seconds = rebuildMs / 1000;
  const pair = (before: number, during: number): string =>
    `${before.toFixed(1)}, ${during.toFixed(1)}`;
  console.log(
    [
      kind.padEnd(6),
      (blockBytes >= MiB ? `${blockBytes / MiB} MiB` : `${blockBytes / KiB} KiB`).padStart(6),
      (serverBytes / MiB).toFixed(0).padStart(12),
      (copyMs / 1000).toFixed(2).padStart(8),
      (filesMs / 1000).toFixed(2).padStart(8),
      (plainMs / 1000).toFixed(2).padStart(8),
      seconds.toFixed(2).padStart(10),
      ofCopy.toFixed(2).padStart(6),
      ofFiles.toFixed(2).padStart(9),
      ofPlain.toFixed(2).padStart(9),
      (serverBytes / MiB / seconds).toFixed(1).padStart(7),
      (serverBytes / blockBytes / seconds).toFixed(0).padStart(9),
      [copyCpuMs, metaCpuMs, targetCpuMs, sourcesCpuMs]
        .map((ms) => (ms / 1000).toFixed(2))
        .join(", ")
        .padStart(33),
      (busyRebuildMs / 1000).toFixed(2).padStart(14),
      pair(result.putsBefore, result.putsDuring).padStart(22),
      pair(result.readsBefore, result.readsDuring).padStart(23),
    ].join(" "),
  );
}

/**
 * `cp -r` and `sync -f` of a directory; the copy is deleted. The first one may get memory that the machine has never used, or has
 * given back to its host since, which costs many times as much to write to: the rebuild gets what the last copy has left
 * behind, so a copy counts that got the same.
 */
function copyDirectory(dir: string, from: string): { copyMs: number; copyCpuMs: number } {
  const to = `${from}-copy`;
  let copyCpuMs = 0;
  const copyMs = timed(() => {
    copyCpuMs = command("cp", "-r", from, to) + command("sync", "-f", to);
  });
  rmSync(to, { recursive: true });
  command("sync", "-f", dir);
  return { copyMs, copyCpuMs };
}

/** Milliseconds of `cp -r` and `sync -f` of so many files, a few hundred in a directory. */
function copyOfFiles(dir: string, count: number, bytes: number): number {
  const [from, to] = [join(dir, "files"), join(dir, "files-copy")];
  const content = patterned(bytes, bytes);
  for (let number = 0; number < count; number++) {
    const parent = join(from, String(Math.floor(number / FILES_IN_DIRECTORY)));
    if (number % FILES_IN_DIRECTORY === 0) mkdirSync(parent, { recursive: true });
    writeFileSync(join(parent, String(number)), content);
  }
  command("sync", "-f", dir);
  const ms = timed(() => {
    command("cp", "-r", from, to);
    command("sync", "-f", to);
  });
  for (const each of [from, to]) rmSync(each, { recursive: true });
  command("sync", "-f", dir);
  return ms;
}

/** Runs a command; returns the milliseconds of processor that it took. */
function command(...words: readonly string[]): number {
  const { exitCode, stderr, resourceUsage } = Bun.spawnSync([...words]);
  if (exitCode !== 0) throw new Error(`${words.join(" ")} failed: ${stderr.toString()}`);
  return Math.round(Number(resourceUsage?.cpuTime.total ?? 0) / 1000);
}

/** Milliseconds of processor that a process has taken so far, all its threads together: proc_pid_stat(5). */
function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [user, system] = [fields[11], fields[12]]; // utime, stime, in ticks of 10 ms
  return (Number(user) + Number(system)) * 10;
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
