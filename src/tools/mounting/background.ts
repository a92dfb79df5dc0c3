/**
 * A mount in the background: a process of its own serves it, and this one learns whether it is ready.
 *
 * The child is `dfs mount --foreground --json`. Its first line on standard output is {@link ReadyMount} or
 * {@link FailedMount}; everything else it says goes into its log. It leads a session of its own and keeps no directory busy.
 */
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { DfsError, ERROR_KINDS, type ErrorKind } from "../../base/errors.ts";
import { PROJECT } from "../cluster/this-program.ts";
import { localError } from "../shared/errors.ts";
import { MOUNT_ENV } from "../shared/runtime-env.ts";

/** What is printed when a mount can be used. */
export interface ReadyMount {
  readonly ready: "mount";
  readonly mountPoint: string;
  readonly meta: string;
  readonly pid: number;
}

/** What is printed when it did not come to that. */
export interface FailedMount {
  readonly failed: ErrorKind;
  readonly message: string;
}

export interface Background {
  readonly args: readonly string[];
  readonly log: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

/** The log of a mount point, when nobody says where it should be. */
export function defaultLog(
  mountPoint: string,
  env: Readonly<Record<string, string | undefined>>,
): string {
  const state = env["XDG_STATE_HOME"];
  // The XDG base directory specification says that a relative path there must be ignored.
  const base = state?.startsWith("/") ? state : join(env["HOME"] || homedir(), ".local", "state");
  return join(base, "dfs", `mount${mountPoint.replaceAll("/", "-")}.log`);
}

/**
 * Starts the process and waits until it is ready.
 * @throws DfsError what kept it from mounting, or `cancelled`; it does not run any more then.
 */
export async function serveInBackground(request: Background): Promise<ReadyMount> {
  const log = openLog(request.log);
  const child = spawn(
    process.execPath,
    [`--config=${PROJECT}/bunfig.toml`, `${PROJECT}/src/cli.ts`, ...request.args],
    {
      cwd: "/", // it must not keep the user's directory busy
      detached: true,
      env: { ...MOUNT_ENV, ...request.env },
      stdio: ["ignore", "pipe", log],
    },
  );
  closeSync(log);
  const { promise: ended, resolve: onEnd, reject } = Promise.withResolvers<void>();
  child.once("error", reject).once("close", () => onEnd());
  const stop = (): void => void child.kill("SIGTERM");
  request.signal.addEventListener("abort", stop, { once: true });
  if (request.signal.aborted) stop();
  try {
    const line = await firstLine(child.stdout, ended);
    if (request.signal.aborted) {
      stop();
      await ended;
      throw request.signal.reason;
    }
    if (line !== undefined) {
      const said = JSON.parse(line) as ReadyMount | FailedMount;
      if ("ready" in said) {
        child.stdout?.destroy();
        child.unref();
        return said;
      }
      await ended;
      throw failureOf(said);
    }
    await ended;
    const how =
      child.signalCode === null ? `with exit code ${child.exitCode}` : `by ${child.signalCode}`;
    throw new DfsError(
      "io",
      `cannot mount: the process that was to serve it ended ${how}\nits log says more: ${request.log}`,
    );
  } finally {
    request.signal.removeEventListener("abort", stop);
  }
}

/** What the child printed up to the first newline; undefined when it ended without. */
async function firstLine(
  stream: NodeJS.ReadableStream | null,
  ended: Promise<void>,
): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  let text = "";
  stream?.setEncoding("utf8");
  stream?.on("data", (chunk: string) => {
    text += chunk;
    const end = text.indexOf("\n");
    if (end >= 0) resolve(text.slice(0, end));
  });
  return Promise.race([promise, ended.then(() => undefined)]);
}

function failureOf({ failed, message }: FailedMount): DfsError {
  const kind = Object.hasOwn(ERROR_KINDS, failed) ? failed : "internal";
  return new DfsError(kind, message);
}

function openLog(path: string): number {
  try {
    mkdirSync(dirname(path), { recursive: true });
    return openSync(path, "a", 0o600);
  } catch (error) {
    throw localError(`cannot write the log ${path}`, error);
  }
}
