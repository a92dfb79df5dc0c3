/**
 * The mounts of a local cluster: made by `dfs up --mount`, and taken away before its servers are stopped.
 */
import { realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { DfsError, isDfsError, systemCodeOf } from "../../base/errors.ts";
import { serveInBackground } from "../mounting/background.ts";
import { mountAt, DFS_TYPE } from "../../base/mounts/table.ts";
import { checkFuse, usableMountPoint } from "../mounting/preconditions.ts";
import {
  forgetMountPoint,
  knownMounts,
  mountDirectory,
  mountRecord,
  servingProcess,
} from "../mounting/registry.ts";
import { unmount, type Unmounted } from "../mounting/unmount.ts";
import { readClusterFile } from "../shared/cluster-file.ts";
import { localError } from "../shared/errors.ts";
import { logPath } from "./layout.ts";
import { stopServer } from "./processes.ts";

/** What is written to a mount is written back within this time, or the cluster is not well. */
const WRITE_BACK_TIMEOUT_MS = 20_000;

export interface ClusterMount {
  readonly mountPoint: string;
  readonly pid: number;
  readonly ranBefore: boolean;
}

interface Around {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

function ownUid(): number {
  return process.getuid?.() ?? 0;
}

/**
 * Where the cluster of `dir` is to be mounted, or is already; checked before anything is made or started.
 * @throws DfsError when nothing can be mounted there; `usage` when the mount would hide `dir` itself.
 */
export async function checkedMountPoint(
  path: string,
  dir: string,
  onCleaned: () => void,
): Promise<string> {
  const mountPoint = resolve(path);
  if (mountedHere(mountPoint, dir) !== undefined) return mountPoint;
  checkFuse();
  const usable = await usableMountPoint(mountPoint, onCleaned);
  const ownDirectory = realPathOf(dir);
  if (ownDirectory !== usable && !ownDirectory.startsWith(`${usable}/`)) return usable;
  throw new DfsError(
    "usage",
    `cannot mount on ${mountPoint}: the cluster's own directory ${dir} would be hidden by the mount\n` +
      "name a directory of its own with --mount, or another one for the cluster with --dir",
  );
}

/** The path without symbolic links, as far as there are directories. */
function realPathOf(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if (systemCodeOf(error) !== "ENOENT") throw localError(`cannot use ${path}`, error);
    return join(realPathOf(dirname(path)), basename(path));
  }
}

/** The process that serves this cluster's mount there. */
function mountedHere(mountPoint: string, dir: string): number | undefined {
  const isMounted = mountAt(mountPoint)?.type === DFS_TYPE;
  if (!isMounted || mountRecord(ownUid(), mountPoint)?.dir !== dir) return undefined;
  return servingProcess(ownUid(), mountPoint);
}

/** Mounts the cluster of `dir`, unless it is mounted there. @throws DfsError as `serveInBackground`. */
export async function mountCluster(
  dir: string,
  mountPoint: string,
  { env, signal }: Around,
): Promise<ClusterMount> {
  const running = mountedHere(mountPoint, dir);
  if (running !== undefined) return { mountPoint, pid: running, ranBefore: true };
  const log = logPath(dir, "mount");
  const options = ["--foreground", "--json", "--log", log, "--dir", dir];
  const args = ["mount", ...options, "--", mountPoint];
  const { pid } = await serveInBackground({ args, log, env, signal });
  return { mountPoint, pid, ranBefore: false };
}

/**
 * Takes all mounts of the cluster of `dir` away, while its servers still run. One that is in use is taken away as well, after
 * what was written there has been written back; `onBusy` is told.
 */
export async function unmountCluster(
  dir: string,
  signal: AbortSignal,
  onBusy: (mountPoint: string) => void,
): Promise<Unmounted[]> {
  const unmounted: Unmounted[] = [];
  const address = readClusterFile(dir)?.meta;
  for (const { mountPoint, dir: ofCluster, meta } of knownMounts(ownUid())) {
    if (ofCluster !== dir && meta !== address) continue;
    const one = await unmountOne(mountPoint, signal, onBusy);
    if (one !== undefined) unmounted.push(one);
  }
  return unmounted;
}

async function unmountOne(
  mountPoint: string,
  signal: AbortSignal,
  onBusy: (mountPoint: string) => void,
): Promise<Unmounted | undefined> {
  const around = { timeoutMs: WRITE_BACK_TIMEOUT_MS, signal };
  try {
    return await unmount(mountPoint, "plain", around);
  } catch (error) {
    if (isDfsError(error, "notFound")) {
      forgetMountPoint(ownUid(), mountPoint); // its process was killed, and umount(8) has taken it away
      return undefined;
    }
    if (!isDfsError(error, "busy") && !isDfsError(error, "timeout")) throw error;
  }
  onBusy(mountPoint);
  const { how, pid } = await stopServer(
    mountDirectory(ownUid(), mountPoint),
    WRITE_BACK_TIMEOUT_MS,
  );
  return { mountPoint, pid, process: how };
}
