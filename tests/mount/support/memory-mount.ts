// Starts `memory-server.ts` and drives it: a real mount, served by another process, that a test may touch as it likes.

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { CacheMode } from "../../../src/mount/kernel/protocol/negotiation.ts";
import { unmountPath } from "../../../src/mount/kernel/system/unmount.ts";
import { mountAt } from "../../../src/base/mounts/table.ts";

import { startedFrom } from "../../support/bundled-project.ts";
import type { MemoryState } from "./memory-handles.ts";

export interface ServerOptions {
  readonly mountPoint: string;
  readonly timeoutMs?: number;
  readonly readOnly?: boolean;
  readonly allowOther?: boolean;
  readonly cache?: CacheMode;
  /** Number of the first inode that is made, as decimal digits. */
  readonly firstInode?: string;
  /** Empty files in the root at the start. */
  readonly files?: number;
}

export type ServerCommand =
  | { readonly do: "change"; readonly path: string; readonly text: string; readonly tell: boolean }
  | {
      readonly do: "rename";
      readonly from: string;
      readonly to: string;
      readonly tell: boolean;
    }
  | { readonly do: "all" }
  | { readonly do: "hold" }
  | { readonly do: "letGo" }
  | { readonly do: "unmount"; readonly lazy?: boolean; readonly force?: boolean }
  | { readonly do: "state" };

/** False, with a message, when there is no /dev/fuse; a failure where CI runs, as tests of the mount must run there. */
export function fuseIsThere(): boolean {
  if (existsSync("/dev/fuse")) return true;
  const message = "there is no /dev/fuse: tests of the mount cannot run";
  if (process.env["CI"] === "true") throw new Error(message);
  console.warn(`skipped: ${message}`);
  return false;
}

type Line = Readonly<Record<string, unknown>>;

/** Takes the lines that a process prints one by one. */
class Lines {
  private readonly iterator: AsyncIterator<Line>;

  constructor(stream: ReadableStream<Uint8Array>) {
    this.iterator = parseLines(stream);
  }

  async next(): Promise<Line> {
    const { value, done } = await this.iterator.next();
    if (done) throw new Error("the server of the mount has ended");
    return value;
  }
}

async function* parseLines(stream: ReadableStream<Uint8Array>): AsyncGenerator<Line> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) yield JSON.parse(line) as Line;
  }
}

export class MemoryMount {
  readonly path: string;
  readonly process: Bun.Subprocess<"pipe", "pipe", "pipe">;
  private readonly lines: Lines;
  private readonly log: Promise<string>;

  private constructor(path: string, child: Bun.Subprocess<"pipe", "pipe", "pipe">) {
    this.path = path;
    this.process = child;
    this.lines = new Lines(child.stdout);
    this.log = new Response(child.stderr).text();
  }

  /** Mounts on a new directory, or on the one that is given. */
  static async start(
    options: Partial<ServerOptions> = {},
    launcher: readonly string[] = [],
  ): Promise<MemoryMount> {
    const path = options.mountPoint ?? mkdtempSync(join(tmpdir(), "dfs-mount-"));
    const server = join(startedFrom(), "tests/mount/support/memory-server.ts");
    const order = JSON.stringify({ ...options, mountPoint: path });
    const child = Bun.spawn([...launcher, process.execPath, server, order], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    const mount = new MemoryMount(path, child);
    const first = await mount.lines.next().catch(async () => ({ failed: await mount.log }));
    if (!("ready" in first)) throw new Error(String(first["failed"]));
    return mount;
  }

  at(name: string): string {
    return join(this.path, name);
  }

  async state(): Promise<MemoryState> {
    return (await this.tell({ do: "state" })) as MemoryState;
  }

  async tell(command: ServerCommand): Promise<unknown> {
    void this.process.stdin.write(`${JSON.stringify(command)}\n`);
    void this.process.stdin.flush();
    const reply = await this.lines.next();
    if ("error" in reply) throw new Error(String(reply["error"]));
    return reply["done"];
  }

  /** The line that the server prints when its mount has ended. */
  async ended(): Promise<Line> {
    return this.lines.next();
  }

  /** What the server has logged, once it has ended. */
  async logged(): Promise<string> {
    return this.log;
  }

  async kill(): Promise<void> {
    this.process.kill("SIGKILL");
    await this.process.exited;
  }

  /** Ends server and mount, whatever state they are in, and removes the directory. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    while (mountAt(this.path) !== undefined) await unmountPath(this.path, { lazy: true });
    rmSync(this.path, { recursive: true, force: true });
  }
}
