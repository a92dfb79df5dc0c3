/**
 * A local cluster forgets a data server that was removed: `dfs up` would start it again otherwise, be it because the cluster
 * file names it or because its directory is there.
 */
import { renameSync } from "node:fs";
import { readClusterFile, writeClusterFile } from "../shared/cluster-file.ts";
import { lockCluster } from "./layout.ts";
import { serverIn } from "./processes.ts";

/**
 * Takes the server out of the cluster file in `dir` and renames its directory, unless a process still uses that. Returns
 * where the directory is then; undefined when the cluster file does not know the server.
 */
export async function forgetServer(
  dir: string,
  id: number,
  signal: AbortSignal,
): Promise<string | undefined> {
  const lock = await lockCluster(dir, signal);
  try {
    const file = readClusterFile(dir);
    const found = file?.servers.find((server) => server.id === id);
    if (file === undefined || found === undefined) return undefined;
    const servers = file.servers.filter((server) => server !== found);
    writeClusterFile(dir, { ...file, servers });
    return serverIn(found.dir) === undefined ? putAside(found.dir, id) : found.dir;
  } finally {
    lock.release();
  }
}

/** Ids are never given again, so the new name is free. */
function putAside(dir: string, id: number): string | undefined {
  const aside = `${dir}.removed-${id}`;
  try {
    renameSync(dir, aside);
    return aside;
  } catch {
    return undefined; // it is gone already, or was never on this machine: there is nothing to start
  }
}
