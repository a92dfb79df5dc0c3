/**
 * The cluster that a drill has for itself: real servers in a temporary directory, which may be killed and lose their disks.
 * When the drill is over nothing of it is left. When it is killed its servers end, and the next drill removes the directory.
 */
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { basename } from "node:path";
import { DfsError } from "../../base/errors.ts";
import type { Random } from "../../base/random.ts";
import { launch } from "../cluster/launch.ts";
import { lockCluster, logPath, metaDirectory, serverDirectories } from "../cluster/layout.ts";
import { LocalCluster } from "../cluster/local-cluster.ts";
import { killServer, serverIn } from "../cluster/processes.ts";
import { PROJECT } from "../cluster/this-program.ts";
import type { Wish } from "../cluster/wish.ts";
import { markedDirectory } from "./leftovers.ts";
import { readClusterFile } from "../shared/cluster-file.ts";

/** Small, so that little data has many blocks. */
const BLOCK_BYTES = 64 * 1024;
/** Short, so that a drill need not wait long until what is gone is replaced. */
const DOWN_DELAY_MS = 1_000;
const OUT_DELAY_MS = 3_000;

/** A data server of the drill. */
export interface DrillServer {
  readonly id: number;
  readonly address: string;
  readonly dir: string;
}

export interface Surroundings {
  readonly signal: AbortSignal;
  /** For the servers. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The servers end when this process has ended, however that ends. */
  readonly tied: boolean;
}

export class ScratchCluster {
  readonly dir: string;
  readonly #marked = markedDirectory();
  readonly #local: LocalCluster;
  readonly #wish: Wish;
  readonly #around: Surroundings;
  /** When the process ends before it has cleaned up, as after a second Ctrl-C. */
  readonly #onExit = (): void => this.#removeAtOnce();

  /** Makes the directory; nothing runs yet. */
  constructor(dataServers: number, around: Surroundings) {
    this.dir = this.#marked.dir;
    this.#around = around;
    const settings = { blockSize: BLOCK_BYTES };
    const service = { outDelayMs: OUT_DELAY_MS, downDelayMs: DOWN_DELAY_MS };
    this.#wish = { settings, service, dataServers, debug: false };
    const events = { onService: () => undefined, onWarning: () => undefined };
    this.#local = new LocalCluster(this.dir, events, around);
    process.on("exit", this.#onExit);
  }

  /** Address of the metadata server. */
  get meta(): string {
    const address = readClusterFile(this.dir)?.meta;
    if (address !== undefined) return address;
    throw new DfsError("internal", `the cluster in ${this.dir} has no metadata server`);
  }

  get servers(): DrillServer[] {
    const file = readClusterFile(this.dir);
    return (file?.servers ?? []).map(({ id, address, dir }) => {
      if (id !== undefined && address !== undefined) return { id, address, dir };
      throw new DfsError("internal", `the data server in ${dir} has never been started`);
    });
  }

  /** So many data servers at random. */
  some(count: number, random: Random): DrillServer[] {
    return shuffled(this.servers, random).slice(0, count);
  }

  /** Starts every server that does not run. @throws DfsError NotStarted when one does not start. */
  async startMissing(): Promise<void> {
    const lock = await lockCluster(this.dir, this.#around.signal);
    try {
      await this.#local.start(this.#wish);
    } finally {
      lock.release();
    }
  }

  /** Ends data servers at once, with SIGKILL. */
  async crash(servers: readonly DrillServer[]): Promise<void> {
    await Promise.all(servers.map(({ dir }) => kill(dir)));
  }

  /** Ends the metadata server at once, with SIGKILL. */
  crashMeta(): Promise<void> {
    return kill(metaDirectory(this.dir));
  }

  /** Deletes everything that a server has on its disk; it must not run. */
  loseDisk({ dir }: DrillServer): void {
    rmSync(dir, { recursive: true, force: true });
  }

  /** Starts a server that has lost its disk, as `dfs data --recover`. */
  async recover({ id, address, dir }: DrillServer): Promise<void> {
    const name = basename(dir);
    const args = ["data", "--json", "--dir", dir, "--meta", this.meta, "--listen", address];
    await launch({
      name,
      args: [...args, "--allow-faults", "--recover", String(id)],
      logPath: logPath(this.dir, name),
      ...this.#around,
    });
    await this.startMissing(); // which writes down its process
  }

  /** Deletes everything that the metadata server has on its disk; it must not run. */
  loseMetaDisk(): void {
    rmSync(metaDirectory(this.dir), { recursive: true, force: true });
  }

  /** Brings the metadata back from the data servers, as `dfs meta restore`. @throws DfsError with what that said. */
  async restoreMeta(): Promise<void> {
    const from = this.servers.map(({ address }) => address).join(",");
    const args = ["meta", "restore", "--dir", metaDirectory(this.dir), "--from", from];
    const { code, said } = await runDfs(args, this.#around);
    this.#around.signal.throwIfAborted();
    if (code === 0) return;
    throw new DfsError("io", `dfs meta restore ended with exit code ${code}:\n${said.trimEnd()}`);
  }

  /** Lets servers and directory be, for somebody to look at. */
  keep(): void {
    this.#marked.unmark();
    process.off("exit", this.#onExit);
  }

  /** Kills all servers and removes the directory. */
  async remove(): Promise<void> {
    await Promise.all(serverDirectories(this.dir).map(kill));
    rmSync(this.dir, { recursive: true, force: true });
    process.off("exit", this.#onExit);
  }

  #removeAtOnce(): void {
    for (const dir of serverDirectories(this.dir)) {
      const pid = serverIn(dir);
      if (pid !== undefined) process.kill(pid, "SIGKILL");
    }
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** The items in an order that `random` decides. */
export function shuffled<T>(items: readonly T[], random: Random): T[] {
  const result = [...items];
  for (let index = result.length - 1; index > 0; index--) {
    const other = random.below(index + 1);
    [result[index], result[other]] = [result[other]!, result[index]!];
  }
  return result;
}

async function kill(dir: string): Promise<void> {
  if (await killServer(dir)) return;
  throw new DfsError("io", `the server in ${dir} was killed and has not ended`);
}

/** Runs a dfs command to its end; ends it when the drill is interrupted. */
async function runDfs(
  args: readonly string[],
  { signal, env }: Surroundings,
): Promise<{ readonly code: number | null; readonly said: string }> {
  signal.throwIfAborted();
  const command = [`--config=${PROJECT}/bunfig.toml`, `${PROJECT}/src/cli.ts`, ...args];
  const child = spawn(process.execPath, command, {
    cwd: "/",
    env: { ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (said += text));
  }
  child.once("error", reject);
  child.once("close", resolve);
  const onAbort = (): void => void child.kill("SIGKILL");
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return { code: await promise, said };
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
