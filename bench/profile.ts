/**
 * What do the command, the metadata server and the data servers compute, while the loads of bench/tool.ts run?
 *
 *     bin/dfs-bun bench/profile.ts                  each load once, about a minute
 *     bin/dfs-bun bench/profile.ts --mib 256 --files 2000 --seconds 1
 *     bin/dfs-bun bench/profile.ts --dir /dev/shm   without the disk
 *     bin/dfs-bun bench/profile.ts --json           one object for each load and process
 *
 * Needs perf(1), of Debian's linux-perf for example, and to be the superuser or a kernel.perf_event_paranoid that allows it.
 * Processor seconds, sampled, the four data servers together; what takes less than a fiftieth is left out. For the metadata
 * loads the command is this process, with 64 requests in flight.
 */
import { mkdtempSync, rmSync, writeFileSync, mkdirSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT_INODE } from "../src/base/ids.ts";
import { KiB, MiB, patterned } from "../tests/support/cluster.ts";
import { keepInFlight, MetadataClient } from "./metadata-load.ts";
import { ToolCluster } from "./tool/cluster.ts";
import { startProfile } from "./tool/perf.ts";

const IN_FLIGHT = 64;

/** Left out below this share of a process's time. */
const LEAST_SHARE = 1 / 50;

const options = process.argv.slice(2);
const isJson = options.includes("--json");
const mib = Number(option("--mib") ?? 1024);
const files = Number(option("--files") ?? 10_000);
const seconds = Number(option("--seconds") ?? 3);

const dir = mkdtempSync(join(option("--dir") ?? tmpdir(), "dfs-bench-profile-"));
const cluster = await ToolCluster.start(dir);
try {
  if (!isJson) {
    const machine = `${cpus().length} x ${cpus()[0]?.model ?? "unknown"}`;
    console.log(`${machine}, Bun ${Bun.version}, load ${loadavg()[0]!.toFixed(1)}`);
  }
  await large();
  await small();
  await metadata();
} finally {
  await cluster.stop();
  rmSync(dir, { recursive: true, force: true });
}

async function large(): Promise<void> {
  const source = join(dir, "large");
  writeFileSync(source, patterned(mib * MiB));
  await cluster.run("put", "-q", source, "/warm"); // the servers have compiled what they need
  await cluster.run("get", "-q", "/warm", "/dev/null");
  await profiled(`put of ${mib} MiB`, () => cluster.run("put", "-q", source, "/large"));
  await profiled(`get of ${mib} MiB`, () => cluster.run("get", "-q", "/large", "/dev/null"));
}

async function small(): Promise<void> {
  const tree = join(dir, "small");
  for (let file = 0; file < files; file++) {
    const directory = join(tree, String(Math.floor(file / 100)));
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, `file-${file}`), patterned(4 * KiB, file));
  }
  const got = join(dir, "small-got");
  await profiled(`put of ${files} files`, () => cluster.run("put", "-q", "-r", tree, "/small"));
  await profiled(`get of ${files} files`, () => cluster.run("get", "-q", "-r", "/small", got));
}

async function metadata(): Promise<void> {
  const client = await MetadataClient.connect(cluster.meta);
  const directory = await client.makeDirectory("creates");
  const creating = (): Promise<unknown> =>
    keepInFlight(seconds, IN_FLIGHT, () => client.create(directory));
  const asking = (): Promise<unknown> =>
    keepInFlight(seconds, IN_FLIGHT, () => client.getattr(ROOT_INODE));
  await profiled(`durable creates for ${seconds} s`, creating);
  await profiled(`getattr for ${seconds} s`, asking);
  client.close();
}

/** Does the work and tells what each process computed. */
async function profiled(load: string, work: () => Promise<unknown>): Promise<void> {
  const profile = await startProfile(join(dir, "perf.data"));
  await work();
  const servers = new Map(cluster.processes().map(({ name, pid }) => [pid, name]));
  const seen = await profile.end((pid) => {
    const name = servers.get(pid);
    if (name !== undefined) return name.startsWith("data") ? "data servers" : "metadata server";
    return cluster.isCommand(pid) || pid === process.pid ? "command" : undefined;
  });
  for (const name of ["command", "metadata server", "data servers"]) {
    tell(load, name, seen.get(name) ?? new Map<string, number>());
  }
}

function tell(load: string, process: string, purposes: ReadonlyMap<string, number>): void {
  const all = [...purposes].toSorted(([, one], [, other]) => other - one);
  const total = all.reduce((sum, [, each]) => sum + each, 0);
  const parts = all.filter(([, each]) => each >= total * LEAST_SHARE);
  if (isJson) {
    console.log(
      JSON.stringify({ load, process, seconds: total, parts: Object.fromEntries(parts) }),
    );
    return;
  }
  const words = parts.map(([purpose, each]) => `${purpose} ${each.toFixed(2)}`);
  console.log(`${load}, ${process}: ${total.toFixed(2)} s: ${words.join(", ")}`);
}

function option(name: string): string | undefined {
  const at = options.indexOf(name);
  return at < 0 ? undefined : options[at + 1];
}
