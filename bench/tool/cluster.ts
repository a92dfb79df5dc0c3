/**
 * A cluster started with `bin/dfs up`, commands on it, and what all of that costs.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

const DFS = join(import.meta.dir, "../../bin/dfs");
const DATA_SERVERS = 4;

/** Between two looks at the memory of a command. */
const LOOK_MS = 10;

/** What a command took. */
export interface Cost {
  readonly ms: number;
  readonly commandCpuMs: number;
  readonly metaCpuMs: number;
  readonly dataCpuMs: number;
  /** The most that the command's process had resident. */
  readonly residentMiB: number;
}

/** Memory of one server. */
export interface Memory {
  readonly name: string;
  readonly peakMiB: number;
  readonly nowMiB: number;
}

/** A server. */
export interface Service {
  /** meta, data-1, ... */
  readonly name: string;
  readonly pid: number;
}

export class ToolCluster {
  /** Address of the metadata server. */
  readonly meta: string;
  private readonly dir: string;
  private readonly services: readonly Service[];
  private mostResidentMiB = 0;
  private readonly commands = new Set<number>();

  private constructor(dir: string, meta: string, services: readonly Service[]) {
    this.dir = dir;
    this.meta = meta;
    this.services = services;
  }

  /** Starts one in a directory below `parent`. */
  static async start(parent: string): Promise<ToolCluster> {
    const dir = join(parent, "cluster");
    const words = [
      "up",
      "--dir",
      dir,
      "--data-servers",
      String(DATA_SERVERS),
      "--detach",
      "--json",
    ];
    const up = Bun.spawn([DFS, ...words], { stdio: ["ignore", "pipe", "inherit"] });
    const lines = (await new Response(up.stdout).text()).trim().split("\n");
    if ((await up.exited) !== 0) throw new Error("the cluster could not be started");
    const rows = lines.map(
      (line) => JSON.parse(line) as { service: string; address: string; pid: number },
    );
    const services = rows.map(({ service, pid }) => ({ name: service, pid }));
    return new ToolCluster(dir, rows.find(({ service }) => service === "meta")!.address, services);
  }

  /** Runs a command on it. @throws Error when it fails. */
  async run(...words: readonly string[]): Promise<Cost> {
    const before = this.cpuMs();
    const beganMs = performance.now();
    const command = Bun.spawn([DFS, ...words, "--meta", this.meta], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    this.commands.add(command.pid);
    const watched = mostResident(command.pid);
    const code = await command.exited;
    const ms = performance.now() - beganMs;
    if (code !== 0) throw new Error(`dfs ${words.join(" ")} ended with ${code}`);
    const after = this.cpuMs();
    const usage = command.resourceUsage()!;
    const residentMiB = watched();
    this.mostResidentMiB = Math.max(this.mostResidentMiB, residentMiB);
    return {
      ms,
      commandCpuMs: Number(usage.cpuTime.total) / 1000,
      metaCpuMs: after.meta - before.meta,
      dataCpuMs: after.data - before.data,
      residentMiB,
    };
  }

  /** The servers. */
  processes(): readonly Service[] {
    return this.services;
  }

  /** Whether a command has run, or runs, in this process. */
  isCommand(pid: number): boolean {
    return this.commands.has(pid);
  }

  /** Of each server, and of the commands so far. */
  memory(): Memory[] {
    return [
      ...this.services.map(({ name, pid }) => ({ name, ...residentOf(pid) })),
      { name: "the largest command", peakMiB: this.mostResidentMiB, nowMiB: 0 },
    ];
  }

  async stop(): Promise<void> {
    const down = Bun.spawn([DFS, "down", "--dir", this.dir, "-q"], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    await down.exited;
  }

  private cpuMs(): { readonly meta: number; readonly data: number } {
    let [meta, data] = [0, 0];
    for (const { name, pid } of this.services) {
      if (name === "meta") meta += cpuOf(pid);
      else data += cpuOf(pid);
    }
    return { meta, data };
  }
}

/** Milliseconds of processor that a process has taken so far: proc_pid_stat(5). */
function cpuOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10; // utime, stime, in ticks of 10 ms
}

/**
 * Watches the memory of a process until the result is called, which tells the most in MiB. What the system tells of a process that
 * has ended counts the one that started it as well, of which it was a copy at first: getrusage(2).
 */
function mostResident(pid: number): () => number {
  let mostMiB = 0;
  const look = (): void => {
    try {
      mostMiB = Math.max(mostMiB, residentOf(pid).peakMiB);
    } catch {
      // it has just ended
    }
  };
  const timer = setInterval(look, LOOK_MS);
  return () => {
    clearInterval(timer);
    return mostMiB;
  };
}

/** proc_pid_status(5). */
function residentOf(pid: number): { readonly peakMiB: number; readonly nowMiB: number } {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  const field = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0) / 1024;
  return { peakMiB: field("VmHWM"), nowMiB: field("VmRSS") };
}
