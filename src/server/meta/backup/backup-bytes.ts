/** The bytes of a backup in a file of this machine: chunk by chunk, so that memory is bounded. */
import { open, type FileHandle } from "node:fs/promises";
import { backupChecksum, chunkCount, chunkLength, hashList } from "../../../base/backup.ts";
import { hash64 } from "../../../base/checksum.ts";
import { DfsError } from "../../../base/errors.ts";
import { BACKUP_CHUNK_BYTES, MAX_BACKUP_BYTES } from "../../../base/limits.ts";

/** A backup's length and checksums. */
export interface Summed {
  readonly length: number;
  /** The list of chunk hashes. */
  readonly chunks: Uint8Array;
  readonly checksum: bigint;
}

/** An open file with the bytes of a backup, which do not change. */
export class BackupBytes {
  private readonly path: string;
  private readonly file: FileHandle;
  readonly length: number;

  private constructor(path: string, file: FileHandle, length: number) {
    this.path = path;
    this.file = file;
    this.length = length;
  }

  /** @throws DfsError `outOfRange` when it is too long; the system's error when it cannot be opened. */
  static async open(path: string): Promise<BackupBytes> {
    const file = await open(path, "r");
    const { size } = await file.stat();
    if (size <= MAX_BACKUP_BYTES) return new BackupBytes(path, file, size);
    await file.close();
    throw new DfsError(
      "outOfRange",
      `a database of ${size} bytes cannot be backed up onto data servers: ${MAX_BACKUP_BYTES} is the most`,
    );
  }

  /** Reads everything once. */
  async sum(): Promise<Summed> {
    const hashes: bigint[] = [];
    for (let chunk = 0; chunk < chunkCount(this.length); chunk++) {
      hashes.push(hash64(await this.read(chunk)));
    }
    const chunks = hashList(hashes);
    return { length: this.length, chunks, checksum: backupChecksum(this.length, chunks) };
  }

  /** A chunk, in memory of its own. @throws DfsError `io` when the file is shorter than it was. */
  async read(chunk: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(chunkLength(this.length, chunk));
    for (let filled = 0; filled < bytes.length;) {
      const position = chunk * BACKUP_CHUNK_BYTES + filled;
      const { bytesRead } = await this.file.read(bytes, filled, bytes.length - filled, position);
      if (bytesRead === 0) throw new DfsError("io", `${this.path} has become shorter`);
      filled += bytesRead;
    }
    return bytes;
  }

  close(): Promise<void> {
    return this.file.close();
  }
}
