// A real cluster with real mounts for tests: `dfs up`, `dfs mount` and `dfs umount`, as a user types them.
//
//     const mounted = await Mounted.up({ mounts: 2, flags: ["--block-size", "64K"] });
//     writeFileSync(`${mounted.path}/file`, "text");
//     ...
//     await mounted.stop();      // unmounts, whatever happened, and leaves no process behind
//
// This process must not do a system call on a mount that may block for ever: its timers would not run meanwhile. What may
// take long, or be in the way of a fault, is done by a program (`shell`, `program`).

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { finish, isAlive, LocalCluster, runMark, until } from "../../support/local-cluster.ts";
import { mountsBelow } from "../../support/leftovers.ts";
import * as posix from "./system-calls.ts";

/** Why nothing can be mounted on this machine; undefined where it can be. */
export const cannotMount: string | undefined =
  process.platform !== "linux"
    ? "this is not Linux"
    : !existsSync("/dev/fuse")
      ? "there is no /dev/fuse"
      : process.getuid?.() !== 0
        ? "these tests mount as root"
        : undefined;

if (cannotMount !== undefined) {
  // Where CI runs, tests of the mount must run.
  if (process.env["CI"] === "true") throw new Error(`tests of mounts cannot run: ${cannotMount}`);
  console.log(`tests of mounts are skipped: ${cannotMount}`);
}

export interface MountedOptions {
  /** Mounts of the one cluster, each served by a process of its own; default 1. */
  readonly mounts?: number;
  /** Of `dfs up`. */
  readonly flags?: readonly string[];
  /** The `-o` of the mounts. */
  readonly options?: string;
}

export interface ShellResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export type Program = Bun.Subprocess<"ignore", "pipe", "pipe">;

/** Waits until a process waits for the answer of a mount, or for a page that it is to bring: its kernel stack tells. */
export function untilItWaits(pid: number): Promise<void> {
  const stack = (): string => {
    try {
      return readFileSync(`/proc/${pid}/stack`, "latin1");
    } catch {
      return ""; // it is just starting or ending
    }
  };
  return until(() => / (fuse_|folio_wait_bit)/.test(stack()), `process ${pid} to wait for a mount`);
}

/** One mount and the process that serves it. */
export class Mount {
  readonly path: string;
  readonly pid: number;
  private readonly log: string;

  constructor(path: string, pid: number, log: string) {
    this.path = path;
    this.pid = pid;
    this.log = log;
  }

  get isServed(): boolean {
    return isAlive(this.pid);
  }

  get isMounted(): boolean {
    return mountsBelow(join(this.path, "..")).includes(this.path);
  }

  /** What its process has logged. */
  logged(): string {
    return existsSync(this.log) ? readFileSync(this.log, "utf8") : "";
  }

  /** Kills its process and waits until it is gone. */
  async kill(): Promise<void> {
    process.kill(this.pid, "SIGKILL");
    await until(() => !this.isServed, `process ${this.pid} to be gone`);
  }
}

export class Mounted {
  readonly cluster: LocalCluster;
  readonly mounts: Mount[] = [];
  private readonly programs: Program[] = [];

  private constructor(cluster: LocalCluster) {
    this.cluster = cluster;
  }

  static async up(options: MountedOptions = {}): Promise<Mounted> {
    const mounted = new Mounted(await LocalCluster.up(...(options.flags ?? [])));
    try {
      for (let index = 0; index < (options.mounts ?? 1); index++) {
        await mounted.mount(options.options);
      }
    } catch (error) {
      await mounted.stop();
      throw error;
    }
    return mounted;
  }

  /** The first mount point. */
  get path(): string {
    return this.at(0).path;
  }

  at(index: number): Mount {
    const mount = this.mounts[index];
    if (mount === undefined) throw new Error(`there is no mount with index ${index}`);
    return mount;
  }

  /** Mounts the cluster once more. */
  async mount(options?: string, ...flags: string[]): Promise<Mount> {
    const path = this.cluster.path(`mount-${this.mounts.length}`);
    const log = `${path}.log`;
    mkdirSync(path, { recursive: true });
    const [ready] = await this.cluster.rows<{ pid: number }>(
      "mount",
      path,
      "--log",
      log,
      ...(options === undefined ? [] : ["-o", options]),
      ...flags,
    );
    if (ready === undefined) throw new Error("dfs mount printed nothing");
    const mount = new Mount(path, ready.pid, log);
    this.mounts.push(mount);
    return mount;
  }

  /** Runs a shell script to its end, in `cwd` (by default the first mount). */
  async shell(
    script: string,
    cwd = this.path,
    env: Record<string, string> = {},
  ): Promise<ShellResult> {
    const child = this.program(["sh", "-euc", script], cwd, env);
    const { code, text, stderr } = await finish(child);
    return { code, stdout: text, stderr };
  }

  /** Runs a shell script that must succeed; returns what it printed. */
  async ok(script: string, cwd = this.path, env: Record<string, string> = {}): Promise<string> {
    const { code, stdout, stderr } = await this.shell(script, cwd, env);
    if (code !== 0) throw new Error(`${script}\nexited with ${code}:\n${stdout}${stderr}`);
    return stdout;
  }

  /** Starts a program, which is killed in the end if it still runs. It begins in `cwd`. */
  program(command: readonly string[], cwd = "/", env: Record<string, string> = {}): Program {
    const child = Bun.spawn([...command], {
      cwd,
      env: {
        PATH: process.env["PATH"] ?? "",
        HOME: this.cluster.root,
        LC_ALL: "C",
        ...runMark(),
        ...env,
      },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    this.programs.push(child);
    return child;
  }

  /** Ends programs, mounts and cluster, and removes everything. */
  async stop(): Promise<void> {
    const running = this.programs.filter((each) => each.exitCode === null);
    for (const each of running) each.kill("SIGKILL");
    for (const mount of this.mounts) await this.end(mount);
    for (const path of mountsBelow(this.cluster.root)) {
      await this.cluster.run(["umount", "--force", path]); // made by a test itself
    }
    await Promise.all(running.map((each) => each.exited));
    await this.cluster.stop();
  }

  private async end(mount: Mount): Promise<void> {
    try {
      if (mount.isMounted || mount.isServed) {
        await this.cluster.run(["umount", "--force", mount.path]);
      }
    } finally {
      if (mount.isServed) await mount.kill();
      while (mount.isMounted) posix.detach(mount.path);
    }
  }
}
