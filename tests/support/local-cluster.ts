// A real local cluster for scenarios: the commands as a user types them, real processes, real files.
//
// Every command gets an environment of its own: HOME and the cluster's directory lie in a folder that is removed at the
// end, and nothing of the developer's own DFS_* settings reaches it. `stop` leaves no process behind, whatever happened.

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServerState } from "../../src/protocol/messages/cluster.ts";
import { startedFrom } from "./bundled-project.ts";
import { mountsBelow, RUN_MARK } from "./leftovers.ts";
import { pauseMs } from "./pause.ts";

const PROJECT = startedFrom();

export interface CommandResult {
  readonly code: number;
  readonly stdout: Buffer;
  /** Standard output as text. */
  readonly text: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly stdin?: Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** A server as cluster.json describes it. */
export interface ServerProcess {
  readonly id: number;
  readonly address: string;
  readonly pid: number;
  readonly dir: string;
}

export interface ClusterDescription {
  readonly meta: string;
  readonly metaPid: number;
  readonly servers: readonly ServerProcess[];
}

export type Subprocess = Bun.Subprocess<"pipe" | "ignore" | Uint8Array, "pipe", "pipe">;

/** A folder with an environment in which dfs commands run, and at most one local cluster. */
export class LocalCluster {
  /** Everything of this cluster and its users lies below here. */
  readonly root = mkdtempSync(join(tmpdir(), "dfs-scenario-"));
  /** The directory of the cluster. */
  readonly dir = join(this.root, "cluster");

  /** Starts a cluster with `dfs up --detach` and these flags. */
  static async up(...flags: string[]): Promise<LocalCluster> {
    const cluster = new LocalCluster();
    try {
      await cluster.ok("up", "--detach", ...flags);
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  /** A path below the folder. */
  path(...parts: string[]): string {
    return join(this.root, ...parts);
  }

  /** Starts a command and does not wait for it. */
  spawn(args: readonly string[], options: CommandOptions = {}): Subprocess {
    return Bun.spawn([join(PROJECT, "bin/dfs"), ...args], {
      cwd: options.cwd ?? this.root,
      env: {
        PATH: process.env["PATH"] ?? "",
        TMPDIR: tmpdir(),
        HOME: this.root,
        DFS_DIR: this.dir,
        NO_COLOR: "1",
        ...runMark(),
        ...options.env,
      },
      stdin: options.stdin ?? "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
  }

  /** Runs a command to its end, whatever its exit code. */
  async run(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    return finish(this.spawn(args, options));
  }

  /** Runs a command that must succeed. @throws Error with what it printed when it does not. */
  async ok(...args: string[]): Promise<CommandResult> {
    const result = await this.run(args);
    if (result.code !== 0) {
      throw new Error(
        `dfs ${args.join(" ")} exited with ${result.code}:\n${result.stderr}${this.logs()}`,
      );
    }
    return result;
  }

  /** The rows that a command prints with --json. */
  async rows<Row>(...args: string[]): Promise<Row[]> {
    const { text } = await this.ok(...args, "--json");
    return text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as Row);
  }

  /** What cluster.json says now. */
  describe(): ClusterDescription {
    return JSON.parse(readFileSync(join(this.dir, "cluster.json"), "utf8")) as ClusterDescription;
  }

  /** The server with this id. */
  server(id: number): ServerProcess {
    const found = this.describe().servers.find((each) => each.id === id);
    if (found === undefined) throw new Error(`cluster.json has no server ${id}`);
    return found;
  }

  /** Kills a process of the cluster with SIGKILL and waits until it is gone. */
  async kill(pid: number): Promise<void> {
    process.kill(pid, "SIGKILL");
    await until(() => !isAlive(pid), `process ${pid} to be gone`);
  }

  /**
   * Waits until these data servers, or all if none is named, are in this state. They are watched by a client in this
   * process: commands that ask again and again would keep the machine busy with starting them.
   */
  async untilState(state: ServerState, ...ids: number[]): Promise<void> {
    const { connectClient } = await import("../../src/client/client.ts"); // few files need it
    const client = await connectClient({ metaAddress: this.describe().meta, label: "test" });
    try {
      await until(
        async () => {
          const servers = await client.servers();
          const meant = servers.filter(({ server }) => !ids.length || ids.includes(Number(server)));
          return meant.length > 0 && meant.every((each) => each.state === state);
        },
        `data servers ${ids.join(", ") || "all"} to be ${state}`,
      );
    } finally {
      await client.close();
    }
  }

  /**
   * Ends everything and removes the folder. Servers are killed: a command that ends them in good order would take a good
   * part of many a test's time, and has tests of its own. It is left to that command to unmount.
   */
  async stop(): Promise<void> {
    try {
      if (mountsBelow(this.root).length > 0) await this.run(["down"]);
      const pids = this.pids();
      for (const pid of pids) kill(pid);
      await until(() => !pids.some(isAlive), `processes ${pids.join(", ")} to be gone`);
    } finally {
      rmSync(this.root, { recursive: true, force: true });
    }
  }

  /** The end of each server's log, for the message of a failed test. */
  private logs(): string {
    const folder = join(this.dir, "logs");
    if (!existsSync(folder)) return "";
    return [...new Bun.Glob("*").scanSync(folder)]
      .map((name) => `\n--- ${name}\n${readFileSync(join(folder, name), "utf8").slice(-1500)}`)
      .join("");
  }

  /** Servers and commands of this cluster that run, by what their command lines name. */
  private pids(): number[] {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name) && commandOf(name).includes(`${this.root}/`))
      .map(Number);
  }
}

/** The mark by which processes of this test run are known, so that one that is left behind is noticed. */
export function runMark(): Record<string, string> {
  const mark = process.env[RUN_MARK];
  return mark === undefined ? {} : { [RUN_MARK]: mark };
}

/** Waits for a command's end and collects what it printed. */
export async function finish(child: Subprocess): Promise<CommandResult> {
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).arrayBuffer(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  const bytes = Buffer.from(stdout);
  return { code, stdout: bytes, text: bytes.toString("utf8"), stderr };
}

/** Kills a process that may have ended by itself meanwhile. */
function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** The command line of a process; empty when there is no such process, or a zombie. */
function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}

/** True while a process with this id exists and is not a zombie. */
export function isAlive(pid: number): boolean {
  try {
    const state = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /s, "")[0];
    return state !== "Z" && state !== "X";
  } catch {
    return false; // no such process
  }
}

/** Waits until `condition` holds, looking often. @throws Error after a generous time. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  deadlineMs = 30_000,
): Promise<void> {
  const startMs = performance.now();
  while (!(await condition())) {
    const waitedMs = performance.now() - startMs;
    if (waitedMs > deadlineMs) throw new Error(`waited ${deadlineMs} ms in vain for ${what}`);
    await Bun.sleep(pauseMs(waitedMs));
  }
}

/** What `diff -r` says of two trees: empty when they are equal. Links are compared, not followed. */
export async function differences(one: string, other: string): Promise<string> {
  const child = Bun.spawn(["diff", "-r", "--no-dereference", one, other], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const { text, stderr } = await finish(child);
  return text + stderr;
}
