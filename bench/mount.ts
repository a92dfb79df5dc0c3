/**
 * How fast are programs on a mount? A real cluster on this machine (a metadata server, four data servers, three copies, and the
 * process that serves the mount), beside a plain directory of the same disk and beside that directory through bindfs, which is
 * FUSE that passes everything on; all in the same run, in turns.
 *
 *     bin/dfs-bun bench/mount.ts                        three rounds, about 4 minutes
 *     bin/dfs-bun bench/mount.ts --runs 1               one round
 *     bin/dfs-bun bench/mount.ts --only create,unlink   cases whose names begin with, or contain, one of these words
 *     bin/dfs-bun bench/mount.ts --without local,bindfs dfs alone
 *     bin/dfs-bun bench/mount.ts --dir /dev/shm         without the disk: what the processor allows
 *     bin/dfs-bun bench/mount.ts --json                 one object per case and round, and one with the medians
 *     bin/dfs-bun bench/mount.ts --profile DIR          processor profiles of the mount and of all servers, one file each
 *     --seconds 1.5 --mib 128 --files 1000 --names 10000 --archive 5000      how much is done
 *
 * fio and bindfs are packages of Debian (`apt install fio bindfs`); what is not installed is left out, and said so. Root
 * is needed, or a user who may mount with fusermount3.
 *
 *     write 1 MiB         fio, a new file of --mib; an fsync at the end counts
 *     read 1 MiB, random read 4 KiB    fio, the same file, after it and what it is stored in was dropped from the system's
 *                         memory (`dd iflag=nocache`); that leaves whatever cache the disk itself has
 *     random write        fio, into that file for --seconds; an fsync at the end counts
 *     append              one handle with O_APPEND; an fsync at the end counts
 *     create, rename, unlink    one call after the other by one process, for --seconds or --files at most
 *     stat, open + read   the first time on this mount, of files that another client (here: the plain directory) has made
 *     ls -l               --names names that another client has made
 *     tar x               --archive files of 0 to 16 KiB, 50 to a directory; what is unpacked after 8 times --seconds counts
 *
 * A plain directory and bindfs keep one copy and make nothing durable before somebody asks for it; dfs keeps three, and a
 * name, or a file that is closed, is durable. `cpu` is what the processes of dfs took for one call (one MB): the mount's,
 * the metadata server's, all data servers'. On a machine that others use as well these say more than the rates.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { CASES, makeArchive, warmUp, type Case, type Scale } from "./mount/cases.ts";
import {
  BINDFS,
  BindfsTarget,
  DFS,
  DfsTarget,
  LOCAL,
  LocalTarget,
  processorMs,
  type Target,
  type TargetName,
} from "./mount/targets.ts";

/** What one target did in one round. */
interface Measured {
  readonly perSecond: number;
  /** Microseconds of processor for one call, by role of the process. */
  readonly cpuUs: Readonly<Record<string, number>>;
}

/** One case in one round. */
type Row = Partial<Record<TargetName, Measured>>;

const options = process.argv.slice(2);
const isJson = options.includes("--json");
const runs = Number(option("--runs") ?? 3);
const scale: Scale = {
  mib: Number(option("--mib") ?? 128),
  seconds: Number(option("--seconds") ?? 1.5),
  files: Number(option("--files") ?? 1000),
  names: Number(option("--names") ?? 10_000),
  archived: Number(option("--archive") ?? 5000),
};
const WIDTHS = [28, 6, 10, 10, 10, 10, 10, 24] as const;

await main();

async function main(): Promise<void> {
  const folder = mkdtempSync(join(resolve(option("--dir") ?? tmpdir()), "dfs-bench-mount-"));
  const targets: Target[] = [];
  let stopping: Promise<unknown> | undefined;
  const stop = (): Promise<unknown> =>
    (stopping ??= Promise.allSettled(targets.reverse().map((target) => target.stop())));
  const leave = (): void =>
    void stop().then(() => {
      rmSync(folder, { recursive: true, force: true });
      process.exit(130);
    });
  process.once("SIGINT", leave);
  process.once("SIGTERM", leave);
  try {
    await startTargets(folder, targets);
    await measureAll(targets, makeArchive(folder, scale.archived));
  } finally {
    await stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function startTargets(folder: string, targets: Target[]): Promise<void> {
  const without = (option("--without") ?? "").split(",");
  targets.push(
    await DfsTarget.start(join(folder, "mnt-dfs"), join(folder, "cluster"), option("--profile")),
  );
  if (!without.includes(LOCAL)) targets.push(new LocalTarget(join(folder, "local")));
  if (without.includes(BINDFS)) return;
  if (Bun.which("bindfs") === null) {
    console.error("bindfs is missing and left out: apt install bindfs");
    return;
  }
  targets.push(await BindfsTarget.start(join(folder, "mnt-bindfs"), join(folder, "below")));
}

async function measureAll(targets: readonly Target[], archive: string): Promise<void> {
  const cases = wantedCases();
  const rows = new Map<Case, Row[]>();
  for (const target of targets) await warmUp(target);
  if (!isJson) printHead();
  for (let round = 0; round < runs; round++) {
    const folder = `round-${round}`;
    for (const target of targets) mkdirSync(join(target.path, folder));
    for (const each of cases) {
      const load = loadavg()[0]!;
      const turn = targets.map((_, at) => targets[(at + round) % targets.length]!);
      const row: Row = {};
      for (const target of turn) {
        row[target.name] = await measure(each, { target, folder, scale, archive });
      }
      rows.set(each, [...(rows.get(each) ?? []), row]);
      if (isJson) printJson({ kind: "run", round, load }, each, row);
      else if (runs === 1) printRow(each, [row]);
    }
  }
  for (const [each, all] of rows) {
    if (isJson) printJson({ kind: "median", load: loadavg()[0]! }, each, medianOf(all));
    else if (runs > 1) printRow(each, all);
  }
  if (!isJson) console.log(`load at the end ${loadavg()[0]!.toFixed(1)}`);
}

async function measure(each: Case, place: Parameters<Case["run"]>[0]): Promise<Measured> {
  await each.prepare?.(place);
  const processes = place.target.processes();
  const before = processes.map(({ pid }) => processorMs(pid));
  const { count, seconds } = await each.run(place);
  const cpuUs: Record<string, number> = {};
  for (const [at, { role, pid }] of processes.entries()) {
    cpuUs[role] = (cpuUs[role] ?? 0) + ((processorMs(pid) - before[at]!) * 1000) / count;
  }
  return { perSecond: count / seconds, cpuUs };
}

function wantedCases(): Case[] {
  const words = option("--only")?.split(",");
  const missing = new Set<string>();
  const wanted = CASES.filter(({ name, needs }) => {
    if (words !== undefined && !words.some((word) => name.includes(word))) return false;
    if (needs === undefined || Bun.which(needs) !== null) return true;
    missing.add(needs);
    return false;
  });
  for (const program of missing) {
    console.error(`${program} is missing, and its cases are left out: apt install ${program}`);
  }
  if (wanted.length > 0) return wanted;
  const names = CASES.map(({ name }) => name).join("; ");
  throw new Error(`no case is called ${option("--only")}: there are ${names}`);
}

function printHead(): void {
  const load = loadavg()[0]?.toFixed(1);
  const { mib, seconds, files } = scale;
  console.log(
    `${cpus().length} x ${cpus()[0]?.model ?? "unknown"}, Bun ${Bun.version}, load ${load}; ` +
      `${runs} rounds, ${mib} MiB, ${seconds} s, ${files} files`,
  );
  const cpu = "cpu us: mount, meta, data";
  print(["", "per s", LOCAL, BINDFS, DFS, "of local", "of bindfs", cpu]);
}

function printRow({ name, unit }: Case, rows: readonly Row[]): void {
  const { local, bindfs, dfs } = medianOf(rows);
  const rate = (measured: Measured | undefined): string =>
    measured === undefined ? "-" : measured.perSecond.toFixed(measured.perSecond < 100 ? 1 : 0);
  const ratio = (name: TargetName): string => {
    const ratios = rows.flatMap((row) =>
      row[name] === undefined ? [] : [row.dfs!.perSecond / row[name].perSecond],
    );
    return ratios.length === 0 ? "-" : median(ratios).toPrecision(2);
  };
  const cpu = Object.values(dfs!.cpuUs).map((us) => us.toFixed(0));
  const cells = [name, unit, rate(local), rate(bindfs), rate(dfs), ratio(LOCAL), ratio(BINDFS)];
  print([...cells, cpu.join(", ")]);
}

function print(cells: readonly string[]): void {
  const padded = cells.map((cell, at) =>
    at === 0 ? cell.padEnd(WIDTHS[0]) : cell.padStart(WIDTHS[at]!),
  );
  console.log(padded.join(" "));
}

function printJson(head: Readonly<Record<string, unknown>>, { name, unit }: Case, row: Row): void {
  console.log(JSON.stringify({ ...head, case: name, unit, ...row }));
}

function medianOf(rows: readonly Row[]): Row {
  const result: Row = {};
  for (const name of [LOCAL, BINDFS, DFS] as const) {
    const all = rows.flatMap((row) => (row[name] === undefined ? [] : [row[name]]));
    if (all.length === 0) continue;
    const roles = Object.keys(all[0]!.cpuUs);
    const cpuUs = roles.map((role) => [role, median(all.map((each) => each.cpuUs[role]!))]);
    const perSecond = median(all.map((each) => each.perSecond));
    result[name] = { perSecond, cpuUs: Object.fromEntries(cpuUs) as Record<string, number> };
  }
  return result;
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[values.length >> 1] ?? 0;
}

function option(name: string): string | undefined {
  const at = options.indexOf(name);
  return at === -1 ? undefined : options[at + 1];
}
