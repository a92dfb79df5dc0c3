/**
 * Starting a server as a process of its own, and learning that it is ready.
 *
 * The child is `dfs meta` or `dfs data` with --json. It writes one line to its standard output when it serves
 * ({@link ReadyLine}), and everything else to its log file. It leads a process group of its own, so that Ctrl-C on the
 * terminal of `dfs up` does not reach it, and it outlives `dfs up --detach`. One that is tied ends with this process.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { DfsError, messageOf } from "../../base/errors.ts";
import { END_WITH_INPUT } from "../shared/end-with-input.ts";
import type { ClusterSettings } from "../shared/cluster-file.ts";
import type { ServiceRow } from "../shared/service-options.ts";
import { RUNTIME_ENV } from "../shared/runtime-env.ts";

const PROJECT = join(import.meta.dir, "../../..");
const READY_TIMEOUT_MS = 60_000;
const SHOWN_LOG_LINES = 8;
const LOG_TAIL_BYTES = 4096;
/** What a server prints when it is ready, as one line of JSON. */
export interface ReadyLine {
  readonly ready: "meta" | "data";
  readonly address: string;
  readonly pid: number;
  readonly dir: string;
  /** Of a data server: its id. */
  readonly server?: number;
  /** Of a metadata server: the settings of its cluster. */
  readonly settings?: Required<ClusterSettings>;
  /** Of a metadata server: how it judges silence, repairs and backs up. */
  readonly service?: ServiceRow;
}

/** What a data server prints instead when it waits for a newer database of the metadata server, and why. */
interface WaitingLine {
  readonly waiting: "data";
  readonly reason: string;
}

export interface Launch {
  /** For messages: `metadata server`, `data-1`. */
  readonly name: string;
  readonly args: readonly string[];
  readonly logPath: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  /** The server ends when this process has ended, however that ends. */
  readonly tied?: boolean;
}

/** Servers that end when their pipes are closed: these must not go before their time. */
const tiedServers = new Set<ChildProcess>();

/** A server that has been started and said that it is ready. */
export interface Launched {
  readonly name: string;
  readonly child: ChildProcess;
  readonly ready: ReadyLine;
}

/** A server that did not start: how it ended, and the end of its log. */
export class NotStarted extends DfsError {
  readonly exitCode: number | null;
  readonly logLines: readonly string[];

  constructor(message: string, exitCode: number | null, logLines: readonly string[]) {
    super("io", message);
    this.exitCode = exitCode;
    this.logLines = logLines;
  }
}

/**
 * Starts a server and waits until it is ready.
 * @throws NotStarted when it ends before, says that it waits for a newer database, or is not ready within a minute; the signal's reason when that is aborted. It
 * does not run any more then.
 */
export async function launch(request: Launch): Promise<Launched> {
  request.signal.throwIfAborted();
  const log = openSync(request.logPath, "a");
  const logStart = fstatSync(log).size;
  const tied = request.tied === true;
  const child = spawn(
    process.execPath,
    [
      `--config=${PROJECT}/bunfig.toml`,
      `${PROJECT}/src/cli.ts`,
      ...request.args,
      ...(tied ? [END_WITH_INPUT] : []),
    ],
    {
      cwd: "/", // a server must not keep the user's directory busy
      detached: true,
      env: { ...RUNTIME_ENV, ...request.env },
      stdio: [tied ? "pipe" : "ignore", "pipe", log],
    },
  );
  closeSync(log);
  if (tied) {
    tiedServers.add(child);
    child.once("exit", () => tiedServers.delete(child));
  }
  try {
    const ready = await readyLine(child, request.signal);
    child.stdout?.destroy();
    child.unref();
    return { name: request.name, child, ready };
  } catch (error) {
    await killed(child);
    if (request.signal.aborted) throw request.signal.reason;
    throw new NotStarted(
      `the ${request.name} did not start: ${messageOf(error)}`,
      child.exitCode,
      tailOf(request.logPath, logStart),
    );
  }
}

/** Kills the child and waits until it is gone: nothing is written to its directory any more. */
async function killed(child: ChildProcess): Promise<void> {
  const isOver = (): boolean =>
    child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
  if (isOver()) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  child.once("exit", () => resolve());
  child.kill("SIGKILL");
  await promise;
}

/** Resolves with the child's first line; rejects when it ends or takes too long. */
function readyLine(child: ChildProcess, signal: AbortSignal): Promise<ReadyLine> {
  const { promise, resolve, reject } = Promise.withResolvers<ReadyLine>();
  let text = "";
  const timer = setTimeout(
    () => reject(new Error(`it was not ready within ${READY_TIMEOUT_MS / 1000} s`)),
    READY_TIMEOUT_MS,
  );
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
    if (!text.includes("\n")) return;
    try {
      const line = JSON.parse(text.slice(0, text.indexOf("\n"))) as ReadyLine | WaitingLine;
      if ("waiting" in line) reject(new Error(line.reason));
      else resolve(line);
    } catch {
      reject(new Error(`it said something unexpected: ${text.slice(0, 200)}`));
    }
  });
  child.once("error", reject);
  child.once("close", (code, byName) =>
    reject(
      new Error(byName === null ? `it ended with exit code ${code}` : `it ended by ${byName}`),
    ),
  );
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  });
}

/** The last lines that were written to the log behind `start`. */
function tailOf(path: string, start: number): string[] {
  const log = openSync(path, "r");
  try {
    const { size } = fstatSync(log);
    const from = Math.max(start, size - LOG_TAIL_BYTES);
    const buffer = Buffer.alloc(Math.max(0, size - from));
    const length = readSync(log, buffer, 0, buffer.length, from);
    const lines = buffer.toString("utf8", 0, length).split("\n");
    return lines.filter((line) => line.trim() !== "").slice(-SHOWN_LOG_LINES);
  } finally {
    closeSync(log);
  }
}
