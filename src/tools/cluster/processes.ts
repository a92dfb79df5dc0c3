/**
 * Server processes of this machine: who owns a server's directory, and how to stop it.
 *
 * A pid in a file proves nothing: the number may belong to somebody else's program by now. A process is taken for the
 * server of a directory only when the directory's lock is held and that very process has the lock file open.
 */
import { readdirSync, readlinkSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { liveOwner } from "../../base/directory-lock.ts";
import { systemCodeOf } from "../../base/errors.ts";

const TERMINATE_TIMEOUT_MS = 10_000;
const KILL_TIMEOUT_MS = 5_000;
const LOOK_EVERY_MS = 20;

/** How a server ended, or that it did not. */
export type Stopped = "stopped" | "killed" | "still running" | "was not running";

/** The pid of the server that runs in `dir`, or undefined when none does. */
export function serverIn(dir: string): number | undefined {
  const pid = liveOwner(dir);
  return pid !== undefined && hasOpen(pid, join(dir, "lock")) ? pid : undefined;
}

/**
 * Ends the server of `dir`: asks it, and when it has not ended in time, kills it. Resolves when its lock is free, which
 * the kernel sees to when the process is gone. The second value is the pid that it had.
 */
export async function stopServer(
  dir: string,
  timeoutMs = TERMINATE_TIMEOUT_MS,
): Promise<{ how: Stopped; pid: number | undefined }> {
  const pid = serverIn(dir);
  if (pid === undefined) return { how: "was not running", pid };
  if (await endedAfter("SIGTERM", pid, dir, timeoutMs)) return { how: "stopped", pid };
  if (await endedAfter("SIGKILL", pid, dir, KILL_TIMEOUT_MS)) return { how: "killed", pid };
  return { how: "still running", pid };
}

/**
 * Kills the server of `dir` with SIGKILL. Resolves when its lock is free; false when it has not ended within 5 s.
 */
export async function killServer(dir: string): Promise<boolean> {
  const pid = serverIn(dir);
  return pid === undefined || endedAfter("SIGKILL", pid, dir, KILL_TIMEOUT_MS);
}

async function endedAfter(
  signal: "SIGTERM" | "SIGKILL",
  pid: number,
  dir: string,
  timeoutMs: number,
): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  send(signal, pid);
  while (serverIn(dir) === pid) {
    if (performance.now() > deadline) return false;
    await Bun.sleep(LOOK_EVERY_MS);
  }
  return true;
}

function send(signal: "SIGTERM" | "SIGKILL", pid: number): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (systemCodeOf(error) !== "ESRCH") throw error; // else it has ended by itself
  }
}

/** True when process `pid` has the file `path` open. Linux; elsewhere the lock alone has to do. */
function hasOpen(pid: number, path: string): boolean {
  if (process.platform !== "linux") return true;
  const folder = `/proc/${pid}/fd`;
  try {
    const real = realpathSync(path);
    return readdirSync(folder).some((name) => linkTarget(join(folder, name)) === real);
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return false; // the process has ended
    throw error;
  }
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch (error) {
    if (systemCodeOf(error) === undefined) throw error;
    return undefined; // closed meanwhile
  }
}
