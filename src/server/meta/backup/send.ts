/** Sends a backup to one data server, as a row of commands. */
import { chunkCount } from "../../../base/backup.ts";
import { backupCommit, backupPut, type BackupManifest } from "../../../protocol/messages/backup.ts";
import type { Commands } from "../commands.ts";
import type { Member } from "../members.ts";

/** For one chunk, and for the commit: a slow disk has to take a few MiB. */
const TIMEOUT_MS = 60_000;

/** A backup that is ready to be sent. */
export interface ReadyBackup {
  readonly manifest: BackupManifest;
  /** The list of its chunks' hashes. */
  readonly chunks: Uint8Array;
  readonly bytes: { read(chunk: number): Promise<Uint8Array> };
}

/**
 * Resolves when the server holds the backup durably; tells of each chunk that it has taken.
 * @throws DfsError why it does not; it may hold it all the same when only its last answer was lost.
 */
export async function sendBackup(
  commands: Commands,
  member: Member,
  { manifest, chunks, bytes }: ReadyBackup,
  onSent: (bytes: number) => void,
): Promise<void> {
  const { backup, length } = manifest;
  const hashes = new DataView(chunks.buffer, chunks.byteOffset, chunks.byteLength);
  for (let chunk = 0; chunk < chunkCount(length); chunk++) {
    const bulk = await bytes.read(chunk);
    const body = { backup, chunk, length, hash: hashes.getBigUint64(chunk * 8) };
    await commands.order(member, backupPut, body, { bulk, timeoutMs: TIMEOUT_MS });
    onSent(bulk.length);
  }
  await commands.order(member, backupCommit, { manifest, chunks }, { timeoutMs: TIMEOUT_MS });
}
