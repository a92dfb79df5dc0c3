// What tests of lost metadata share: files of known content in a cluster of processes, and backups as they lie on disks.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { DfsClient } from "../../src/client/api.ts";
import { bytesOf, collected, OWNER } from "./cluster.ts";
import type { ProcessCluster } from "./processes.ts";

/** Content of files by path. */
export type Files = ReadonlyMap<string, Uint8Array>;

/** Stores files. */
export async function store(client: DfsClient, files: Files): Promise<void> {
  for (const [path, bytes] of files) {
    await client.put(bytesOf(path), [bytes], { ...OWNER, keepReplaced: false });
  }
}

/** What a file holds, or why that cannot be read. */
export async function contentOf(client: DfsClient, path: string): Promise<Uint8Array | string> {
  try {
    const file = await client.open(bytesOf(path));
    try {
      return await collected(file.stream());
    } finally {
      await file.close();
    }
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** The paths of files that do not hold what they should. */
export async function wrongFiles(client: DfsClient, files: Files): Promise<string[]> {
  const wrong: string[] = [];
  for (const [path, bytes] of files) {
    const found = await contentOf(client, path);
    if (typeof found === "string" || Buffer.compare(found, bytes) !== 0) wrong.push(path);
  }
  return wrong;
}

/** Addresses of the data servers with these indexes. */
export function addressesOf(cluster: ProcessCluster, indexes: readonly number[]): string[] {
  return indexes.map((index) => cluster.server(index).address);
}

/** Names of the files in a data server's directory of backups. */
export function backupFiles(cluster: ProcessCluster, index: number): string[] {
  try {
    return readdirSync(join(cluster.serverDir(index), "backups")).sort();
  } catch {
    return []; // it holds none
  }
}

/** Whether these bytes are somewhere in the log of a data server, deleted or not. */
export function isInLog(cluster: ProcessCluster, index: number, bytes: Uint8Array): boolean {
  const dir = join(cluster.serverDir(index), "log");
  return readdirSync(dir)
    .filter((name) => name.endsWith(".seg"))
    .some((name) => readFileSync(join(dir, name)).indexOf(bytes) >= 0);
}
