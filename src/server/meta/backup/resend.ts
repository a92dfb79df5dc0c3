/**
 * The newest backup goes again to servers that lost it or whose bytes of it are damaged, from one that has it right: chunk
 * by chunk, each verified on the way.
 */
import { DfsError, isDfsError } from "../../../base/errors.ts";
import type { BackupManifest } from "../../../protocol/messages/backup.ts";
import type { Member } from "../members.ts";
import type { ReadyBackup } from "./send.ts";
import { verifiedChunk } from "./sources.ts";

/** A backup as it is on other servers. @throws DfsError when its first chunk cannot be had from any of them. */
export async function backupOn(
  manifest: BackupManifest,
  holders: readonly Member[],
): Promise<ReadyBackup> {
  const fetch = async (chunk: number): ReturnType<typeof verifiedChunk> => {
    let last = new DfsError("notFound", "no data server holds this backup");
    for (const { peer } of holders) {
      try {
        return await verifiedChunk(manifest, chunk, peer);
      } catch (error) {
        if (!isDfsError(error)) throw error;
        last = error; // the next one is asked; what the last one says is told
      }
    }
    throw last;
  };
  const { chunks } = await fetch(0);
  return { manifest, chunks, bytes: { read: async (chunk) => (await fetch(chunk)).bytes } };
}
