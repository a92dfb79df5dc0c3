/**
 * Taking a mount away and waiting for the process that serves it. Works on mounts whose process is gone or does not answer:
 * nothing here looks into a mount without a limit of time.
 */
import { stat, statfs } from "node:fs/promises";
import { DfsError, systemCodeOf } from "../../base/errors.ts";
import { gone, runOf, stopServer, type Stopped } from "../cluster/processes.ts";
import { unlessAborted } from "../shared/interruption.ts";
import { shellWord } from "../shared/connect.ts";
import { DFS_TYPE, mountAt, type MountEntry } from "./mount-table.ts";
import { forgetMountPoint, mountDirectory, servingProcess } from "./registry.ts";

const MNT_FORCE = 1; // sys/mount.h
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;
const EPERM = 1; // asm-generic/errno-base.h
const EBUSY = 16;
const EINVAL = 22;

/** How long a mount may take to say how it is. */
const ANSWER_TIMEOUT_MS = 2000;
/** A forced unmount gives the process so long to put things in order. */
const FORCED_END_MS = 5000;
const LOOK_EVERY_MS = 20;

export type UnmountHow = "plain" | "lazy" | "force";

export interface Unmounted {
  readonly mountPoint: string;
  /** The process that served it; undefined when there was none any more. */
  readonly pid: number | undefined;
  /** `serving`: the mount is in use and the process goes on until it is not. */
  readonly process: Stopped | "serving";
}

/** How a mount is: `answers`, `dead` (its process is gone), or `silent` (it does not answer in time). */
export async function stateOfMount(mountPoint: string): Promise<"answers" | "dead" | "silent"> {
  // Its attributes may still be in the kernel's memory; what statfs tells never is.
  const asked = Promise.all([statfs(mountPoint), stat(mountPoint)]).then(
    () => "answers" as const,
    (error: unknown) => (isDead(error) ? ("dead" as const) : ("answers" as const)),
  );
  return Promise.race([asked, Bun.sleep(ANSWER_TIMEOUT_MS).then(() => "silent" as const)]);
}

function isDead(error: unknown): boolean {
  return systemCodeOf(error) === "ENOTCONN" || systemCodeOf(error) === "ECONNABORTED";
}

/**
 * Takes the mount away. `plain`: it must not be in use; resolves when its process has written everything back and ended.
 * `lazy`: it disappears from the tree at once, and the process ends when nobody uses it any more. `force`: whoever uses it
 * gets errors, what has not been written back is lost, and the process is killed if it does not end.
 *
 * @throws DfsError `notFound` when nothing is mounted there, `invalid` when it is no dfs, `busy`, `notPermitted`; `timeout`
 * when the process has not ended within `timeoutMs`; `cancelled`.
 */
export async function unmount(
  mountPoint: string,
  how: UnmountHow,
  { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<Unmounted> {
  const entry = mountAt(mountPoint);
  if (entry !== undefined && entry.type !== DFS_TYPE) throw notDfs(entry);
  const self = process.getuid?.() ?? 0;
  const uid = entry?.uid ?? self;
  if (self !== 0 && uid !== self) throw failed(mountPoint, EPERM);
  const pid = servingProcess(uid, mountPoint);
  if (entry === undefined && pid === undefined) throw nothingMounted(mountPoint);
  if (entry !== undefined) await unlessAborted(signal, detach(entry, how));
  if (pid === undefined) {
    forgetMountPoint(uid, mountPoint);
    return { mountPoint, pid, process: "was not running" };
  }
  if (how === "lazy") return { mountPoint, pid, process: "serving" };
  if (how === "force") {
    const { how: ended } = await stopServer(mountDirectory(uid, mountPoint), FORCED_END_MS);
    forgetMountPoint(uid, mountPoint);
    return { mountPoint, pid, process: ended === "was not running" ? "stopped" : ended };
  }
  await ended(uid, mountPoint, pid, timeoutMs, signal);
  return { mountPoint, pid, process: "stopped" };
}

/** Takes away what a killed process has left on a mount point, so that it can be used again. */
export async function detachDead(entry: MountEntry): Promise<void> {
  await detach(entry, "lazy");
}

async function detach(entry: MountEntry, how: UnmountHow): Promise<void> {
  const { mountPoint } = entry;
  const isLazy = how !== "plain" || (await stateOfMount(mountPoint)) === "dead";
  if (process.getuid?.() === 0) {
    const flags = (isLazy ? MNT_DETACH : 0) | (how === "force" ? MNT_FORCE : 0) | UMOUNT_NOFOLLOW;
    const errno = await umount2(mountPoint, flags);
    if (errno !== 0 && errno !== EINVAL) throw failed(mountPoint, errno);
    return; // EINVAL: it is no mount point any more, which is what is wanted
  }
  if (how === "force") {
    // Only root can make the kernel give up a mount; its process can be ended, which has the same effect.
    await stopServer(mountDirectory(entry.uid ?? -1, mountPoint), FORCED_END_MS);
    if (mountAt(mountPoint)?.type !== DFS_TYPE) return;
  }
  await fusermount(mountPoint, isLazy);
}

async function umount2(path: string, flags: number): Promise<number> {
  const worker = new Worker(new URL("./unmount-worker.ts", import.meta.url));
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  worker.onmessage = ({ data }: MessageEvent<number>) => resolve(data);
  worker.onerror = (event) => reject(new DfsError("internal", `umount2: ${event.message}`));
  worker.postMessage({ path, flags });
  try {
    return await promise;
  } finally {
    worker.terminate();
  }
}

/** The set-user-id helper of FUSE, by which ordinary users mount and unmount. */
async function fusermount(mountPoint: string, isLazy: boolean): Promise<void> {
  const program = Bun.which("fusermount3");
  if (program === null) {
    throw new DfsError(
      "notPermitted",
      `cannot unmount ${mountPoint}: fusermount3 is not installed, and only root can do without it\n` +
        "install it (Debian: apt install fuse3), or unmount as root",
    );
  }
  const child = Bun.spawn([program, "-u", ...(isLazy ? ["-z"] : []), "--", mountPoint], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, LC_ALL: "C" },
  });
  const [text, code] = await Promise.all([child.stderr.text(), child.exited]);
  if (code === 0 || mountAt(mountPoint)?.type !== DFS_TYPE) return;
  if (/busy/i.test(text)) throw failed(mountPoint, EBUSY);
  if (/permitted|permission/i.test(text)) throw failed(mountPoint, EPERM);
  throw new DfsError("io", `cannot unmount ${mountPoint}: ${text.trim() || `exit code ${code}`}`);
}

function failed(mountPoint: string, errno: number): DfsError {
  const path = shellWord(mountPoint);
  if (errno === EBUSY) {
    return new DfsError(
      "busy",
      `cannot unmount ${mountPoint}: it is in use\n` +
        `end what uses it (fuser -vm ${path} tells what), or hide it now: dfs umount --lazy ${path}`,
    );
  }
  if (errno === EPERM) {
    return new DfsError(
      "notPermitted",
      `cannot unmount ${mountPoint}: it is another user's\nroot or that user can`,
    );
  }
  return new DfsError("io", `cannot unmount ${mountPoint}: system error ${errno}`);
}

async function ended(
  uid: number,
  mountPoint: string,
  pid: number,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  const running = runOf(pid);
  while (servingProcess(uid, mountPoint) === pid) {
    signal.throwIfAborted();
    if (performance.now() > deadline) {
      throw new DfsError(
        "timeout",
        `${mountPoint} is unmounted, but process ${pid} still has to write back what was written there\n` +
          "it does so when the cluster answers; to give that up and lose it:\n" +
          `dfs umount --force ${shellWord(mountPoint)}`,
      );
    }
    await Bun.sleep(LOOK_EVERY_MS);
  }
  await gone(running);
}

function notDfs({ mountPoint, type }: MountEntry): DfsError {
  return new DfsError(
    "invalid",
    `cannot unmount ${mountPoint}: it is no dfs but ${type}\nuse umount(8) for it`,
  );
}

function nothingMounted(mountPoint: string): DfsError {
  return new DfsError(
    "notFound",
    `cannot unmount ${mountPoint}: nothing is mounted there\nthe mounts of dfs are shown by: findmnt -t ${DFS_TYPE}`,
  );
}
