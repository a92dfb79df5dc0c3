/**
 * Server processes of this machine: who owns a server's directory, and how to stop it.
 *
 * A pid in a file proves nothing: the number may belong to somebody else's program by now. A process is taken for the
 * server of a directory only when the directory's lock is held and that very process has the lock file open.
 */
import { readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { liveOwner } from "../../base/directory-lock.ts";
import { DfsError, systemCodeOf } from "../../base/errors.ts";

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
 * Ends the server of `dir`: asks it, and when it has not ended in time, kills it. Resolves when its lock is free and the
 * process gone. The second value is the pid that it had.
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
 * Kills the server of `dir` with SIGKILL. Resolves when it has ended; false when it has not within 5 s.
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
  const running = runOf(pid);
  send(signal, pid);
  while (serverIn(dir) === pid) {
    if (performance.now() > deadline) return false;
    await Bun.sleep(LOOK_EVERY_MS);
  }
  await gone(running);
  return true;
}

/** One run of a process: its number may belong to another one later. */
export interface ProcessRun {
  readonly pid: number;
  /** When it began, in the kernel's count; undefined when it has ended, or where there is no /proc. */
  readonly began: string | undefined;
}

/** The process that has this number now: proc_pid_stat(5), fields 3 and 22. A zombie has ended. */
export function runOf(pid: number): ProcessRun {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const hasEnded = fields[0] === "Z" || fields[0] === "X";
    return { pid, began: hasEnded ? undefined : fields[19] };
  } catch (error) {
    if (systemCodeOf(error) === undefined) throw error;
    return { pid, began: undefined };
  }
}

/**
 * Waits until the process, which has given its lock back, is gone too: who is told that it has ended may rely on it. Some
 * seconds at most, as there is nothing left that it could do.
 */
export async function gone(run: ProcessRun): Promise<void> {
  const deadline = performance.now() + KILL_TIMEOUT_MS;
  while (run.began !== undefined && runOf(run.pid).began === run.began) {
    if (performance.now() > deadline) return;
    await Bun.sleep(LOOK_EVERY_MS);
  }
}

function send(signal: "SIGTERM" | "SIGKILL", pid: number): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === "ESRCH") return; // it has ended by itself
    if (code !== "EPERM") throw error;
    throw new DfsError(
      "notPermitted",
      `cannot end process ${pid}: it belongs to another user\nend it as that user, or as the superuser`,
    );
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
    const code = systemCodeOf(error);
    if (code === "ENOENT") return false; // the process has ended
    // Only the superuser may look into one that is just ending, and still has the lock; or it is somebody else's, whom we can
    // do nothing to. The lock alone has to do.
    if (code === "EACCES") return true;
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
