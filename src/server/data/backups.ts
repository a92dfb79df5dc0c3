/**
 * The backups of the metadata that a data server keeps, in the directory `backups` beside its log; their files are
 * described in `backup-file.ts`. They are no blocks: neither the log, nor compaction, nor what the metadata service
 * compares know of them.
 *
 * Invariants
 * - A backup is held from the moment that its manifest is durable, and that is written when all its bytes are.
 * - A file without manifest is what was being sent when somebody died. It is removed by the next start, or when the next
 *   backup begins.
 * - One backup is being received at a time, its chunks in order. After an error nothing of it is kept.
 * - Held backups are deleted when the metadata service says so, and never otherwise.
 */
import { join } from "node:path";
import {
  backupName,
  chunkCount,
  chunkLength,
  hashList,
  isChunk,
  verifyChunkList,
} from "../../base/backup.ts";
import { hash64 } from "../../base/checksum.ts";
import {
  readWholeFile,
  replaceFile,
  writeFully,
  type Disk,
  type DiskFile,
} from "../../base/disk.ts";
import { DfsError, isDfsError, messageOf, systemCodeOf } from "../../base/errors.ts";
import { BACKUP_CHUNK_BYTES, MAX_BACKUP_BYTES, MAX_BACKUPS } from "../../base/limits.ts";
import type { Logger } from "../../base/logger.ts";
import { BufferPool } from "../../log/buffers.ts";
import type { BackupManifest, BackupState } from "../../protocol/messages/backup.ts";
import {
  backupOfFile,
  bytesFile,
  decodeManifest,
  encodeManifest,
  manifestFile,
  type HeldBackup,
} from "./backup-file.ts";

const DIRECTORY = "backups";

/** Longest description of damage. */
const MAX_REASON = 500;

/** What backups are read into to be verified. */
const pool = new BufferPool();

export interface BackupStoreOptions {
  readonly disk: Disk;
  /** The server's directory. */
  readonly dir: string;
  readonly logger: Logger;
  /** Bytes that may still be taken on the disk. */
  readonly room: () => number;
}

/** A chunk as it arrives. */
export interface ArrivingChunk {
  readonly backup: bigint;
  readonly chunk: number;
  /** Of the whole backup. */
  readonly length: number;
  readonly hash: bigint;
  readonly bytes: Uint8Array;
}

export interface ListedBackup {
  readonly manifest: BackupManifest;
  readonly state: BackupState;
}

/** What is being received. */
interface Arriving {
  readonly backup: bigint;
  readonly length: number;
  readonly file: DiskFile;
  readonly hashes: bigint[];
}

export class BackupStore {
  private readonly options: BackupStoreOptions;
  private readonly directory: string;
  private arriving: Arriving | undefined;
  /** Changes happen one after the other. */
  private turn: Promise<unknown> = Promise.resolve();

  constructor(options: BackupStoreOptions) {
    this.options = options;
    this.directory = join(options.dir, DIRECTORY);
  }

  /** Removes what a former run has left unfinished. A failure is only logged: such files are in nobody's way. */
  async open(): Promise<void> {
    try {
      await this.inTurn(() => this.clear());
    } catch (error) {
      this.options.logger.warn(`unfinished backups could not be removed: ${messageOf(error)}`);
    }
  }

  /** Gives up what is being received. */
  close(): Promise<void> {
    return this.inTurn(() => this.abandon());
  }

  /**
   * Takes a chunk; resolves when it is durable.
   * @throws DfsError `badChecksum`, `invalid` (not the one that is due), `noSpace`, `io`.
   */
  put(chunk: ArrivingChunk): Promise<void> {
    return this.inTurn(async () => {
      if (hash64(chunk.bytes) !== chunk.hash) {
        throw new DfsError(
          "badChecksum",
          `cannot keep chunk ${chunk.chunk} of backup ${backupName(chunk.backup)}: it was damaged on the way`,
        );
      }
      try {
        if (chunk.chunk === 0) await this.begin(chunk);
        await this.write(chunk);
      } catch (error) {
        await this.abandon();
        throw asDfsError(`cannot keep backup ${backupName(chunk.backup)}`, error);
      }
    });
  }

  /**
   * All chunks are there: the backup is held from now on, durably.
   * @throws DfsError `invalid` when they are not those that the manifest says; `io`.
   */
  commit(manifest: BackupManifest, chunks: Uint8Array): Promise<void> {
    return this.inTurn(async () => {
      const name = backupName(manifest.backup);
      try {
        await this.finish(manifest, chunks);
      } catch (error) {
        await this.abandon();
        throw asDfsError(`cannot keep backup ${name}`, error);
      }
      const { lsn, length } = manifest;
      this.options.logger.info("keeps a backup of the metadata", { backup: name, lsn, length });
    });
  }

  /** The backups held, the newest first; `damaged` tells of files that cannot be used. */
  list(): { readonly held: HeldBackup[]; readonly damaged: string[] } {
    const held: HeldBackup[] = [];
    const damaged: string[] = [];
    for (const name of this.names()) {
      if (backupOfFile(name)?.kind !== "json") continue;
      try {
        held.push(this.read(name));
      } catch (error) {
        damaged.push(`${join(this.directory, name)}: ${messageOf(error)}`.slice(0, MAX_REASON));
      }
    }
    held.sort((one, other) => (one.manifest.createdNs < other.manifest.createdNs ? 1 : -1));
    return { held: held.slice(0, MAX_BACKUPS), damaged: damaged.slice(0, MAX_BACKUPS) };
  }

  /** Whether every byte of a held backup is as it should be. */
  async verify({ manifest, chunks }: HeldBackup): Promise<Exclude<BackupState, "unchecked">> {
    const { length } = manifest;
    const buffer = pool.take(BACKUP_CHUNK_BYTES);
    try {
      const file = this.options.disk.open(join(this.directory, bytesFile(manifest.backup)), "read");
      try {
        for (let chunk = 0; chunk < chunkCount(length); chunk++) {
          const part = buffer.bytes.subarray(0, chunkLength(length, chunk));
          const count = await file.read(part, chunk * BACKUP_CHUNK_BYTES);
          if (!isChunk(part.subarray(0, count), chunk, length, chunks)) return "damaged";
        }
        return "whole";
      } finally {
        await file.close();
      }
    } catch (error) {
      this.options.logger.warn(
        `cannot read backup ${backupName(manifest.backup)}: ${messageOf(error)}`,
      );
      return "damaged";
    } finally {
      buffer.release();
    }
  }

  /** A chunk as it is on the disk, and the list of hashes that tells whether it is right. @throws `notFound`, `io`. */
  async get(backup: bigint, chunk: number): Promise<{ chunks: Uint8Array; bytes: Uint8Array }> {
    const name = backupName(backup);
    if (!this.names().includes(manifestFile(backup))) {
      throw new DfsError("notFound", `this data server does not hold backup ${name}`);
    }
    try {
      const { manifest, chunks } = this.read(manifestFile(backup));
      const file = this.options.disk.open(join(this.directory, bytesFile(backup)), "read");
      try {
        const bytes = new Uint8Array(chunkLength(manifest.length, chunk));
        const count = await file.read(bytes, chunk * BACKUP_CHUNK_BYTES);
        return { chunks, bytes: bytes.subarray(0, count) };
      } finally {
        await file.close();
      }
    } catch (error) {
      throw asDfsError(`cannot read chunk ${chunk} of backup ${name}`, error);
    }
  }

  /** Deletes backups; returns how many of them there were. @throws DfsError `io`. */
  delete(backups: readonly bigint[]): Promise<number> {
    return this.inTurn(async () => {
      const there = new Set(this.names());
      const found = backups.filter((backup) => there.has(manifestFile(backup)));
      try {
        for (const backup of found) {
          await this.unlink(manifestFile(backup)); // first: bytes alone are no backup
          if (there.has(bytesFile(backup))) await this.unlink(bytesFile(backup));
        }
        if (found.length > 0) await this.options.disk.syncDirectory(this.directory);
      } catch (error) {
        throw asDfsError("cannot delete backups", error);
      }
      return found.length;
    });
  }

  private async begin({ backup, length }: ArrivingChunk): Promise<void> {
    const { disk, room } = this.options;
    if (length < 1 || length > MAX_BACKUP_BYTES) {
      throw new DfsError(
        "invalid",
        `a backup has 1 to ${MAX_BACKUP_BYTES} bytes, this one ${length}`,
      );
    }
    if (this.names().includes(manifestFile(backup))) {
      throw new DfsError("invalid", "it is held already");
    }
    disk.makeDirectory(this.directory);
    await this.clear();
    if (room() < length) {
      throw new DfsError("noSpace", `its disk has no room for ${length} bytes beside its reserve`);
    }
    const file = disk.open(join(this.directory, bytesFile(backup)), "create");
    this.arriving = { backup, length, file, hashes: [] };
  }

  private async write({ backup, chunk, hash, bytes }: ArrivingChunk): Promise<void> {
    const { arriving } = this;
    if (arriving?.backup !== backup || arriving.hashes.length !== chunk) {
      throw new DfsError("invalid", `chunk ${chunk} is not the one that is due`);
    }
    if (bytes.length !== chunkLength(arriving.length, chunk)) {
      throw new DfsError("invalid", `chunk ${chunk} has ${bytes.length} bytes`);
    }
    writeFully(arriving.file, [bytes], chunk * BACKUP_CHUNK_BYTES);
    await arriving.file.syncData();
    arriving.hashes.push(hash);
  }

  private async finish(manifest: BackupManifest, chunks: Uint8Array): Promise<void> {
    const { arriving } = this;
    if (arriving?.backup !== manifest.backup || arriving.length !== manifest.length) {
      throw new DfsError("invalid", "it is not the one that was being sent");
    }
    const received = hashList(arriving.hashes);
    if (
      Buffer.compare(received, chunks) !== 0 ||
      !verifyChunkList(manifest.length, chunks, manifest.checksum)
    ) {
      throw new DfsError("invalid", "the chunks that came are not those of its manifest");
    }
    await arriving.file.sync();
    this.arriving = undefined;
    await arriving.file.close();
    await this.options.disk.syncDirectory(this.directory);
    const text = encodeManifest({ manifest, chunks });
    await replaceFile(this.options.disk, this.directory, manifestFile(manifest.backup), text);
  }

  /** Forgets what is being received, on the disk as well if that can be done. */
  private async abandon(): Promise<void> {
    const { arriving } = this;
    this.arriving = undefined;
    try {
      await arriving?.file.close();
    } catch (error) {
      this.options.logger.debug(`an unfinished backup could not be closed: ${messageOf(error)}`);
    }
    try {
      await this.clear();
    } catch (error) {
      this.options.logger.info(`an unfinished backup is removed later: ${messageOf(error)}`);
    }
  }

  /** Removes everything that is not, and does not belong to, a manifest. */
  private async clear(): Promise<void> {
    const names = this.names();
    const held = new Set(names);
    for (const name of names) {
      const of = backupOfFile(name);
      if (of?.kind === "json") continue;
      if (of !== undefined && held.has(manifestFile(of.backup))) continue;
      if (of !== undefined || name.endsWith(".json.tmp")) await this.unlink(name);
    }
  }

  private names(): string[] {
    return this.options.disk.list(this.directory) ?? [];
  }

  private read(name: string): HeldBackup {
    const held = decodeManifest(readWholeFile(this.options.disk, join(this.directory, name)));
    if (manifestFile(held.manifest.backup) === name) return held;
    throw new DfsError("io", `it is the manifest of backup ${backupName(held.manifest.backup)}`);
  }

  private unlink(name: string): Promise<void> {
    return this.options.disk.unlink(join(this.directory, name));
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.turn.then(work);
    this.turn = turn.catch(() => undefined); // who asked is told; the next one does not depend on it
    return turn;
  }
}

function asDfsError(what: string, error: unknown): DfsError {
  if (isDfsError(error)) return new DfsError(error.kind, `${what}: ${error.message}`);
  const full = systemCodeOf(error) === "ENOSPC" || systemCodeOf(error) === "EDQUOT";
  return new DfsError(full ? "noSpace" : "io", `${what}: ${messageOf(error)}`, { cause: error });
}
