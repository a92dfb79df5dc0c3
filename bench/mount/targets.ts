/**
 * What is measured, side by side on one disk: a plain directory, that directory through bindfs, and a mount of dfs.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { DfsError } from "../../src/base/errors.ts";
import { spawnCluster, type ProcessCluster } from "../../tests/support/processes.ts";
import { smallName } from "./file-tool.ts";

export const LOCAL = "local";
export const BINDFS = "bindfs";
export const DFS = "dfs";
export type TargetName = typeof LOCAL | typeof BINDFS | typeof DFS;

/** Data servers of the cluster; it keeps three copies. */
const SERVERS = 4;
/** Files that are made at the same time where nobody measures. */
const AT_ONCE = 64;
const OWNER = { mode: 0o644, uid: 0, gid: 0 };
const CLI = join(import.meta.dir, "../../src/cli.ts");

export interface Target {
  readonly name: TargetName;
  /** A directory of it, for everything that is made. */
  readonly path: string;
  /** What serves it, by role; a plain directory is served by nobody. */
  processes(): readonly { readonly role: string; readonly pid: number }[];
  /** Makes small files `file-0` .. in a new directory, without measuring that. */
  fill(directory: string, count: number, bytes: number): Promise<void>;
  /** Makes a file come from the disks again when it is read next. */
  cool(path: string): void;
  stop(): Promise<void>;
}

export class LocalTarget implements Target {
  readonly name = LOCAL;
  readonly path: string;

  constructor(path: string) {
    this.path = path;
    mkdirSync(path, { recursive: true });
  }

  processes() {
    return [];
  }

  fill(directory: string, count: number, bytes: number): Promise<void> {
    fillPlain(join(this.path, directory), count, bytes);
    return Promise.resolve();
  }

  cool(path: string): void {
    drop(path);
  }

  async stop(): Promise<void> {}
}

/** A FUSE file system that passes everything on to a plain directory: what the way through the kernel costs. */
export class BindfsTarget implements Target {
  readonly name = BINDFS;
  readonly path: string;
  private readonly below: string;
  private process: Bun.Subprocess | undefined;

  private constructor(path: string, below: string) {
    this.path = path;
    this.below = below;
  }

  static async start(path: string, below: string): Promise<BindfsTarget> {
    mkdirSync(path, { recursive: true });
    mkdirSync(below, { recursive: true });
    const target = new BindfsTarget(path, below);
    await target.mount();
    return target;
  }

  processes() {
    return [{ role: "mount", pid: this.process!.pid }];
  }

  fill(directory: string, count: number, bytes: number): Promise<void> {
    fillPlain(join(this.below, directory), count, bytes);
    return Promise.resolve();
  }

  cool(path: string): void {
    drop(path);
    drop(join(this.below, relative(this.path, path)));
  }

  async stop(): Promise<void> {
    run("umount", this.path);
    await this.process!.exited;
  }

  private async mount(): Promise<void> {
    const words = ["bindfs", "-f", "--multithreaded", this.below, this.path];
    this.process = Bun.spawn(words, { stdio: ["ignore", "ignore", "inherit"] });
    await mounted(this.path, this.process);
  }
}

/** A cluster of processes, and a process that serves the mount. */
export class DfsTarget implements Target {
  readonly name = DFS;
  readonly path: string;
  private readonly cluster: ProcessCluster;
  private readonly runtime: readonly string[];
  private process: Bun.Subprocess | undefined;

  private constructor(path: string, cluster: ProcessCluster, runtime: readonly string[]) {
    this.path = path;
    this.cluster = cluster;
    this.runtime = runtime;
  }

  /** `profiles`: a folder for processor profiles of all its processes, written at their ends. */
  static async start(path: string, dir: string, profiles: string | undefined): Promise<DfsTarget> {
    mkdirSync(path, { recursive: true });
    if (profiles !== undefined) mkdirSync(profiles, { recursive: true });
    const runtime = profiles === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profiles}`];
    const cluster = await spawnCluster({ servers: SERVERS, dir, runtime });
    const target = new DfsTarget(path, cluster, runtime);
    try {
      await target.mount();
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return target;
  }

  processes() {
    const servers = Array.from({ length: SERVERS }, (_, index) => ({
      role: "data",
      pid: this.cluster.server(index).process.pid,
    }));
    const meta = { role: "meta", pid: this.cluster.meta.process.pid };
    return [{ role: "mount", pid: this.process!.pid }, meta, ...servers];
  }

  async fill(directory: string, count: number, bytes: number): Promise<void> {
    const client = await this.cluster.client();
    const pathOf = (name: string): Uint8Array => new TextEncoder().encode(name);
    await client.mkdir(pathOf(`/${directory}`), { ...OWNER, mode: 0o755 });
    const content = new Uint8Array(bytes).fill(120);
    let next = 0;
    const lane = async (): Promise<void> => {
      while (next < count) {
        const path = pathOf(`/${directory}/${smallName(next++)}`);
        const file = await client.create(path, OWNER, { exclusive: true });
        if (bytes > 0) await file.write(0, content);
        await file.close();
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
    await client.close();
  }

  cool(path: string): void {
    drop(path);
    for (let index = 0; index < SERVERS; index++) {
      const segments = run("find", this.cluster.serverDir(index), "-type", "f", "-size", "+64k");
      for (const segment of segments.split("\n").filter((line) => line !== "")) drop(segment);
    }
  }

  async stop(): Promise<void> {
    try {
      await this.unmount();
      if (this.runtime.length > 0) await this.cluster.endServers(); // profiles are written at the end of a process
    } finally {
      await this.cluster.stop();
    }
  }

  private async mount(): Promise<void> {
    const words = ["mount", "--foreground", this.cluster.meta.address, this.path];
    this.process = Bun.spawn([process.execPath, ...this.runtime, CLI, ...words], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    await mounted(this.path, this.process);
  }

  private async unmount(): Promise<void> {
    this.process!.kill("SIGTERM");
    await this.process!.exited;
    if (isMounted(this.path)) run("umount", "--lazy", this.path);
  }
}

/** Milliseconds of processor that a process has taken so far, all its threads together: proc_pid_stat(5). */
export function processorMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10; // utime and stime, in ticks of 10 ms
}

/** Runs a program to its end. @throws DfsError `io` when it fails. */
export function run(...words: readonly string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync([...words]);
  if (exitCode === 0) return stdout.toString();
  throw new DfsError("io", `${words.join(" ")} failed: ${stderr.toString().trim()}`);
}

function fillPlain(directory: string, count: number, bytes: number): void {
  mkdirSync(directory, { recursive: true });
  const content = new Uint8Array(bytes).fill(120);
  for (let index = 0; index < count; index++) {
    writeFileSync(join(directory, smallName(index)), content);
  }
}

/** Writes a file back and drops it from the system's memory. */
function drop(path: string): void {
  run("sync", path);
  run("dd", `if=${path}`, "iflag=nocache", "count=0", "status=none");
}

function isMounted(path: string): boolean {
  return readFileSync("/proc/self/mounts", "utf8").includes(` ${path} `);
}

async function mounted(path: string, server: Bun.Subprocess): Promise<void> {
  while (!isMounted(path) || !answers(path)) {
    if (server.exitCode !== null) {
      const said =
        server.stderr instanceof ReadableStream ? await new Response(server.stderr).text() : "";
      throw new DfsError("io", `cannot mount on ${path}: ${said.trim()}`);
    }
    await Bun.sleep(20);
  }
}

function answers(path: string): boolean {
  try {
    readdirSync(path);
    return true;
  } catch {
    return !existsSync("/dev/fuse");
  }
}
